//! Each relay has its own key, endpoints, policy, road and labels.

use e2e::model::{Behaviour, Exact};
use e2e::otlp::{Protocol, Sink};
use e2e::relay::Relay;
use e2e::world::free_address;
use e2e::world::http::{Reply, get, post, send};
use e2e::world::site::{DEADLINE, chat, exported_to};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{EVALUATIONS_KEY, Plan, World, url};

/// Both relays are good ones here.
async fn both(change: impl FnOnce(Plan) -> Plan) -> (World, Relay) {
    let address = free_address().unwrap();
    let plan = change(Plan::new(&format!("wss://localhost:{}/connect", address.port())));
    let evaluations = plan.relay_at(address, EVALUATIONS_KEY).await;
    let world = plan.start().await;
    evaluations.connected(1, DEADLINE).await.unwrap();
    (world, evaluations)
}

fn code(reply: &Reply) -> (u16, Value) {
    (reply.status.as_u16(), reply.json()["error"]["code"].clone())
}

#[tokio::test]
async fn each_relay_may_ask_for_its_own_endpoints_at_its_own_model() {
    let (mut world, evaluations) = both(|plan| {
        plan.edit(
            "# headers: { authorization: { env: PARTNER_MODEL_KEY",
            "headers: { authorization: { env: PARTNER_MODEL_KEY",
        )
        .variable("PARTNER_MODEL_KEY", "sk-of-the-model-3f")
    })
    .await;
    let embedding = json!({"model": "demo", "input": "three words here"}).to_string();
    let reply = post(&url(&world.relay, "/v1/embeddings"), embedding.clone())
        .await
        .unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let asked = &world.models[1].ledger().exchanges()[0];
    assert_eq!(
        (asked.path.as_str(), &asked.body[..]),
        ("/v1/embeddings", embedding.as_bytes())
    );
    assert_eq!(asked.answer.as_deref(), Some(&reply.body[..]));
    assert_eq!(asked.headers["authorization"], "Bearer sk-of-the-model-3f");
    let models = get(&url(&world.relay, "/v1/models")).await.unwrap();
    assert_eq!(
        (models.status, &models.json()["object"]),
        (StatusCode::OK, &json!("list"))
    );
    let wrong = send(Method::POST, &url(&world.relay, "/v1/models"), &[], "{}")
        .await
        .unwrap();
    assert_eq!(code(&wrong), (405, json!("method_not_allowed")));
    assert!(wrong.text().contains("allow: GET"), "{}", wrong.text());
    let wrong = get(&url(&world.relay, "/v1/embeddings")).await.unwrap();
    assert_eq!(code(&wrong), (405, json!("method_not_allowed")));
    assert!(wrong.text().contains("allow: POST"), "{}", wrong.text());
    for path in [
        "/v1/models/demo",
        "/v1/audio/speech",
        "/v1/embeddings/",
        "/v1/models?x=1",
    ] {
        assert_eq!(
            code(&get(&url(&world.relay, path)).await.unwrap()),
            (404, json!("path_not_allowed")),
            "{path}"
        );
    }
    for path in ["/v1/embeddings", "/v1/models"] {
        let refused = post(&url(&evaluations, path), "{}").await.unwrap();
        assert_eq!(code(&refused), (404, json!("path_not_allowed")));
    }
    let served = post(&url(&evaluations, "/v1/chat/completions"), chat("demo"))
        .await
        .unwrap();
    assert_eq!(served.status, StatusCode::OK);
    assert_eq!(world.models.each_ref().map(|model| model.ledger().count()), [1, 2]);
    assert!(
        !world.models[0].ledger().exchanges()[0]
            .headers
            .contains_key("authorization")
    );
    for name in ["evaluations", "partner"] {
        let road = format!("cluster={name} ");
        let line = world.envoy.process().line(&road, DEADLINE).await.unwrap();
        assert!(line.contains(&format!("relay={name} ")), "{line}");
    }
}

#[tokio::test]
async fn text_only_lets_nothing_else_out_and_passthrough_lets_all_through() {
    let (world, evaluations) = both(|plan| plan).await;
    let full = json!({
        "id": "chatcmpl-LEAK", "object": "LEAK", "created": 7, "model": "/srv/LEAK", "system_fingerprint": "LEAK",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": {"content": ["LEAK"]}, "message": {
            "role": "assistant", "content": "the text", "reasoning_content": "LEAK", "annotations": ["LEAK"],
            "tool_calls": [{"id": "LEAK"}]}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "LEAK": 1}, "x": {"deep": [["LEAK"]]},
    });
    let mut exact = Exact::json(StatusCode::OK, full.to_string());
    exact.headers.push(("x-host".to_owned(), "LEAK".to_owned()));
    for model in &world.models {
        model.always(Some(Behaviour::Exact(exact.clone())));
    }
    let reply = post(&url(&evaluations, "/v1/chat/completions"), chat("asked-for"))
        .await
        .unwrap();
    let mut seen = reply.json();
    assert!(!reply.text().contains("LEAK"), "{}", reply.text());
    assert!(seen["id"].as_str().unwrap().starts_with("req-") && seen["created"].as_u64() > Some(1_700_000_000));
    for own in ["id", "created"] {
        seen.as_object_mut().unwrap().remove(own);
    }
    assert_eq!(
        seen,
        json!({"object": "chat.completion", "model": "asked-for",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "the text"}, "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
    );
    let passed = post(&url(&world.relay, "/v1/chat/completions"), chat("demo"))
        .await
        .unwrap();
    assert_eq!(passed.body, exact.body);
    let error = r#"{"error":{"message":"too long","param":"LEAK"},"trace":"LEAK"}"#;
    for (answer, status, says) in [
        (Exact::json(StatusCode::BAD_REQUEST, error), 400, "too long"),
        (
            Exact::new(StatusCode::BAD_GATEWAY, "text/html", "<h1>LEAK"),
            502,
            "withheld",
        ),
        (
            Exact::json(StatusCode::OK, r#"{"choices":[{"text":"LEAK"}]}"#),
            502,
            "has no message",
        ),
        (Exact::new(StatusCode::OK, "text/LEAK", "LEAK"), 502, "not plain JSON"),
        (Exact::new(StatusCode::OK, "audio/mpeg", "LEAK"), 502, "JSON only"),
    ] {
        world.models[0].always(Some(Behaviour::Exact(answer)));
        let reply = post(&url(&evaluations, "/v1/chat/completions"), chat("demo"))
            .await
            .unwrap();
        assert_eq!(reply.status.as_u16(), status, "{}", reply.text());
        assert!(
            reply.text().contains(says) && !reply.text().contains("LEAK"),
            "{}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn labels_are_in_the_status_the_log_and_telemetry() {
    let sink = Sink::start().await.unwrap();
    let variables = exported_to(&sink.endpoint(Protocol::Grpc), Protocol::Grpc);
    let (mut world, evaluations) = both(|plan| {
        variables
            .iter()
            .fold(plan, |plan, (name, value)| plan.variable(name, value))
    })
    .await;
    for relay in [&evaluations, &world.relay] {
        let reply = post(&url(relay, "/v1/chat/completions"), chat("demo")).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
    }
    let status = world.status_of("evaluations").await;
    assert_eq!(status["labels"], json!({"stage": "production", "team": "quality"}));
    assert_eq!(
        world.status_of("partner").await["labels"],
        json!({"team": "partnerships"})
    );
    let line = world
        .envoy
        .process()
        .line("connected to the relay relay=evaluations", DEADLINE)
        .await
        .unwrap();
    assert!(line.contains(r#"labels="stage=production,team=quality""#), "{line}");
    for (relay, team) in [("evaluations", "quality"), ("partner", "partnerships")] {
        let with = [(NAME, relay), (TEAM, team)];
        for name in ["spectral_bridge.relay.connected", "spectral_bridge.relay.requests"] {
            sink.comes_to(name, &with, 1.0, DEADLINE).await.unwrap();
        }
        let tokens = |sink: &Sink| (sink.count("gen_ai.client.token.usage", &[(TEAM, team)]) == 2).then_some(());
        sink.wait("tokens by label", DEADLINE, tokens).await.unwrap();
        let span = |sink: &Sink| {
            sink.spans()
                .into_iter()
                .find(|span| span.attributes.get(NAME) == Some(&json!(relay)))
        };
        let span = sink.wait("a span", DEADLINE, span).await.unwrap();
        assert_eq!(span.attributes[TEAM], json!(team));
    }
}

const NAME: &str = "spectral_bridge.relay.name";
const TEAM: &str = "spectral_bridge.relay.label.team";
