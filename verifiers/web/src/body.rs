//! A private body, once it was decrypted: its plain text is read here, so that
//! the page needs no decoder of its own (`spec/PROTOCOL.md` 6.2 and 6.4).

use crate::json::Object;
use crate::time;
use alloc::string::String;
use mirrordna_verify::Malformed;
use mirrordna_verify::cbor::{Reader, Type};

/// Numbers of fields, of schemas and of media types (`spec/bodies.yaml`).
mod number {
    pub(super) const RECORD: u64 = 1;
    pub(super) const OCCURRED_AT: u64 = 3;
    pub(super) const SESSION: u64 = 5;
    /// Of the schema of application events.
    pub(super) const EVENT_TYPE: u64 = 6;
    pub(super) const PAYLOAD: u64 = 15;
    pub(super) const PARTS: u64 = 24;
    pub(super) const LENGTH: u64 = 25;

    pub(super) const EVENT: u64 = 4;

    pub(super) const TEXT: u64 = 0;
    pub(super) const JSON: u64 = 50;
}

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("body", why)
}

/// What a list of the timeline shows of a body.
#[derive(Default)]
struct Body<'a> {
    record: Option<&'a str>,
    event_type: Option<&'a str>,
    session: Option<&'a str>,
    occurred_at: Option<i64>,
    payload: Option<&'a str>,
    in_parts: bool,
    payload_bytes: Option<i64>,
}

/// Reads a padded plain text and writes what an event's entry in a timeline
/// says of it, with the keys of `mirrordna verify --events --json`.
///
/// # Errors
/// If the bytes have another form.
pub(crate) fn read(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let mut r = Reader::new(bytes);
    let body = fields(&mut r)?;
    let padding = r.rest();
    if padding.iter().any(|b| *b != 0) || padme(bytes.len() - padding.len()) != bytes.len() {
        return Err(bad("has wrong padding"));
    }
    let mut object = Object::new(out);
    object.maybe("record", body.record).maybe("event_type", body.event_type).maybe("session", body.session);
    object.maybe("occurred_at", body.occurred_at.map(time::rfc3339));
    object.maybe("payload", body.payload.filter(|_| !body.in_parts)).maybe("payload_bytes", body.payload_bytes).end();
    Ok(())
}

fn fields<'a>(r: &mut Reader<'a>) -> Result<Body<'a>, Malformed> {
    let (pairs, mut last) = (r.map()?, None);
    if pairs == 0 || r.key(&mut last)? != 0 {
        return Err(bad("has no schema"));
    }
    let (schema, mut body) = (r.uint()?, Body::default());
    for _ in 1..pairs {
        match (r.key(&mut last)?, r.peek()?) {
            (number::RECORD, Type::Text) => body.record = Some(r.text()?),
            (number::SESSION, Type::Text) => body.session = Some(r.text()?),
            (number::EVENT_TYPE, Type::Text) if schema == number::EVENT => body.event_type = Some(r.text()?),
            (number::OCCURRED_AT, Type::Uint | Type::Nint) => body.occurred_at = Some(r.int()?),
            (number::LENGTH, Type::Uint | Type::Nint) => body.payload_bytes = Some(r.int()?),
            (number::PAYLOAD, _) => body.payload = payload(r)?,
            (number, _) => {
                body.in_parts |= number == number::PARTS;
                value(r, 8)?;
            }
        }
    }
    Ok(body)
}

/// The payload, where it is text or JSON.
fn payload<'a>(r: &mut Reader<'a>) -> Result<Option<&'a str>, Malformed> {
    if r.array()? != 2 {
        return Err(bad("has a malformed payload"));
    }
    let readable = match r.peek()? {
        Type::Text => {
            r.text()?;
            false
        }
        _ => match r.uint()? {
            number::TEXT | number::JSON => true,
            n if n < 1 << 16 => false,
            _ => return Err(bad("has an unknown media type")),
        },
    };
    let bytes = r.bytes()?;
    Ok(if readable { core::str::from_utf8(bytes).ok() } else { None })
}

/// Passes over a field's value, less than `depth` lists deep.
fn value(r: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    if depth == 0 {
        return Err(bad("is nested too deeply"));
    }
    match r.peek()? {
        Type::Uint | Type::Nint => r.int().map(drop),
        Type::Bytes => r.bytes().map(drop),
        Type::Text => r.text().map(drop),
        Type::Simple => r.simple().map(drop),
        Type::Array => (0..r.array()?).try_for_each(|_| value(r, depth - 1)),
        Type::Map | Type::Tag => Err(bad("holds a map or tag inside a field")),
    }
}

/// The Padmé length of a length (6.4).
fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let e = len.ilog2();
    let s = e.ilog2() + 1;
    let mask = (1usize << e.saturating_sub(s)) - 1;
    (len + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrordna_verify::cbor::Writer;

    fn read(bytes: &[u8]) -> Result<String, Malformed> {
        let mut out = String::new();
        super::read(bytes, &mut out).map(|()| out)
    }

    /// The example of `spec/PROTOCOL.md`, appendix A.
    fn example() -> Writer {
        let mut w = Writer::with_capacity(96);
        w.map(4).uint(0).uint(4).uint(1).text("evt_01m7yn5m709aah46zbayenk3kn").uint(6).text("booking.requested");
        w.uint(15).array(2).uint(50).bytes(b"{\"from\":\"Basel\"}");
        w
    }

    #[test]
    fn the_example_of_the_protocol() {
        let mut bytes = example().into_bytes();
        bytes.resize(80, 0);
        let expected = "{\"record\":\"evt_01m7yn5m709aah46zbayenk3kn\",\"event_type\":\"booking.requested\",\
                        \"payload\":\"{\\\"from\\\":\\\"Basel\\\"}\"}";
        assert_eq!(read(&bytes), Ok(expected.into()));
    }

    #[test]
    fn other_forms_are_refused() {
        let plain = example().into_bytes();
        let long = |n: usize, last: u8| [&plain[..], &vec![0; n - plain.len() - 1], &[last]].concat();
        for bad in
            [long(80, 1), long(81, 0), long(88, 0), plain[..40].to_vec(), vec![], vec![0xa0], vec![0xa1, 1, 4], vec![0xa2, 0, 4, 7, 0xa0]]
        {
            assert!(read(&bad).is_err(), "{bad:x?}");
        }
    }
}
