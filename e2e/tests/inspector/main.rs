//! Promises of the inspector, the page of the status server, kept in a real Chromium on a real Envoy, relay and model.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod content;
mod picture;
mod reach;
mod shown;

use e2e::model::Model;
use e2e::relay::Relay;
use e2e::world::Browser;
use e2e::world::http::{Reply, post};
use e2e::world::site::{DEADLINE, Plan, Shipped, Site, chat};
use serde_json::{Value, json};

/// A connected site, and the inspector open in a browser.
struct World {
    site: Site,
    relay: Relay,
    model: Model,
    browser: Browser,
}

impl World {
    async fn start() -> Self {
        Self::with("").await
    }

    /// With this under `status` in the configuration.
    async fn with(inspector: &str) -> Self {
        let mut plan = Plan::new(Shipped::Sidecar).unwrap();
        let at = plan.text.find("status:\n          listen:").unwrap() + "status:\n".len();
        plan.text.insert_str(at, inspector);
        let relay = plan.start_relay(|_| {}).await.unwrap();
        let model = plan.start_model().await.unwrap();
        plan.variables.push(("INSPECTOR_TOKEN".into(), TOKEN.into()));
        let site = plan.start().await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        let browser = Browser::start(1280, 900).await.unwrap();
        browser.open(&site.status_url("/")).await.unwrap();
        let world = Self {
            site,
            relay,
            model,
            browser,
        };
        world
            .until("document.getElementById('ready').textContent === 'Connected'")
            .await;
        world
    }

    async fn ask(&self, body: &str) -> Reply {
        post(&self.relay.url("/v1/chat/completions"), body.to_owned())
            .await
            .unwrap()
    }

    /// Asks for a behaviour of the demo model, and waits until the page shows so many requests.
    async fn ask_and_see(&self, behaviour: &str, rows: usize) {
        self.ask(&chat(behaviour)).await;
        self.until(&format!("document.querySelectorAll('#rows tr').length === {rows}"))
            .await;
    }

    async fn until(&self, expression: &str) {
        self.browser.until(expression, DEADLINE).await.unwrap();
    }

    /// What the newest request's cells say, by their labels.
    async fn newest(&self) -> Value {
        let script = "return Object.fromEntries([...document.querySelector('#rows tr').cells].map(c => [c.dataset.label, c.textContent.trim()]))";
        self.browser.run(script, &[]).await.unwrap()
    }

    async fn complaints(&self) -> Vec<String> {
        self.browser.complaints().await.unwrap()
    }
}

fn named(model: &str, content: &str) -> String {
    json!({ "model": model, "messages": [{ "role": "user", "content": content }] }).to_string()
}

const TOKEN: &str = "canary-inspector-token";
