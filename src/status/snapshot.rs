//! The status JSON as types. Filled by the core as it goes; rendering computes nothing.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole process (`GET /status`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSnapshot {
    /// `false` once a drain has begun.
    pub running: bool,
    /// The module's version.
    pub version: String,
    /// Seconds since the module started in this process.
    pub uptime_seconds: f64,
    /// One entry per relay, by name.
    pub relays: Vec<RelaySnapshot>,
    /// What clients do at the gateway, if Envoy is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewaySnapshot>,
    /// What happens to telemetry on its way out.
    #[serde(default)]
    pub telemetry: TelemetrySnapshot,
    /// One entry per chat endpoint; absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chat: Vec<ChatSnapshot>,
}

/// A WebSocket endpoint for chats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatSnapshot {
    /// The Unix socket.
    pub listen: String,
    /// The path of its WebSockets.
    pub path: String,
    /// What it is doing now.
    pub state: ChatState,
    /// Why it could not listen, the last time.
    pub last_error: Option<LastError>,
    /// Connections open.
    pub sessions: u64,
    /// Turns running.
    pub turns: u64,
    /// Counts since the start.
    pub totals: ChatTotals,
}

/// The state of a chat endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatState {
    /// It cannot listen yet.
    #[default]
    WaitingForSocket,
    /// It serves.
    Listening,
    /// It accepts nobody any more and lets turns finish.
    Draining,
    /// It is closed.
    Drained,
}

/// Counts of a chat endpoint since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatTotals {
    /// Connections that became sessions.
    pub sessions: u64,
    /// Sessions that ended, by how.
    pub ended_sessions: BTreeMap<String, u64>,
    /// Connections and handshakes refused, by why.
    pub refused: BTreeMap<String, u64>,
    /// Turns begun.
    pub turns: u64,
    /// Turns that ended: `done`, `cancelled`, the model's status or the code of a failure.
    pub ended_turns: BTreeMap<String, u64>,
    /// Messages that were answered with an error at once, by its code.
    pub refused_messages: BTreeMap<String, u64>,
    /// Input tokens the model reported.
    pub input_tokens: u64,
    /// Output tokens the model reported.
    pub output_tokens: u64,
}

/// The clients of the gateway, as Envoy's own statistics count them; at most a second old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySnapshot {
    /// Connections that are open.
    pub active_connections: u64,
    /// Requests and WebSockets under way.
    pub active_requests: u64,
    /// Requests since the start, refused ones among them.
    pub total_requests: u64,
}

/// The exports of telemetry, by signal: `metrics`, `traces`, `logs`; empty when nothing is exported.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TelemetrySnapshot {
    /// One entry per exported signal.
    pub exports: BTreeMap<String, ExportSnapshot>,
}

/// One signal's exports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExportSnapshot {
    /// Where to; never with credentials.
    pub endpoint: String,
    /// `grpc` or `http/protobuf`.
    pub protocol: String,
    /// Batches that arrived.
    pub batches: u64,
    /// Batches that did not.
    pub failures: u64,
    /// Spans or events dropped since their queue was full.
    #[serde(default)]
    pub dropped: u64,
    /// The last failure.
    pub last_error: Option<LastError>,
}

/// One relay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RelaySnapshot {
    /// The configured name.
    pub name: String,
    /// The configured labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The relay's URL; never with credentials.
    pub url: String,
    /// What the client is doing now.
    pub state: RelayState,
    /// Seconds in that state.
    pub since_seconds: f64,
    /// Protocol version of the current or last connection.
    pub protocol: Option<u8>,
    /// Failed attempts to connect since the backoff was last reset.
    pub attempts: u32,
    /// Seconds until the next attempt, in state `backing_off`.
    pub retry_in_seconds: Option<f64>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// Requests at the adapter.
    pub in_flight: u64,
    /// Requests acknowledged, waiting for their turn.
    pub queued: u64,
    /// Responses sent or waiting to be sent, not yet acknowledged by the relay.
    pub held_responses: u64,
    /// Bytes of requests and responses held.
    pub held_bytes: u64,
    /// That new requests are answered 503 `paused`, and why.
    #[serde(default)]
    pub paused: Option<PauseSnapshot>,
    /// What is left of the budgets that are set.
    #[serde(default)]
    pub budget: BudgetSnapshot,
    /// As many as may be held.
    #[serde(default)]
    pub max_held_bytes: u64,
    /// Counts since the start.
    pub totals: Totals,
}

/// That a relay admits no new requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseSnapshot {
    /// `hand` or `schedule`.
    pub by: String,
    /// Seconds since it began.
    pub since_seconds: f64,
    /// Seconds until the schedule opens; `null` for a pause by hand.
    pub opens_in_seconds: Option<f64>,
}

/// What is left of one relay's budgets; absent where none is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSnapshot {
    /// Requests that may begin now, of `requests_per_minute`.
    pub requests_left: Option<u64>,
    /// Tokens left today, of `tokens_per_day`.
    pub tokens_left: Option<u64>,
    /// Requests that may begin beside those that are not answered yet, of `max_concurrent`.
    pub concurrent_left: Option<u64>,
}

impl ProcessSnapshot {
    /// Whether every relay is connected and no drain has begun.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.why_not_ready().is_empty()
    }

    /// What keeps the process from being ready, a sentence for each cause; empty when it is ready.
    #[must_use]
    pub fn why_not_ready(&self) -> Vec<String> {
        if self.relays.is_empty() && self.gateway.is_none() && self.chat.is_empty() {
            return vec!["no relay client runs".to_owned()];
        }
        let relays = self.relays.iter().filter_map(RelaySnapshot::why_not_ready);
        let chats = self.chat.iter().filter_map(ChatSnapshot::why_not_ready);
        let causes: Vec<_> = relays.chain(chats).collect();
        if causes.is_empty() && !self.running {
            vec!["the module is draining".to_owned()]
        } else {
            causes
        }
    }
}

impl ChatSnapshot {
    /// What keeps this endpoint from being ready; `None` when it listens.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        let what = match self.state {
            ChatState::Listening => return None,
            ChatState::WaitingForSocket => match &self.last_error {
                Some(error) => error.message.as_str(),
                None => "does not listen yet",
            },
            ChatState::Draining => "is draining",
            ChatState::Drained => "is drained and closed",
        };
        Some(format!("chat endpoint {} {what}", self.path))
    }
}

impl RelaySnapshot {
    /// What keeps this relay from being ready; `None` when it is connected.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        let name = &self.name;
        let what = match self.state {
            RelayState::Connected => return None,
            RelayState::WaitingForListener => "waits for Envoy's local listener to accept connections".to_owned(),
            RelayState::WaitingForLock => {
                "waits because another process on this host serves this key; it connects once that one has ended or is drained".to_owned()
            }
            RelayState::Connecting => "is connecting".to_owned(),
            RelayState::BackingOff => match self.retry_in_seconds {
                Some(seconds) => format!("is disconnected and tries again in {seconds:.0} s"),
                None => "is disconnected and will try again".to_owned(),
            },
            RelayState::Stopped => format!("stopped until POST /relays/{name}/reconnect or a new key or configuration"),
            RelayState::Draining => "is draining".to_owned(),
            RelayState::Drained => "is drained and closed".to_owned(),
        };
        let cause = self
            .last_error
            .as_ref()
            .map(|e| format!(": {} ({})", e.message, e.code))
            .unwrap_or_default();
        Some(format!("relay {name} {what}{cause}"))
    }
}

/// The state of one relay's client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// Envoy's local listener does not accept connections yet, so the relay is not dialled.
    #[default]
    WaitingForListener,
    /// Another process on this host serves this key, so the relay is not dialled.
    WaitingForLock,
    /// Dialling, or waiting for the `connected` frame.
    Connecting,
    /// Requests flow.
    Connected,
    /// Disconnected; the next attempt is scheduled.
    BackingOff,
    /// Stopped for good: a person must act (`POST /relays/{name}/reconnect`, a new key or configuration).
    Stopped,
    /// Finishing requests in flight before closing.
    Draining,
    /// Drained and closed.
    Drained,
}

/// The last thing that went wrong with a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastError {
    /// Short and bounded: a metric label.
    pub code: String,
    /// For people.
    pub message: String,
    /// Seconds ago.
    pub seconds_ago: f64,
}

/// Counts since the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Request frames accepted (duplicates not counted).
    pub requests: u64,
    /// Request frames received again.
    pub duplicate_requests: u64,
    /// Responses by HTTP status, resends not counted.
    pub responses: BTreeMap<u16, u64>,
    /// Answers that the model did not give, by `error.code`; a part of `responses`.
    #[serde(default)]
    pub faults: BTreeMap<String, u64>,
    /// Requests refused for a budget or a pause, by which: `requests_per_minute`, `tokens_per_day`, `max_concurrent`,
    /// `schedule`, `hand`; a part of `faults`.
    #[serde(default)]
    pub not_admitted: BTreeMap<String, u64>,
    /// Responses sent again after a reconnect or a duplicate request.
    pub resent_responses: u64,
    /// Responses dropped because the relay's timeout for them had passed.
    pub expired_responses: u64,
    /// Frames ignored: not JSON, no object, unknown type.
    pub ignored_frames: u64,
    /// Connections made (`connected` frame received).
    pub connections: u64,
    /// Connections lost or closed by the relay.
    pub disconnects: u64,
    /// Times this client was replaced by a newer connection of the same key.
    pub replaced: u64,
    /// Bytes of WebSocket messages received from the relay.
    pub received_bytes: u64,
    /// Bytes of WebSocket messages sent to the relay.
    pub sent_bytes: u64,
    /// Input tokens the model reported.
    pub input_tokens: u64,
    /// Output tokens the model reported.
    pub output_tokens: u64,
    /// Frames received, by type.
    #[serde(default)]
    pub received: Received,
    /// Frames sent, by type.
    #[serde(default)]
    pub sent: Sent,
    /// Attempts to connect that were scheduled because of a disconnect or a failed dial, by its code.
    #[serde(default)]
    pub reconnects: BTreeMap<String, u64>,
    /// Successful answers whose tokens are not known, by reason.
    #[serde(default)]
    pub usage_missing: BTreeMap<String, u64>,
}

/// Frames and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// WebSocket messages.
    pub frames: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// Frames received, by type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// `connected`.
    pub connected: Traffic,
    /// `request`, received again or not.
    pub request: Traffic,
    /// `ack`.
    pub ack: Traffic,
    /// Whatever was ignored.
    pub ignored: Traffic,
}

/// Frames sent, by type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// `ack`.
    pub ack: Traffic,
    /// `response`, resent or not.
    pub response: Traffic,
}

impl Traffic {
    /// Counts one frame.
    pub fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(name: &str, state: RelayState) -> RelaySnapshot {
        RelaySnapshot {
            name: name.to_owned(),
            state,
            ..RelaySnapshot::default()
        }
    }

    fn process(running: bool, relays: Vec<RelaySnapshot>) -> ProcessSnapshot {
        ProcessSnapshot {
            running,
            relays,
            ..ProcessSnapshot::default()
        }
    }

    #[test]
    fn ready_when_every_relay_is_connected() {
        let two = vec![relay("eu", RelayState::Connected), relay("us", RelayState::Connected)];
        assert!(process(true, two).is_ready());
        let waiting = process(true, vec![relay("eu", RelayState::WaitingForLock)]);
        assert_eq!(
            waiting.why_not_ready(),
            [
                "relay eu waits because another process on this host serves this key; it connects once that one has ended or is drained"
            ]
        );
        let one_of_two = vec![relay("eu", RelayState::Connected), relay("us", RelayState::Connecting)];
        assert_eq!(process(true, one_of_two).why_not_ready(), ["relay us is connecting"]);
    }

    #[test]
    fn not_ready_without_relays_or_once_a_drain_has_begun() {
        assert_eq!(process(true, vec![]).why_not_ready(), ["no relay client runs"]);
        let connected = vec![relay("eu", RelayState::Connected)];
        assert_eq!(process(false, connected).why_not_ready(), ["the module is draining"]);
        let gateway = |running| ProcessSnapshot {
            gateway: Some(GatewaySnapshot::default()),
            ..process(running, vec![])
        };
        assert!(gateway(true).is_ready(), "a gateway needs no relay");
        assert_eq!(gateway(false).why_not_ready(), ["the module is draining"]);
        let draining = vec![relay("eu", RelayState::Draining)];
        assert_eq!(process(false, draining).why_not_ready(), ["relay eu is draining"]);
    }

    #[test]
    fn the_cause_and_the_way_out_are_told() {
        let error = LastError {
            code: "handshake_status".to_owned(),
            message: "HTTP 403".to_owned(),
            seconds_ago: 1.0,
        };
        let mut stopped = relay("eu", RelayState::Stopped);
        stopped.last_error = Some(error.clone());
        let mut waiting = relay("us", RelayState::BackingOff);
        waiting.retry_in_seconds = Some(7.6);
        waiting.last_error = Some(error);
        assert_eq!(
            process(true, vec![stopped, waiting]).why_not_ready(),
            [
                "relay eu stopped until POST /relays/eu/reconnect or a new key or configuration: HTTP 403 (handshake_status)",
                "relay us is disconnected and tries again in 8 s: HTTP 403 (handshake_status)",
            ]
        );
    }
}
