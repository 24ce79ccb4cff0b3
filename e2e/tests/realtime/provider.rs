//! The way to the provider: verified TLS, what is refused, and a local server instead.

use e2e::world::{Leaf, workspace};

use super::*;

/// A session and a plain request fail clearly, and the provider hears of neither.
async fn assert_not_trusted(plan: Plan, certificate: &str) {
    // of several addresses Envoy tells why one of them failed, and the test's provider has none of IPv6
    let plan = plan.edit("dns_lookup_family: ALL", "dns_lookup_family: V4_ONLY");
    let mut site = plan.start_model().await;
    for (id, status) in [
        ("socket", site.refused("socket", "/v1/responses", &[]).await.status()),
        (
            "http",
            site.gateway
                .post("http", "/v1/chat/completions", "{}")
                .await
                .unwrap()
                .status,
        ),
    ] {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{certificate}: {id}");
        let line = site.gateway.logged(id).await.unwrap();
        assert_eq!(
            (&line["status"], &line["flags"]),
            (&json!(503), &json!("UF")),
            "{certificate}: {line}"
        );
        let why = line["tls_failure"].as_str().unwrap();
        assert!(why.contains("CERTIFICATE_VERIFY_FAILED"), "{certificate}: {line}");
    }
    assert_eq!(site.provider.ledger().count(), 0, "{certificate}");
    let output = site.gateway.envoy.process().output();
    assert!(!output.contains("session started"), "{certificate}:\n{output}");
    site.shows("streams_active", &[], 0.0).await;
}

#[tokio::test]
async fn a_provider_that_cannot_prove_who_it_is_gets_nothing() {
    let names = |names: &'static [&'static str], expired| Leaf { names, expired };
    for (what, leaf) in [
        ("another name", names(&["provider.example.com"], false)),
        ("expired", names(&["localhost"], true)),
    ] {
        let mut plan = Plan::new();
        let authority = plan.certificates.authority.clone();
        plan.certificates.server = authority.issue(&plan.scratch, "bad", leaf).unwrap();
        assert_not_trusted(plan, what).await;
    }
    let mut plan = Plan::new();
    let stranger = e2e::world::Authority::new("a stranger").unwrap();
    plan.certificates.server = stranger.issue(&plan.scratch, "strange", Leaf::good()).unwrap();
    assert_not_trusted(plan, "a stranger's signature").await;
}

#[tokio::test]
async fn a_provider_that_is_down_or_refuses_is_told_of_and_no_session() {
    let mut site = Plan::new()
        .edit("PROVIDER_API_KEY", "WRONG_KEY")
        .with("WRONG_KEY", "canary-wrong-key-64")
        .start_model()
        .await;
    let answer = site.refused("refused", "/v1/realtime?model=m", &[]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    site.provider.stop().await;
    let answer = site.refused("down", "/v1/responses", &[]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let line = site.gateway.logged("down").await.unwrap();
    assert_eq!(
        (&line["turns"], &line["close_code"]),
        (&Value::Null, &Value::Null),
        "{line}"
    );
    let output = site.gateway.envoy.process().output();
    assert!(!output.contains("session started"), "{output}");
    site.shows(
        "requests_total",
        &[("operation", "chat"), ("model", "unknown"), ("outcome", "server_error")],
        1.0,
    )
    .await;
}

#[tokio::test]
async fn only_the_two_paths_become_websockets() {
    let site = Plan::new().start_echo().await;
    for target in [
        "/v1/chat/completions",
        "/v1/responses/",
        "/v1/realtime/calls",
        "/",
        "/v1/responsesx",
    ] {
        let answer = site.refused("elsewhere", target, &[]).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{target}");
    }
    assert_eq!(site.provider.handshakes().len(), 0);
    for target in [
        "/v1/responses",
        "/v1/responses?x=1",
        "/v1/realtime",
        "/v1/realtime?model=m",
    ] {
        drop(site.dial("here", target).await);
    }
    assert_eq!(site.provider.handshakes().len(), 4);
}

/// The file as its last comment says: the cluster of a local server in place of the provider's.
fn with_local_server(text: &str) -> String {
    let (before, after) = text.split_once("  - name: provider\n    # EDIT 3").unwrap();
    let (_, local) = after.split_once("  # Instead, ").unwrap();
    let local = local.lines().skip(1).map(|line| line.strip_prefix("  # ").unwrap());
    let local: Vec<_> = local.map(|line| format!("  {line}\n")).collect();
    let without_host: Vec<_> = before
        .lines()
        .filter(|line| !line.contains("host_rewrite_literal"))
        .collect();
    without_host.join("\n") + "\n" + &local.concat()
}

#[tokio::test]
async fn a_local_server_can_stand_in_the_providers_place() {
    let plan = Plan::new();
    let shipped = std::fs::read_to_string(workspace().join("envoy/realtime.yaml")).unwrap();
    let file = plan.scratch.write("local.yaml", with_local_server(&shipped)).unwrap();
    let options = ModelOptions {
        key: Some(PROVIDERS_KEY.to_owned()),
        ..ModelOptions::default()
    };
    let model = Model::start_with(options).await.unwrap();
    let gateway = Gateway::start_with(file.to_str().unwrap(), model.address(), &[], &plan.variables);
    let mut site = Site {
        gateway: gateway.await.unwrap(),
        provider: model,
        scratch: plan.scratch,
    };
    let mut socket = site.dial("local", "/v1/responses").await;
    answered(&mut socket, "demo", "one two three").await;
    drop(socket);
    let line = site.gateway.logged("local").await.unwrap();
    assert_eq!(
        (&line["turns"], &line["input_tokens"]),
        (&json!(1), &json!(3)),
        "{line}"
    );
}
