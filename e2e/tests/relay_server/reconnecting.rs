//! PROTOCOL §2.5 and §3.1 "Reconnection": requests outlive connections.

use e2e::relay::{Event, Relay};

use crate::client::{Client, SOON};
use crate::{CHAT, PATIENCE, answer, call, relay, relay_with, slot};

/// Drops the client's socket as a network does, and waits until the relay has noticed.
async fn lose(client: Client, relay: &Relay) {
    drop(client);
    slot(relay).disconnected(PATIENCE).await.unwrap();
}

// PROTOCOL §2.5: a request outlives the connection; the same tunnel identity
// PROTOCOL §3.1: the same connection slot; matched by request_id across reconnects; do not reject a reconnect
#[tokio::test]
async fn an_answer_may_come_on_a_later_connection() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    client.ack(&id).await;
    client.hears_nothing().await;
    lose(client, &relay).await;
    assert_eq!(slot(&relay).pending(), 1);
    let mut client = Client::welcome(&relay).await;
    client.respond(&id, "7").await;
    client.acked(&id).await;
    assert_eq!(answer(call).await.body, "7");
}

// PROTOCOL §2.5: neither acked nor answered is sent again
#[tokio::test]
async fn what_was_neither_acked_nor_answered_is_sent_again_in_order() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let mut calls = Vec::new();
    let mut frames = Vec::new();
    for n in 0..4 {
        calls.push(call(&relay, CHAT, n.to_string()));
        frames.push(client.text().await);
    }
    let ids: Vec<_> = frames.iter().map(|frame| id_of(frame)).collect();
    client.ack(&ids[1]).await;
    client.respond(&ids[2], "2").await;
    client.acked(&ids[2]).await;
    lose(client, &relay).await;

    let mut client = Client::welcome(&relay).await;
    assert_eq!(client.text().await, frames[0]);
    assert_eq!(client.text().await, frames[3]);
    client.hears_nothing().await;
    for n in [0, 1, 3] {
        client.respond(&ids[n], &n.to_string()).await;
        client.acked(&ids[n]).await;
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(answer(call).await.text(), n.to_string());
    }
}

#[tokio::test]
async fn what_a_replaced_connection_did_not_ack_is_sent_on_the_newer_one() {
    let relay = relay().await;
    let mut older = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let first = older.text().await;
    let mut newer = Client::welcome(&relay).await;
    assert_eq!(newer.text().await, first);
    // The older one still answers before it goes: the ack comes on the current connection.
    older.respond(&id_of(&first), "9").await;
    newer.acked(&id_of(&first)).await;
    assert_eq!(answer(call).await.body, "9");
}

// PROTOCOL §3.1: wait briefly for it to reconnect
#[tokio::test]
async fn a_request_waits_for_a_client_that_was_there_before() {
    let relay = relay().await;
    let client = Client::welcome(&relay).await;
    lose(client, &relay).await;
    let call = call(&relay, CHAT, "{}");
    let mut client = Client::welcome(&relay).await;
    let id = client.request().await;
    client.respond(&id, "{}").await;
    assert_eq!(answer(call).await.status, 200);
}

// PROTOCOL §3.1: wait briefly for it to reconnect
#[tokio::test]
async fn a_client_that_does_not_come_back_is_503() {
    let relay = relay_with(|options| options.reconnect_wait = SOON).await;
    let client = Client::welcome(&relay).await;
    lose(client, &relay).await;
    let reply = answer(call(&relay, CHAT, "{}")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.error_code().as_str()),
        (503, "client_away")
    );
    assert_eq!(slot(&relay).pending(), 0);
}

#[tokio::test]
async fn a_cut_leaves_the_client_without_a_close_frame() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    slot(&relay).cut();
    assert!(matches!(client.next().await, Some(Err(_)) | None));
    slot(&relay).disconnected(PATIENCE).await.unwrap();
    assert_eq!(relay.journal().closes(), [None]);
}

// PROTOCOL §2.5, §3.1: 4003 (rotation)
#[tokio::test]
async fn at_its_age_a_connection_is_closed_with_4003() {
    let relay = relay_with(|options| options.rotate_after = Some(SOON)).await;
    let mut client = Client::welcome(&relay).await;
    assert_eq!(client.closed().await.0, 4003);
}

#[tokio::test]
async fn requests_carry_over_a_rotation() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let acked = call(&relay, CHAT, "1");
    let id = client.request().await;
    client.ack(&id).await;
    client.hears_nothing().await;
    slot(&relay).close(4003, "rotation");
    assert_eq!(client.closed().await.0, 4003);
    // Asked in between: it waits for the next connection.
    let waiting = call(&relay, CHAT, "2");
    let mut client = Client::welcome(&relay).await;
    let next = client.request().await;
    assert_ne!(next, id, "what was acked is not sent again");
    client.respond(&id, "11").await;
    client.respond(&next, "22").await;
    assert_eq!(answer(acked).await.body, "11");
    assert_eq!(answer(waiting).await.body, "22");
}

#[tokio::test]
async fn a_killed_relay_forgets_its_callers_and_serves_again_on_the_same_ports() {
    let mut relay = relay().await;
    let (public, internal) = (relay.public(), relay.internal());
    let mut client = Client::welcome(&relay).await;
    let lost = call(&relay, CHAT, "{}");
    client.request().await;
    relay.kill().await;
    assert!(matches!(client.next().await, Some(Err(_)) | None), "no close frame");
    assert!(
        tokio::time::timeout(PATIENCE, lost).await.unwrap().unwrap().is_err(),
        "the caller hears nothing either"
    );

    relay.restart().await.unwrap();
    assert_eq!((relay.public(), relay.internal()), (public, internal));
    // A new process knows of no client yet.
    assert_eq!(
        answer(call(&relay, CHAT, "{}")).await.error_code(),
        "client_never_connected"
    );
    let mut client = Client::welcome(&relay).await;
    client.hears_nothing().await;
    relay.connected(2, PATIENCE).await.unwrap();
    let connects = relay.journal().entries();
    assert_eq!(
        connects
            .iter()
            .filter(|entry| matches!(entry.event, Event::Connected(_)))
            .count(),
        2
    );
}

fn id_of(frame: &str) -> String {
    let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
    frame["request_id"].as_str().unwrap().to_owned()
}
