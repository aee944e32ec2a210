//! A judgement as JSON: the same keys as `mirrordna verify --json` and the other
//! verifiers give.

use crate::json::{Json, Object, hex};
use crate::time;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mirrordna_verify::bundle::{Freshness, Judgement, LogJudgement, Times};
use mirrordna_verify::ledger::{Bodies, MissingLink};
use mirrordna_verify::{Disputed, Problem};

/// Something of the verifier's that has a form in JSON.
struct As<'a, T>(&'a T);

/// Each of a list.
fn each<T>(list: &[T]) -> Vec<As<'_, T>> {
    list.iter().map(As).collect()
}

/// The whole of a judgement.
pub(crate) fn judgement(judged: &Judgement, out: &mut String) {
    As(judged).json(out);
}

impl Json for As<'_, Judgement> {
    fn json(&self, out: &mut String) {
        let Judgement { verdict, logs, problems, unlisted } = self.0;
        let mut object = Object::new(out);
        object.put("verdict", verdict.name()).put("logs", &each(logs)[..]);
        object.put("problems", &each(problems)[..]).put("unlisted", *unlisted).end();
    }
}

impl Json for As<'_, Problem> {
    fn json(&self, out: &mut String) {
        let Problem { code, place, message } = self.0;
        Object::new(out).put("code", *code).put("where", place).put("message", message).end();
    }
}

impl Json for As<'_, LogJudgement> {
    fn json(&self, out: &mut String) {
        let LogJudgement { log, label, scope, verdict, report, freshness, quorum, witnessed, times } = self.0;
        let freshness = match freshness {
            Freshness::Current => "current".to_string(),
            Freshness::Behind(events) => format!("behind {events}"),
            Freshness::Forked => "forked".to_string(),
            Freshness::Unproven => "unproven".to_string(),
        };
        let mut object = Object::new(out);
        object.put("log", hex(log)).put("scope", scope.name()).put("label", label).put("verdict", verdict.name());
        object.put("size", report.size).put("events", report.taken).put("head", hex(&report.root));
        object.put("log_key", report.log_key.as_ref().map(|key| hex(key)));
        object.put("identities", report.identities).put("bodies", As(&report.bodies));
        object.put("unsigned", report.unsigned).put("unattributed", report.unattributed);
        object.put("chain_complete", report.missing_links.is_empty()).put("missing_links", &each(&report.missing_links)[..]);
        object.put("freshness", freshness).put("quorum", *quorum).put("witnessed", *witnessed);
        object.put("adopted", report.adopted.as_ref().map(|adopted| hex(&adopted.log)));
        object.put("disputed", &each(&report.disputed)[..]).put("times", As(times)).end();
    }
}

impl Json for As<'_, Bodies> {
    fn json(&self, out: &mut String) {
        let Bodies { present, disclosed, unread, erased, missing } = *self.0;
        let mut object = Object::new(out);
        object.put("present", present).put("disclosed", disclosed).put("withheld", unread);
        object.put("erased", erased).put("missing", missing).end();
    }
}

impl Json for As<'_, MissingLink> {
    fn json(&self, out: &mut String) {
        let MissingLink { actor, from, to } = self.0;
        Object::new(out).put("actor", hex(actor)).put("from", *from).put("to", *to).end();
    }
}

impl Json for As<'_, Disputed> {
    fn json(&self, out: &mut String) {
        let Disputed { actor, epoch, first, last, first_leaf, last_leaf, count, by, .. } = self.0;
        let mut object = Object::new(out);
        object.put("actor", hex(actor)).put("epoch", *epoch).put("first", *first).put("last", *last);
        object.put("first_leaf", *first_leaf).put("last_leaf", *last_leaf).put("count", *count).put("by", *by).end();
    }
}

impl Json for As<'_, Times> {
    fn json(&self, out: &mut String) {
        let Times { not_before, not_after } = self.0;
        Object::new(out).put("not_before", &each(not_before)[..]).put("not_after", &each(not_after)[..]).end();
    }
}

/// A bound of time: a leaf, and seconds since 1970.
impl Json for As<'_, (u64, u64)> {
    fn json(&self, out: &mut String) {
        let (leaf, at) = *self.0;
        Object::new(out).put("leaf", leaf).put("time", time::seconds(at)).end();
    }
}
