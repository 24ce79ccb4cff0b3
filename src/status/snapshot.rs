//! The status JSON as types. Filled by the core as it goes; rendering computes nothing.

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
}

/// One relay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RelaySnapshot {
    /// The configured name.
    pub name: String,
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
    /// Counts since the start.
    pub totals: Totals,
}

/// The state of one relay's client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// Envoy's local listener does not accept connections yet, so the relay is not dialled.
    #[default]
    WaitingForListener,
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
}
