//! Promises of `include_usage: true`: tokens of streams whose clients do not ask for them, and streams as if nobody had.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use e2e::model::{Behaviour, Model};
use e2e::world::Gateway;
use e2e::world::http::Reply;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn start() -> (Gateway, Model) {
    let model = Model::start().await.unwrap();
    (gateway(model.address()).await, model)
}

async fn gateway(model: SocketAddr) -> Gateway {
    let trailers = "stat_prefix: models\n          http_protocol_options: { enable_trailers: true }";
    let edits = [
        ("value: {}", "value: { include_usage: true, max_request_bytes: 4096 }"),
        ("stat_prefix: models", trailers),
        ("type: STATIC\n    connect", UPSTREAM_TRAILERS),
    ];
    Gateway::start("usage-filter.yaml", model, &edits).await.unwrap()
}

const UPSTREAM_TRAILERS: &str = r#"type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http_protocol_options: { enable_trailers: true } }
    connect"#;

const PATH: &str = "/v1/chat/completions";

fn streamed(model: &str, words: usize) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": vec!["word"; words].join(" ")}]})
}

/// The JSON of each event, and whether the last one is `[DONE]`.
fn chunks(text: &str) -> (Vec<Value>, bool) {
    let data: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let chunks = data.iter().filter_map(|data| serde_json::from_str(data).ok());
    (chunks.collect(), data.last() == Some(&"[DONE]"))
}

fn usages(reply: &Reply) -> usize {
    let (chunks, done) = chunks(&reply.text());
    assert!(done && chunks.len() > 2, "{}", reply.text());
    chunks.iter().filter(|chunk| chunk["usage"].is_object()).count()
}

async fn result(gateway: &Gateway, result: &str, count: f64) {
    let series = format!("envoy_spectral_bridge_gen_ai_include_usage_total{{result=\"{result}\"}}");
    gateway.envoy.series_becomes(&series, count).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_was_not_asked_for_usage_is_counted_and_shows_none() {
    let (mut gateway, model) = start().await;
    for (number, behaviour) in ["demo", "crlf", "pace-5ms"].into_iter().enumerate() {
        let id = format!("silent-{number}");
        let asked = streamed(behaviour, 6);
        let reply = gateway.post(&id, PATH, asked.to_string()).await.unwrap();
        assert_eq!(usages(&reply), 0, "{}", reply.text());
        let seen: Value = serde_json::from_slice(&model.ledger().last().unwrap().body).unwrap();
        assert_eq!(seen["stream_options"], json!({"include_usage": true}));
        assert_eq!(seen["messages"], asked["messages"]);
        let line = gateway.logged(&id).await.unwrap();
        assert_eq!(
            (&line["input_tokens"], &line["output_tokens"], &line["usage_missing"]),
            (&json!(6), &json!(8), &Value::Null),
            "{line}"
        );
    }
    result(&gateway, "added", 3.0).await;
}

#[tokio::test]
async fn who_asks_gets_it_and_who_wants_no_stream_is_left_alone() {
    let (gateway, model) = start().await;
    let mut asking = streamed("demo", 4);
    asking["stream_options"] = json!({"include_usage": true});
    let reply = gateway.post("asks", PATH, asking.to_string()).await.unwrap();
    assert_eq!(usages(&reply), 1);
    let odd = r#"{ "model":"demo" , "n":1.10,"messages":[{"role":"user","content":"Grüße"}] }"#;
    let reply = gateway.post("whole", PATH, odd).await.unwrap();
    assert_eq!(model.ledger().last().unwrap().body, odd.as_bytes());
    assert_eq!(Some(reply.body), model.ledger().last().unwrap().answer);
}

#[tokio::test]
async fn what_is_too_large_or_no_json_passes_as_it_came() {
    let (gateway, model) = start().await;
    let large = streamed("demo", 1000).to_string();
    let reply = gateway.post("large", PATH, large.clone()).await.unwrap();
    assert_eq!((reply.status, usages(&reply)), (StatusCode::OK, 0));
    assert_eq!(model.ledger().last().unwrap().body, large.as_bytes());
    let broken = r#"{"stream":true"#;
    let reply = gateway.post("broken", PATH, broken).await.unwrap();
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(model.ledger().last().unwrap().body, broken.as_bytes());
    result(&gateway, "unreadable", 1.0).await;
}

/// Sends a body in chunks, one after the other, and gives the whole answer.
async fn send_in_chunks(gateway: &Gateway, id: &str, body: &str, chunk: usize, trailer: &str) -> String {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-type: application/json\r\nx-request-id: {id}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(chunk) {
        socket
            .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
            .await
            .unwrap();
        socket.write_all(piece).await.unwrap();
        socket.write_all(b"\r\n").await.unwrap();
        socket.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    socket
        .write_all(format!("0\r\n{trailer}\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_in_pieces_is_made_to_ask_within_the_bound() {
    let (mut gateway, model) = start().await;
    for (id, words, trailer, asks) in [
        ("pieces", 20, "", true),
        ("trailers", 20, "x-checksum: 1\r\n", true),
        ("too-large", 2000, "", false),
    ] {
        let body = streamed("demo", words).to_string();
        let answer = send_in_chunks(&gateway, id, &body, 37, trailer).await;
        assert!(answer.contains("200 OK") && answer.contains("[DONE]"), "{answer}");
        assert!(!answer.contains("\"total_tokens\""), "{answer}");
        let seen = model.ledger().last().unwrap().body;
        assert_eq!(seen != body.as_bytes(), asks, "{id}");
        let line = gateway.logged(id).await.unwrap();
        assert_eq!(line["input_tokens"].is_number(), asks, "{line}");
    }
    result(&gateway, "added", 2.0).await;
    result(&gateway, "too_large", 1.0).await;
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let (gateway, model) = start().await;
    model.always(Some(Behaviour::Pace(Duration::from_secs(1))));
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let body = streamed("demo", 3).to_string();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut piece = [0; 4096];
    while !seen.contains("You") {
        let length = socket.read(&mut piece).await.unwrap();
        seen += std::str::from_utf8(&piece[..length]).unwrap();
    }
    assert!(!seen.contains("said"), "the first words came with the rest: {seen}");
}

/// Reads until `needle` has come.
async fn read_until(socket: &mut TcpStream, needle: &str) -> String {
    let mut seen = String::new();
    let mut piece = [0; 4096];
    while !seen.contains(needle) {
        let length = socket.read(&mut piece).await.unwrap();
        assert_ne!(length, 0, "it ended without `{needle}`: {seen}");
        seen += std::str::from_utf8(&piece[..length]).unwrap();
    }
    seen
}

#[tokio::test]
async fn events_in_pieces_arrive_whole_and_the_usage_is_left_out() {
    let model = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut gateway = gateway(model.local_addr().unwrap()).await;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let word = r#"{"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}],"usage":null}"#;
    let stream = format!("data: {word}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    let serve = async {
        let mut socket = model.accept().await.unwrap().0;
        read_until(&mut socket, "\"include_usage\":true").await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        for piece in stream.as_bytes().chunks(7) {
            socket.write_all(piece).await.unwrap();
            // each piece reaches the hook by itself
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let body = streamed("m", 1).to_string();
    let ((), reply) = tokio::join!(serve, gateway.post("halves", PATH, body));
    assert_eq!(reply.unwrap().text(), format!("data: {word}\n\ndata: [DONE]\n\n"));
    let line = gateway.logged("halves").await.unwrap();
    assert_eq!(
        (&line["total_tokens"], &line["usage_missing"]),
        (&json!(4), &Value::Null),
        "{line}"
    );
}

#[tokio::test]
async fn an_event_that_only_trailers_end_arrives_before_them() {
    let model = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gateway = gateway(model.local_addr().unwrap()).await;
    let serve = async {
        let mut socket = model.accept().await.unwrap().0;
        read_until(&mut socket, "\"include_usage\":true").await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let body = "16\r\ndata: 1\n\ndata: [DONE]\n\r\n0\r\nx-checksum: 1\r\n\r\n";
        socket.write_all([head, body].concat().as_bytes()).await.unwrap();
        // until the client has it all
        let _ = socket.read(&mut [0]).await;
    };
    let body = streamed("m", 1).to_string();
    let ask = send_in_chunks(&gateway, "trailers", &body, 1000, "");
    let answer = tokio::select! {
        answer = ask => answer,
        () = serve => panic!("the model's connection ended first"),
    };
    let (events, trailers) = answer.split_once("data: [DONE]\n").unwrap();
    assert!(events.contains("data: 1\n\n"), "{answer}");
    assert!(trailers.contains("x-checksum: 1"), "{answer}");
}
