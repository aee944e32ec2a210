//! Who holds the keys: providers, rotation, what works without them, and what
//! production demands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{
    Builder, Code, Content, Deployment, Engine, FileKey, HostKey, Identity, IdentityType, KeyProvider, Keys, MemoryKey, NewMemory,
    NewProtection, Protection, Witness, Zeroizing,
};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn kek_file(place: &Place, name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = place.dir.path().join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).unwrap();
    std::io::Write::write_all(&mut file, content).unwrap();
    path
}

fn agent(engine: &Engine) -> Identity {
    engine.identities().list().unwrap().into_iter().find(|i| i.identity_type() == IdentityType::Agent).unwrap()
}

fn say(engine: &Engine, text: &str) {
    let agent = match engine.identities().list().unwrap().pop() {
        Some(agent) => agent,
        None => engine.identities().create(IdentityType::Agent).unwrap(),
    };
    agent.memories().add(text).send().unwrap();
}

fn texts(engine: &Engine) -> Vec<String> {
    engine.memories().list(0, 99).unwrap().into_iter().map(|m| m.content).collect()
}

fn file_of(place: &Place, ending: &str) -> PathBuf {
    let entries = std::fs::read_dir(place.dir.path().join("keys")).unwrap().map(|e| e.unwrap().path());
    entries.into_iter().find(|p| p.extension().is_some_and(|e| e == ending)).unwrap()
}

fn head(place: &Place) -> serde_json::Value {
    let text = std::fs::read_to_string(file_of(place, "keys")).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn a_keyring_that_is_removed_from_under_an_engine_is_not_made_anew() {
    let place = Place::new();
    let engine = place.open();
    say(&engine, "before");
    let (path, away) = (file_of(&place, "keys"), place.dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    // What needs no new key goes on; nothing is signed with keys that are in no file.
    say(&engine, "meanwhile");
    let refused = engine.identities().create(IdentityType::Agent).unwrap_err();
    assert_eq!(refused.code(), Code::StoreIo, "{refused}");
    assert_eq!(agent(&engine).rotate().unwrap_err().code(), Code::StoreIo);
    assert_eq!(engine.tenant("acme").unwrap_err().code(), Code::StoreIo);
    engine.close().unwrap();
    assert!(!path.exists());
    let engine = place.open();
    assert_eq!(engine.identities().list().unwrap().len(), 1);
    assert_eq!(engine.memories().list(0, 9).unwrap_err().code(), Code::KeyMissing);
    engine.close().unwrap();
    assert!(!path.exists(), "nor by opening it");
    // Put back, all of it is there.
    std::fs::rename(&away, &path).unwrap();
    let engine = place.open();
    assert_eq!(texts(&engine), ["before", "meanwhile"]);
    say(&engine, "after");
    engine.identities().create(IdentityType::User).unwrap();
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn every_provider_opens_what_it_wrapped_and_nothing_else_does() {
    type With = Box<dyn Fn(Builder) -> Builder>;
    let base64 = b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
    let file = |path: PathBuf| -> With { Box::new(move |b| b.key_provider(FileKey::new(&path))) };
    let memory = |byte: u8| -> With { Box::new(move |b| b.key_provider(MemoryKey::new([byte; 32]))) };
    let mask = |database: &[u8; 16], key: &[u8]| key.iter().zip(database.iter().cycle()).map(|(k, d)| k ^ d ^ 0x5a).collect::<Vec<u8>>();
    let kms: With = Box::new(move |b| {
        b.key_provider(HostKey::new(
            "kms",
            move |database, key| Ok(mask(database, key)),
            move |database, wrapped| Ok(mask(database, wrapped).try_into().map_err(|_| "not ours")?),
        ))
    });
    let files = Place::new();
    let kek = |name: &str, content: &[u8], mode| file(kek_file(&files, name, content, mode));
    let kinds = [
        ("file", kek("raw", &[7; 32], 0o600), kek("other", &[8; 32], 0o400)),
        ("file", kek("base64", base64, 0o600), kek("torn", &base64[..40], 0o600)),
        ("host-key", memory(7), memory(8)),
        ("kms", kms, memory(8)),
    ];
    for (name, right, wrong) in kinds {
        let place = Place::new();
        let engine = right(place.builder()).open().unwrap();
        say(&engine, "one");
        assert_eq!(engine.key_protection(), Some(Protection::Provider(name.to_owned())));
        assert_eq!(engine.has_passphrase(), Some(false));
        engine.close().unwrap();
        let head = head(&place);
        assert_eq!((head["provider"]["name"].as_str(), head.get("key"), head.get("argon2id")), (Some(name), None, None), "{head}");
        for refused in [wrong(place.builder()), place.builder(), place.builder().passphrase("sesame")] {
            assert_eq!(refused.open().unwrap_err().code(), Code::KeyProvider, "{name}");
        }
        assert!(right(place.builder()).verify().unwrap().is_intact());
        let engine = right(place.builder()).open().unwrap();
        say(&engine, "two");
        assert_eq!(texts(&engine), ["one", "two"]);
    }
}

#[test]
fn a_provider_is_held_to_its_word() {
    let place = Place::new();
    let refused = |provider: Arc<dyn KeyProvider>| {
        #[derive(Debug)]
        struct Shared(Arc<dyn KeyProvider>);
        impl KeyProvider for Shared {
            fn name(&self) -> &str {
                self.0.name()
            }
            fn wrap(&self, database: &[u8; 16], key: &[u8; 32]) -> mirrordna::Result<Vec<u8>> {
                self.0.wrap(database, key)
            }
            fn unwrap(&self, database: &[u8; 16], wrapped: &[u8]) -> mirrordna::Result<Zeroizing<[u8; 32]>> {
                self.0.unwrap(database, wrapped)
            }
        }
        let e = place.builder().key_provider(Shared(provider)).open().unwrap_err();
        assert!(!place.path().exists(), "nothing is left of a database that was refused its keys");
        e
    };
    let never = |_: &[u8; 16], _: &[u8]| Err("never".into());
    // One that hands the key back, one that fails, one that says too much, one without a name.
    let clear = refused(Arc::new(HostKey::new("clear", |_, key| Ok(key.to_vec()), never)));
    assert!(clear.code() == Code::KeyProvider && clear.message().contains("did not wrap"), "{clear}");
    let fails = refused(Arc::new(HostKey::new("down", |_, _| Err("connection refused".into()), never)));
    assert_eq!((fails.code(), fails.is_retryable()), (Code::KeyProvider, true));
    assert!(std::error::Error::source(&fails).unwrap().to_string().contains("connection refused"));
    assert_eq!(refused(Arc::new(HostKey::new("long", |_, _| Ok(vec![1; 513]), never))).code(), Code::KeyProvider);
    assert_eq!(refused(Arc::new(HostKey::new("No Name", |_, _| Ok(vec![1; 60]), never))).code(), Code::InputInvalid);
    // A file that others may read is none, and two ways at once are not one.
    let lax = kek_file(&place, "lax", &[7; 32], 0o640);
    let e = refused(Arc::new(FileKey::new(&lax)));
    assert!(e.code() == Code::KeyProvider && e.message().contains("mode 640"), "{e}");
    assert_eq!(refused(Arc::new(FileKey::new(place.dir.path().join("absent")))).code(), Code::KeyProvider);
    let both = place.builder().passphrase("sesame").key_provider(MemoryKey::new([7; 32])).open().unwrap_err();
    assert_eq!(both.code(), Code::ConfigInvalid);
    assert!(!format!("{:?}", MemoryKey::new([0x41; 32])).contains("65"), "no key is printed");
}

#[test]
fn the_key_of_a_keyring_goes_from_one_protection_to_another() {
    let place = Place::new();
    let engine = place.open();
    say(&engine, "one");
    assert_eq!(engine.key_protection(), Some(Protection::None));
    assert_eq!(place.builder().rotate_keys(&NewProtection::Same).unwrap_err().code(), Code::StoreInUse);
    engine.close().unwrap();
    let (old, new) = (kek_file(&place, "old", &[1; 32], 0o600), kek_file(&place, "new", &[2; 32], 0o600));
    let to = |path: &Path| NewProtection::Provider(Arc::new(FileKey::new(path)));
    type Step<'a> = (&'a dyn Fn(Builder) -> Builder, NewProtection, &'a dyn Fn(Builder) -> Builder);
    let steps: [Step<'_>; 7] = [
        (&|b| b, NewProtection::Same, &|b| b),
        (&|b| b, to(&old), &|b| b.key_provider(FileKey::new(&old))),
        (&|b| b.key_provider(FileKey::new(&old)), NewProtection::Same, &|b| b.key_provider(FileKey::new(&old))),
        (&|b| b.key_provider(FileKey::new(&old)), to(&new), &|b| b.key_provider(FileKey::new(&new))),
        (&|b| b.key_provider(FileKey::new(&new)), NewProtection::Passphrase(Zeroizing::new("sesame".into())), &|b| b.passphrase("sesame")),
        (&|b| b.passphrase("sesame"), NewProtection::Same, &|b| b.passphrase("sesame")),
        (&|b| b.passphrase("sesame"), NewProtection::Provider(Arc::new(MemoryKey::new([9; 32]))), &|b| {
            b.key_provider(MemoryKey::new([9; 32]))
        }),
    ];
    let mut written = 1;
    for (n, (before, to, after)) in steps.into_iter().enumerate() {
        let was = std::fs::read_to_string(file_of(&place, "keys")).unwrap();
        before(place.builder()).rotate_keys(&to).unwrap();
        let now = std::fs::read_to_string(file_of(&place, "keys")).unwrap();
        assert_eq!(was.lines().count(), now.lines().count());
        // No line of the old one is left: head, and each slot, are under another key.
        assert!(was.lines().zip(now.lines()).all(|(a, b)| a != b), "step {n}");
        assert_eq!(std::fs::metadata(file_of(&place, "keys")).unwrap().permissions().mode() & 0o777, 0o600);
        let engine = after(place.builder()).open().unwrap();
        say(&engine, "more");
        written += 1;
        assert_eq!(texts(&engine).len(), written);
        engine.close().unwrap();
    }
    assert_eq!(
        place.builder().key_provider(MemoryKey::new([8; 32])).rotate_keys(&NewProtection::Same).unwrap_err().code(),
        Code::KeyProvider
    );
}

/// Leaves, root, bodies and wrapped secrets: all that a rotation must not touch.
fn evidence(path: &Path) -> Vec<Vec<rusqlite::types::Value>> {
    let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = Vec::new();
    for (table, columns) in [("event", 5), ("tile", 2), ("head", 3)] {
        let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            rows.push((0..columns).map(|i| row.get(i).unwrap()).collect());
        }
    }
    rows
}

fn wrapped(path: &Path) -> Vec<Vec<u8>> {
    let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = db.prepare("SELECT key FROM subject ORDER BY n").unwrap();
    statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_rotated_store_key_wraps_every_subject_and_changes_no_evidence() {
    let place = Place::new();
    let engine = place.builder().passphrase("sesame").open().unwrap();
    say(&engine, "one");
    let ada = agent(&engine);
    for n in 0..40 {
        ada.memories().add(format!("about {n}")).subject(format!("person {n}")).send().unwrap();
    }
    engine.tenant("acme").unwrap().identities().create(IdentityType::Agent).unwrap();
    drop(ada);
    engine.close().unwrap();
    let old_keyring = std::fs::read(file_of(&place, "keys")).unwrap();
    let old_copy = place.dir.path().join("old.db");
    std::fs::copy(place.path(), &old_copy).unwrap();
    let (before, keys, verified) =
        (evidence(&place.path()), wrapped(&place.path()), place.builder().passphrase("sesame").verify().unwrap());

    let open = || place.builder().passphrase("sesame").open().unwrap();
    let engine = open();
    let done = engine.rotate_store_key().unwrap();
    assert_eq!((done.store_key, done.rewrapped, done.completed), (1, keys.len() as u64, false));
    engine.close().unwrap();
    let after = wrapped(&place.path());
    assert!(keys.iter().all(|k| k.len() == 40) && after.iter().all(|k| k.len() == 44 && k.ends_with(&[0, 0, 0, 1])));
    assert!(keys.iter().zip(&after).all(|(old, new)| old[..] != new[..40]));
    assert_eq!(evidence(&place.path()), before, "no leaf, body, secret, tile or head changed");
    let report = place.builder().passphrase("sesame").verify().unwrap();
    assert_eq!((report.verdict, report.head, report.bodies.locked), (verified.verdict, verified.head, 0));

    let engine = open();
    assert_eq!(texts(&engine).len(), 41);
    engine.tenant("acme").unwrap();
    agent(&engine).memories().add("by the new key").subject("somebody new").send().unwrap();
    engine.close().unwrap();
    assert!(wrapped(&place.path()).iter().all(|k| k.len() == 44));
    // A copy from before opens by the keyring as it is now.
    assert_eq!(texts(&place.at(&old_copy).passphrase("sesame").as_of().open().unwrap()).len(), 41);

    // A keyring from before says that it is too old; it opens nothing, and
    // nobody is told that all is well.
    let new_keyring = std::fs::read(file_of(&place, "keys")).unwrap();
    std::fs::write(file_of(&place, "keys"), &old_keyring).unwrap();
    let e = place.builder().passphrase("sesame").open().unwrap().memories().list(0, 9).unwrap_err();
    assert!(e.code() == Code::KeyMissing && e.message().contains("store key 1") && e.hint().contains("rotate --store-key"), "{e}");
    // Nor does it make another key of the same number.
    let e = open().rotate_store_key().unwrap_err();
    assert!(e.code() == Code::KeyMissing && e.message().contains("store key 1"), "{e}");
    assert_eq!(std::fs::read(file_of(&place, "keys")).unwrap(), old_keyring);
    let report = place.builder().passphrase("sesame").verify().unwrap();
    assert!(!report.ok && report.problems.iter().all(|p| p.code.starts_with("subject.") || p.code.starts_with("secret.")), "{report:#?}");
    std::fs::write(file_of(&place, "keys"), &new_keyring).unwrap();
    // Nor does a row that claims another store key, or none in a second spelling.
    for claimed in [&[0, 0, 0, 2][..], &[0, 0, 0, 0], &[0, 0, 1], &[]] {
        let db = rusqlite::Connection::open(place.path()).unwrap();
        let key: Vec<u8> = db.query_row("SELECT key FROM subject WHERE n = 3", [], |r| r.get(0)).unwrap();
        db.execute("UPDATE subject SET key = ?1 WHERE n = 3", [[&key[..40], claimed].concat()]).unwrap();
        drop(db);
        let report = place.builder().passphrase("sesame").verify().unwrap();
        assert!(report.verdict == "altered" && report.problems.iter().any(|p| p.place == "table subject row 3"), "{claimed:?} {report:#?}");
    }
}

#[test]
fn a_rotation_that_was_cut_short_is_completed_and_loses_nobody() {
    let place = Place::new();
    let engine = place.open();
    say(&engine, "one");
    let ada = agent(&engine);
    // More than one transaction's worth.
    let many =
        |n: usize| NewMemory { content: Content::Text(format!("about {n}")), subject: Some(format!("person {n}")), ..NewMemory::default() };
    for chunk in (0..2_500).collect::<Vec<_>>().chunks(500) {
        ada.memories().add_all(chunk.iter().map(|n| many(*n)).collect()).unwrap();
    }
    drop(ada);
    let stop = std::panic::AssertUnwindSafe(|| engine.rotate_store_key_with(&mut |done, _| assert!(done < 1_000, "cut short")));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    assert!(std::panic::catch_unwind(stop).is_err());
    std::panic::set_hook(hook);
    let count = |length: usize| wrapped(&place.path()).iter().filter(|k| k.len() == length).count();
    assert_eq!(count(44), 1_000);
    let total = wrapped(&place.path()).len();
    // Meanwhile everything is read and written, and new subjects get the new key.
    say(&engine, "in between");
    assert_eq!(engine.memories().count().unwrap(), 2_502);
    agent(&engine).memories().add("late").subject("late").send().unwrap();
    assert_eq!(count(44), 1_002);
    engine.close().unwrap();
    assert!(place.verify().is_intact());
    let engine = place.open();
    let done = engine.rotate_store_key().unwrap();
    assert_eq!((done.store_key, done.rewrapped, done.completed), (1, total as u64 - 1_000, true));
    assert_eq!(count(40), 0);
    let again = engine.rotate_store_key().unwrap();
    assert_eq!((again.store_key, again.rewrapped, again.completed), (2, total as u64 + 2, false));
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}

#[test]
fn without_its_keys_a_database_is_verified_and_exported_and_says_what_is_locked() {
    let place = Place::new();
    let engine = place.builder().passphrase("sesame").open().unwrap();
    say(&engine, "secret");
    let memory = engine.memories().list(0, 1).unwrap().pop().unwrap().id;
    let events = engine.timeline().len().unwrap();
    let (mut whole, mut locked): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    engine.export(&mut whole).unwrap();
    engine.close().unwrap();
    let whole_size = whole.len();

    // Somebody with the keyring file, who does not know what opens it.
    let engine = place.builder().read_only().open().unwrap();
    assert_eq!((engine.key_protection(), engine.locked().unwrap().code()), (None, Code::KeyPassphrase));
    let report = engine.verify().unwrap();
    assert_eq!((report.verdict, report.bodies.locked, report.problems.len()), ("intact", 2, 0), "the head witness vouches: {report:#?}");
    engine.export(&mut locked).unwrap();
    assert!(locked.len() >= whole_size && !locked.windows(6).any(|w| w == b"secret"));
    assert_eq!(engine.timeline().len().unwrap(), events + 2, "its epoch was sealed for the export, then closed");
    assert!((0..events).any(|n| engine.timeline().get(n).unwrap().body == "locked"));
    for refused in [
        engine.memories().get(&memory).map(drop),
        engine.memories().list(0, 9).map(drop),
        engine.memories().search("secret").run().map(drop),
    ] {
        let e = refused.unwrap_err();
        assert!(e.code() == Code::KeyPassphrase && e.message().contains("needs a passphrase"), "{e}");
    }
    assert_eq!(engine.tenant("acme").unwrap_err().code(), Code::KeyPassphrase);
    // It must not stand in the way of whoever has the keys.
    assert_eq!(place.builder().passphrase("sesame").open().unwrap_err().code(), Code::StoreInUse);
    drop(engine);
    assert_eq!(place.builder().open().unwrap_err().code(), Code::KeyPassphrase, "who writes needs the keys");
    assert_eq!(place.builder().passphrase("sesame").open().unwrap().memories().get(&memory).unwrap().content, "secret");

    // Without the keyring file it is the same, and who vouches is the witness.
    let stranger = || place.builder().keys(Keys::Folder(place.dir.path().join("nowhere")));
    let report = stranger().verify().unwrap();
    assert_eq!((report.verdict, report.bodies.locked), ("intact", 2));
    let engine = stranger().read_only().open().unwrap();
    assert!(engine.locked().is_none());
    assert_eq!(engine.memories().get(&memory).unwrap_err().code(), Code::KeyMissing);
    drop(engine);
    assert_eq!(stranger().witness(Witness::Off).verify().unwrap().verdict, "unproven");
}

#[test]
fn production_refuses_what_is_not_protected_and_says_what_to_set() {
    let place = Place::new();
    let production = |b: Builder| b.profile(Deployment::Production);
    let refused = |b: Builder, says: &str, hint: &str| {
        let e = production(b).open().unwrap_err();
        assert!(e.code() == Code::ConfigInvalid && e.message().contains(says) && e.hint().contains(hint), "{e} / {}", e.hint());
    };
    refused(place.builder(), "neither a passphrase nor a key provider", "MIRRORDNA_KEK_FILE");
    refused(place.builder().passphrase("sesame").witness(Witness::Off), "head witness", "MIRRORDNA_STATE");
    assert!(!place.path().exists());
    let e = Engine::builder("memory:").profile(Deployment::Production).open().unwrap_err();
    assert_eq!(e.code(), Code::ConfigInvalid);

    // One that was made before without protection.
    place.open().close().unwrap();
    refused(place.builder().passphrase("sesame"), "in clear", "keys passphrase");
    place.builder().set_passphrase("sesame").unwrap();
    let open = || production(place.builder().passphrase("sesame")).open();
    open().unwrap().close().unwrap();
    let mode = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let (keyring, recovery, folder) = (file_of(&place, "keys"), file_of(&place, "recovery"), place.dir.path().join("keys"));
    for (path, lax, right) in [(&keyring, 0o640, 0o600), (&recovery, 0o604, 0o600), (&folder, 0o770, 0o700), (&place.path(), 0o666, 0o644)]
    {
        mode(path, lax);
        refused(place.builder().passphrase("sesame"), &format!("{} has mode {lax:03o}", path.display()), "chmod");
        let engine = place.builder().passphrase("sesame").open().unwrap();
        assert_eq!(engine.lax_files(), [(path.clone(), lax)]);
        drop(engine);
        mode(path, right);
        open().unwrap().close().unwrap();
    }
    // Who only reads needs no keys.
    production(place.builder()).read_only().open().unwrap();
}

#[test]
fn a_keyring_that_is_taken_away_from_an_open_database_is_not_missed() {
    let place = Place::new();
    let engine = place.open();
    say(&engine, "one");
    std::fs::rename(place.dir.path().join("keys"), place.dir.path().join("in a safe")).unwrap();
    // For a subject of its own, whose key is made now.
    say(&engine, "two");
    assert_eq!(texts(&engine), ["one", "two"]);
    assert_eq!(engine.identities().create(IdentityType::Agent).unwrap_err().code(), Code::StoreIo, "its keys would be nowhere");
    engine.close().unwrap();
}
