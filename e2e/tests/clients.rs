//! Promises to others' programs: the official `openai` package, and a version-1 relay as its authors published it.

use std::time::Duration;

use e2e::world::http::post;
use e2e::world::site::{DEADLINE, KEY, Plan, Shipped, Site, chat};
use e2e::world::{Process, command, eventually, python, workspace};
use hyper::StatusCode;
use serde_json::Value;

#[tokio::test]
async fn the_official_openai_client_gets_its_completions_through_the_module() {
    let (_site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let mut caller = command(python().unwrap());
    caller.arg(workspace().join("e2e/fixtures/openai_client.py"));
    caller
        .env("OPENAI_BASE_URL", relay.url("/v1"))
        .env("OPENAI_API_KEY", "unused");
    let mut caller = Process::start("openai", &mut caller).unwrap();
    let status = caller.exited(Duration::from_secs(60)).await.unwrap();
    let output = caller.output_to_end(DEADLINE).await;
    assert!(status.success(), "{output}");
    let said: Value = serde_json::from_str(output.trim()).unwrap();
    assert_eq!(said["chat"]["content"], "You said: hello from the openai package");
    assert_eq!(said["chat"]["total_tokens"], 12);
    assert_eq!(
        said["responses"]["output_text"],
        "You said: hello from the openai package"
    );
    assert_eq!(model.ledger().count(), 2);
}

#[tokio::test]
async fn a_version_1_relay_in_python_with_fastapi_works_unchanged() {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let url = format!("wss://localhost:{}/connect", plan.relay.port());
    let insecure = format!("ws://{}/connect", plan.relay);
    let plan = plan
        .edit(&url, &insecure)
        .unwrap()
        .edit("# insecure: false ", "insecure: true # ")
        .unwrap();
    let start = plan.text.find("tls: { ca_file").unwrap();
    let tls = plan.text[start..].split(" # ").next().unwrap().to_owned();
    let plan = plan.edit(&tls, "# ").unwrap();
    let _model = plan.start_model().await.unwrap();
    let mut relay = command(python().unwrap());
    relay.arg(workspace().join("e2e/fixtures/relay_v1.py"));
    relay.env("API_KEY", KEY).env("PORT", plan.relay.port().to_string());
    let _relay = Process::start("relay_v1", &mut relay).unwrap();
    let site = plan.start().await.unwrap();
    let status = site.relay_status_becomes("/state", "connected".into()).await.unwrap();
    assert_eq!(status["protocol"], 1);
    let url = format!("http://{}/v1/chat/completions", site.plan.relay);
    let reply = post(&url, chat("quick")).await.unwrap();
    assert_eq!(
        (reply.status, &reply.json()["choices"][0]["message"]["content"]),
        (StatusCode::OK, &"You said: Say something.".into())
    );
    let many: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { post(&url, chat("quick")).await }
            })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.unwrap().unwrap().status, StatusCode::OK);
    }
    let status = eventually("all answered", DEADLINE, || async {
        let status = site.relay_status().await.ok()?;
        (status["totals"]["responses"]["200"] == 21).then_some(status)
    });
    assert_eq!(status.await.unwrap()["held_responses"], 0, "version 1 holds nothing");
}
