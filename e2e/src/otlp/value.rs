//! Attributes and bodies as JSON: `json!` is how tests write what they expect, and how differences are printed.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Value, json};

/// Attributes by name. Integers and floats stay apart, as `json!(1)` and `json!(1.0)` do.
pub type Attributes = BTreeMap<String, Value>;

/// Who measured (the instrumentation scope).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The conventions it follows.
    pub schema_url: String,
}

impl Scope {
    pub(super) fn of(scope: Option<&InstrumentationScope>, schema_url: &str) -> Self {
        Self {
            name: scope.map(|scope| scope.name.clone()).unwrap_or_default(),
            version: scope.map(|scope| scope.version.clone()).unwrap_or_default(),
            schema_url: schema_url.to_owned(),
        }
    }
}

pub(super) fn resource(resource: Option<&Resource>) -> Attributes {
    resource
        .map(|resource| attributes(&resource.attributes))
        .unwrap_or_default()
}

pub(super) fn attributes(pairs: &[KeyValue]) -> Attributes {
    let pairs = pairs.iter();
    pairs
        .map(|pair| (pair.key.clone(), value(pair.value.as_ref())))
        .collect()
}

pub(super) fn value(any: Option<&AnyValue>) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        None => Value::Null,
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(truth)) => json!(truth),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => double(*number),
        Some(Any::ArrayValue(list)) => list.values.iter().map(|item| value(Some(item))).collect(),
        Some(Any::KvlistValue(map)) => json!(attributes(&map.values)),
        Some(Any::BytesValue(bytes)) => json!({ "bytes": hex(bytes) }),
        Some(Any::StringValueStrindex(index)) => json!({ "string_index": index }),
    }
}

/// JSON knows no infinities: they are told by their names.
pub(super) fn double(number: f64) -> Value {
    if number.is_finite() {
        json!(number)
    } else {
        json!(number.to_string())
    }
}

/// Ids as people read them.
pub(super) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Whether `attributes` has all of these, as text.
pub(super) fn has(attributes: &Attributes, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, text)| match attributes.get(*name) {
        Some(Value::String(found)) => found == text,
        Some(other) => serde_json::from_str::<Value>(text).is_ok_and(|wanted| wanted == *other),
        None => false,
    })
}
