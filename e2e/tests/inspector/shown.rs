//! What it shows, and when.

use e2e::model::{Behaviour, Exact, Gate};
use e2e::world::http::{get, post, send};
use hyper::{Method, StatusCode};

use super::*;

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn a_relayed_request_appears_while_the_page_is_open_and_so_does_a_fault() {
    let world = World::start().await;
    assert!(world.browser.text().await.unwrap().contains("No request yet."));
    // under way first, then answered
    let gate = Gate::default();
    world.model.next(Behaviour::Behind(gate.clone()));
    let url = world.relay.url("/v1/chat/completions");
    let asking = tokio::spawn(async move { post(&url, chat("demo")).await.unwrap() });
    world
        .until("document.querySelector('#rows .code')?.textContent === 'under way'")
        .await;
    gate.open();
    assert_eq!(asking.await.unwrap().status, StatusCode::OK);
    world
        .until("document.querySelector('#rows .code').textContent === '200'")
        .await;
    let row = world.newest().await;
    let books = world.model.tokens();
    assert_eq!(
        (&row["Path"], &row["Model"]),
        (&json!("/v1/chat/completions"), &json!("demo"))
    );
    assert_eq!(row["Tokens"], format!("{} / {}", books.input, books.output));
    assert_eq!(row["Fault"], "–");
    world
        .until("/until acknowledged [\\d.]+ m?s$/.test(document.querySelector('#rows svg').getAttribute('aria-label'))")
        .await;
    world.ask_and_see("html-200", 2).await;
    let row = world.newest().await;
    assert_eq!(
        (&row["Status"], &row["Fault"]),
        (&json!("502"), &json!("adapter_invalid_response"))
    );
    // refused on this side of the model, with the path that was asked for
    let forbidden = post(&world.relay.url("/relays/default/v1/files"), chat("demo"))
        .await
        .unwrap();
    assert_eq!(forbidden.error_code(), "path_not_allowed");
    world.until("document.querySelectorAll('#rows tr').length === 3").await;
    let row = world.newest().await;
    assert_eq!(
        (&row["Path"], &row["Status"], &row["Fault"]),
        (&json!("/v1/files"), &json!("404"), &json!("path_not_allowed"))
    );
    world
        .until("document.getElementById('errors').textContent.includes('path_not_allowed')")
        .await;
    assert_eq!(world.complaints().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn a_lost_relay_and_a_silent_server_are_told() {
    let world = World::start().await;
    world.ask_and_see("demo", 1).await;
    world.relay.shutdown().await;
    world
        .until("document.querySelector('#relays .pill').textContent.includes('disconnected')")
        .await;
    world.until("!document.getElementById('errors-region').hidden").await;
    world
        .until("document.getElementById('announcer').textContent.includes('not connected')")
        .await;
    drop(world.site);
    world
        .browser
        .until(
            "document.getElementById('banner').textContent.includes('does not answer')",
            DEADLINE,
        )
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn names_that_peers_choose_stay_text() {
    let world = World::start().await;
    let hostile = "<img src=x onerror=document.title='run'>";
    let answer = json!({ "id": "c", "object": "chat.completion", "model": hostile, "choices": [] });
    world
        .model
        .next(Behaviour::Exact(Exact::json(StatusCode::OK, answer.to_string())));
    world.ask_and_see(hostile, 1).await;
    assert_eq!(world.newest().await["Model"], hostile);
    world
        .until("document.querySelector('#rows img') === null && document.title === 'spectral-bridge inspector'")
        .await;
    // and what the page is not allowed to do, it cannot: its own rules stop a script that came in another way
    let script = "document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.1:1/x' }));";
    world.browser.run(script, &[]).await.unwrap();
    let complaints = world.complaints().await;
    assert!(
        complaints.iter().any(|line| line.contains("Content Security Policy")),
        "{complaints:?}"
    );
    let sink = "try { document.body.innerHTML = '<b>x</b>'; return 'written' } catch { return 'refused' }";
    assert_eq!(world.browser.run(sink, &[]).await.unwrap(), "refused");
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn other_sites_and_names_get_nothing() {
    let world = World::start().await;
    world.ask_and_see("demo", 1).await;
    for (name, value) in [
        ("host", "evil.test"),
        ("origin", "https://evil.test"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let url = world.site.status_url("/inspector/data");
        let reply = send(Method::GET, &url, &[(name, value)], "").await.unwrap();
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{name}");
    }
}

#[tokio::test]
async fn switched_off_it_is_not_there() {
    let mut plan = Plan::new(Shipped::Sidecar).unwrap();
    let at = plan.text.find("status:\n          listen:").unwrap() + "status:\n".len();
    plan.text.insert_str(at, "          inspector: false\n");
    let (_relay, _model) = (
        plan.start_relay(|_| {}).await.unwrap(),
        plan.start_model().await.unwrap(),
    );
    let site = plan.start().await.unwrap();
    for path in ["/", "/inspector", "/inspector/data"] {
        assert_eq!(
            get(&site.status_url(path)).await.unwrap().status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}
