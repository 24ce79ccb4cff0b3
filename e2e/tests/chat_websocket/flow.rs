//! Clients that are slow or silent, and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::model::Model;
use e2e::world::eventually;
use e2e::world::site::DEADLINE;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::puppet::{Line, Puppet, event};
use super::{Plan, ask, assert_error};

/// Says numbered words, as many as are taken, until nobody listens any more.
fn talks(mut line: Line) -> (Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let talk = tokio::spawn(async move {
        for number in 0.. {
            let event = event(&format!("{number:08}{}", "x".repeat(992)));
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            if line.stream.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (said, talk)
}

/// Waits until no more is taken for many looks; gives how much was.
async fn comes_to_rest(said: &AtomicUsize) -> usize {
    let (mut before, mut same) = (0, 0);
    let rest = eventually("the model is not listened to", DEADLINE, || {
        let now = said.load(Ordering::SeqCst);
        same = if now == before && now > 0 { same + 1 } else { 0 };
        before = now;
        std::future::ready((same == LOOKS).then_some(now))
    });
    rest.await.unwrap()
}

/// What is under way arrives between the first and the last of them.
const LOOKS: usize = 40;

#[tokio::test]
async fn while_a_client_does_not_read_nobody_reads_from_the_model_and_then_nothing_is_lost() {
    let mut puppet = Puppet::start().await;
    let chat = Plan::new().serving(puppet.address()).await;
    let mut client = chat.dial().await;
    client.say(ask("demo", "talk for ever")).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    let (said, talk) = talks(line);
    let kilobytes = comes_to_rest(&said).await;
    // the kernel's and Envoy's buffers on the way, and nothing that grows
    assert!(
        kilobytes < 16_000,
        "{kilobytes} kB are on the way to a client that does not read"
    );
    for number in 0..2 * kilobytes {
        let delta = client.hears().await;
        let content = delta["content"].as_str().unwrap();
        assert_eq!(content[..8].parse(), Ok(number));
    }
    // it can be stopped without being read to its end
    client.say(json!({"type": "cancel"})).await;
    let (_, done) = client.answer().await;
    assert_eq!(done["finish_reason"], "cancelled");
    tokio::time::timeout(DEADLINE, talk).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_reads_nothing_can_still_cancel() {
    let mut puppet = Puppet::start().await;
    let chat = Plan::new().serving(puppet.address()).await;
    let mut client = chat.dial().await;
    client.say(ask("demo", "talk for ever")).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    let (said, talk) = talks(line);
    comes_to_rest(&said).await;
    client.say(json!({"type": "cancel"})).await;
    tokio::time::timeout(DEADLINE, talk).await.unwrap().unwrap();
    chat.becomes("/totals/ended_turns", json!({"cancelled": 1})).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_let_go() {
    let mut puppet = Puppet::start().await;
    let chat = Plan::new()
        .edit("# send_timeout: 60s", "send_timeout: 1s #")
        .serving(puppet.address())
        .await;
    let mut client = chat.dial().await;
    client.say(ask("demo", "talk for ever")).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    let (_, talk) = talks(line);
    tokio::time::timeout(DEADLINE, talk).await.unwrap().unwrap();
    chat.becomes("/totals/ended_sessions", json!({"stalled": 1})).await;
    chat.becomes("/totals/ended_turns", json!({"cancelled": 1})).await;
    chat.becomes("/sessions", json!(0)).await;
}

#[tokio::test]
async fn a_turn_ends_with_its_time_and_the_models_stream_with_it() {
    let mut puppet = Puppet::start().await;
    let chat = Plan::new()
        .edit("# request_timeout: 600s", "request_timeout: 500ms #")
        .serving(puppet.address())
        .await;
    let mut client = chat.dial().await;
    client.say(ask("demo", "think")).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    line.says("hm").await;
    let (said, error) = client.answer().await;
    assert_error(&error, 503, "adapter_timeout", "bridge");
    assert_eq!(said, "hm");
    line.is_hung_up().await;
}

#[tokio::test]
async fn silent_connections_are_pinged_and_closed_and_idle_ones_too() {
    let model = Model::start().await.unwrap();
    let chat = Plan::new()
        .edit(
            "# keepalive: { interval: 30s, timeout: 10s }",
            "keepalive: { interval: 100ms, timeout: 300ms }",
        )
        .edit("# idle_timeout: 600s", "idle_timeout: 2s #")
        .serving(model.address())
        .await;
    // it reads, so the library answers pings
    let mut polite = chat.dial().await;
    let polite = tokio::spawn(async move { polite.hears_close().await });
    // it does not
    let _silent = chat.dial().await;
    chat.becomes("/totals/ended_sessions/ping_timeout", json!(1)).await;
    assert_eq!(polite.await.unwrap(), Some(1000));
    chat.becomes("/totals/ended_sessions", json!({"ping_timeout": 1, "idle": 1}))
        .await;
}

#[tokio::test]
async fn no_more_sessions_than_allowed_are_open_at_once() {
    let model = Model::start().await.unwrap();
    let chat = Plan::new()
        .edit("# max_sessions: 256", "max_sessions: 2 #")
        .serving(model.address())
        .await;
    let (mut first, second) = (chat.dial().await, chat.dial().await);
    let third = chat.try_dial("/websockets/chat", Some(super::CREDENTIALS), &[]).await;
    assert_eq!(third.err(), Some(503));
    chat.becomes("/totals/refused", json!({"too_many_sessions": 1})).await;
    first.still_answers().await;
    drop(second);
    chat.becomes("/sessions", json!(1)).await;
    chat.dial().await.still_answers().await;
}
