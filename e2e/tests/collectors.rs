//! Promises about other people's collectors: rotel takes all three signals by both protocols and prints what was sent.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use e2e::otlp::Protocol;
use e2e::world::Rotel;
use e2e::world::http::send;
use e2e::world::site::{DEADLINE, Plan, Shipped};
use hyper::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn rotel_takes_metrics_traces_and_logs_by_either_protocol() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let mut rotel = Rotel::start().await.unwrap();
        let plan = Plan::new(Shipped::Sidecar).unwrap();
        let plan = plan.exporting(rotel.endpoint(protocol), protocol);
        let (relay, _model) = (
            plan.start_relay(|_| {}).await.unwrap(),
            plan.start_model().await.unwrap(),
        );
        let mut site = plan.start().await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        let body = json!({"model": "m-1", "messages": [{"role": "user", "content": "one two three four five six seven eight"}]});
        let headers = [
            ("content-type", "application/json"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        let url = relay.url("/v1/chat/completions");
        let reply = send(Method::POST, &url, &headers, body.to_string()).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        for parts in [
            &[
                "-> Name: gen_ai.client.token.usage ",
                "-> Unit: {token} ",
                "-> DataType: Histogram ",
                "CUMULATIVE",
                "-> gen_ai.request.model: Str(m-1) ",
                "-> gen_ai.token.type: Str(input) ",
                "Count: 1 Sum: 8 ",
            ][..],
            &["-> Name: gen_ai.client.operation.duration ", "-> Unit: s ", "Count: 1 "],
            &[
                "-> Name: spectral_bridge.relay.connected ",
                "IsMonotonic: false ",
                "-> spectral_bridge.relay.name: Str(default) ",
                "Value: 1 ",
            ],
            &[
                "Trace ID : 0af7651916cd43dd8448eb211c80319c ",
                "Parent ID : b7ad6b7169203331 ",
                "Name : chat m-1 ",
                "Kind : SPAN_KIND_CLIENT ",
                "-> gen_ai.usage.input_tokens: Int(8) ",
                "-> gen_ai.usage.output_tokens: Int(10) ",
            ],
            &[
                "EventName: gen_ai.client.inference.operation.details ",
                "SEVERITY_NUMBER_INFO(9) ",
                "-> gen_ai.usage.input_tokens: Int(8) ",
                "Trace ID : 0af7651916cd43dd8448eb211c80319c ",
            ],
        ] {
            rotel.printed(parts, DEADLINE).await.unwrap();
        }
        let status = site.status("/status").await.unwrap().json();
        for signal in ["metrics", "traces", "logs"] {
            let export = &status["telemetry"]["exports"][signal];
            assert_eq!(
                (&export["failures"], &export["last_error"]),
                (&json!(0), &json!(null)),
                "{signal}"
            );
        }
        site.envoy.process().terminate().unwrap();
        site.envoy.process().exited(DEADLINE).await.unwrap();
        rotel.process().terminate().unwrap();
        assert_eq!(rotel.process().exited(DEADLINE).await.unwrap().code(), Some(0));
    }
}
