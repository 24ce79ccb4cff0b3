//! The spectral-bridge protocol as a pure core: inputs in, actions out, time as an argument.
//!
//! `PROTOCOL §x.y` in this tree means section x.y of `PROTOCOL.md` 0.5.0 (protocol version 2); `PROTOCOL 0.1.2 §x.y`
//! that of version 1; the words after it quote a sentence that `make trace` knows. Reading order: [`frame`] (what
//! crosses the WebSocket), [`endpoint`] (what may be asked for), [`request`] (a request frame becomes a [`ForwardRequest`]
//! or a [`Fault`]), [`answer`] (an adapter's answer becomes a [`Response`]), [`connection`] (one WebSocket's life), [`session`] (everything that
//! outlives a connection), [`admission`], [`backoff`], [`limits`].
//!
//! Driven by `relay::driver`, which owns the socket, the timers and the forwarding tasks. Deliberately absent: I/O,
//! clocks, randomness, locks, logging, and anything about Envoy.
#![deny(clippy::disallowed_methods)]

pub mod admission;
pub mod answer;
pub mod answered;
pub mod backoff;
mod body;
pub mod connection;
pub mod endpoint;
pub mod fault;
pub mod frame;
pub mod headers;
pub mod limits;
pub mod outgoing;
pub mod request;
pub mod request_id;
pub mod requests;
pub mod response;
pub mod session;
pub mod text_only;
mod waiting;

pub use admission::Limit;
pub use connection::{CloseFrame, Version};
pub use fault::Fault;
pub use outgoing::Outgoing;
pub use request::ForwardRequest;
pub use request_id::RequestId;
pub use response::Response;
pub use session::{Action, DialFailure, Disconnect, Event, Input, Session, Settings, StopReason};

/// The text of a frame from the relay: UTF-8, cheap to clone.
pub type Text = tokio_tungstenite::tungstenite::Utf8Bytes;
