//! The standby serves what the primary cannot.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::world::eventually;
use e2e::world::http::Reply;
use e2e::world::site::DEADLINE;
use futures_util::future::join_all;
use hyper::StatusCode;

use super::world::{World, chat};

const LANES: usize = 16;
const REQUESTS: usize = 1200;

/// One of several callers, each of which asks again as soon as it is answered.
async fn lane(world: &World, done: &AtomicUsize, failed: &Mutex<Vec<Reply>>) {
    while done.load(Ordering::SeqCst) < REQUESTS {
        let reply = world.post("/v1/chat/completions", chat("delay-5ms")).await;
        if reply.status != StatusCode::OK {
            failed.lock().unwrap().push(reply);
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_that_no_model_has_seen_fails_when_a_pool_dies_under_load() {
    let mut world = World::start().await;
    let (done, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    {
        let world = &world;
        let kill = async {
            eventually("a third is done", DEADLINE, || async {
                (done.load(Ordering::SeqCst) >= REQUESTS / 3).then_some(())
            })
            .await
            .unwrap();
            world.primary.stop().await;
        };
        let lanes = join_all((0..LANES).map(|_| lane(world, &done, &failed)));
        tokio::join!(kill, lanes);
    }
    let [before, after, _] = world.seen();
    assert!(before >= REQUESTS / 3 && after >= REQUESTS / 3, "{before} and {after}");
    let failed = failed.into_inner().unwrap();
    assert!(failed.len() <= LANES, "{} of {REQUESTS} failed", failed.len());
    println!(
        "{before} by the primary, {after} by the standby, {} failed",
        failed.len()
    );
    for reply in &failed {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text());
        let line = world.logged(reply).await;
        // the connection ended after the request had been sent on it: whether the primary began with it, nobody knows
        assert_eq!(line["flags"], "UC", "{line}");
        assert!(line["sent"].as_u64().unwrap() > 0, "{line}");
    }
    // and back
    world.primary.restart().await.unwrap();
    let seen = world.primary.ledger().count();
    eventually("the primary serves again", DEADLINE, || async {
        let reply = world.post("/v1/chat/completions", chat("demo")).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        (world.primary.ledger().count() > seen).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_after_a_pool_has_died_is_served_by_the_other() {
    const AT_ONCE: usize = 64;
    let mut world = World::start().await;
    assert_eq!(
        world.post("/v1/chat/completions", chat("demo")).await.status,
        StatusCode::OK
    );
    world.primary.stop().await;
    // what is written to a connection that is dying counts as sent
    let connections = world
        .gateway
        .envoy
        .stat_becomes("cluster.models.upstream_cx_active", 0, DEADLINE);
    connections.await.unwrap();
    let first = world.post("/v1/chat/completions", chat("demo")).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text());
    let line = world.logged(&first).await;
    assert_eq!(line["attempts"], 2, "the second attempt goes to the other pool: {line}");
    let replies = join_all((0..AT_ONCE).map(|_| world.post("/v1/chat/completions", chat("demo")))).await;
    for reply in replies {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    }
    assert_eq!(world.seen(), [1, 1 + AT_ONCE, 0]);
    // and once the health checks agree, nobody has to try twice
    let healthy = "cluster.models.membership_healthy";
    world.gateway.envoy.stat_becomes(healthy, 1, DEADLINE).await.unwrap();
    let last = world.post("/v1/chat/completions", chat("demo")).await;
    assert_eq!(world.logged(&last).await["attempts"], 1);
}
