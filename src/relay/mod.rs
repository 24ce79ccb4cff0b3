//! The road to one relay: from a configured URL to a WebSocket over which frames can flow.
//!
//! The driver calls [`dial`] once per attempt and owns the [`RelaySocket`] it gets. Reading order: `dial` (one attempt from
//! start to end), `connect` (addresses), `proxy` (is there one, pure) and `tunnel` (CONNECT through it), `tls`, `stream`
//! (what lies under the WebSocket), `error` and `tls_fault`; `lock` (whether this process may dial at all);
//! `probe` (the same attempt, step by step, for `spectral-bridge doctor`).
//! Deliberately absent: retries, backoff, what a refusal means, frames. The protocol core decides those.

mod clock;
mod connect;
mod core;
mod dial;
mod driver;
mod error;
mod lock;
mod outbox;
pub mod probe;
mod proxy;
mod report;
mod socket;
mod stream;
mod timer;
pub(crate) mod tls;
mod tls_fault;
mod tunnel;

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
pub(crate) mod testing;

pub use core::{Command, Core, Wiring};
pub use dial::{DIAL_TIMEOUT, RelaySocket, dial, websocket_config};
pub use driver::Driver;

pub use error::{DialError, Peer, Step};
pub use lock::KeyLock;
pub use report::LastError;
pub use stream::{ByteCounts, RelayStream};
pub use tls_fault::TlsFault;
