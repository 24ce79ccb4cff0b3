//! Promises about telemetry, seen in a collector: what was used is told once, exactly, and telling costs nobody anything.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod exact;
mod sums;
mod trouble;
mod variables;

use e2e::model::Model;
use e2e::otlp::{Point, Protocol, Sink};
use e2e::relay::Relay;
use e2e::world::http::{Reply, post};
use e2e::world::site::{DEADLINE, Plan, Shipped, Site};
use serde_json::json;

/// A site that exports to a collector.
struct Watched {
    sink: Sink,
    site: Site,
    relay: Relay,
    model: Model,
}

impl Watched {
    /// On the shipped sidecar.
    async fn start(protocol: Protocol) -> Self {
        Self::planned(protocol, |plan| plan).await
    }

    /// With these variables, too.
    async fn with(variables: &[(&str, &str)]) -> Self {
        Self::planned(Protocol::Grpc, |mut plan| {
            let variables = variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            plan.variables.extend(variables);
            plan
        })
        .await
    }

    async fn planned(protocol: Protocol, change: impl FnOnce(Plan) -> Plan) -> Self {
        let sink = Sink::start().await.unwrap();
        let plan = Plan::new(Shipped::Sidecar).unwrap();
        let plan = change(plan.exporting(&sink.endpoint(protocol), protocol));
        let relay = plan.start_relay(|_| {}).await.unwrap();
        let model = plan.start_model().await.unwrap();
        let site = plan.start().await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        Self {
            sink,
            site,
            relay,
            model,
        }
    }

    /// Asks the model by the relay: eight words, of which ten come back, four cached and three thought.
    async fn ask(&self, model: &str) -> Reply {
        post(&self.relay.url("/v1/chat/completions"), eight(model))
            .await
            .unwrap()
    }

    /// The one series of `name` with these attributes, once it counts `count` exchanges.
    async fn counted(&self, name: &str, with: &[(&str, &str)], count: u64) -> Point {
        let one = |sink: &Sink| {
            let mut points = sink.latest(name, with).into_iter();
            points
                .next()
                .filter(|point| point.count() == count && points.next().is_none())
        };
        self.sink.wait(name, DEADLINE, one).await.unwrap()
    }
}

fn eight(model: &str) -> String {
    let said = "one two three four five six seven eight";
    json!({"model": model, "messages": [{"role": "user", "content": said}]}).to_string()
}

const TOKENS: &str = "gen_ai.client.token.usage";
const DURATION: &str = "gen_ai.client.operation.duration";
const MISSING: &str = "spectral_bridge.usage.missing";
