//! The ledger of tool calls: what is recorded, what may be cited, what is
//! refused, and what evidence says of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::proof::{self, Policy};
use mirrordna::{
    Code, ContentHash, Engine, HashForm, Identity, IdentityType, Missing, MissingLink, NewCall, Outcome, Status, ToolCall, ToolCitation,
};
use mirrordna_core::verify::Verdict;
use mirrordna_core::verify::ledger::Stored;
use std::sync::Barrier;

fn engine() -> (Engine, Identity) {
    let engine = Engine::open("memory:").unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    (engine, agent)
}

fn done(agent: &Identity, id: &str, request: &str) -> ToolCall {
    let call = agent.tools().requested(NewCall::new("risk/findings", request).id(id).args(id)).unwrap();
    call.completed(Outcome::success("three findings").latency_ms(12)).unwrap()
}

fn ids(calls: &[ToolCall]) -> Vec<&str> {
    calls.iter().map(|c| c.call_id.as_str()).collect()
}

#[test]
fn a_call_is_two_events_that_say_all_of_it() {
    let (engine, agent) = engine();
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    let new = NewCall {
        tenant_id: Some("acme".into()),
        occurred_at: Some(1_772_000_000_123),
        ..NewCall::new("platform/risk", "req-1").args(b"\x00bytes\xff").redacted(r#"{"finding": "***"}"#)
    };
    let call = session.tools().requested(new).unwrap();
    let open = engine.tools().get(call.id()).unwrap();
    assert_eq!((open.response_status, open.completed_leaf, open.latency_ms), (None, None, None));
    assert!(call.id().starts_with("call_") && call.id().len() == 31, "{}", call.id());

    let ended = call.completed(Outcome::error(r#"{"error":"denied"}"#).summary(r#"{"total": 0}"#)).unwrap();
    assert_eq!(ended, engine.tools().get(call.id()).unwrap());
    assert_eq!((ended.endpoint.as_str(), ended.request_id.as_str()), ("platform/risk", "req-1"));
    assert_eq!((ended.tenant_id.as_deref(), ended.user_id.as_deref(), ended.agent.as_str()), (Some("acme"), Some(user.id()), agent.id()));
    assert_eq!((ended.session.as_deref(), ended.subject.as_deref()), (Some(session.id()), Some(user.id())));
    assert_eq!(ended.timestamp, "2026-02-25T06:13:20.123Z");
    assert_eq!(ended.args_hash, ContentHash::of(b"\x00bytes\xff").to_string());
    assert_eq!(ended.args_redacted.as_deref(), Some(r#"{"finding": "***"}"#));
    assert_eq!(ended.response_hash, Some(ContentHash::of(r#"{"error":"denied"}"#).to_string()));
    assert_eq!((ended.response_status, ended.response_summary.as_deref()), (Some(Status::Error), Some(r#"{"total": 0}"#)));
    assert!(ended.latency_ms.is_some(), "the engine measures what nobody says");
    assert_eq!((ended.hash_form, ended.args_checked), (HashForm::Bytes, None));

    // Ordinary events of the timeline, encrypted, the second bound to the first.
    let events = session.timeline().list(0, 100).unwrap();
    let of: Vec<_> = events.iter().filter_map(|e| e.event_type.as_deref().map(|t| (t, e.leaf, e.body))).collect();
    assert_eq!(of, [("tool.requested", ended.leaf, "readable"), ("tool.completed", ended.completed_leaf.unwrap(), "readable")]);
    assert_eq!(engine.timeline().get(ended.leaf).unwrap().hash, ended.hash);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn digests_are_over_the_bytes_or_over_canonical_json() {
    // SHA-256 of "abc", FIPS 180-4.
    assert_eq!(ContentHash::of("abc").to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let of = |json: &str| ContentHash::of_json(json).unwrap();
    assert_eq!(of(r#"{"b": 1.0, "a": [true, "\u00e9"]}"#), of(r#"{"a":[true,"é"],"b":1}"#));
    assert_eq!(of(r#"{"b": 1.0, "a": [true, "\u00e9"]}"#), ContentHash::of(r#"{"a":[true,"é"],"b":1}"#));
    assert_ne!(ContentHash::of(r#"{"b": 1}"#), of(r#"{"b": 1}"#));
    assert_eq!(ContentHash::of_json(r#"{"a":1,"a":2}"#).unwrap_err().code(), Code::JsonInvalid);
    let digest = ContentHash::of("abc");
    assert_eq!(digest.to_string().parse::<ContentHash>().unwrap(), digest);
    for wrong in ["", "ab", &"g".repeat(64), &"a".repeat(66), "éé"] {
        assert_eq!(wrong.parse::<ContentHash>().unwrap_err().code(), Code::InputInvalid, "{wrong}");
    }
}

#[test]
fn an_id_is_used_once_and_a_call_ends_once() {
    let (engine, agent) = engine();
    let other = engine.identities().create(IdentityType::Agent).unwrap();
    let new = || NewCall::new("platform/risk", "req-1").id("c1").args("a");
    let first = agent.tools().requested(new()).unwrap();
    let again = agent.tools().requested(new()).unwrap();
    assert_eq!((again.event().index, again.event().existed), (first.event().index, true));
    for wrong in [new().args("b"), NewCall { request_id: "req-2".into(), ..new() }, new().redacted("1"), new().user("u")] {
        assert_eq!(agent.tools().requested(wrong).unwrap_err().code(), Code::ToolExists);
    }
    assert_eq!(other.tools().requested(new()).unwrap_err().code(), Code::ToolExists, "of another agent");

    let before = engine.timeline().len().unwrap();
    let ended = first.completed(Outcome::success("x")).unwrap();
    // The latency was measured: a retry of the same record is the same.
    assert_eq!(again.completed(Outcome::success("x")).unwrap(), ended);
    assert_eq!(engine.tools().call("c1").unwrap().completed(Outcome::success("x")).unwrap(), ended);
    for wrong in [Outcome::success("y"), Outcome::error("x"), Outcome::timeout(), Outcome::success("x").summary("1")] {
        assert_eq!(first.completed(wrong).unwrap_err().code(), Code::ToolCompleted);
    }
    let measured = ended.latency_ms.unwrap();
    assert_eq!(first.completed(Outcome::success("x").latency_ms(measured + 1)).unwrap_err().code(), Code::ToolCompleted);
    assert_eq!(first.completed(Outcome::success("x").latency_ms(measured)).unwrap(), ended);
    assert_eq!(engine.timeline().len().unwrap(), before + 1);

    assert_eq!(engine.tools().requested(new()).unwrap_err().code(), Code::InputInvalid, "nobody calls");
    assert_eq!(engine.tools().get("c2").unwrap_err().code(), Code::NotFound);
    assert_eq!(engine.tools().call("c2").unwrap_err().code(), Code::NotFound);
    for (wrong, code) in [
        (NewCall::new("", "r"), Code::InputInvalid),
        (NewCall::new("e", ""), Code::InputInvalid),
        (NewCall::new("e", "r").id("a\nb"), Code::InputInvalid),
        (NewCall::new("e", "r").id("x".repeat(513)), Code::LimitExceeded),
        (NewCall::new("e", "r").redacted("{"), Code::JsonInvalid),
        (NewCall::new("e", "r").redacted(format!("\"{}\"", "x".repeat(70_000))), Code::LimitExceeded),
    ] {
        assert_eq!(agent.tools().requested(wrong).unwrap_err().code(), code);
    }
    assert_eq!(engine.timeline().len().unwrap(), before + 1);
}

#[test]
fn attempts_name_the_one_before() {
    let (engine, agent) = engine();
    let first = agent.tools().requested(NewCall::new("platform/risk", "req-1").args("a").redacted("{}").user("sam")).unwrap();
    first.timed_out().unwrap();
    let second = first.retry().unwrap();
    second.failed("busy").unwrap();
    let third = second.retry().unwrap();
    third.completed(Outcome::success("ok")).unwrap();
    let calls = engine.tools().listing().request("req-1").run().unwrap().items;
    assert_eq!(calls.iter().map(|c| c.attempt_of.as_deref()).collect::<Vec<_>>(), [None, Some(first.id()), Some(second.id())]);
    assert_eq!(calls.iter().map(|c| c.response_status.unwrap()).collect::<Vec<_>>(), [Status::Timeout, Status::Error, Status::Success]);
    assert!(calls.iter().all(|c| c.args_hash == calls[0].args_hash && c.user_id.as_deref() == Some("sam") && c.args_redacted.is_some()));
    assert_eq!((calls[0].response_hash.as_deref(), engine.tools().citation(first.id()).unwrap().status), (None, Status::Timeout));
    let tools = agent.tools();
    assert_eq!(tools.requested(NewCall::new("e", "req-1").attempt_of("nobody")).unwrap_err().code(), Code::NotFound);
    assert_eq!(tools.requested(NewCall::new("e", "req-2").attempt_of(first.id())).unwrap_err().code(), Code::InputInvalid);
}

#[test]
fn calls_are_listed_by_request_session_agent_and_range() {
    let (engine, agent) = engine();
    let other = engine.identities().create(IdentityType::Agent).unwrap();
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    done(&agent, "a1", "req-1");
    session.timeline().append("between", &serde_json::json!({})).unwrap();
    session.tools().requested(NewCall::new("e", "req-1").id("s1")).unwrap();
    done(&other, "o1", "req-1");
    session.tools().requested(NewCall::new("e", "req-2").id("s2")).unwrap().timed_out().unwrap();
    done(&agent, "a2", "req-2");
    let listed = |listing: mirrordna::CallListing| listing.run().unwrap().items;
    let all = engine.tools();
    assert_eq!(ids(&listed(all.listing())), ["a1", "s1", "o1", "s2", "a2"]);
    assert_eq!(ids(&listed(all.listing().request("req-1"))), ["a1", "s1", "o1"]);
    assert_eq!(ids(&listed(all.listing().open())), ["s1"]);
    assert_eq!(ids(&listed(agent.tools().listing())), ["a1", "s1", "s2", "a2"]);
    assert_eq!(ids(&listed(agent.tools().listing().request("req-1"))), ["a1", "s1"]);
    assert_eq!(ids(&listed(session.tools().listing())), ["s1", "s2"]);
    assert_eq!(ids(&listed(session.tools().listing().request("req-2"))), ["s2"]);
    assert!(listed(all.listing().request("req-3")).is_empty());
    let leaf = |id: &str| all.get(id).unwrap().leaf;
    assert_eq!(ids(&listed(all.listing().leaves(leaf("s1")..leaf("s2")))), ["s1", "o1"]);
    let mut pages = Vec::new();
    let mut listing = all.listing().limit(2);
    loop {
        let page = listing.clone().run().unwrap();
        pages.push(ids(&page.items).join(" "));
        match page.next {
            Some(next) => listing = all.listing().limit(2).after(next),
            None => break,
        }
    }
    assert_eq!(pages, ["a1 s1", "o1 s2", "a2"]);
    assert_eq!(all.listing().after("nobody").run().unwrap_err().code(), Code::NotFound);
    // An ended session keeps its open calls: there they are found.
    let id = session.id().to_owned();
    session.end().unwrap();
    assert_eq!(listed(all.listing().open())[0].session.as_deref(), Some(id.as_str()));
}

/// A citation with one member changed.
fn changed(citation: &ToolCitation, change: impl FnOnce(&mut ToolCitation)) -> ToolCitation {
    let mut changed = citation.clone();
    change(&mut changed);
    assert_ne!(&changed, citation);
    changed
}

#[test]
fn what_is_cited_holds_for_its_call_its_request_and_its_tenant_only() {
    let (engine, agent) = engine();
    let call = done(&agent, "c1", "req-1");
    done(&agent, "c2", "req-1");
    let tools = engine.tools();
    let citation = tools.citation("c1").unwrap();
    assert_eq!((citation.leaf, Some(&citation.leaf_hash)), (call.completed_leaf.unwrap(), call.completed_hash.as_ref()));
    assert_eq!(tools.verify_citation(&citation, "req-1").unwrap(), call);
    // As text and back.
    let text = serde_json::to_string(&citation).unwrap();
    let read: ToolCitation = serde_json::from_str(&text).unwrap();
    assert_eq!(tools.verify_citation(&read, "req-1").unwrap(), call);
    let names = serde_json::to_value(&citation).unwrap();
    let names: Vec<&String> = names.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 10, "every member is tried below: {names:?}");

    let refused = |citation: &ToolCitation, request: &str| tools.verify_citation(citation, request).unwrap_err().code();
    assert_eq!(refused(&citation, "req-2"), Code::CitationOtherRequest);
    assert_eq!(refused(&citation, ""), Code::CitationOtherRequest);
    assert_eq!(refused(&changed(&citation, |c| c.call_id = "c3".into()), "req-1"), Code::CitationUnknown);
    let forged: [fn(&mut ToolCitation); 9] = [
        |c| c.call_id = "c2".into(),
        |c| c.endpoint.push('x'),
        |c| c.timestamp = "2026-01-01T00:00:00.000Z".into(),
        |c| c.args_hash = ContentHash::of("other").to_string(),
        |c| c.response_hash = None,
        |c| c.status = Status::Error,
        |c| c.latency_ms = Some(13),
        |c| c.leaf += 1,
        |c| c.leaf_hash = ContentHash::of("other").to_string(),
    ];
    for forge in forged {
        let forged = changed(&citation, forge);
        assert_eq!(refused(&forged, "req-1"), Code::CitationForged, "{forged:?}");
        assert_eq!(refused(&forged, "req-2"), Code::CitationForged, "{forged:?}");
    }
    assert_eq!(refused(&changed(&citation, |c| c.leaf_hash = "no hash".into()), "req-1"), Code::CitationForged);
    assert_eq!(refused(&changed(&citation, |c| c.leaf = u64::MAX), "req-1"), Code::CitationForged);

    // What has not come back cannot be cited, nor can its request be passed off.
    let open = agent.tools().requested(NewCall::new("e", "req-1").id("c4")).unwrap();
    assert_eq!(tools.citation("c4").unwrap_err().code(), Code::ToolIncomplete);
    let early = changed(&citation, |c| (c.call_id, c.leaf) = ("c4".into(), open.event().index));
    assert_eq!(refused(&early, "req-1"), Code::CitationForged);

    // Another tenant: the same ids, another log.
    let acme = engine.tenant("acme").unwrap();
    let stranger = acme.identities().create(IdentityType::Agent).unwrap();
    done(&stranger, "c1", "req-1");
    let elsewhere = |c: &ToolCitation| acme.tools().verify_citation(c, "req-1").unwrap_err();
    assert_eq!(elsewhere(&citation).code(), Code::CitationOtherTenant);
    // Whether the call exists there or not makes no difference to the answer.
    let nothing = changed(&citation, |c| (c.call_id, c.leaf) = ("nobody".into(), 3));
    assert_eq!(elsewhere(&nothing).to_string(), elsewhere(&citation).to_string());
    let own_log = acme.tools().citation("c1").unwrap().log;
    assert_eq!(elsewhere(&changed(&citation, |c| c.log = own_log.clone())).code(), Code::CitationForged);
    assert_eq!(elsewhere(&changed(&citation, |c| (c.log, c.call_id) = (own_log.clone(), "c2".into()))).code(), Code::CitationUnknown);
    assert_eq!(elsewhere(&changed(&citation, |c| c.log = "no log".into())).code(), Code::CitationOtherTenant);
}

#[test]
fn of_callers_that_use_one_id_at_once_exactly_one_wins() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    for round in 0..8 {
        let barrier = Barrier::new(6);
        let outcomes: Vec<_> = std::thread::scope(|s| {
            let call = |n: usize| {
                let (agent, barrier) = (&agent, &barrier);
                s.spawn(move || {
                    let new = NewCall::new("e", "r").id(format!("c{round}")).args(n.to_string());
                    barrier.wait();
                    agent.tools().requested(new).map(|call| (n, call))
                })
            };
            let threads: Vec<_> = (0..6).map(call).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 5));
        assert!(lost.into_iter().all(|e| e.unwrap_err().code() == Code::ToolExists));
        let (n, call) = won.into_iter().next().unwrap().unwrap();
        assert_eq!(engine.tools().get(call.id()).unwrap().args_hash, ContentHash::of(n.to_string()).to_string());
        // And of outcomes.
        let ended: Vec<_> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..4)
                .map(|n| {
                    s.spawn({
                        let call = &call;
                        move || call.completed(Outcome::success(n.to_string()))
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(ended.iter().filter(|e| e.is_ok()).count(), 1);
        assert!(ended.iter().filter_map(|e| e.as_ref().err()).all(|e| e.code() == Code::ToolCompleted));
    }
    drop(agent);
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}

#[test]
fn the_ledger_is_there_again_after_the_database_was_opened_anew() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let call = done(&agent, "c1", "req-1");
    agent.tools().requested(NewCall::new("e", "req-2").id("c2")).unwrap();
    let citation = engine.tools().citation("c1").unwrap();
    drop(agent);
    engine.close().unwrap();

    let engine = place.open();
    assert_eq!(engine.tools().verify_citation(&citation, "req-1").unwrap(), call);
    assert_eq!(ids(&engine.tools().listing().request("req-2").open().run().unwrap().items), ["c2"]);
    // Another process than the one that called says how it ended.
    assert_eq!(engine.tools().call("c2").unwrap().failed("gone").unwrap().response_status, Some(Status::Error));
    engine.close().unwrap();

    // Without the keys nothing of it can be read, and nothing else is said.
    let reader = place.builder().keys(mirrordna::Keys::Folder(place.dir.path().join("none"))).read_only().open().unwrap();
    assert_eq!(reader.tools().get("c1").unwrap_err().code(), Code::KeyMissing);
    assert_eq!(reader.tools().listing().run().unwrap_err().code(), Code::KeyMissing);
    assert_eq!(reader.tools().verify_citation(&citation, "req-1").unwrap_err().code(), Code::KeyMissing);
}

#[test]
fn evidence_names_what_is_missing_and_is_signed() {
    let (engine, agent) = engine();
    let (one, two) = (done(&agent, "c1", "req-1"), done(&agent, "c2", "req-2"));
    agent.tools().requested(NewCall::new("e", "req-1").id("c3")).unwrap();
    let complete = agent.evidence().event("ev-1").finding("f-1").correlation("corr-1").calls(["c2", "c1", "c2"]).build().unwrap();
    assert!(complete.chain_complete && complete.missing_links.is_empty());
    assert_eq!(complete.call_ids, ["c2", "c1"], "one that is named twice counts once");
    assert_eq!(complete.requests.iter().collect::<Vec<_>>(), ["req-1", "req-2"]);
    let leaves = [one.leaf, one.completed_leaf.unwrap(), two.leaf, two.completed_leaf.unwrap(), complete.statement.unwrap()];
    assert_eq!(complete.leaves, leaves);
    let statement = engine.timeline().get(complete.statement.unwrap()).unwrap();
    assert_eq!((statement.event_type.as_deref(), statement.signed), (Some("evidence"), true));
    assert_eq!(complete.statement_hash, Some(statement.hash));

    let broken = agent.evidence().calls(["c1", "c3", "nobody"]).build().unwrap();
    let link = |id: &str, why| MissingLink { call_id: id.into(), why };
    assert_eq!(broken.missing_links, [link("c3", Missing::NotCompleted), link("nobody", Missing::Unknown)]);
    assert!(!broken.chain_complete);
    assert_eq!(broken.leaves.len(), 4, "what there is of them, and the statement");

    // Only an agent states it; anybody of the tenant may look.
    assert_eq!(engine.evidence().call("c1").build().unwrap_err().code(), Code::InputInvalid);
    let before = engine.timeline().len().unwrap();
    let looked = engine.evidence().call("c1").check().unwrap();
    assert_eq!((looked.chain_complete, looked.statement, looked.leaves.len()), (true, None, 2));
    assert!(!engine.tenant("acme").unwrap().evidence().call("c1").check().unwrap().chain_complete);
    assert_eq!(agent.evidence().build().unwrap_err().code(), Code::InputInvalid);
    assert_eq!(agent.evidence().calls((0..513).map(|n| n.to_string())).build().unwrap_err().code(), Code::LimitExceeded);
    assert_eq!(agent.evidence().call("a\u{7}").check().unwrap_err().code(), Code::InputInvalid);
    assert_eq!(engine.timeline().len().unwrap(), before);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn an_irreversible_call_is_signed_at_once() {
    let (engine, agent) = engine();
    let reversible = agent.tools().requested(NewCall::new("mail/draft", "r")).unwrap();
    let irreversible = agent.tools().requested(NewCall::new("mail/send", "r").irreversible()).unwrap();
    let signed = |leaf| engine.timeline().get(leaf).unwrap().signed;
    assert!(signed(irreversible.event().index) && !signed(reversible.event().index));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_bundle_of_evidence_is_judged_with_nothing_but_the_fingerprint() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    done(&agent, "c1", "req-1");
    agent.memories().add("between the two, and nobody's business").send().unwrap();
    done(&agent, "c2", "req-1");
    let mut file = Vec::new();
    let (chain, bundled) = agent.evidence().finding("f-1").calls(["c1", "c2"]).write(&mut file).unwrap();
    assert_eq!((bundled.bytes, bundled.disclosed), (file.len() as u64, 5));
    assert!(chain.chain_complete);
    let policy = || Policy::default().and(*engine.fingerprint().as_bytes());
    let judged = |file: &[u8], policy| proof::judge(&mut &*file, policy, &[], &mut |_| {}).unwrap();
    let found = judged(&file, policy());
    let report = &found.logs[0].report;
    assert_eq!((found.verdict, report.missing_links.len(), report.unattributed), (Verdict::Intact, 0, 0), "{found:#?}");
    assert_eq!(judged(&file, Policy::default()).verdict, Verdict::Unproven, "nobody vouches for the key");
    // What is asked for is what the chain names, and what stays secret stays so.
    let mut asked = Vec::new();
    proof::judge(&mut file.as_slice(), policy(), &[], &mut |event| {
        let opened = matches!(event.body, Stored::Opened(..));
        assert_eq!(opened, event.asked, "leaf {}", event.index);
        asked.extend(event.asked.then_some(event.index));
    })
    .unwrap();
    assert_eq!(asked, chain.leaves);
    // Its reader has the whole of it without a database.
    let read = mirrordna::read_evidence(&mut file.as_slice(), policy()).unwrap();
    assert_eq!(read.calls, [engine.tools().get("c1").unwrap(), engine.tools().get("c2").unwrap()]);
    let stated = &read.statements[0];
    assert_eq!((stated.finding_id.as_deref(), &stated.call_ids, &stated.agent), (Some("f-1"), &chain.call_ids, &agent.id().to_owned()));
    assert!(stated.chain_complete && stated.stated_complete && read.statements.len() == 1);
    // A bundle of the statement alone proves what it says, but not the calls.
    let mut alone = Vec::new();
    engine.main().prove(&[chain.statement.unwrap(), chain.leaves[0]]).disclose().write(&mut alone).unwrap();
    let read = mirrordna::read_evidence(&mut alone.as_slice(), policy()).unwrap();
    let link = |id: &str, why| MissingLink { call_id: id.into(), why };
    assert_eq!(read.judgement.verdict, Verdict::Intact);
    assert_eq!(read.statements[0].missing_links, [link("c1", Missing::NotCompleted), link("c2", Missing::Unknown)]);
    assert!(read.statements[0].stated_complete && !read.statements[0].chain_complete);
    // Not one byte of it can be changed, and nothing be left away.
    let step = file.len() / 97;
    for at in (0..file.len()).step_by(step.max(1)) {
        let mut wrong = file.clone();
        wrong[at] ^= 1;
        let verdict = proof::judge(&mut wrong.as_slice(), policy(), &[], &mut |_| {}).map(|j| j.verdict);
        assert!(matches!(verdict, Err(_) | Ok(Verdict::Altered | Verdict::Unproven)), "byte {at}");
        assert_ne!(verdict.ok(), Some(Verdict::Intact), "byte {at}");
    }
    assert_eq!(judged(&file[..file.len() - 1], policy()).verdict, Verdict::Altered);
}

#[test]
fn a_call_that_was_erased_can_neither_be_cited_nor_made_again() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let of = |id: &str, subject: &str| {
        let new = NewCall { subject: Some(subject.into()), ..NewCall::new("e", "r").id(id) };
        agent.tools().requested(new).unwrap().completed(Outcome::success(id)).unwrap()
    };
    of("c1", "sam");
    of("c2", "ada");
    agent.tools().requested(NewCall { subject: Some("sam".into()), ..NewCall::new("e", "r").id("c3") }).unwrap();
    let (one, two) = (engine.tools().citation("c1").unwrap(), engine.tools().citation("c2").unwrap());
    let before = agent.evidence().calls(["c1", "c2"]).build().unwrap();
    engine.main().erase().subject("sam").run().unwrap();
    let after = |engine: &Engine| {
        let tools = engine.tools();
        assert_eq!(tools.get("c1").unwrap_err().code(), Code::Erased);
        assert_eq!(tools.call("c3").unwrap_err().code(), Code::Erased);
        assert_eq!(tools.verify_citation(&one, "r").unwrap_err().code(), Code::Erased);
        assert!(tools.verify_citation(&two, "r").is_ok());
        assert_eq!(ids(&tools.listing().request("r").run().unwrap().items), ["c2"]);
        let chain = engine.evidence().calls(["c1", "c2", "c3", "c4"]).check().unwrap();
        let link = |id: &str, why| MissingLink { call_id: id.into(), why };
        assert_eq!(chain.missing_links, [link("c1", Missing::Erased), link("c3", Missing::Erased), link("c4", Missing::Unknown)]);
        let agent = engine.identities().get(agent.id()).unwrap();
        let again = |new: NewCall| agent.tools().requested(new).unwrap_err().code();
        assert_eq!(again(NewCall::new("e", "r").id("c1")), Code::ToolExists, "the id stays used");
        assert_eq!(again(NewCall::new("e", "r").id("c5").attempt_of("c1")), Code::Erased);
        assert!(engine.verify().unwrap().is_intact());
    };
    after(&engine);
    // The statement stands: what it named is proven by its leaf hashes.
    assert!(engine.timeline().get(before.statement.unwrap()).is_ok());
    engine.close().unwrap();
    let engine = place.open();
    after(&engine);
}

#[test]
fn calls_and_citations_go_on_after_a_fork() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let one = done(&agent, "c1", "r");
    agent.tools().requested(NewCall::new("e", "r").id("c2")).unwrap();
    let citation = engine.tools().citation("c1").unwrap();
    let id = agent.id().to_owned();
    drop(agent);
    engine.close().unwrap();
    let old = place.dir.path().join("old.db");
    std::fs::copy(place.path(), &old).unwrap();
    let engine = place.open();
    done(&engine.identities().get(&id).unwrap(), "lost", "r");
    let lost = engine.tools().citation("lost").unwrap();
    engine.close().unwrap();
    for end in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(format!("{}{end}", place.path().display()));
    }
    std::fs::copy(&old, place.path()).unwrap();
    place.builder().fork(place.verify().events, "the disk was lost").unwrap();

    let engine = place.open();
    let tools = engine.tools();
    assert_eq!(tools.verify_citation(&citation, "r").unwrap(), one);
    assert_eq!(tools.verify_citation(&lost, "r").unwrap_err().code(), Code::CitationUnknown);
    let agent = engine.identities().get(&id).unwrap();
    assert_eq!(agent.tools().requested(NewCall::new("e", "other").id("c1")).unwrap_err().code(), Code::ToolExists);
    // Requested in the log that was left, completed in the one that goes on.
    tools.call("c2").unwrap().completed(Outcome::success("late")).unwrap();
    let two = tools.citation("c2").unwrap();
    assert_ne!(two.log, citation.log);
    assert!(tools.verify_citation(&two, "r").is_ok() && tools.listing().open().run().unwrap().items.is_empty());
    let mixed = changed(&two, |c| c.log.clone_from(&citation.log));
    assert_eq!(tools.verify_citation(&mixed, "r").unwrap_err().code(), Code::CitationForged);
    let mut file = Vec::new();
    agent.evidence().calls(["c1", "c2"]).write(&mut file).unwrap();
    let policy = Policy::default().and(*engine.fingerprint().as_bytes());
    let read = mirrordna::read_evidence(&mut file.as_slice(), policy).unwrap();
    assert_eq!((read.judgement.verdict, read.judgement.logs.len()), (Verdict::Intact, 2), "{:#?}", read.judgement.problems);
    assert!(read.statements[0].chain_complete, "{:?}", read.statements[0]);
    assert_eq!(ids(&read.calls), ["c1", "c2"]);
}

#[test]
fn a_call_that_its_agent_does_not_stand_by_verifies_nowhere_silently() {
    let place = Place::new();
    // What is disputed is signed: otherwise a proof could not say whose it is.
    let engine = place.builder().seals(mirrordna::SealPolicy::EveryEvent).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let before = done(&agent, "before", "r");
    done(&agent, "stolen", "r");
    // Begun while the keys were the agent's, ended by whoever had them then.
    agent.tools().requested(NewCall::new("e", "r").id("between")).unwrap();
    let own = engine.timeline().len().unwrap() - 1;
    engine.tools().call("between").unwrap().completed(Outcome::success("x")).unwrap();
    let thefts = [before.completed_leaf.unwrap(), own];
    let cite = |id: &str| engine.tools().citation(id).unwrap();
    let cited = ["before", "stolen", "between"].map(cite);
    let holds = |cited: &ToolCitation, request: &str| engine.tools().verify_citation(cited, request).map(|_| ()).map_err(|e| e.code());
    assert!(cited.iter().all(|c| holds(c, "r").is_ok()));
    assert!(engine.evidence().calls(["before", "stolen"]).check().unwrap().disputed.is_empty());

    let keys = || {
        let file = std::fs::read_to_string(engine.recovery_path().unwrap()).unwrap();
        mirrordna::RecoveryKeys::parse(&file).unwrap()
    };
    let by = agent.recover(&keys(), Some(thefts[1])).unwrap().position;
    assert_eq!([holds(&cited[0], "r"), holds(&cited[1], "r")], [Ok(()), Ok(())]);
    assert_eq!(holds(&cited[2], "r"), Err(Code::CitationDisputed));
    assert_eq!(engine.tools().get("between").unwrap().disputed_by, Some(by));
    // Once more, and from further back.
    let again = agent.recover(&keys(), Some(thefts[0])).unwrap().position;
    assert_eq!(
        [&cited[0], &cited[1], &cited[2]].map(|c| holds(c, "r")),
        [Ok(()), Err(Code::CitationDisputed), Err(Code::CitationDisputed)]
    );
    // What else is wrong with a citation is said first.
    assert_eq!(holds(&cited[1], "other"), Err(Code::CitationOtherRequest));
    assert_eq!(holds(&changed(&cited[1], |c| c.endpoint = "e2".into()), "r"), Err(Code::CitationForged));
    let listed = engine.tools().listing().run().unwrap().items;
    assert_eq!(listed.iter().map(|c| c.disputed_by).collect::<Vec<_>>(), [None, Some(again), Some(by)]);
    // The agent goes on, and what it does now is its own.
    done(&agent, "after", "r");
    assert_eq!(holds(&engine.tools().citation("after").unwrap(), "r"), Ok(()));

    let mut file = Vec::new();
    let calls = ["before", "stolen", "between", "after"];
    let (chain, _) = agent.evidence().calls(calls).write(&mut file).unwrap();
    assert_eq!((chain.chain_complete, chain.disputed), (true, vec!["stolen".to_owned(), "between".to_owned()]));
    let policy = Policy::default().and(*engine.fingerprint().as_bytes());
    let read = mirrordna::read_evidence(&mut file.as_slice(), policy).unwrap();
    assert_eq!(read.judgement.verdict, Verdict::Intact, "{:#?}", read.judgement.problems);
    let said: Vec<_> = read.calls.iter().map(|c| (c.call_id.as_str(), c.disputed_by.is_some())).collect();
    assert_eq!(said, [("before", false), ("stolen", true), ("between", true), ("after", false)]);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_record_that_was_erased_is_proven_with_what_erased_it() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let one = agent.memories().add("to be forgotten").subject("sam").send().unwrap();
    agent.memories().add("stays").subject("ada").send().unwrap();
    engine.main().erase().subject("sam").run().unwrap();
    let proven = |engine: &Engine| {
        let prove = engine.main().prove(&[]).record(&one.id).unwrap();
        let [(id, by)] = prove.erased() else { panic!("{:?}", prove.erased()) };
        assert_eq!(*id, one.id);
        let (by, mut file, mut shown) = (*by, Vec::new(), Vec::new());
        prove.write(&mut file).unwrap();
        let policy = Policy::default().and(*engine.fingerprint().as_bytes());
        let judged = proof::judge(&mut file.as_slice(), policy, &[], &mut |e| shown.extend(e.asked.then_some(e.index))).unwrap();
        assert_eq!(judged.verdict, Verdict::Intact, "{:#?}", judged.problems);
        assert_eq!((judged.logs[0].report.bodies.erased, judged.logs[0].report.bodies.missing), (1, 0));
        assert_eq!(shown, [one.event.index, by]);
        assert_eq!(engine.timeline().get(by).unwrap().kind, "erase");
    };
    proven(&engine);
    assert_eq!(engine.main().prove(&[]).record("mem_01m7yn5m709aah46zbayenk3kn").unwrap_err().code(), Code::NotFound);
    drop(agent);
    engine.close().unwrap();
    // Folded anew, by somebody who never saw it.
    proven(&place.open());
}
