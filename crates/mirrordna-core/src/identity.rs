//! Identities: a did:webvh 1.0 log with pre-rotation, and the display id that
//! is read off it.

use crate::keys::SecretKey;
use crate::{Code, Entropy, Error, Hash, PublicKey, Result, time};
use mirrordna_verify::did::{DidLog, PLACEHOLDER};
use mirrordna_verify::hash::sha256;
use mirrordna_verify::json::Json;
use mirrordna_verify::multibase::{digest_of, encode_z, multihash};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What kind of party an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum IdentityType {
    /// A person.
    User,
    /// A software agent.
    Agent,
    /// The engine itself, one per log.
    System,
}

impl IdentityType {
    /// The three letters in ids and DIDs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::User => "usr",
            Self::Agent => "agt",
            Self::System => "sys",
        }
    }

    /// The type of a DID's last segment.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::User, Self::Agent, Self::System].into_iter().find(|t| t.label() == label)
    }

    /// The word that interfaces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::System => "system",
        }
    }
}

impl FromStr for IdentityType {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        [Self::User, Self::Agent, Self::System].into_iter().find(|t| t.name() == s).ok_or_else(|| {
            let shown: String = s.chars().take(40).collect();
            Error::new(Code::InputInvalid, format!("identity type '{shown}' is none of user, agent, system"))
        })
    }
}

impl fmt::Display for IdentityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The display id: `mdna_agt_` and the first 32 hex digits of the SCID digest.
/// It is an alias for people; evidence carries the whole digest.
#[must_use]
pub fn display_id(kind: IdentityType, digest: &Hash) -> String {
    let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("mdna_{}_{hex}", kind.label())
}

/// A new identity and the keys that come with it.
pub struct Created {
    /// The DID log: one line with its newline.
    pub did_log: Vec<u8>,
    /// The digest in the SCID: the actor of headers.
    pub digest: Hash,
    /// The display id.
    pub id: String,
    /// Signs events and epoch certificates.
    pub actor: SecretKey,
    /// Signs the next version of the DID log; only its hash is published.
    pub next_update: SecretKey,
    /// Also committed for the next version; meant to live elsewhere.
    pub recovery: SecretKey,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Created({})", self.id)
    }
}

/// Creates an identity: version 1 of its DID log, signed by an update key
/// that is used this once and then forgotten.
///
/// # Errors
/// If the source of randomness fails.
pub fn create(kind: IdentityType, now_ms: u64, entropy: &dyn Entropy) -> Result<Created> {
    let update = SecretKey::generate(entropy)?;
    let actor = SecretKey::generate(entropy)?;
    let next_update = SecretKey::generate(entropy)?;
    let recovery = SecretKey::generate(entropy)?;
    let when = time::rfc3339_seconds(now_ms);
    let did = format!("did:webvh:{PLACEHOLDER}:local.invalid:{}", kind.label());
    let mut next = [&next_update, &recovery].map(|k| committed(k.public()).0);
    // Sorted, so that the order does not say which one is kept for recovery.
    next.sort();
    let update_key = update.public().multikey();
    let before_id = format!(
        concat!(
            r#"{{"parameters":{{"method":"did:webvh:1.0","nextKeyHashes":["{n0}","{n1}"],"portable":true,"scid":"{scid}","updateKeys":["{key}"]}},"#,
            r#""state":{{"@context":["https://www.w3.org/ns/did/v1","https://w3id.org/security/multikey/v1"],"#,
            r##""assertionMethod":["{did}#actor"],"authentication":["{did}#actor"],"id":"{did}","##,
            r##""verificationMethod":[{{"controller":"{did}","id":"{did}#actor","publicKeyMultibase":"{actor}","type":"Multikey"}}]}},"##,
        ),
        n0 = next[0],
        n1 = next[1],
        scid = PLACEHOLDER,
        key = update_key,
        did = did,
        actor = actor.public().multikey(),
    );
    let digest = sha256(&[entry(&before_id, PLACEHOLDER, &when).as_bytes()]);
    let scid = multihash(&digest);
    let before_id = before_id.replace(PLACEHOLDER, &scid);
    let did_log = signed_line(&before_id, 1, &scid, &when, &update);
    debug_assert_eq!(digest_of(&scid), Some(digest));
    Ok(Created { did_log, digest, id: display_id(kind, &digest), actor, next_update, recovery })
}

/// What a version commits to of a key: the text that stands in `nextKeyHashes`,
/// and the digest inside it.
#[must_use]
pub fn committed(key: &PublicKey) -> (String, Hash) {
    let digest = sha256(&[key.multikey().as_bytes()]);
    (multihash(&digest), digest)
}

/// A next version of an identity.
#[derive(Debug)]
pub enum Change<'a> {
    /// The document names another actor key, and other keys are committed for
    /// the version after it.
    Keys {
        /// The actor key from now on.
        actor: &'a PublicKey,
        /// Texts as [`committed`] makes them, in any order.
        next: Vec<String>,
    },
    /// The last version: the document stays, nobody may continue the log.
    Deactivate,
}

/// A DID log with one more version, signed by a key that the newest one commits
/// to: an update key, or the recovery key.
///
/// Deactivation takes one entry. The specification (didwebvh 1.0, Deactivate)
/// asks for `deactivated` alone; to empty `updateKeys` as well is a SHOULD that
/// would take an entry without pre-rotation before, on which whoever stole that
/// entry's update key could build.
///
/// # Errors
/// `identity.invalid` for a log that does not verify or a key that it does not
/// commit to; `identity.revoked` where it has ended.
pub fn extend(did_log: &[u8], change: &Change<'_>, by: &SecretKey, now_ms: u64) -> Result<Vec<u8>> {
    let known = DidLog::verify(did_log).map_err(|e| Error::new(Code::IdentityInvalid, e.to_string()))?;
    let latest = known.latest().ok_or_else(|| Error::new(Code::IdentityInvalid, "the DID log is empty"))?;
    if latest.deactivated {
        return Err(Error::new(Code::IdentityRevoked, format!("the identity ended with its version {}", latest.number)));
    }
    if !latest.next_key_hashes.contains(&committed(by.public()).0) {
        let message = format!("version {} of the identity does not commit to this key for the next one", latest.number);
        return Err(Error::new(Code::IdentityInvalid, message));
    }
    // In its own words, so that what else the document says stays.
    let text = String::from_utf8_lossy(did_log);
    let last = text.lines().next_back().unwrap_or_default();
    let json = Json::parse_canonical(last).map_err(|e| Error::new(Code::IdentityInvalid, e.to_string()))?;
    let state = json.get("state").map(|s| s.raw).unwrap_or_default();
    let update_key = by.public().multikey();
    let (parameters, state) = match change {
        Change::Keys { actor, next } => {
            let mut next: Vec<String> = next.iter().map(|hash| format!("\"{hash}\"")).collect();
            next.sort();
            let old = latest.actor_keys.first().map(PublicKey::multikey).unwrap_or_default();
            (format!(r#""nextKeyHashes":[{}],"updateKeys":["{update_key}"]"#, next.join(",")), state.replace(&old, &actor.multikey()))
        }
        Change::Deactivate => (format!(r#""deactivated":true,"nextKeyHashes":[],"updateKeys":["{update_key}"]"#), state.to_owned()),
    };
    // Whole seconds that ascend, whatever the clock says.
    let before = time::parse(&latest.time)?.ms;
    let when = time::rfc3339_seconds(now_ms.max(u64::try_from(before).unwrap_or(0).saturating_add(1_000)));
    let line = signed_line(&format!(r#"{{"parameters":{{{parameters}}},"state":{state},"#), latest.number + 1, &latest.id, &when, by);
    let whole = [did_log, &line].concat();
    DidLog::verify(&whole).map_err(|e| Error::new(Code::Bug, format!("a version that was just made is refused: {e}")))?;
    Ok(whole)
}

/// An entry without its proof: `before_id` and what comes after it in canonical
/// order.
fn entry(before_id: &str, version: &str, when: &str) -> String {
    format!(r#"{before_id}"versionId":"{version}","versionTime":"{when}"}}"#)
}

/// The line of version `number`, with its newline, that stands after the entry
/// (or the SCID) `after`.
fn signed_line(before_id: &str, number: u64, after: &str, when: &str, by: &SecretKey) -> Vec<u8> {
    let entry_hash = multihash(&sha256(&[entry(before_id, after, when).as_bytes()]));
    let unproven = entry(before_id, &format!("{number}-{entry_hash}"), when);
    let update_key = by.public().multikey();
    let config = format!(
        r##""created":"{when}","cryptosuite":"eddsa-jcs-2022","proofPurpose":"assertionMethod","type":"DataIntegrityProof","verificationMethod":"did:key:{update_key}#{update_key}"}}"##
    );
    let proof_options = sha256(&[b"{", config.as_bytes()]);
    let signature = by.sign_bytes(&[proof_options, sha256(&[unproven.as_bytes()])].concat());
    // In canonical order "proofValue" comes after "proofPurpose".
    let proof = format!("{{{config}").replacen(
        r#""type":"DataIntegrityProof""#,
        &format!(r#""proofValue":"{}","type":"DataIntegrityProof""#, encode_z(&signature)),
        1,
    );
    let line = unproven.replacen(r#""state":{"#, &format!(r#""proof":[{proof}],"state":{{"#), 1);
    format!("{line}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Counter(AtomicU8);
    impl Entropy for Counter {
        fn fill(&self, out: &mut [u8]) -> Result<()> {
            out.fill(self.0.fetch_add(1, Ordering::Relaxed));
            Ok(())
        }
    }

    #[test]
    fn a_new_identity_verifies_and_any_changed_byte_does_not() {
        let made = create(IdentityType::Agent, 1_770_000_000_123, &Counter(AtomicU8::new(1))).unwrap();
        let log = DidLog::verify(&made.did_log).unwrap();
        assert_eq!((log.digest, log.label.as_str()), (made.digest, "agt"));
        assert_eq!(log.latest().unwrap().actor_keys, [made.actor.public().clone()]);
        assert!(made.id.starts_with("mdna_agt_") && made.id.len() == 41);
        assert_eq!(DidLog::subject(&made.did_log).unwrap(), (made.digest, "agt".into()));
        for i in 0..made.did_log.len() {
            let mut bytes = made.did_log.clone();
            bytes[i] ^= 1;
            assert!(DidLog::verify(&bytes).is_err(), "byte {i} of {}", String::from_utf8_lossy(&made.did_log));
            // Without the proofs there is more that may change, but never whom it is of.
            assert!(DidLog::subject(&bytes).is_err() || DidLog::subject(&bytes) == DidLog::subject(&made.did_log), "byte {i}");
        }
    }

    #[test]
    fn a_life_of_an_identity_verifies_and_ends() {
        let entropy = Counter(AtomicU8::new(1));
        let made = create(IdentityType::Agent, 1_770_000_000_123, &entropy).unwrap();
        let keys = |n: u8| SecretKey::from_seed(&[n; 32]);
        let change = |actor: &SecretKey, next: [&SecretKey; 2]| {
            let next = next.map(|k| committed(k.public()).0).into();
            (actor.public().clone(), next)
        };
        // Rotated by the update key: the recovery key stays committed.
        let (actor, next) = change(&keys(100), [&keys(101), &made.recovery]);
        let two = extend(&made.did_log, &Change::Keys { actor: &actor, next }, &made.next_update, 1_770_000_000_200).unwrap();
        let log = DidLog::verify(&two).unwrap();
        assert_eq!((log.digest, log.latest().unwrap().actor_keys.as_slice()), (made.digest, &[actor][..]));
        assert_eq!(log.latest().unwrap().time, "2026-02-02T02:40:01Z", "a second later, whatever the clock says");
        assert!(two.starts_with(&made.did_log));
        // The key of before is used up, and so is one that nobody committed to.
        for wrong in [&made.next_update, &keys(7)] {
            let (actor, next) = change(&keys(102), [&keys(103), &made.recovery]);
            let refused = extend(&two, &Change::Keys { actor: &actor, next }, wrong, 0).unwrap_err();
            assert_eq!(refused.code(), Code::IdentityInvalid);
        }
        // By the recovery key, which commits to another one.
        let (actor, next) = change(&keys(104), [&keys(105), &keys(106)]);
        let three = extend(&two, &Change::Keys { actor: &actor, next }, &made.recovery, 1_770_000_100_000).unwrap();
        let four = extend(&three, &Change::Deactivate, &keys(105), 1_770_000_200_000).unwrap();
        let log = DidLog::verify(&four).unwrap();
        assert_eq!(log.versions.iter().map(|v| v.deactivated).collect::<Vec<_>>(), [false, false, false, true]);
        assert_eq!(log.latest().unwrap().actor_keys, log.versions[2].actor_keys);
        for key in [&keys(105), &keys(106)] {
            assert_eq!(extend(&four, &Change::Deactivate, key, 0).unwrap_err().code(), Code::IdentityRevoked);
        }
    }
}
