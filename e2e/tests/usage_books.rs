//! Promises of the filter `usage` about every API at once, WebSockets among them: its sums are the model's own books.

use e2e::model::{Api, Behaviour, Model, Reporting};
use e2e::world::Gateway;
use e2e::world::site::DEADLINE;
use futures_util::{SinkExt, StreamExt};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

async fn start() -> (Gateway, Model) {
    let model = Model::start().await.unwrap();
    let gateway = Gateway::start("usage-filter.yaml", model.address(), &[]).await.unwrap();
    (gateway, model)
}

/// Opens a WebSocket through the gateway, offering to compress it, as common clients do.
async fn dial(gateway: &Gateway, id: &str, target: &str) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{}{target}", gateway.address)
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("x-request-id", id.parse().unwrap());
    let offer = "permessage-deflate; client_max_window_bits".parse().unwrap();
    headers.insert("sec-websocket-extensions", offer);
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let (socket, answer) = client_async(request, socket).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    socket
}

/// Says `event` and hears everything up to the event `last`.
async fn turn(socket: &mut WebSocketStream<TcpStream>, event: Value, last: &str) {
    socket.send(Message::text(event.to_string())).await.unwrap();
    loop {
        let message = tokio::time::timeout(DEADLINE, socket.next()).await.unwrap();
        if let Message::Text(text) = message.unwrap().unwrap()
            && serde_json::from_str::<Value>(&text).unwrap()["type"] == last
        {
            return;
        }
    }
}

fn create(model: &str, input: &str) -> Value {
    json!({"type": "response.create", "model": model, "input": input})
}

/// The sums of the statistics are the model's books, once every stream is over.
async fn assert_books_agree(gateway: &Gateway, model: &Model) {
    gateway
        .envoy
        .series_becomes("envoy_spectral_bridge_gen_ai_streams_active", 0.0)
        .await
        .unwrap();
    let books = model.tokens();
    assert!(books.input > 0 && books.output > 0);
    for (name, label, told) in [
        ("tokens_total", "token_type=\"input\"", books.input),
        ("tokens_total", "token_type=\"output\"", books.output),
        ("token_details_total", "detail=\"cache_read\"", books.cached),
        ("token_details_total", "detail=\"cache_write\"", books.written),
        ("token_details_total", "detail=\"reasoning\"", books.reasoning),
    ] {
        let sum = gateway
            .envoy
            .sum(&format!("envoy_spectral_bridge_gen_ai_{name}"), label)
            .await
            .unwrap();
        assert_eq!(sum, told as f64, "{name} {label}");
    }
}

#[tokio::test]
async fn every_api_adds_up_to_the_models_own_books() {
    let (gateway, model) = start().await;
    let apis = [
        Api::Chat,
        Api::Completions,
        Api::Embeddings,
        Api::Responses,
        Api::Messages,
        Api::Ollama,
    ];
    for number in 0..60_usize {
        let api = apis[number % apis.len()];
        let said = vec!["word"; number + 8].join(" ");
        let behaviour = ["demo", "gzip", "chunked", "crlf", "continuous-usage"][number % 5];
        let stream = number % 4 < 2 && api != Api::Embeddings;
        let request = json!({
            "model": behaviour, "stream": stream, "stream_options": {"include_usage": true}, "max_tokens": 9,
            "messages": [{"role": "user", "content": said}], "input": said, "prompt": said,
        });
        let reply = gateway
            .post(&format!("books-{number}"), api.path(), request.to_string())
            .await
            .unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{api:?} {behaviour}: {}", reply.text());
    }
    assert_books_agree(&gateway, &model).await;
    let missing = gateway.envoy.admin("/stats?filter=usage_missing").await.unwrap().text();
    assert_eq!(missing, "", "nothing was missing");
}

#[tokio::test]
async fn a_websocket_is_read_in_place_turn_by_turn() {
    let (mut gateway, model) = start().await;
    let mut socket = dial(&gateway, "socket", "/v1/responses").await;
    for (number, name) in ["demo", "fragmented", "demo"].into_iter().enumerate() {
        let said = vec!["word"; number + 3].join(" ");
        turn(&mut socket, create(name, &said), "response.completed").await;
    }
    let asked = model.ledger().last().unwrap();
    assert_eq!(
        asked.header("sec-websocket-extensions"),
        None,
        "what is compressed could not be read"
    );
    // seen while the socket is open, not only at its end
    let ok = "envoy_spectral_bridge_gen_ai_requests_total{operation=\"chat\",model=\"demo\",outcome=\"ok\"}";
    gateway.envoy.series_becomes(ok, 2.0).await.unwrap();
    socket.close(None).await.unwrap();
    drop(socket);
    let line = gateway.logged("socket").await.unwrap();
    let books = model.tokens();
    assert_eq!(line["status"], 101);
    assert_eq!(
        (&line["operation"], &line["request_model"]),
        (&json!("chat"), &json!("demo"))
    );
    assert_eq!(line["input_tokens"], books.input, "{line}");
    assert_eq!(line["output_tokens"], books.output, "{line}");
    assert_eq!(
        (&line["stream"], &line["usage_missing"]),
        (&json!(true), &Value::Null),
        "{line}"
    );
    assert_books_agree(&gateway, &model).await;
}

#[tokio::test]
async fn a_realtime_session_is_read_in_place() {
    let (mut gateway, model) = start().await;
    let mut socket = dial(&gateway, "realtime", "/v1/realtime?model=voice").await;
    for said in ["one two three", "four"] {
        let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": said}]});
        let item = json!({"type": "conversation.item.create", "item": item});
        turn(&mut socket, item, "conversation.item.added").await;
        turn(&mut socket, json!({"type": "response.create"}), "response.done").await;
    }
    drop(socket);
    let line = gateway.logged("realtime").await.unwrap();
    assert_eq!(
        (&line["operation"], &line["request_model"]),
        (&json!("realtime_inference"), &json!("voice")),
        "{line}"
    );
    assert_eq!(
        line["total_tokens"],
        model.tokens().input + model.tokens().output,
        "{line}"
    );
    assert_books_agree(&gateway, &model).await;
}

#[tokio::test]
async fn a_websocket_that_breaks_in_a_turn_is_counted_with_the_reason() {
    let (mut gateway, model) = start().await;
    let mut socket = dial(&gateway, "broken", "/v1/responses").await;
    turn(&mut socket, create("demo", "one two"), "response.completed").await;
    model.next(Behaviour::CloseMidAnswer);
    socket
        .send(Message::text(create("demo", "three").to_string()))
        .await
        .unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    let line = gateway.logged("broken").await.unwrap();
    assert_eq!(
        (&line["usage_missing"], &line["custom_flags"]),
        (&json!("cut_short"), &json!("SBUC")),
        "{line}"
    );
    assert_eq!(line["input_tokens"], model.tokens().input, "{line}");
    let cut = "envoy_spectral_bridge_gen_ai_requests_total{operation=\"chat\",model=\"demo\",outcome=\"cut_short\"}";
    gateway.envoy.series_becomes(cut, 1.0).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_error_like_any_other() {
    let (mut gateway, model) = start().await;
    model.stop().await;
    let mut request = format!("ws://{}/v1/responses", gateway.address)
        .into_client_request()
        .unwrap();
    request.headers_mut().insert("x-request-id", "refused".parse().unwrap());
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    assert!(client_async(request, socket).await.is_err());
    let line = gateway.logged("refused").await.unwrap();
    assert_eq!(
        (&line["status"], &line["usage_missing"]),
        (&json!(503), &Value::Null),
        "{line}"
    );
    let refused =
        "envoy_spectral_bridge_gen_ai_requests_total{operation=\"chat\",model=\"unknown\",outcome=\"server_error\"}";
    gateway.envoy.series_becomes(refused, 1.0).await.unwrap();
    gateway
        .envoy
        .series_becomes("envoy_spectral_bridge_gen_ai_streams_active", 0.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn usage_that_is_missing_says_why() {
    let (mut gateway, model) = start().await;
    for (id, reporting, stream, reason) in [
        ("never", Reporting::Never, false, "absent"),
        ("null", Reporting::Null, false, "null"),
        ("not asked for", Reporting::AsAsked, true, "absent"),
    ] {
        model.next(Behaviour::Report(reporting));
        let id = id.replace(' ', "-");
        let request = json!({"model": "demo", "stream": stream, "messages": "one two"}).to_string();
        gateway.post(&id, "/v1/chat/completions", request).await.unwrap();
        let line = gateway.logged(&id).await.unwrap();
        assert_eq!(
            (&line["usage_missing"], &line["custom_flags"], &line["total_tokens"]),
            (&json!(reason), &json!("SBUM"), &Value::Null),
            "{line}"
        );
    }
}
