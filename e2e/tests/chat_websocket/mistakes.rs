//! Clients and models that do not behave: each is told, and the connection stays where it can.

use e2e::model::{Behaviour, Exact, Model};
use futures_util::SinkExt;
use hyper::StatusCode;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::puppet::Puppet;
use super::{Chat, Plan, ask, assert_error};

#[tokio::test]
async fn invalid_messages_of_every_kind_are_answered_and_the_connection_stays() {
    let (chat, model) = Chat::with_model().await;
    let mut client = chat.dial().await;
    let user = json!([{"role": "user", "content": "x"}]);
    for (text, code, param) in [
        ("hello".to_owned(), "invalid_json", None),
        (String::new(), "invalid_json", None),
        ("{\"messages\": [".to_owned(), "invalid_json", None),
        ("[".repeat(100_000), "invalid_json", None),
        ("[]".to_owned(), "invalid_request", None),
        ("null".to_owned(), "invalid_request", None),
        ("{}".to_owned(), "invalid_request", Some("messages")),
        (
            json!({"messages": "x"}).to_string(),
            "invalid_request",
            Some("messages"),
        ),
        (json!({"messages": []}).to_string(), "invalid_request", Some("messages")),
        (
            json!({"messages": [1]}).to_string(),
            "invalid_request",
            Some("messages[0]"),
        ),
        (
            json!({"messages": [{"content": "x"}]}).to_string(),
            "invalid_request",
            Some("messages[0].role"),
        ),
        (
            json!({"messages": user, "model": 1}).to_string(),
            "invalid_request",
            Some("model"),
        ),
        (
            json!({"messages": user, "temperature": "1"}).to_string(),
            "invalid_request",
            Some("temperature"),
        ),
        (
            json!({"messages": user, "type": "x"}).to_string(),
            "invalid_request",
            Some("type"),
        ),
        (
            json!({"messages": user, "id": {}}).to_string(),
            "invalid_request",
            Some("id"),
        ),
        (
            r#"{"messages":[{"role":"user"}],"model":"a","model":"b"}"#.to_owned(),
            "invalid_request",
            Some("model"),
        ),
    ] {
        client.socket.send(Message::text(text)).await.unwrap();
        let error = client.hears().await;
        assert_error(&error, 400, code, "bridge");
        assert_eq!(error["param"].as_str(), param, "{error}");
    }
    client.socket.send(Message::binary(vec![0; 1000])).await.unwrap();
    assert_error(&client.hears().await, 400, "binary_message", "bridge");
    assert_eq!(model.ledger().count(), 0);
    client.still_answers().await;
    chat.becomes(
        "/totals/refused_messages",
        json!({"invalid_json": 4, "invalid_request": 12, "binary_message": 1}),
    )
    .await;
}

#[tokio::test]
async fn a_large_message_is_refused_and_one_beyond_the_protocols_limit_ends_the_connection() {
    let model = Model::start().await.unwrap();
    let chat = Plan::new()
        .edit("# max_message_bytes: 1048576", "max_message_bytes: 10000 #")
        .serving(model.address())
        .await;
    let mut client = chat.dial().await;
    client.say(ask("demo", &"x".repeat(11_000))).await;
    assert_error(&client.hears().await, 413, "message_too_large", "bridge");
    client.still_answers().await;
    // what it says after the refusal is read and thrown away, so that it can hear why
    client.say(ask("demo", &"x".repeat(30_000))).await;
    assert_eq!(client.hears_close().await, Some(1009));
    let mut client = chat.dial().await;
    let half = "x".repeat(15_000);
    for frame in [fragment(&half, true, false), fragment(&half, false, true)] {
        client.socket.get_mut().write_all(&frame).await.unwrap();
    }
    assert_eq!(client.hears_close().await, Some(1009), "in fragments, too");
    chat.becomes("/totals/ended_sessions", json!({"too_large": 2})).await;
    chat.becomes("/sessions", json!(0)).await;
}

/// A masked text frame, or a part of one.
fn fragment(text: &str, first: bool, last: bool) -> Vec<u8> {
    let mut frame = vec![u8::from(last) << 7 | u8::from(first), 0x80 | 126];
    frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

#[tokio::test]
async fn what_is_no_websocket_ends_the_connection_with_the_reason() {
    let (chat, _model) = Chat::with_model().await;
    for (what, bytes, code) in [
        ("text that is no UTF-8", vec![0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe], 1007),
        ("a frame without a mask", vec![0x81, 0x02, b'{', b'}'], 1002),
        ("reserved bits", vec![0xf1, 0x80, 0, 0, 0, 0], 1002),
        ("an unknown opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("a continuation of nothing", vec![0x80, 0x80, 0, 0, 0, 0], 1002),
    ] {
        let mut client = chat.dial().await;
        client.socket.get_mut().write_all(&bytes).await.unwrap();
        assert_eq!(client.hears_close().await, Some(code), "{what}");
    }
    chat.becomes("/totals/ended_sessions", json!({"not_utf8": 1, "protocol": 4}))
        .await;
    chat.dial().await.still_answers().await;
}

#[tokio::test]
async fn the_models_errors_are_its_own_and_those_on_the_way_are_not() {
    let (chat, mut model) = Chat::with_model().await;
    let mut client = chat.dial().await;
    let busy = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    model.next(Behaviour::Exact(Exact::json(StatusCode::TOO_MANY_REQUESTS, busy)));
    let (_, error) = client.turn(ask("demo", "x")).await;
    assert_error(&error, 429, "rate_limit_exceeded", "model");
    assert_eq!(error["message"], "slow down");
    for (name, status, code, origin) in [
        ("status-500", 500, "server_error", "model"),
        ("html-503", 503, "model_error", "model"),
        ("html-200", 502, "adapter_invalid_response", "bridge"),
        ("nan", 502, "adapter_invalid_response", "bridge"),
        ("gzip", 502, "adapter_invalid_response", "bridge"),
        ("close-after-request", 503, "adapter_unavailable", "bridge"),
    ] {
        let (said, error) = client.turn(ask(name, "x")).await;
        assert_error(&error, status, code, origin);
        assert_eq!(said, "", "{name}");
    }
    let (said, error) = client.turn(ask("close-mid-answer", "one two three four")).await;
    assert_error(&error, 503, "adapter_unavailable", "bridge");
    assert!(!said.is_empty(), "what came before the break is not lost");
    model.stop().await;
    let (_, error) = client.turn(ask("demo", "anybody there?")).await;
    assert_error(&error, 503, "adapter_unavailable", "bridge");
    model.restart().await.unwrap();
    client.still_answers().await;
    let ended =
        json!({"429": 1, "500": 1, "503": 1, "adapter_invalid_response": 3, "adapter_unavailable": 3, "done": 1});
    chat.becomes("/totals/ended_turns", ended).await;
}

#[tokio::test]
async fn odd_streams_are_read_as_far_as_they_make_sense() {
    let mut puppet = Puppet::start().await;
    let chat = Plan::new().serving(puppet.address()).await;
    let mut client = chat.dial().await;
    let ends = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for (pieces, said, end) in [
        // in any pieces, with comments, other line ends and another order of fields
        (
            vec![
                ": hi\r\n\r\nda",
                "ta: {\"choices\":[{\"delta\":",
                "{\"content\":\"\u{e4}b\"}}]}\r",
                "\n\r\n",
                ends,
            ],
            "\u{e4}b",
            "done",
        ),
        // without [DONE], as some servers end
        (
            vec!["data: {\"choices\":[{\"delta\":{\"content\":\"c\"}}]}\n\n", ends],
            "c",
            "done",
        ),
        // an end that is none
        (
            vec!["data: {\"choices\":[{\"delta\":{\"content\":\"d\"}}]}\n\n"],
            "d",
            "adapter_unavailable",
        ),
        (
            vec!["data: {\"error\":{\"message\":\"out of memory\",\"code\":507}}\n\n"],
            "",
            "507",
        ),
        (vec!["data: no json\n\n"], "", "adapter_invalid_response"),
        (vec![""], "", "adapter_unavailable"),
    ] {
        client.say(ask("demo", "x")).await;
        let mut line = puppet.asked().await;
        line.begins().await;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            line.chunk(piece).await;
        }
        line.stream.write_all(b"0\r\n\r\n").await.unwrap_or_default();
        let (heard, last) = client.answer().await;
        assert_eq!(heard, said, "{pieces:?}");
        let told = last["code"]
            .as_str()
            .filter(|_| last["origin"] == "bridge")
            .map(str::to_owned);
        let told = told.or_else(|| last["status"].as_u64().map(|status| status.to_string()));
        assert_eq!(told.as_deref().unwrap_or("done"), end, "{last}");
    }
    // a server that does not stream
    client.say(ask("demo", "x")).await;
    let whole = r#"{"model":"m","choices":[{"message":{"role":"assistant","content":"all at once"},"finish_reason":"stop"}],"usage":{"total_tokens":9}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        whole.len()
    );
    puppet.asked().await.write(head + whole).await;
    let (said, done) = client.answer().await;
    assert_eq!(
        (said.as_str(), &done["usage"]["total_tokens"]),
        ("all at once", &json!(9))
    );
}
