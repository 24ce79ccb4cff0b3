//! What a relay writes into headers and paths in order to reach further than it may.

use e2e::world::site::{Shipped, Site};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{ask, code, slot};

/// A payload with these headers.
fn with(headers: Value) -> String {
    json!({"headers": headers, "body": {"messages": []}}).to_string()
}

#[tokio::test]
async fn headers_that_would_change_the_request_on_its_way_are_left_out() {
    let (_site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let slot = slot(&relay);
    for (n, (name, value)) in [
        ("transfer-encoding", "chunked"),
        ("Transfer-Encoding", "gzip, chunked"),
        ("content-length", "5"),
        ("host", "elsewhere.example"),
        (":authority", "elsewhere.example"),
        (":path", "/admin"),
        ("expect", "100-continue"),
        ("upgrade", "websocket"),
        ("connection", "upgrade, x-hop"),
        ("x-hop", "kept only if connection does not name it"),
        ("te", "trailers"),
        ("trailer", "x-late"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-envoy-original-dst-host", "127.0.0.1:1"),
        ("X-Envoy-Upstream-Rq-Timeout-Ms", "1"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-decorator-operation", "x"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("via", "1.1 elsewhere"),
        ("x-spectral-bridge-request-id", "forged"),
    ]
    .into_iter()
    .enumerate()
    {
        let headers = json!({ name: value, "connection": "x-hop", "x-kept": "yes" });
        let answer = ask(&slot, &format!("steer-{n}"), &with(headers)).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {:?}", answer.body);
        let seen = model.ledger().last().unwrap();
        assert_eq!(
            (seen.path.as_str(), &*seen.body),
            ("/v1/chat/completions", &br#"{"messages":[]}"#[..]),
            "{name}"
        );
        assert_eq!(seen.header("x-kept"), Some("yes"));
        assert_eq!(seen.relayed_id(), Some(format!("steer-{n}").as_str()), "{name}");
        let value = value.as_bytes();
        let arrived = seen.headers.values().any(|seen| seen.as_bytes() == value);
        // Envoy says this one itself.
        assert!(
            !arrived || name == "transfer-encoding",
            "{name} reached the model: {:?}",
            seen.headers
        );
    }
    assert_eq!(model.ledger().count(), 23);
}

#[tokio::test]
async fn headers_that_http_cannot_carry_are_400_and_reach_nobody() {
    let (site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let slot = slot(&relay);
    let many: serde_json::Map<_, _> = (0..101).map(|n| (format!("x-{n}"), "".into())).collect();
    for (n, (headers, expected)) in [
        (json!({"x-a": "b\r\nx-injected: 1"}), "invalid_request_frame"),
        (json!({"x-a": "b\nx-injected: 1"}), "invalid_request_frame"),
        (
            json!({"x-a": "b\r\n\r\nGET /admin HTTP/1.1\r\n"}),
            "invalid_request_frame",
        ),
        (json!({"x-a\r\nx-injected": "1"}), "invalid_request_frame"),
        (json!({"x a": "1"}), "invalid_request_frame"),
        (json!({"": "1"}), "invalid_request_frame"),
        (json!({"x-a": "\u{0}"}), "invalid_request_frame"),
        (json!({"x-ä": "1"}), "invalid_request_frame"),
        (json!({"x-a": 1}), "invalid_request_frame"),
        (json!({"x-a": ["1"]}), "invalid_request_frame"),
        (json!(["x-a"]), "invalid_request_frame"),
        (json!("x-a: 1"), "invalid_request_frame"),
        (Value::Object(many), "headers_too_large"),
        (json!({"x-a": "v".repeat(60 * 1024)}), "headers_too_large"),
        (json!({"x".repeat(60 * 1024): "v"}), "headers_too_large"),
        (
            json!({"x-a": "v".repeat(40_000), "x-b": "v".repeat(40_000)}),
            "headers_too_large",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(&slot, &format!("bad-{n}"), &with(headers.clone())).await;
        let shown: String = headers.to_string().chars().take(80).collect();
        assert_eq!(
            (answer.status.as_u16(), code(&answer).as_str()),
            (400, expected),
            "{shown}"
        );
    }
    untouched(&site, &model).await;
}

#[tokio::test]
async fn headers_up_to_the_limits_pass_envoy_and_reach_the_model_unchanged() {
    let (_site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let slot = slot(&relay);
    let long = "v".repeat(60 * 1024 - 100);
    // The model's HTTP server takes 100, and Envoy and we add some.
    let many: serde_json::Map<_, _> = (0..85).map(|n| (format!("x-{n}"), format!("{n}").into())).collect();
    for (n, (headers, name, value)) in [
        (json!({"x-long": long}), "x-long", long.as_str()),
        (Value::Object(many), "x-84", "84"),
        (json!({"x-latin": "Grüße"}), "x-latin", "Grüße"),
        (json!({"x-empty": ""}), "x-empty", ""),
        (json!({"X-Case": "Kept"}), "x-case", "Kept"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(&slot, &format!("ok-{n}"), &with(headers)).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {:?}", answer.body);
        let seen = model.ledger().last().unwrap();
        assert_eq!(seen.headers[name].as_bytes(), value.as_bytes(), "{name}");
    }
}

// PROTOCOL §2.2: matched exactly, any other value is a 404 without a request to the adapter
#[tokio::test]
async fn no_spelling_of_a_path_reaches_anything_but_the_two_endpoints() {
    let (site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let slot = slot(&relay);
    for (n, path) in [
        json!("http://127.0.0.1:9901/quitquitquit"),
        json!("https://elsewhere.example/v1/chat/completions"),
        json!("//elsewhere.example/v1/chat/completions"),
        json!("/v1/chat/completions/../../admin"),
        json!("/v1/../v1/chat/completions"),
        json!("/./v1/chat/completions"),
        json!("/v1%2Fchat%2Fcompletions"),
        json!("/v1/chat%2fcompletions"),
        json!("/v1/chat/completions%00"),
        json!("/%761/chat/completions"),
        json!("/v1/chat/completions?x=1"),
        json!("/v1/chat/completions#x"),
        json!("/v1/chat/completions;x=1"),
        json!("/v1/chat/completions/"),
        json!("/v1//chat/completions"),
        json!("/V1/chat/completions"),
        json!("/v1/Chat/Completions"),
        json!(" /v1/chat/completions"),
        json!("/v1/chat/completions "),
        json!("/v1/chat/completions\r\nx: y"),
        json!("v1/chat/completions"),
        json!("\\v1\\chat\\completions"),
        json!("/v1/models"),
        json!("/"),
        json!("*"),
        json!(""),
        json!(null),
        json!(7),
        json!({"a": "/v1/chat/completions"}),
        json!(["/v1/chat/completions"]),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(
            &slot,
            &format!("path-{n}"),
            &json!({"path": path, "body": {}}).to_string(),
        )
        .await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer).as_str()),
            (404, "path_not_allowed"),
            "{path}"
        );
    }
    untouched(&site, &model).await;
}

/// Nothing reached Envoy's listener, let alone the model.
async fn untouched(site: &Site, model: &e2e::model::Model) {
    assert_eq!(model.ledger().count(), 0);
    let seen = site.envoy.stat("http.adapter.downstream_rq_total").await.unwrap();
    assert_eq!(seen.unwrap_or(0), 0);
}
