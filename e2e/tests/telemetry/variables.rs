//! The variables that users of OpenTelemetry expect to work.

use e2e::otlp::{Protocol, Signal, Temporality};
use e2e::world::site::DEADLINE;
use hyper::StatusCode;
use serde_json::json;

use super::{TOKENS, Watched};

const INPUT: &str = "gen_ai.client.inference.usage.input_tokens";
const CACHED: &str = "gen_ai.client.inference.usage.cache_read.input_tokens";
const REASONING: &str = "gen_ai.client.inference.usage.reasoning.output_tokens";
const OPERATION_OUTPUT: &str = "gen_ai.client.inference.operation.output_tokens";

#[tokio::test]
async fn the_newest_names_come_instead_of_the_released_ones_or_besides() {
    for (opted, released) in [
        ("gen_ai_latest_experimental", false),
        ("gen_ai_latest_experimental/dup", true),
    ] {
        let watched = Watched::with(&[("OTEL_SEMCONV_STABILITY_OPT_IN", opted)]).await;
        for _ in 0..2 {
            assert_eq!(watched.ask("m-1").await.status, StatusCode::OK);
        }
        let sink = &watched.sink;
        for (name, value) in [(INPUT, 16.0), (CACHED, 8.0), (REASONING, 6.0), (OPERATION_OUTPUT, 20.0)] {
            sink.comes_to(name, &[], value, DEADLINE).await.unwrap();
        }
        if released {
            sink.comes_to(TOKENS, &[], 36.0, DEADLINE).await.unwrap();
        } else {
            assert!(sink.latest(TOKENS, &[]).is_empty(), "{}", sink.summary());
        }
    }
}

#[tokio::test]
async fn deltas_headers_compression_and_names_are_as_the_variables_say() {
    let watched = Watched::with(&[
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-tenant=t-1,authorization=Bearer%20of-the-collector",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "models"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test,service.name=other",
        ),
        ("OTEL_TRACES_EXPORTER", "none"),
    ])
    .await;
    for _ in 0..3 {
        watched.ask("m-1").await;
        let so_far = watched.model.tokens().input;
        watched
            .sink
            .wait("the tokens so far", DEADLINE, |sink| {
                (sink.total(TOKENS, &[("gen_ai.token.type", "input")]) as u64 == so_far).then_some(())
            })
            .await
            .unwrap();
    }
    let points = watched.sink.metrics().into_iter().filter(|point| point.name == TOKENS);
    let points: Vec<_> = points.collect();
    assert!(
        points.len() >= 6
            && points
                .iter()
                .all(|point| point.temporality() == Some(Temporality::Delta))
    );
    let resource = &points[0].resource;
    assert_eq!(
        (&resource["service.name"], &resource["deployment.environment.name"]),
        (&json!("models"), &json!("test"))
    );
    watched
        .sink
        .wait("log events", DEADLINE, |sink| (sink.logs().len() == 3).then_some(()))
        .await
        .unwrap();
    for arrival in watched.sink.arrivals() {
        assert_ne!(arrival.signal, Signal::Traces);
        assert_eq!(
            (arrival.protocol, &arrival.headers["x-tenant"]),
            (Protocol::Grpc, &"t-1".parse().unwrap())
        );
        assert_eq!(arrival.headers["authorization"], "Bearer of-the-collector");
        assert_eq!(arrival.headers["grpc-encoding"], "gzip");
    }
    let parent = watched.model.ledger().last().unwrap();
    assert_eq!(
        parent.header("traceparent"),
        None,
        "without traces no header is made up"
    );
    let status = watched.site.status("/status").await.unwrap().text();
    assert!(!status.contains("of-the-collector"), "a secret shows: {status}");
}

#[tokio::test]
async fn nothing_leaves_when_it_is_switched_off() {
    let mut watched = Watched::with(&[("OTEL_SDK_DISABLED", "true")]).await;
    assert_eq!(watched.ask("m-1").await.status, StatusCode::OK);
    watched.site.envoy.process().terminate().unwrap();
    let status = watched.site.envoy.process().exited(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(watched.sink.arrivals().is_empty(), "{}", watched.sink.summary());
}
