//! mirrordna gives an AI agent an identity it can prove, sessions with
//! lineage, memory it can recall, and a timeline that anybody can verify
//! offline. It is embedded: one file, no server.
//!
//! ```
//! use mirrordna::{Engine, IdentityType, Tier};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("mirrordna.db");
//! # let engine = Engine::builder(path.to_str().unwrap()).keys(mirrordna::Keys::Folder(dir.path().join("keys"))).open()?;
//! # if false {
//! let engine = Engine::open("./mirrordna.db")?;
//! # }
//! let agent = engine.identities().create(IdentityType::Agent)?;
//! let user = engine.identities().create(IdentityType::User)?;
//!
//! let session = engine.sessions().start(&agent, &user)?;
//! session.memories().add("Prefers trains to planes").tier(Tier::LongTerm).tag("travel").send()?;
//! session.timeline().append("booking.requested", &serde_json::json!({"from": "Basel", "to": "Lyon"}))?;
//!
//! for hit in agent.memories().search("does she prefer the train?").limit(5).run()? {
//!     println!("{:.2} {} {}", hit.score, hit.record.text(), hit.record.id);
//! }
//! session.end()?;
//! assert!(engine.verify()?.is_intact());
//! # Ok::<(), mirrordna::Error>(())
//! ```
//!
//! The modules follow the nouns: an [`Engine`] holds tenants; a [`Tenant`] has
//! [`Identities`], [`Sessions`], [`Memories`], [`Snapshots`] and a [`Timeline`].
//!
//! | to … | see |
//! |---|---|
//! | choose keys, passphrase, durability, a head witness | [`Builder`] |
//! | remember, find, correct and archive | [`Memories`] |
//! | say what an agent did, and follow it | [`Timeline`], [`Follow`] |
//! | record calls of tools, and check what cites them | [`Tools`], [`ToolCitation`], [`Evidence`] |
//! | keep conversations apart, and continue them | [`Sessions`] |
//! | go back to a state | [`Snapshots`] |
//! | know whether anything was altered | [`Engine::verify`], [`VerifyReport`] |
//! | read chats, ChatGPT exports and upstream's vaults | [`import`] |
//! | move or back up a database | [`backup`] |
//! | publish a log, have it witnessed, and witness others | [`tiles`], [`Tenant::cosign`], [`peer`] |
//!
//! Every [`Error`] has a stable [`Code`] and says what to do. What there is a
//! limit to stands in [`limits`].
//!
//! # Features
//! `sqlite` and `bundled` (by default: SQLite, compiled from source), `redb` (a
//! store without a C compiler, `redb:PATH`), `memory` (`memory:`, for tests),
//! `compat` (by default: upstream's vaults and entities, `Records`), `aio` (the
//! async twin), `schemars` (JSON Schemas of what is printed), `vault` and
//! `vault-tls` (the transit engine of a vault as a key provider), `os-keyring` (the
//! system's keyring as one).

/// The README's code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod adopt;
#[cfg(feature = "aio")]
pub mod aio;
pub mod backup;
mod basis;
mod builder;
mod checkpoint;
mod checks;
mod commit;
mod engine;
pub mod erasure;
mod file;
mod follow;
mod fork;
mod identities;
pub mod import;
pub mod input;
mod keyring;
mod listing;
mod log;
mod log_keys;
mod memories;
mod parts;
pub mod peer;
mod pq;
mod production;
pub mod proof;
#[cfg(feature = "compat")]
mod records;
mod sessions;
mod snapshots;
mod system;
pub mod tiles;
mod timeline;
mod timestamp;
mod tools;
mod url;
mod verify;
mod view;
mod witness;
mod witnessed;

pub use adopt::{AdoptOptions, AdoptedLog, Adoption};
pub use basis::Basis;
pub use builder::{Builder, Deployment, Durability, Fingerprint, SealPolicy};
pub use checks::VERIFIES;
pub use commit::Appended;
pub use engine::{DEFAULT_TENANT, Engine, StoreKeyRotation, Tenant};
pub use erasure::{Erase, Erasure, ErasureState, OnWhat, Receipt};
pub use follow::Follow;
pub use fork::Fork;
pub use identities::{
    DisputedRange, Identities, Identity, IdentityHistory, IdentityManager, IdentityVersion, NewIdentity, Profile, RecoveryKeys,
};
#[cfg(feature = "os-keyring")]
pub use keyring::os::OsKeyring;
pub use keyring::provider::{FileKey, HostKey, KeyProvider, MemoryKey, provider_from_env, provider_named};
#[cfg(feature = "vault")]
pub use keyring::vault::VaultTransit;
pub use keyring::{Keys, NewProtection, Protection, passphrase_from_env};
pub use listing::{Listing, Page};
pub use log_keys::{LogKey, LogKeyRotation};
pub use memories::{Add, Hit, Memories, Search, Step, Written};
pub use mirrordna_core::erasure::Reason;
pub use mirrordna_core::identity::IdentityType;
pub use mirrordna_core::memory::{Content, Memory, MemoryPatch, NewMemory, Tier};
pub use mirrordna_core::session::{NewSession, Session};
pub use mirrordna_core::tool::{ContentHash, HashForm, Missing, MissingLink, NewCall, Outcome, Status, ToolCall, ToolCitation};
pub use mirrordna_core::{Clock, Code, Entropy, Error, Result, limits, time};
#[cfg(feature = "compat")]
pub use mirrordna_upstream::entities;
#[cfg(feature = "compat")]
pub use records::{ChecksumReport, Entity, Records, Stored};
pub use sessions::{SessionHandle, Sessions};
pub use snapshots::{Comparison, Restored, Snapshot, Snapshots};
pub use system::{SystemClock, SystemEntropy};
pub use timeline::{Timeline, TimelineEvent};
pub use tools::{Call, CallListing, Evidence, EvidenceChain, EvidenceRead, StatedEvidence, Tools, read_evidence};
pub use url::{StoreUrl, default_store};
pub use verify::{BodyCounts, DisputedEvents, Finding, LogReport, VerifyReport};
pub use witness::Witness;
pub use zeroize::Zeroizing;
