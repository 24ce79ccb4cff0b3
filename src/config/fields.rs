//! Reading one object, key by key: unknown and repeated keys are mistakes, and so is a value of the wrong kind.
//!
//! Every reader returns `None` after it has noted a mistake and goes on with the next key, so that one report has all.
//! A key that is absent or null takes its default. Strings are quoted in messages only where a string is expected.

use std::ops::RangeInclusive;

use super::errors::{Mistakes, Place, shown};
use super::raw::Node;

/// The members of one object.
pub(super) struct Fields<'a> {
    /// Where the object stands.
    pub(super) place: Place,
    /// Where mistakes go.
    pub(super) mistakes: &'a Mistakes,
    members: &'a [(String, Node)],
}

/// One value and where it stands.
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// Where the value stands.
    pub(super) place: Place,
    /// Where mistakes go.
    pub(super) mistakes: &'a Mistakes,
    /// The value.
    pub(super) node: &'a Node,
}

impl<'a> Field<'a> {
    /// Notes a mistake about this value.
    pub(super) fn wrong<T>(&self, problem: impl Into<String>, allowed: impl Into<String>) -> Option<T> {
        self.mistakes.add(&self.place, problem, allowed)
    }

    /// Opens an object that may have these keys.
    pub(super) fn object(self, keys: &[&str]) -> Option<Fields<'a>> {
        let Node::Object(members) = self.node else {
            return self.wrong(self.node.kind(), format!("an object with the keys {}", keys.join(", ")));
        };
        let fields = Fields {
            place: self.place,
            mistakes: self.mistakes,
            members,
        };
        fields.refuse_strange_keys(keys);
        Some(fields)
    }

    /// The members of an object whose keys are free names; repetitions are reported and left out.
    pub(super) fn named(&self, what: &str) -> Option<Vec<(&'a str, Field<'a>)>> {
        let Node::Object(members) = self.node else {
            return self.wrong(self.node.kind(), format!("an object of {what}"));
        };
        let fields = Fields {
            place: self.place.clone(),
            mistakes: self.mistakes,
            members,
        };
        fields.refuse_repeated_keys();
        let first = |i: usize, key: &str| members.iter().position(|(k, _)| k == key) == Some(i);
        let unique = members.iter().enumerate().filter(|(i, (key, _))| first(*i, key));
        Some(
            unique
                .map(|(_, (key, node))| (key.as_str(), fields.field(key, node)))
                .collect(),
        )
    }

    /// The elements of an array.
    pub(super) fn items(&self, what: &str) -> Option<Vec<Self>> {
        let Node::Array(nodes) = self.node else {
            return self.wrong(self.node.kind(), format!("an array of {what}"));
        };
        let item = |(i, node)| Field {
            place: self.place.index(i),
            mistakes: self.mistakes,
            node,
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// Whether this is an array of nothing.
    pub(super) fn is_empty_array(&self) -> bool {
        matches!(self.node, Node::Array(nodes) if nodes.is_empty())
    }

    /// A string.
    pub(super) fn text(&self, allowed: &str) -> Option<&'a str> {
        match self.node {
            Node::Text(text) => Some(text),
            Node::Number(number) => self.wrong(number.to_string(), allowed),
            Node::Bool(value) => self.wrong(value.to_string(), allowed),
            Node::Null | Node::Array(_) | Node::Object(_) => self.wrong(self.node.kind(), allowed),
        }
    }

    /// A whole number within `range`. A protobuf Struct has only doubles, and its JSON may quote them.
    pub(super) fn integer(&self, range: &RangeInclusive<u64>) -> Option<u64> {
        let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
        let number = match self.node {
            Node::Number(number) => *number,
            Node::Text(text) => match text.parse() {
                Ok(number) => number,
                Err(_) => return self.wrong(format!("{} is not a number", shown(text)), allowed()),
            },
            Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_) => {
                return self.wrong(self.node.kind(), allowed());
            }
        };
        match whole(number) {
            Some(value) if range.contains(&value) => Some(value),
            Some(_) | None => self.wrong(number.to_string(), allowed()),
        }
    }
}

impl<'a> Fields<'a> {
    /// The value of `key`, unless absent or null.
    pub(super) fn get(&self, key: &str) -> Option<Field<'a>> {
        let (_, node) = self.members.iter().rev().find(|(k, _)| k == key)?;
        (*node != Node::Null).then(|| self.field(key, node))
    }

    /// The value of `key`; its absence is a mistake.
    pub(super) fn required(&self, key: &str, allowed: &str) -> Option<Field<'a>> {
        self.get(key)
            .or_else(|| self.mistakes.add(&self.place.key(key), "missing", allowed))
    }

    /// `read`'s value for `key`, or `default` when absent.
    pub(super) fn or<T>(&self, key: &str, default: T, read: impl FnOnce(Field<'a>) -> Option<T>) -> Option<T> {
        match self.get(key) {
            Some(field) => read(field),
            None => Some(default),
        }
    }

    /// `true` or `false`, absent is `false`.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.or(key, false, |field| match field.node {
            Node::Bool(value) => Some(*value),
            Node::Text(text) => field.wrong(shown(text), "true or false, without quotes"),
            Node::Null | Node::Number(_) | Node::Array(_) | Node::Object(_) => {
                field.wrong(field.node.kind(), "true or false")
            }
        })
    }

    /// A whole number within `range`, as a size.
    pub(super) fn size(&self, key: &str, default: usize, range: &RangeInclusive<u64>) -> Option<usize> {
        self.or(key, default, |field| usize::try_from(field.integer(range)?).ok())
    }

    fn field(&self, key: &str, node: &'a Node) -> Field<'a> {
        Field {
            place: self.place.key(&plain(key)),
            mistakes: self.mistakes,
            node,
        }
    }

    fn refuse_strange_keys(&self, keys: &[&str]) {
        for (key, _) in self.members {
            if keys.contains(&key.as_str()) {
                continue;
            }
            let near = closest(key, keys).map_or_else(String::new, |near| format!(", did you mean {near}?"));
            let allowed = format!("allowed here: {}", keys.join(", "));
            self.mistakes
                .add::<()>(&self.place.key(&plain(key)), format!("unknown key{near}"), allowed);
        }
        self.refuse_repeated_keys();
    }

    fn refuse_repeated_keys(&self) {
        for (i, (key, _)) in self.members.iter().enumerate() {
            let earlier = self.members.iter().take(i).filter(|(other, _)| other == key).count();
            if earlier == 1 {
                self.mistakes
                    .add::<()>(&self.place.key(&plain(key)), "written twice", "write each key once");
            }
        }
    }
}

/// A key as a message may show it. One that is no plain word may hold anything, even a secret in the wrong place.
fn plain(key: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let fits = !key.is_empty() && key.len() <= MAX_KEY && key.chars().all(word);
    if fits {
        key.to_owned()
    } else {
        "(a key that is not a plain word)".to_owned()
    }
}

const MAX_KEY: usize = 64;

/// The number as a whole one, if it is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked on the line above the cast
fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fits = number.fract() == 0.0 && (0.0..=EXACT).contains(&number);
    fits.then_some(number as u64)
}

/// The allowed key that `key` was probably meant to be.
fn closest<'k>(key: &str, keys: &[&'k str]) -> Option<&'k str> {
    if key.len() > MAX_KEY {
        return None;
    }
    let (steps, best) = keys.iter().map(|k| (distance(key, k), *k)).min()?;
    (steps <= 1 + best.len() / 4).then_some(best)
}

/// Levenshtein distance, case and `-`/`_` ignored.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| {
        s.chars()
            .map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() })
            .collect::<Vec<_>>()
    };
    let (a, b) = (fold(a), fold(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let cost = (diagonal + usize::from(ca != cb)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}
