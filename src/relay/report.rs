//! What people are told about a relay: log lines and the last error.

use std::time::{Duration, Instant};

use crate::config::Relay;
use crate::protocol::{Event, StopReason};

/// The last thing that went wrong.
#[derive(Debug, Clone)]
pub struct LastError {
    /// Short and bounded.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// When it went wrong.
    pub at: Instant,
}

/// Logs `event`; returns it as an error if it is one that a person should see in the status.
pub(super) fn report(config: &Relay, event: &Event, now: Instant) -> Option<LastError> {
    let relay = config.name.as_str();
    match event {
        Event::Connected(version) => {
            let (protocol, labels) = (version.number(), labels(config));
            tracing::info!(relay, protocol, labels, "connected to the relay");
            None
        }
        Event::Disconnected { why, retry_in } => {
            let (code, seconds) = (why.code(), seconds(*retry_in));
            match code {
                "rotation" => {
                    tracing::info!(relay, "the relay rotated the connection, reconnecting in {seconds} s");
                    return None;
                }
                "replaced" => tracing::error!(relay, code, "{why}; reconnecting in {seconds} s"),
                _ => tracing::warn!(relay, code, "{why}; reconnecting in {seconds} s"),
            }
            Some(LastError {
                code,
                message: why.to_string(),
                at: now,
            })
        }
        Event::Stopped(reason) => Some(stopped(relay, reason, now)),
        Event::Refused { id, code, .. } => {
            tracing::info!(relay, request_id = ?id, code, "request refused without asking the adapter");
            None
        }
        Event::Faulted { id, code } => {
            tracing::warn!(relay, request_id = ?id, code, "no answer from the adapter that can be relayed");
            None
        }
        Event::TimedOut { id } => {
            tracing::warn!(relay, request_id = ?id, "no complete answer from the adapter within request_timeout");
            None
        }
        Event::Acknowledged { .. } => None,
        Event::ResponseExpired { id } => {
            tracing::warn!(relay, request_id = ?id, "dropped a response that the relay never acknowledged within request_timeout");
            None
        }
        Event::FrameIgnored(why) => {
            tracing::debug!(relay, code = why.code(), "ignored a frame from the relay");
            None
        }
        Event::Paused(by) => {
            tracing::info!(
                relay,
                by = by.name(),
                "paused: new requests are answered 503 until it is resumed"
            );
            None
        }
        Event::Resumed(by) => {
            tracing::info!(relay, by = by.name(), "that pause is over");
            None
        }
        Event::DrainStarted { in_flight, held, grace } => {
            let grace = seconds(*grace);
            tracing::info!(relay, in_flight, held, "draining, up to {grace} s");
            None
        }
        Event::DrainEnded {
            unfinished: 0,
            unacknowledged: 0,
        } => {
            tracing::info!(relay, "drained");
            None
        }
        Event::DrainEnded {
            unfinished,
            unacknowledged,
        } => {
            tracing::warn!(
                relay,
                unfinished,
                unacknowledged,
                "the grace is over before everything was done"
            );
            None
        }
    }
}

fn stopped(relay: &str, reason: &StopReason, now: Instant) -> LastError {
    let code = reason.code();
    tracing::error!(
        relay,
        code,
        "{reason}; not trying again until the key or the configuration changes or POST /relays/{relay}/reconnect asks for it"
    );
    LastError {
        code,
        message: reason.to_string(),
        at: now,
    }
}

/// `team=red,region=eu`; `None` without labels.
fn labels(relay: &Relay) -> Option<String> {
    let labels: Vec<String> = relay
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (!labels.is_empty()).then(|| labels.join(","))
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
