//! PROTOCOL §3.1 "Request forwarding": frames down, answers up, and what callers get when there is no client.

use e2e::relay::Hello;
use e2e::world::http::{self, send};
use hyper::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, SOON};
use crate::{CHAT, PATIENCE, answer, call, relay, relay_with, slot};
use futures_util::SinkExt;

const EXACT: &str = include_str!("../../fixtures/frames/body.json");

// PROTOCOL §3.1: push request frames to the active connection
#[tokio::test]
async fn a_body_crosses_byte_for_byte_in_both_directions() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, EXACT);
    let frame = client.text().await;
    assert!(frame.ends_with(&format!(r#","body":{EXACT}}}}}"#)), "{frame}");
    let id = serde_json::from_str::<Value>(&frame).unwrap()["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    client.respond(&id, EXACT).await;
    let reply = answer(call).await;
    assert_eq!(reply.body, EXACT);
    assert_eq!(reply.headers["content-length"], EXACT.len().to_string());
}

// PROTOCOL §2.2: the request id is assigned by the server
// PROTOCOL §3.2: a single endpoint for callers
#[tokio::test]
async fn a_request_frame_has_exactly_the_fields_of_the_text() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    for path in [CHAT, "/v1/responses"] {
        let call = call(&relay, path, r#"{"input":"hello"}"#);
        let frame = client.json().await;
        let id = frame["request_id"].as_str().unwrap().to_owned();
        let payload = json!({
            "method": "POST",
            "path": path,
            "headers": {"content-type": "application/json"},
            "body": {"input": "hello"},
        });
        assert_eq!(frame, json!({"type": "request", "request_id": id, "payload": payload}));
        client.respond(&id, "{}").await;
        client.acked(&id).await;
        assert_eq!(answer(call).await.status, 200);
    }
}

#[tokio::test]
async fn a_callers_end_to_end_headers_cross_and_its_connections_own_do_not() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let url = relay.url(CHAT);
    let call = tokio::spawn(async move {
        let headers = [
            ("content-type", "application/json; charset=utf-8"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
            ("x-request-id", "abc"),
            ("x-relay-test-odd", "quote\" and \\"),
            ("authorization", "Bearer platform"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
        ];
        send(Method::POST, &url, &headers, "{}").await
    });
    let frame = client.json().await;
    let seen = frame["payload"]["headers"].clone();
    let expected = json!({
        "content-type": "application/json; charset=utf-8",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1, b=2",
        "x-request-id": "abc",
        "x-relay-test-odd": "quote\" and \\",
    });
    assert_eq!(seen, expected);
    client.respond(frame["request_id"].as_str().unwrap(), "{}").await;
    answer(call).await;
}

#[tokio::test]
async fn status_and_headers_of_the_response_frame_reach_the_caller() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    let headers = json!({
        "content-type": "application/problem+json", "x-model": "m", "content-length": "1", "connection": "close",
        "bad name": "x", "x-number": 1,
    });
    let payload = json!({"status": 418, "headers": headers, "body": ["no", "coffee"]});
    client
        .send(json!({"type": "response", "request_id": id, "payload": payload}).to_string())
        .await;
    let reply = answer(call).await;
    assert_eq!(
        (reply.status.as_u16(), reply.text().as_str()),
        (418, r#"["no","coffee"]"#)
    );
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.headers["x-model"], "m");
    assert!(!reply.headers.contains_key("connection") && !reply.headers.contains_key("x-number"));
}

// PROTOCOL §2.2, §2.3: responses in any order, matched by request_id
#[tokio::test]
async fn answers_in_any_order_find_their_callers() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let calls: Vec<_> = (0..100).map(|n| (n, call(&relay, CHAT, format!("{n}")))).collect();
    let mut asked = Vec::new();
    for _ in &calls {
        let frame = client.json().await;
        asked.push((
            frame["request_id"].as_str().unwrap().to_owned(),
            frame["payload"]["body"].clone(),
        ));
    }
    for (id, body) in asked.iter().rev() {
        client.respond(id, &body.to_string()).await;
    }
    for (n, call) in calls {
        assert_eq!(answer(call).await.text(), n.to_string());
    }
    assert_eq!(slot(&relay).pending(), 0);
}

// PROTOCOL §2.2: acks every response; an ack is never itself acknowledged
// PROTOCOL §3.1: ack every response
// PROTOCOL §2.5: a response for a request already completed is acked and ignored
#[tokio::test]
async fn every_response_is_acked_also_twice_and_for_nobody() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    client.respond(&id, "1").await;
    client.acked(&id).await;
    client.respond(&id, "2").await;
    client.acked(&id).await;
    client.respond("never \"asked\"", "3").await;
    client.acked("never \"asked\"").await;
    assert_eq!(answer(call).await.body, "1");
    assert_eq!(
        relay.journal().responses(),
        [id.as_str(), id.as_str(), "never \"asked\""]
    );
}

#[tokio::test]
async fn acks_can_be_withheld_and_requests_repeated() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    slot(&relay).withhold_acks(true);
    let call = call(&relay, CHAT, "{}");
    let first = client.text().await;
    let id = serde_json::from_str::<Value>(&first).unwrap()["request_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(slot(&relay).send_again(&id));
    assert_eq!(client.text().await, first);
    client.respond(&id, "{}").await;
    answer(call).await;
    client.hears_nothing().await;
}

// PROTOCOL §2.2: a frame of an unknown type or that isn't a JSON object is ignored
#[tokio::test]
async fn frames_without_meaning_change_nothing() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    for frame in [
        "",
        "{",
        "[]",
        "7",
        "null",
        r#"{"type":"dance"}"#,
        r#"{"type":7,"request_id":"x"}"#,
    ] {
        client.send(frame).await;
    }
    client.socket.send(Message::binary(&b"{}"[..])).await.unwrap();
    client.hears_nothing().await;
    client.respond(&id, "{}").await;
    client.acked(&id).await;
    assert_eq!(answer(call).await.status, 200);
}

#[tokio::test]
async fn an_unreadable_response_is_acked_and_told_as_502() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    for payload in [
        r#"{"status":"200","body":{}}"#,
        r#"{"status":200}"#,
        r#"{"status":42,"body":{}}"#,
        "null",
    ] {
        let call = call(&relay, CHAT, "{}");
        let id = client.request().await;
        client
            .send(format!(
                r#"{{"type":"response","request_id":"{id}","payload":{payload}}}"#
            ))
            .await;
        client.acked(&id).await;
        let reply = answer(call).await;
        assert_eq!(
            (reply.status.as_u16(), reply.error_code().as_str()),
            (502, "unreadable_response"),
            "{payload}"
        );
    }
}

// PROTOCOL §3.1: no client has connected yet
#[tokio::test]
async fn without_any_client_yet_the_caller_hears_503_at_once() {
    // A reconnect that would be waited for far longer than the test runs.
    let relay = relay_with(|options| options.reconnect_wait = PATIENCE * 100).await;
    let reply = answer(call(&relay, CHAT, "{}")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.error_code().as_str()),
        (503, "client_never_connected")
    );
}

// PROTOCOL §3.1: no response within the server's timeout
#[tokio::test]
async fn a_request_nobody_answers_is_504_and_its_late_response_is_acked() {
    let relay = relay_with(|options| options.request_timeout = SOON).await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    client.ack(&id).await;
    let reply = answer(call).await;
    assert_eq!(
        (reply.status.as_u16(), reply.error_code().as_str()),
        (504, "client_timeout")
    );
    client.respond(&id, "{}").await;
    client.acked(&id).await;
}

#[tokio::test]
async fn a_caller_that_leaves_is_forgotten() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    assert_eq!(slot(&relay).pending(), 1);
    call.abort();
    let forgotten = || async { (slot(&relay).pending() == 0).then_some(()) };
    e2e::world::eventually("the request is forgotten", PATIENCE, forgotten)
        .await
        .unwrap();
    client.respond(&id, "{}").await;
    client.acked(&id).await;
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400_and_never_sent() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    for body in [&b"{"[..], b"{} {}", b"hello", b"\"\xff\""] {
        assert_eq!(answer(call(&relay, CHAT, body)).await.status, 400, "{body:?}");
    }
    client.hears_nothing().await;
}

// PROTOCOL §2.1, §3.1: a confirmation frame before any request frames
#[tokio::test]
async fn no_request_precedes_the_first_frame() {
    let relay = relay_with(|options| options.hello = Hello::Text("first".to_owned())).await;
    let waiting = relay_with(|options| options.reconnect_wait = PATIENCE).await;
    // A caller waits for the client to come back; its request must still come after the connected frame.
    drop(Client::welcome(&waiting).await);
    slot(&waiting).disconnected(PATIENCE).await.unwrap();
    let call = call(&waiting, CHAT, "{}");
    let mut client = Client::welcome(&waiting).await;
    let id = client.request().await;
    client.respond(&id, "{}").await;
    assert_eq!(answer(call).await.status, 200);

    let url = relay.url(CHAT);
    let headers = [("authorization", "Bearer the-key"), ("spectral-bridge-protocol", "2")];
    let mut client = Client::connect(&relay, &headers).await.unwrap();
    assert_eq!(client.text().await, "first");
    let call = tokio::spawn(async move { http::post(&url, "{}").await });
    let id = client.request().await;
    client.respond(&id, "{}").await;
    assert_eq!(answer(call).await.status, 200);
}
