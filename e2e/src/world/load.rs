//! Callers of a relay who know what they are owed, and the account of what they got.
//!
//! Every request carries a tag of its own; the model repeats what it was told, so each answer can be laid beside what
//! the model's ledger says. Driven by the tests of faults and by the soak. Deliberately absent: the faults.

mod account;
mod counts;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

pub use account::{Account, Seen};
pub use counts::{Counts, impatient};

use super::http::{self, Reply};
use super::seed::Seed;
use crate::failed::Result;
use crate::locked;
use crate::relay::Relay;

/// Callers of one relay server.
#[derive(Debug)]
pub struct Callers {
    urls: Vec<String>,
    seed: Seed,
    sizes: RangeInclusive<u64>,
    models: Vec<&'static str>,
    pace: Duration,
    tags: AtomicU64,
    records: Mutex<Vec<Record>>,
    done: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Tells it from all others.
    pub tag: u64,
    /// Of the body.
    pub sent: Digest,
    /// What the caller got.
    pub outcome: Outcome,
}

/// Bytes, remembered by their number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(usize, u64);

/// What a caller got: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200 with this body.
    Answered(Digest),
    /// 503 `adapter_unavailable` from the relay client.
    Unavailable,
    /// The relay could not send it (PROTOCOL §2.5: one that cannot be sent fails straight away).
    NotSent,
    /// The relay ended while it had it.
    RelayGone,
    /// Anything else, which nothing here explains.
    Unexplained(String),
}

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(
            bytes.len(),
            BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes),
        )
    }
}

impl Callers {
    /// Callers of the relays `ids` of `relay`, in turn, with questions of these sizes.
    #[must_use]
    pub fn new(relay: &Relay, ids: &[&str], sizes: RangeInclusive<u64>, seed: Seed) -> Self {
        let url = |id: &&str| relay.url(&format!("/relays/{id}/v1/chat/completions"));
        Self {
            urls: ids.iter().map(url).collect(),
            seed,
            sizes,
            models: vec!["demo"],
            pace: Duration::ZERO,
            tags: AtomicU64::new(0),
            records: Mutex::default(),
            done: watch::Sender::new(0),
            open: watch::Sender::new(true),
        }
    }

    /// Asks for these models in turn; by default for one that repeats what it is told at once.
    #[must_use]
    pub fn asking(mut self, models: &[&'static str]) -> Self {
        self.models = models.to_vec();
        self
    }

    /// Takes a breath of this length after every answer.
    #[must_use]
    pub fn paced(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Asks while `more` says so, with `lanes` requests under way. What the relay could not send is asked again, under
    /// a new tag.
    pub async fn run(&self, lanes: usize, more: impl Fn() -> bool) {
        let lane = |lane: usize| {
            let more = &more;
            async move {
                let Some(url) = self.urls.get(lane % self.urls.len()) else {
                    return;
                };
                while more() {
                    while self.ask(url).await == Outcome::NotSent {}
                    if !self.pace.is_zero() {
                        sleep(self.pace).await;
                    }
                }
            }
        };
        futures_util::future::join_all((0..lanes).map(lane)).await;
    }

    async fn ask(&self, url: &str) -> Outcome {
        let mut open = self.open.subscribe();
        // The sender lives as long as we do.
        drop(open.wait_for(|open| *open).await);
        let tag = self.tags.fetch_add(1, Ordering::SeqCst);
        let body = self.question(tag);
        let sent = Digest::of(body.as_bytes());
        let outcome = Outcome::of(http::post(url, body).await);
        let record = Record {
            tag,
            sent,
            outcome: outcome.clone(),
        };
        locked(&self.records).push(record);
        if outcome != Outcome::NotSent {
            self.done.send_modify(|done| *done += 1);
        }
        outcome
    }

    fn question(&self, tag: u64) -> String {
        let size = usize::try_from(self.seed.magnitude(tag, &self.sizes)).unwrap_or_default();
        let draw = usize::try_from(self.seed.draw(tag) >> 33).unwrap_or_default();
        let model = self.models.get(draw % self.models.len()).copied().unwrap_or("demo");
        let text = format!("{tag} ").repeat(size / 4 + 1);
        let text = text.get(..size).unwrap_or(&text);
        let body = json!({ "messages": [{ "role": "user", "content": text }], "model": model });
        // The account reads the tag without parsing the rest.
        format!("{TAG}{tag},{}", body.to_string().trim_start_matches('{'))
    }

    /// Requests with an outcome so far; those that the relay could not send are asked again, and do not count.
    #[must_use]
    pub fn done(&self) -> usize {
        *self.done.borrow()
    }

    /// Waits until [`Callers::done`] has reached `count`.
    pub async fn reached(&self, count: usize) {
        // The sender lives as long as we do.
        drop(self.done.subscribe().wait_for(|done| *done >= count).await);
    }

    /// Lets nobody ask until [`Callers::resume`]; what is under way goes on.
    pub fn pause(&self) {
        self.open.send_replace(false);
    }

    /// Lets them ask again.
    pub fn resume(&self) {
        self.open.send_replace(true);
    }

    /// What became of the requests since the last call.
    #[must_use]
    pub fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut *locked(&self.records))
    }
}

impl Outcome {
    fn of(reply: Result<Reply>) -> Self {
        let Ok(reply) = reply else { return Self::RelayGone };
        let kind = reply.json().pointer("/error/type").cloned().unwrap_or_default();
        let code = reply.error_code();
        match (reply.status.as_u16(), kind.as_str().unwrap_or_default(), code.as_str()) {
            (200, _, _) => Self::Answered(Digest::of(&reply.body)),
            (503, "relay_client_error", "adapter_unavailable") => Self::Unavailable,
            (503, "relay_error", "not_sent" | "client_away" | "client_never_connected") => Self::NotSent,
            (503, "relay_error", "relay_stopping") => Self::RelayGone,
            _ => Self::Unexplained(reply.text().chars().take(300).collect()),
        }
    }
}

/// How every question begins.
const TAG: &str = r#"{"tag":"#;
