//! The events of a bundle as a timeline shows them, a window of them.

use crate::json::{Json, Object, hex};
use crate::time;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use mirrordna_verify::body::PublicBody;
use mirrordna_verify::bundle::Event;
use mirrordna_verify::did::DidLog;
use mirrordna_verify::hash::{COMMIT_AES_GCM, Hash, hkdf_expand};
use mirrordna_verify::ledger::Stored;
use mirrordna_verify::{Header, Kind, Leaf};

/// HKDF label of the key that a private body is sealed with.
const SEAL: &[u8] = b"mdna.v1.seal";
/// Beginning of what a sealed body is bound to.
const BINDING: &[u8] = b"mdna.bd1";
/// Type segments of the DIDs of identities.
const LABELS: [&str; 3] = ["agt", "usr", "sys"];
/// Longer rows are not handed out: no screen shows them.
const MAX_ROW: usize = 96 << 10;

/// Notes the events that were asked for, from one on, so many of them.
pub(crate) struct Window {
    from: u64,
    count: u64,
    /// Events asked for so far.
    asked: u64,
    /// Their entries, with commas between them.
    entries: String,
    /// Which of [`LABELS`] an identity has, by its digest: what it brings into the
    /// log itself says so. The type is that of a map of the ledger, which spares
    /// the code of another one.
    labels: BTreeMap<Hash, u64>,
}

impl Window {
    /// The window that begins at one of the events asked for, counted from 0 in
    /// the order of the file.
    pub(crate) const fn new(from: u64, count: u64) -> Self {
        Self { from, count, asked: 0, entries: String::new(), labels: BTreeMap::new() }
    }

    /// Takes the next event of the file.
    pub(crate) fn take(&mut self, event: &Event<'_>) {
        let number = self.asked;
        self.asked += u64::from(event.asked);
        let shown = event.asked && number >= self.from && number - self.from < self.count;
        let Ok(leaf) = Leaf::decode(event.leaf) else { return };
        if let Stored::Bytes(body) = event.body {
            self.learn(leaf.header.kind, body);
        }
        if shown {
            self.enter(event, &leaf);
        }
    }

    /// Events asked for so far.
    pub(crate) const fn asked(&self) -> u64 {
        self.asked
    }

    /// The display id of an identity; of one that is not known, its digest.
    fn name(&self, actor: &Hash) -> String {
        match self.labels.get(actor).and_then(|label| LABELS.get(*label as usize)) {
            Some(label) => format!("mdna_{label}_{}", hex(&actor[..16])),
            None => hex(actor),
        }
    }

    fn learn(&mut self, kind: Kind, body: &[u8]) {
        let brings_identity = matches!(kind, Kind::LOG_GENESIS | Kind::IDENTITY_ENTRY | Kind::IDENTITY_RECOVER);
        let decoded = if brings_identity { PublicBody::decode(kind, body) } else { return };
        let Ok(Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log } | PublicBody::Recover { did_log, .. })) = decoded
        else {
            return;
        };
        if let Ok((digest, label)) = DidLog::subject(did_log)
            && let Some(label) = LABELS.iter().position(|known| *known == label)
        {
            self.labels.insert(digest, label as u64);
        }
    }

    fn enter(&mut self, event: &Event<'_>, leaf: &Leaf<'_>) {
        if !self.entries.is_empty() {
            self.entries.push(',');
        }
        let Header { kind, actor, aseq, length, time, .. } = &leaf.header;
        let body = match event.body {
            Stored::Nothing if *length == 0 => "none",
            Stored::Nothing => "erased",
            Stored::Bytes(_) if kind.is_public() => "clear",
            Stored::Bytes(_) | Stored::Unread(_) => "locked",
            Stored::Opened(..) => "readable",
        };
        let name = self.name(actor);
        let mut object = Object::new(&mut self.entries);
        object.put("section", event.section as u64).put("leaf", event.index).put("hash", hex(&event.hash));
        object.put("time", time::rfc3339(i64::try_from(*time).unwrap_or(i64::MAX)));
        object.put("kind", kind.name().map_or_else(|| format!("kind-{}", kind.0), ToString::to_string));
        object.put("actor", name).put("aseq", *aseq).put("signed", leaf.signature.is_some()).put("body", body);
        if let Stored::Opened(row, secret) = event.body {
            object.put("sealed", Sealed { event, header: &leaf.header, row, secret });
        }
        object.end();
    }
}

/// The entries as a JSON array.
impl Json for Window {
    fn json(&self, out: &mut String) {
        out.push('[');
        out.push_str(&self.entries);
        out.push(']');
    }
}

/// What opens a disclosed body: this crate has no AEAD, a browser has one.
struct Sealed<'a> {
    event: &'a Event<'a>,
    header: &'a Header,
    row: &'a [u8],
    secret: &'a Hash,
}

impl Json for Sealed<'_> {
    fn json(&self, out: &mut String) {
        let Self { event, header, row, secret } = self;
        let mut object = Object::new(out);
        let Some((commitment, sealed)) = row.split_first_chunk::<32>().filter(|_| row.len() <= MAX_ROW) else {
            return object.put("too_long", row.len() as u64).end();
        };
        if *commitment != hkdf_expand(secret, COMMIT_AES_GCM) {
            return object.put("aead", "xchacha20-poly1305").end();
        }
        let binding = [BINDING, event.log, &header.actor, &header.kind.0.to_be_bytes()].concat();
        object.put("aead", "aes-256-gcm").put("key", hex(&hkdf_expand(secret, SEAL)));
        object.put("bound_to", hex(&binding)).put("bytes", hex(sealed)).end();
    }
}
