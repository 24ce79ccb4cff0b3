//! A relay that talks and never listens, next to one that does both.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Plan, chat};
use futures_util::SinkExt;
use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::memory::{MIB, Watch, resident};
use super::{PATIENCE, request, sidecar};

/// A relay that accepts one connection after the other, says everything it has to say, and never reads a byte.
struct Mute {
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Clone)]
enum Say {
    Text(Utf8Bytes),
    /// Lets answers become ready.
    Pause,
}

impl Say {
    fn text(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Mute {
    async fn start(says: impl Iterator<Item = Say> + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else {
                    continue;
                };
                let hello = Utf8Bytes::from_static(r#"{"type":"connected","protocol":2}"#);
                for say in std::iter::once(Say::Text(hello)).chain(says.clone()) {
                    let Say::Text(text) = say else {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    if socket.send(Message::Text(text)).await.is_err() {
                        break;
                    }
                }
            }
        });
        Self { address, task }
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The sidecar with a second relay, whose share of memory is small.
fn with_second(mute: &Mute) -> Plan {
    let second = format!(
        "        - name: mute\n          url: ws://{}/connect\n          insecure: true\n          \
         api_key: {{ env: SPECTRAL_BRIDGE_API_KEY }}\n          max_frame_bytes: 2097152\n          \
         max_held_bytes: 33554432\n          max_in_flight: 8\n        forward:\n          to:",
        mute.address
    );
    sidecar(&[]).edit("        forward:\n          to:", &second).unwrap()
}

/// While the mute relay says what it says, the other one serves two hundred requests, and memory stays in bounds.
async fn harms_nobody(says: impl Iterator<Item = Say> + Clone + Send + 'static, bound: usize) {
    let mute = Mute::start(says).await;
    let plan = with_second(&mute);
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let mut site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let id = site.envoy.process().id();
    let (before, watch) = (resident(id), Watch::process(id));
    let url = relay.url("/v1/chat/completions");
    let progress = async {
        for _ in 0..200 {
            assert_eq!(post(&url, chat("quick")).await.unwrap().status, StatusCode::OK);
        }
    };
    tokio::time::timeout(PATIENCE, progress)
        .await
        .expect("the other relay stalls");
    settled(&site).await;
    let grown = watch.most().saturating_sub(before);
    println!("resident grew by {} KiB", grown / 1024);
    assert!(grown < bound, "grew by {grown} bytes");
    assert_eq!(post(&url, chat("quick")).await.unwrap().status, StatusCode::OK);
}

/// The mute relay's part of the status says the same for a while: nothing more is read from it.
async fn settled(site: &e2e::world::site::Site) {
    let (mut last, mut same) = (None, 0);
    tokio::time::timeout(PATIENCE, async {
        while same < 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = site.status("/status").await.unwrap().json()["relays"][1]["totals"].clone();
            assert!(now.is_object(), "the mute relay is not configured");
            same = if last.as_ref() == Some(&now) { same + 1 } else { 0 };
            last = Some(now);
        }
    })
    .await
    .expect("the mute relay is read for ever");
}

/// It asks for large answers and acknowledges each again and again, so that nothing is held for it although nothing
/// could be written to it.
#[tokio::test]
async fn a_relay_that_never_reads_and_acks_what_it_has_not_got_stays_within_max_held_bytes() {
    let says = (0..600_usize).flat_map(|n| {
        let ask = Say::text(request(&format!("m-{n}"), "bytes-524288"));
        let acks = (n.saturating_sub(20)..n).map(|n| Say::text(format!(r#"{{"type":"ack","request_id":"m-{n}"}}"#)));
        std::iter::once(ask).chain(acks).chain([Say::Pause])
    });
    // What is held, one frame in the socket and one over, 8 answers in Envoy; slack for both allocators. The answers
    // together are 300 MiB.
    harms_nobody(says, (32 + 4 + 4 + 64) * MIB).await;
}

/// It asks for nothing but refusals, under ids that are written in six times their bytes.
#[tokio::test]
async fn a_relay_that_never_reads_cannot_make_acks_and_refusals_pile_up() {
    let long = r"\u0001".repeat(8000);
    let says = (0..20_000_usize)
        .map(move |n| Say::text(format!(r#"{{"type":"request","request_id":"{n}{long}","payload":7}}"#)));
    // 32 MiB of small frames in the queue, 16 MiB of refusals in the table; the answers together are 2 GB.
    harms_nobody(says, (32 + 16 + 64) * MIB).await;
}

/// Each request that waits stands between rubbish, so that as little as possible of what was read is kept.
#[tokio::test]
async fn small_requests_that_wait_do_not_keep_what_was_read_around_them() {
    let rubbish = Utf8Bytes::from("x".repeat(60 * 1024));
    let says = (0..8000_usize).flat_map(move |n| {
        let waits = Say::text(request(&format!("w-{n}"), "delay-600s"));
        [waits, Say::Text(rubbish.clone())]
    });
    // 8,000 small requests; the read buffers that they came in are 500 MB.
    harms_nobody(says, (32 + 64) * MIB).await;
}

/// A header takes many times its bytes in a frame once it is read.
#[tokio::test]
async fn small_requests_that_wait_with_a_hundred_headers_each_stay_within_max_held_bytes() {
    let headers: Vec<String> = (0..100).map(|n| format!(r#""{n}":"""#)).collect();
    let headers = headers.join(",");
    let says = (0..16_384_usize).map(move |n| {
        Say::text(
            request(&format!("h-{n}"), "delay-600s").replace(r#""headers":{}"#, &format!(r#""headers":{{{headers}}}"#)),
        )
    });
    // 16,384 requests of 1.5 KB, up to the bound; as header maps they are 200 MB.
    harms_nobody(says, (32 + 64) * MIB).await;
}
