//! A relay behind a slow line.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::relay::Event;
use e2e::world::free_address;
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, chat};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, sidecar};

/// Listens at `from` and passes bytes on to `to`: at `rate` bytes a second there, as fast as they come back.
async fn slow_line(from: SocketAddr, to: SocketAddr, rate: usize) -> JoinHandle<()> {
    let listener = TcpListener::bind(from).await.unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.unwrap();
            let (mut client_out, mut client_in) = client.into_split();
            let (mut server_out, mut server_in) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut server_out, &mut client_in).await });
            tokio::spawn(async move {
                let mut piece = vec![0; rate / 100];
                while let Ok(length @ 1..) = client_out.read(&mut piece).await {
                    let passed = server_in.write_all(&piece[..length]).await;
                    if passed.is_err() {
                        break;
                    }
                    sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
                }
            });
        }
    })
}

#[tokio::test]
async fn a_large_answer_holds_back_small_ones_no_longer_than_the_wire_needs_and_no_ping_fails() {
    // What the kernel has taken counts as written: its buffers hold a second's worth of this line and more.
    let plan = sidecar(&[("keepalive", "{ interval: 1s, timeout: 3s }")]);
    let hidden = free_address().unwrap();
    let line = slow_line(plan.relay, hidden, RATE).await;
    let relay = plan.start_relay(|options| options.public = hidden).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let url = relay.url("/v1/chat/completions");
    let start = Instant::now();
    let ask = |behaviour: &'static str| {
        let url = url.clone();
        tokio::spawn(async move {
            let asked = Instant::now();
            let reply = post(&url, chat(behaviour)).await.unwrap();
            (reply.status, reply.body.len(), asked.elapsed())
        })
    };
    let first = ask(LARGE);
    // The first large answer is on the wire before anything else is asked.
    model.ledger().wait(1, DEADLINE).await.unwrap();
    site.relay_status_becomes("/held_responses", 1.into()).await.unwrap();
    let small: Vec<_> = (0..20).map(|_| ask("quick")).collect();
    model.ledger().wait(21, DEADLINE).await.unwrap();
    site.relay_status_becomes("/held_responses", 21.into()).await.unwrap();
    let second = ask(LARGE);
    let answers = async {
        let mut small_took = Duration::ZERO;
        for one in small {
            let (status, _, took) = one.await.unwrap();
            assert_eq!(status, StatusCode::OK);
            small_took = small_took.max(took);
        }
        (first.await.unwrap(), small_took, second.await.unwrap())
    };
    let (first, small_took, second) = tokio::time::timeout(PATIENCE, answers).await.unwrap();
    assert_eq!((first.0, first.1, second.0), (StatusCode::OK, BYTES, StatusCode::OK));
    println!(
        "{BYTES} bytes at {RATE} bytes/s: large {:.2?}, small behind it at most {small_took:.2?}, large behind both \
         {:.2?}, all {:.2?}",
        first.2,
        second.2,
        start.elapsed()
    );
    // One frame after the other, as they became ready: a small one waits for the frame on the wire, not for the next.
    let sizes: Vec<bool> = relay
        .journal()
        .entries()
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Received(text) if text.contains(r#""type":"response""#) => Some(text.len() > BYTES),
            _ => None,
        })
        .collect();
    let expected: Vec<bool> = [true].into_iter().chain([false; 20]).chain([true]).collect();
    assert_eq!(sizes, expected);
    // Pings were due every second while the line was busy for several.
    assert!(
        relay
            .journal()
            .entries()
            .iter()
            .any(|entry| matches!(entry.event, Event::Pinged))
    );
    assert_eq!(site.relay_status().await.unwrap()["totals"]["connections"], 1);
    line.abort();
}

const RATE: usize = 6 * 1024 * 1024;
const BYTES: usize = 16_000_000;
const LARGE: &str = "bytes-16000000";
