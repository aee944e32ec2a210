//! One function per decoder of foreign bytes: what must hold whatever the
//! bytes are. A function panics where it does not; libFuzzer looks for bytes
//! that make it.
//!
//! The properties go beyond "no panic": what is accepted encodes to the same
//! bytes again (so there is one encoding only), and no decoder takes more
//! memory than a small multiple of what it was given. Each function says
//! whether it accepted the bytes.

mod decoders;
mod engine;
mod evidence;
mod memory;
mod returned;
mod seeds;

pub use decoders::{citation, did_log, did_rotation, header, json, leaf, note, private_body, public_body, upstream_read};
pub use engine::{import_chat, import_chatgpt, import_ledger, import_subject, import_upstream, keyring, restore};
pub use evidence::{add_checkpoint, bundle, cosignatures, policy, tlog_proof};
pub use returned::{receipt, timestamp};
pub use seeds::plant;
