//! What reaches the adapter, and what comes back from it.

use http::header::{AUTHORIZATION, HOST};

use super::super::scripted::{answer, ok};
use super::*;
use crate::config::{ForwardHeader, SecretSource};

fn model_key(file: std::path::PathBuf) -> ForwardHeader {
    ForwardHeader {
        name: AUTHORIZATION,
        prefix: "Bearer ".to_owned(),
        value: SecretSource::File(file),
    }
}

// PROTOCOL §2.2: forwards the request to {adapter_url}{path}
#[tokio::test]
async fn a_request_reaches_the_adapter_byte_for_byte() {
    let world = World::new();
    let body = "{ \"n\":123456789012345678901234567890, \"s\":\"\\u00e9\\/é\",\r\n \"n\":1.0 }";
    let mut request = request(body);
    for (name, value) in [
        ("traceparent", "00-ab-cd-01"),
        ("host", "evil.test"),
        ("x-spectral-bridge-relay", "evil"),
    ] {
        request.headers.insert(name, HeaderValue::from_static(value));
    }
    let asking = world.forward(request);
    let (mut line, asked) = world.envoy.asked().await;
    assert_eq!(asked.request_line, "POST /v1/responses HTTP/1.1");
    assert_eq!(asked.body, body.as_bytes());
    assert_eq!(asked.header("content-length"), body.len().to_string());
    assert_eq!(asked.header("host"), "model.internal");
    assert_eq!(asked.header("x-spectral-bridge-relay"), "eu-1");
    assert_eq!(asked.header("traceparent"), "00-ab-cd-01");
    assert!(
        !asked.has("accept-encoding") && !asked.has("transfer-encoding"),
        "{asked:?}"
    );
    line.write(ok("{}")).await;
    assert_eq!(payload(&within(asking).await.unwrap())["status"], 200);
}

#[tokio::test]
async fn a_get_has_neither_body_nor_length() {
    let world = World::new();
    let mut request = request("");
    (request.method, request.path) = (Method::GET, "/v1/models".into());
    let asking = world.forward(request);
    let (mut line, asked) = world.envoy.asked().await;
    assert_eq!(asked.request_line, "GET /v1/models HTTP/1.1");
    assert!(
        asked.body.is_empty() && !asked.has("content-length") && !asked.has("transfer-encoding"),
        "{asked:?}"
    );
    line.write(ok(r#"{"data":[]}"#)).await;
    assert_eq!(
        payload(&within(asking).await.unwrap())["body"]["data"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn text_only_passes_the_text_under_the_model_that_was_asked_for() {
    let world = World::with(|relay, _| {
        relay.response_policy = ResponsePolicy::TextOnly;
        relay.response_headers = vec![HeaderName::from_static("x-leak")];
    });
    let mut request = request(r#"{"model":"asked-for","messages":[]}"#);
    request.path = "/v1/chat/completions".into();
    let asking = world.forward(request);
    let (mut line, _) = world.envoy.asked().await;
    let body =
        r#"{"id":"LEAK","model":"LEAK","choices":[{"message":{"role":"assistant","content":"hi"},"seed":"LEAK"}]}"#;
    line.write(ok(body).replace("\r\n\r\n", "\r\nx-leak: LEAK\r\n\r\n"))
        .await;
    let forwarded = within(asking).await.unwrap();
    assert!(
        !forwarded.response.frame.contains("LEAK"),
        "{}",
        forwarded.response.frame
    );
    let body = &payload(&forwarded)["body"];
    assert_eq!((&body["model"], &body["id"]), (&"asked-for".into(), &"r-1".into()));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn text_only_lets_no_text_of_envoys_own_out() {
    let world = World::with(|relay, _| relay.response_policy = ResponsePolicy::TextOnly);
    let asking = world.forward(request("{}"));
    let (mut line, _) = world.envoy.asked().await;
    line.write("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nLEAK")
        .await;
    let forwarded = within(asking).await;
    let said = format!("{forwarded:?}");
    assert!(
        said.contains("Envoy answered 503 itself") && !said.contains("LEAK"),
        "{said}"
    );
}

#[tokio::test]
async fn text_only_knows_the_tokens_of_an_answer_that_it_refuses() {
    let world = World::with(|relay, _| relay.response_policy = ResponsePolicy::TextOnly);
    let mut request = request(r#"{"messages":[]}"#);
    request.path = "/v1/chat/completions".into();
    let asking = world.forward(request);
    let (mut line, _) = world.envoy.asked().await;
    let calls = r#"{"choices":[{"message":{"role":"assistant","tool_calls":[]}}],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#;
    line.write(ok(calls)).await;
    let response = within(asking).await.unwrap().response;
    assert_eq!(response.fault, Some("adapter_invalid_response"));
    let usage = response.answer.unwrap().usage;
    assert_eq!((usage.input, usage.output), (Some(7), Some(5)));
}

#[tokio::test]
async fn an_answer_comes_back_byte_for_byte_however_it_is_cut() {
    let body = r#"{ "n":12345678901234567890123, "s":"\u00e9\/é" }"#;
    let whole = ok(body);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nx-envoy-upstream-service-time: 1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        7,
        &body[..7],
        body.len() - 7,
        &body[7..]
    );
    for answer in [whole, chunked] {
        for cut in [1, answer.len() / 2, answer.len() - 3] {
            let world = World::new();
            let forwarded = world
                .exchange(async |envoy| {
                    let (mut line, _) = envoy.asked().await;
                    line.write(&answer[..cut]).await;
                    tokio::task::yield_now().await;
                    line.write(&answer[cut..]).await;
                })
                .await;
            let end = format!(r#""body":{body}}}}}"#);
            assert!(forwarded.response.frame.ends_with(&end), "{}", forwarded.response.frame);
        }
    }
}

#[tokio::test]
async fn only_content_type_and_the_configured_response_headers_come_back() {
    let world = World::with(|relay, _| relay.response_headers = vec![HeaderName::from_static("x-ratelimit")]);
    let forwarded = world
        .exchange(async |envoy| {
            let (mut line, _) = envoy.asked().await;
            let headers = "x-envoy-upstream-service-time: 1\r\nx-ratelimit: 7\r\nset-cookie: a=b\r\nserver: envoy\r\n";
            line.write(answer("201 Created", headers, "[]")).await;
        })
        .await;
    let payload = payload(&forwarded);
    let headers = serde_json::json!({ "content-type": "application/json", "x-ratelimit": "7" });
    assert_eq!((&payload["status"], &payload["headers"]), (&201.into(), &headers));
}

#[tokio::test]
async fn the_adapters_own_503_is_passed_on_and_envoys_is_not() {
    let body = r#"{"error":{"message":"model loading"}}"#;
    for (headers, theirs) in [("x-envoy-upstream-service-time: 1\r\n", true), ("", false)] {
        let world = World::new();
        let forwarded = world
            .exchange(async |envoy| {
                let (mut line, _) = envoy.asked().await;
                line.write(answer("503 Service Unavailable", headers, body)).await;
            })
            .await;
        if theirs {
            assert!(forwarded.response.frame.ends_with(&format!(r#""body":{body}}}}}"#)));
            assert_eq!((forwarded.response.status, forwarded.response.fault), (503, None));
        } else {
            let (status, code, message) = fault(&forwarded);
            assert_eq!((status, &*code), (503, "adapter_unavailable"));
            assert!(
                message.contains("Envoy answered 503 itself") && message.contains("model loading"),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn each_of_envoys_own_answers_has_its_code() {
    for (line, expected) in [
        ("504 Gateway Timeout", (503, "adapter_timeout")),
        ("429 Too Many Requests", (429, "over_budget")),
        ("431 Request Header Fields Too Large", (400, "headers_too_large")),
        ("404 Not Found", (503, "adapter_unavailable")),
        ("200 OK", (503, "adapter_unavailable")),
    ] {
        let world = World::new();
        let forwarded = world
            .exchange(async |envoy| {
                let (mut connection, _) = envoy.asked().await;
                connection.write(answer(line, "", "{}")).await;
            })
            .await;
        let (status, code, _) = fault(&forwarded);
        assert_eq!((status, &*code), expected, "{line}");
    }
}

#[tokio::test]
async fn a_configured_secret_replaces_the_relays_header_and_follows_its_file() {
    let dir = Scratch::new();
    let file = dir.file("model-key", "sk-model-1\n");
    let world = World::with(|_, forward| forward.headers = vec![model_key(file)]);
    for (n, expected) in ["Bearer sk-model-1", "Bearer sk-model-2", "Bearer sk-model-2"]
        .into_iter()
        .enumerate()
    {
        let mut request = request("{}");
        request
            .headers
            .insert(AUTHORIZATION, HeaderValue::from_static("Bearer relay"));
        request.headers.insert(HOST, HeaderValue::from_static("evil.test"));
        let asking = world.forward(request);
        let (mut line, asked) = world.envoy.asked().await;
        assert_eq!(asked.header("authorization"), expected);
        line.write(ok("{}").replace("HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nconnection: close\r\n"))
            .await;
        drop(line);
        within(asking).await.unwrap();
        if n == 0 {
            dir.file("model-key", "sk-model-2");
        } else {
            // one that cannot be read keeps its last value
            std::fs::remove_file(dir.path().join("model-key")).ok();
        }
        world.forwarder.secrets.refresh();
    }
}

#[tokio::test]
async fn without_its_secret_a_request_is_answered_503_and_does_not_leave() {
    let dir = Scratch::new();
    let missing = dir.path().join("model-key");
    let world = World::with(|_, forward| forward.headers = vec![model_key(missing)]);
    let (status, code, message) = fault(&within(world.ask()).await.unwrap());
    assert_eq!((status, &*code), (503, "adapter_unavailable"));
    assert!(message.contains("authorization"), "{message}");
    assert!(world.envoy.is_left_alone());
    dir.file("model-key", "sk-model");
    world.forwarder.secrets.refresh();
    let asking = world.ask();
    let (mut line, asked) = world.envoy.asked().await;
    assert_eq!(asked.header("authorization"), "Bearer sk-model");
    line.write(ok("{}")).await;
    assert_eq!(within(asking).await.unwrap().response.status, 200);
}
