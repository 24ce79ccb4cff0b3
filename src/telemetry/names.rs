//! Every name of a metric, an attribute, a span and an event, once. OBSERVABILITY.md has the same ones; a test compares them.
#![deny(clippy::disallowed_methods)]
#![expect(missing_docs, reason = "a name says what it is; OBSERVABILITY.md says the rest")]

mod metrics;

pub use metrics::*;

/// The instrumentation scope.
pub const SCOPE: &str = "spectral_bridge";
/// `service.name` when the environment names no other.
pub const SERVICE: &str = "spectral-bridge";
/// The event that is logged for each exchange.
pub const EVENT: &str = "gen_ai.client.inference.operation.details";
/// The event that is logged for each request that is refused without asking the model.
pub const REFUSED: &str = "spectral_bridge.request.refused";
/// A span's name until its exchange is over, and of a refused request's.
pub const SPAN: &str = "request";
/// `error.type` of a span whose exchange was given up.
pub const CANCELLED: &str = "cancelled";
/// Stands for every model that is not among the configured or the first seen ones.
pub const OTHER_MODEL: &str = "other";
/// Stands for every error beyond the first seen ones, as the conventions spell it.
pub const OTHER_ERROR: &str = "_OTHER";
/// The schema of the released names.
pub const SCHEMA: &str = "https://opentelemetry.io/schemas/1.41.0";
/// The schema of the names that are not released yet.
pub const SCHEMA_LATEST: &str = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev";

pub const OPERATION: &str = "gen_ai.operation.name";
pub const PROVIDER: &str = "gen_ai.provider.name";
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub const SERVER_ADDRESS: &str = "server.address";
pub const SERVER_PORT: &str = "server.port";
pub const ERROR_TYPE: &str = "error.type";
pub const STATUS_CODE: &str = "http.response.status_code";
pub const TOKEN_TYPE: &str = "gen_ai.token.type";
pub const TOKEN_MODALITY: &str = "gen_ai.token.modality";
pub const RESPONSE_SERVICE_TIER: &str = "openai.response.service_tier";

pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
pub const REQUEST_CHOICE_COUNT: &str = "gen_ai.request.choice.count";
pub const REQUEST_SEED: &str = "gen_ai.request.seed";
pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
pub const REQUEST_TOP_P: &str = "gen_ai.request.top_p";
pub const REQUEST_FREQUENCY_PENALTY: &str = "gen_ai.request.frequency_penalty";
pub const REQUEST_PRESENCE_PENALTY: &str = "gen_ai.request.presence_penalty";
pub const REQUEST_REASONING_LEVEL: &str = "gen_ai.request.reasoning.level";
pub const REQUEST_PREVIOUS_RESPONSE_ID: &str = "gen_ai.request.previous_response.id";
pub const REQUEST_SERVICE_TIER: &str = "openai.request.service_tier";
pub const RESPONSE_ID: &str = "gen_ai.response.id";
pub const RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub const RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub const RESPONSE_SYSTEM_FINGERPRINT: &str = "openai.response.system_fingerprint";
pub const USAGE_INPUT: &str = "gen_ai.usage.input_tokens";
pub const USAGE_OUTPUT: &str = "gen_ai.usage.output_tokens";
pub const USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
pub const USAGE_CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";
pub const USAGE_CACHE_WRITE: &str = "gen_ai.usage.cache_write.input_tokens";
pub const USAGE_REASONING: &str = "gen_ai.usage.reasoning.output_tokens";
pub const USAGE_TEXT_INPUT: &str = "gen_ai.usage.text.input_tokens";
pub const USAGE_IMAGE_INPUT: &str = "gen_ai.usage.image.input_tokens";
pub const USAGE_AUDIO_INPUT: &str = "gen_ai.usage.audio.input_tokens";
pub const USAGE_TEXT_OUTPUT: &str = "gen_ai.usage.text.output_tokens";
pub const USAGE_IMAGE_OUTPUT: &str = "gen_ai.usage.image.output_tokens";
pub const USAGE_AUDIO_OUTPUT: &str = "gen_ai.usage.audio.output_tokens";

pub const RELAY_NAME: &str = "spectral_bridge.relay.name";
/// Before the name of a relay's label.
pub const RELAY_LABEL: &str = "spectral_bridge.relay.label.";
pub const RELAY_STATE_NAME: &str = "spectral_bridge.relay.state";
pub const REQUEST_ID: &str = "spectral_bridge.request.id";
pub const REQUEST_DURATION: &str = "spectral_bridge.request.duration";
pub const REQUEST_STAGE: &str = "spectral_bridge.request.stage";
pub const MISSING_REASON: &str = "spectral_bridge.usage.missing.reason";
pub const RECONNECT_REASON: &str = "spectral_bridge.reconnect.reason";
pub const FRAME_TYPE: &str = "spectral_bridge.frame.type";
pub const SESSION_CLOSE: &str = "spectral_bridge.session.close";
pub const SESSION_CLOSED_BY: &str = "spectral_bridge.session.closed_by";
pub const IO_DIRECTION: &str = "network.io.direction";
pub const CHAT_PATH: &str = "spectral_bridge.chat.path";
pub const CHAT_OUTCOME: &str = "spectral_bridge.chat.outcome";
pub const BUDGET: &str = "spectral_bridge.budget";
pub const SIGNAL: &str = "spectral_bridge.telemetry.signal";

/// What a span and a log event may say, besides what they share with metrics.
pub static SPAN_ATTRIBUTES: &[&str] = &[
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVER_PORT,
    ERROR_TYPE,
    STATUS_CODE,
    REQUEST_STREAM,
    REQUEST_MAX_TOKENS,
    REQUEST_CHOICE_COUNT,
    REQUEST_SEED,
    REQUEST_TEMPERATURE,
    REQUEST_TOP_P,
    REQUEST_FREQUENCY_PENALTY,
    REQUEST_PRESENCE_PENALTY,
    REQUEST_REASONING_LEVEL,
    REQUEST_PREVIOUS_RESPONSE_ID,
    REQUEST_SERVICE_TIER,
    RESPONSE_ID,
    RESPONSE_FINISH_REASONS,
    RESPONSE_TIME_TO_FIRST_CHUNK,
    RESPONSE_SERVICE_TIER,
    RESPONSE_SYSTEM_FINGERPRINT,
    USAGE_INPUT,
    USAGE_OUTPUT,
    USAGE_CACHE_READ,
    USAGE_CACHE_CREATION,
    USAGE_CACHE_WRITE,
    USAGE_REASONING,
    USAGE_TEXT_INPUT,
    USAGE_IMAGE_INPUT,
    USAGE_AUDIO_INPUT,
    USAGE_TEXT_OUTPUT,
    USAGE_IMAGE_OUTPUT,
    USAGE_AUDIO_OUTPUT,
    RELAY_NAME,
    REQUEST_ID,
    REQUEST_DURATION,
    MISSING_REASON,
];
