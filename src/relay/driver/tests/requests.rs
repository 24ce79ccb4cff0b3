//! Requests and their answers: acked, forwarded once, delivered for certain.

use std::collections::HashSet;

use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::relay::scripted::request;

// PROTOCOL §2.1, §2.2
#[tokio::test]
async fn a_request_crosses_from_the_relay_to_the_adapter_and_back() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    assert_eq!(caller.authorization, "Bearer sk-1");
    assert_eq!(caller.version.as_deref(), Some("2"));
    caller.request("r-1").await;
    let arrival = rig.adapter.arrival().await;
    // PROTOCOL §2.2: acks every request frame as soon as it receives it: the answer is not given yet
    caller.hears_ack("r-1").await;
    let asked = &arrival.asked;
    assert_eq!(asked.request_line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(asked.body, br#"{"id":"r-1"}"#);
    assert_eq!(asked.header("traceparent"), "00-ab");
    assert_eq!(asked.header("host"), "model.internal");
    assert_eq!(asked.header("x-spectral-bridge-relay"), "default");
    assert!(!asked.has("accept-encoding"), "{asked:?}");
    assert_eq!(rig.core().session.requests().forwarding(), 1);
    arrival.answer(r#"{"choices":[]}"#);
    assert_eq!(caller.hears_response("r-1").await, (200, json!({ "choices": [] })));
    rig.until(|core| core.session.requests().held() == 1).await;
    assert!(rig.core().budget.used() > 0);
    caller.ack("r-1").await;
    rig.until(|core| core.session.requests().is_empty()).await;
    assert_eq!(rig.core().budget.used(), 0);
}

// PROTOCOL §2.2: acks every request frame before forwarding it to the adapter
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ack_is_on_the_wire_before_the_adapter_is_asked() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    // in bursts: more to read is no reason to let an ack wait
    for burst in 0..20 {
        for n in 0..60 {
            let frame = request(&format!("r-{burst}-{n}")).to_string();
            caller.ws.feed(Message::text(frame)).await.unwrap();
        }
        within(caller.ws.flush()).await.unwrap();
        let first = rig.adapter.arrival().await;
        assert!(caller.has_arrived(), "the adapter has a request, the relay no ack");
        first.answer("{}");
        for _ in 1..60 {
            rig.adapter.arrival().await.answer("{}");
        }
        for _ in 0..120 {
            caller.heard().await;
        }
    }
}

// on the relay's one thread, timers and the adapter's connections wait meanwhile
#[tokio::test]
async fn a_flood_of_tiny_frames_leaves_the_others_their_turn() {
    let rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    rig.until_state(RelayState::Connected).await;
    let flood = [0x81, 2, b'{', b'}'].repeat(FLOOD);
    let flooding = tokio::spawn(async move {
        caller.ws.get_mut().write_all(&flood).await.unwrap();
        caller
    });
    let ignored = || rig.core().session.totals().ignored_frames;
    let (mut before, mut most) = (0, 0);
    while before < FLOOD as u64 {
        tokio::task::yield_now().await;
        let now = ignored();
        (before, most) = (now, most.max(now - before));
    }
    assert!(most <= 20_000, "{most} frames in one turn");
    within(flooding).await.unwrap();
}

const FLOOD: usize = 500_000;

// PROTOCOL §2.3
#[tokio::test]
async fn requests_are_concurrent_and_answered_in_any_order() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    let ids: Vec<String> = (0..50).map(|n| format!("r-{n}")).collect();
    for id in &ids {
        caller.request(id).await;
        caller.hears_ack(id).await;
    }
    let mut arrivals = Vec::new();
    for _ in &ids {
        arrivals.push(rig.adapter.arrival().await);
    }
    while let Some(arrival) = arrivals.pop() {
        let id = arrival.id().to_owned();
        arrival.answer(&json!({ "to": id }).to_string());
        assert_eq!(caller.hears_response(&id).await, (200, json!({ "to": id })));
    }
}

// PROTOCOL §2.5: a disconnect does not fail in-flight requests
#[tokio::test]
async fn an_answer_outlives_the_connection_of_its_request() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    let arrival = rig.adapter.arrival().await;
    drop(caller);
    let mut caller = rig.relay.connect().await;
    rig.until_state(RelayState::Connected).await;
    // PROTOCOL §2.5: hasn't acked: the relay has had no ack, so it sends the request again
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    arrival.answer("[1]");
    assert_eq!(caller.hears_response("r-1").await, (200, json!([1])));
    assert!(rig.adapter.is_left_alone(), "asked twice");
}

#[tokio::test]
async fn an_answer_that_comes_while_disconnected_waits_for_the_next_connection() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    let arrival = rig.adapter.arrival().await;
    caller.hears_ack("r-1").await;
    drop(caller);
    rig.until_error("eof").await;
    arrival.answer("[1]");
    rig.until(|core| core.session.requests().held() == 1).await;
    let mut caller = rig.relay.connect().await;
    assert_eq!(caller.hears_response("r-1").await, (200, json!([1])));
}

// PROTOCOL §2.5: after every reconnect sends again those not acked yet
#[tokio::test]
async fn what_the_relay_has_not_acked_is_sent_again_and_what_it_has_is_not() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    for id in ["r-1", "r-2"] {
        caller.request(id).await;
        caller.hears_ack(id).await;
        rig.adapter.arrival().await.answer("{}");
        caller.hears_response(id).await;
    }
    caller.ack("r-1").await;
    rig.until(|core| core.session.requests().held() == 1).await;
    drop(caller);
    let mut caller = rig.relay.connect().await;
    caller.hears_response("r-2").await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    assert!(rig.adapter.is_left_alone(), "asked twice");
}

// PROTOCOL §2.2: UTF-8 encoded JSON; frames that are none are ignored
#[tokio::test]
async fn a_binary_message_is_a_frame_too_and_nonsense_is_ignored() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    for nonsense in [&b"\xff\xfe"[..], b"[]", b"{", b"", br#"{"type":"hello"}"#] {
        caller.send(Message::binary(nonsense)).await;
    }
    caller.send(Message::binary(request("r-1").to_string())).await;
    caller.hears_ack("r-1").await;
    rig.adapter.arrival().await.answer("{}");
    caller.hears_response("r-1").await;
    assert_eq!(rig.core().session.totals().ignored_frames, 5);
}

#[tokio::test]
async fn a_ping_of_the_relay_is_answered() {
    let rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    for payload in ["", "are you there"] {
        caller.send(Message::Ping(payload.into())).await;
        assert_eq!(caller.message().await, Message::Pong(payload.into()));
    }
}

// PROTOCOL 0.1.2 §2.2
#[tokio::test]
async fn a_version_1_relay_gets_the_response_and_no_ack() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.accept().await;
    caller.say(&json!({ "type": "connected" })).await;
    caller.request("r-1").await;
    rig.adapter.arrival().await.answer("{}");
    caller.hears_response("r-1").await;
    assert!(rig.core().session.requests().is_empty());
}

#[tokio::test]
async fn a_request_whose_time_is_over_is_answered_and_given_up() {
    let mut rig = Rig::with(|relay| relay.request_timeout = Duration::from_millis(200)).await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    let (status, body) = caller.hears_response("r-1").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("adapter_timeout")));
    arrival.given_up().await;
    rig.until(|core| core.budget.used() == 0).await;
}

#[tokio::test]
async fn more_requests_than_the_adapters_share_wait_their_turn() {
    let mut rig = Rig::with(|relay| relay.max_in_flight = 2).await;
    let mut caller = rig.relay.connect().await;
    for id in ["r-1", "r-2", "r-3"] {
        caller.request(id).await;
        caller.hears_ack(id).await;
    }
    let first = rig.adapter.arrival().await;
    let _second = rig.adapter.arrival().await;
    rig.until(|core| core.session.requests().queued() == 1).await;
    assert!(rig.adapter.is_left_alone());
    first.answer("{}");
    assert_eq!(rig.adapter.arrival().await.id(), "r-3");
}

/// Requests with long ids, so that what the client has to say about them does not fit the system's buffers.
#[tokio::test]
async fn a_relay_that_asks_much_and_hears_nothing_loses_nothing_when_it_hears_again() {
    let rig = Rig::start().await;
    let caller = rig.relay.connect().await;
    let (mut mouth, mut ear) = caller.ws.split();
    let ids: Vec<String> = (0..4000).map(|n| format!("{n:04}{}", "x".repeat(4096))).collect();
    let asked = ids.clone();
    let asking = tokio::spawn(async move {
        for id in &asked {
            let frame = json!({ "type": "request", "request_id": id, "payload": { "path": "/none" } });
            mouth.send(Message::text(frame.to_string())).await.unwrap();
        }
    });
    // enough to fill every buffer between the two: now the client must stop listening
    rig.until(|core| core.session.totals().requests > 2000).await;
    let (mut acked, mut answered) = (HashSet::new(), HashSet::new());
    while acked.len() < ids.len() || answered.len() < ids.len() {
        let message = within(ear.next()).await.unwrap().unwrap();
        let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        let id = frame["request_id"].as_str().unwrap().to_owned();
        let new = if frame["type"] == "ack" {
            acked.insert(id)
        } else {
            assert_eq!(frame["payload"]["status"], 404);
            answered.insert(id)
        };
        assert!(new, "said twice");
    }
    assert!(asking.now_or_never().is_some());
}
