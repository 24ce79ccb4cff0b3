//! PROTOCOL §2.2: a frame is at most 16 MiB.

use crate::client::Client;
use crate::{CHAT, answer, call, relay, relay_with, slot};
use e2e::relay::MAX_FRAME_BYTES;
use e2e::world::http;

/// A response frame of exactly `size` bytes.
fn response_of(size: usize, id: &str) -> String {
    let around =
        format!(r#"{{"type":"response","request_id":"{id}","payload":{{"status":200,"headers":{{}},"body":""}}}}"#);
    around.replace(
        r#""body":"""#,
        &format!(r#""body":"{}""#, "x".repeat(size - around.len())),
    )
}

// PROTOCOL §2.2: a frame is at most 16 MiB; a larger one closes with 1009
#[tokio::test]
async fn a_response_of_exactly_16_mib_passes_and_one_byte_more_closes_with_1009() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let first = call(&relay, CHAT, "{}");
    let id = client.request().await;
    let frame = response_of(MAX_FRAME_BYTES, &id);
    assert_eq!(frame.len(), 16_777_216);
    client.send(frame).await;
    client.acked(&id).await;
    assert!(answer(first).await.body.len() > 16_777_000);

    let second = call(&relay, CHAT, "{}");
    let id = client.request().await;
    client.send(response_of(MAX_FRAME_BYTES + 1, &id)).await;
    assert_eq!(client.closed().await.0, 1009);
    assert!(!second.is_finished(), "the request stays pending");
}

// PROTOCOL §2.2: a request too large fails straight away
#[tokio::test]
async fn a_request_frame_of_exactly_the_limit_passes_and_one_byte_more_is_413() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let probe = call(&relay, CHAT, "1");
    let around = client.text().await.len() - 1;
    // Request ids count up: the next one is as long as the first.
    let fits = "1".repeat(MAX_FRAME_BYTES - around);
    let call_that_fits = call(&relay, CHAT, fits.clone());
    assert_eq!(client.text().await.len(), 16_777_216);
    let reply = answer(call(&relay, CHAT, format!("{fits}1"))).await;
    assert_eq!(
        (reply.status.as_u16(), reply.error_code().as_str()),
        (413, "request_too_large")
    );
    client.hears_nothing().await;
    assert_eq!(slot(&relay).pending(), 2, "the others wait on");
    drop((probe, call_that_fits));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_without_being_read_to_its_end() {
    let relay = relay_with(|options| options.max_frame_bytes = 1000).await;
    let mut client = Client::welcome(&relay).await;
    let reply = http::post(&relay.url(CHAT), "1".repeat(1001)).await.unwrap();
    assert_eq!(reply.status, 413);
    client.hears_nothing().await;
}

// PROTOCOL §2.2: UTF-8; a text frame that is none breaks RFC 6455 itself
#[tokio::test]
async fn a_text_frame_that_is_not_utf_8_closes_with_1007() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let frame = Frame::message(&b"\xff\xfe"[..], OpCode::Data(Data::Text), true);
    client.socket.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(client.closed().await.0, 1007);
}
