//! The metrics: name, kind, unit, attributes and buckets.

use super::*;

/// A metric as it leaves the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit, in UCUM.
    pub unit: &'static str,
    /// What it counts or measures.
    pub description: &'static str,
    /// The attributes that its points may have.
    pub attributes: &'static [&'static str],
    /// The upper bounds of a histogram's buckets.
    pub buckets: &'static [f64],
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls; the sum over processes makes sense.
    UpDownCounter,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// As OBSERVABILITY.md spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Histogram => "histogram",
        }
    }
}

const EXCHANGE: &[&str] = &[
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
];
const EXCHANGE_TYPE: &[&str] = &[
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    TOKEN_TYPE,
];
const EXCHANGE_TIER: &[&str] = &[
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    RESPONSE_SERVICE_TIER,
];
const EXCHANGE_TIER_ERROR: &[&str] = &[
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    RESPONSE_SERVICE_TIER,
    ERROR_TYPE,
];
const EXCHANGE_TIER_MODALITY: &[&str] = &[
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    RESPONSE_SERVICE_TIER,
    TOKEN_MODALITY,
];
const SESSION: &[&str] = &[OPERATION, REQUEST_MODEL, SESSION_CLOSE, SESSION_CLOSED_BY];

const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const OPERATION_SECONDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
const PER_TOKEN_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// A queue empties within milliseconds or fills for minutes; the last bound is the default `request_timeout`.
const STAGE_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];
/// From a question and its answer to the hour after which providers end a session, and beyond.
const SESSION_SECONDS: &[f64] = &[
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0,
];
const SESSION_TURNS: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

const fn counter(
    name: &'static str,
    unit: &'static str,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit,
        description,
        attributes,
        buckets: &[],
    }
}

const fn up_down(
    name: &'static str,
    unit: &'static str,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::UpDownCounter,
        unit,
        description,
        attributes,
        buckets: &[],
    }
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    attributes: &'static [&'static str],
    buckets: &'static [f64],
    description: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram,
        unit,
        description,
        attributes,
        buckets,
    }
}

pub const TOKEN_USAGE: Metric = histogram(
    "gen_ai.client.token.usage",
    "{token}",
    EXCHANGE_TYPE,
    TOKENS,
    "Number of input and output tokens used.",
);
pub const OPERATION_DURATION: Metric = histogram(
    "gen_ai.client.operation.duration",
    "s",
    EXCHANGE_TIER_ERROR,
    OPERATION_SECONDS,
    "GenAI operation duration.",
);
pub const TIME_TO_FIRST_TOKEN: Metric = histogram(
    "gen_ai.server.time_to_first_token",
    "s",
    EXCHANGE,
    FIRST_TOKEN_SECONDS,
    "Time to generate first token for successful responses.",
);
pub const TIME_PER_OUTPUT_TOKEN: Metric = histogram(
    "gen_ai.server.time_per_output_token",
    "s",
    EXCHANGE,
    PER_TOKEN_SECONDS,
    "Time per output token generated after the first token for successful responses.",
);

pub const INPUT_TOKENS: Metric = counter(
    "gen_ai.client.inference.usage.input_tokens",
    "{token}",
    EXCHANGE_TIER_MODALITY,
    "Input tokens used, cached ones included.",
);
pub const OUTPUT_TOKENS: Metric = counter(
    "gen_ai.client.inference.usage.output_tokens",
    "{token}",
    EXCHANGE_TIER_MODALITY,
    "Output tokens used, reasoning included.",
);
pub const CACHE_READ_TOKENS: Metric = counter(
    "gen_ai.client.inference.usage.cache_read.input_tokens",
    "{token}",
    EXCHANGE_TIER_MODALITY,
    "Input tokens read from a cache; a part of the input tokens.",
);
pub const CACHE_WRITE_TOKENS: Metric = counter(
    "gen_ai.client.inference.usage.cache_write.input_tokens",
    "{token}",
    EXCHANGE_TIER_MODALITY,
    "Input tokens written to a cache; a part of the input tokens.",
);
pub const REASONING_TOKENS: Metric = counter(
    "gen_ai.client.inference.usage.reasoning.output_tokens",
    "{token}",
    EXCHANGE_TIER_MODALITY,
    "Output tokens used for reasoning; a part of the output tokens.",
);
pub const OPERATION_INPUT_TOKENS: Metric = histogram(
    "gen_ai.client.inference.operation.input_tokens",
    "{token}",
    EXCHANGE_TIER,
    TOKENS,
    "Input tokens per operation.",
);
pub const OPERATION_OUTPUT_TOKENS: Metric = histogram(
    "gen_ai.client.inference.operation.output_tokens",
    "{token}",
    EXCHANGE_TIER,
    TOKENS,
    "Output tokens per operation.",
);
pub const TIME_TO_FIRST_CHUNK: Metric = histogram(
    "gen_ai.client.operation.time_to_first_chunk",
    "s",
    EXCHANGE_TIER,
    OPERATION_SECONDS,
    "Time to receive the first chunk of a streamed response.",
);

pub const USAGE_MISSING: Metric = counter(
    "spectral_bridge.usage.missing",
    "{request}",
    &[MISSING_REASON, OPERATION, REQUEST_MODEL],
    "Successful answers whose tokens are not known.",
);
pub const STAGE_DURATION: Metric = histogram(
    "spectral_bridge.relay.request.duration",
    "s",
    &[RELAY_NAME, REQUEST_STAGE],
    STAGE_SECONDS,
    "How long a relayed request spent in a stage of its life.",
);

pub const RELAY_CONNECTED: Metric = up_down(
    "spectral_bridge.relay.connected",
    "{connection}",
    &[RELAY_NAME],
    "1 while the relay is connected, else 0.",
);
pub const RELAY_STATE: Metric = up_down(
    "spectral_bridge.relay.state",
    "{relay}",
    &[RELAY_NAME, RELAY_STATE_NAME],
    "1 for the state that the relay's client is in, 0 for the others.",
);
pub const IN_FLIGHT: Metric = up_down(
    "spectral_bridge.relay.requests.in_flight",
    "{request}",
    &[RELAY_NAME],
    "Requests at the adapter.",
);
pub const QUEUED: Metric = up_down(
    "spectral_bridge.relay.requests.queued",
    "{request}",
    &[RELAY_NAME],
    "Requests acknowledged, waiting for their turn.",
);
pub const HELD_RESPONSES: Metric = up_down(
    "spectral_bridge.relay.responses.held",
    "{response}",
    &[RELAY_NAME],
    "Responses that the relay has not acknowledged yet.",
);
pub const HELD_BYTES: Metric = up_down(
    "spectral_bridge.relay.held",
    "By",
    &[RELAY_NAME],
    "Bytes of requests and responses held.",
);
pub const HELD_LIMIT: Metric = up_down(
    "spectral_bridge.relay.held.limit",
    "By",
    &[RELAY_NAME],
    "Bytes of requests and responses that may be held.",
);
pub const REQUESTS: Metric = counter(
    "spectral_bridge.relay.requests",
    "{request}",
    &[RELAY_NAME],
    "Requests accepted, duplicates not counted.",
);
pub const DUPLICATE_REQUESTS: Metric = counter(
    "spectral_bridge.relay.requests.duplicate",
    "{request}",
    &[RELAY_NAME],
    "Requests received again, never forwarded again.",
);
pub const RESPONSES: Metric = counter(
    "spectral_bridge.relay.responses",
    "{response}",
    &[RELAY_NAME, STATUS_CODE],
    "Responses by HTTP status, resends not counted.",
);
pub const FAULTS: Metric = counter(
    "spectral_bridge.relay.faults",
    "{response}",
    &[RELAY_NAME, ERROR_TYPE],
    "Responses that the adapter did not give; a part of the responses.",
);
pub const PAUSED: Metric = up_down(
    "spectral_bridge.relay.paused",
    "{relay}",
    &[RELAY_NAME],
    "1 while new requests are answered 503 by hand or by schedule, else 0.",
);
pub const NOT_ADMITTED: Metric = counter(
    "spectral_bridge.relay.budget.refused",
    "{request}",
    &[RELAY_NAME, BUDGET],
    "Requests refused for a budget or a pause; a part of the faults.",
);
pub const REQUESTS_LEFT: Metric = up_down(
    "spectral_bridge.relay.budget.requests",
    "{request}",
    &[RELAY_NAME, BUDGET],
    "Requests that may begin now, of a budget that is set.",
);
pub const TOKENS_LEFT: Metric = up_down(
    "spectral_bridge.relay.budget.tokens",
    "{token}",
    &[RELAY_NAME, BUDGET],
    "Tokens that are left, of a budget that is set.",
);
pub const RESENT_RESPONSES: Metric = counter(
    "spectral_bridge.relay.responses.resent",
    "{response}",
    &[RELAY_NAME],
    "Responses sent again after a reconnect or for a duplicate.",
);
pub const EXPIRED_RESPONSES: Metric = counter(
    "spectral_bridge.relay.responses.expired",
    "{response}",
    &[RELAY_NAME],
    "Responses dropped, never acknowledged in time.",
);
pub const FRAMES: Metric = counter(
    "spectral_bridge.relay.frames",
    "{frame}",
    &[RELAY_NAME, IO_DIRECTION, FRAME_TYPE],
    "Frames exchanged with the relay.",
);
pub const IO: Metric = counter(
    "spectral_bridge.relay.io",
    "By",
    &[RELAY_NAME, IO_DIRECTION, FRAME_TYPE],
    "Bytes of the frames exchanged with the relay.",
);
pub const CONNECTIONS: Metric = counter(
    "spectral_bridge.relay.connections",
    "{connection}",
    &[RELAY_NAME],
    "Connections made.",
);
pub const DISCONNECTS: Metric = counter(
    "spectral_bridge.relay.disconnects",
    "{connection}",
    &[RELAY_NAME],
    "Connections ended, by either side.",
);
pub const REPLACED: Metric = counter(
    "spectral_bridge.relay.replaced",
    "{connection}",
    &[RELAY_NAME],
    "Connections closed by the relay for a newer one of the same key.",
);
pub const RECONNECTS: Metric = counter(
    "spectral_bridge.relay.reconnects",
    "{attempt}",
    &[RELAY_NAME, RECONNECT_REASON],
    "Attempts to connect scheduled after a failure, by its code.",
);

pub const SESSIONS_ACTIVE: Metric = up_down(
    "spectral_bridge.session.active",
    "{session}",
    &[OPERATION],
    "WebSocket sessions that are open.",
);
pub const SESSION_DURATION: Metric = histogram(
    "spectral_bridge.session.duration",
    "s",
    SESSION,
    SESSION_SECONDS,
    "How long a WebSocket session lasted.",
);
pub const TURNS_OF_SESSION: Metric = histogram(
    "spectral_bridge.session.turns",
    "{response}",
    SESSION,
    SESSION_TURNS,
    "Responses of a WebSocket session.",
);
pub const CHAT_SESSIONS: Metric = up_down(
    "spectral_bridge.chat.sessions",
    "{connection}",
    &[CHAT_PATH],
    "WebSockets open at the chat endpoint.",
);
pub const CHAT_TURNS_RUNNING: Metric = up_down(
    "spectral_bridge.chat.turns.running",
    "{turn}",
    &[CHAT_PATH],
    "Turns that are being answered.",
);
pub const CHAT_TURNS: Metric = counter(
    "spectral_bridge.chat.turns",
    "{turn}",
    &[CHAT_PATH, CHAT_OUTCOME],
    "Turns that ended, by how.",
);
pub const CHAT_REFUSED_MESSAGES: Metric = counter(
    "spectral_bridge.chat.messages.refused",
    "{message}",
    &[CHAT_PATH, ERROR_TYPE],
    "Messages of clients that were answered with an error at once.",
);
pub const CHAT_REFUSED: Metric = counter(
    "spectral_bridge.chat.connections.refused",
    "{connection}",
    &[CHAT_PATH, ERROR_TYPE],
    "Connections and handshakes that became no session.",
);

pub const EXPORTED_BATCHES: Metric = counter(
    "spectral_bridge.telemetry.batches",
    "{batch}",
    &[SIGNAL],
    "Batches of telemetry that the collector took.",
);
pub const EXPORT_FAILURES: Metric = counter(
    "spectral_bridge.telemetry.failures",
    "{batch}",
    &[SIGNAL],
    "Batches of telemetry that were lost.",
);
pub const DROPPED: Metric = counter(
    "spectral_bridge.telemetry.dropped",
    "{item}",
    &[SIGNAL],
    "Spans and log events dropped since their queue was full.",
);

/// All metrics, in the order of OBSERVABILITY.md.
pub static METRICS: &[Metric] = &[
    TOKEN_USAGE,
    OPERATION_DURATION,
    TIME_TO_FIRST_TOKEN,
    TIME_PER_OUTPUT_TOKEN,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    REASONING_TOKENS,
    OPERATION_INPUT_TOKENS,
    OPERATION_OUTPUT_TOKENS,
    TIME_TO_FIRST_CHUNK,
    RELAY_CONNECTED,
    RELAY_STATE,
    REQUESTS,
    DUPLICATE_REQUESTS,
    IN_FLIGHT,
    QUEUED,
    STAGE_DURATION,
    RESPONSES,
    FAULTS,
    HELD_RESPONSES,
    HELD_BYTES,
    HELD_LIMIT,
    RESENT_RESPONSES,
    EXPIRED_RESPONSES,
    FRAMES,
    IO,
    CONNECTIONS,
    DISCONNECTS,
    REPLACED,
    RECONNECTS,
    PAUSED,
    NOT_ADMITTED,
    REQUESTS_LEFT,
    TOKENS_LEFT,
    USAGE_MISSING,
    SESSIONS_ACTIVE,
    SESSION_DURATION,
    TURNS_OF_SESSION,
    CHAT_SESSIONS,
    CHAT_TURNS_RUNNING,
    CHAT_TURNS,
    CHAT_REFUSED_MESSAGES,
    CHAT_REFUSED,
    EXPORTED_BATCHES,
    EXPORT_FAILURES,
    DROPPED,
];
