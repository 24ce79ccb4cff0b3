//! What is served, where it goes, and what is not served.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{JSON, World, assert_openai_error, chat};

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=XX");

/// A transcription's form: a file that is no text, for this model.
fn form(model: &str) -> Bytes {
    let mut form = format!(
        "--XX\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--XX\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\ncontent-type: audio/mpeg\r\n\r\n"
    )
    .into_bytes();
    form.extend([0xff_u8; 70_000]);
    form.extend(b"\r\n--XX--\r\n");
    form.into()
}

#[tokio::test]
async fn each_endpoint_is_served_to_whoever_has_a_token() {
    let mut world = World::start().await;
    let reply = world.post("/v1/chat/completions", chat("demo")).await;
    assert_eq!(
        reply.json()["choices"][0]["message"]["content"],
        "You said: Hello there",
        "{}",
        reply.text()
    );
    let mut streamed = chat("demo");
    streamed["stream"] = json!(true);
    let stream = world.post("/v1/chat/completions", streamed).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert!(stream.text().ends_with("data: [DONE]\n\n"), "{}", stream.text());
    let embedding = world
        .post("/v1/embeddings", json!({"model": "demo", "input": "a"}))
        .await;
    assert_eq!(
        embedding.json()["data"][0]["object"],
        "embedding",
        "{}",
        embedding.text()
    );
    let speech = world
        .post(
            "/v1/audio/speech",
            json!({"model": "demo", "input": "abc", "voice": "x"}),
        )
        .await;
    assert_eq!(
        (&speech.body[..], &speech.headers["content-type"]),
        (&[0xff_u8; 3][..], &"audio/mpeg".parse().unwrap())
    );
    let image = world
        .post("/v1/images/generations", json!({"model": "demo", "prompt": "a"}))
        .await;
    assert!(image.json()["data"][0]["b64_json"].is_string(), "{}", image.text());
    let transcription = world
        .send(Method::POST, "/v1/audio/transcriptions", &[FORM], form("demo"))
        .await;
    assert_eq!(transcription.json(), json!({"text": "70000 bytes for demo"}));
    let asked = world.primary.ledger().last().unwrap();
    assert_eq!(asked.body, form("demo"), "a form passes to the byte");
    let models = world.send(Method::GET, "/v1/models", &[], "").await;
    assert_eq!(models.json()["object"], "list");

    for asked in world.primary.ledger().exchanges() {
        assert_eq!(
            asked.header("authorization"),
            None,
            "{}: the token ends here",
            asked.path
        );
    }
    assert_eq!(world.seen(), [7, 0, 0]);
    let line = world.logged(&reply).await;
    assert_eq!(
        (&line["caller"], &line["status"]),
        (&json!("ci"), &json!(200)),
        "{line}"
    );
    assert_eq!(
        (&line["cluster"], &line["output_tokens"]),
        (&json!("models"), &json!(4)),
        "{line}"
    );
}

#[tokio::test]
async fn what_is_not_enabled_is_404() {
    let world = World::start().await;
    for (method, path) in [
        (Method::POST, "/v1/completions"),
        (Method::POST, "/v1/files"),
        (Method::GET, "/"),
        (Method::GET, "/v1/chat/completions"),
        (Method::DELETE, "/v1/models"),
        (Method::POST, "/v1/chat/completions/"),
        (Method::POST, "/v1/chat/completions/../../files"),
        (Method::POST, "/v1/say-%22hello%22\\"),
    ] {
        let reply = world.send(method, path, &[JSON], chat("large-1").to_string()).await;
        assert_openai_error(&reply, StatusCode::NOT_FOUND, "invalid_request_error", "unknown_url");
    }
    let reply = world.send(Method::POST, "/v1/files?key=value", &[], "").await;
    assert_eq!(reply.json()["error"]["message"], "Invalid URL (POST /v1/files)");
    assert_eq!(world.seen(), [0, 0, 0]);
}

#[tokio::test]
async fn an_endpoint_that_is_taken_out_of_the_list_is_404() {
    let world = World::start_with(&[("path: /v1/embeddings,", "path: /off,")]).await;
    let reply = world
        .post("/v1/embeddings", json!({"model": "demo", "input": "a"}))
        .await;
    assert_openai_error(&reply, StatusCode::NOT_FOUND, "invalid_request_error", "unknown_url");
    assert_eq!(
        world.post("/v1/chat/completions", chat("demo")).await.status,
        StatusCode::OK
    );
}

/// Where a request went.
fn newcomer(world: &World, before: [usize; 3]) -> Vec<usize> {
    let now = world.seen();
    (0..3).filter(|pool| now[*pool] > before[*pool]).collect()
}

#[tokio::test]
async fn a_request_goes_to_the_pool_that_has_its_model() {
    const MODELS: usize = 0;
    const LARGE: usize = 2;
    let world = World::start().await;
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(100_000)}], "model": "large-9"});
    for (path, content_type, body, pool) in [
        (
            "/v1/chat/completions",
            "application/json",
            chat("large-1").to_string(),
            LARGE,
        ),
        (
            "/v1/chat/completions",
            "application/json; charset=utf-8",
            chat("large-1").to_string(),
            LARGE,
        ),
        ("/v1/chat/completions", "Application/JSON", long.to_string(), LARGE),
        (
            "/v1/embeddings",
            "application/json",
            json!({"input": "a", "model": "large-1"}).to_string(),
            LARGE,
        ),
        (
            "/v1/chat/completions",
            "application/json",
            chat("larg").to_string(),
            MODELS,
        ),
        (
            "/v1/chat/completions",
            "application/json",
            json!({"messages": "large-1"}).to_string(),
            MODELS,
        ),
        (
            "/v1/chat/completions",
            "application/json",
            json!({"model": ["large-1"]}).to_string(),
            MODELS,
        ),
        (
            "/v1/chat/completions",
            "application/json",
            "{\"model\": \"large-1\"".to_owned(),
            MODELS,
        ),
        (
            "/v1/chat/completions",
            "application/json",
            "\"large-1\"".to_owned(),
            MODELS,
        ),
        ("/v1/chat/completions", "application/json", String::new(), MODELS),
        (
            "/v1/chat/completions",
            "text/plain",
            chat("large-1").to_string(),
            MODELS,
        ),
    ] {
        let before = world.seen();
        let reply = world
            .send(Method::POST, path, &[("content-type", content_type)], body.clone())
            .await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(
            newcomer(&world, before),
            [pool],
            "{content_type} {shown}: {}",
            reply.status
        );
    }
    assert_eq!(world.large.ledger().exchanges()[2].body, long.to_string());
    let before = world.seen();
    let reply = world
        .send(Method::POST, "/v1/audio/transcriptions", &[FORM], form("large-1"))
        .await;
    assert_eq!(reply.json(), json!({"text": "70000 bytes for large-1"}));
    assert_eq!(newcomer(&world, before), [MODELS], "a form's model is not read");
}

#[tokio::test]
async fn what_envoy_itself_answers_has_openais_shape() {
    let mut world = World::start().await;
    let before = world.seen();
    let body = json!({"model": "demo", "input": "a".repeat(17 << 20)});
    let reply = world.post("/v1/embeddings", body).await;
    assert_openai_error(
        &reply,
        StatusCode::PAYLOAD_TOO_LARGE,
        "invalid_request_error",
        "request_refused",
    );
    assert_eq!(newcomer(&world, before), [0_usize; 0]);

    world.large.stop().await;
    let reply = world.post("/v1/chat/completions", chat("large-1")).await;
    assert_openai_error(&reply, StatusCode::SERVICE_UNAVAILABLE, "server_error", "gateway_error");
    let message = "The gateway got no answer from a model (URX,UF)";
    assert_eq!(reply.json()["error"]["message"], message);
    let line = world.logged(&reply).await;
    assert_eq!(line["attempts"], 4, "{line}");
    // a model's own error is the model's
    let reply = world.post("/v1/chat/completions", chat("status-500")).await;
    assert_eq!(
        reply.json()["error"]["message"],
        "the model says 500",
        "{}",
        reply.text()
    );
    let reply = world.post("/v1/chat/completions", chat("html-500")).await;
    assert_eq!(reply.json(), Value::Null, "{}", reply.text());
}
