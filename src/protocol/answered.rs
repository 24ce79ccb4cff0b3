//! Requests that were answered and acknowledged: remembered so that a late duplicate is not forwarded again.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use super::RequestId;
use super::limits::ANSWERED_REMEMBERED;

/// The last [`ANSWERED_REMEMBERED`] answered request ids.
///
/// Ids are opaque and may be megabytes long, so 128 bits of a keyed hash stand for each: the memory is bounded whatever
/// the relay sends, and without the key nobody can make two ids collide.
#[derive(Debug)]
pub struct Answered {
    key: RandomState,
    order: VecDeque<u128>,
    known: HashSet<u128, BuildHasherDefault<Hashed>>,
}

/// For what is a keyed hash already: its lower half is as good as any hash of it.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        let [.., a, b, c, d, e, f, g, h] = hash.to_be_bytes();
        self.0 = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Answered {
    /// An empty memory; `key` is drawn by the caller.
    #[must_use]
    pub fn new(key: RandomState) -> Self {
        Self {
            key,
            order: VecDeque::new(),
            known: HashSet::default(),
        }
    }

    /// Remembers `id`, forgetting the oldest when full.
    pub fn insert(&mut self, id: &RequestId) {
        let hash = self.hash(id.as_str());
        if !self.known.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > ANSWERED_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether `id` is remembered.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.known.contains(&self.hash(id))
    }

    fn hash(&self, id: &str) -> u128 {
        let high = self.key.hash_one((0_u8, id));
        let low = self.key.hash_one((1_u8, id));
        u128::from(high) << 64 | u128::from(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_65536_are_known_and_older_ones_forgotten() {
        let mut answered = Answered::new(RandomState::new());
        for n in 0..=ANSWERED_REMEMBERED {
            answered.insert(&RequestId::from(n.to_string().as_str()));
        }
        assert!(!answered.contains("0"));
        assert!(answered.contains("1"));
        assert!(answered.contains(&ANSWERED_REMEMBERED.to_string()));
        assert_eq!(answered.order.len(), ANSWERED_REMEMBERED);
        assert_eq!(answered.known.len(), ANSWERED_REMEMBERED);
    }

    #[test]
    fn inserting_twice_counts_once() {
        let mut answered = Answered::new(RandomState::new());
        answered.insert(&RequestId::from("a"));
        answered.insert(&RequestId::from("a"));
        assert_eq!(answered.order.len(), 1);
    }
}
