//! The verifier for a browser: `mirrordna-verify` as a WebAssembly module
//! without imports, behind a handful of C-like functions ([`border`]).
//!
//! One instance of the module judges one bundle: a [`Examination`] is given
//! what its user trusts, then the file in slices, and answers with the JSON
//! that `mirrordna verify --json` prints, and the events that were asked for.
//! It reads no clock, file or network, and cannot: it imports nothing.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod body;
pub mod border;
mod event;
mod examination;
mod json;
mod report;
mod time;

pub use examination::Examination;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// A panic is a bug: the module traps, and the page says that nothing was
/// judged.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn trap(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
