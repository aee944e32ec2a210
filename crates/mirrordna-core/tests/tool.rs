//! Bodies of calls: what is said is what is read, and what is not a call is
//! never read as one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mirrordna_core::Code;
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::canon::Value;
use mirrordna_core::tool::{
    COMPLETED, ContentHash, LATENCY, Missing, MissingLink, NewCall, NewEvidence, Outcome, REQUESTED, Status, Told, ToolCall, call_id,
    request_id, says_complete, says_the_same,
};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9é/_. -]{1,40}"
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![Just("{}".to_owned()), Just(r#"{"a": 1.50}"#.to_owned()), Just("[null]".to_owned())]
}

prop_compose! {
    fn call()(endpoint in name(), request in name(), args in any::<[u8; 32]>(), redacted in prop::option::of(json()),
              attempt in prop::option::of(name()), user in prop::option::of(name()), tenant in prop::option::of(name()),
              subject in prop::option::of(name()), session in prop::option::of(name()), at in prop::option::of(-1_000_000i64..4_000_000_000_000)) -> NewCall {
        NewCall { args: args.into(), args_redacted: redacted, attempt_of: attempt, user, tenant_id: tenant, subject, session, occurred_at: at,
                  ..NewCall::new(endpoint, request) }
    }
}

prop_compose! {
    fn outcome()(status in prop::sample::select(vec![Status::Success, Status::Error, Status::Timeout]), response in prop::option::of(any::<[u8; 32]>()),
                 latency in prop::option::of(0u64..1 << 62), summary in prop::option::of(json())) -> Outcome {
        Outcome { response: response.map(ContentHash::from), latency_ms: latency, response_summary: summary, ..Outcome::new(status) }
    }
}

fn stored(body: &Body) -> Body {
    Body::decode_padded(&body.encode_padded().unwrap()).unwrap()
}

fn value() -> impl Strategy<Value = Value> {
    let words = [REQUESTED, COMPLETED, "evidence", "c1", ""];
    prop_oneof![
        any::<i64>().prop_map(Value::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::List(vec!["c1".into(), Value::Null])),
        Just(Value::Null),
    ]
}

proptest! {
    #[test]
    fn a_call_reads_as_it_was_said(new in call(), outcome in outcome(), id in name()) {
        let requested = stored(&new.clone().into_body("evt_a", &id, None).unwrap());
        let completed = stored(&outcome.clone().into_body("evt_b", &requested, None).unwrap());
        prop_assert_eq!((call_id(&requested, REQUESTED), call_id(&requested, COMPLETED)), (Some(id.as_str()), None));
        prop_assert_eq!((call_id(&completed, COMPLETED), request_id(&completed)), (Some(id.as_str()), None));
        prop_assert_eq!(request_id(&requested), Some(new.request_id.as_str()));
        // One erasure finds both.
        prop_assert_eq!(completed.subject(), requested.subject());
        let told = |body: &Body, leaf| Told { body: body.clone(), leaf, hash: [leaf as u8; 32], time: 1_772_000_000_000 + leaf };
        let open = ToolCall::read(&told(&requested, 4), None, "mdna_agt_x").unwrap();
        prop_assert_eq!(open.citation(&[0; 16]).unwrap_err().code(), Code::ToolIncomplete);
        let read = ToolCall::read(&told(&requested, 4), Some(&told(&completed, 7)), "mdna_agt_x").unwrap();
        prop_assert_eq!((&read.endpoint, &read.request_id, &read.args_hash), (&new.endpoint, &new.request_id, &new.args.to_string()));
        prop_assert_eq!((&read.args_redacted, &read.attempt_of, &read.user_id), (&new.args_redacted, &new.attempt_of, &new.user));
        prop_assert_eq!((&read.tenant_id, &read.session), (&new.tenant_id, &new.session));
        // It is about its user, unless another subject is named.
        prop_assert_eq!(&read.subject, &new.subject.clone().or_else(|| new.user.clone()));
        prop_assert_eq!((read.response_status, read.latency_ms), (Some(outcome.status), outcome.latency_ms));
        prop_assert_eq!(&read.response_hash, &outcome.response.map(|h| h.to_string()));
        prop_assert_eq!(&read.response_summary, &outcome.response_summary);
        prop_assert_eq!((read.leaf, read.completed_leaf), (4, Some(7)));
        let citation = read.citation(&[0xab; 16]).unwrap();
        prop_assert_eq!((citation.leaf, citation.log.as_str()), (7, "abababababababababababababababab"));
        // Another attempt asks for the same.
        let again = NewCall::again(&requested);
        prop_assert_eq!((again.endpoint, again.args, again.attempt_of), (new.endpoint, new.args, Some(id)));
    }

    #[test]
    fn only_the_same_says_the_same(new in call(), outcome in outcome(), at in prop::sample::select((2u64..31).filter(|n| *n != field::PAYLOAD).collect::<Vec<_>>())) {
        let body = new.into_body("evt_a", "c1", None).unwrap();
        let mut again = body.clone();
        again.set(field::ID, "evt_b".into());
        prop_assert!(says_the_same(&body, &again), "the record id is the engine's");
        let end = outcome.into_body("evt_c", &body, None).unwrap();
        for one in [&body, &end] {
            let mut other = one.clone();
            other.set(at, Value::Bytes(vec![1, 2, 3]));
            // A latency that nobody gave was measured, and may differ.
            let free = at == LATENCY && one.get(LATENCY).is_none();
            prop_assert_eq!(says_the_same(&other, one), free, "field {}", at);
        }
        prop_assert!(!says_the_same(&body, &end));
    }

    #[test]
    fn reading_never_panics(schema in prop::sample::select(vec![schema::EVENT, schema::TOOL_CALL, schema::EVIDENCE]),
                            fields in prop::collection::btree_map(2u64..32, value(), 0..12)) {
        let mut body = Body::new(schema, "evt_x");
        fields.into_iter().filter(|(n, _)| *n != field::PAYLOAD).for_each(|(n, v)| body.set(n, v));
        let told = Told { body: body.clone(), leaf: 1, hash: [0; 32], time: u64::MAX };
        if let Ok(read) = ToolCall::read(&told, Some(&told), "mdna_agt_x") {
            prop_assert!(call_id(&body, REQUESTED).is_some() && read.args_hash.len() == 64);
        }
        prop_assert!(NewEvidence::read(&body).is_none() || body.schema == schema::EVIDENCE);
        drop((NewCall::again(&body), request_id(&body), says_complete(&body), Outcome::timeout().into_body("evt_y", &body, None)));
    }

    #[test]
    fn a_statement_reads_as_it_was_said(ids in prop::collection::vec(name(), 1..20), event in prop::option::of(name()), finding in prop::option::of(name()),
                                        missing in any::<bool>()) {
        let new = NewEvidence { event_id: event, finding_id: finding, call_ids: ids.clone(), ..NewEvidence::default() };
        let missing = if missing { vec![MissingLink { call_id: ids[0].clone(), why: Missing::Unknown }] } else { Vec::new() };
        let body = stored(&new.clone().into_body("evt_a", &missing).unwrap());
        prop_assert_eq!(NewEvidence::read(&body), Some(new));
        prop_assert_eq!(says_complete(&body), missing.is_empty());
    }

    #[test]
    fn digests_are_64_hex_digits(digest in any::<[u8; 32]>(), text in ".{0,70}") {
        prop_assert_eq!(ContentHash::from(digest).to_string().parse::<ContentHash>().unwrap().to_bytes(), digest);
        let right = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        prop_assert_eq!(text.parse::<ContentHash>().is_ok(), right);
    }
}
