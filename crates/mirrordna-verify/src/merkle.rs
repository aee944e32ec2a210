//! RFC 6962 Merkle trees: the growing right edge of a tree, and the checks of
//! inclusion and consistency proofs (RFC 9162 sections 2.1.3.2 and 2.1.4.2).

use crate::Malformed;
use crate::hash::{Hash, node, sha256};
use alloc::vec::Vec;

/// The roots of the perfect subtrees that make up a tree of some size, largest
/// first. It is all that is needed to append and to know the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

impl Frontier {
    /// An empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, nodes: Vec::new() }
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut carry = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.nodes.pop() else { break };
            carry = node(&left, &carry);
        }
        self.nodes.push(carry);
        self.size += 1;
    }

    /// The root of the perfect subtree of 2^`height` leaves that `leaf` would
    /// complete as the next one; `None` if it would complete none of that height.
    #[must_use]
    pub fn completed_by(&self, leaf: &Hash, height: u32) -> Option<Hash> {
        let whole = self.size.trailing_ones() >= height;
        whole.then(|| self.nodes.iter().rev().take(height as usize).fold(*leaf, |right, left| node(left, &right)))
    }

    /// The root; of an empty tree the SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut from_right = self.nodes.iter().rev();
        match from_right.next() {
            None => sha256(&[]),
            Some(last) => from_right.fold(*last, |right, left| node(left, &right)),
        }
    }

    /// The subtree roots as one byte string, 32 bytes each, largest first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.nodes.concat()
    }

    /// Reads [`Frontier::to_bytes`] of a tree of `size` leaves.
    ///
    /// # Errors
    /// If the number of hashes is not that of a tree of this size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        let (nodes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || nodes.len() != size.count_ones() as usize {
            return Err(Malformed::new("frontier", "has another number of hashes than its size asks for"));
        }
        Ok(Self { size, nodes: nodes.to_vec() })
    }
}

/// The longest proof that a tree of up to 2^63 leaves can need.
const MAX_PROOF: usize = 63;

/// Whether `proof` shows that `leaf` is leaf `index` of the tree of `size`
/// leaves with this `root`.
#[must_use]
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, proof: &[Hash]) -> bool {
    if index >= size || proof.len() > MAX_PROOF {
        return false;
    }
    let (mut f, mut s, mut r) = (index, size - 1, *leaf);
    for p in proof {
        if s == 0 {
            return false;
        }
        if f & 1 == 1 || f == s {
            r = node(p, &r);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            r = node(&r, p);
        }
        f >>= 1;
        s >>= 1;
    }
    s == 0 && r == *root
}

/// Whether `proof` shows that the tree of `size1` leaves with `root1` is a
/// prefix of the tree of `size2` leaves with `root2`.
#[must_use]
pub fn extends(size1: u64, root1: &Hash, size2: u64, root2: &Hash, proof: &[Hash]) -> bool {
    if size1 > size2 || proof.len() > MAX_PROOF {
        return false;
    }
    if size1 == 0 && *root1 != sha256(&[]) {
        return false;
    }
    if size1 == size2 {
        return proof.is_empty() && root1 == root2;
    }
    if size1 == 0 {
        return proof.is_empty();
    }
    let (mut f, mut s) = (size1 - 1, size2 - 1);
    while f & 1 == 1 {
        f >>= 1;
        s >>= 1;
    }
    let mut rest = proof.iter();
    // A perfect first tree is its own first node and is not repeated.
    let first = if size1.is_power_of_two() { Some(root1) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut fr, mut sr) = (*first, *first);
    for p in rest {
        if s == 0 {
            return false;
        }
        if f & 1 == 1 || f == s {
            fr = node(p, &fr);
            sr = node(p, &sr);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            sr = node(&sr, p);
        }
        f >>= 1;
        s >>= 1;
    }
    s == 0 && fr == *root1 && sr == *root2
}

/// The root over `leaves`, which are already hashed.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut f = Frontier::new();
    leaves.iter().for_each(|l| f.push(*l));
    f.root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 section 2.1 word for word: the slow definition.
    fn definition(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => sha256(&[]),
            1 => leaves[0],
            n => {
                let k = n.next_power_of_two() / 2;
                node(&definition(&leaves[..k]), &definition(&leaves[k..]))
            }
        }
    }

    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (mut p, other) = if m < k { (path(m, &leaves[..k]), &leaves[k..]) } else { (path(m - k, &leaves[k..]), &leaves[..k]) };
        p.push(definition(other));
        p
    }

    fn hashes(n: usize) -> Vec<Hash> {
        (0..n).map(|i| crate::hash::leaf(&(i as u64).to_be_bytes())).collect()
    }

    proptest! {
        #[test]
        fn frontier_agrees_with_the_definition(n in 0usize..300) {
            let leaves = hashes(n);
            let mut f = Frontier::new();
            leaves.iter().for_each(|l| f.push(*l));
            prop_assert_eq!(f.root(), definition(&leaves));
            prop_assert_eq!(Frontier::from_bytes(n as u64, &f.to_bytes()).unwrap(), f);
        }

        #[test]
        fn a_subtree_is_known_from_its_last_leaf(n in 1usize..300, height in 0u32..6) {
            let leaves = hashes(n);
            let mut f = Frontier::new();
            leaves[..n - 1].iter().for_each(|l| f.push(*l));
            let width = 1 << height;
            let expected = n.is_multiple_of(width).then(|| definition(&leaves[n - width..]));
            prop_assert_eq!(f.completed_by(&leaves[n - 1], height), expected);
        }

        #[test]
        fn a_path_proves_its_leaf_and_no_other(n in 1usize..200, at in any::<prop::sample::Index>()) {
            let leaves = hashes(n);
            let i = at.index(n);
            let (root, p) = (definition(&leaves), path(i, &leaves));
            prop_assert!(includes(&root, n as u64, i as u64, &leaves[i], &p));
            prop_assert!(!includes(&root, n as u64, i as u64, &[9; 32], &p));
            if n > 1 {
                let j = (i + 1) % n;
                prop_assert!(!includes(&root, n as u64, j as u64, &leaves[i], &p));
            }
        }
    }
}
