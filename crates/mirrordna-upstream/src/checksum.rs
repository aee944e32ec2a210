//! Upstream's checksums, byte for byte: forms A, B, C and D of the reference.
//!
//! Owns: the canonical texts, Python's float repr, Python's order of keys. Never: decides what a mismatch means, or
//! serves as a commitment of our own.

use sha2::{Digest, Sha256, Sha512};

use crate::json::escape;
use crate::value::{Key, Object, Text, Value};

/// Which canonical text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A: compact separators, ASCII; the state checksum of snapshots and citations.
    State,
    /// B: separators `", "` and `": "`, ASCII; the hash of checksummed configs.
    Spaced,
    /// C: compact separators, UTF-8; the Standard's sidecars.
    Sidecar,
}

/// Upstream's code raises on such a value instead of giving a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncomputable {
    /// A YAML timestamp, date, binary or set.
    #[error("a YAML value without a JSON form has no checksum")]
    Native,
    /// Keys that Python cannot compare with each other.
    #[error("keys of mixed types have no order and so no checksum")]
    MixedKeys,
    /// A lone surrogate in form C, which is not ASCII-escaped.
    #[error("a lone surrogate cannot be encoded as UTF-8")]
    LoneSurrogate,
}

/// The canonical text of a value. No key is left out.
///
/// # Errors
/// Where upstream's own code raises.
pub fn canonical(value: &Value, form: Form) -> Result<String, Uncomputable> {
    let mut out = String::new();
    write(value, form, &mut out)?;
    Ok(out)
}

/// `compute_state_checksum`: form A without the top-level key `checksum`, SHA-256 in lower-case hex.
///
/// # Errors
/// Where upstream's own code raises.
pub fn state_checksum(value: &Value) -> Result<String, Uncomputable> {
    state_text(value).map(|text| sha256_hex(text.as_bytes()))
}

/// The text that [`state_checksum`] hashes.
///
/// # Errors
/// Where upstream's own code raises.
pub fn state_text(value: &Value) -> Result<String, Uncomputable> {
    let mut out = String::new();
    match value {
        Value::Object(object) => write_object(object, Form::State, Some("checksum"), &mut out)?,
        _ => write(value, Form::State, &mut out)?,
    }
    Ok(out)
}

/// The hash of a checksummed config in form B; `None` for an algorithm this module does not compute (such as md5).
///
/// # Errors
/// Where upstream's own code raises.
pub fn config_checksum(value: &Value, algorithm: &str) -> Result<Option<String>, Uncomputable> {
    let text = canonical(value, Form::Spaced)?;
    Ok(match algorithm {
        "sha256" => Some(sha256_hex(text.as_bytes())),
        "sha512" => Some(hex(&Sha512::digest(text.as_bytes()))),
        _ => None,
    })
}

/// The checksum of a Standard sidecar: form C with `checksum_sha256` set to the empty string.
///
/// # Errors
/// Where upstream's own code raises.
pub fn sidecar_checksum(sidecar: &Object) -> Result<String, Uncomputable> {
    let blanked = sidecar.iter().filter(|(key, _)| key.native.is_none()).map(|(key, value)| {
        let value = if key.text.as_str() == Some("checksum_sha256") { Value::Text(Text::default()) } else { value.clone() };
        (key.text.clone(), value)
    });
    canonical(&Value::Object(blanked.collect()), Form::Sidecar).map(|text| sha256_hex(text.as_bytes()))
}

/// The start of the lines that [`document_checksum`] leaves out.
pub const DOCUMENT_CHECKSUM_LINE: &[u8] = b"checksum_sha256:";

/// The checksum of a Standard document, form D: every line that starts with `checksum_sha256:` is left out, and the
/// last line gets a newline if it lacks one.
pub fn document_checksum(file: &[u8]) -> String {
    let mut hash = Sha256::new();
    for line in file.split_inclusive(|&b| b == b'\n') {
        if !line.starts_with(DOCUMENT_CHECKSUM_LINE) {
            hash.update(line);
            hash.update(if line.ends_with(b"\n") { &b""[..] } else { b"\n" });
        }
    }
    hex(&hash.finalize())
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Python's `repr` of a float, with JSON's tokens for what is not finite.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}Infinity");
    }
    // Rust and Python agree on how many digits are the fewest; between two equally near texts Python takes the even
    // one, which is what rounding to that many digits gives.
    let shortest = format!("{:e}", value.abs());
    let count = shortest.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    let rounded = format!("{:.*e}", count - 1, value.abs());
    let text = if rounded.parse() == Ok(value.abs()) { rounded } else { shortest };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.replace('.', "");
    match exponent {
        16.. | ..=-5 => {
            let sign_of_exponent = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{mantissa}e{sign_of_exponent}{:02}", exponent.abs())
        }
        0.. => {
            let whole = exponent as usize + 1;
            let padded = format!("{digits:0<whole$}");
            let (whole, fraction) = padded.split_at(whole);
            format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
        }
        _ => format!("{sign}0.{:0>width$}", digits, width = digits.len() + (-exponent - 1) as usize),
    }
}

fn write(value: &Value, form: Form, out: &mut String) -> Result<(), Uncomputable> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(digits) => out.push_str(digits),
        Value::Float(float) => out.push_str(&float_repr(float.value)),
        Value::Text(text) => write_text(text, form, out)?,
        Value::Native(..) => return Err(Uncomputable::Native),
        Value::Object(object) => write_object(object, form, None, out)?,
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { separator(form) });
                write(item, form, out)?;
            }
            out.push(']');
        }
    }
    Ok(())
}

fn separator(form: Form) -> &'static str {
    if form == Form::Spaced { ", " } else { "," }
}

fn write_object(object: &Object, form: Form, without: Option<&str>, out: &mut String) -> Result<(), Uncomputable> {
    let mut members: Vec<_> =
        object.iter().filter(|(key, _)| key.native.is_some() || key.text.as_str() != without || without.is_none()).collect();
    let texts = members.iter().filter(|(key, _)| key.native.is_none()).count();
    let nulls = members.iter().filter(|(key, _)| matches!(key.native.as_deref(), Some(Value::Null))).count();
    if members.len() > 1 && (texts != 0 && texts != members.len() || nulls != 0) {
        return Err(Uncomputable::MixedKeys);
    }
    members.sort_by(|(a, _), (b, _)| compare(a, b));
    out.push('{');
    for (index, (key, value)) in members.into_iter().enumerate() {
        out.push_str(if index == 0 { "" } else { separator(form) });
        write_text(&key.text, form, out)?;
        out.push_str(if form == Form::Spaced { ": " } else { ":" });
        write(value, form, out)?;
    }
    out.push('}');
    Ok(())
}

/// Python sorts keys before it turns them into texts: 9 comes before 10.
fn compare(a: &Key, b: &Key) -> std::cmp::Ordering {
    match (a.native.as_deref(), b.native.as_deref()) {
        (Some(Value::Int(x)), Some(Value::Int(y))) => compare_integers(x, y),
        (Some(x), Some(y)) => number(x).total_cmp(&number(y)),
        _ => a.text.cmp(&b.text),
    }
}

fn compare_integers(x: &str, y: &str) -> std::cmp::Ordering {
    let magnitude = |a: &str, b: &str| a.len().cmp(&b.len()).then_with(|| a.cmp(b));
    match (x.strip_prefix('-'), y.strip_prefix('-')) {
        (None, None) => magnitude(x, y),
        (Some(x), Some(y)) => magnitude(y, x),
        (x, _) => {
            if x.is_some() {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        }
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Bool(b) => *b as u8 as f64,
        Value::Int(digits) => digits.parse().unwrap_or(f64::NAN),
        Value::Float(float) => float.value,
        _ => f64::NAN,
    }
}

fn write_text(text: &Text, form: Form, out: &mut String) -> Result<(), Uncomputable> {
    out.push('"');
    for code in text.code_points() {
        if escape(code, out).is_some() {
            continue;
        }
        match char::from_u32(code) {
            Some(c @ ' '..='~') => out.push(c),
            Some(c) if form == Form::Sidecar => out.push(c),
            Some(c) => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
            None if form == Form::Sidecar => return Err(Uncomputable::LoneSurrogate),
            None => out.push_str(&format!("\\u{code:04x}")),
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_between_two_texts_take_the_even_one() {
        assert_eq!(float_repr(788_582_717_311_257.0 / 8.0), "98572839663907.12");
        assert_eq!(float_repr(5e-324), "5e-324");
        assert_eq!(float_repr(9_007_199_254_740_992.0), "9007199254740992.0");
        assert_eq!(float_repr(1e22), "1e+22");
        assert_eq!(float_repr(-0.000_012_5), "-1.25e-05");
    }

    #[test]
    fn documents_lose_their_checksum_lines() {
        let plain = sha256_hex(b"a\nb\n");
        assert_eq!(document_checksum(b"a\nchecksum_sha256: x\nb"), plain);
        assert_eq!(document_checksum(b"a\nb\nchecksum_sha256: x"), plain);
        assert_ne!(document_checksum(b"a\n checksum_sha256: x\nb"), plain);
    }
}
