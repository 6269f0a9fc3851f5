//! Which numbers were seen, when almost all of them come in order.

use alloc::collections::BTreeSet;

/// A set of numbers that grows without holes for long: everything below a watermark and a few
/// numbers above it.
#[derive(Clone, Debug, Default)]
pub struct IdSet {
    below: u32,
    above: BTreeSet<u32>,
}

impl IdSet {
    /// Adds `id` and says whether it is new.
    pub fn insert(&mut self, id: u32) -> bool {
        if self.contains(id) {
            return false;
        }
        self.above.insert(id);
        while self.above.remove(&self.below) {
            self.below += 1;
        }
        true
    }

    /// Whether `id` was added.
    pub fn contains(&self, id: u32) -> bool {
        id < self.below || self.above.contains(&id)
    }

    /// How many numbers lie above the first hole.
    pub fn sparse_len(&self) -> usize {
        self.above.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(ids in prop::collection::vec(0u32..40, 0..80)) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for id in ids {
                prop_assert_eq!(set.insert(id), model.insert(id));
                prop_assert!(set.contains(id));
            }
            let first_hole = (0..).find(|id| !model.contains(id)).unwrap();
            prop_assert_eq!(set.sparse_len(), model.range(first_hole..).count());
        }
    }
}
