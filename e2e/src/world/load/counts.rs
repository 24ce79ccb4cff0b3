//! What the module says of itself, laid beside the callers' account.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::Account;
use crate::failed::{Failed, Result};
use crate::world::site::{DEADLINE, Site};
use crate::world::{eventually, http};

/// The numbers of `/status`, summed over all relays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests taken.
    pub requests: u64,
    /// Requests received again.
    pub duplicate_requests: u64,
    /// Responses given.
    pub responses: u64,
    /// Those with status 200.
    pub ok: u64,
    /// Responses sent again.
    pub resent_responses: u64,
    /// Responses dropped, never acknowledged.
    pub expired_responses: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Requests at the adapter, waiting for it, and answered but not acknowledged.
    pub open: u64,
    /// Bytes of requests and answers.
    pub held_bytes: u64,
}

impl Counts {
    /// As they are now.
    ///
    /// # Errors
    /// The status server does not answer.
    pub async fn of(site: &Site) -> Result<Self> {
        let status = site.status("/status").await?.json();
        let relays = status.get("relays").and_then(Value::as_array);
        let mut counts = Self::default();
        for relay in relays.ok_or_else(|| Failed::new(format!("no relays in {status}")))? {
            counts.add(relay);
        }
        Ok(counts)
    }

    fn add(&mut self, relay: &Value) {
        let count = |at: &str| relay.pointer(at).and_then(Value::as_u64).unwrap_or_default();
        let by_status = relay.pointer("/totals/responses").and_then(Value::as_object);
        self.requests += count("/totals/requests");
        self.duplicate_requests += count("/totals/duplicate_requests");
        self.responses += by_status.map_or(0, |all| all.values().filter_map(Value::as_u64).sum());
        self.ok += count("/totals/responses/200");
        self.resent_responses += count("/totals/resent_responses");
        self.expired_responses += count("/totals/expired_responses");
        self.connections += count("/totals/connections");
        self.disconnects += count("/totals/disconnects");
        self.open += count("/in_flight") + count("/queued") + count("/held_responses");
        self.held_bytes += count("/held_bytes");
    }

    /// Waits until the module holds nothing.
    ///
    /// # Errors
    /// It still did after a while.
    pub async fn at_rest(site: &Site) -> Result<Self> {
        let rest = eventually("nothing is in flight or held", DEADLINE, || async {
            let counts = Self::of(site).await.ok()?;
            (counts.open == 0 && counts.held_bytes == 0).then_some(counts)
        });
        match rest.await {
            Ok(counts) => Ok(counts),
            Err(late) => Err(late.during(&site.status("/status").await?.text())),
        }
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            duplicate_requests: self.duplicate_requests - before.duplicate_requests,
            responses: self.responses - before.responses,
            ok: self.ok - before.ok,
            resent_responses: self.resent_responses - before.resent_responses,
            expired_responses: self.expired_responses - before.expired_responses,
            connections: self.connections - before.connections,
            disconnects: self.disconnects - before.disconnects,
            ..self
        }
    }

    /// Checks these counts, made at rest, against what callers and model saw: equal, but for requests that were lost
    /// with a relay, of which nobody can say whether they had reached the module.
    ///
    /// # Errors
    /// They do not agree.
    pub fn agree(&self, account: &Account) -> Result<()> {
        let lost = account.relay_gone as u64;
        let within = |counted: u64, told: usize| (told as u64..=told as u64 + lost).contains(&counted);
        let wrong = if self.requests != self.responses {
            "requests and responses of the module differ"
        } else if !within(self.responses, account.answered + account.unavailable) {
            "the module's responses are not what the callers got"
        } else if !within(self.ok, account.answered) {
            "the module's answers are not what the callers got"
        } else if self.ok > account.seen as u64 {
            "the module gave more answers than the model"
        } else if self.expired_responses != 0 {
            "a response was dropped"
        } else {
            return Ok(());
        };
        Err(Failed::new(format!("{wrong}: {self:?}; {account}")))
    }
}

/// A person who asks for a new attempt whenever a client waits for its next.
///
/// # Errors
/// The status server does not answer.
pub async fn impatient(site: &Site) -> Result<std::convert::Infallible> {
    loop {
        let status = site.status("/status").await?.json();
        for relay in status.get("relays").and_then(Value::as_array).into_iter().flatten() {
            let text = |what| relay.get(what).and_then(Value::as_str).unwrap_or_default();
            if text("state") == "backing_off" {
                http::post(&site.status_url(&format!("/relays/{}/reconnect", text("name"))), "").await?;
            }
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// How often that person looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
