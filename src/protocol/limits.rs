//! Bounds that are not configurable, each with the answer given when it is reached.

use std::time::Duration;

/// From the handshake to the relay's `connected` frame; after it the connection is given up and made again.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a ping may wait behind the frame that is being written: the largest one at 1 Mbit/s. After it the connection
/// takes no bytes any more, counts as stale (`PROTOCOL §2.4`) and is made again.
pub const PING_WRITE_TIMEOUT: Duration = Duration::from_secs(135);

/// How long our close frame waits for the relay's; after it the socket is dropped.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection open at least this long resets the backoff (`PROTOCOL §2.5`).
pub const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Longest wait before dialling again while draining, so that held responses can still be delivered.
pub const DRAIN_REDIAL: Duration = Duration::from_secs(1);

/// `retry-after` of a pause by hand, whose end nobody knows.
pub const PAUSE_RETRY: Duration = Duration::from_secs(60);

/// `retry-after` of `max_concurrent`: an answer may come at any moment.
pub const CONCURRENT_RETRY: Duration = Duration::from_secs(1);

/// Answered requests remembered after their acknowledgement, so that a late duplicate is not forwarded again.
/// Beyond it the oldest is forgotten.
pub const ANSWERED_REMEMBERED: usize = 65_536;

/// Refusals (`overloaded`, `draining`, bad requests), and answers without a share of the byte budget, held for their
/// acknowledgement. Beyond it a refusal is sent once
/// and not kept.
pub const MAX_HELD_REFUSALS: usize = 16_384;

/// Bytes of their frames, which carry ids of any length; beyond it a refusal is sent once and not kept.
pub const MAX_HELD_REFUSAL_BYTES: usize = 16 * 1024 * 1024;

/// Headers of one request, after the hop-by-hop ones are gone; beyond it the request is answered 400.
pub const MAX_HEADERS: usize = 100;

/// Bytes of those headers' names and values; beyond it the request is answered 400. Envoy's own limit is 60 KiB.
pub const MAX_HEADER_BYTES: usize = 60 * 1024;

/// Characters of an adapter's text that are quoted in an error message.
pub const MAX_QUOTED_CHARS: usize = 1024;

/// Bytes of a request id, so that every answer to it, an error at least, fits the smallest `max_frame_bytes` even if each
/// of its bytes is written as an escape. A frame with a longer one is ignored: it cannot be answered.
pub const MAX_REQUEST_ID: usize = 8 * 1024;
