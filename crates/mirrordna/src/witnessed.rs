//! Up to where the witnesses of a policy have seen a log, by what its anchors
//! brought back.

use crate::checkpoint::of_log;
use crate::engine::Tenant;
use crate::proof::{join, noted};
use crate::view::Content;
use mirrordna_core::verify::note::Note;
use mirrordna_core::verify::policy::Policy;
use mirrordna_core::{Code, Kind, Result};
use std::collections::BTreeMap;

impl Tenant {
    /// Events below this position are covered by a checkpoint that a quorum of
    /// the policy's witnesses has cosigned, as `anchor` events record it; where it
    /// asks for no quorum, one witness is enough. 0 where there is none. What
    /// comes after is as sound as it is without witnesses: nobody else has seen it
    /// yet.
    ///
    /// # Errors
    /// `store.*`, `log.altered` where the log cannot be read or does not hold.
    pub fn witnessed(&self, policy: &Policy) -> Result<u64> {
        let log = &self.log;
        self.view(|view, tx| {
            let mut notes = BTreeMap::new();
            view.events(tx, log, (None, Some(log.system)), log.base, &mut |event| {
                if let (Kind::ANCHOR, Content::Public(body)) = (event.header.kind, &event.content)
                    && let Some((size, note)) = noted(body)
                {
                    join(&mut notes, size, note);
                }
                Ok(true)
            })?;
            let row = log.row(tx)?;
            log.learn_keys(tx, &row)?;
            for (size, note) in notes.into_iter().rev() {
                let cosigned = Note::parse(note.as_bytes()).map(|note| policy.cosigned(&note)).unwrap_or_default();
                let seen = cosigned.quorum && !cosigned.times.is_empty();
                // Only its second leaf names the logs before.
                if !seen || (log.base > 0 && size < 2) {
                    continue;
                }
                match of_log(tx, &row, &|size, note| log.signs(size, note), &note) {
                    Ok(_) => return Ok(log.base + size),
                    // An anchor of something else witnesses nothing of this log.
                    Err(e) if matches!(e.code(), Code::AnchorInvalid | Code::RolledBack | Code::Forked) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(0)
        })
    }
}
