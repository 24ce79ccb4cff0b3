//! The promise of `envoy/token-limit.yaml`: Envoy refuses with 429 once the tokens that were really used exceed a budget.

use e2e::model::Model;
use e2e::ratelimit::RateLimit;
use e2e::world::Gateway;
use e2e::world::http::{Reply, send};
use e2e::world::site::DEADLINE;
use hyper::{Method, StatusCode};
use serde_json::json;

async fn start(budget: u64) -> (Gateway, Model, RateLimit) {
    let model = Model::start().await.unwrap();
    let limit = RateLimit::start(budget).await.unwrap();
    let port = format!("port_value: {}", limit.address().port());
    let edits = [("port_value: 8081", port.as_str())];
    let gateway = Gateway::start("token-limit.yaml", model.address(), &edits)
        .await
        .unwrap();
    (gateway, model, limit)
}

/// Asks on behalf of a user with so many words; the demo model answers with two more.
async fn ask(gateway: &Gateway, user: &str, words: usize, stream: bool) -> Reply {
    let body = json!({
        "model": "demo",
        "messages": [{"role": "user", "content": vec!["word"; words].join(" ")}],
        "stream": stream,
        "stream_options": {"include_usage": stream},
    });
    let headers = [("content-type", "application/json"), ("x-user", user)];
    send(
        Method::POST,
        &gateway.url("/v1/chat/completions"),
        &headers,
        body.to_string(),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn requests_pass_until_the_tokens_really_used_exceed_the_budget() {
    let (gateway, model, limit) = start(30).await;
    for stream in [false, true] {
        let user = if stream { "streaming" } else { "whole" };
        let budget = format!("user={user}");
        for (words, spent) in [(4, 10), (9, 30), (1, 34)] {
            let reply = ask(&gateway, user, words, stream).await;
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
            limit.spends(&budget, spent, DEADLINE).await.unwrap();
        }
        let before = model.ledger().count();
        let reply = ask(&gateway, user, 1, stream).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(model.ledger().count(), before, "a refused request reached the model");
        // the refused one spends nothing, and others have their own budget
        let reply = ask(&gateway, "somebody else", 1, stream).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(limit.spent(&budget), 34, "{:?}", limit.asked());
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_spends_nothing() {
    let (gateway, _model, limit) = start(30).await;
    let body = json!({"model": "status-500", "messages": "a b c"}).to_string();
    let headers = [("content-type", "application/json"), ("x-user", "unlucky")];
    let reply = send(Method::POST, &gateway.url("/v1/chat/completions"), &headers, body)
        .await
        .unwrap();
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(ask(&gateway, "unlucky", 1, false).await.status, StatusCode::OK);
    limit.spends("user=unlucky", 4, DEADLINE).await.unwrap();
    let spending: Vec<u64> = limit
        .asked()
        .iter()
        .map(|asked| asked.hits)
        .filter(|hits| *hits > 0)
        .collect();
    assert_eq!(spending, [4]);
}
