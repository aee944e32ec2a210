//! Writes JSON (RFC 8259). What a member's value is says the type.

use alloc::string::String;
use core::fmt::Write;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    digits.map(|d| char::from(HEX[usize::from(d)])).collect()
}

/// Something that has a form in JSON.
pub(crate) trait Json {
    /// Writes the value.
    fn json(&self, out: &mut String);
}

impl Json for str {
    fn json(&self, out: &mut String) {
        out.push('"');
        for c in self.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                c if c < ' ' => {
                    // Writing into a string cannot fail.
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

impl Json for String {
    fn json(&self, out: &mut String) {
        self.as_str().json(out);
    }
}

impl Json for u64 {
    fn json(&self, out: &mut String) {
        let _ = write!(out, "{self}");
    }
}

impl Json for i64 {
    fn json(&self, out: &mut String) {
        let _ = write!(out, "{self}");
    }
}

impl Json for bool {
    fn json(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn json(&self, out: &mut String) {
        (*self).json(out);
    }
}

impl<T: Json> Json for Option<T> {
    fn json(&self, out: &mut String) {
        match self {
            Some(value) => value.json(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Json> Json for [T] {
    fn json(&self, out: &mut String) {
        out.push('[');
        for (i, item) in self.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            item.json(out);
        }
        out.push(']');
    }
}

/// Writes an object, member by member.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    begun: bool,
}

impl<'a> Object<'a> {
    /// Begins one.
    pub(crate) fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, begun: false }
    }

    /// Adds a member.
    pub(crate) fn put(&mut self, name: &str, value: impl Json) -> &mut Self {
        if self.begun {
            self.out.push(',');
        }
        self.begun = true;
        name.json(self.out);
        self.out.push(':');
        value.json(self.out);
        self
    }

    /// Adds a member where there is a value.
    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl Json>) -> &mut Self {
        if let Some(value) = value {
            self.put(name, value);
        }
        self
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut out = String::new();
        Object::new(&mut out).put("a\"\\", "x\u{1}\n\t\u{7f}é\u{2028}").put("n", None::<bool>).end();
        assert_eq!(out, "{\"a\\\"\\\\\":\"x\\u0001\\n\\u0009\u{7f}é\u{2028}\",\"n\":null}");
    }

    #[test]
    fn hex_is_lower_case() {
        assert_eq!(hex(&[0, 0x1f, 0xab]), "001fab");
    }
}
