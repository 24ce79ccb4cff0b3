//! The members of a JSON object as they were written, in their order: what is passed on is passed on to the byte.
#![deny(clippy::disallowed_methods)]

use serde::de::{Deserialize, MapAccess};
use serde_json::value::RawValue;

use crate::json::{self, FromFields};

/// An object's members.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> FromFields<'a> for Members<'a> {
    fn take<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        self.0.push((key.to_owned(), map.next_value()?));
        Ok(())
    }
}

impl<'a> Members<'a> {
    /// Reads `json`; `None` when it is JSON but no object.
    pub fn read(json: &'a str) -> Result<Option<Self>, serde_json::Error> {
        json::read(json)
    }

    /// The members of an object; none of anything else.
    pub fn of(value: &'a RawValue) -> Self {
        Self::read(value.get()).ok().flatten().unwrap_or_default()
    }

    /// The value of `key`, unless absent or null.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        let member = self.0.iter().rev().find(|(name, _)| name == key);
        member.map(|(_, value)| *value).filter(|value| !is_null(value))
    }

    /// The value of `key`, if it is a string.
    pub fn text(&self, key: &str) -> Option<String> {
        parse(self.get(key)?)
    }

    /// The elements of the array at `key`; none of anything else.
    pub fn items(&self, key: &str) -> Vec<&'a RawValue> {
        self.get(key).and_then(parse).unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), *value))
    }

    /// A key that is there more than once.
    pub fn twice(&self) -> Option<&str> {
        let mut keys: Vec<&str> = self.0.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        let pair = keys.windows(2).find(|pair| pair.first() == pair.last())?;
        pair.first().copied()
    }
}

/// The value as a `T`, if it is one.
pub(super) fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

pub(super) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// Writes one JSON object.
#[derive(Debug)]
pub(super) struct Writer(String);

impl Writer {
    pub fn new() -> Self {
        Self("{".to_owned())
    }

    /// A member whose value is JSON already.
    pub fn raw(&mut self, key: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(key));
        self.0.push(':');
        self.0.push_str(json);
    }

    pub fn text(&mut self, key: &str, text: &str) {
        self.raw(key, &quoted(text));
    }

    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Text as JSON; a string can always be written.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
