//! A disk that loses power and fails, for tests.
//!
//! [`install`] makes a SQLite VFS the default of the process, so that whatever
//! opens a database runs through it without knowing. It hands everything to
//! SQLite's own unix VFS and, for files in a folder that was
//! [mounted](Disk::mount), writes down each write, truncation, sync, creation
//! and deletion. From that [`Trace`] the files can be computed as a disk would
//! hold them after losing power at any point ([`Platter`]): what was synced is
//! there; what was not is gone, there, or there in part and in another order. A
//! [`Fault`] makes one operation fail while the system goes on.
//!
//! This crate **never** syncs for real, and it knows nothing of mirrordna.
//!
//! What is modelled of a disk: writes tear at 512-byte sectors, but bytes
//! outside of a write are never damaged (SQLite's "powersafe overwrite"); a new
//! or deleted name is durable only after its folder was synced, which SQLite
//! does with the first sync of a journal or write-ahead log; pages whose sync
//! failed count as clean, as on Linux, so that no later sync brings them to the
//! disk unless they are written again.

mod disk;
mod platter;
mod vfs;

pub use disk::{Disk, Fault, Trace};
pub use platter::{Image, Loss, Platter};
pub use vfs::install;
