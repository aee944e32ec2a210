//! Identities: a did:webvh 1.0 log with pre-rotation, and the display id that
//! is read off it.

use crate::keys::SecretKey;
use crate::{Code, Entropy, Error, Hash, Result, time};
use mirrordna_verify::did::PLACEHOLDER;
use mirrordna_verify::hash::sha256;
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
    let mut next = [&next_update, &recovery].map(|k| multihash(&sha256(&[k.public().multikey().as_bytes()])));
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
    let entry = |body: &str, version: &str| format!(r#"{body}"versionId":"{version}","versionTime":"{when}"}}"#);
    let digest = sha256(&[entry(&before_id, PLACEHOLDER).as_bytes()]);
    let scid = multihash(&digest);
    let before_id = before_id.replace(PLACEHOLDER, &scid);
    let entry_hash = multihash(&sha256(&[entry(&before_id, &scid).as_bytes()]));
    let unproven = entry(&before_id, &format!("1-{entry_hash}"));
    let config = format!(
        r##""created":"{when}","cryptosuite":"eddsa-jcs-2022","proofPurpose":"assertionMethod","type":"DataIntegrityProof","verificationMethod":"did:key:{update_key}#{update_key}"}}"##
    );
    let proof_options = sha256(&[b"{", config.as_bytes()]);
    let signature = update.sign_bytes(&[proof_options, sha256(&[unproven.as_bytes()])].concat());
    // In canonical order "proofValue" comes after "proofPurpose".
    let proof = format!("{{{config}").replacen(
        r#""type":"DataIntegrityProof""#,
        &format!(r#""proofValue":"{}","type":"DataIntegrityProof""#, encode_z(&signature)),
        1,
    );
    let line = unproven.replacen(r#""state":{"#, &format!(r#""proof":[{proof}],"state":{{"#), 1);
    debug_assert_eq!(digest_of(&scid), Some(digest));
    Ok(Created { did_log: format!("{line}\n").into_bytes(), digest, id: display_id(kind, &digest), actor, next_update, recovery })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrordna_verify::did::DidLog;
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
}
