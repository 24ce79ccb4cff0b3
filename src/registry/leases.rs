//! What hosts hold while they need the registry: a configuration at work, telemetry, threads. Dropping one gives it back.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Registry;
use super::release::Released;
use crate::telemetry::Telemetry;

/// A configuration at work. Dropping it ends the clients that no other lease shares, in bounded time.
#[derive(Debug)]
#[must_use]
pub struct Lease {
    pub(super) registry: Arc<Registry>,
    pub(super) id: u64,
    pub(super) clients: Vec<u64>,
    pub(super) server: SocketAddr,
}

/// The process's telemetry on behalf of a filter. Dropping it ends the telemetry that nobody else uses, in bounded time.
#[derive(Debug)]
#[must_use]
pub struct TelemetryLease {
    pub(super) registry: Arc<Registry>,
    pub(super) telemetry: Telemetry,
}

impl TelemetryLease {
    /// The telemetry.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

/// The process's threads on behalf of a filter. Dropping it ends those that nobody else uses, in bounded time.
#[derive(Debug)]
#[must_use]
pub struct ThreadsLease {
    pub(super) registry: Arc<Registry>,
    pub(super) handle: Handle,
}

impl ThreadsLease {
    /// The threads.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.registry.release(self.id, &self.clients, self.server);
    }
}

impl Drop for TelemetryLease {
    fn drop(&mut self) {
        self.registry.give_back(|state| {
            state.tellers -= 1;
            Released::default()
        });
    }
}

impl Drop for ThreadsLease {
    fn drop(&mut self) {
        self.registry.give_back(|state| {
            state.tellers -= 1;
            Released::default()
        });
    }
}
