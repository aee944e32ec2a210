//! What the events of a bundle say, as far as it discloses that.

use crate::timeline::{TimelineEvent, describe};
use crate::view;
use mirrordna_core::Leaf;
use mirrordna_core::body::Body;
use mirrordna_core::cipher::{self, Binding, Secret};
use mirrordna_core::identity::{IdentityType, display_id};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::bundle::Event;
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::{Hash, Kind};
use std::collections::HashMap;

/// Reads events as they are judged, in their order: identities are known by
/// what they themselves bring into the log.
#[derive(Debug, Default)]
pub struct Reader {
    names: HashMap<Hash, String>,
}

impl Reader {
    /// An event as a timeline shows it; `None` where its leaf is malformed. The
    /// `leaf` is the index in its log.
    pub fn event(&mut self, event: &Event<'_>) -> Option<TimelineEvent> {
        let leaf = Leaf::decode(event.leaf).ok()?;
        let header = leaf.header;
        let content = match event.body {
            Stored::Nothing if header.length == 0 => view::Content::None,
            Stored::Nothing => view::Content::Erased,
            Stored::Bytes(bytes) if header.kind.is_public() => {
                self.learn(header.kind, bytes);
                view::Content::Public(bytes.to_vec())
            }
            Stored::Bytes(_) | Stored::Unread(_) => view::Content::Locked,
            Stored::Opened(row, secret) => {
                let binding = Binding { log: event.log, actor: &header.actor, kind: header.kind };
                let body = cipher::open(&Secret::from_bytes(*secret), binding, row).and_then(|plain| Body::decode_padded(&plain));
                body.map_or(view::Content::Locked, view::Content::Private)
            }
        };
        let actor = self.names.get(&header.actor).cloned().unwrap_or_else(|| crate::keyring::hex(&header.actor));
        let found = view::Event { index: event.index, hash: event.hash, header, signed: leaf.signature.is_some(), content };
        Some(describe(&found, actor))
    }

    fn learn(&mut self, kind: Kind, bytes: &[u8]) {
        let decoded = PublicBody::decode(kind, bytes);
        let Ok(Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log } | PublicBody::Recover { did_log, .. })) = decoded
        else {
            return;
        };
        if let Ok((digest, label)) = DidLog::subject(did_log)
            && let Some(kind) = IdentityType::from_label(&label)
        {
            self.names.insert(digest, display_id(kind, &digest));
        }
    }
}
