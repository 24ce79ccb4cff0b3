//! Promises about a real store: PromQL answers what the model's books say, the dashboard's and the alert rules' expressions
//! are understood, and the rules fire when they should.
//!
//! For `make test-backends`, which gets VictoriaMetrics from Debian first.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use e2e::otlp::Protocol;
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Plan, Shipped, chat};
use e2e::world::{Process, VictoriaMetrics, command, workspace};
use hyper::StatusCode;
use serde_json::Value;

#[tokio::test]
#[ignore = "needs VictoriaMetrics: make test-backends"]
async fn promql_answers_what_the_models_books_say() {
    let store = VictoriaMetrics::start().await.unwrap();
    let mut plan = Plan::new(Shipped::Sidecar)
        .unwrap()
        .exporting(&store.endpoint(), Protocol::Http);
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", store.endpoint().as_str()),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ] {
        plan.variables.push((name.to_owned(), value.to_owned()));
    }
    let (relay, model) = (
        plan.start_relay(|_| {}).await.unwrap(),
        plan.start_model().await.unwrap(),
    );
    let _site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    for number in 0..30 {
        let body = chat(["m-1", "m-2", "no-usage"][number % 3]);
        assert_eq!(
            post(&relay.url("/v1/chat/completions"), body).await.unwrap().status,
            StatusCode::OK
        );
    }
    let (input, output) = (model.tokens().input as f64, model.tokens().output as f64);
    assert!(input > 0.0);
    for (promql, value) in [
        ("sum(gen_ai_client_token_usage_sum)", input + output),
        ("sum(gen_ai_client_token_usage_sum{gen_ai_token_type=\"input\"})", input),
        (
            "sum(gen_ai_client_token_usage_sum{gen_ai_request_model=\"m-1\", gen_ai_token_type=\"output\"})",
            output / 2.0,
        ),
        ("sum(gen_ai_client_operation_duration_seconds_count)", 30.0),
        ("sum(spectral_bridge_relay_requests_total)", 30.0),
        ("sum(spectral_bridge_usage_missing_total)", 10.0),
        (
            "sum(spectral_bridge_relay_connected{spectral_bridge_relay_name=\"default\"})",
            1.0,
        ),
        (
            "count(histogram_quantile(0.95, sum by (le) (gen_ai_client_operation_duration_seconds_bucket)) > 0)",
            1.0,
        ),
    ] {
        store.answers(promql, value, DEADLINE).await.unwrap();
    }
    // every expression that is shipped is one that the store takes
    for promql in shipped() {
        store.query(&promql).await.unwrap();
    }
}

/// The expressions of the dashboard and of the alert rules.
fn shipped() -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(workspace().join("envoy/observability").join(name)).unwrap();
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let rules: Value = serde_yaml_ng::from_str(&read("alerts.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().cloned().unwrap());
    let expressions = targets
        .chain(rules)
        .map(|holder| holder["expr"].as_str().unwrap().to_owned());
    let variables = [
        ("$__rate_interval", "5m"),
        ("$__range", "1h"),
        ("$relay", ".*"),
        ("$model", ".*"),
    ];
    let plain = |text: String| variables.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let all: Vec<_> = expressions.map(plain).collect();
    assert!(all.len() > 50, "{}", all.len());
    all
}

#[tokio::test]
#[ignore = "needs VictoriaMetrics: make test-backends"]
async fn alerts_fire_when_they_should_and_not_before() {
    let mut program = command(VictoriaMetrics::program("vmalert-tool").unwrap());
    program
        .arg("unittest")
        .arg("--files")
        .arg(workspace().join("e2e/fixtures/alerts.test.yaml"));
    let mut tool = Process::start("vmalert-tool", &mut program).unwrap();
    let status = tool.exited(DEADLINE).await.unwrap();
    let output = tool.output_to_end(DEADLINE).await;
    assert!(status.success() && !output.contains("FAILED"), "{output}");
}
