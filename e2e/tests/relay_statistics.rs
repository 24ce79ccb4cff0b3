//! The promise that Envoy's own statistics show what an SRE watches of a relay.

use e2e::model::Behaviour;
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Shipped, Site, chat};
use hyper::StatusCode;

#[tokio::test]
async fn envoys_statistics_follow_the_relay() {
    let (mut site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let series = |name: &str, label: &str| format!("envoy_spectral_bridge_relay_{name}{{relay=\"default\"{label}}}");
    site.envoy.series_becomes(&series("connected", ""), 1.0).await.unwrap();
    let url = relay.url("/v1/chat/completions");
    for _ in 0..3 {
        assert_eq!(post(&url, chat("demo")).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(
        post(&url, chat("status-500")).await.unwrap().status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let books = model.tokens();
    for (name, label, value) in [
        ("requests_total", "", 4),
        ("responses_total", ",class=\"2xx\"", 3),
        ("responses_total", ",class=\"5xx\"", 1),
        ("tokens_total", ",token_type=\"input\"", books.input),
        ("tokens_total", ",token_type=\"output\"", books.output),
        ("connections_total", "", 1),
    ] {
        site.envoy
            .series_becomes(&series(name, label), value as f64)
            .await
            .unwrap();
    }

    model.next(Behaviour::CloseAfterRequest);
    assert_eq!(
        post(&url, chat("demo")).await.unwrap().status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    site.envoy
        .series_becomes(&series("responses_total", ",class=\"5xx\""), 2.0)
        .await
        .unwrap();
    let faults = site
        .envoy
        .sum("envoy_spectral_bridge_relay_faults_total", "relay=\"default\"")
        .await
        .unwrap();
    assert!((faults - 1.0).abs() < f64::EPSILON, "{faults}");

    drop(relay);
    site.envoy.series_becomes(&series("connected", ""), 0.0).await.unwrap();
    site.envoy
        .series_becomes(&series("disconnects_total", ""), 1.0)
        .await
        .unwrap();
    site.envoy.process().terminate().unwrap();
    assert_eq!(site.envoy.process().exited(DEADLINE).await.unwrap().code(), Some(0));
}
