//! The README's picture (`make inspector-picture`): not a promise, but made as a promise is kept.

use std::time::Duration;

use e2e::world::browser::Scheme;
use e2e::world::workspace;

use super::*;

#[tokio::test]
#[ignore = "writes a file into the tree: make inspector-picture"]
async fn picture() {
    let world = World::start().await;
    let behaviours = [
        "demo",
        "delay-120ms",
        "demo",
        "delay-350ms",
        "status-429",
        "demo",
        "html-200",
        "delay-80ms",
        "demo",
    ];
    for round in 0..40 {
        let some = behaviours.iter().cycle().skip(round).take(2 + (round * 7) % 5);
        let asked = some.map(|behaviour| {
            let words = vec!["word"; 5 + (round * 13) % 60].join(" ");
            let (url, body) = (world.relay.url("/v1/chat/completions"), named(behaviour, &words));
            tokio::spawn(async move { post(&url, body).await })
        });
        for asked in asked.collect::<Vec<_>>() {
            asked.await.unwrap().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1000)).await;
    }
    let url = world.relay.url("/v1/chat/completions");
    let slow = tokio::spawn(async move { post(&url, chat("delay-5s")).await });
    world
        .until("document.querySelector('#rows .code').textContent === 'under way'")
        .await;
    world.browser.size(1200, 860).await.unwrap();
    world.browser.prefer(Scheme::Light).await.unwrap();
    let place = workspace().join("envoy/inspector");
    world.browser.screenshot(&place.join("inspector.png")).await.unwrap();
    slow.await.unwrap().unwrap();
}
