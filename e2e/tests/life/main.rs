//! Promises about Envoy's life: whatever happens to its listeners, its process and its successors, one connection per key
//! at every moment, no request lost, none forwarded twice, and an end in bounded time.

mod exits;
mod listeners;
mod restart;

use std::collections::HashMap;

use e2e::model::Model;
use e2e::relay::{Event, Relay};
use e2e::world::http::{Reply, post};
use e2e::world::site::{DEADLINE, Plan, Shipped, chat};
use e2e::world::{Envoy, eventually};
use tokio::task::JoinHandle;

/// A plan with its relay and its model.
async fn plan(shipped: Shipped) -> (Plan, Relay, Model) {
    let plan = Plan::new(shipped).unwrap();
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = plan.start_model().await.unwrap();
    (plan, relay, model)
}

async fn ask(relay: &Relay, behaviour: &str) -> Reply {
    post(&relay.url("/v1/chat/completions"), chat(behaviour)).await.unwrap()
}

/// Sends a request that takes this long and waits until the model has it.
async fn in_flight(relay: &Relay, model: &Model, delay: &str) -> JoinHandle<Reply> {
    let before = model.ledger().count();
    let (url, body) = (relay.url("/v1/chat/completions"), chat(&format!("delay-{delay}")));
    let sent = tokio::spawn(async move { post(&url, body).await.unwrap() });
    model.ledger().wait(before + 1, DEADLINE).await.unwrap();
    sent
}

/// How many connections each relay saw, which never overlapped.
fn connections(relay: &Relay) -> HashMap<String, usize> {
    let (mut open, mut all) = (HashMap::<String, u64>::new(), HashMap::<String, usize>::new());
    for entry in relay.journal().entries() {
        match entry.event {
            Event::Connected(_) => {
                let last = open.insert(entry.relay.clone(), entry.connection);
                assert_eq!(last, None, "{}: two connections at once", entry.relay);
                *all.entry(entry.relay).or_default() += 1;
            }
            Event::Closed(_) => {
                assert_eq!(open.remove(&entry.relay), Some(entry.connection));
            }
            Event::Refused(_) | Event::Sent(_) | Event::Received(_) | Event::ReceivedBinary(_) | Event::Pinged => {}
        }
    }
    all
}

/// [`connections`] of the one relay.
fn connections_of_one(relay: &Relay) -> usize {
    connections(relay).into_values().sum()
}

/// No request reached the model twice.
fn assert_nothing_twice(model: &Model) {
    let mut ids: Vec<_> = model
        .ledger()
        .exchanges()
        .iter()
        .map(|exchange| exchange.relayed_id().unwrap().to_owned())
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "a request was forwarded twice");
}

/// Waits until none of the module's threads is left.
async fn threads_are_gone(envoy: &Envoy) {
    eventually("the module's threads are gone", DEADLINE, || async {
        (envoy.threads(THREADS).unwrap() == 0).then_some(())
    })
    .await
    .unwrap();
}

/// Ends Envoy with SIGTERM.
async fn exits_with_0(envoy: &mut Envoy) {
    let ended = envoy.process().exited(DEADLINE).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", envoy.process().output());
}

/// The name of the module's threads.
const THREADS: &str = "spectral-bridge";
