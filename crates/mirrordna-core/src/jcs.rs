//! JSON in the canonical form of RFC 8785 (JCS), for digests that two programs
//! are to agree on though they print JSON differently.
//!
//! Nothing that proves an event depends on it: verifiers hash stored bytes.

use crate::{Code, Error, Result};
use mirrordna_verify::json::{Json, Value};
use std::fmt::Write;

/// The canonical text of a JSON value: no white space, members sorted by the
/// UTF-16 units of their names, numbers as ECMAScript prints a double.
///
/// Numbers are doubles (RFC 8785 section 3.2.2.3): an integer beyond 2^53 loses
/// digits, and two that lose them alike become the same text.
///
/// # Errors
/// `json.invalid` for a text that is not strict JSON, or has a number beyond
/// the range of a double.
///
/// ```
/// let text = mirrordna_core::jcs::canonical(r#"{ "b": 1.50, "a": "\u00e9" }"#)?;
/// assert_eq!(text, r#"{"a":"é","b":1.5}"#);
/// # Ok::<(), mirrordna_core::Error>(())
/// ```
pub fn canonical(text: &str) -> Result<String> {
    let json = Json::parse(text).map_err(|e| Error::new(Code::JsonInvalid, format!("{} at byte {}", e.why, e.at)))?;
    let mut out = String::with_capacity(text.len());
    write(&json, &mut out)?;
    Ok(out)
}

fn write(json: &Json<'_>, out: &mut String) -> Result<()> {
    match &json.value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number => out.push_str(&number(json.raw)?),
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (n, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                string(key, out);
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                // Writing into a string cannot fail.
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as ECMAScript prints it (ECMA-262, Number::toString).
fn number(raw: &str) -> Result<String> {
    let value: f64 = raw.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| {
        let shown: String = raw.chars().take(40).collect();
        Error::new(Code::JsonInvalid, format!("the number {shown} is beyond the range of a double"))
    })?;
    if value == 0.0 {
        return Ok("0".into());
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    // Of two shortest texts that are equally near, ECMAScript takes the even
    // one, which is what rounding to that many digits gives.
    let shortest = format!("{value:e}");
    let digits = shortest.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    let rounded = format!("{value:.*e}", digits - 1);
    let text = if rounded.parse() == Ok(value) { rounded } else { shortest };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    let k = digits.len();
    // The decimal point stands after this many digits.
    let n = exponent.parse::<i32>().unwrap_or(0) + 1;
    Ok(match usize::try_from(n) {
        Ok(n @ 1..=21) if n >= k => format!("{sign}{digits:0<n$}"),
        Ok(n @ 1..=21) => {
            let (whole, fraction) = digits.split_at(n);
            format!("{sign}{whole}.{fraction}")
        }
        _ if -6 < n && n <= 0 => format!("{sign}0.{}{digits}", "0".repeat(n.unsigned_abs() as usize)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let plus = if n > 0 { "+" } else { "-" };
            format!("{sign}{first}{point}{rest}e{plus}{}", (n - 1).unsigned_abs())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_the_standard() {
        // RFC 8785 appendix B, and both sides of every change of form.
        for (raw, printed) in [
            ("-0.0", "0"),
            ("5e-324", "5e-324"),
            ("-5e-324", "-5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740992", "9007199254740992"),
            ("295147905179352830000", "295147905179352830000"),
            ("9.999999999999997e22", "9.999999999999997e+22"),
            ("1e23", "1e+23"),
            ("1.0000000000000001e23", "1.0000000000000001e+23"),
            ("999999999999999700000", "999999999999999700000"),
            ("1e21", "1e+21"),
            ("9.999999999999997e-7", "9.999999999999997e-7"),
            ("0.000001", "0.000001"),
            ("333333333.33333329", "333333333.3333333"),
            ("1424953923781206.25", "1424953923781206.2"),
        ] {
            assert_eq!(number(raw).unwrap(), printed, "{raw}");
        }
        assert_eq!(canonical("[1e400]").unwrap_err().code(), Code::JsonInvalid);
        assert_eq!(canonical(r#"{"a":1,"a":2}"#).unwrap_err().code(), Code::JsonInvalid);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-(1i64 << 53)..1 << 53).prop_map(Into::into),
            prop::num::f64::NORMAL.prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|m| m.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn another_implementation_prints_the_same(value in json()) {
            let ours = canonical(&value.to_string()).unwrap();
            prop_assert_eq!(&ours, &serde_jcs::to_string(&value).unwrap());
            prop_assert_eq!(canonical(&ours).unwrap(), ours);
        }
    }
}
