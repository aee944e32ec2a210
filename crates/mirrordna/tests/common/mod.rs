//! What the tests share: a database in a folder of its own.

#![allow(dead_code)]

use mirrordna::{Engine, IdentityType, Keys, Witness};
use std::path::PathBuf;

pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("m.db")
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::Folder(self.dir.path().join("keys"))
    }

    pub(crate) fn builder(&self) -> mirrordna::Builder {
        self.at(&self.path())
    }

    /// A builder for another database file with the same keys and witness.
    pub(crate) fn at(&self, path: &std::path::Path) -> mirrordna::Builder {
        Engine::builder(path.to_str().unwrap()).keys(self.keys()).witness(Witness::Folder(self.dir.path().join("state")))
    }

    /// A closed database with two tenants, a full tile and every kind of row.
    pub(crate) fn written() -> Self {
        let place = Self::new();
        let engine = place.open();
        for tenant in ["default", "other"] {
            let tenant = engine.tenant(tenant).unwrap();
            let agent = tenant.identities().create(IdentityType::Agent).unwrap();
            let user = tenant.identities().create(IdentityType::User).unwrap();
            let session = tenant.sessions().start(&agent, &user).unwrap();
            for i in 0..5 {
                session.memories().add(format!("memory number {i}")).subject(format!("person {i}")).send().unwrap();
            }
            session.timeline().append("thing.done", &serde_json::json!({"n": 1})).unwrap();
        }
        let agent = engine.identities().list().unwrap().remove(0);
        for i in 0..260 {
            agent.timeline().append("tick", &serde_json::json!(i)).unwrap();
        }
        drop(agent);
        engine.close().unwrap();
        assert!(place.verify().is_intact());
        place
    }

    /// A copy of the closed database beside it, in the place of an earlier one.
    pub(crate) fn copied(&self, name: &str) -> PathBuf {
        let copy = self.dir.path().join(name);
        for end in ["", "-wal", "-shm"] {
            let _absent = std::fs::remove_file(format!("{}{end}", copy.display()));
        }
        std::fs::copy(self.path(), &copy).unwrap();
        copy
    }

    pub(crate) fn open(&self) -> Engine {
        self.builder().open().unwrap()
    }

    pub(crate) fn verify(&self) -> mirrordna::VerifyReport {
        self.builder().verify().unwrap()
    }
}

/// The folder with test data, or `None` where it is absent. With `CI=true` an
/// absent folder is a failure.
pub(crate) fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("MIRRORDNA_CORPUS").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "CI needs the corpus at {}", root.display());
    eprintln!("skipped: no corpus at {}", root.display());
    None
}
