//! A collector that is dead, slow or silent costs no request anything, and shows.

use std::time::Duration;

use e2e::otlp::{Fault, Protocol, Sink};
use e2e::world::eventually;
use e2e::world::site::{DEADLINE, Plan, Shipped};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{TOKENS, Watched};

/// Waits until the status tells of a lost batch of every signal.
async fn lost(watched: &Watched) -> Value {
    let told = eventually("failures of every signal", DEADLINE, || async {
        let status = watched.site.status("/status").await.ok()?.json();
        let exports = status["telemetry"]["exports"].as_object()?.clone();
        let failed = |export: &Value| export["failures"].as_u64() > Some(0) && !export["last_error"].is_null();
        (exports.len() == 3 && exports.values().all(failed)).then_some(Value::from(exports))
    });
    told.await.unwrap()
}

async fn ask_twenty(watched: &Watched) {
    for number in 0..20 {
        assert_eq!(watched.ask("m-1").await.status, StatusCode::OK, "request {number}");
    }
}

const IMPATIENT: [(&str, &str); 1] = [("OTEL_EXPORTER_OTLP_TIMEOUT", "300")];

#[tokio::test]
async fn requests_are_answered_whatever_the_collector_does_and_its_failures_show() {
    for fault in [
        Fault::Unavailable,
        Fault::Refuse,
        Fault::Silent,
        Fault::Slow(Duration::from_secs(60)),
    ] {
        let watched = Watched::with(&IMPATIENT).await;
        watched.sink.fail(fault);
        ask_twenty(&watched).await;
        let exports = lost(&watched).await;
        for export in exports.as_object().unwrap().values() {
            assert_eq!(
                (&export["endpoint"], &export["protocol"]),
                (&json!(watched.sink.grpc()), &json!("grpc")),
                "{fault:?}"
            );
        }
        assert!(watched.sink.spans().is_empty(), "{fault:?}");
        watched.sink.fail(Fault::None);
        // what is cumulative is all there once somebody listens again
        watched
            .sink
            .comes_to(TOKENS, &[("gen_ai.token.type", "input")], 160.0, DEADLINE)
            .await
            .unwrap();
        let failures = |sink: &Sink| {
            (sink.total(
                "spectral_bridge.telemetry.failures",
                &[("spectral_bridge.telemetry.signal", "metrics")],
            ) > 0.0)
                .then_some(())
        };
        watched
            .sink
            .wait("the failures are told", DEADLINE, failures)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_found_when_it_appears() {
    let mut watched = Watched::with(&IMPATIENT).await;
    watched.sink.stop().await;
    ask_twenty(&watched).await;
    lost(&watched).await;
    watched.sink.restart().await.unwrap();
    watched
        .sink
        .comes_to(TOKENS, &[("gen_ai.token.type", "input")], 160.0, DEADLINE)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_not_exported_yet_is_when_envoy_stops() {
    let hourly = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "3600000"),
    ];
    let mut watched = Watched::with(&hourly).await;
    watched.ask("m-1").await;
    assert!(watched.sink.arrivals().is_empty(), "{}", watched.sink.summary());
    watched.site.envoy.process().terminate().unwrap();
    let status = watched.site.envoy.process().exited(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", watched.site.envoy.process().output());
    assert_eq!(watched.sink.total(TOKENS, &[]), 18.0, "{}", watched.sink.summary());
    assert_eq!((watched.sink.spans().len(), watched.sink.logs().len()), (1, 1));
}

#[tokio::test]
async fn a_silent_collector_does_not_keep_envoy_from_ending_within_its_grace() {
    let sink = Sink::start().await.unwrap();
    sink.fail(Fault::Silent);
    let plan = Plan::new(Shipped::Sidecar)
        .unwrap()
        .exporting(&sink.grpc(), Protocol::Grpc);
    let plan = plan.edit("# shutdown_grace: 8s", "shutdown_grace: 2s #").unwrap();
    let (relay, _model) = (
        plan.start_relay(|_| {}).await.unwrap(),
        plan.start_model().await.unwrap(),
    );
    let mut site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    // one export is on its way and never answered; its own timeout, 10 s, is longer than the grace
    sink.wait("an export", DEADLINE, |sink| {
        (!sink.arrivals().is_empty()).then_some(())
    })
    .await
    .unwrap();
    site.envoy.process().terminate().unwrap();
    let grace_and_envoys_own = Duration::from_secs(6);
    let status = site.envoy.process().exited(grace_and_envoys_own).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", site.envoy.process().output());
    assert_eq!(relay.journal().closes(), [Some(1001)]);
}
