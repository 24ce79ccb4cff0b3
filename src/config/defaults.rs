//! Every default and range, with where it comes from.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The name of the only relay.
pub const RELAY_NAME: &str = "default";

/// `PROTOCOL §2.4`: a ping every 30 seconds.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// `PROTOCOL §2.4`: 10 seconds from a ping to its pong.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// `PROTOCOL §2.2`: a frame is at most 16 MiB.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// `PROTOCOL §3.1`: the reference relay waits this long, and a client must not wait less (`§2.5`).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);

/// `PROTOCOL §2.6`: up to a grace period, below Docker's 10 seconds between SIGTERM and SIGKILL.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);

/// Conversations at the adapter at once: more than one model serves well, fewer than Envoy's default breaker of 1024.
pub const MAX_IN_FLIGHT: usize = 512;

/// Requests acknowledged and waiting: small ones, as `max_held_bytes` bounds the large ones.
pub const MAX_QUEUED: usize = 16_384;

/// 16 of the largest frames, or some ten thousand of the usual size; fits a sidecar's memory limit of 512 MiB.
pub const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;

/// `PROTOCOL §2.2`: the endpoints that a relay may ask for.
pub const PATHS: [&str; 2] = ["/v1/chat/completions", "/v1/responses"];

/// The Unix socket of the shipped Envoy configurations.
pub const FORWARD_TO: &str = "/run/spectral-bridge/adapter.sock";

/// `Host` for a Unix socket, which has no address of its own.
pub const FORWARD_AUTHORITY: &str = "localhost";

/// The status server: next to the reference client's adapter port 8840.
pub const STATUS_LISTEN: &str = "127.0.0.1:8841";

/// Enough of a body to recognise it.
pub const INSPECTOR_BODY_BYTES: usize = 16 * 1024;

/// The `stat_prefix` of the shipped `gateway.yaml`.
pub const STAT_PREFIX: &str = "gateway";

/// The API that the relay's requests speak.
pub const PROVIDER: &str = "openai";

/// More models than one site serves; each label value is memory for good, in Envoy some 4 kB.
pub const MAX_MODELS: usize = 100;

/// A request that asks for a stream is mostly a conversation: 1 MiB is some 250,000 tokens of it.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The Unix socket of the shipped Envoy configuration for chats.
pub const CHAT_LISTEN: &str = "/run/spectral-bridge/chat.sock";

/// Where WebSocket clients of a chat connect.
pub const CHAT_PATH: &str = "/websockets/chat";

/// Where an OpenAI-compatible server answers a chat.
pub const CHAT_ADAPTER_PATH: &str = "/v1/chat/completions";

/// More people than one model serves well at once; with the largest messages, two of them, a memory of 512 MiB.
pub const MAX_CHAT_SESSIONS: usize = 256;

/// Some 250,000 tokens of a conversation.
pub const MAX_CHAT_MESSAGE_BYTES: usize = 1024 * 1024;

/// A person reads an answer, goes for a coffee, and asks on.
pub const CHAT_IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// A phone may be without a network for as long; a client that reads nothing for longer reads nothing any more.
pub const CHAT_SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Below, a ping follows a ping; above, every firewall has forgotten the connection.
pub(super) const KEEPALIVE_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// No answer can be expected faster, no person waits longer.
pub(super) const REQUEST_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
/// `0s` closes at once.
pub(super) const SHUTDOWN_GRACE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// A frame must hold at least an error answer; `PROTOCOL §2.2` gives the upper end.
pub(super) const MAX_FRAME_RANGE: RangeInclusive<u64> = 64 * 1024..=16 * 1024 * 1024;
/// Each one is a connection to Envoy.
pub(super) const MAX_IN_FLIGHT_RANGE: RangeInclusive<u64> = 1..=65_536;
/// Each one is at least an entry in a table.
pub(super) const MAX_QUEUED_RANGE: RangeInclusive<u64> = 1..=1_048_576;
/// Below 4 GiB; the lower end is `max_frame_bytes`, since one frame must fit.
pub(super) const MAX_HELD_LIMIT: u64 = (1 << 32) - 1;
/// Each relay has its own connection and tables.
pub(super) const MAX_RELAYS: usize = 64;
/// `0`: only the configured ones; the upper end is where backends begin to drop series.
pub(super) const MAX_MODELS_RANGE: RangeInclusive<u64> = 0..=1000;
/// Above, Envoy's own buffers (1 MiB, unless its listener says otherwise) would refuse most of it anyway.
pub(super) const MAX_REQUEST_RANGE: RangeInclusive<u64> = 1024..=16 * 1024 * 1024;
/// Each is a WebSocket and, while a turn runs, a connection to Envoy.
pub(super) const MAX_CHAT_SESSIONS_RANGE: RangeInclusive<u64> = 1..=65_536;
/// A question must fit; above, a conversation exceeds what Envoy's shipped buffers hold.
pub(super) const MAX_CHAT_MESSAGE_RANGE: RangeInclusive<u64> = 1024..=16 * 1024 * 1024;
/// Nobody types faster; a connection that is forgotten costs little in a day.
pub(super) const CHAT_IDLE_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
