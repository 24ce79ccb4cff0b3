//! How much a relay can have under way at once.

use e2e::model::{Behaviour, Gate};
use e2e::relay::{Answer, Event};
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Site, chat};
use hyper::StatusCode;
use tokio::task::JoinSet;

use super::memory::{MIB, Watch, resident};
use super::{PATIENCE, code, request, sidecar, slot};

#[tokio::test]
async fn the_model_never_sees_more_than_max_in_flight_at_once() {
    let plan = sidecar(&[("max_in_flight", "8")]);
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let _site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let url = relay.url("/v1/chat/completions");
        callers.spawn(async move { post(&url, chat("delay-20ms")).await.unwrap().status });
    }
    assert!(callers.join_all().await.iter().all(|status| *status == StatusCode::OK));
    assert_eq!((model.ledger().count(), model.ledger().most_at_once()), (100, 8));
}

#[tokio::test]
async fn above_max_queued_requests_are_acked_and_answered_503_overloaded() {
    let plan = sidecar(&[("max_in_flight", "4"), ("max_queued", "8")]);
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let gate = Gate::default();
    model.always(Some(Behaviour::Behind(gate.clone())));
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let mut callers = outstanding(&slot(&relay), 32);
    let mut overloaded = 0;
    for _ in 0..20 {
        let answer = callers.join_next().await.unwrap().unwrap();
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "overloaded"));
        overloaded += 1;
    }
    let status = site.relay_status().await.unwrap();
    assert_eq!((&status["in_flight"], &status["queued"]), (&4.into(), &8.into()));
    assert_eq!(relay.journal().acks().len(), 32, "every request is acked");
    gate.open();
    assert!(
        callers
            .join_all()
            .await
            .iter()
            .all(|answer| answer.status == StatusCode::OK)
    );
    assert_eq!((model.ledger().count(), overloaded), (12, 20));
    // Those that waited kept their order: the first four started together, the rest one after another.
    let order: Vec<_> = model
        .ledger()
        .exchanges()
        .iter()
        .map(|e| e.relayed_id().unwrap().to_owned())
        .collect();
    assert!(order[4..].iter().all(|id| !order[..4].contains(id)));
}

// PROTOCOL §2.2: acks every request frame as soon as it receives it, however many there are
#[tokio::test]
async fn ten_thousand_outstanding_requests_are_all_acked_at_once_and_all_answered() {
    let plan = sidecar(&[]);
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let gate = Gate::default();
    model.always(Some(Behaviour::Behind(gate.clone())));
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let callers = outstanding(&slot(&relay), 10_000);
    site.relay_status_becomes("/queued", (10_000 - 512).into())
        .await
        .unwrap();
    model.ledger().wait(512, DEADLINE).await.unwrap();
    gate.open();
    let answers = tokio::time::timeout(PATIENCE, callers.join_all()).await.unwrap();
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!((model.ledger().count(), answers.len()), (10_000, 10_000));
    assert!(model.ledger().most_at_once() <= 512);
    // In the relay's own record every ack stands before the first response.
    let said: Vec<bool> = relay
        .journal()
        .entries()
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Received(text) => Some(text.starts_with(r#"{"type":"ack""#)),
            _ => None,
        })
        .collect();
    let first_response = said.iter().position(|ack| !ack).unwrap();
    assert_eq!((first_response, said.len()), (10_000, 20_000));
}

#[tokio::test]
async fn a_relay_that_never_acks_cannot_grow_memory_past_max_held_bytes() {
    let plan = sidecar(&[
        ("max_frame_bytes", "2097152"),
        ("max_held_bytes", "33554432"),
        // What waits in Envoy's own buffers for room here is bounded by this.
        ("max_in_flight", "16"),
        ("request_timeout", "5s"),
    ]);
    let relay = plan.start_relay(|options| options.journal = false).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let mut site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let slot = slot(&relay);
    // The usual buffers come first.
    assert_eq!(
        post(&relay.url("/v1/chat/completions"), chat("bytes-1048576"))
            .await
            .unwrap()
            .status,
        200
    );
    slot.withhold_acks(true);
    let id = site.envoy.process().id();
    let (before, watch) = (resident(id), Watch::process(id));
    let mut callers = JoinSet::new();
    for n in 0..300 {
        let (slot, id) = (slot.clone(), format!("never-acked-{n}"));
        let frame = request(&id, "bytes-1048576");
        callers.spawn(async move { slot.forward(&id, frame.into()).await.unwrap() });
    }
    let mut answered = 0;
    while let Some(answer) = callers.join_next().await {
        let answer = answer.unwrap();
        match answer.status.as_u16() {
            200 => answered += 1,
            503 => assert!(["overloaded", "adapter_timeout"].contains(&code(&answer).as_str())),
            other => panic!("{other}"),
        }
    }
    let grown = watch.most().saturating_sub(before);
    println!("{answered} answers were held, resident grew by {} KiB", grown / 1024);
    // 31 of them fit the 32 MiB, one more may go over; more come only as the first ones expire.
    assert!((20..=70).contains(&answered), "{answered} of 300 answers fitted");
    // The bound, the 16 in Envoy, and slack for both allocators; the answers together are 300 MiB.
    assert!(grown < (32 + 16 + 64) * MIB, "grew by {grown} bytes");
    slot.withhold_acks(false);
    recovers(&site, &relay.url("/v1/chat/completions")).await;
}

/// Nothing is held any more, and a request crosses.
async fn recovers(site: &Site, url: &str) {
    site.relay_status_becomes("/held_responses", 0.into()).await.unwrap();
    site.relay_status_becomes("/held_bytes", 0.into()).await.unwrap();
    assert_eq!(post(url, chat("quick")).await.unwrap().status, StatusCode::OK);
}

/// Sends that many requests at once and waits for the answers in the background.
fn outstanding(slot: &std::sync::Arc<e2e::relay::Slot>, count: usize) -> JoinSet<Answer> {
    let mut callers = JoinSet::new();
    for n in 0..count {
        let (slot, id) = (slot.clone(), format!("o-{n}"));
        let frame = request(&id, "quick");
        callers.spawn(async move { slot.forward(&id, frame.into()).await.unwrap() });
    }
    callers
}
