//! Several Envoys on one host with one key: a hot restart's parent and child, and strangers side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::world::http::Reply;
use e2e::world::site::{DEADLINE, Plan, Shipped, Site};
use e2e::world::{Listeners, eventually, http};
use hyper::StatusCode;

use super::{ask, assert_nothing_twice, connections_of_one, exits_with_0, in_flight, plan, threads_are_gone};

/// Both in seconds: how long the parent's listeners drain, and when it ends.
const HAND_OVER: [&str; 4] = ["--drain-time-s", "3", "--parent-shutdown-time-s", "5"];

async fn state(plan: &Plan) -> Option<String> {
    let status = plan.status("/status").await.ok()?.json();
    Some(status.pointer("/relays/0/state")?.as_str()?.to_owned())
}

/// Answered by the model; or 503, to be tried again: by the client that drains, or by the relay while it has none.
fn is_served_or_told_when(reply: &Reply) -> bool {
    match reply.status {
        StatusCode::OK => true,
        // PROTOCOL §2.6: new requests during a drain are answered 503, and a 1001 ends the wait for a reconnect
        StatusCode::SERVICE_UNAVAILABLE => ["draining", "client_gone"].contains(&reply.error_code().as_str()),
        _ => false,
    }
}

/// Waits until the status server of `plan` tells this state.
async fn becomes(plan: &Plan, wanted: &str) {
    let reached = eventually(wanted, DEADLINE, || async {
        (state(plan).await.as_deref() == Some(wanted)).then_some(())
    });
    reached.await.unwrap();
}

#[tokio::test]
async fn a_hot_restart_hands_the_relay_over_and_loses_nothing() {
    let (plan, relay, model) = plan(Shipped::Sidecar).await;
    let relay = Arc::new(relay);
    let mut parent = plan.epoch(0, &HAND_OVER).await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let long = in_flight(&relay, &model, "2s").await;

    // callers go on asking all the time
    let over = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let (relay, over) = (Arc::clone(&relay), Arc::clone(&over));
        async move {
            let mut replies = Vec::new();
            while !over.load(Ordering::Relaxed) {
                replies.push(ask(&relay, "quick").await);
            }
            replies
        }
    });
    let mut child = plan.epoch(1, &HAND_OVER).await.unwrap();
    relay.connected(2, DEADLINE).await.unwrap();
    assert_eq!(
        long.await.unwrap().status,
        StatusCode::OK,
        "the parent finishes what it has"
    );
    exits_with_0(&mut parent).await;
    // the parent is gone, so the child's own status server gets the port
    becomes(&plan, "connected").await;
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    over.store(true, Ordering::Relaxed);
    for reply in asking.await.unwrap() {
        assert!(is_served_or_told_when(&reply), "{}: {}", reply.status, reply.text());
    }
    assert_eq!(
        (connections_of_one(&relay), relay.journal().closes()),
        (2, vec![Some(1001)])
    );
    assert_nothing_twice(&model);
    child.process().terminate().unwrap();
    exits_with_0(&mut child).await;
}

#[tokio::test]
async fn a_hot_restart_of_the_filter_host_hands_over_when_the_parent_ends() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let mut parent = plan.epoch(0, &HAND_OVER).await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let mut child = plan.epoch(1, &HAND_OVER).await.unwrap();
    child
        .process()
        .line("another process on this host serves this key", DEADLINE)
        .await
        .unwrap();
    // until then the parent's client serves
    let mut replies = Vec::new();
    while parent.process().is_running() {
        replies.push(ask(&relay, "quick").await);
    }
    let refused = replies.iter().position(|reply| reply.status != StatusCode::OK);
    let refused = replies.split_off(refused.unwrap_or(replies.len()));
    assert!(
        replies.len() > refused.len(),
        "{} served, {} refused",
        replies.len(),
        refused.len()
    );
    for reply in &refused {
        assert!(is_served_or_told_when(reply), "{}: {}", reply.status, reply.text());
    }
    exits_with_0(&mut parent).await;
    relay.connected(2, DEADLINE).await.unwrap();
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(
        (connections_of_one(&relay), relay.journal().closes()),
        (2, vec![Some(1001)])
    );
    assert_nothing_twice(&model);
    child.process().terminate().unwrap();
    exits_with_0(&mut child).await;
}

#[tokio::test]
async fn of_two_envoys_with_one_key_the_second_waits_until_the_first_is_gone() {
    let (mut first, relay, _model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let second = first.plan.beside().unwrap();
    let _model_of_the_second = second.start_model().await.unwrap();
    let mut second = second.start().await.unwrap();
    second
        .relay_status_becomes("/state", "waiting_for_lock".into())
        .await
        .unwrap();
    let ready = second.status("/readyz").await.unwrap();
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        ready.text().contains("another process on this host serves this key"),
        "{}",
        ready.text()
    );
    let first_process = format!("(process {})", first.envoy.process().id());
    second.envoy.process().line(&first_process, DEADLINE).await.unwrap();

    // one that waits can be drained and stopped
    let mut third = first.plan.beside().unwrap().start().await.unwrap();
    third
        .relay_status_becomes("/state", "waiting_for_lock".into())
        .await
        .unwrap();
    let drained = http::post(&third.status_url("/drain?wait=true"), "").await.unwrap();
    assert_eq!(drained.status, StatusCode::OK, "{}", drained.text());
    assert_eq!(third.relay_status().await.unwrap()["state"], "drained");
    third.envoy.process().terminate().unwrap();
    exits_with_0(&mut third.envoy).await;
    assert_eq!(connections_of_one(&relay), 1);

    first.envoy.process().kill().unwrap();
    relay.connected(2, DEADLINE).await.unwrap();
    second.relay_status_becomes("/state", "connected".into()).await.unwrap();
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    let said = second
        .envoy
        .process()
        .output()
        .matches("another process on this host")
        .count();
    assert_eq!(said, 1, "the wait is said once");
    assert_eq!(connections_of_one(&relay), 2);
}

#[tokio::test]
async fn a_waiting_filter_host_takes_a_new_configuration_and_ends_with_its_listener() {
    let (first, relay, _model) = Site::connected(Shipped::MeshFilter).await.unwrap();
    let mut plan = first.plan.beside().unwrap();
    let mut listeners = Listeners::taken_from(&mut plan).unwrap();
    let second = plan.start_with(&["--drain-time-s", "1"]).await.unwrap();
    second
        .relay_status_becomes("/state", "waiting_for_lock".into())
        .await
        .unwrap();
    // one that would need a new connection: the wait begins anew
    let changed = listeners
        .edited("# keepalive: { interval: 30s, ", "keepalive: { interval: 20s, ")
        .unwrap();
    assert!(listeners.push(&second.envoy, &changed, DEADLINE).await.unwrap());
    second
        .relay_status_becomes("/state", "waiting_for_lock".into())
        .await
        .unwrap();
    assert!(listeners.push(&second.envoy, "", DEADLINE).await.unwrap());
    threads_are_gone(&second.envoy).await;
    assert_eq!(connections_of_one(&relay), 1);
}
