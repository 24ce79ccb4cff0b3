//! What passes is what was sent, to the byte, in both directions: the provider sends back whatever it gets.

use std::time::Duration;

use e2e::world::eventually;
use e2e::world::seed::Seed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::{Frames, INPUT, OUTPUT};
use super::*;

/// Sends `bytes` and gives what came back, until the end.
async fn sent_back(socket: Socket, bytes: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = socket.into_inner().into_split();
    let length = bytes.len();
    let writing = tokio::spawn(async move {
        writer.write_all(&bytes).await.unwrap();
        writer
    });
    let mut heard = vec![0; length];
    timeout(LONG, reader.read_exact(&mut heard))
        .await
        .expect("everything comes back")
        .unwrap();
    drop(writing.await.unwrap());
    heard
}

/// Envoy before 1.40 writes large numbers as `300000.0`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bytes that a test sent
fn whole(number: &Value) -> usize {
    number.as_f64().unwrap() as usize
}

/// Sends the frames and a close frame, and checks that all came back and all tokens were told.
async fn assert_passes(site: &mut Site<Echo>, id: &str, mut frames: Frames) {
    frames.close(1000);
    let socket = site.dial(id, "/v1/responses").await;
    let heard = sent_back(socket, frames.bytes.clone()).await;
    assert!(heard == frames.bytes, "what came back is not what was sent");
    let line = site.gateway.logged(id).await.unwrap();
    for (key, value) in [
        ("turns", frames.tells),
        ("input_tokens", frames.tells * INPUT),
        ("output_tokens", frames.tells * OUTPUT),
        ("close_code", 1000),
    ] {
        assert_eq!(whole(&line[key]), value, "{key} of {line}");
    }
    assert_eq!(
        (&line["closed_by"], &line["usage_missing"]),
        (&json!("client"), &Value::Null),
        "{line}"
    );
    // the handshake is on the wire, too, but not in a body
    assert_eq!(whole(&line["bytes_sent"]), frames.bytes.len(), "{line}");
}

#[tokio::test]
async fn ten_thousand_frames_of_every_kind_pass_to_the_byte() {
    let seed = Seed::given_or_new().unwrap();
    println!("SEED={seed}");
    let mut site = Plan::new().start_echo().await;
    let frames = Frames::mixed(seed, 10_000);
    assert!(frames.tells > 50, "{}", frames.tells);
    assert_passes(&mut site, "frames", frames).await;
}

#[tokio::test]
async fn frames_of_a_megabyte_pass_to_the_byte_in_bounded_memory() {
    let mut site = Plan::new().start_echo().await;
    let mut warm = Frames::default();
    warm.message(Seed::new(0), 1, &frames::tells(0));
    warm.tells = 1;
    assert_passes(&mut site, "warm", warm).await;
    let before = site.gateway.peak_memory().unwrap();
    let mut frames = Frames::default();
    for number in 0..32 {
        // in one frame if the draw is even, else in fragments; a message that tells tokens after each
        let seed = Seed::new(number);
        let payload: Vec<u8> = (0..MEGABYTE).map(|at| seed.draw(at).to_le_bytes()[1]).collect();
        frames.message(seed, 2, &payload);
        frames.message(seed, 1, &frames::tells(number));
        frames.tells += 1;
    }
    assert_passes(&mut site, "megabytes", frames).await;
    let grown = site.gateway.peak_memory().unwrap() - before;
    assert!(grown < 24 * MEGABYTE, "Envoy grew by {grown} bytes");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_provider_back_and_loses_nothing() {
    let mut site = Plan::new().start_echo().await;
    drop(site.dial("warm", "/v1/responses").await);
    site.gateway.logged("warm").await.unwrap();
    let before = site.gateway.peak_memory().unwrap();
    let sent: Vec<u8> = (0..64 * MEGABYTE).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let (mut reader, mut writer) = site.dial("slow", "/v1/responses").await.into_inner().into_split();
    let writing = tokio::spawn({
        let sent = sent.clone();
        async move {
            writer.write_all(&sent).await.unwrap();
            writer
        }
    });
    let paused = async || {
        let paused = "cluster.provider.upstream_flow_control_paused_reading_total";
        let paused = site.gateway.envoy.stat(paused).await.ok().flatten();
        paused.filter(|paused| *paused > 0)
    };
    eventually("Envoy stops reading from the provider", DEADLINE, paused)
        .await
        .unwrap();
    let mut heard = vec![0; sent.len()];
    timeout(LONG, reader.read_exact(&mut heard))
        .await
        .expect("everything comes back")
        .unwrap();
    assert!(heard == sent, "what came back is not what was sent");
    drop(writing.await.unwrap());
    let grown = site.gateway.peak_memory().unwrap() - before;
    assert!(grown < 24 * MEGABYTE, "Envoy grew by {grown} bytes");
}

#[tokio::test]
async fn what_is_no_websocket_after_all_passes_to_the_byte_too() {
    let mut site = Plan::new().start_echo().await;
    let seed = Seed::given_or_new().unwrap();
    println!("SEED={seed}");
    let noise: Vec<u8> = (0..300_000).map(|at| seed.draw(at).to_le_bytes()[0]).collect();
    let socket = site.dial("noise", "/v1/responses").await;
    let heard = sent_back(socket, noise.clone()).await;
    assert!(heard == noise, "what came back is not what was sent");
    let line = site.gateway.logged("noise").await.unwrap();
    assert_eq!(whole(&line["bytes_sent"]), noise.len(), "{line}");
}

const MEGABYTE: u64 = 1 << 20;

/// For what takes its time on a busy machine; never a measure.
const LONG: Duration = Duration::from_secs(120);
