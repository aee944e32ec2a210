//! The system's keyring as a key provider, against the mock store that its crate
//! brings: what a real one does, a machine without a desktop cannot show.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![cfg(feature = "os-keyring")]

mod common;

use common::Place;
use mirrordna::{Code, Engine, IdentityType, OsKeyring, Protection};

// The store is one for the process: one test.
#[test]
fn the_systems_keyring_holds_a_key_for_each_database() {
    let (place, other) = (Place::new(), Place::new());
    let with = |place: &Place| place.builder().key_provider(OsKeyring);
    let e = with(&place).open().unwrap_err();
    assert!(e.code() == Code::KeyProvider && e.message().contains("no store"), "{e}");
    assert!(!place.path().exists());

    keyring_core::set_default_store(keyring_core::mock::Store::new().unwrap());
    let make = |place: &Place| -> Engine {
        let engine = with(place).open().unwrap();
        engine.identities().create(IdentityType::Agent).unwrap().memories().add("Prefers trains").send().unwrap();
        assert_eq!(engine.key_protection(), Some(Protection::Provider("os-keyring".into())));
        engine
    };
    let entry = |id: &str| keyring_core::Entry::new("mirrordna", id).unwrap();
    let engine = make(&place);
    let (id, keyring) = (engine.database_id(), engine.keyring_path().unwrap());
    engine.close().unwrap();
    let second = make(&other);
    let (first_key, second_key) = (entry(&id).get_secret().unwrap(), entry(&second.database_id()).get_secret().unwrap());
    assert!(first_key.len() == 32 && first_key != second_key);
    second.close().unwrap();
    assert!(!std::fs::read(&keyring).unwrap().windows(32).any(|w| w == first_key));
    let read = || with(&place).open().and_then(|engine| engine.memories().list(0, 9)).map(|m| m.len());
    assert_eq!(read().unwrap(), 1);
    with(&place).rotate_keys(&mirrordna::NewProtection::Same).unwrap();
    assert_eq!((read().unwrap(), entry(&id).get_secret().unwrap()), (1, first_key.clone()));
    // Another key, something that is none, and nothing.
    for wrong in [&second_key[..], b"short", &[0; 33]] {
        entry(&id).set_secret(wrong).unwrap();
        let e = read().unwrap_err();
        assert_eq!(e.code(), Code::KeyProvider, "{e}");
    }
    entry(&id).delete_credential().unwrap();
    let e = read().unwrap_err();
    assert!(e.message().contains("no entry"), "{e}");
    entry(&id).set_secret(&first_key).unwrap();
    assert_eq!(read().unwrap(), 1);
}
