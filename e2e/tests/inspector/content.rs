//! What it shows of prompts and answers: nothing, unless the configuration asks for it.

use e2e::world::browser::keys::{ENTER, ESCAPE};

use super::*;

const PROMPT: &str = "canary-prompt-4711";

async fn open_newest(world: &World) -> String {
    world
        .browser
        .run("document.querySelector('#rows button').focus()", &[])
        .await
        .unwrap();
    world.browser.press(ENTER).await.unwrap();
    world
        .until("document.getElementById('details').open && document.getElementById('content').textContent")
        .await;
    let script = "return document.getElementById('content').innerText";
    world
        .browser
        .run(script, &[])
        .await
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn no_content_by_default() {
    let world = World::start().await;
    world.ask(&named("demo", PROMPT)).await;
    world.until("document.querySelectorAll('#rows tr').length === 1").await;
    let shown = open_newest(&world).await;
    assert_eq!(shown, "No content is kept: status.inspector.bodies is not set.");
    let data = world.site.status("/inspector/data").await.unwrap();
    for content in [PROMPT, "You said"] {
        assert!(!data.text().contains(content), "{}", data.text());
    }
    assert_eq!(data.json()["requests"][0]["content"], false);
    let key = data.json()["requests"][0]["key"].as_str().unwrap().to_owned();
    let content = world.site.status(&format!("/inspector/content/{key}")).await.unwrap();
    assert_eq!(content.status, 403);
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn with_the_option_bodies_are_shown_without_secrets() {
    let world = World::with("          inspector: { bodies: true }\n").await;
    let body = json!({
        "model": "demo",
        "messages": [{ "role": "user", "content": format!("{PROMPT} and sk-canary0123456789abcdef") }],
        "tools": [{ "type": "mcp", "authorization": "canary-tool-secret" }],
    });
    world.ask(&body.to_string()).await;
    world.until("document.querySelectorAll('#rows tr').length === 1").await;
    world
        .until("document.querySelector('#rows .code').textContent === '200'")
        .await;
    let shown = open_newest(&world).await;
    world
        .until("document.querySelectorAll('#content pre').length === 4")
        .await;
    let script = "return document.getElementById('content').innerText";
    let shown = format!("{shown}{}", world.browser.run(script, &[]).await.unwrap());
    for expected in [PROMPT, "content-type: application/json", "[hidden]", "You said"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    for secret in ["sk-canary", "canary-tool-secret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    world.browser.press(ESCAPE).await.unwrap();
    world.until("!document.getElementById('details').open").await;
    assert_eq!(world.complaints().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn with_a_token_bodies_are_for_whoever_has_it() {
    let options = "          token: { env: INSPECTOR_TOKEN }\n          inspector: { bodies: true }\n";
    let world = World::with(options).await;
    world.ask(&named("demo", PROMPT)).await;
    world
        .until("document.querySelector('#rows .code')?.textContent === '200'")
        .await;
    let shown = open_newest(&world).await;
    assert!(shown.contains("token of status.token"), "{shown}");
    world.browser.press(&format!("wrong{ENTER}")).await.unwrap();
    world
        .until("document.getElementById('content').textContent.includes('not the token')")
        .await;
    world.browser.press(&format!("{TOKEN}{ENTER}")).await.unwrap();
    world
        .until("document.getElementById('content').textContent.includes('canary-prompt-4711')")
        .await;
}
