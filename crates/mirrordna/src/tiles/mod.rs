//! A log as a folder of static files, C2SP `tlog-tiles`: any file server makes
//! it a log that strangers' tools can monitor, prove from and verify.
//!
//! This module **owns** where each file lies and what is in it; `export`
//! writes a folder, [`verify`] recomputes one. Bodies and keys are not in it:
//! entries are leaf data, which holds no content.
//!
//! ```
//! # use mirrordna::{Engine, IdentityType, tiles};
//! # let dir = tempfile::tempdir().unwrap();
//! # let (engine, folder) = (Engine::open("memory:")?, dir.path().join("tiles"));
//! engine.identities().create(IdentityType::Agent)?.memories().add("Prefers trains").send()?;
//! let exported = engine.main().export_tiles(&folder)?;
//!
//! // Elsewhere: a policy names the log's key.
//! let policy = tiles::Policy::parse(&format!("log {}\n", engine.main().verifier_key())).unwrap();
//! let report = tiles::verify(&folder, &policy)?;
//! assert_eq!((report.verdict, report.size), ("intact", exported.size));
//! # Ok::<(), mirrordna::Error>(())
//! ```

mod export;
mod verify;

pub use export::Exported;
pub use mirrordna_core::verify::policy::Policy;
pub use verify::{TilesReport, verify};

use mirrordna_core::Hash;
use mirrordna_core::timeline::TILE;
use mirrordna_core::verify::hash::{node, sha256};
use mirrordna_core::verify::merkle::root_of;

/// Name of the checkpoint in the folder.
const CHECKPOINT: &str = "checkpoint";

/// What a file below `tile/` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Hashes of a level.
    Hashes(u8),
    /// Leaf data, each with its length before it.
    Entries,
}

/// Where a tile of `width` lies: `tile/<L>/<N>[.p/<W>]`, N in groups of three
/// digits of which all but the last have an `x` before them.
fn path(what: What, number: u64, width: u64) -> String {
    let mut groups = vec![format!("{:03}", number % 1000)];
    let mut rest = number / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let kind = match what {
        What::Hashes(level) => level.to_string(),
        What::Entries => "entries".to_owned(),
    };
    let partial = if width < TILE { format!(".p/{width}") } else { String::new() };
    format!("tile/{kind}/{}{partial}", groups.join("/"))
}

/// How many hashes a level has in a tree of `size` leaves.
const fn level_size(size: u64, level: u8) -> u64 {
    match size.checked_shr(8 * level as u32) {
        Some(hashes) => hashes,
        None => 0,
    }
}

/// The levels of a tree: those with at least one hash.
fn levels(size: u64) -> impl Iterator<Item = u8> {
    (0..8).take_while(move |level| level_size(size, *level) > 0)
}

/// The root of a tree from the partial tiles at its right edge, from level 0
/// up; a level that ends with a full tile has an empty one.
fn root_of_edge(edge: &[Vec<Hash>]) -> Hash {
    let mut peaks = Vec::new();
    for hashes in edge.iter().rev() {
        let mut rest = hashes.as_slice();
        while !rest.is_empty() {
            let (peak, after) = rest.split_at(1 << rest.len().ilog2());
            peaks.push(root_of(peak));
            rest = after;
        }
    }
    let last = peaks.pop().unwrap_or_else(|| sha256(&[]));
    peaks.iter().rev().fold(last, |right, left| node(left, &right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(path(What::Hashes(0), 67, 256), "tile/0/067");
        assert_eq!(path(What::Entries, 1_234_067, 256), "tile/entries/x001/x234/067");
        assert_eq!(path(What::Hashes(1), 1000, 17), "tile/1/x001/000.p/17");
        assert_eq!(path(What::Hashes(2), 0, 1), "tile/2/000.p/1");
    }

    #[test]
    fn widths_are_those_of_the_specification() {
        let widths = |size| levels(size).map(|l| (level_size(size, l) / 256, level_size(size, l) % 256)).collect::<Vec<_>>();
        assert_eq!(widths(70_000), [(273, 112), (1, 17), (0, 1)]);
        assert_eq!(widths(256), [(1, 0), (0, 1)]);
        assert_eq!(widths(0), []);
        assert_eq!(widths(u64::MAX).len(), 8);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_edge_gives_the_root(size in 0usize..70_000) {
            let leaves: Vec<Hash> = (0..size as u64).map(|i| sha256(&[&i.to_be_bytes()])).collect();
            let mut edge = Vec::new();
            for level in levels(size as u64) {
                let per = 256usize.pow(u32::from(level));
                let hashes = size / per;
                edge.push((hashes / 256 * 256..hashes).map(|i| root_of(&leaves[i * per..(i + 1) * per])).collect());
            }
            prop_assert_eq!(root_of_edge(&edge), root_of(&leaves));
        }
    }
}
