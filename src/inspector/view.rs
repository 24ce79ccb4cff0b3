//! The inspector's JSON as types.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::slots::{Ack, Slot};
use crate::status::snapshot::ProcessSnapshot;

/// What the page shows (`GET /inspector/data`).
#[derive(Debug, Serialize)]
pub struct View {
    /// As `GET /status` has it.
    pub status: ProcessSnapshot,
    /// The status server's clock, in seconds since 1970.
    pub now: f64,
    /// The last requests, the newest first.
    pub requests: Vec<Seen>,
    /// What went wrong with connections, the newest first.
    pub troubles: Vec<Trouble>,
    /// By relay.
    pub rates: BTreeMap<String, Rates>,
    /// Seconds from one figure of the rates to the next.
    pub rates_interval: f64,
    /// Whether any relay keeps bodies.
    pub keeps_content: bool,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// Names it among all.
    pub key: String,
    /// The relay.
    pub relay: String,
    /// When it came, in seconds since 1970.
    pub received: f64,
    /// The relay's id, at most 64 bytes of it.
    pub id: String,
    /// Its path, at most 96 bytes of it; absent when it is not known.
    pub path: Option<String>,
    /// The model that answered, or was asked; at most 64 bytes.
    pub model: Option<String>,
    /// Whether it has ended.
    pub over: bool,
    /// The status that its caller gets.
    pub status: Option<u16>,
    /// The code of an answer that the model did not give.
    pub fault: Option<&'static str>,
    /// How long it waited for its turn.
    pub queue_seconds: f64,
    /// How long it was at the model.
    pub forward_seconds: Option<f64>,
    /// How long after its answer the relay acknowledged that.
    pub ack_seconds: Option<f64>,
    /// Whether the answer was dropped, never acknowledged.
    pub ack_expired: bool,
    /// Input tokens the model reported.
    pub input_tokens: Option<u64>,
    /// Output tokens the model reported.
    pub output_tokens: Option<u64>,
    /// Whether its content was kept; that of the last few is there.
    pub content: bool,
}

/// Something that went wrong with a relay's connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trouble {
    /// The relay.
    pub relay: String,
    /// When, in seconds since 1970.
    pub at: f64,
    /// Short and bounded.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// What happened in each of the last intervals, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    /// Answers, faults among them.
    pub answers: Vec<u64>,
    /// Answers that the model did not give.
    pub faults: Vec<u64>,
    /// Input and output tokens.
    pub tokens: Vec<u64>,
    /// Requests at the model and waiting, at the end of the interval.
    pub in_flight: Vec<u64>,
}

impl Trouble {
    pub(super) fn now(code: &'static str, message: &str) -> Self {
        let end = message.floor_char_boundary(MESSAGE_BYTES);
        Self {
            relay: String::new(),
            at: since_1970(SystemTime::now()),
            code,
            message: message.get(..end).unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn of(mut self, relay: &str) -> Self {
        relay.clone_into(&mut self.relay);
        self
    }
}

pub(super) fn seen(relay: &str, recorder: u64, slot: &Slot) -> Seen {
    let (ack_seconds, ack_expired) = match slot.ack {
        Ack::Awaited => (None, false),
        Ack::After(waited) => (Some(waited.as_secs_f64()), false),
        Ack::Expired => (None, true),
    };
    Seen {
        key: format!("{recorder}-{}", slot.number),
        relay: relay.to_owned(),
        received: since_1970(slot.received),
        id: slot.id.shown(),
        path: (!slot.path.is_empty()).then(|| slot.path.shown()),
        model: (!slot.model.is_empty()).then(|| slot.model.shown()),
        over: slot.over,
        status: slot.status,
        fault: slot.fault,
        queue_seconds: slot.queue.as_secs_f64(),
        forward_seconds: slot.forward.as_ref().map(Duration::as_secs_f64),
        ack_seconds,
        ack_expired,
        input_tokens: slot.input_tokens,
        output_tokens: slot.output_tokens,
        content: slot.has_content,
    }
}

/// Seconds since 1970.
#[must_use]
pub fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// The longest message of a trouble that is kept.
const MESSAGE_BYTES: usize = 512;
