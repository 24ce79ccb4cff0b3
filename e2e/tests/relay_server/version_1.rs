//! PROTOCOL of version 1 (0.1.2), §2 and §3: no acks, no resending, one endpoint.

use e2e::relay::{Relay, RelayOptions, Version};
use serde_json::json;
use std::time::Duration;

use crate::client::{Client, SOON};
use crate::{CHAT, KEY, PATIENCE, answer, call, slot};

async fn relay(change: impl FnOnce(&mut RelayOptions)) -> Relay {
    let mut options = RelayOptions::new(Version::V1, KEY);
    // PROTOCOL 0.1.2 §3.1: within 30 seconds
    assert_eq!(options.request_timeout, Duration::from_secs(30));
    change(&mut options);
    Relay::start(options).await.unwrap()
}

async fn welcome(relay: &Relay) -> Client {
    // A version-2 client says which version it speaks; a version-1 server does not look.
    let headers = [("authorization", "Bearer the-key"), ("spectral-bridge-protocol", "2")];
    let mut client = Client::connect(relay, &headers).await.unwrap();
    assert_eq!(client.text().await, r#"{"type":"connected"}"#);
    client
}

// PROTOCOL 0.1.2 §2.1: the connected frame names no version
// PROTOCOL 0.1.2 §2.2: two message types, and an ack is none of them
#[tokio::test]
async fn a_request_names_no_path_and_its_response_is_not_acked() {
    let relay = relay(|_| {}).await;
    let mut client = welcome(&relay).await;
    let call = call(&relay, CHAT, "[1]");
    let frame = client.json().await;
    let payload = json!({"method": "POST", "headers": {"content-type": "application/json"}, "body": [1]});
    assert_eq!(frame["payload"], payload);
    client.respond(frame["request_id"].as_str().unwrap(), "[2]").await;
    assert_eq!(answer(call).await.body, "[2]");
    client.hears_nothing().await;
}

// PROTOCOL 0.1.2 §2.2: one endpoint
#[tokio::test]
async fn there_is_one_endpoint() {
    let relay = relay(|_| {}).await;
    let mut client = welcome(&relay).await;
    assert_eq!(answer(call(&relay, "/v1/responses", "{}")).await.status, 404);
    client.hears_nothing().await;
}

// PROTOCOL 0.1.2 §3.1: without a connection, an error at once
#[tokio::test]
async fn without_a_connection_callers_hear_503_at_once() {
    let relay = relay(|options| options.reconnect_wait = PATIENCE * 100).await;
    assert_eq!(answer(call(&relay, CHAT, "{}")).await.status, 503);
    drop(welcome(&relay).await);
    slot(&relay).disconnected(PATIENCE).await.unwrap();
    assert_eq!(answer(call(&relay, CHAT, "{}")).await.status, 503);
}

// PROTOCOL 0.1.2 §2.5: the relay's responsibility to time out
#[tokio::test]
async fn nothing_is_sent_again_and_a_lost_request_times_out() {
    let relay = relay(|options| options.request_timeout = SOON * 4).await;
    let mut client = welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    client.request().await;
    // Going away means nothing special in version 1.
    client.close(1001).await;
    slot(&relay).disconnected(PATIENCE).await.unwrap();
    let mut client = welcome(&relay).await;
    client.hears_nothing().await;
    assert_eq!(answer(call).await.status, 504);
}

// PROTOCOL 0.1.2 §2.1, §3.1: 4001, or a failed handshake
#[tokio::test]
async fn a_wrong_key_is_refused() {
    let relay = relay(|_| {}).await;
    assert!(
        Client::connect(&relay, &[("authorization", "Bearer wrong")])
            .await
            .is_err()
    );
}
