//! PROTOCOL §2.6 and §3.1: who says goodbye, and what becomes of the pending requests.

use crate::client::Client;
use crate::{CHAT, PATIENCE, answer, call, relay, slot};

// PROTOCOL §2.6, §3.1: 1001
#[tokio::test]
async fn a_clients_1001_fails_its_pending_requests_at_once() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let acked = call(&relay, CHAT, "1");
    let id = client.request().await;
    client.ack(&id).await;
    let unacked = call(&relay, CHAT, "2");
    client.request().await;
    client.close(1001).await;
    for call in [acked, unacked] {
        let reply = answer(call).await;
        assert_eq!(
            (reply.status.as_u16(), reply.error_code().as_str()),
            (503, "client_gone")
        );
    }
    slot(&relay).disconnected(PATIENCE).await.unwrap();
    assert_eq!(relay.journal().closes(), [Some(1001)]);
}

#[tokio::test]
async fn an_answer_sent_before_the_1001_still_counts() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "1");
    let id = client.request().await;
    client.respond(&id, "1").await;
    client.close(1001).await;
    assert_eq!(answer(call).await.status, 200);
}

// PROTOCOL §2.6, §3.1: 1001
#[tokio::test]
async fn a_1001_from_a_replaced_connection_fails_nothing() {
    let relay = relay().await;
    let mut older = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = older.request().await;
    older.ack(&id).await;
    older.hears_nothing().await;
    let mut newer = Client::welcome(&relay).await;
    // Not reading the relay's close frame, so that this one is the client's own.
    older.close(1001).await;
    let closed = |entries: &[e2e::relay::Entry]| {
        entries
            .iter()
            .find(|entry| matches!(entry.event, e2e::relay::Event::Closed(_)))
            .map(drop)
    };
    relay.journal().wait(PATIENCE, closed).await.unwrap();
    newer.respond(&id, "3").await;
    assert_eq!(answer(call).await.body, "3");
}

#[tokio::test]
async fn any_other_close_leaves_requests_pending() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    client.ack(&id).await;
    client.close(1000).await;
    slot(&relay).disconnected(PATIENCE).await.unwrap();
    assert_eq!(slot(&relay).pending(), 1);
    let mut client = Client::welcome(&relay).await;
    client.respond(&id, "{}").await;
    assert_eq!(answer(call).await.status, 200);
}

// PROTOCOL §3.1: 1012, and the pending requests fail straight away
#[tokio::test]
async fn a_relay_that_stops_closes_with_1012_and_fails_what_is_pending() {
    let mut relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    client.request().await;
    let (closed, ()) = tokio::join!(
        async {
            let closed = client.closed().await;
            // Reading on answers the close.
            assert!(client.next().await.is_none());
            closed
        },
        relay.shutdown()
    );
    assert_eq!(closed.0, 1012);
    let reply = answer(call).await;
    assert_eq!(
        (reply.status.as_u16(), reply.error_code().as_str()),
        (503, "relay_stopping")
    );
    relay.restart().await.unwrap();
    Client::welcome(&relay).await.hears_nothing().await;
}
