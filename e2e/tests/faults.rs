//! Promises about what goes wrong: models that are down or odd, relays that refuse. Evaluators can tell a tunnel fault
//! from a model's refusal.

use e2e::relay::Refusal;
use e2e::world::http::{Reply, post};
use e2e::world::site::{DEADLINE, KEY, Plan, Shipped, Site, chat};
use hyper::StatusCode;
use serde_json::Value;

fn told(reply: &Reply) -> (u16, String, Value) {
    (
        reply.status.as_u16(),
        reply.error_code(),
        reply.json()["error"]["type"].clone(),
    )
}

fn fault(status: u16, code: &str) -> (u16, String, Value) {
    (status, code.to_owned(), "relay_client_error".into())
}

#[tokio::test]
async fn a_model_that_is_down_is_503_adapter_unavailable_and_is_found_again_when_it_is_back() {
    let (mut site, relay, mut model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let url = relay.url("/v1/chat/completions");
    model.stop().await;
    let down = post(&url, chat("quick")).await.unwrap();
    assert_eq!(told(&down), fault(503, "adapter_unavailable"), "{}", down.text());
    assert!(down.text().contains("Envoy answered 503 itself"), "{}", down.text());
    let status = site
        .relay_status_becomes("/totals/faults/adapter_unavailable", 1.into())
        .await
        .unwrap();
    assert_eq!(status["totals"]["responses"]["503"], 1);
    let line = site
        .envoy
        .process()
        .line("code=adapter_unavailable", DEADLINE)
        .await
        .unwrap();
    assert!(line.contains("relay=default") && line.contains("request_id="), "{line}");
    model.restart().await.unwrap();
    assert_eq!(post(&url, chat("quick")).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_models_own_errors_are_passed_on_unchanged() {
    let (_site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    for status in [400, 404, 429, 500, 503, 504] {
        let reply = post(&relay.url("/v1/chat/completions"), chat(&format!("status-{status}")))
            .await
            .unwrap();
        assert_eq!(reply.status.as_u16(), status);
        assert_eq!(
            Some(&reply.body),
            model.ledger().last().unwrap().answer.as_ref(),
            "the model's words changed"
        );
        assert_ne!(reply.json()["error"]["type"], "relay_client_error");
    }
}

#[tokio::test]
async fn answers_that_cannot_be_relayed_are_502_and_say_why() {
    let (_site, relay, _model) = Site::connected(Shipped::Sidecar).await.unwrap();
    for (behaviour, hint) in [
        ("html-200", "text/html"),
        ("sse", "\"stream\": false"),
        ("gzip", "content-encoding gzip"),
        ("nan", "not JSON"),
    ] {
        let reply = post(&relay.url("/v1/chat/completions"), chat(behaviour)).await.unwrap();
        assert_eq!(
            told(&reply),
            fault(502, "adapter_invalid_response"),
            "{behaviour}: {}",
            reply.text()
        );
        assert!(
            reply.json()["error"]["message"].as_str().unwrap().contains(hint),
            "{behaviour}: {}",
            reply.text()
        );
    }
    let error = post(&relay.url("/v1/chat/completions"), chat("html-500"))
        .await
        .unwrap();
    assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        error.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("<!doctype html>"),
        "{}",
        error.text()
    );
    assert_eq!(error.json()["error"]["type"], Value::Null);
}

#[tokio::test]
async fn an_answer_too_large_for_a_frame_is_502_response_too_large() {
    let (_site, relay, _model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let reply = post(&relay.url("/v1/chat/completions"), chat("bytes-16777216"))
        .await
        .unwrap();
    assert_eq!(told(&reply), fault(502, "response_too_large"), "{}", reply.text());
    assert_eq!(
        post(&relay.url("/v1/chat/completions"), chat("quick"))
            .await
            .unwrap()
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_model_that_closes_after_reading_the_request_is_asked_once() {
    for shipped in [Shipped::Sidecar, Shipped::MeshFilter] {
        let (site, relay, model) = Site::connected(shipped).await.unwrap();
        let url = relay.url("/v1/chat/completions");
        for asked in 1..=3 {
            let reply = post(&url, chat("close-after-request")).await.unwrap();
            assert_eq!(told(&reply), fault(503, "adapter_unavailable"), "{}", reply.text());
            assert_eq!(model.ledger().count(), asked, "the model was asked again");
        }
        let reply = post(&url, chat("close-mid-answer")).await.unwrap();
        assert_eq!(told(&reply), fault(503, "adapter_unavailable"), "{}", reply.text());
        assert_eq!(model.ledger().count(), 4);
        assert_eq!(
            site.envoy.stat("cluster.adapter.upstream_rq_retry").await.unwrap(),
            Some(0)
        );
    }
}

#[tokio::test]
async fn a_request_that_takes_longer_than_request_timeout_is_503_adapter_timeout() {
    let plan = Plan::new(Shipped::Sidecar)
        .unwrap()
        .edit("# request_timeout: 600s", "request_timeout: 1s #")
        .unwrap();
    let (relay, model) = (
        plan.start_relay(|_| {}).await.unwrap(),
        plan.start_model().await.unwrap(),
    );
    let _site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let reply = post(&relay.url("/v1/chat/completions"), chat("delay-60s"))
        .await
        .unwrap();
    assert_eq!(told(&reply), fault(503, "adapter_timeout"), "{}", reply.text());
    assert_eq!(model.ledger().count(), 1);
}

#[tokio::test]
async fn a_wrong_key_is_said_once_and_not_tried_again_until_a_person_asks() {
    for refusal in [Refusal::Handshake, Refusal::Close] {
        let plan = Plan::new(Shipped::Sidecar).unwrap();
        let relay = plan.start_relay(|options| options.refusal = refusal).await.unwrap();
        let _model = plan.start_model().await.unwrap();
        relay.set_key("default", "another-key");
        let mut site = plan.start().await.unwrap();
        let status = site.relay_status_becomes("/state", "stopped".into()).await.unwrap();
        assert_eq!(status["last_error"]["code"], "authentication_failed");
        let line = site
            .envoy
            .process()
            .line("authentication failed", DEADLINE)
            .await
            .unwrap();
        assert!(line.contains("relay=default") && line.contains("error"), "{line}");
        let not_ready = site.status("/readyz").await.unwrap();
        assert_eq!(not_ready.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            not_ready.text().contains("authentication failed"),
            "{}",
            not_ready.text()
        );
        assert_eq!(
            site.envoy.admin("/ready").await.unwrap().status,
            StatusCode::OK,
            "Envoy keeps serving"
        );
        assert_eq!(site.status("/healthz").await.unwrap().status, StatusCode::OK);

        relay.set_key("default", KEY);
        assert_eq!(
            post(&site.status_url("/relays/none/reconnect"), "")
                .await
                .unwrap()
                .status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            post(&site.status_url("/relays/default/reconnect"), "")
                .await
                .unwrap()
                .status,
            StatusCode::ACCEPTED
        );
        relay.connected(1, DEADLINE).await.unwrap();
        assert_eq!(relay.journal().refusals(), 1, "it tried again by itself");
        assert_eq!(
            post(&relay.url("/v1/chat/completions"), chat("quick"))
                .await
                .unwrap()
                .status,
            StatusCode::OK
        );
        let said = site.envoy.process().output().matches("authentication failed").count();
        assert_eq!(said, 1, "said {said} times");
    }
}

// PROTOCOL §2.5: the same API key, unless its source has another by now
#[tokio::test]
async fn a_key_file_that_changes_restarts_a_relay_that_refused_the_old_key() {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let file = plan.scratch.write("api-key", "old-key\n").unwrap();
    let plan = plan
        .edit("{ env: SPECTRAL_BRIDGE_API_KEY }", &format!("{{ file: {file:?} }}"))
        .unwrap();
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let site = plan.start().await.unwrap();
    site.relay_status_becomes("/state", "stopped".into()).await.unwrap();
    site.plan.scratch.write("api-key", format!("{KEY}\n")).unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    assert_eq!(relay.journal().refusals(), 1);
}
