//! Erase and hunt in a redb file, which keeps what it frees in pages that are
//! free.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Content, Engine, ErasureState, IdentityType, NewCall, NewMemory, Outcome, Witness};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

type Bytes = &'static [u8];

fn file(place: &Place) -> PathBuf {
    place.dir.path().join("m.redb")
}

fn open(place: &Place) -> Engine {
    let url = format!("redb:{}", file(place).display());
    Engine::builder(url).keys(place.keys()).witness(Witness::Off).open().unwrap()
}

/// All values of a table, as they are stored.
fn values(place: &Place, table: &'static str) -> HashMap<Vec<u8>, Vec<u8>> {
    let db = Database::open(file(place)).unwrap();
    let table = db.begin_read().unwrap().open_table(TableDefinition::<Bytes, Bytes>::new(table)).unwrap();
    table.iter().unwrap().map(|row| row.map(|(k, v)| (k.value().to_vec(), v.value().to_vec())).unwrap()).collect()
}

/// Where pieces of values are in the file, page and offset. Another process
/// reads it.
fn hunt(place: &Place, needles: &[Vec<u8>]) -> Vec<(usize, usize)> {
    let read = Command::new("cat").arg(file(place)).output().unwrap();
    assert!(read.status.success() && !read.stdout.is_empty());
    let mut begins: HashMap<&[u8], Vec<&Vec<u8>>> = HashMap::new();
    needles.iter().for_each(|needle| begins.entry(&needle[..8]).or_default().push(needle));
    let found =
        |at: usize, window: &[u8]| begins.get(window).is_some_and(|all| all.iter().any(|needle| read.stdout[at..].starts_with(needle)));
    read.stdout.windows(8).enumerate().filter(|(at, window)| found(*at, window)).map(|(at, _)| (at / 4096, at % 4096)).collect()
}

/// Pieces of the rows that are there now and were another before: ciphertexts,
/// wrapped secrets, keys of subjects. The leaf, which stays, is at the beginning.
fn pieces(before: &HashMap<Vec<u8>, Vec<u8>>, after: &HashMap<Vec<u8>, Vec<u8>>) -> Vec<Vec<u8>> {
    let mut needles = Vec::new();
    for (key, old) in before {
        match after.get(key) {
            Some(new) if new == old => {}
            Some(new) => needles.extend(old[new.len()..].chunks_exact(24).map(<[u8]>::to_vec)),
            None => needles.extend(old.chunks_exact(24).map(<[u8]>::to_vec)),
        }
    }
    needles
}

fn fill(engine: &Engine) -> String {
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let new = |i: usize| NewMemory {
        content: Content::Text(format!("memory number {i} of many")),
        subject: Some(if i.is_multiple_of(10) { "Sam" } else { "Ann" }.to_owned()),
        ..NewMemory::default()
    };
    agent.memories().add_all((0..1_000).map(new).collect()).unwrap();
    let large: String = (0..1_500_000u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 20) as u8 % 26)).collect();
    agent.memories().add(large).subject("Sam").send().unwrap();
    let call = agent.tools().requested(NewCall::new("e", "r").user("Sam")).unwrap();
    call.completed(Outcome::success("x").summary(r#"{"said":"much"}"#)).unwrap();
    agent.timeline().about("Sam").append("visit.made", &serde_json::json!({"at": "noon"})).unwrap();
    agent.id().to_owned()
}

#[test]
fn nothing_of_what_was_erased_is_left_in_the_file() {
    let place = Place::new();
    let engine = open(&place);
    fill(&engine);
    engine.close().unwrap();
    let (events, subjects) = (values(&place, "event"), values(&place, "subject"));
    let engine = open(&place);
    let done = engine.erase().subject("Sam").run().unwrap();
    assert_eq!((done.events, done.parts, done.state), (106, 2, Some(ErasureState::Done)));
    // Looked at while the database is open; what to look for is known after.
    let copy = Place::new();
    std::fs::write(file(&copy), Command::new("cat").arg(file(&place)).output().unwrap().stdout).unwrap();
    engine.close().unwrap();
    let mut needles = pieces(&events, &values(&place, "event"));
    needles.extend(pieces(&subjects, &values(&place, "subject")));
    assert!(needles.len() > 60_000, "{}", needles.len());
    assert_eq!((hunt(&copy, &needles), hunt(&place, &needles)), (vec![], vec![]));
    let engine = open(&place);
    assert!(engine.verify().unwrap().is_intact());
    assert_eq!(hunt(&place, &needles), []);
}

/// Takes the first bytes, says so, and goes on when the other end is gone.
struct Slow {
    begun: mpsc::SyncSender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _told = self.begun.try_send(());
        let _gone = self.go_on.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_of_an_older_state_keeps_it_until_the_next_write() {
    let place = Place::new();
    let engine = open(&place);
    let name = fill(&engine);
    engine.close().unwrap();
    let events = values(&place, "event");
    let engine = open(&place);
    let agent = engine.identities().get(&name).unwrap();
    let (begun, has_begun) = mpsc::sync_channel(1);
    let (let_go, go_on) = mpsc::channel::<()>();
    let state = std::thread::scope(|s| {
        let reader = engine.clone();
        let reading = s.spawn(move || reader.export(&mut Slow { begun, go_on }).map(drop));
        has_begun.recv().unwrap();
        let state = engine.erase().subject("Sam").run().unwrap().state;
        agent.memories().add("life goes on").send().unwrap();
        drop(let_go);
        reading.join().unwrap().unwrap();
        state
    });
    assert_eq!(state, Some(ErasureState::Pending));
    agent.memories().add("and on").send().unwrap();
    let says = engine.timeline().list(0, 10_000).unwrap().iter().filter(|e| e.kind == "erase.done").count();
    assert_eq!(says, 1);
    drop(agent);
    engine.close().unwrap();
    let needles = pieces(&events, &values(&place, "event"));
    assert!(needles.len() > 60_000);
    assert_eq!(hunt(&place, &needles), []);
}
