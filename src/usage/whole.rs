//! Walks a table over a text in one piece, in the same pass that checks that it is JSON.
//!
//! Used on every relayed answer, so it does no more work than that check. Where serde refuses what the grammar allows
//! (numbers beyond a double, half a surrogate pair), the text is checked again and walked by the scanner.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::Key;

use super::NotJson;
use super::scalar::{Scalar, Text, cut, plain};
use super::scanner::Scanner;
use super::table::{Container, Table};

/// Reads `text`.
///
/// # Errors
/// `text` is not JSON.
pub(super) fn read<T: Table + Default>(text: &str) -> Result<T, NotJson> {
    let mut table = T::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let node = Node {
        place: T::ROOT,
        table: &mut table,
    };
    if node.deserialize(&mut json).and_then(|()| json.end()).is_ok() {
        return Ok(table);
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| NotJson)?;
    let mut table = T::default();
    let mut scanner = Scanner::default();
    scanner.push(text.as_bytes(), &mut table);
    scanner.end(&mut table);
    Ok(table)
}

/// A value at a place that is no leaf.
struct Node<'t, T: Table> {
    place: T::Place,
    table: &'t mut T,
}

impl<'de, T: Table> DeserializeSeed<'de> for Node<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Table> Visitor<'de> for Node<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.table.begin(self.place, Container::Object);
        while let Some(Key(key)) = map.next_key()? {
            match self.table.member(self.place, key.as_bytes()) {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(place) if T::is_leaf(place) => leaf(place, map.next_value()?, self.table),
                Some(place) => map.next_value_seed(Node {
                    place,
                    table: &mut *self.table,
                })?,
            }
        }
        self.table.end(self.place);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.table.begin(self.place, Container::Array);
        match self.table.element(self.place) {
            None => while seq.next_element::<IgnoredAny>()?.is_some() {},
            Some(place) if T::is_leaf(place) => {
                while let Some(raw) = seq.next_element()? {
                    leaf(place, raw, self.table);
                }
            }
            Some(place) => {
                let table = &mut *self.table;
                while seq
                    .next_element_seed(Node {
                        place,
                        table: &mut *table,
                    })?
                    .is_some()
                {}
            }
        }
        self.table.end(self.place);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.table.scalar(self.place, Scalar::Text(cut(text)));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.table.scalar(self.place, Scalar::Null);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

fn leaf<T: Table>(place: T::Place, raw: &RawValue, table: &mut T) {
    let raw = raw.get();
    match raw.strip_prefix('"') {
        Some(quoted) => match plain(quoted.as_bytes()) {
            Some((text, _)) => table.scalar(place, Scalar::Text(text)),
            None => {
                let mut text = Text::default();
                text.take(quoted.as_bytes());
                table.scalar(place, Scalar::Text(text.finish()));
            }
        },
        None => {
            if let Some(atom) = Scalar::atom(raw) {
                table.scalar(place, atom);
            }
        }
    }
}
