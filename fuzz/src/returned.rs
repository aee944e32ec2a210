//! What comes back to an engine: receipts of its erasures, and the answers of
//! time-stamping authorities to its requests.

use crate::engine::Original;
use crate::memory::bounded;
use mirrordna::{Code, Engine, Erasure, Error, IdentityType, Reason, Receipt, Tenant};
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::note::Note;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs;
use std::sync::LazyLock;

/// A database as it was before two erasures, and the receipt of the first.
pub(crate) struct Erased {
    before: Engine,
    receipt: Receipt,
    /// Events that it says were erased.
    events: u64,
    /// Both, and what others made of the first.
    pub(crate) receipts: Vec<Vec<u8>>,
    _folder: tempfile::TempDir,
}

pub(crate) static ERASED: LazyLock<Erased> = LazyLock::new(|| Erased::make().expect("a database can be made"));

impl Erased {
    fn make() -> Result<Self, Error> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let open = |name: &str| Original::builder(folder.path(), name);
        let engine = open("now.db").open()?;
        let agent = engine.identities().create(IdentityType::Agent)?;
        for (subject, text) in [("Sam", "one"), ("Sam", "two"), ("Ann", "three"), ("Eve", "kept")] {
            agent.memories().add(text).subject(subject).send()?;
        }
        drop(agent);
        engine.close()?;
        fs::copy(folder.path().join("now.db"), folder.path().join("before.db")).expect("the database can be copied");
        let engine = open("now.db").open()?;
        let of = |subject: &str| -> Result<(Receipt, u64), Error> {
            let done = engine.erase().subject(subject).reason(Reason::Subject).run()?;
            Ok((done.receipt.expect("something was erased"), done.events))
        };
        let ((receipt, events), (other, _)) = (of("Sam")?, of("Ann")?);
        engine.close()?;
        let before = open("before.db").read_only().open()?;
        let mut receipts: Vec<Vec<u8>> = [&receipt, &other].map(|r| r.to_json().into_bytes()).into();
        receipts.extend(altered(&receipt.to_json()));
        Ok(Self { before, receipt, events, receipts, _folder: folder })
    }

    fn replay(&self, receipt: &Receipt) -> Result<Erasure, Error> {
        self.before.erase().dry_run().replay(receipt)
    }
}

/// A receipt that names its event twice, one that names none, and one that
/// says more than it may.
fn altered(receipt: &str) -> Vec<Vec<u8>> {
    let value: Value = serde_json::from_str(receipt).expect("a receipt is JSON");
    let with = |changes: &[(&str, Value)]| {
        let mut value = value.clone();
        for (member, to) in changes {
            value[*member] = to.clone();
        }
        serde_json::to_vec(&value).expect("it can be written")
    };
    let event = &value["events"][0];
    let twice = value["erased"].as_u64().expect("a number") * 2;
    vec![
        with(&[("events", json!([event, event])), ("erased", json!(twice))]),
        with(&[("events", json!([])), ("erased", json!(0))]),
        with(&[("state", json!("perhaps")), ("already", json!(u64::MAX)), ("reason", json!("none")), ("more", json!(null))]),
    ]
}

/// A receipt is written as it is read. Whatever it says, an older copy is asked
/// to erase nothing that the signed events do not name, and nothing twice.
pub fn receipt(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let erased = &*ERASED;
    let read = match bounded(data, 64, 4096, || Receipt::from_json(text)) {
        Ok(read) => read,
        Err(e) => {
            assert_eq!(e.code(), Code::ReceiptInvalid);
            return false;
        }
    };
    let again = Receipt::from_json(&read.to_json()).expect("what is written can be read");
    assert!(again == read, "{again:?} {read:?}");
    let done = match erased.replay(&read) {
        Ok(done) => done,
        Err(e) => {
            assert_eq!(e.code(), Code::ReceiptInvalid, "{e}");
            return false;
        }
    };
    // Two receipts of one log may stand in one, but nobody signed a third.
    let named = erased.receipts[..2].iter().map(|r| Receipt::from_json(std::str::from_utf8(r).expect("it is text")));
    let most: u64 = named.map(|r| erased.replay(&r.expect("a receipt")).expect("it holds").events).sum();
    assert!(done.events <= most && done.already == 0, "{done:?}");
    assert_eq!(done.events, done.bodies, "{done:?}");
    if read == erased.receipt {
        assert_eq!((done.events, done.reason), (erased.events, Reason::Subject));
    }
    done.events > 0
}

/// A checkpoint, what an authority was asked about it, and an answer.
pub(crate) struct Stamped {
    tenant: Tenant,
    checkpoint: String,
    request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    /// Answers until there is a new log.
    left: usize,
    engine: Engine,
    _folder: tempfile::TempDir,
}

thread_local! {
    static STAMPED: RefCell<Option<Stamped>> = const { RefCell::new(None) };
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        n @ ..0x80 => out.push(n as u8),
        n @ ..0x100 => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(content);
    out
}

/// What `request` asks about, and its nonce, whole: they stand where the
/// request's own encoding puts them (RFC 3161 section 2.4.1).
fn asked(request: &[u8]) -> (&[u8], &[u8]) {
    let imprint = 5 + 2 + 15 + 34;
    // Behind version and imprint the nonce stands, and three bytes after it.
    (&request[5..imprint], &request[imprint..request.len() - 3])
}

/// A granted response with a token that nobody signed, and these certificates.
fn response(request: &[u8], certificates: &[u8]) -> Vec<u8> {
    let (imprint, nonce) = asked(request);
    let signed_data = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    let tst_info = [0x06, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
    let sha256 = [0x30, 11, 0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    let (version, policy, serial) = ([2, 1, 1], [6, 3, 0x2a, 3, 4], [2, 1, 1]);
    let (time, accuracy, ordering) = (der(0x18, &[b"20260202024000Z"]), [0x30, 3, 2, 1, 1], [1, 1, 0xff]);
    let info = der(0x30, &[&version, &policy, imprint, &serial, &time, &accuracy, &ordering, nonce]);
    let content = der(0x30, &[&tst_info, &der(0xa0, &[&der(0x04, &[&info])])]);
    let signed = der(0x30, &[&[2, 1, 3], &der(0x31, &[&sha256]), &content, &der(0xa0, &[certificates]), &der(0x31, &[])]);
    let token = der(0x30, &[&signed_data, &der(0xa0, &[&signed])]);
    der(0x30, &[&der(0x30, &[&[2, 1, 0]]), &token])
}

impl Stamped {
    fn make() -> Result<Self, Error> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let engine = Original::builder(folder.path(), "stamped.db").open()?;
        let tenant = engine.main();
        let checkpoint = tenant.checkpoint()?;
        let request = tenant.timestamp_request(&checkpoint)?;
        let response = response(&request, &[0x30, 0]);
        Ok(Self { tenant, checkpoint, request, response, left: 50, engine, _folder: folder })
    }
}

/// Seeds: 0 and an answer, 1 and a request.
pub(crate) fn stamps() -> Vec<Vec<u8>> {
    let stamped = Stamped::make().expect("a database can be made");
    let refused = der(0x30, &[&der(0x30, &[&[2, 1, 2]])]);
    let long = response(&stamped.request, &[0x30; 300]);
    [(0, &stamped.response), (1, &stamped.request), (0, &long), (0, &refused)].map(|(to, bytes)| [&[to], &bytes[..]].concat()).into()
}

/// The first byte says whether the rest is an answer to a request, or the
/// request to an answer. What is accepted is for this checkpoint and has this
/// nonce, and it is recorded in a log that verifies.
pub fn timestamp(data: &[u8]) -> bool {
    let Some((to, bytes)) = data.split_first() else { return false };
    STAMPED.with_borrow_mut(|slot| {
        let stamped = slot.get_or_insert_with(|| Stamped::make().expect("a database can be made"));
        let Stamped { tenant, checkpoint, request, response, .. } = &*stamped;
        let (asked_by, answer) = if to % 2 == 0 { (&request[..], bytes) } else { (bytes, &response[..]) };
        if let Err(e) = tenant.anchor_timestamp(checkpoint, asked_by, answer) {
            assert_eq!(e.code(), Code::AnchorInvalid, "{e}");
            return false;
        }
        assert_eq!(asked_by, request, "a request has one encoding");
        let text = Note::parse(checkpoint.as_bytes()).expect("it is a note").text;
        let (imprint, nonce) = asked(request);
        let digest = sha256(&[text.as_bytes()]);
        let holds = |part: &[u8]| answer.windows(part.len()).any(|w| w == part);
        assert!(imprint.ends_with(&digest) && holds(&digest) && holds(nonce), "it is for something else");
        let refuses = |answer: &[u8]| tenant.anchor_timestamp(checkpoint, request, answer).is_err_and(|e| e.code() == Code::AnchorInvalid);
        assert!(refuses(&answer[..answer.len() - 1]), "a missing byte goes unnoticed");
        assert!(refuses(&[answer, &[0]].concat()), "bytes after the end go unnoticed");
        stamped.left -= 1;
        if stamped.left == 0 {
            assert!(stamped.engine.verify().is_ok_and(|r| r.is_intact()), "the log does not verify");
            *slot = None;
        }
        true
    })
}
