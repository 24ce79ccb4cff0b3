//! The JSON as it arrived: a tree that keeps the order of keys and notices a key that is written twice.
//!
//! `serde_json::Value` would keep the last of two equal keys and say nothing. Depth is bounded by `serde_json` (128
//! levels), size by [`parse`]. Numbers are doubles, as in a protobuf Struct; nothing here needs more than 53 bits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::errors::ConfigErrors;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// What kind of value this is, without the value: `a string`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads the bytes that Envoy handed over; `wanted` is what they should hold.
pub(super) fn parse(json: &[u8], wanted: &str) -> Result<Node, ConfigErrors> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Err(ConfigErrors::whole("empty", wanted));
    }
    if json.len() > MAX_BYTES {
        return Err(ConfigErrors::whole(
            format!("{} bytes", json.len()),
            format!("at most {MAX_BYTES} are read"),
        ));
    }
    // Only the position is told: the parser's own text may quote what it read.
    serde_json::from_slice(json).map_err(|e| {
        let why = match e.classify() {
            serde_json::error::Category::Eof => "JSON that ends too early",
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Data => "not JSON",
        };
        ConfigErrors::whole(format!("{why} (line {}, column {})", e.line(), e.column()), wanted)
    })
}

/// A generous multiple of a configuration with many relays.
const MAX_BYTES: usize = 1 << 20;

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

#[allow(clippy::cast_precision_loss)] // documented above: doubles are enough
impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}
