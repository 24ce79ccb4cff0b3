//! How connections end, and what comes after.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::protocol::limits::{CLOSE_TIMEOUT, HELLO_TIMEOUT};
use crate::relay::scripted::request;

const SMALL: usize = 4096;

/// A request frame of exactly this many bytes.
fn frame_of(bytes: usize) -> Message {
    let bare = request("r-1").to_string();
    Message::text(format!("{bare}{}", " ".repeat(bytes - bare.len())))
}

// PROTOCOL §2.2, §2.5: a larger frame closes the connection with 1009, which is not retried
#[tokio::test]
async fn a_frame_above_the_limit_closes_with_1009_and_stops_the_client_until_asked() {
    let mut rig = Rig::with(|relay| relay.max_frame_bytes = SMALL).await;
    let mut caller = rig.relay.connect().await;
    caller.send(frame_of(SMALL)).await;
    caller.hears_ack("r-1").await;
    rig.adapter.arrival().await.answer("{}");
    caller.hears_response("r-1").await;
    caller.send(frame_of(SMALL + 1)).await;
    assert_eq!(caller.hears_close().await, 1009);
    drop(caller);
    rig.until_error("frame_too_large").await;
    assert_eq!(rig.state(), RelayState::Stopped);
    rig.command(Command::Reconnect).await;
    let mut caller = rig.relay.connect().await;
    caller.hears_response("r-1").await;
}

// PROTOCOL §2.2: a larger frame, a message in fragments being as large as all of them
#[tokio::test]
async fn a_frame_above_the_limit_in_pieces_closes_with_1009_too() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let rig = Rig::with(|relay| relay.max_frame_bytes = SMALL).await;
    let mut caller = rig.relay.connect().await;
    for (n, kind) in [Data::Text, Data::Continue, Data::Continue].into_iter().enumerate() {
        let piece = Frame::message(vec![b' '; SMALL / 2], OpCode::Data(kind), n == 2);
        caller.send(Message::Frame(piece)).await;
    }
    assert_eq!(caller.hears_close().await, 1009);
    rig.until_state(RelayState::Stopped).await;
}

/// A relay may be in the middle of a large frame, and not read before it is through.
#[tokio::test]
async fn a_relay_that_first_sends_its_large_frame_to_the_end_still_learns_why_it_was_closed() {
    let rig = Rig::with(|relay| relay.max_frame_bytes = SMALL).await;
    let mut caller = rig.relay.connect().await;
    caller.send(Message::text("x".repeat(8 << 20))).await;
    assert_eq!(caller.hears_close().await, 1009);
    rig.until_error("frame_too_large").await;
}

// PROTOCOL §2.1, §2.5: 4001 stops the client until the key changes
#[tokio::test]
async fn a_refused_key_is_not_shown_again_and_a_new_one_is() {
    let rig = Rig::start().await;
    let caller = rig.relay.connect().await;
    caller.close(4001).await;
    rig.until_state(RelayState::Stopped).await;
    assert_eq!(rig.core().last_error.as_ref().unwrap().code, "authentication_failed");
    rig.command(Command::CheckKey).await;
    assert_eq!(rig.state(), RelayState::Stopped);
    rig.dir.file("api-key", "sk-2");
    rig.command(Command::CheckKey).await;
    let caller = rig.relay.connect().await;
    assert_eq!(caller.authorization, "Bearer sk-2");
    rig.until_state(RelayState::Connected).await;
}

// PROTOCOL §2.1: the handshake failing with 401 or 403 is an authentication failure
#[tokio::test]
async fn a_handshake_refused_for_its_key_stops_the_client() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let rig = Rig::start().await;
        rig.relay.refuse(status).await;
        rig.until_state(RelayState::Stopped).await;
        let error = rig.core().last_error.clone().unwrap();
        assert_eq!(error.code, "authentication_failed");
        assert!(
            error.message.contains(&status[..3]) && !error.message.contains("sk-1"),
            "{error:?}"
        );
        rig.command(Command::Reconnect).await;
        rig.relay.connect().await;
    }
}

#[tokio::test]
async fn a_handshake_refused_for_anything_else_is_tried_again() {
    let rig = Rig::start().await;
    rig.relay.refuse("503 Service Unavailable").await;
    let _caller = rig.relay.connect().await;
    rig.until_state(RelayState::Connected).await;
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_said_and_read_when_it_comes() {
    let rig = Rig::with(|relay| {
        let config::SecretSource::File(path) = &relay.api_key else {
            unreachable!()
        };
        std::fs::remove_file(path).unwrap();
    })
    .await;
    rig.until_error("api_key").await;
    rig.dir.file("api-key", "sk-late");
    rig.command(Command::CheckKey).await;
    assert_eq!(rig.relay.connect().await.authorization, "Bearer sk-late");
}

// PROTOCOL §2.5: 4003: pending requests carry over
#[tokio::test]
async fn a_rotated_connection_is_made_again_and_requests_carry_over() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    caller.close(4003).await;
    let mut caller = rig.relay.connect().await;
    assert!(rig.core().last_error.is_none(), "a rotation is no error");
    arrival.answer("{}");
    caller.hears_response("r-1").await;
}

// PROTOCOL §2.1: the server sends `connected` first
#[tokio::test]
async fn a_relay_that_never_says_connected_is_left_and_dialled_again() {
    let rig = Rig::start().await;
    let mut caller = rig.relay.accept().await;
    caller.request("too early").await;
    rig.until(|core| core.session.totals().ignored_frames == 1).await;
    pass(HELLO_TIMEOUT).await;
    rig.until_error("no_connected_frame").await;
    let _caller = rig.relay.connect().await;
    rig.until_state(RelayState::Connected).await;
}

// PROTOCOL §2.4
#[tokio::test]
async fn a_relay_that_answers_no_ping_is_left_and_dialled_again() {
    let rig = Rig::with(|relay| {
        relay.keepalive.interval = Duration::from_millis(50);
        relay.keepalive.timeout = Duration::from_millis(50);
    })
    .await;
    let deaf = rig.relay.connect().await;
    rig.until_error("no_pong").await;
    rig.relay.connect().await;
    drop(deaf);
}

// PROTOCOL §2.4
#[tokio::test]
async fn a_relay_that_answers_pings_is_kept() {
    use futures_util::StreamExt;
    let rig = Rig::with(|relay| {
        relay.keepalive.interval = Duration::from_millis(20);
        relay.keepalive.timeout = Duration::from_secs(10);
    })
    .await;
    let mut caller = rig.relay.connect().await;
    let mut numbers = Vec::new();
    while numbers.len() < 5 {
        match within(caller.ws.next()).await.unwrap().unwrap() {
            Message::Ping(payload) => numbers.push(u64::from_be_bytes(payload[..].try_into().unwrap())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(rig.core().session.totals().connections, 1);
}

#[tokio::test]
async fn the_relay_is_dialled_once_the_local_listener_accepts() {
    let dir = Scratch::new();
    let relay = ScriptedRelay::listen().await;
    let config = relay.config(&dir);
    let adapter = Adapter::start(&dir);
    let forward = adapter.forward.clone();
    let config::ForwardTo::Unix(path) = &forward.to else {
        unreachable!()
    };
    std::fs::remove_file(path).unwrap();
    let wiring = wiring(&config, &forward);
    let core = Arc::new(Mutex::new(Core::new(&wiring)));
    let (_commands, inbox) = mpsc::channel(8);
    let running = tokio::spawn(Driver::new(wiring, Arc::clone(&core), inbox).run());
    let polls = async {
        for _ in 0..3 {
            tokio::time::pause();
            tokio::time::advance(LISTENER_POLL_MAX).await;
            tokio::time::resume();
            tokio::task::yield_now().await;
        }
    };
    relay.is_left_alone_while(polls).await;
    assert_eq!(core.lock().unwrap().session.state(), RelayState::WaitingForListener);
    let _adapter = Adapter::start(&dir);
    relay.connect().await;
    assert!(!running.is_finished());
}

/// A relay that does not answer a close frame is not waited for.
#[tokio::test]
async fn a_close_frame_without_an_answer_is_enough() {
    let rig = Rig::with(|relay| relay.protocol = config::ProtocolChoice::V2).await;
    let mut caller = rig.relay.accept().await;
    caller.say(&json!({ "type": "connected" })).await;
    rig.until_state(RelayState::Stopped).await;
    pass(CLOSE_TIMEOUT).await;
    rig.until_error("unsupported_version").await;
    assert_eq!(caller.hears_close().await, 1000);
}
