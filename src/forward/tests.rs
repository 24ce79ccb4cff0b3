//! Promises of the forwarder, each kept towards a listener that tests script byte by byte.

mod at_most_once;
mod bounds;
mod requests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::scripted::{Envoy, within};
use super::*;
use crate::config::{Forward, Relay};
use crate::relay::testing::{Scratch, relay};

/// A forwarder, the listener it talks to, and what it may hold.
struct World {
    envoy: Envoy,
    forwarder: Arc<Forwarder>,
    budget: Budget,
    dir: Scratch,
}

impl World {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// A world whose configuration `change` has changed.
    fn with(change: impl FnOnce(&mut Relay, &mut Forward)) -> Self {
        let dir = Scratch::new();
        let envoy = Envoy::listen(&dir);
        let (mut relay, mut forward) = (relay("relay.test", 443, true), envoy.forward());
        relay.name = "eu-1".to_owned();
        change(&mut relay, &mut forward);
        let budget = Budget::new(relay.max_held_bytes);
        let secrets = Arc::new(HeaderSecrets::new(forward.headers.clone()));
        let forwarder = Arc::new(Forwarder::new(
            &relay,
            &forward,
            secrets,
            budget.clone(),
            Telemetry::default(),
        ));
        Self {
            envoy,
            forwarder,
            budget,
            dir,
        }
    }

    /// Forwards a request in the background.
    fn forward(&self, request: ForwardRequest<Hold>) -> tokio::task::JoinHandle<Forwarded> {
        let forwarder = Arc::clone(&self.forwarder);
        tokio::spawn(async move { forwarder.forward(request).await })
    }

    /// Forwards a plain request in the background.
    fn ask(&self) -> tokio::task::JoinHandle<Forwarded> {
        self.forward(request("{}"))
    }

    /// Forwards a request to its end with `script` as the listener's part.
    async fn exchange(&self, script: impl AsyncFnOnce(&Envoy)) -> Forwarded {
        let asking = self.ask();
        script(&self.envoy).await;
        within(asking).await.unwrap()
    }
}

fn request(body: &str) -> ForwardRequest<Hold> {
    ForwardRequest {
        id: RequestId::from("r-1"),
        method: Method::POST,
        path: "/v1/responses".into(),
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_owned()),
        received: Instant::now(),
        deadline: Instant::now() + Duration::from_secs(600),
        hold: None,
    }
}

/// The response's payload.
fn payload(forwarded: &Forwarded) -> Value {
    let frame: Value = serde_json::from_str(&forwarded.response.frame).unwrap();
    assert_eq!(
        (&frame["type"], &frame["request_id"]),
        (&"response".into(), &"r-1".into())
    );
    frame["payload"].clone()
}

/// Status, `error.code` and message of an answer that the adapter did not give.
fn fault(forwarded: &Forwarded) -> (u64, String, String) {
    let payload = payload(forwarded);
    let error = &payload["body"]["error"];
    assert_eq!(error["type"], "relay_client_error", "{payload}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        payload["status"].as_u64().unwrap(),
        text(&error["code"]),
        text(&error["message"]),
    )
}
