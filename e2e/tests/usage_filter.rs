//! Promises of the filter `usage` on real Envoy: what a model reports is what logs and statistics say.

use e2e::model::{Behaviour, Model};
use e2e::world::Gateway;
use e2e::world::http::get;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start() -> (Gateway, Model) {
    let model = Model::start().await.unwrap();
    let gateway = Gateway::start("usage-filter.yaml", model.address(), &[]).await.unwrap();
    (gateway, model)
}

fn chat(model: &str, words: usize) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": vec!["word"; words].join(" ")}]})
}

fn streamed(model: &str, words: usize) -> Value {
    let mut request = chat(model, words);
    request["stream"] = json!(true);
    request["stream_options"] = json!({"include_usage": true});
    request
}

/// Sends a request on a connection of its own and gives the socket, with the answer yet to be read.
async fn ask(gateway: &Gateway, id: &str, path: &str, body: &Value) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: model\r\ncontent-type: application/json\r\nx-request-id: {id}\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    socket
}

/// Reads until `needle` has come.
async fn read_until(socket: &mut TcpStream, needle: &str) -> String {
    let mut seen = String::new();
    let mut piece = [0; 4096];
    while !seen.contains(needle) {
        let length = socket.read(&mut piece).await.unwrap();
        assert_ne!(length, 0, "the answer ended without `{needle}`: {seen}");
        seen += std::str::from_utf8(&piece[..length]).unwrap();
    }
    seen
}

#[tokio::test]
async fn what_the_model_reports_is_what_log_and_statistics_say() {
    let (mut gateway, model) = start().await;
    let (mut input, mut output) = (0, 0);
    for number in 0..12_usize {
        let id = format!("mixed-{number}");
        let path = ["/v1/chat/completions", "/v1/responses"][number % 2];
        let stream = number % 3 == 0;
        let words = number * 7 + 1;
        let request = if stream {
            streamed("demo", words)
        } else {
            chat("demo", words)
        };
        let reply = gateway.post(&id, path, request.to_string()).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        // the demo model counts words: those of the request, and `You said:` before them
        let line = gateway.logged(&id).await.unwrap();
        let (asked, answered) = (words as u64, words as u64 + 2);
        assert_eq!(line["operation"], "chat");
        assert_eq!(
            (&line["request_model"], &line["response_model"]),
            (&json!("demo"), &json!("demo"))
        );
        assert_eq!(line["input_tokens"], asked, "{line}");
        assert_eq!(line["output_tokens"], answered, "{line}");
        assert_eq!(line["total_tokens"], asked + answered, "{line}");
        assert_eq!(line["stream"], stream);
        assert_eq!(line["time_to_first_token_ms"].is_number(), stream, "{line}");
        assert_eq!(
            (&line["usage_missing"], &line["custom_flags"]),
            (&Value::Null, &json!("")),
            "{line}"
        );
        input += asked;
        output += answered;
    }
    assert_eq!(model.ledger().count(), 12);
    let series = |name: &str, label: &str| {
        format!("envoy_spectral_bridge_gen_ai_{name}{{operation=\"chat\",model=\"demo\",{label}}}")
    };
    let tokens = |kind| series("tokens_total", &format!("token_type=\"{kind}\""));
    gateway
        .envoy
        .series_becomes(&tokens("input"), input as f64)
        .await
        .unwrap();
    gateway
        .envoy
        .series_becomes(&tokens("output"), output as f64)
        .await
        .unwrap();
    gateway
        .envoy
        .series_becomes(&series("requests_total", "outcome=\"ok\""), 12.0)
        .await
        .unwrap();
    gateway
        .envoy
        .series_becomes("envoy_spectral_bridge_gen_ai_streams_active", 0.0)
        .await
        .unwrap();
    let count = "envoy_spectral_bridge_gen_ai_request_duration_ms_count{operation=\"chat\",model=\"demo\"}";
    gateway.envoy.series_becomes(count, 12.0).await.unwrap();
    let count = "envoy_spectral_bridge_gen_ai_time_to_first_token_ms_count{operation=\"chat\",model=\"demo\"}";
    gateway.envoy.series_becomes(count, 4.0).await.unwrap();
}

#[tokio::test]
async fn the_bytes_that_pass_are_the_bytes_that_came() {
    let (gateway, model) = start().await;
    let odd = r#"{ "z":1, "model":"chunked" , "messages":[{"role":"user","content":"Grüße"}], "f":1.10 }"#;
    let reply = gateway.post("odd", "/v1/chat/completions", odd).await.unwrap();
    let seen = model.ledger().last().unwrap();
    assert_eq!(seen.body, odd.as_bytes());
    assert_eq!(Some(reply.body), seen.answer);
}

#[tokio::test]
async fn a_client_that_leaves_right_after_the_last_words_still_counts() {
    let (mut gateway, model) = start().await;
    model.always(Some(Behaviour::Pace(std::time::Duration::from_millis(200))));
    let mut socket = ask(&gateway, "gone", "/v1/chat/completions", &streamed("demo", 3)).await;
    read_until(&mut socket, "\"total_tokens\"").await;
    drop(socket);
    let line = gateway.logged("gone").await.unwrap();
    assert_eq!(
        (&line["input_tokens"], &line["output_tokens"]),
        (&json!(3), &json!(5)),
        "{line}"
    );
    assert_eq!(
        (&line["finish_reasons"], &line["usage_missing"]),
        (&json!("stop"), &Value::Null),
        "{line}"
    );
    let ok = "envoy_spectral_bridge_gen_ai_requests_total{operation=\"chat\",model=\"demo\",outcome=\"ok\"}";
    gateway.envoy.series_becomes(ok, 1.0).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_counted_with_the_reason() {
    let (mut gateway, model) = start().await;
    model.always(Some(Behaviour::Pace(std::time::Duration::from_millis(200))));
    let mut socket = ask(&gateway, "left", "/v1/chat/completions", &streamed("demo", 30)).await;
    read_until(&mut socket, "said:").await;
    gateway
        .envoy
        .series_becomes("envoy_spectral_bridge_gen_ai_streams_active", 1.0)
        .await
        .unwrap();
    drop(socket);
    let line = gateway.logged("left").await.unwrap();
    assert_eq!(
        (&line["usage_missing"], &line["custom_flags"]),
        (&json!("cut_short"), &json!("SBUC")),
        "{line}"
    );
    assert_eq!(line["input_tokens"], Value::Null);
    // Envoy 1.38 does not tell a module who ended a stream
    let info = gateway.envoy.admin("/server_info").await.unwrap().text();
    let outcome = if info.contains("/1.38.") {
        "cut_short"
    } else {
        "cancelled"
    };
    let left = format!(
        "envoy_spectral_bridge_gen_ai_requests_total{{operation=\"chat\",model=\"demo\",outcome=\"{outcome}\"}}"
    );
    gateway.envoy.series_becomes(&left, 1.0).await.unwrap();
    let missing =
        "envoy_spectral_bridge_gen_ai_usage_missing_total{operation=\"chat\",model=\"demo\",reason=\"cut_short\"}";
    gateway.envoy.series_becomes(missing, 1.0).await.unwrap();
    gateway
        .envoy
        .series_becomes("envoy_spectral_bridge_gen_ai_streams_active", 0.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_counted_with_the_reason() {
    let (mut gateway, model) = start().await;
    model.always(Some(Behaviour::CloseMidAnswer));
    assert!(
        gateway
            .post("cut", "/v1/chat/completions", chat("demo", 3).to_string())
            .await
            .is_err()
    );
    let line = gateway.logged("cut").await.unwrap();
    assert_eq!(line["usage_missing"], "cut_short", "{line}");
    let cut = "envoy_spectral_bridge_gen_ai_requests_total{operation=\"chat\",model=\"demo\",outcome=\"cut_short\"}";
    gateway.envoy.series_becomes(cut, 1.0).await.unwrap();
}

#[tokio::test]
async fn errors_are_counted_and_miss_no_usage() {
    let (mut gateway, model) = start().await;
    for (behaviour, outcome) in [("status-429", "client_error"), ("status-500", "server_error")] {
        gateway
            .post(behaviour, "/v1/chat/completions", chat(behaviour, 3).to_string())
            .await
            .unwrap();
        let line = gateway.logged(behaviour).await.unwrap();
        assert_eq!(
            (&line["usage_missing"], &line["input_tokens"]),
            (&Value::Null, &Value::Null),
            "{line}"
        );
        let series = format!(
            "envoy_spectral_bridge_gen_ai_requests_total{{operation=\"chat\",model=\"{behaviour}\",outcome=\"{outcome}\"}}"
        );
        gateway.envoy.series_becomes(&series, 1.0).await.unwrap();
    }
    model.stop().await;
    let reply = gateway
        .post("none", "/v1/chat/completions", chat("demo", 3).to_string())
        .await
        .unwrap();
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let series =
        "envoy_spectral_bridge_gen_ai_requests_total{operation=\"chat\",model=\"demo\",outcome=\"server_error\"}";
    gateway.envoy.series_becomes(series, 1.0).await.unwrap();
}

#[tokio::test]
async fn a_compressed_answer_is_read_and_stays_compressed() {
    let (mut gateway, _model) = start().await;
    let reply = gateway
        .post("packed", "/v1/chat/completions", chat("gzip", 9).to_string())
        .await
        .unwrap();
    assert_eq!(reply.headers["content-encoding"], "gzip");
    assert_eq!(reply.body[..2], [0x1f, 0x8b]);
    let line = gateway.logged("packed").await.unwrap();
    assert_eq!(
        (&line["input_tokens"], &line["output_tokens"]),
        (&json!(9), &json!(11)),
        "{line}"
    );
}

#[tokio::test]
async fn what_is_no_question_to_a_model_is_left_alone() {
    let (gateway, _model) = start().await;
    assert_eq!(get(&gateway.url("/v1/models")).await.unwrap().status, StatusCode::OK);
    assert_eq!(get(&gateway.url("/health")).await.unwrap().status, StatusCode::OK);
    let stats = gateway.envoy.admin("/stats?filter=gen_ai").await.unwrap().text();
    assert!(!stats.contains("requests_total"), "{stats}");
}

#[tokio::test]
async fn a_hundred_megabytes_pass_in_bounded_memory() {
    let (mut gateway, _model) = start().await;
    gateway
        .post("warm", "/v1/chat/completions", chat("demo", 3).to_string())
        .await
        .unwrap();
    let before = gateway.peak_memory().unwrap();
    let question =
        json!({"padding": "x".repeat(HUGE), "model": format!("bytes-{HUGE}"), "messages": "three little words"});
    let reply = gateway
        .post("huge", "/v1/chat/completions", question.to_string())
        .await
        .unwrap();
    assert_eq!(reply.body.len(), HUGE);
    let line = gateway.logged("huge").await.unwrap();
    assert_eq!(line["input_tokens"], 3, "{line}");
    let grown = gateway.peak_memory().unwrap() - before;
    assert!(grown < 24 * 1024 * 1024, "Envoy grew by {grown} bytes");
}

const HUGE: usize = 100 * 1024 * 1024;
