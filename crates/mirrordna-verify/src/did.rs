//! did:webvh 1.0 logs, as mirrordna writes them: JSON Lines, each line in
//! canonical form, Ed25519 only, with mandatory pre-rotation.
//!
//! Source: didwebvh 1.0 (SCID, entry hash, `nextKeyHashes`) and W3C
//! eddsa-jcs-2022 (proof). Digests are taken over slices of the stored line,
//! so nothing is re-encoded.

use crate::hash::{Hash, sha256};
use crate::json::{Json, Value};
use crate::{Malformed, PublicKey, multibase};
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// The longest DID log that is read, in bytes.
pub const MAX_LOG: usize = 1 << 20;
/// The most update keys, committed keys and verification methods of a version:
/// each is tried where one of them is asked for.
const MAX_KEYS: usize = 64;
/// What stands for the SCID before it is known.
pub const PLACEHOLDER: &str = "{SCID}";

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("DID log", why)
}

/// The keys that one version of an identity names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Version number, from 1.
    pub number: u64,
    /// The whole `versionId`: the number and the hash of the entry.
    pub id: String,
    /// `versionTime`: what the entry claims, as text. The log that carries the
    /// entry says when it came into force.
    pub time: String,
    /// Keys of the document's verification methods: the actor keys.
    pub actor_keys: Vec<PublicKey>,
    /// Multihashes of the keys that may sign the next version.
    pub next_key_hashes: Vec<String>,
    /// The identity ends with this version: none may follow it.
    pub deactivated: bool,
    /// SHA-256 of the line, without its newline.
    pub line: Hash,
}

/// A verified DID log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DidLog {
    /// The digest inside the SCID: what event headers carry as actor.
    pub digest: Hash,
    /// Type segment of the DID: `agt`, `usr` or `sys`.
    pub label: String,
    /// All versions, oldest first; never empty.
    pub versions: Vec<Version>,
}

impl DidLog {
    /// Verifies a whole log: SCID, entry hashes, pre-rotation and proofs.
    ///
    /// # Errors
    /// With the first rule that an entry breaks.
    pub fn verify(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = lines(bytes)?;
        let mut log: Option<Self> = None;
        let (mut previous_id, mut previous_time) = (String::new(), "");
        for line in text.split('\n') {
            let entry = Entry::read(line)?;
            let actor_keys = entry.actor_keys()?;
            entry.check(log.as_ref(), &previous_id)?;
            // One form, so that the order of the texts is the order of the times.
            if entry.time <= previous_time {
                return Err(bad("has times that do not ascend"));
            }
            previous_time = entry.time;
            previous_id = String::from(entry.version_id);
            let version = entry.version(line, actor_keys);
            match &mut log {
                None => {
                    let digest = multibase::digest_of(entry.scid).ok_or(bad("has a SCID that is no SHA-256 multihash"))?;
                    log = Some(Self { digest, label: String::from(entry.label), versions: alloc::vec![version] });
                }
                Some(log) if log.label == entry.label => log.versions.push(version),
                Some(_) => return Err(bad("changes the type of the identity")),
            }
        }
        log.ok_or(bad("is empty"))
    }

    /// Whom a log is of: the digest in its SCID, and the type segment of its
    /// DID, which the digest commits to. That is all it says: neither are proofs
    /// checked here nor versions after the first, as [`DidLog::verify`] does.
    ///
    /// # Errors
    /// If the first entry is malformed, or not the one that its SCID is of.
    pub fn subject(bytes: &[u8]) -> Result<(Hash, String), Malformed> {
        let first = lines(bytes)?.split('\n').next().unwrap_or_default();
        let entry = Entry::read(first)?;
        if entry.number != 1 {
            return Err(bad("has version numbers that are not consecutive"));
        }
        entry.check_scid()?;
        let digest = multibase::digest_of(entry.scid).ok_or(bad("has a SCID that is no SHA-256 multihash"))?;
        Ok((digest, String::from(entry.label)))
    }

    /// The newest version.
    #[must_use]
    pub fn latest(&self) -> Option<&Version> {
        self.versions.last()
    }
}

/// The lines of a log, without the last newline.
fn lines(bytes: &[u8]) -> Result<&str, Malformed> {
    if bytes.len() > MAX_LOG {
        return Err(bad("is longer than 1 MiB"));
    }
    let text = core::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
    text.strip_suffix('\n').ok_or(bad("does not end with a newline"))
}

/// One parsed line.
struct Entry<'a> {
    version_id: &'a str,
    number: u64,
    entry_hash: &'a str,
    time: &'a str,
    scid: &'a str,
    label: &'a str,
    update_keys: Vec<&'a str>,
    next_key_hashes: Vec<&'a str>,
    deactivated: bool,
    /// Keys of the verification methods, as multikeys.
    actor_keys: Vec<&'a str>,
    /// The line without its proof member.
    unproven: String,
    proof: Proof<'a>,
}

struct Proof<'a> {
    /// The proof configuration: the proof without its value.
    config: String,
    key: &'a str,
    value: [u8; 64],
}

/// A string member; the canonical reader leaves plain strings borrowed from the line.
fn text<'a>(of: &Json<'a>, key: &str, why: &'static str) -> Result<&'a str, Malformed> {
    let node = of.get(key).ok_or(bad(why))?;
    plain(node).ok_or(bad(why))
}

/// The content of a string that needs no escapes, as a slice of the line.
fn plain<'a>(node: &Json<'a>) -> Option<&'a str> {
    match &node.value {
        Value::String(s) if s.len() + 2 == node.raw.len() => node.raw.get(1..node.raw.len() - 1),
        _ => None,
    }
}

fn list<'a>(of: &Json<'a>, key: &str, why: &'static str) -> Result<Vec<&'a str>, Malformed> {
    let items = of.get(key).and_then(Json::items).ok_or(bad(why))?;
    items.iter().map(|i| plain(i).ok_or(bad(why))).collect()
}

/// Whether a text is a time in UTC with whole seconds: `2026-02-02T02:40:00Z`.
fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00Z";
    text.len() == form.len() && text.bytes().zip(form).all(|(b, f)| if *f == b'0' { b.is_ascii_digit() } else { b == *f })
}

/// An object's text without one member; `None` where a key is written with escapes.
fn without(object: &Json<'_>, key: &str) -> Option<String> {
    let Value::Object(members) = &object.value else { return None };
    let mut out = String::with_capacity(object.raw.len());
    out.push('{');
    for (i, (k, v)) in members.iter().filter(|(k, _)| k != key).enumerate() {
        if i > 0 {
            out.push(',');
        }
        // A key that was unescaped on reading cannot be put back as it stood.
        if matches!(k, Cow::Owned(_)) {
            return None;
        }
        out.push('"');
        out.push_str(k);
        out.push_str("\":");
        out.push_str(v.raw);
    }
    out.push('}');
    Some(out)
}

impl<'a> Entry<'a> {
    fn read(line: &'a str) -> Result<Self, Malformed> {
        let top = Json::parse_canonical(line).map_err(|e| Malformed::new("DID log", e.why))?;
        let Value::Object(members) = &top.value else { return Err(bad("has a line that is no object")) };
        let known = ["parameters", "proof", "state", "versionId", "versionTime"];
        if !members.iter().map(|(k, _)| &**k).eq(known) {
            return Err(bad("has a line without exactly parameters, proof, state, versionId and versionTime"));
        }
        let version_id = text(&top, "versionId", "has no versionId")?;
        let (number, entry_hash) = version_id.split_once('-').ok_or(bad("has a malformed versionId"))?;
        let digits = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let number = number.parse().ok().filter(|_| digits).ok_or(bad("has a malformed versionId"))?;
        let time = text(&top, "versionTime", "has no versionTime")?;
        if !is_time(time) {
            return Err(bad("has a versionTime that is no time in UTC with whole seconds"));
        }
        let state = top.get("state").ok_or(bad("has no state"))?;
        let id = text(state, "id", "has a document without id")?;
        let (scid, label) = id
            .strip_prefix("did:webvh:")
            .and_then(|rest| rest.split_once(":local.invalid:"))
            .filter(|(_, label)| matches!(*label, "agt" | "usr" | "sys"))
            .ok_or(bad("has a document whose id is not did:webvh:<SCID>:local.invalid:<agt|usr|sys>"))?;
        let parameters = top.get("parameters").ok_or(bad("has no parameters"))?;
        if number == 1 {
            let method = text(parameters, "method", "has no method")?;
            if method != "did:webvh:1.0" || text(parameters, "scid", "has no scid")? != scid {
                return Err(bad("has another method or SCID than its document"));
            }
        } else if parameters.get("scid").is_some_and(|s| s.str() != Some(scid)) {
            return Err(bad("changes its SCID"));
        } else if parameters.get("method").is_some_and(|m| m.str() != Some("did:webvh:1.0")) {
            return Err(bad("changes its method"));
        }
        // A parameter that is not understood may change what the others mean.
        let known = ["deactivated", "method", "nextKeyHashes", "portable", "scid", "updateKeys"];
        let closed = matches!(&parameters.value, Value::Object(m) if m.iter().all(|(k, _)| known.contains(&&**k)));
        if !closed {
            return Err(bad("has a parameter that this version does not know"));
        }
        let update_keys = list(parameters, "updateKeys", "has no updateKeys")?;
        let next_key_hashes = list(parameters, "nextKeyHashes", "has no nextKeyHashes")?;
        let deactivated = match parameters.get("deactivated").map(|d| &d.value) {
            None => false,
            Some(Value::Bool(true)) if number > 1 => true,
            Some(_) => return Err(bad("has a deactivated that is not true, or in its first version")),
        };
        // There is no next version to commit to after the last one.
        if next_key_hashes.is_empty() != deactivated {
            return Err(bad(match deactivated {
                true => "commits to a version after it is deactivated",
                false => "has no key committed for the next version",
            }));
        }
        let methods = state.get("verificationMethod").and_then(Json::items).ok_or(bad("has no verificationMethod"))?;
        if [update_keys.len(), next_key_hashes.len(), methods.len()].iter().any(|n| *n > MAX_KEYS) {
            return Err(bad("names more than 64 keys of a sort"));
        }
        let actor_keys =
            methods.iter().map(|m| text(m, "publicKeyMultibase", "has a verification method without key")).collect::<Result<_, _>>()?;
        let proof = Proof::read(top.get("proof").ok_or(bad("has no proof"))?)?;
        let unproven = without(&top, "proof").ok_or(bad("has a line that is no object"))?;
        Ok(Self {
            version_id,
            number,
            entry_hash,
            time,
            scid,
            label,
            update_keys,
            next_key_hashes,
            deactivated,
            actor_keys,
            unproven,
            proof,
        })
    }

    fn actor_keys(&self) -> Result<Vec<PublicKey>, Malformed> {
        self.actor_keys.iter().map(|k| PublicKey::from_multikey(k).ok_or(bad("has an unacceptable key"))).collect()
    }

    /// The line without its proof, with another versionId in place of its own.
    fn with_id(&self, id: &str) -> Result<String, Malformed> {
        let own = alloc::format!("\"versionId\":\"{}\"", self.version_id);
        // The last occurrence: the document before it is free to hold the same text.
        let at = self.unproven.rfind(&own).ok_or(bad("has a malformed versionId"))?;
        let (head, tail) = (&self.unproven[..at], &self.unproven[at + own.len()..]);
        Ok(alloc::format!("{head}\"versionId\":\"{id}\"{tail}"))
    }

    /// Whether the SCID is that of this line, the first.
    fn check_scid(&self) -> Result<(), Malformed> {
        let genesis = self.with_id(PLACEHOLDER)?.replace(self.scid, PLACEHOLDER);
        if multibase::multihash(&sha256(&[genesis.as_bytes()])) != self.scid {
            return Err(bad("has a SCID that does not match its first entry"));
        }
        Ok(())
    }

    fn check(&self, before: Option<&DidLog>, previous_id: &str) -> Result<(), Malformed> {
        let count = before.map_or(0, |l| l.versions.len() as u64);
        if self.number != count + 1 {
            return Err(bad("has version numbers that are not consecutive"));
        }
        // The entry hash is taken with the previous versionId in place of its own.
        let anchor = if before.is_none() { self.scid } else { previous_id };
        if multibase::multihash(&sha256(&[self.with_id(anchor)?.as_bytes()])) != self.entry_hash {
            return Err(bad("has an entry whose hash does not match"));
        }
        if before.and_then(DidLog::latest).is_some_and(|v| v.deactivated) {
            return Err(bad("goes on after it was deactivated"));
        }
        match before {
            None => self.check_scid()?,
            Some(log) => {
                let committed = log.latest().map(|v| v.next_key_hashes.as_slice()).unwrap_or_default();
                let was_committed = |k: &&str| {
                    let h = multibase::multihash(&sha256(&[k.as_bytes()]));
                    committed.contains(&h)
                };
                if multibase::digest_of(self.scid) != Some(log.digest) {
                    return Err(bad("changes its SCID"));
                }
                if self.update_keys.is_empty() || !self.update_keys.iter().all(was_committed) {
                    return Err(bad("uses an update key that the version before did not commit to"));
                }
            }
        }
        if !self.update_keys.contains(&self.proof.key) {
            return Err(bad("is signed by a key that is no update key of it"));
        }
        let key = PublicKey::from_multikey(self.proof.key).ok_or(bad("has an unacceptable key"))?;
        let mut message = [0u8; 64];
        message[..32].copy_from_slice(&sha256(&[self.proof.config.as_bytes()]));
        message[32..].copy_from_slice(&sha256(&[self.unproven.as_bytes()]));
        if !key.verifies(&message, &self.proof.value) {
            return Err(bad("has an entry whose signature does not verify"));
        }
        Ok(())
    }

    fn version(&self, line: &str, actor_keys: Vec<PublicKey>) -> Version {
        Version {
            number: self.number,
            id: String::from(self.version_id),
            time: String::from(self.time),
            actor_keys,
            next_key_hashes: self.next_key_hashes.iter().map(|s| String::from(*s)).collect(),
            deactivated: self.deactivated,
            line: sha256(&[line.as_bytes()]),
        }
    }
}

impl<'a> Proof<'a> {
    fn read(member: &Json<'a>) -> Result<Self, Malformed> {
        let [proof] = member.items().ok_or(bad("has a proof that is no list"))? else {
            return Err(bad("has more or less than one proof"));
        };
        let fixed = [("type", "DataIntegrityProof"), ("cryptosuite", "eddsa-jcs-2022"), ("proofPurpose", "assertionMethod")];
        for (key, want) in fixed {
            if text(proof, key, "has an incomplete proof")? != want {
                return Err(bad("has a proof of another type, suite or purpose"));
            }
        }
        let method = text(proof, "verificationMethod", "has an incomplete proof")?;
        let (did, key) = method.split_once('#').ok_or(bad("has a proof by something that is no did:key"))?;
        if did.strip_prefix("did:key:") != Some(key) {
            return Err(bad("has a proof by something that is no did:key"));
        }
        let value = multibase::decode_z(text(proof, "proofValue", "has an incomplete proof")?, 64);
        let value = value.and_then(|v| v.try_into().ok()).ok_or(bad("has a proof value that is no signature"))?;
        let config = without(proof, "proofValue").ok_or(bad("has a proof with a key that needs escapes"))?;
        Ok(Self { config, key, value })
    }
}
