//! What is no frame of the protocol.

use bytes::Bytes;
use e2e::relay::Slot;
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Shipped, Site, chat};
use hyper::StatusCode;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::memory::{MIB, resident};
use super::{sidecar, slot};

/// Rubbish to send again and again.
struct Rubbish {
    texts: Vec<Utf8Bytes>,
    binaries: Vec<Bytes>,
}

impl Rubbish {
    fn new() -> Self {
        let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(1000), close.repeat(1000));
        let huge = "x".repeat(9 * 1024);
        let texts = [
            String::new(),
            "nonsense".into(),
            "\u{0}\u{feff}{".into(),
            "[]".into(),
            "17".into(),
            "{}".into(),
            r#"{"type":7,"request_id":"a"}"#.into(),
            r#"{"type":"request","request_id":{"a":1}}"#.into(),
            r#"{"type":"request"}"#.into(),
            r#"{"type":"ack","request_id":null}"#.into(),
            r#"{"type":"pong","type":"nothing","request_id":"a","request_id":["b"]}"#.into(),
            r#"{"type":"response","request_id":"a","payload":{"status":200,"headers":{},"body":{}}}"#.into(),
            r#"{"type":"request","request_id":"a","payload":{"body":"#.into(),
            format!(r#"{{"type":"request","request_id":"{huge}","payload":{{}}}}"#),
            format!(r#"{{"type":"ack","request_id":"{huge}"}}"#),
            deep("[", "]"),
            deep(r#"{"a":"#, "}"),
            format!(r#"{{"type":"other","payload":{}}}"#, deep("[", "]")),
        ];
        let binaries: [&[u8]; 4] = [b"", b"\xff\xfe\xfd", b"{\"type\":\"\xc3\x28\"}", &[0; 4096]];
        Self {
            texts: texts.into_iter().map(Into::into).collect(),
            binaries: binaries.into_iter().map(Bytes::copy_from_slice).collect(),
        }
    }

    fn send(&self, slot: &Slot, count: usize) {
        for n in 0..count {
            match n % 5 {
                0 => slot.send_binary(self.binaries[n / 5 % self.binaries.len()].clone()),
                _ => slot.send_text(self.texts[n % self.texts.len()].clone()),
            }
        }
    }
}

/// Frames that say enough to be answered, though not to be forwarded.
fn half_requests(slot: &Slot, round: &str, count: usize) {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
    for n in 0..count {
        let payload = match n % 4 {
            0 => "7".to_owned(),
            1 => format!(r#"{{"headers":{deep}}}"#),
            2 => r#"{"headers":{"a":1}}"#.to_owned(),
            _ => r#"{"path":{},"path":"/v1/models"}"#.to_owned(),
        };
        slot.send_text(format!(
            r#"{{"type":"request","request_id":"{round}-{n}","payload":{payload}}}"#
        ));
    }
}

// PROTOCOL §2.2: what is no frame is ignored and must not close the connection
#[tokio::test]
async fn a_hundred_thousand_rubbish_frames_neither_close_the_connection_nor_grow_memory() {
    let plan = sidecar(&[]);
    let relay = plan.start_relay(|options| options.journal = false).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let mut site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let (slot, url) = (slot(&relay), relay.url("/v1/chat/completions"));
    let rubbish = Rubbish::new();
    // The answer to a request says that everything before it was read.
    rubbish.send(&slot, WARM_UP);
    half_requests(&slot, "warm", WARM_UP / 10);
    assert_eq!(post(&url, chat("quick")).await.unwrap().status, StatusCode::OK);
    let before = resident(site.envoy.process().id());
    for round in 0..10 {
        rubbish.send(&slot, RUBBISH / 10);
        half_requests(&slot, &round.to_string(), RUBBISH / 100);
        assert_eq!(post(&url, chat("quick")).await.unwrap().status, StatusCode::OK);
    }
    let after = resident(site.envoy.process().id());
    let status = site.relay_status_becomes("/held_responses", 0.into()).await.unwrap();
    let totals = &status["totals"];
    assert_eq!(
        (&totals["connections"], &totals["disconnects"]),
        (&1.into(), &0.into()),
        "{status}"
    );
    assert_eq!(totals["ignored_frames"], RUBBISH + WARM_UP, "{status}");
    assert_eq!(model.ledger().count(), 11, "rubbish reached the model");
    println!("resident: {} KiB before, {} KiB after", before / 1024, after / 1024);
    // 150 MB were sent; the slack is for what an allocator keeps.
    assert!(after < before + 16 * MIB, "grew from {before} to {after} bytes");
}

// RFC 6455 §8.1: a text frame that is not UTF-8 fails the connection; PROTOCOL §2.5: a disconnect does not fail in-flight requests
#[tokio::test]
async fn a_text_frame_that_is_not_utf_8_may_cost_the_connection_but_no_request() {
    let (site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let (slot, url) = (slot(&relay), relay.url("/v1/chat/completions"));
    let in_flight = tokio::spawn({
        let url = url.clone();
        async move { post(&url, chat("delay-1s")).await }
    });
    model.ledger().wait(1, DEADLINE).await.unwrap();
    slot.send_broken_text(&b"{\"type\":\"\xff\"}"[..]);
    // Sent right behind it, so that nobody reads it on this connection.
    let behind = post(&url, chat("quick")).await.unwrap();
    assert_eq!(behind.status, StatusCode::OK, "{}", behind.text());
    assert_eq!(in_flight.await.unwrap().unwrap().status, StatusCode::OK);
    assert_eq!(model.ledger().count(), 2, "forwarded twice");
    let status = site
        .relay_status_becomes("/totals/connections", 2.into())
        .await
        .unwrap();
    assert_eq!(status["last_error"]["code"], "invalid_utf8");
}

const WARM_UP: usize = 20_000;
const RUBBISH: usize = 100_000;
