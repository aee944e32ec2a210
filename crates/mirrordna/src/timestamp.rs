//! RFC 3161 time-stamps, as far as a log needs them: a request is written, and
//! of a response it is read what it was for. Who signed it, and whether they
//! may, is X.509's business and not judged here.

use mirrordna_core::{Code, Error, Hash, Result};

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT`.
const WRAPPED: u8 = 0xa0;

/// `AlgorithmIdentifier` of SHA-256 with its NULL parameters (RFC 5754).
const SHA256: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00];
/// The same without parameters, which readers must accept too.
const SHA256_BARE: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// `id-signedData`, RFC 5652.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-ct-TSTInfo`, RFC 3161 section 2.4.2.
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// The longest response that is read: a token with a chain of certificates.
const MAX_RESPONSE: usize = 64 * 1024;

fn bad(why: &str) -> Error {
    Error::new(Code::AnchorInvalid, format!("the time-stamp {why}"))
}

/// A DER item.
fn item(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        n @ 0..0x80 => out.push(n as u8),
        n => {
            let bytes = n.to_be_bytes();
            let skip = bytes.iter().take_while(|b| **b == 0).count();
            out.push(0x80 | (bytes.len() - skip) as u8);
            out.extend_from_slice(&bytes[skip..]);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A DER integer of a number without sign.
fn integer(n: u64) -> Vec<u8> {
    let bytes = n.to_be_bytes();
    let skip = bytes.iter().take_while(|b| **b == 0).count().min(7);
    let content = &bytes[skip..];
    match content.first() {
        Some(first) if *first >= 0x80 => item(INTEGER, &[&[0], content].concat()),
        _ => item(INTEGER, content),
    }
}

/// `TimeStampReq` (RFC 3161 section 2.4.1) for a digest, asking for the
/// certificate.
pub(crate) fn request(imprint: &Hash, nonce: u64) -> Vec<u8> {
    let imprint = item(SEQUENCE, &[SHA256, &item(OCTETS, imprint)].concat());
    item(SEQUENCE, &[&integer(1)[..], &imprint, &integer(nonce), &[0x01, 0x01, 0xff]].concat())
}

/// Reads DER: definite lengths in their shortest form.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next item: its tag, its content, and all of its bytes.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        // Tags of more than one byte occur nowhere in what is read.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 || bytes.first() == Some(&0) {
                return None;
            }
            length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            if length < 0x80 {
                return None;
            }
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some((tag, content, whole))
    }

    /// The content of the next item, which has this tag.
    fn of(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(t, ..)| *t == tag).map(|(_, content, _)| content)
    }

    /// The next item, whole, if it has this tag; else nothing is taken.
    fn maybe(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.next().map(|(.., whole)| whole) } else { None }
    }
}

/// The digest of a `MessageImprint` by SHA-256.
fn imprint(der: &mut Der<'_>) -> Option<Hash> {
    let mut inner = Der(der.of(SEQUENCE)?);
    let (_, _, algorithm) = inner.next()?;
    let digest = inner.of(OCTETS)?;
    (inner.0.is_empty() && (algorithm == SHA256 || algorithm == SHA256_BARE)).then(|| digest.try_into().ok())?
}

/// Digest and nonce of a request that [`request`] wrote.
pub(crate) fn read_request(bytes: &[u8]) -> Result<(Hash, u64)> {
    let read = || {
        let mut outer = Der(bytes);
        let mut der = Der(outer.of(SEQUENCE)?);
        der.maybe(INTEGER)?;
        let digest = imprint(&mut der)?;
        let nonce = der.of(INTEGER)?;
        let nonce = nonce.iter().try_fold(0u64, |n, b| n.checked_mul(256).map(|n| n | u64::from(*b)))?;
        (outer.0.is_empty() && request(&digest, nonce) == bytes).then_some((digest, nonce))
    };
    read().ok_or_else(|| bad("request is none that was written here"))
}

/// The token in a `TimeStampResp`, which must be granted, for this digest and
/// with this nonce.
pub(crate) fn read_response<'a>(bytes: &'a [u8], digest: &Hash, nonce: u64) -> Result<&'a [u8]> {
    if bytes.len() > MAX_RESPONSE {
        return Err(bad("response is longer than 64 KiB"));
    }
    let malformed = || bad("response is malformed, or not in DER");
    let mut outer = Der(bytes);
    let mut response = Der(outer.of(SEQUENCE).filter(|_| outer.0.is_empty()).ok_or_else(malformed)?);
    let mut status = Der(response.of(SEQUENCE).ok_or_else(malformed)?);
    match status.of(INTEGER).ok_or_else(malformed)? {
        // Granted, or granted with modifications.
        [0 | 1] => {}
        _ => return Err(bad("was not granted by the authority")),
    }
    let token = response.maybe(SEQUENCE).filter(|_| response.0.is_empty()).ok_or_else(malformed)?;
    let (found, found_nonce) = token_info(token).ok_or_else(malformed)?;
    if found != *digest {
        return Err(bad("is for something else than this checkpoint"));
    }
    if found_nonce != Some(&integer(nonce)[..]) {
        return Err(bad("answers another request: its nonce differs"));
    }
    Ok(token)
}

/// Digest and nonce, whole, of the `TSTInfo` in a token.
fn token_info(token: &[u8]) -> Option<(Hash, Option<&[u8]>)> {
    let mut content = Der(Der(token).of(SEQUENCE)?);
    if content.of(OID)? != SIGNED_DATA {
        return None;
    }
    let mut signed = Der(Der(content.of(WRAPPED)?).of(SEQUENCE)?);
    signed.of(INTEGER)?;
    signed.of(SET)?;
    let mut encapsulated = Der(signed.of(SEQUENCE)?);
    if encapsulated.of(OID)? != TST_INFO {
        return None;
    }
    let mut info = Der(Der(Der(encapsulated.of(WRAPPED)?).of(OCTETS)?).of(SEQUENCE)?);
    info.of(INTEGER)?;
    info.of(OID)?;
    let digest = imprint(&mut info)?;
    info.of(INTEGER)?; // serial number
    info.of(0x18)?; // GeneralizedTime
    info.maybe(SEQUENCE); // accuracy
    info.maybe(0x01); // ordering
    Some((digest, info.maybe(INTEGER)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_have_no_sign_and_no_spare_zeros() {
        for (n, bytes) in [(0, &[2, 1, 0][..]), (127, &[2, 1, 127]), (128, &[2, 2, 0, 128]), (256, &[2, 2, 1, 0])] {
            assert_eq!(integer(n), bytes);
        }
        assert_eq!(integer(u64::MAX).len(), 11);
    }

    proptest! {
        #[test]
        fn requests_are_read_again(digest in any::<[u8; 32]>(), nonce in any::<u64>(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = request(&digest, nonce);
            prop_assert_eq!(read_request(&bytes).unwrap(), (digest, nonce));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(read_request(&bytes).map_or(true, |read| read != (digest, nonce)));
            prop_assert!(read_request(&bytes[..at]).is_err());
        }

        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_response(&bytes, &[0; 32], 0);
            let _ = token_info(&item(SEQUENCE, &[&item(OID, SIGNED_DATA)[..], &item(WRAPPED, &item(SEQUENCE, &bytes))].concat()));
        }
    }
}
