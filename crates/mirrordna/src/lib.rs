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
//! [`Identities`], [`Sessions`], [`Memories`] and a [`Timeline`].

#[cfg(feature = "aio")]
pub mod aio;
pub mod backup;
mod builder;
mod commit;
mod engine;
mod file;
mod follow;
mod identities;
pub mod import;
mod keyring;
mod log;
mod memories;
mod parts;
#[cfg(feature = "compat")]
mod records;
mod sessions;
mod snapshots;
mod system;
mod timeline;
mod url;
mod verify;
mod view;
mod witness;

pub use builder::{Builder, Durability, SealPolicy};
pub use commit::Appended;
pub use engine::{DEFAULT_TENANT, Engine, Tenant};
pub use follow::Follow;
pub use identities::{Identities, Identity, IdentityManager, NewIdentity, Profile};
pub use keyring::{Keys, passphrase_from_env};
pub use memories::{Add, Hit, Memories, Search, Step, Written};
pub use mirrordna_core::identity::IdentityType;
pub use mirrordna_core::memory::{Content, Memory, MemoryPatch, NewMemory, Tier};
pub use mirrordna_core::session::{NewSession, Session};
pub use mirrordna_core::{Clock, Code, Entropy, Error, Result, limits, time};
#[cfg(feature = "compat")]
pub use mirrordna_upstream::entities;
#[cfg(feature = "compat")]
pub use records::{ChecksumReport, Entity, Records, Stored};
pub use sessions::{SessionHandle, Sessions};
pub use snapshots::{Comparison, Restored, Snapshot, Snapshots};
pub use system::{SystemClock, SystemEntropy};
pub use timeline::{Timeline, TimelineEvent};
pub use url::{StoreUrl, default_store};
pub use verify::{BodyCounts, Finding, VerifyReport};
pub use witness::Witness;
