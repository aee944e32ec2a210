//! A host that changes its working folder: relative paths keep meaning what
//! they meant when the database was opened. A binary of its own with one test,
//! because the working folder belongs to the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna::{Builder, Code, Engine, IdentityType, Keys, Witness};
use std::env::set_current_dir;
use std::fs::{read_dir, remove_dir};

fn builder(url: &str) -> Builder {
    Engine::builder(url).keys(Keys::Folder("keys".into())).witness(Witness::Folder("state".into()))
}

#[test]
fn a_relative_path_is_settled_when_it_is_opened() {
    let root = tempfile::tempdir().unwrap();
    let home = std::env::current_dir().unwrap();
    for url in ["m.db", "redb:sub/m.redb"] {
        let place = root.path().join(url.replace([':', '/'], "-"));
        let (here, there) = (place.join("here"), place.join("there"));
        [&here, &there].into_iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
        let here = here.canonicalize().unwrap();

        set_current_dir(&here).unwrap();
        let engine = builder(url).open().unwrap();
        let file = here.join(url.trim_start_matches("redb:"));
        assert_eq!(engine.location(), file.to_str().unwrap());
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        agent.memories().add("written at home").send().unwrap();

        set_current_dir(&there).unwrap();
        agent.memories().add("written abroad").send().unwrap();
        // A tenant's keys are appended to the keyring, and found there again.
        let acme = engine.tenant("acme").unwrap();
        acme.identities().create(IdentityType::Agent).unwrap().memories().add("for acme").send().unwrap();
        assert_eq!(engine.memories().search("abroad").run().unwrap().len(), 1);
        assert!(engine.keyring_path().unwrap().is_file() && engine.recovery_path().unwrap().is_file());
        assert!(engine.verify().unwrap().is_intact());
        // The same words name another file here, and there is none.
        assert_eq!(builder(url).create(false).open().unwrap_err().code(), Code::StoreNotFound, "{url}");
        drop((agent, acme));
        engine.close().unwrap();
        assert_eq!(read_dir(&there).unwrap().count(), 0, "something was written to where the host went");

        set_current_dir(&here).unwrap();
        let report = builder(url).verify().unwrap();
        assert!(report.is_intact() && report.freshness == "current", "{report:#?}");
        let engine = builder(url).create(false).open().unwrap();
        assert_eq!((engine.memories().count().unwrap(), engine.tenant("acme").unwrap().memories().count().unwrap()), (2, 1));

        // A working folder that is gone names nothing, and says so.
        let gone = place.join("gone");
        std::fs::create_dir(&gone).unwrap();
        set_current_dir(&gone).unwrap();
        remove_dir(&gone).unwrap();
        assert_eq!(engine.memories().count().unwrap(), 2);
        let e = builder(url).open().unwrap_err();
        assert!(e.hint().contains("absolute"), "{e}: {}", e.hint());
        set_current_dir(&here).unwrap();
    }
    set_current_dir(home).unwrap();
}
