//! The threads of one relay's client: its own, so that a relay that floods or stalls takes no other's turn.
//!
//! What relays share is the processor, which the kernel divides among threads, and Envoy. Owned by the client; ended by
//! the registry. Deliberately absent: the threads of the status and of telemetry, which are the registry's.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// A relay's threads. Dropping them ends what runs there without waiting for it.
#[derive(Debug)]
pub struct Threads {
    /// Taken when they end.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Threads {
    /// Starts the threads of the relay of this name.
    ///
    /// # Errors
    /// The system has no more to give.
    pub fn start(relay: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(MAX_BLOCKING)
            .thread_name(format!("sb-{relay}"))
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Where tasks are started.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends what runs there and waits for it, `within` at most. Blocks.
    pub fn join(mut self, within: Duration) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(within);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // the last owner may be a task, which must not block
            runtime.shutdown_background();
        }
    }
}

/// One for the relay's socket, one for the answers that are on their way meanwhile; Envoy's own threads do the rest.
const WORKERS: usize = 2;

/// Files and names are looked up there, a few at a time.
const MAX_BLOCKING: usize = 8;
