//! Making inclusion and consistency proofs (RFC 9162 sections 2.1.3.1 and
//! 2.1.4.1). Checking them is the business of `mirrordna-verify`.

use crate::timeline::TILE;
use crate::{Code, Error, Hash, Result};
use mirrordna_verify::hash::node;
use mirrordna_verify::merkle::root_of;
use mirrordna_verify::note::base64;
use mirrordna_verify::tlog_proof::MAGIC;

/// Where the hashes of a tree come from. What it returns need not be trusted:
/// a wrong hash makes a proof that does not check.
pub trait Tiles {
    /// The 256 hashes of a full tile of a level, or `None` if it is not full.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>>;

    /// The leaf hashes of a range inside the last, partial tile.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn leaves(&self, from: u64, to: u64) -> Result<Vec<Hash>>;
}

/// Root of the subtree over leaves `from..to`, a range that the recursion of
/// RFC 9162 produces.
fn subtree(tiles: &dyn Tiles, from: u64, to: u64) -> Result<Hash> {
    let width = to - from;
    if width.is_power_of_two() && width >= TILE {
        // A whole number of tiles: look into the level above, if it is full.
        let level = (width.ilog2() / 8) as u8;
        let per_hash = 1u64 << (8 * u32::from(level));
        let (first, count) = (from / per_hash, width / per_hash);
        let at = (first % TILE) as usize;
        let tile = if level > 0 { tiles.tile(level, first / TILE)? } else { None };
        if let Some(hashes) = tile.as_ref().and_then(|t| t.get(at..at + count as usize)) {
            return Ok(root_of(hashes));
        }
        if width == TILE {
            let tile = tiles.tile(0, from / TILE)?;
            return tile.map(|t| root_of(&t)).ok_or_else(|| missing(from));
        }
    }
    if width <= TILE && from / TILE == (to - 1) / TILE {
        return Ok(root_of(&range(tiles, from, to)?));
    }
    let split = from + (width.next_power_of_two() / 2);
    Ok(node(&subtree(tiles, from, split)?, &subtree(tiles, split, to)?))
}

/// Leaf hashes inside one tile.
fn range(tiles: &dyn Tiles, from: u64, to: u64) -> Result<Vec<Hash>> {
    let own = match tiles.tile(0, from / TILE)? {
        Some(tile) => tile.get((from % TILE) as usize..(from % TILE + (to - from)) as usize).map(<[Hash]>::to_vec),
        None => Some(tiles.leaves(from, to)?),
    };
    own.filter(|l| l.len() as u64 == to - from).ok_or_else(|| missing(from))
}

fn missing(leaf: u64) -> Error {
    Error::new(Code::Altered, format!("the tree lacks the hashes from leaf {leaf} on"))
}

/// The path that proves leaf `index` in the tree of `size` leaves.
///
/// # Errors
/// `input.invalid` for an index beyond the size; `log.altered` where hashes
/// are missing.
pub fn inclusion(tiles: &dyn Tiles, index: u64, size: u64) -> Result<Vec<Hash>> {
    if index >= size {
        return Err(Error::new(Code::InputInvalid, format!("leaf {index} is not in a tree of {size} leaves")));
    }
    let mut path = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let split = from + (to - from).next_power_of_two() / 2;
        if index < split {
            path.push(subtree(tiles, split, to)?);
            to = split;
        } else {
            path.push(subtree(tiles, from, split)?);
            from = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `size1` leaves is a prefix of that of `size2`.
///
/// # Errors
/// `input.invalid` unless `size1 <= size2`; `log.altered` where hashes are
/// missing.
pub fn consistency(tiles: &dyn Tiles, size1: u64, size2: u64) -> Result<Vec<Hash>> {
    if size1 > size2 {
        return Err(Error::new(Code::InputInvalid, format!("a tree of {size2} leaves cannot extend one of {size1}")));
    }
    let mut proof = Vec::new();
    if size1 == 0 || size1 == size2 {
        return Ok(proof);
    }
    let (mut from, mut to, mut known) = (0, size2, true);
    while size1 != to {
        let split = from + (to - from).next_power_of_two() / 2;
        if size1 <= split {
            proof.push(subtree(tiles, split, to)?);
            to = split;
        } else {
            proof.push(subtree(tiles, from, split)?);
            from = split;
            known = false;
        }
    }
    if !known {
        proof.push(subtree(tiles, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// A C2SP `tlog-proof` file: the `path` that proves leaf `index` in the tree of
/// `checkpoint`, a note. `extra` is for the reader; nothing covers it.
#[must_use]
pub fn tlog_proof(index: u64, path: &[Hash], checkpoint: &str, extra: Option<&[u8]>) -> String {
    let extra = extra.map(|data| format!("extra {}\n", base64(data))).unwrap_or_default();
    let path: String = path.iter().map(|hash| base64(hash) + "\n").collect();
    format!("{MAGIC}\n{extra}index {index}\n{path}\n{checkpoint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrordna_verify::hash;
    use mirrordna_verify::merkle::{extends, includes};
    use proptest::prelude::*;

    /// Tiles over hashes in memory, full ones only, as a store has them.
    struct Memory(Vec<Hash>);

    impl Tiles for Memory {
        fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>> {
            let per = 256usize.pow(u32::from(level));
            let from = number as usize * 256 * per;
            let Some(leaves) = self.0.get(from..from + 256 * per) else { return Ok(None) };
            Ok(Some(leaves.chunks(per).map(root_of).collect()))
        }
        fn leaves(&self, from: u64, to: u64) -> Result<Vec<Hash>> {
            Ok(self.0[from as usize..to as usize].to_vec())
        }
    }

    fn tree(n: usize) -> Memory {
        Memory((0..n as u64).map(|i| hash::leaf(&i.to_be_bytes())).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn proofs_check(n in 1usize..1500, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
            let t = tree(n);
            let root = root_of(&t.0);
            let i = a.index(n);
            prop_assert!(includes(&root, n as u64, i as u64, &t.0[i], &inclusion(&t, i as u64, n as u64).unwrap()));
            let m = b.index(n + 1);
            let proof = consistency(&t, m as u64, n as u64).unwrap();
            let first = root_of(&t.0[..m]);
            prop_assert!(extends(m as u64, &first, n as u64, &root, &proof), "{m} of {n}");
            prop_assert!(m == 0 || m == n || !extends(m as u64, &[1; 32], n as u64, &root, &proof));
        }
    }

    #[test]
    fn a_written_proof_is_read_and_proves() {
        use crate::keys::SecretKey;
        use mirrordna_verify::note::{Checkpoint, assemble, verifier_key};
        use mirrordna_verify::tlog_proof::TlogProof;
        use mirrordna_verify::{Policy, Verdict};

        let leaves: Vec<[u8; 8]> = (0..300u64).map(u64::to_be_bytes).collect();
        let t = tree(leaves.len());
        let key = SecretKey::from_seed(&[5; 32]);
        let text = Checkpoint { origin: "example.com/log", size: 300, root: root_of(&t.0) }.text();
        let note = assemble(&text, "example.com/log", key.public(), &key.sign_bytes(text.as_bytes()));
        let policy = Policy::parse(&format!("log {}\n", verifier_key("example.com/log", key.public()))).unwrap();
        for (index, leaf) in leaves.iter().enumerate() {
            let file = tlog_proof(index as u64, &inclusion(&t, index as u64, 300).unwrap(), &note, Some(leaf));
            let proof = TlogProof::parse(file.as_bytes()).unwrap();
            assert_eq!(proof.extra.as_deref(), Some(&leaf[..]));
            assert_eq!(proof.judge(&policy, leaf).verdict, Verdict::Intact);
            assert_eq!(proof.judge(&policy, b"another").verdict, Verdict::Altered);
        }
        assert_eq!(TlogProof::parse(tlog_proof(0, &[], &note, None).as_bytes()).unwrap().extra, None);
    }

    #[test]
    fn the_level_above_is_used_where_it_is_full() {
        let t = tree(70_000);
        let root = root_of(&t.0);
        for m in [65_536u64, 65_537, 40_000, 256, 69_999] {
            let proof = consistency(&t, m, 70_000).unwrap();
            assert!(extends(m, &root_of(&t.0[..m as usize]), 70_000, &root, &proof), "{m}");
        }
    }
}
