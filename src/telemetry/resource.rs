//! Who speaks: the attributes of the OTLP resource.

use std::hash::{BuildHasher, RandomState};

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

use super::environment::Environment;
use super::names;
use super::settings::Mistake;

/// Kubernetes attributes and the variables that manifests give them by the downward API; the first one that is set counts.
pub(super) static DOWNWARD: &[(&str, &[&str])] = &[
    ("k8s.cluster.name", &["K8S_CLUSTER_NAME"]),
    (
        "k8s.namespace.name",
        &["K8S_NAMESPACE_NAME", "POD_NAMESPACE", "K8S_NAMESPACE"],
    ),
    ("k8s.deployment.name", &["K8S_DEPLOYMENT_NAME"]),
    ("k8s.pod.name", &["K8S_POD_NAME", "POD_NAME"]),
    ("k8s.pod.uid", &["K8S_POD_UID", "POD_UID"]),
    ("k8s.node.name", &["K8S_NODE_NAME", "NODE_NAME"]),
    ("k8s.container.name", &["K8S_CONTAINER_NAME", "CONTAINER_NAME"]),
];

/// The process's resource; what `OTEL_RESOURCE_ATTRIBUTES` says wins over what is found.
pub(super) fn resource(environment: &Environment, mistakes: &mut Vec<Mistake>) -> Resource {
    let mut attributes = vec![
        KeyValue::new("service.name", names::SERVICE),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance_id()),
    ];
    for (attribute, variables) in DOWNWARD {
        if let Some(value) = variables.iter().find_map(|name| environment.get(name)) {
            attributes.push(KeyValue::new(*attribute, value.to_owned()));
        }
    }
    attributes.extend(given(environment, mistakes));
    if let Some(name) = environment.get("OTEL_SERVICE_NAME") {
        attributes.push(KeyValue::new("service.name", name.to_owned()));
    }
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_schema_url(attributes, names::SCHEMA)
        .build()
}

fn given(environment: &Environment, mistakes: &mut Vec<Mistake>) -> Vec<KeyValue> {
    let Some(text) = environment.get(ATTRIBUTES) else {
        return Vec::new();
    };
    let pairs: Option<Vec<_>> = text
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let key = percent_decoded(key.trim()).filter(|key| !key.is_empty())?;
            Some(KeyValue::new(key, percent_decoded(value.trim())?))
        })
        .collect();
    // the specification drops the whole value, so that half of it does not pass for all of it
    pairs.unwrap_or_else(|| {
        mistakes.push(Mistake::new(ATTRIBUTES, text, "key=value pairs, percent-encoded"));
        Vec::new()
    })
}

/// `None` for what is not percent-encoded UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).ok()
}

/// A random UUID: backends keep one cumulative series per instance, and two Envoys must not share it.
fn instance_id() -> String {
    let [high, low] = [0, 1].map(|half: u8| RandomState::new().hash_one(half));
    let high = high & !0xF000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{high:016x}{low:016x}");
    let groups = [
        hex.get(..8),
        hex.get(8..12),
        hex.get(12..16),
        hex.get(16..20),
        hex.get(20..),
    ];
    groups.map(Option::unwrap_or_default).join("-")
}

const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Resource, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let resource = resource(&variables.iter().copied().collect(), &mut mistakes);
        (resource, mistakes)
    }

    fn value(resource: &Resource, key: &'static str) -> Option<String> {
        resource.get(&key.into()).map(|value| value.to_string())
    }

    #[test]
    fn the_defaults_name_the_service_its_version_and_its_instance() {
        let (first, mistakes) = read(&[]);
        assert_eq!(value(&first, "service.name").as_deref(), Some("spectral-bridge"));
        assert_eq!(
            value(&first, "service.version").as_deref(),
            Some(env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(value(&first, "telemetry.sdk.language").as_deref(), Some("rust"));
        assert_eq!(value(&first, "telemetry.sdk.name").as_deref(), Some("opentelemetry"));
        assert_eq!(first.schema_url(), Some(names::SCHEMA));
        let id = value(&first, "service.instance.id").unwrap();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert!(id[14..].starts_with('4') && "89ab".contains(&id[19..20]), "{id}");
        assert_ne!(value(&read(&[]).0, "service.instance.id"), Some(id));
        assert_eq!(mistakes, []);
    }

    #[test]
    fn the_downward_api_names_the_pod_and_the_given_attributes_win() {
        let (resource, mistakes) = read(&[
            ("POD_NAME", "web-1"),
            ("K8S_NODE_NAME", "node-a"),
            ("NODE_NAME", "node-b"),
            ("POD_NAMESPACE", "models"),
            (
                ATTRIBUTES,
                "k8s.pod.name=web-2, team=a%2Cb%20c ,service.name=x,service.instance.id=1",
            ),
            ("OTEL_SERVICE_NAME", "gateway"),
        ]);
        for (key, expected) in [
            ("k8s.pod.name", "web-2"),
            ("k8s.node.name", "node-a"),
            ("k8s.namespace.name", "models"),
            ("team", "a,b c"),
            ("service.name", "gateway"),
            ("service.instance.id", "1"),
        ] {
            assert_eq!(value(&resource, key).as_deref(), Some(expected), "{key}");
        }
        assert_eq!(mistakes, []);
    }

    #[test]
    fn attributes_that_cannot_be_read_are_dropped_and_said() {
        for text in ["team", "=x", "team=%4", "team=%zz", "a=b,team=%ff"] {
            let (resource, mistakes) = read(&[(ATTRIBUTES, text)]);
            assert_eq!(value(&resource, "team"), None, "{text}");
            assert_eq!(value(&resource, "a"), None, "{text}");
            assert_eq!(mistakes.len(), 1, "{text}");
        }
    }
}
