//! Setting and changing the passphrase of a keyring that is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Code, IdentityType};

#[test]
fn a_passphrase_is_set_and_changed_while_nobody_has_the_database_open() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    agent.memories().add("before").send().unwrap();
    let (id, keyring) = (agent.id().to_owned(), engine.keyring_path().unwrap());
    assert_eq!(place.builder().set_passphrase("sesame").unwrap_err().code(), Code::StoreInUse, "this process has it open");
    drop(agent);
    engine.close().unwrap();

    // As another process that has it open would.
    let users = std::fs::File::open(place.dir.path().join("m.db.open")).unwrap();
    users.lock_shared().unwrap();
    let before = std::fs::read(&keyring).unwrap();
    assert_eq!(place.builder().set_passphrase("sesame").unwrap_err().code(), Code::StoreInUse);
    assert_eq!(std::fs::read(&keyring).unwrap(), before);
    drop(users);

    assert_eq!(place.builder().set_passphrase("").unwrap_err().code(), Code::InputInvalid);
    // What one that was killed left, and a line that a crash cut short.
    std::fs::write(keyring.with_extension("keys.new"), "half of a keyr").unwrap();
    std::fs::write(&keyring, [before.as_slice(), b"{\"role\":\"act"].concat()).unwrap();
    place.builder().set_passphrase("sesame").unwrap();
    assert_eq!(place.builder().open().unwrap_err().code(), Code::KeyPassphrase);
    place.builder().passphrase("sesame").set_passphrase("barley").unwrap();
    assert_eq!(place.builder().passphrase("sesame").set_passphrase("wheat").unwrap_err().code(), Code::KeyPassphrase);
    assert_eq!(place.builder().passphrase("sesame").open().unwrap_err().code(), Code::KeyPassphrase);

    let folder = std::fs::read_dir(keyring.parent().unwrap()).unwrap();
    assert_eq!(folder.count(), 2, "one keyring and its recovery file");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&keyring).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // All keys came along: those that sign, and those that read.
    let engine = place.builder().passphrase("barley").open().unwrap();
    assert_eq!(engine.has_passphrase(), Some(true));
    let agent = engine.identities().get(&id).unwrap();
    agent.memories().add("after").send().unwrap();
    assert_eq!(agent.memories().list(0, 9).unwrap().len(), 2);
    assert!(engine.verify().unwrap().is_intact());
}
