//! OBSERVABILITY.md and the code have the same statistics of Envoy, with the same labels, and the same metadata, both ways.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use envoy_fake::FakeEnvoy;
use envoy_proxy_dynamic_modules_rust_sdk::{
    BootstrapExtension, BootstrapExtensionConfig, EnvoyBootstrapExtension, EnvoyBootstrapExtensionConfig,
    EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, EnvoyRelease, Factories, HttpFilterConfig,
};
use spectral_bridge::stats::RelayStats;
use spectral_bridge::{auth, filter};

struct Nothing;

impl BootstrapExtension for Nothing {}

impl BootstrapExtensionConfig for Nothing {
    fn new_bootstrap_extension(&self, _: &mut dyn EnvoyBootstrapExtension) -> Box<dyn BootstrapExtension> {
        Box::new(Nothing)
    }
}

fn new_bootstrap(
    envoy: &mut dyn EnvoyBootstrapExtensionConfig,
    _: &str,
    _: &[u8],
) -> Option<Box<dyn BootstrapExtensionConfig>> {
    RelayStats::define(envoy).unwrap();
    Some(Box::new(Nothing))
}

fn new_filter(
    envoy: &mut EnvoyHttpFilterConfigImpl,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EnvoyHttpFilterImpl>>> {
    match name {
        auth::NAME => auth::configure(envoy, config),
        _ => filter::configure(envoy, config),
    }
}

/// Tokens that let `0123456789abcdef` in, as `ci`.
fn tokens(test: &str) -> (PathBuf, String) {
    let path = std::env::temp_dir().join(format!("spectral-bridge-seam-{}-{test}", std::process::id()));
    std::fs::write(&path, "ci:0123456789abcdef\n").unwrap();
    let config = format!("{{\"tokens_file\": {path:?}}}");
    (path, config)
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of every table with this heading, as cells.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let tables = include_str!("../../OBSERVABILITY.md").split(heading).skip(1);
    let rows = tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn each_statistic_stands_in_the_document_with_its_labels() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_38);
    let factories = Factories::none().bootstrap(new_bootstrap).http(new_filter);
    envoy.load(|| true, factories).unwrap();
    let _bootstrap = envoy.bootstrap("relay", b"").unwrap();
    let _filter = envoy.http(filter::NAME, b"").unwrap();
    let (path, config) = tokens("statistics");
    let _auth = envoy.http(auth::NAME, config.as_bytes()).unwrap();
    std::fs::remove_file(path).unwrap();
    let defined: BTreeMap<String, Vec<String>> = envoy.metrics().into_iter().collect();
    let mut documented = BTreeMap::new();
    for row in rows("| In `/stats/prometheus` | Kind | Labels | Meaning |") {
        for name in quoted(row[0]) {
            assert_eq!(name.ends_with("_total"), row[1] == "counter", "{name}");
            let plain = name.strip_prefix("envoy_spectral_bridge_").unwrap();
            documented.insert(plain.to_owned(), quoted(row[2]));
        }
    }
    assert_eq!(defined, documented);
}

#[test]
fn each_key_of_the_metadata_stands_in_the_document() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_38);
    envoy.load(|| true, Factories::none().http(new_filter)).unwrap();
    let config = envoy.http(filter::NAME, b"").unwrap();
    let mut set = Vec::new();
    let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":9,
        "prompt_tokens_details":{"cached_tokens":1,"cache_write_tokens":1,"text_tokens":1,"image_tokens":1,"audio_tokens":1},
        "completion_tokens_details":{"reasoning_tokens":1,"text_tokens":1,"image_tokens":1,"audio_tokens":1}}"#;
    let choice = r#""choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]"#;
    for members in [format!("{choice},{}", usage.replace('\n', " ")), choice.to_owned()] {
        let stream = config.stream().unwrap();
        stream.request_headers(&[(":method", "POST"), (":path", "/v1/chat/completions")], false);
        stream.request_body(&[b"{\"model\":\"m\"}"], true);
        stream.response_headers(&[(":status", "200"), ("content-type", "text/event-stream")], false);
        let event = format!("data: {{\"model\":\"m\",{members}}}\n\n");
        stream.response_body(&[event.as_bytes()], true);
        stream.complete();
        stream.with(|stream| set.extend(stream.metadata.keys().map(|(_, key)| key.clone())));
    }
    set.sort();
    set.dedup();
    let mut documented: Vec<_> = rows("| Key | Type | Meaning |")
        .iter()
        .flat_map(|row| quoted(row[0]))
        .collect();
    documented.sort();
    assert_eq!(set, documented);
}

#[test]
fn each_key_of_a_caller_stands_in_the_document() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_38);
    envoy.load(|| true, Factories::none().http(new_filter)).unwrap();
    let (path, config) = tokens("metadata");
    let config = envoy.http(auth::NAME, config.as_bytes()).unwrap();
    std::fs::remove_file(path).unwrap();
    let mut set = Vec::new();
    for authorization in ["Bearer 0123456789abcdef", "Bearer another"] {
        let stream = config.stream().unwrap();
        stream.request_headers(
            &[(":method", "GET"), (":path", "/"), ("authorization", authorization)],
            true,
        );
        stream.with(|stream| set.extend(stream.metadata.keys().map(|(_, key)| key.clone())));
    }
    let documented: Vec<_> = rows("| Key of a caller | Type | Meaning |")
        .iter()
        .flat_map(|row| quoted(row[0]))
        .collect();
    assert_eq!(set, documented);
}
