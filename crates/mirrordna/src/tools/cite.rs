//! Citing a call, and checking what is cited. Each way in which a citation can
//! be wrong has a code of its own.

use super::{Tools, at, erased, find, imported, shown};
use crate::keyring::{hex, unhex};
use crate::log::Log;
use mirrordna_core::tool::{COMPLETED, ToolCall, ToolCitation, call_id};
use mirrordna_core::{Code, Error, Result};

/// Whether a citation's log is this one or one that it goes on from.
fn is_of(mut log: &Log, id: &str) -> bool {
    loop {
        if hex(&log.id) == id {
            return true;
        }
        match log.before.as_deref() {
            Some(before) => log = before,
            None => return false,
        }
    }
}

/// The first member in which a citation is not the one that the log gives.
fn difference(cited: &ToolCitation, given: &ToolCitation) -> &'static str {
    let members = [
        ("endpoint", cited.endpoint == given.endpoint),
        ("timestamp", cited.timestamp == given.timestamp),
        ("args_hash", cited.args_hash == given.args_hash),
        ("response_hash", cited.response_hash == given.response_hash),
        ("status", cited.status == given.status),
        ("latency_ms", cited.latency_ms == given.latency_ms),
        ("leaf", cited.leaf == given.leaf),
        ("leaf_hash", cited.leaf_hash == given.leaf_hash),
    ];
    members.into_iter().find(|(_, same)| !same).map_or("log", |(name, _)| name)
}

impl Tools {
    /// What an answer that rests on a call cites.
    ///
    /// # Errors
    /// `tool.incomplete` while the call is open; `citation.unknown` for one that
    /// was imported: this log does not record it; as [`Tools::get`] otherwise.
    pub fn citation(&self, call_id: &str) -> Result<ToolCitation> {
        let log = &self.tenant.log;
        let call = self.get(call_id)?;
        if self.tenant.view(|view, tx| Ok(find(view, tx, log, call_id)?.is_imported(log)))? {
            return Err(imported(call_id));
        }
        call.citation(&self.tenant.log.at(call.completed_leaf.unwrap_or(call.leaf)).0.id)
    }

    /// Checks a citation for a request, and returns the call that it is of. It
    /// holds for a call of this tenant's log that served this request, as the
    /// log has it, and for nothing else.
    ///
    /// # Errors
    /// The first of these that applies:
    ///
    /// | code | the citation |
    /// |---|---|
    /// | `citation.other_tenant` | names a log that is not this tenant's. Nothing is looked up then, here or there: the answer tells nothing about other tenants |
    /// | `citation.unknown` | names a call that this tenant's log does not have, or that was imported into it |
    /// | `body.erased` | was right, but the call's content was erased since |
    /// | `citation.replayed` | names an event that repeats the outcome of the call |
    /// | `citation.forged` | says something of the call that the log does not say |
    /// | `citation.other_request` | is right, but of a call for another request |
    /// | `citation.disputed` | is right, but its agent no longer stands by the call: who recorded it is open ([`ToolCall::disputed_by`]) |
    ///
    /// Also `key.missing` where contents are locked, `log.altered` where the
    /// call's evidence does not hold.
    pub fn verify_citation(&self, citation: &ToolCitation, request_id: &str) -> Result<ToolCall> {
        let log = &*self.tenant.log;
        log.readable()?;
        if !is_of(log, &citation.log) {
            return Err(Error::new(
                Code::CitationOtherTenant,
                format!("the citation names log {}, which is not this tenant's", shown(&citation.log)),
            ));
        }
        let cited_hash = unhex(&citation.leaf_hash);
        self.tenant.view(|view, tx| {
            let found = find(view, tx, log, &citation.call_id)?;
            let id = shown(&citation.call_id);
            let here = view.bare_event(tx, log, citation.leaf)?.filter(|e| Some(e.hash) == cited_hash);
            if found.requested.is_none() || found.completed.is_none() && found.erased {
                // Who knows the leaf hash of an outcome has seen it cited.
                let was = found.erased || here.is_some_and(|e| matches!(e.content, crate::view::Content::Erased));
                return Err(if was {
                    erased(&citation.call_id)
                } else {
                    Error::new(Code::CitationUnknown, format!("no call {id} is recorded in this tenant's log"))
                });
            }
            if found.is_imported(log) {
                return Err(imported(&citation.call_id));
            }
            let call = found.read(view, tx, log, &citation.call_id)?;
            let forged = |what: &str| Error::new(Code::CitationForged, format!("the call {id} has another {what} than the citation"));
            let Some(completed) = &found.completed else { return Err(forged("outcome: it has none")) };
            let given = call.citation(&log.at(completed.leaf).0.id)?;
            if given == *citation {
                if call.request_id != request_id {
                    return Err(Error::new(Code::CitationOtherRequest, format!("the call {id} served another request")));
                }
                return match call.disputed_by {
                    None => Ok(call),
                    Some(by) => Err(Error::new(
                        Code::CitationDisputed,
                        format!("the call {id} is as it was recorded, but its agent does not stand by it, says the event at {by}: who recorded it is open"),
                    )),
                };
            }
            if citation.leaf != given.leaf
                && here.is_some()
                && let Some(again) = at(view, tx, log, citation.leaf)?.noted()
                && call_id(&again.told.body, COMPLETED) == Some(&citation.call_id)
            {
                let message = format!("leaf {} repeats the outcome of the call {id}, which is at leaf {}", citation.leaf, given.leaf);
                return Err(Error::new(Code::CitationReplayed, message));
            }
            Err(forged(difference(citation, &given)))
        })
    }
}

#[cfg(test)]
#[cfg(feature = "memory")]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Engine, IdentityType, NewCall, Outcome};
    use mirrordna_core::body::field;
    use mirrordna_core::canon::Value;
    use mirrordna_core::{Hash, Kind};

    /// Appends an outcome of a call as somebody would who holds the agent's key
    /// and does not ask whether there is one.
    fn replay(tools: &Tools, outcome: Outcome, refs: impl FnOnce(Hash) -> Hash) -> crate::Appended {
        let call = tools.call("c1").unwrap();
        let mut body = outcome.into_body("evt_replayed", &call.requested.body, None).unwrap();
        let tag = tools.tenant.log.once_tag(&[COMPLETED, "c1"]).unwrap();
        body.set(field::DEDUPE, Value::Bytes(tag.to_vec()));
        let (inner, log) = (&tools.tenant.inner, &tools.tenant.log);
        let draft = inner.draft(log, &call.actor, Kind::EVENT, &body).unwrap();
        let draft = draft.referring_to(vec![refs(call.requested.hash)]).unwrap();
        inner.append(log, &call.actor, vec![(draft, None)]).unwrap().remove(0)
    }

    fn called(engine: &Engine) -> (Tools, crate::Call) {
        let tools = engine.identities().create(IdentityType::Agent).unwrap().tools();
        let call = tools.requested(NewCall::new("e", "r").id("c1")).unwrap();
        (tools, call)
    }

    #[test]
    fn an_outcome_that_is_recorded_again_cannot_be_cited() {
        let engine = Engine::open("memory:").unwrap();
        let (tools, call) = called(&engine);
        let own = call.failed("bad").unwrap();
        let again = replay(&tools, Outcome::success("better").latency_ms(1), |hash| hash);
        assert_eq!(tools.get("c1").unwrap(), own, "the first counts");
        let right = tools.citation("c1").unwrap();
        let replayed = ToolCitation { leaf: again.index, leaf_hash: hex(&again.leaf), ..right.clone() };
        assert_eq!(tools.verify_citation(&replayed, "r").unwrap_err().code(), Code::CitationReplayed);
        // Its hash at another place, or another hash at its place, is a forgery.
        let moved = ToolCitation { leaf: again.index, ..right.clone() };
        assert_eq!(tools.verify_citation(&moved, "r").unwrap_err().code(), Code::CitationForged);
        let swapped = ToolCitation { leaf_hash: hex(&again.leaf), ..right.clone() };
        assert_eq!(tools.verify_citation(&swapped, "r").unwrap_err().code(), Code::CitationForged);
        assert_eq!(tools.verify_citation(&right, "r").unwrap(), own);
    }

    #[test]
    fn an_outcome_that_refers_to_another_event_ends_no_call() {
        let engine = Engine::open("memory:").unwrap();
        let (tools, call) = called(&engine);
        replay(&tools, Outcome::success("better").latency_ms(1), |_| [7; 32]);
        assert_eq!(tools.get("c1").unwrap().response_status, None);
        assert_eq!(tools.listing().open().run().unwrap().items.len(), 1);
        assert_eq!(tools.evidence().call("c1").check().unwrap().missing_links.len(), 1);
        // Nor does its own outcome look as if it were recorded.
        assert_eq!(call.completed(Outcome::success("better").latency_ms(1)).unwrap_err().code(), Code::ToolCompleted);
    }

    #[test]
    fn open_calls_are_found_without_a_look_at_the_others() {
        let engine = Engine::open("memory:").unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        let tools = agent.tools();
        let request = |id: String| tools.requested(NewCall::new("e", "r").id(id)).unwrap();
        let open = |engine: &Engine| {
            let listed = engine.tools().listing().open().run().unwrap().items;
            listed.into_iter().map(|call| call.call_id).collect::<Vec<_>>()
        };
        let early = request("early".into());
        let late = request("late".into());
        // Beyond what one segment of the index holds.
        for n in 0..600 {
            request(format!("c{n}")).completed(Outcome::success("x").latency_ms(1)).unwrap();
        }
        request("last".into());
        assert_eq!(open(&engine), ["early", "late", "last"]);
        // One of an older segment ends.
        late.completed(Outcome::timeout().latency_ms(1)).unwrap();
        assert_eq!(open(&engine), ["early", "last"]);
        let before = crate::view::READ.get();
        assert_eq!(open(&engine), ["early", "last"]);
        let each = crate::view::READ.get() - before;
        assert!(each <= 8, "{each} events were read to find 2 open calls among 603");
        let all = tools.listing().run().unwrap().items;
        assert_eq!(all.iter().filter(|call| call.response_status.is_none()).count(), 2);
        assert!(crate::view::READ.get() - before > 1_200, "a listing of all reads them all");
        drop(early);
    }
}
