//! Programs that show how mirrordna is used: `cargo run -p mirrordna-examples
//! --example assistant`. Each works in a temporary folder and prints what it
//! does; the tests run them all.
//!
//! | example | shows |
//! |---|---|
//! | `assistant` | an agent that remembers across two conversations, and what it may forget of whom |
//! | `audit` | an auditor who has a copy and a fingerprint, and finds one changed byte |
//! | `checkpoints` | states of a graph: large, shared, restored after a crash |
//! | `publish` | a log as static files, for strangers to watch and verify |
//! | `executor` | the async twin under an executor of twenty lines |
