//! The promise that Envoy's own statistics show what an SRE watches of a relay.

use e2e::model::Behaviour;
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Plan, Shipped, Site, chat};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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

const ROUTER: &str = "          - name: envoy.filters.http.router\n";
const USAGE: &str = r#"          - name: usage
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config: { name: spectral_bridge, do_not_close: true, metrics_namespace: spectral_bridge }
              filter_name: usage
              filter_config: { "@type": type.googleapis.com/google.protobuf.Struct, value: {} }
"#;
const REDIRECT: &str = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://model/v1/chat/completions\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";
const ANSWER: &str = r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;

#[tokio::test]
async fn a_relayed_request_that_envoy_redirects_is_counted_by_the_relay_alone() {
    let policy = "idle_timeout: 0s\n                  internal_redirect_policy: { redirect_response_codes: [307] }\n";
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let plan = plan.edit(ROUTER, &[USAGE, ROUTER].concat()).unwrap();
    let plan = plan.edit(
        "                  idle_timeout: 0s\n",
        &["                  ", policy].concat(),
    );
    let plan = plan.unwrap();
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = TcpListener::bind(plan.model).await.unwrap();
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let serve = async {
        for answer in [REDIRECT, &answer] {
            let mut socket = model.accept().await.unwrap().0;
            let mut seen = vec![0; 4096];
            let length = socket.read(&mut seen).await.unwrap();
            let head = String::from_utf8_lossy(&seen[..length]).to_ascii_lowercase();
            assert!(!head.contains("x-spectral-bridge-ticket"), "{head}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let url = relay.url("/v1/chat/completions");
    let ((), reply) = tokio::join!(serve, post(&url, chat("demo")));
    assert_eq!(reply.unwrap().text(), ANSWER);
    let relayed = "envoy_spectral_bridge_relay_tokens_total{relay=\"default\",token_type=\"output\"}";
    site.envoy.series_becomes(relayed, 4.0).await.unwrap();
    let page = site.envoy.admin("/stats/prometheus").await.unwrap().text();
    let counted = page
        .lines()
        .find(|line| line.starts_with("envoy_spectral_bridge_gen_ai_requests_total"));
    // Envoy 1.38 does not tell a module that a stream is replaced
    let info = site.envoy.admin("/server_info").await.unwrap().text();
    assert!(counted.is_none() || info.contains("/1.38."), "{counted:?}");
}
