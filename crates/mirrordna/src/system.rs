//! The operating system's clock and randomness.

use crate::log::lock;
use mirrordna_core::{Clock, Code, Entropy, Error, Result};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::{Zeroize, Zeroizing};

/// The wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The operating system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        getrandom::fill(out).map_err(|e| Error::new(Code::Entropy, format!("the operating system gave no randomness: {e}")))
    }
}

/// Bytes drawn from another source at once, to be handed out in pieces: a draw
/// is a system call, however little it brings.
///
/// One lives for one call of the engine, on the stack of its thread. So what it
/// still holds is never handed out twice by a process and its fork: in the
/// child that thread does not go on, or it is past the call.
pub(crate) struct Drawn<'a> {
    source: &'a dyn Entropy,
    /// What is left, taken from the end; wiped when dropped.
    bytes: Mutex<Zeroizing<Vec<u8>>>,
}

impl<'a> Drawn<'a> {
    /// Draws `count` bytes; whoever needs more gets it from the source.
    pub(crate) fn new(source: &'a dyn Entropy, count: usize) -> Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; count]);
        source.fill(&mut bytes)?;
        Ok(Self { source, bytes: Mutex::new(bytes) })
    }
}

impl Entropy for Drawn<'_> {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        let mut bytes = lock(&self.bytes);
        let Some(left) = bytes.len().checked_sub(out.len()) else { return self.source.fill(out) };
        let piece = &mut bytes[left..];
        out.copy_from_slice(piece);
        piece.zeroize();
        bytes.truncate(left);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Counts: no two of its bytes are the same.
    #[derive(Default)]
    struct Counter(AtomicU8);

    impl Entropy for Counter {
        fn fill(&self, out: &mut [u8]) -> Result<()> {
            out.iter_mut().for_each(|b| *b = self.0.fetch_add(1, Ordering::Relaxed));
            Ok(())
        }
    }

    #[test]
    fn no_byte_is_handed_out_twice() {
        let source = Counter::default();
        let drawn = Drawn::new(&source, 100).unwrap();
        let mut seen: Vec<u8> = [32, 10, 0, 32, 10, 32, 32, 10]
            .iter()
            .flat_map(|n| {
                let mut out = vec![0; *n];
                drawn.fill(&mut out).unwrap();
                out
            })
            .collect();
        assert!(lock(&drawn.bytes).iter().all(|left| !seen.contains(left)));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 158, "what was drawn, and 64 bytes from the source");
    }
}
