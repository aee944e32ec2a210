//! Where the events of a chain stand, in a byte or two for each: enough to say
//! later which leaves a range of them are, without keeping the events.

use alloc::vec::Vec;

/// A range of an actor's events that somebody else may have written: its owner
/// said so by recovering the identity, or by revoking an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disputed {
    /// SCID digest of the actor.
    pub actor: crate::hash::Hash,
    /// Type segment of the actor's DID: `agt`, `usr` or `sys`.
    pub label: alloc::string::String,
    /// Only the events of this epoch (by `aseq`) in the range; all of the
    /// actor's where there is none.
    pub epoch: Option<u64>,
    /// `aseq` of the first disputed event.
    pub first: u64,
    /// `aseq` of the last one.
    pub last: u64,
    /// Index of the first one's leaf.
    pub first_leaf: u64,
    /// Index of the last one's leaf.
    pub last_leaf: u64,
    /// How many there are.
    pub count: u64,
    /// Index of the leaf that disputes them.
    pub by: u64,
}

/// The events of a range that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) first_leaf: u64,
    pub(crate) last_leaf: u64,
    pub(crate) count: u64,
}

/// Leaf index and signer of every event of a chain, in order.
///
/// Each event is a variable-length number: the distance to the leaf before,
/// doubled, plus one if another signer follows it.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    bytes: Vec<u8>,
    leaf: u64,
    signer: u64,
}

impl Trail {
    /// Notes the next event.
    pub(crate) fn push(&mut self, leaf: u64, signer: u64) {
        let other = signer != self.signer;
        self.put(leaf.wrapping_sub(self.leaf) << 1 | u64::from(other));
        if other {
            self.put(signer);
        }
        (self.leaf, self.signer) = (leaf, signer);
    }

    fn put(&mut self, mut n: u64) {
        while n > 0x7f {
            self.bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.bytes.push(n as u8);
    }

    /// The events after the one with number `trusted`, of one signer or of all;
    /// `None` where there are none.
    pub(crate) fn after(&self, trusted: u64, signer: Option<u64>) -> Option<Span> {
        let mut bytes = self.bytes.iter();
        let mut number = || {
            let (mut n, mut shift) = (0u64, 0u32);
            loop {
                let byte = *bytes.next()?;
                n |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    return Some(n);
                }
                shift += 7;
            }
        };
        let (mut leaf, mut of, mut aseq, mut span) = (0u64, 0u64, 0u64, None::<Span>);
        while let Some(step) = number() {
            leaf = leaf.wrapping_add(step >> 1);
            if step & 1 == 1 {
                of = number()?;
            }
            if aseq > trusted && signer.is_none_or(|s| s == of) {
                let found = span.get_or_insert(Span { first: aseq, last: aseq, first_leaf: leaf, last_leaf: leaf, count: 0 });
                (found.last, found.last_leaf, found.count) = (aseq, leaf, found.count + 1);
            }
            aseq += 1;
        }
        span
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_range_is_what_a_list_of_the_events_says(
            events in prop::collection::vec((0u64..400, 0u64..3, any::<bool>()), 0..60), trusted in 0u64..70, of in 0u64..3,
        ) {
            let (mut trail, mut list, mut leaf) = (Trail::default(), Vec::new(), 0u64);
            for (gap, signer, far) in events {
                leaf += gap + if far { 1 << 30 } else { 1 };
                trail.push(leaf, signer * 1_000);
                list.push((list.len() as u64, leaf, signer * 1_000));
            }
            for signer in [None, Some(of * 1_000)] {
                let left: Vec<_> = list.iter().filter(|e| e.0 > trusted && signer.is_none_or(|s| s == e.2)).collect();
                let span = left.first().zip(left.last()).map(|(a, b)| {
                    Span { first: a.0, last: b.0, first_leaf: a.1, last_leaf: b.1, count: left.len() as u64 }
                });
                prop_assert_eq!(trail.after(trusted, signer), span);
            }
        }
    }
}
