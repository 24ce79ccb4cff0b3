//! Promises about stopping: what is in flight finishes and is acknowledged, then the socket closes with 1001.

use std::time::Duration;

use e2e::model::Model;
use e2e::relay::Relay;
use e2e::world::http::{Reply, post};
use e2e::world::site::{DEADLINE, Plan, Shipped, Site, chat};
use hyper::StatusCode;
use tokio::task::JoinHandle;

/// Sends a request that takes `seconds` and waits until the model has it.
async fn in_flight(relay: &Relay, model: &Model, seconds: u32) -> JoinHandle<Reply> {
    let url = relay.url("/v1/chat/completions");
    let sent = tokio::spawn(async move { post(&url, chat(&format!("delay-{seconds}s"))).await.unwrap() });
    model.ledger().wait(1, DEADLINE).await.unwrap();
    sent
}

#[tokio::test]
async fn sigterm_lets_a_request_finish_and_envoy_exits_0() {
    let (mut site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let request = in_flight(&relay, &model, 3).await;
    site.envoy.process().terminate().unwrap();
    site.envoy.process().line("draining", DEADLINE).await.unwrap();
    let refused = post(&relay.url("/v1/chat/completions"), chat("quick")).await.unwrap();
    assert_eq!(
        (refused.status, refused.error_code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    );
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    let status = site.envoy.process().exited(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", site.envoy.process().output());
    assert_eq!(relay.journal().closes(), [Some(1001)]);
    assert_eq!(model.ledger().count(), 1);
}

#[tokio::test]
async fn sigterm_with_a_request_longer_than_the_grace_still_ends_with_1001_and_exit_0() {
    let plan = Plan::new(Shipped::Sidecar)
        .unwrap()
        .edit("# shutdown_grace: 8s", "shutdown_grace: 1s #")
        .unwrap();
    let (relay, model) = (
        plan.start_relay(|_| {}).await.unwrap(),
        plan.start_model().await.unwrap(),
    );
    let mut site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let request = in_flight(&relay, &model, 600).await;
    site.envoy.process().terminate().unwrap();
    let status = site.envoy.process().exited(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", site.envoy.process().output());
    // PROTOCOL §2.6: on a 1001 the server fails what is pending straight away
    assert_eq!(request.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(relay.journal().closes(), [Some(1001)]);
}

#[tokio::test]
async fn post_drain_does_the_same_for_the_filter_host() {
    let (mut site, relay, model) = Site::connected(Shipped::MeshFilter).await.unwrap();
    let request = in_flight(&relay, &model, 3).await;
    let drained = post(&site.status_url("/drain?wait=true"), "").await.unwrap();
    assert_eq!(drained.status, StatusCode::OK, "{}", drained.text());
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(relay.journal().closes(), [Some(1001)]);
    let status = site.status("/status").await.unwrap().json();
    assert_eq!(
        (&status["running"], &status["relays"][0]["state"]),
        (&false.into(), &"drained".into())
    );
    assert_eq!(
        site.envoy.admin("/ready").await.unwrap().status,
        StatusCode::OK,
        "Envoy keeps serving"
    );
    site.envoy.process().terminate().unwrap();
    assert_eq!(site.envoy.process().exited(DEADLINE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_filter_host_closes_with_1001_also_when_nobody_drained_it() {
    let (mut site, relay, _model) = Site::connected(Shipped::MeshFilter).await.unwrap();
    site.envoy.process().terminate().unwrap();
    assert_eq!(
        site.envoy.process().exited(DEADLINE).await.unwrap().code(),
        Some(0),
        "{}",
        site.envoy.process().output()
    );
    let closed = |entries: &[e2e::relay::Entry]| {
        entries.iter().find_map(|entry| match entry.event {
            e2e::relay::Event::Closed(code) => Some(code),
            _ => None,
        })
    };
    assert_eq!(relay.journal().wait(DEADLINE, closed).await.unwrap(), Some(1001));
}

#[tokio::test]
async fn an_idle_envoy_stops_at_once_on_sigterm() {
    let (mut site, _relay, _model) = Site::connected(Shipped::Sidecar).await.unwrap();
    site.envoy.process().terminate().unwrap();
    let status = site.envoy.process().exited(Duration::from_secs(5)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", site.envoy.process().output());
}
