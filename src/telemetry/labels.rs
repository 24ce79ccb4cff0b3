//! Bounded sets of words that peers choose and that become labels: a label's values are memory for the life of the process.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Words let through: the given ones, then the first seen ones up to a maximum; all others share one word.
#[derive(Debug)]
pub(super) struct Labels {
    words: RwLock<HashSet<Arc<str>>>,
    /// Words that the set may hold.
    max: usize,
    other: &'static str,
}

/// A word that may become a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Label {
    /// One of the set.
    Word(Arc<str>),
    /// What stands for the rest.
    Other(&'static str),
}

impl Labels {
    pub(super) fn new(given: &[String], more: usize, other: &'static str) -> Self {
        let words: HashSet<Arc<str>> = given.iter().map(|word| Arc::from(word.as_str())).collect();
        let max = words.len().saturating_add(more);
        Self {
            words: RwLock::new(words),
            max,
            other,
        }
    }

    pub(super) fn label(&self, word: &str) -> Label {
        if !is_fit(word) {
            return Label::Other(self.other);
        }
        let full = {
            let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(word) = words.get(word) {
                return Label::Word(Arc::clone(word));
            }
            words.len() >= self.max
        };
        if full { Label::Other(self.other) } else { self.add(word) }
    }

    fn add(&self, word: &str) -> Label {
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = words.get(word) {
            return Label::Word(Arc::clone(word));
        }
        if words.len() >= self.max {
            return Label::Other(self.other);
        }
        let word: Arc<str> = Arc::from(word);
        words.insert(Arc::clone(&word));
        Label::Word(word)
    }
}

impl Label {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Other(word) => word,
        }
    }
}

fn is_fit(word: &str) -> bool {
    (1..=MAX_BYTES).contains(&word.len()) && !word.contains(char::is_control)
}

const MAX_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(given: &[&str], more: usize) -> Labels {
        let given: Vec<_> = given.iter().map(|word| (*word).to_owned()).collect();
        Labels::new(&given, more, "other")
    }

    #[test]
    fn the_given_ones_then_the_first_seen_then_other() {
        let set = labels(&["gpt-4o", "o3"], 2);
        let seen: Vec<_> = ["a", "b", "c", "a", "gpt-4o", "o3", "d", "b"]
            .into_iter()
            .map(|word| set.label(word).as_str().to_owned())
            .collect();
        assert_eq!(seen, ["a", "b", "other", "a", "gpt-4o", "o3", "other", "b"]);
    }

    #[test]
    fn what_is_no_name_takes_no_place() {
        let set = labels(&[], 1);
        for word in ["", "a\nb", "\u{7f}", &"x".repeat(129)] {
            assert_eq!(set.label(word), Label::Other("other"), "{word:?}");
        }
        let long = "x".repeat(128);
        assert_eq!(set.label(&long).as_str(), long);
    }

    #[test]
    fn threads_cannot_push_the_set_over_its_bound() {
        let set = labels(&[], 10);
        let kept = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let set = &set;
                    scope.spawn(move || {
                        let words = (0..100).map(move |n| format!("{thread}-{n}"));
                        words.filter(|word| set.label(word).as_str() == word).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(kept, 10);
    }
}
