//! Every limit of the engine, in one place. Going past one is an error with
//! code `limit.exceeded`, never a truncation.

/// Longest payload, bytes.
pub const PAYLOAD: usize = 256 << 20;
/// Longest payload that is JSON, bytes.
pub const JSON: usize = 64 << 20;
/// Longest payload, or other field, that is stored in the event itself, bytes.
/// A longer payload is cut into parts, events of their own.
pub const INLINE: usize = 64 * 1024;
/// Longest part, bytes.
pub const PART: usize = 1 << 20;
/// Longest private body with all its fields, without a payload in parts, bytes.
pub const BODY: usize = 128 * 1024;
/// Most events in one atomic append.
pub const BATCH_EVENTS: usize = 1_024;
/// Most body bytes in one atomic append.
pub const BATCH_BYTES: usize = 8 << 20;
/// Most references of one event.
pub const REFS: usize = mirrordna_verify::header::MAX_REFS;
/// Longest name, id, tag or speaker, bytes.
pub const NAME: usize = 512;
/// Most tags on one record.
pub const TAGS: usize = 64;
/// Deepest nesting of caller JSON.
pub const JSON_DEPTH: usize = mirrordna_verify::json::MAX_DEPTH;
/// Longest line of an import file, bytes.
pub const IMPORT_LINE: usize = 1 << 20;
/// Longest conversation of a ChatGPT export, bytes.
pub const IMPORT_CONVERSATION: usize = 32 << 20;
/// Most results one query returns.
pub const RESULTS: usize = 10_000;
/// Most sessions in a chain of parents.
pub const LINEAGE: usize = 10_000;
/// Most calls that one statement of evidence names: it refers to both events of
/// each.
pub const EVIDENCE_CALLS: usize = REFS / 2;
/// Most logs that go on from each other: a view stands on one of each.
pub const FORKS: usize = 256;
/// Most events that one proof is asked for.
pub const PROVEN: usize = 10_000;
