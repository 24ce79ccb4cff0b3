//! The test world of spectral-bridge: a relay server, a demo model, an OTLP collector, and helpers that start the real Envoy.
//!
//! Reading order: [`relay`] (written from PROTOCOL §3, without our client's codec), [`model`], [`otlp`] (a
//! collector), [`world`], then `tests/`.
//! Deliberately absent: any dependency on the product's own crates. What both sides must agree on is the text of the
//! protocol, and the golden frames in `fixtures/frames/`.
#![forbid(unsafe_code)]

pub mod demo;
pub mod duration;
pub mod failed;
mod handshake;
pub mod listen;
pub mod model;
pub mod otlp;
pub mod ratelimit;
pub mod relay;
pub mod world;

/// Locks `mutex`; a panic elsewhere does not make the data unreadable for the assertions that report it.
pub(crate) fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
