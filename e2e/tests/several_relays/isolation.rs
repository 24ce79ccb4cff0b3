//! While one platform floods or stalls, the other one's requests come back one after the other.

use std::time::{Duration, Instant};

use e2e::relay::Event;
use e2e::world::eventually;
use e2e::world::http::post;
use e2e::world::site::chat;
use hyper::StatusCode;
use serde_json::Value;

use super::flood::Flood;
use super::{Plan, World, url};

/// A relay that floods, until `besieged` is true of its status; then the other one is served, and it still is.
async fn holds_up_nobody(flood: Flood, besieged: impl Fn(&Value) -> bool) {
    let flooding = flood.start().await;
    let world = Plan::new(&flooding.url()).start().await;
    eventually("the flood is felt", PATIENCE, || async {
        let status = world.status_of("evaluations").await;
        besieged(&status).then_some(())
    })
    .await
    .unwrap();
    let asked_before = flooding.sent();
    let mut took = Vec::new();
    let one_by_one = async {
        for _ in 0..REQUESTS {
            let asked = Instant::now();
            let reply = post(&url(&world.relay, "/v1/chat/completions"), chat("quick"))
                .await
                .unwrap();
            took.push(asked.elapsed());
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        }
    };
    tokio::time::timeout(PATIENCE, one_by_one)
        .await
        .expect("the other relay stalls");
    // the flood did not end meanwhile: nothing was served behind it
    let status = world.status_of("evaluations").await;
    assert!(besieged(&status), "{status}");
    let went_on = flooding.sent() > asked_before;
    assert!(
        went_on || asked_before == flood.count || !flood.reads,
        "the flood was over"
    );
    nothing_waited(&world).await;
    together(&world).await;
    took.sort();
    println!(
        "{} requests beside a flood of {} sent: median {:.2?}, 99 % within {:.2?}, all within {:.2?}",
        took.len(),
        flooding.sent(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1]
    );
}

/// Each request was at the model by itself and in order, and each answer was acknowledged before the next request came.
async fn nothing_waited(world: &World) {
    let status = world.status_of("partner").await;
    for (key, value) in [
        ("state", Value::from("connected")),
        ("queued", 0.into()),
        ("in_flight", 0.into()),
    ] {
        assert_eq!(status[key], value, "{status}");
    }
    let totals = &status["totals"];
    assert_eq!(
        (&totals["connections"], &totals["requests"]),
        (&1.into(), &REQUESTS.into()),
        "{status}"
    );
    assert_eq!(totals["responses"], serde_json::json!({ "200": REQUESTS }), "{status}");
    assert_eq!(world.models[1].ledger().count(), REQUESTS);
    let ids: Vec<String> = world.relay.journal().entries().iter().filter_map(response_id).collect();
    assert_eq!(ids.len(), REQUESTS);
    let numbers: Vec<u64> = ids
        .iter()
        .map(|id| id.rsplit('-').next().unwrap().parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

/// Half a hundred at once come back, too.
async fn together(world: &World) {
    let url = url(&world.relay, "/v1/chat/completions");
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { post(&url, chat("quick")).await.unwrap().status })
        })
        .collect();
    let answered = async {
        for one in asked {
            assert_eq!(one.await.unwrap(), StatusCode::OK);
        }
    };
    tokio::time::timeout(PATIENCE, answered)
        .await
        .expect("the other relay stalls");
}

fn response_id(entry: &e2e::relay::Entry) -> Option<String> {
    let Event::Received(text) = &entry.event else {
        return None;
    };
    let frame: Value = serde_json::from_str(text).ok()?;
    (frame["type"] == "response").then(|| frame["request_id"].as_str().unwrap().to_owned())
}

/// Big answers, none of them read: the socket is full, then the memory bound, then nothing more is read of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_never_reads_its_socket() {
    let flood = Flood {
        count: 20_000,
        behaviour: "bytes-1048576",
        padding: 1000,
        reads: false,
    };
    holds_up_nobody(flood, |status| held(status) > 32 * MIB).await;
}

/// Answers that are read and never acknowledged fill its share of memory; the rest is refused, thousands of times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_never_acknowledges() {
    let flood = Flood {
        count: 1_000_000,
        behaviour: "bytes-262144",
        padding: 200_000,
        reads: true,
    };
    holds_up_nobody(flood, |status| {
        held(status) > 32 * MIB && status["totals"]["requests"].as_u64() > Some(500)
    })
    .await;
}

/// Its model answers nothing: all its places there are taken, and its queue is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_model_stalls() {
    let flood = Flood {
        count: 8000,
        behaviour: "delay-600s",
        padding: 10,
        reads: true,
    };
    holds_up_nobody(flood, |status| {
        (&status["in_flight"], &status["queued"]) == (&64.into(), &4096.into())
    })
    .await;
}

/// Without a flood, for comparison.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_quiet() {
    let flood = Flood {
        count: 1,
        behaviour: "delay-600s",
        padding: 0,
        reads: true,
    };
    holds_up_nobody(flood, |status| status["in_flight"] == 1).await;
}

fn held(status: &Value) -> u64 {
    status["held_bytes"].as_u64().unwrap()
}

const MIB: u64 = 1024 * 1024;
const REQUESTS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(90);
