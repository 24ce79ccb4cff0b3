//! Promises about a request that crosses: relay, module in the real Envoy, model, and back.

use e2e::relay::DEFAULT_RELAY;
use e2e::world::http::{post, send};
use e2e::world::site::{DEADLINE, Plan, Shipped, Site, chat};
use hyper::{Method, StatusCode};

const BOTH: [Shipped; 2] = [Shipped::Sidecar, Shipped::MeshFilter];

#[tokio::test]
async fn both_apis_come_back_unchanged_to_the_byte_through_envoys_cluster_and_access_log() {
    for shipped in BOTH {
        let (mut site, relay, model) = Site::connected(shipped).await.unwrap();
        let odd = r#"{ "z":1, "a" : 12345678901234567890123, "f":1.10, "s":"\u00e9\/\ud83d\ude00", "messages":[{"role":"user","content":"Grüße"}] }"#;
        let chat = post(&relay.url("/v1/chat/completions"), odd).await.unwrap();
        let responses = post(
            &relay.url("/v1/responses"),
            r#"{"input":"hello","metadata":{"b":1,"a":2}}"#,
        )
        .await
        .unwrap();
        let exchanges = model.ledger().exchanges();
        assert_eq!(exchanges.len(), 2);
        for (reply, exchange, path) in [
            (&chat, &exchanges[0], "/v1/chat/completions"),
            (&responses, &exchanges[1], "/v1/responses"),
        ] {
            assert_eq!(
                (reply.status, exchange.path.as_str()),
                (StatusCode::OK, path),
                "{}",
                reply.text()
            );
            assert_eq!(
                Some(&reply.body),
                exchange.answer.as_ref(),
                "the answer changed on its way"
            );
            assert_eq!(reply.headers["content-type"], "application/json");
        }
        assert_eq!(exchanges[0].body, odd.as_bytes(), "the request changed on its way");
        assert_eq!(
            exchanges[1].body,
            r#"{"input":"hello","metadata":{"b":1,"a":2}}"#.as_bytes()
        );
        site.envoy
            .stat_becomes("cluster.adapter.upstream_rq_total", 2, DEADLINE)
            .await
            .unwrap();
        let id = exchanges[0].relayed_id().unwrap().to_owned();
        let line = site
            .envoy
            .process()
            .line(&format!("request={id}"), DEADLINE)
            .await
            .unwrap();
        assert!(
            line.contains("POST /v1/chat/completions 200") && line.contains("relay=default"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn end_to_end_headers_reach_the_model_and_nothing_that_would_steer_envoy() {
    let (_site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let slot = relay.slot(DEFAULT_RELAY).unwrap();
    slot.send_text(
        r#"{"type":"request","request_id":"h-1","payload":{"method":"POST","path":"/v1/chat/completions","body":{"messages":[]},
        "headers":{"content-type":"application/json","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "authorization":"Bearer of-the-caller","x-envoy-original-dst-host":"127.0.0.1:1","x-envoy-upstream-rq-timeout-ms":"1",
        "x-forwarded-for":"10.0.0.1","host":"elsewhere","accept-encoding":"gzip","x-spectral-bridge-relay":"forged"}}}"#,
    );
    model.ledger().wait(1, DEADLINE).await.unwrap();
    let seen = model.ledger().last().unwrap();
    assert!(
        seen.header("traceparent")
            .unwrap()
            .contains("0af7651916cd43dd8448eb211c80319c")
    );
    assert_eq!(seen.header("authorization"), Some("Bearer of-the-caller"));
    assert_eq!(seen.relayed_id(), Some("h-1"));
    assert_eq!(seen.header("x-request-id"), Some("h-1"));
    assert_eq!(seen.header("x-spectral-bridge-relay"), Some("default"));
    assert_eq!(seen.header("accept-encoding"), None);
    assert_eq!(seen.header("x-envoy-original-dst-host"), None);
    assert_ne!(seen.header("host"), Some("elsewhere"));
    assert!(
        !seen
            .headers
            .iter()
            .any(|(_, value)| value.as_bytes().windows(8).any(|w| w == b"10.0.0.1"))
    );
}

#[tokio::test]
async fn a_path_that_is_not_allowed_is_404_and_never_reaches_envoy() {
    let (site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    for path in [
        "/v1/models",
        "/v1/embeddings",
        "/admin",
        "/v1/chat/completions/",
        "/v1/chat/completions%2f..",
        "/V1/responses",
    ] {
        let reply = post(&relay.url(&format!("/relays/default{path}")), "{}").await.unwrap();
        assert_eq!(
            (reply.status, reply.error_code().as_str()),
            (StatusCode::NOT_FOUND, "path_not_allowed"),
            "{path}: {}",
            reply.text()
        );
    }
    assert_eq!(model.ledger().count(), 0);
    assert_eq!(
        site.envoy
            .stat("http.adapter.downstream_rq_total")
            .await
            .unwrap()
            .unwrap_or(0),
        0
    );
}

#[tokio::test]
async fn a_model_that_takes_20_seconds_and_an_answer_of_15_mib_come_through_the_shipped_files() {
    for shipped in BOTH {
        let (_site, relay, model) = Site::connected(shipped).await.unwrap();
        let url = relay.url("/v1/chat/completions");
        let (slow, large) = tokio::join!(post(&url, chat("delay-20s")), post(&url, chat("bytes-15728640")));
        let (slow, large) = (slow.unwrap(), large.unwrap());
        assert_eq!((slow.status, large.status), (StatusCode::OK, StatusCode::OK));
        assert_eq!(large.body.len(), 15 * 1024 * 1024);
        let answers: Vec<_> = model
            .ledger()
            .exchanges()
            .into_iter()
            .filter_map(|exchange| exchange.answer)
            .collect();
        assert!(
            answers.contains(&large.body) && answers.contains(&slow.body),
            "an answer changed on its way"
        );
    }
}

// PROTOCOL §1: multiple requests simultaneously
#[tokio::test]
async fn requests_do_not_wait_for_each_other() {
    let (_site, relay, _model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let url = relay.url("/v1/chat/completions");
    let slow = tokio::spawn({
        let url = url.clone();
        async move { post(&url, chat("delay-5s")).await }
    });
    for _ in 0..20 {
        assert_eq!(post(&url, chat("quick")).await.unwrap().status, StatusCode::OK);
    }
    assert!(!slow.is_finished(), "the quick ones waited for the slow one");
    assert_eq!(slow.await.unwrap().unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn the_status_says_what_crossed_on_its_port_and_under_envoys_admin() {
    let (site, relay, _model) = Site::connected(Shipped::Sidecar).await.unwrap();
    for _ in 0..3 {
        post(&relay.url("/v1/chat/completions"), chat("quick")).await.unwrap();
    }
    let status = site.relay_status_becomes("/totals/requests", 3.into()).await.unwrap();
    assert_eq!(status["state"], "connected");
    assert_eq!(status["protocol"], 2);
    assert_eq!(status["totals"]["responses"]["200"], 3);
    assert_eq!(status["totals"]["connections"], 1);
    assert!(
        status["totals"]["input_tokens"].as_u64().unwrap() > 0
            && status["totals"]["output_tokens"].as_u64().unwrap() > 0
    );
    site.relay_status_becomes("/held_responses", 0.into()).await.unwrap();
    let admin = site.envoy.admin("/spectral_bridge").await.unwrap();
    assert_eq!(
        (admin.status, &admin.json()["relays"][0]["totals"]["requests"]),
        (StatusCode::OK, &3.into())
    );
    assert_eq!(site.status("/readyz").await.unwrap().status, StatusCode::OK);
    assert_eq!(site.status("/healthz").await.unwrap().status, StatusCode::OK);
    site.envoy
        .stat_becomes("cluster.spectral_bridge_status.membership_healthy", 1, DEADLINE)
        .await
        .unwrap();
    let rebound = send(
        Method::GET,
        &site.status_url("/status"),
        &[("origin", "https://evil.example")],
        "",
    )
    .await
    .unwrap();
    assert_eq!(rebound.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_relay_that_is_down_at_start_keeps_nothing_from_starting_and_is_found_when_it_appears() {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let _model = plan.start_model().await.unwrap();
    let site = plan.start().await.unwrap();
    let down = site
        .relay_status_becomes("/last_error/code", "connect".into())
        .await
        .unwrap();
    assert!(
        down["last_error"]["message"]
            .as_str()
            .unwrap()
            .contains("cannot connect to the relay localhost:"),
        "{down}"
    );
    let not_ready = site.status("/readyz").await.unwrap();
    assert_eq!(not_ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(not_ready.text().contains("relay default"), "{}", not_ready.text());
    let relay = site.plan.start_relay(|_| {}).await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    assert_eq!(
        post(&relay.url("/v1/chat/completions"), chat("quick"))
            .await
            .unwrap()
            .status,
        StatusCode::OK
    );
}
