//! Promises about relays that are hostile or unlucky: no frame of theirs ends the client, costs memory without bound,
//! or steers Envoy, and one that does not listen harms nobody else.

mod headers;
mod limits;
mod memory;
mod mute;
mod rubbish;
mod slow;

use std::time::Duration;

use e2e::relay::{Answer, DEFAULT_RELAY, Relay, Slot};
use e2e::world::site::{Plan, Shipped};

/// The sidecar with these settings of its relay instead of the commented defaults.
fn sidecar(settings: &[(&str, &str)]) -> Plan {
    settings
        .iter()
        .fold(Plan::new(Shipped::Sidecar).unwrap(), |plan, (name, value)| {
            let from = format!("# {name}: ");
            plan.edit(&from, &format!("{name}: {value} # ")).unwrap()
        })
}

/// A request frame for the demo model's `behaviour`.
fn request(id: &str, behaviour: &str) -> String {
    format!(
        r#"{{"type":"request","request_id":"{id}","payload":{{"method":"POST","path":"/v1/chat/completions","headers":{{}},"body":{{"model":"{behaviour}","messages":[]}}}}}}"#
    )
}

/// Sends a request frame with this payload and gives its answer.
async fn ask(slot: &Slot, id: &str, payload: &str) -> Answer {
    let frame = format!(r#"{{"type":"request","request_id":"{id}","payload":{payload}}}"#);
    slot.forward(id, frame.into()).await.unwrap()
}

fn slot(relay: &Relay) -> std::sync::Arc<Slot> {
    relay.slot(DEFAULT_RELAY).unwrap()
}

/// `error.code` of an answer.
fn code(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    body["error"]["code"].as_str().unwrap_or_default().to_owned()
}

/// For what takes long on a slow machine although nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(90);
