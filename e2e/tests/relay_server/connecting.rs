//! PROTOCOL §3.1: the handshake, the first frame, and one connection per key.

use e2e::relay::{Event, Hello, Refusal};
use e2e::world::http;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, SOON};
use crate::{CHAT, KEY, PATIENCE, answer, call, relay, relay_with, slot};

const RIGHT_KEY: (&str, &str) = ("authorization", "Bearer the-key");

// PROTOCOL §2.1, §3.1: a confirmation frame before any request frames
#[tokio::test]
async fn the_connected_frame_comes_first_and_echoes_the_version() {
    let relay = relay().await;
    let mut client = Client::connect(&relay, &[RIGHT_KEY, ("spectral-bridge-protocol", "2")])
        .await
        .unwrap();
    assert_eq!(client.text().await, r#"{"type":"connected","protocol":2}"#);
    relay.connected(1, PATIENCE).await.unwrap();
}

// PROTOCOL §2.1, §3.1: accepted and closed with 4002
#[tokio::test]
async fn a_missing_or_unknown_version_is_accepted_and_closed_with_4002() {
    let relay = relay().await;
    for version in [None, Some("1"), Some("3"), Some("two")] {
        let headers = [
            Some(RIGHT_KEY),
            version.map(|version| ("spectral-bridge-protocol", version)),
        ];
        let headers: Vec<_> = headers.into_iter().flatten().collect();
        let mut client = Client::connect(&relay, &headers).await.unwrap();
        assert_eq!(client.closed().await.0, 4002, "{version:?}");
    }
    assert_eq!(relay.journal().refusals(), 4);
    assert!(!slot(&relay).is_connected());
}

// PROTOCOL §2.1, §3.1: a key that is absent or invalid: 4001, or a failed handshake
#[tokio::test]
async fn a_wrong_or_absent_key_fails_the_handshake_with_403() {
    let relay = relay().await;
    let version = ("spectral-bridge-protocol", "2");
    for key in [
        None,
        Some("Bearer wrong"),
        Some("the-key"),
        Some("Bearer "),
        Some("Basic the-key"),
    ] {
        let headers = [Some(version), key.map(|key| ("authorization", key))];
        let headers: Vec<_> = headers.into_iter().flatten().collect();
        match Client::connect(&relay, &headers).await {
            Err(Error::Http(refused)) => assert_eq!(refused.status().as_u16(), 403, "{key:?}"),
            other => panic!("{key:?}: 403 was expected, not {:?}", other.map(|_| "a connection")),
        }
    }
    assert_eq!(relay.journal().refusals(), 5);
}

// PROTOCOL §2.1, §3.1: a key that is absent or invalid: 4001, or a failed handshake
#[tokio::test]
async fn a_wrong_key_can_be_told_by_close_code_4001_instead() {
    let relay = relay_with(|options| options.refusal = Refusal::Close).await;
    let headers = [("authorization", "Bearer wrong"), ("spectral-bridge-protocol", "2")];
    let mut client = Client::connect(&relay, &headers).await.unwrap();
    assert_eq!(client.closed().await.0, 4001);
}

// PROTOCOL §3.1: accept the newer connection, close the older one; do not reject; register
#[tokio::test]
async fn a_newer_connection_replaces_the_older_one_cleanly() {
    let relay = relay().await;
    let mut older = Client::welcome(&relay).await;
    let mut newer = Client::welcome(&relay).await;
    assert_eq!(older.closed().await, (1000, "replaced by newer connection".to_owned()));
    let call = call(&relay, CHAT, "{}");
    let id = newer.request().await;
    newer.respond(&id, "{}").await;
    assert_eq!(answer(call).await.status, 200);
}

// PROTOCOL §3.1: the same connection slot
#[tokio::test]
async fn a_key_that_was_changed_opens_the_same_slot_and_the_old_one_nothing() {
    let relay = relay().await;
    relay.set_key("default", "new-key");
    let refused = Client::connect(&relay, &[RIGHT_KEY, ("spectral-bridge-protocol", "2")]).await;
    assert!(matches!(refused, Err(Error::Http(_))));
    let mut client = Client::welcome_with(&relay, "new-key").await;
    let call = call(&relay, "/relays/default/v1/responses", "{}");
    let id = client.request().await;
    client.respond(&id, "{}").await;
    assert_eq!(answer(call).await.status, 200);
}

// PROTOCOL §3, §3.1: /connect, the mandatory public WebSocket endpoint
#[tokio::test]
async fn what_is_no_websocket_handshake_is_refused() {
    let relay = relay().await;
    let url = format!("http://{}/connect", relay.public());
    assert_eq!(http::get(&url).await.unwrap().status, 426);
}

// PROTOCOL §3.3: not publicly reachable
#[tokio::test]
async fn the_public_address_forwards_nothing() {
    let relay = relay().await;
    let _client = Client::welcome(&relay).await;
    for path in [CHAT, "/relays", "/relays/default/v1/responses", "/health"] {
        let reply = http::post(&format!("http://{}{path}", relay.public()), "{}")
            .await
            .unwrap();
        assert_eq!(reply.status, 404, "{path}");
    }
    assert_eq!(
        http::get(&format!("http://{}/connect", relay.internal()))
            .await
            .unwrap()
            .status,
        404
    );
}

#[tokio::test]
async fn one_address_can_serve_both_sides() {
    let relay = relay_with(|options| options.internal = None).await;
    assert_eq!(relay.public(), relay.internal());
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    client.respond(&id, r#"{"ok":true}"#).await;
    assert_eq!(answer(call).await.body, r#"{"ok":true}"#);
}

#[tokio::test]
async fn pings_are_answered_and_noted() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    client.hears_nothing().await;
    let pinged = |entries: &[e2e::relay::Entry]| entries.iter().find(|e| matches!(e.event, Event::Pinged)).map(drop);
    relay.journal().wait(PATIENCE, pinged).await.unwrap();
}

#[tokio::test]
async fn the_journal_keeps_a_clients_headers_but_never_its_key() {
    let relay = relay().await;
    let _client = Client::welcome(&relay).await;
    let entries = relay.journal().entries();
    let Event::Connected(headers) = &entries[0].event else {
        panic!("{entries:?}")
    };
    assert_eq!(headers["spectral-bridge-protocol"], "2");
    assert!(!format!("{entries:?}").contains(KEY));
}

#[tokio::test]
async fn hostile_beginnings_can_be_staged() {
    let relay = relay_with(|options| options.hello = Hello::Text(r#"{"type":"request"}"#.to_owned())).await;
    let headers = [RIGHT_KEY, ("spectral-bridge-protocol", "2")];
    let mut client = Client::connect(&relay, &headers).await.unwrap();
    assert_eq!(client.json().await, json!({"type": "request"}));

    let relay = relay_with(|options| {
        options.hello = Hello::Silence;
        options.reconnect_wait = SOON;
    })
    .await;
    let mut client = Client::connect(&relay, &headers).await.unwrap();
    client.hears_nothing().await;
    assert_eq!(http::post(&relay.url(CHAT), "{}").await.unwrap().status, 503);

    let slot = slot(&relay_with(|_| {}).await);
    assert!(!slot.send_again("req-0"), "nothing is pending");
}

#[tokio::test]
async fn tests_can_send_a_client_anything() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    slot(&relay).send_text("not json");
    assert_eq!(client.text().await, "not json");
    slot(&relay).send_binary(&b"\x00\xff"[..]);
    assert!(matches!(client.next().await, Some(Ok(Message::Binary(bytes))) if bytes == b"\x00\xff"[..]));
    slot(&relay).close(4000, "because");
    assert_eq!(client.closed().await, (4000, "because".to_owned()));
}
