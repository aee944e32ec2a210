//! The upstream file forms: what the MirrorDNA Python and TypeScript SDKs write, and how such files get damaged.
//!
//! Owns: parsing (JSON, YAML 1.1, front matter), upstream's checksums, file detection, the verdict on each record, and the
//! protocol's entities as types.
//! Never: touches a file system, a clock or a network; stores anything; lets a private key into a record; drops a
//! record without saying so; commits to upstream's canonical forms (they are attributes for interoperability).
//!
//! Every function is total: any bytes give a value or an error, never a panic.

pub mod checksum;
pub mod detect;
pub mod entities;
pub mod json;
pub mod record;
pub mod schema;
pub mod time;
pub mod value;
pub mod yaml;

pub use detect::{Collection, Format, Kind, detect};
pub use record::{Entity, FileReport, ForeignRecord, Profile, Verdict, read_config, read_file};
pub use value::{Code, ParseError, Reason, Repair, Text, Value};

/// Largest file that is parsed, in bytes. A tree of values takes up to 25 times the file's size in memory.
pub const MAX_FILE_BYTES: usize = 256 * 1024 * 1024;
/// Deepest nesting of arrays and objects; upstream's own data stays below 10.
pub const MAX_DEPTH: usize = 200;
/// Longest integer, in digits; CPython refuses to read longer ones.
pub const MAX_INTEGER_DIGITS: usize = 4300;
/// How much YAML aliases and anchors may copy in one file, in nodes (64 bytes of text count as one more).
pub const MAX_ALIAS_NODES: usize = 1_000_000;
/// Duplicate keys read in one file; a hostile file could otherwise hold millions, each with a path to keep.
pub const MAX_DUPLICATES: usize = 1000;
/// Repairs or violations listed for one record; more are summed up in one last entry.
pub const MAX_REPAIRS: usize = 1000;
