//! The relay server of the test world against PROTOCOL §3, driven by hand-written frames over a plain WebSocket.
//!
//! Every later test trusts this server; here it is the one on trial. Nothing of our own client takes part.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod connecting;
mod forwarding;
mod limits;
mod provisioning;
mod reconnecting;
mod stopping;
mod version_1;

use std::sync::Arc;
use std::time::Duration;

use e2e::failed::Result;
use e2e::relay::{DEFAULT_RELAY, Relay, RelayOptions, Slot, Version};
use e2e::world::http::{self, Reply};
use tokio::task::JoinHandle;

/// Longer than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(10);
const KEY: &str = "the-key";
const CHAT: &str = "/v1/chat/completions";

async fn relay() -> Relay {
    relay_with(|_| {}).await
}

async fn relay_with(change: impl FnOnce(&mut RelayOptions)) -> Relay {
    let mut options = RelayOptions::new(Version::V2, KEY);
    change(&mut options);
    Relay::start(options).await.unwrap()
}

fn slot(relay: &Relay) -> Arc<Slot> {
    relay.slot(DEFAULT_RELAY).unwrap()
}

/// A caller in the background.
fn call(relay: &Relay, path: &str, body: impl Into<bytes::Bytes>) -> JoinHandle<Result<Reply>> {
    let (url, body) = (relay.url(path), body.into());
    tokio::spawn(async move { http::post(&url, body).await })
}

async fn answer(call: JoinHandle<Result<Reply>>) -> Reply {
    tokio::time::timeout(PATIENCE, call)
        .await
        .expect("the caller got no answer")
        .unwrap()
        .unwrap()
}
