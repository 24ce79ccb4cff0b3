//! The status, and a stop that waits.

use e2e::world::http;
use e2e::world::site::DEADLINE;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::world::{JSON, TOKEN, World, chat};

/// A stream under way that takes a second or two.
fn stream(world: &World) -> tokio::task::JoinHandle<e2e::failed::Result<http::Reply>> {
    let url = world.gateway.url("/v1/chat/completions");
    let mut body = chat("pace-50ms");
    body["stream"] = json!(true);
    body["messages"][0]["content"] = json!("word ".repeat(30));
    tokio::spawn(async move {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [JSON, ("authorization", authorization.as_str())];
        http::send(Method::POST, &url, &headers, body.to_string()).await
    })
}

#[tokio::test]
async fn the_status_tells_what_clients_do() {
    let world = World::start().await;
    let status = world.status().await;
    assert_eq!((&status["running"], &status["relays"]), (&json!(true), &json!([])));
    assert!(status["uptime_seconds"].as_f64().unwrap() > 0.0);
    for _ in 0..3 {
        world.send_bare(Method::GET, "/v1/models", &[], "").await;
        world.post("/v1/chat/completions", chat("demo")).await;
    }
    world.status_becomes("/gateway/total_requests", json!(6)).await;
    let stream = stream(&world);
    let busy = world.status_becomes("/gateway/active_requests", json!(1)).await;
    assert_eq!(busy["gateway"]["active_connections"], 1, "{busy}");
    assert_eq!(stream.await.unwrap().unwrap().status, StatusCode::OK);
    let idle = world.status_becomes("/gateway/active_requests", json!(0)).await;
    assert_eq!(idle["gateway"]["total_requests"], 7, "{idle}");
    let ready = world.get_status("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text());
    let admin = world.gateway.envoy.admin("/spectral_bridge").await.unwrap().json();
    assert_eq!(admin["gateway"]["total_requests"], 7, "{admin}");
}

#[tokio::test]
async fn a_stop_as_documented_waits_for_the_streams() {
    let mut world = World::start().await;
    let stream = stream(&world);
    world.status_becomes("/gateway/active_requests", json!(1)).await;
    let url = world.gateway.envoy.admin_url("/drain_listeners?graceful");
    assert_eq!(http::post(&url, "").await.unwrap().status, StatusCode::OK);
    world.status_becomes("/running", json!(false)).await;
    world.gateway.envoy.process().terminate().unwrap();
    let reply = stream.await.unwrap().unwrap();
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!(reply.text().matches("word").count(), 30);
    let exit = world.gateway.envoy.process().exited(DEADLINE).await.unwrap();
    assert!(exit.success(), "{exit}");
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_grace() {
    let mut world = World::start_with(&[("shutdown_grace: 120s", "shutdown_grace: 300ms")]).await;
    let stream = stream(&world);
    world.status_becomes("/gateway/active_requests", json!(1)).await;
    world.gateway.envoy.process().terminate().unwrap();
    assert!(stream.await.unwrap().is_err(), "it was cut");
    let process = world.gateway.envoy.process();
    assert!(process.exited(DEADLINE).await.unwrap().success());
    let said = process.output();
    assert!(
        said.contains("1 requests through the gateway did not end within 300ms"),
        "{said}"
    );
}

#[tokio::test]
async fn a_drain_that_is_waited_for_is_over_when_the_streams_are() {
    let world = World::start().await;
    let stream = stream(&world);
    world.status_becomes("/gateway/active_requests", json!(1)).await;
    let drained = world.post_status("/drain?wait=true").await;
    assert_eq!(drained.json(), json!({"draining": false, "drained": true}));
    assert_eq!(world.status().await["gateway"]["active_requests"], 0);
    let reply = stream.await.unwrap().unwrap();
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
}
