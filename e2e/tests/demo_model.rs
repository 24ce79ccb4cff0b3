//! The demo model: what it answers, what it counts, and that it misbehaves exactly as told.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Read;

use e2e::model::{Behaviour, Exact, Model, ModelOptions};
use e2e::world::http::{self, Reply, send};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHAT: &str = "/v1/chat/completions";

async fn ask(model: &Model, name: &str) -> e2e::failed::Result<Reply> {
    let body = json!({"model": name, "messages": [{"role": "user", "content": "two words"}]});
    http::post(&model.url(CHAT), body.to_string()).await
}

/// The data of each event of a stream.
fn events(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    let text = reply.text();
    let data = |event: &str| {
        event
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap()
            .to_owned()
    };
    text.split_terminator("\n\n").map(data).collect()
}

// PROTOCOL §1: one or both endpoints; the completion object
// PROTOCOL 0.1.2 §1: must implement this endpoint
#[tokio::test]
async fn a_chat_completion_repeats_what_was_said_and_counts_its_words() {
    let model = Model::start().await.unwrap();
    let body = json!({
        "model": "any",
        "messages": [
            {"role": "system", "content": "be brief please"},
            {"role": "user", "content": [{"type": "text", "text": "hello there  world"}]},
        ],
    });
    let reply = http::post(&model.url(CHAT), body.to_string()).await.unwrap();
    assert_eq!(reply.headers["content-type"], "application/json");
    let answer = reply.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        "You said: hello there  world"
    );
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(6), &json!(5))
    );
    assert_eq!(usage["total_tokens"], 11);
}

// PROTOCOL §1: the Responses body
#[tokio::test]
async fn a_response_does_the_same_in_its_own_shape() {
    let model = Model::start().await.unwrap();
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "hello there"}]}]);
    for (input, instructions) in [(json!("hello there"), 0), (input, 2)] {
        let mut body = json!({"input": input});
        if instructions > 0 {
            body["instructions"] = json!("be brief");
        }
        let answer = http::post(&model.url("/v1/responses"), body.to_string())
            .await
            .unwrap()
            .json();
        assert_eq!(answer["output"][0]["content"][0]["text"], "You said: hello there");
        let usage = json!({
            "input_tokens": 2 + instructions, "input_tokens_details": {"cached_tokens": (2 + instructions) / 2},
            "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 6 + instructions,
        });
        assert_eq!(answer["usage"], usage);
    }
}

#[tokio::test]
async fn a_chat_stream_ends_with_done_and_has_usage_only_when_asked() {
    let model = Model::start().await.unwrap();
    for include_usage in [false, true] {
        let body = json!({
            "messages": [{"role": "user", "content": "a b"}],
            "stream": true,
            "stream_options": {"include_usage": include_usage},
        });
        let reply = http::post(&model.url(CHAT), body.to_string()).await.unwrap();
        let mut events = events(&reply);
        assert_eq!(events.pop().unwrap(), "[DONE]");
        let chunks: Vec<Value> = events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect();
        let said = chunks
            .iter()
            .filter_map(|chunk| chunk.pointer("/choices/0/delta/content")?.as_str());
        assert_eq!(said.collect::<String>(), "You said: a b");
        let usages: Vec<_> = chunks
            .iter()
            .filter_map(|chunk| chunk["usage"]["total_tokens"].as_u64())
            .collect();
        assert_eq!(usages, if include_usage { vec![6] } else { vec![] });
    }
}

#[tokio::test]
async fn a_response_stream_is_numbered_and_completes_with_usage() {
    let model = Model::start().await.unwrap();
    let reply = http::post(&model.url("/v1/responses"), r#"{"input":"a b","stream":true}"#)
        .await
        .unwrap();
    let events: Vec<Value> = events(&reply)
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    assert_eq!(events[0]["type"], "response.created");
    let said = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta");
    assert_eq!(
        said.map(|event| event["delta"].as_str().unwrap()).collect::<String>(),
        "You said: a b"
    );
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["usage"]["total_tokens"], 6);
}

#[tokio::test]
async fn the_ledger_holds_every_request_to_the_byte_with_its_answer() {
    let model = Model::start().await.unwrap();
    let body = r#"{ "model":"x", "messages":[], "n": 123456789012345678901234567890 }"#;
    let headers = [
        ("x-spectral-bridge-request-id", "req-7"),
        ("content-type", "application/json"),
    ];
    let reply = send(Method::POST, &model.url("/v1/chat/completions"), &headers, body)
        .await
        .unwrap();
    let seen = model.ledger().last().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", CHAT));
    assert_eq!(
        (seen.relayed_id(), seen.header("content-type")),
        (Some("req-7"), Some("application/json"))
    );
    assert_eq!(seen.body, body);
    assert_eq!(seen.answer, Some(reply.body));
    http::get(&model.url("/health")).await.unwrap();
    assert_eq!(model.ledger().count(), 1, "health checks are no requests");
}

// PROTOCOL §1: a standard HTTP error status with an error object
#[tokio::test]
async fn failures_are_answered_as_the_model_name_says() {
    let model = Model::start().await.unwrap();
    for (name, status, content_type) in [
        ("status-500", 500, "application/json"),
        ("status-503", 503, "application/json"),
        ("html-200", 200, "text/html; charset=utf-8"),
        ("html-500", 500, "text/html; charset=utf-8"),
        ("nan", 200, "application/json"),
        ("sse", 200, "text/event-stream"),
    ] {
        let reply = ask(&model, name).await.unwrap();
        assert_eq!(reply.status.as_u16(), status, "{name}");
        assert_eq!(reply.headers["content-type"], content_type, "{name}");
        let is_json = serde_json::from_slice::<Value>(&reply.body).is_ok();
        assert_eq!(is_json, name.starts_with("status"), "{name}: {}", reply.text());
    }
}

#[tokio::test]
async fn an_answer_can_have_exactly_15_mib() {
    let model = Model::start().await.unwrap();
    for size in [1000, 15 * 1024 * 1024] {
        let reply = ask(&model, &format!("bytes-{size}")).await.unwrap();
        assert_eq!(reply.body.len(), size);
        assert_eq!(reply.json()["usage"]["completion_tokens"], 1);
    }
}

#[tokio::test]
async fn a_gzip_answer_unpacks_to_json() {
    let model = Model::start().await.unwrap();
    let reply = ask(&model, "gzip").await.unwrap();
    assert_eq!(reply.headers["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&reply.body[..])
        .read_to_string(&mut text)
        .unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "You said: two words");
}

#[tokio::test]
async fn a_chunked_answer_has_no_length() {
    let model = Model::start().await.unwrap();
    let reply = ask(&model, "chunked").await.unwrap();
    assert_eq!(reply.headers["transfer-encoding"], "chunked");
    assert!(!reply.headers.contains_key("content-length"));
    assert_eq!(Some(reply.body), model.ledger().last().unwrap().answer);
}

#[tokio::test]
async fn hanging_up_happens_after_the_request_or_in_the_middle() {
    let model = Model::start().await.unwrap();
    for (name, begins) in [("close-after-request", false), ("close-mid-answer", true)] {
        let mut socket = TcpStream::connect(model.address()).await.unwrap();
        let body = json!({"model": name}).to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).await.unwrap();
        let mut seen = String::new();
        socket.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen.starts_with("HTTP/1.1 200"), begins, "{name}: {seen}");
        assert!(
            !seen.contains("usage"),
            "{name}: the end of the answer must be missing: {seen}"
        );
        assert!(ask(&model, name).await.is_err(), "{name}");
    }
    assert_eq!(model.ledger().count(), 4);
}

#[tokio::test]
async fn a_test_can_tell_the_model_what_to_do() {
    let model = Model::start().await.unwrap();
    let exact = |body: &'static str| Behaviour::Exact(Exact::json(StatusCode::OK, body));
    model.always(Some(exact("1")));
    model.next(exact("2"));
    model.next(exact("3"));
    for expected in ["2", "3", "1", "1"] {
        assert_eq!(ask(&model, "status-500").await.unwrap().body, expected);
    }
    model.always(None);
    assert_eq!(ask(&model, "status-500").await.unwrap().status, 500);
}

#[tokio::test]
async fn a_key_is_demanded_when_there_is_one() {
    let options = ModelOptions {
        key: Some("model-key".to_owned()),
        ..ModelOptions::default()
    };
    let model = Model::start_with(options).await.unwrap();
    for (authorization, status) in [
        ("", 401),
        ("Bearer wrong", 401),
        ("model-key", 401),
        ("Bearer model-key", 200),
    ] {
        let headers = [("authorization", authorization)];
        let reply = send(Method::GET, &model.url("/v1/models"), &headers, "").await.unwrap();
        assert_eq!(reply.status.as_u16(), status, "{authorization}");
    }
}

#[tokio::test]
async fn other_endpoints_methods_and_bodies_are_refused() {
    let model = Model::start().await.unwrap();
    assert_eq!(
        http::get(&model.url("/v1/models")).await.unwrap().json()["data"][0]["id"],
        "demo"
    );
    assert_eq!(http::get(&model.url(CHAT)).await.unwrap().status, 405);
    assert_eq!(
        http::post(&model.url("/v1/moderations"), "{}").await.unwrap().status,
        404
    );
    assert_eq!(http::post(&model.url(CHAT), "[").await.unwrap().status, 400);
}

#[tokio::test]
async fn a_stopped_model_refuses_connections_and_returns_on_its_port() {
    let mut model = Model::start().await.unwrap();
    let address = model.address();
    model.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    model.restart().await.unwrap();
    assert_eq!(model.address(), address);
    assert_eq!(ask(&model, "x").await.unwrap().status, 200);
}
