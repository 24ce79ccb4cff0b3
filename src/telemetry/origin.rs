//! The relay that a request came from, as attributes.

use opentelemetry::KeyValue;

use super::names;

/// A relay's name and labels.
#[derive(Debug, Clone)]
pub struct Origin(Vec<KeyValue>);

impl Origin {
    /// The relay of this `name`; `labels` are the configured ones, so there are few and none of a peer's choice.
    #[must_use]
    pub fn new(name: &str, labels: &[(String, String)]) -> Self {
        let name = KeyValue::new(names::RELAY_NAME, name.to_owned());
        let labels = labels.iter().map(|(name, value)| label(name, value));
        Self(std::iter::once(name).chain(labels).collect())
    }

    /// Its name and labels.
    pub(super) fn all(&self) -> &[KeyValue] {
        &self.0
    }

    /// Its labels.
    pub(super) fn labels(&self) -> &[KeyValue] {
        self.0.get(1..).unwrap_or_default()
    }
}

/// A label as an attribute, which can have the name of no other.
pub(super) fn label(name: &str, value: &str) -> KeyValue {
    KeyValue::new(format!("{}{name}", names::RELAY_LABEL), value.to_owned())
}
