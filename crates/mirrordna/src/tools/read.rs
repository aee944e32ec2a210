//! Reading evidence where there is no database: from a bundle, with the
//! secrets that it discloses.

use super::evidence::StatedEvidence;
use crate::keyring::hex;
use crate::proof::{Judgement, Policy, judge};
use mirrordna_core::body::Body;
use mirrordna_core::cipher::{self, Binding, Secret};
use mirrordna_core::identity::{IdentityType, display_id};
use mirrordna_core::tool::{COMPLETED, Missing, MissingLink, NewEvidence, REQUESTED, Told, ToolCall, call_id, says_complete};
use mirrordna_core::verify::Disputed;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::bundle::Event;
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::{Hash, Header, Kind, Leaf, Result};
use std::collections::HashMap;
use std::io::Read;

/// What a bundle says of calls of tools.
#[derive(Debug, Clone)]
pub struct EvidenceRead {
    /// What the verifier found. Where its verdict is `altered`, nothing below is
    /// worth anything; where it is `unproven`, nobody that is trusted signed it.
    pub judgement: Judgement,
    /// The statements of evidence, in the order of the log.
    pub statements: Vec<StatedEvidence>,
    /// All calls that the bundle discloses, in the order of the log.
    pub calls: Vec<ToolCall>,
}

/// What display ids of the engine's own actors begin with.
const ENGINE: &str = "mdna_sys_";

/// One disclosed event about calls.
struct Shown {
    log: [u8; 16],
    told: Told,
    header: Header,
}

impl Shown {
    /// The leaf, in its log, of the event by which its actor no longer stands by
    /// it, as far as the bundle shows one.
    fn disputed_by(&self, judgement: &Judgement) -> Option<u64> {
        let Header { actor, aseq, signer, .. } = &self.header;
        let log = judgement.logs.iter().find(|log| log.log == self.log)?;
        let of = |d: &&Disputed| d.actor == *actor && (d.first..=d.last).contains(aseq) && d.epoch.is_none_or(|epoch| epoch == *signer);
        log.report.disputed.iter().find(of).map(|d| d.by)
    }
}

/// Events of calls by type and call id, in the order of the bundle.
type ById<'a> = HashMap<(&'a str, &'a str), Vec<&'a Shown>>;

fn events<'a>(by_id: &ById<'a>, event_type: &str, id: &str) -> impl Iterator<Item = &'a Shown> {
    by_id.get(&(event_type, id)).cloned().unwrap_or_default().into_iter()
}

/// What ends a call refers to what began it, and is by the same actor.
fn ends(begun: &Shown, end: &Shown) -> bool {
    end.header.actor == begun.header.actor && end.header.refs.contains(&begun.told.hash)
}

/// Judges a bundle that is read from `file`, and reads what it discloses of
/// calls: each call by the events that the bundle proves, each statement with
/// the links that are missing in the bundle, whatever the statement says. Leaves
/// are counted in the log of each event.
///
/// ```
/// # use mirrordna::{Engine, IdentityType, NewCall, Outcome};
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// let call = agent.tools().requested(NewCall::new("scan/ports", "req-1").id("c1"))?;
/// call.completed(Outcome::success("22, 443"))?;
/// let mut file = Vec::new();
/// agent.evidence().finding("f-1").call("c1").write(&mut file)?;
///
/// let policy = mirrordna::proof::Policy::default().and(*engine.fingerprint().as_bytes());
/// let read = mirrordna::read_evidence(&mut file.as_slice(), policy)?;
/// assert_eq!(read.judgement.verdict.name(), "intact");
/// assert!(read.statements[0].chain_complete);
/// assert_eq!(read.calls[0].endpoint, "scan/ports");
/// # Ok::<(), mirrordna::Error>(())
/// ```
///
/// # Errors
/// As [`judge`]; `log.altered` where a disclosed event of a call is malformed.
pub fn read_evidence(file: &mut dyn Read, policy: Policy) -> Result<EvidenceRead> {
    let (mut shown, mut names) = (Vec::<Shown>::new(), HashMap::new());
    let judgement = judge(file, policy, &[], &mut |event| {
        if let Some((digest, name)) = named(event) {
            names.insert(digest, name);
        }
        shown.extend(disclosed(event));
    })?;
    let mut by_id = ById::new();
    for event in &shown {
        for event_type in [REQUESTED, COMPLETED] {
            if let Some(id) = call_id(&event.told.body, event_type) {
                by_id.entry((event_type, id)).or_default().push(event);
            }
        }
    }
    let mut calls = Vec::new();
    for begun in shown.iter().filter(|s| call_id(&s.told.body, REQUESTED).is_some()) {
        let agent = names.get(&begun.header.actor).cloned().unwrap_or_else(|| hex(&begun.header.actor));
        let id = call_id(&begun.told.body, REQUESTED).unwrap_or_default();
        let ended = events(&by_id, COMPLETED, id).find(|end| ends(begun, end));
        let call = ToolCall::read(&begun.told, ended.map(|end| &end.told), &agent)?;
        let disputed_by = [Some(begun), ended].into_iter().flatten().filter_map(|event| event.disputed_by(&judgement)).min();
        calls.push(ToolCall { disputed_by, ..call });
    }
    let mut statements = Vec::new();
    for stated in &shown {
        let Some(said) = NewEvidence::read(&stated.told.body) else { continue };
        let missing = |id: &String| {
            // What a statement rests on is what it refers to.
            let cited = |event: &&Shown| stated.header.refs.contains(&event.told.hash);
            let begun = events(&by_id, REQUESTED, id).find(cited);
            let ended = events(&by_id, COMPLETED, id).filter(cited).find(|end| begun.is_none_or(|begun| ends(begun, end)));
            // The log's own actor calls nothing: it says what it imported.
            let imported = |shown: &&Shown| names.get(&shown.header.actor).is_some_and(|name| name.starts_with(ENGINE));
            let why = match (begun, ended) {
                _ if begun.or(ended).is_some_and(|one| imported(&one)) => Missing::Imported,
                (Some(_), Some(_)) => return None,
                (Some(_), None) => Missing::NotCompleted,
                (None, Some(_)) => Missing::NotRequested,
                (None, None) => Missing::Unknown,
            };
            Some(MissingLink { call_id: id.clone(), why })
        };
        let missing_links: Vec<MissingLink> = said.call_ids.iter().filter_map(missing).collect();
        statements.push(StatedEvidence {
            event_id: said.event_id,
            finding_id: said.finding_id,
            call_ids: said.call_ids,
            correlation_id: said.correlation_id,
            chain_complete: missing_links.is_empty(),
            missing_links,
            stated_complete: says_complete(&stated.told.body),
            agent: names.get(&stated.header.actor).cloned().unwrap_or_else(|| hex(&stated.header.actor)),
            log: hex(&stated.log),
            leaf: stated.told.leaf,
        });
    }
    Ok(EvidenceRead { judgement, statements, calls })
}

/// The display id of the actor whose identity an event brings.
fn named(event: &Event<'_>) -> Option<(Hash, String)> {
    let Stored::Bytes(bytes) = event.body else { return None };
    let kind = Leaf::decode(event.leaf).ok()?.header.kind;
    let (PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log }) = PublicBody::decode(kind, bytes).ok()?? else { return None };
    let (digest, label) = DidLog::subject(did_log).ok()?;
    Some((digest, display_id(IdentityType::from_label(&label)?, &digest)))
}

/// An event about calls that can be read here.
fn disclosed(event: &Event<'_>) -> Option<Shown> {
    let Stored::Opened(row, secret) = event.body else { return None };
    let header = Leaf::decode(event.leaf).ok()?.header;
    let Header { log, actor, kind, time, .. } = &header;
    if *kind != Kind::EVENT {
        return None;
    }
    let plain = cipher::open(&Secret::from_bytes(*secret), Binding { log, actor, kind: *kind }, row).ok()?;
    let body = Body::decode_padded(&plain).ok()?;
    let told = Told { body, leaf: event.index, hash: event.hash, time: *time };
    Some(Shown { log: *event.log, told, header })
}
