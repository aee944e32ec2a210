//! Record ids: a prefix that names the entity, then 26 lower-case Crockford
//! base 32 characters of 48-bit milliseconds and 80 random bits. They sort by
//! time and match upstream's patterns.

use crate::{Code, Entropy, Error, Result, limits};

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A new id with this prefix (`mem`, `sess`, `evt`, …).
///
/// # Errors
/// If the source of randomness fails.
pub fn fresh(prefix: &str, now_ms: u64, entropy: &dyn Entropy) -> Result<String> {
    let mut raw = [0u8; 16];
    entropy.fill(&mut raw[6..])?;
    raw[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    Ok(format!("{prefix}_{}", encode(&raw)))
}

/// The 26 characters of 16 bytes.
#[must_use]
pub fn encode(raw: &[u8; 16]) -> String {
    let n = u128::from_be_bytes(*raw);
    let mut text = String::with_capacity(26);
    text.extend((0..26).map(|i| char::from(CROCKFORD[(n >> (125 - 5 * i)) as usize & 31])));
    text
}

/// The 16 bytes of an id made by [`fresh`] with this prefix; `None` for ids of
/// other makers.
#[must_use]
pub fn raw(id: &str, prefix: &str) -> Option<[u8; 16]> {
    let text = id.strip_prefix(prefix)?.strip_prefix('_')?;
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut n = 0u128;
    for b in text.bytes() {
        n = n << 5 | CROCKFORD.iter().position(|c| *c == b)? as u128;
    }
    Some(n.to_be_bytes())
}

/// Checks an id that a caller passes: a prefix of the right kind and no more
/// than printable ASCII, so that ids of other makers are accepted too.
///
/// # Errors
/// `id.invalid`, naming the expected prefix.
pub fn check(id: &str, prefix: &str) -> Result<()> {
    let rest = id.strip_prefix(prefix).and_then(|r| r.strip_prefix('_'));
    let fine = rest.is_some_and(|r| !r.is_empty() && r.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b)));
    if fine && id.len() <= limits::NAME {
        return Ok(());
    }
    let shown: String = id.chars().take(40).collect();
    Err(Error::new(Code::IdInvalid, format!("'{shown}' is not an id of the form {prefix}_…")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) -> Result<()> {
            out.fill(0xa5);
            Ok(())
        }
    }

    #[test]
    fn ids_round_trip_and_sort_by_time() {
        let a = fresh("mem", 1_770_000_000_000, &Fixed).unwrap();
        let b = fresh("mem", 1_770_000_000_001, &Fixed).unwrap();
        assert!(a < b && a.len() == 30);
        assert_eq!(encode(&raw(&a, "mem").unwrap()), a[4..]);
        assert_eq!(raw(&a, "sess"), None);
        assert!(check(&a, "mem").is_ok() && check(&a, "sess").is_err() && check("mem_", "mem").is_err());
    }
}
