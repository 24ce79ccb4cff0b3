//! The way out of one signal: bounds each export, counts, and keeps the last failure.
//!
//! The SDK's batch threads drive exports with a bare executor, so what needs a reactor is polled with the runtime entered
//! (`opentelemetry-otlp` then also sleeps between retries without blocking the thread). The queue's length is kept here
//! too: the SDK drops silently when its queue is full, and this is never.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::destination::Destination;
use super::settings::Signal;
use crate::status::snapshot::{ExportSnapshot, LastError};

#[derive(Debug)]
pub(super) struct Outlet {
    pub signal: Signal,
    to: Destination,
    runtime: Handle,
    /// Becomes `true` when nothing may be waited for any more.
    stop: watch::Receiver<bool>,
    cause: LastCause,
    counts: Counts,
    last_failure: Mutex<Option<(Cause, Instant)>>,
    /// Spans or events that wait for their batch, and how many may.
    waiting: AtomicUsize,
    room: usize,
}

#[derive(Debug, Default)]
struct Counts {
    batches: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
}

/// Why an export failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    /// Short and bounded.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// The cause of the failure under way, left by whoever knows it best: the exporters keep it to themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct LastCause(Arc<Mutex<Option<Cause>>>);

impl Outlet {
    pub(super) fn new(
        signal: Signal,
        to: &Destination,
        room: usize,
        runtime: &Handle,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            signal,
            to: to.clone(),
            runtime: runtime.clone(),
            stop,
            cause: LastCause::default(),
            counts: Counts::default(),
            last_failure: Mutex::default(),
            waiting: AtomicUsize::new(0),
            room,
        })
    }

    pub(super) fn cause(&self) -> LastCause {
        self.cause.clone()
    }

    pub(super) fn batches(&self) -> u64 {
        self.counts.batches.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.counts.failures.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more span or event; one without room is counted as dropped.
    pub(super) fn admit(&self) -> bool {
        let more = |waiting: usize| (waiting < self.room).then_some(waiting + 1);
        let admitted = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if !admitted && self.counts.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            let (signal, room) = (self.signal.name(), self.room);
            tracing::warn!(
                signal,
                room,
                "the queue of telemetry is full: what comes now is dropped"
            );
        }
        admitted
    }

    /// Exports a batch of `items`, in no more than the configured time.
    pub(super) async fn export(
        &self,
        items: usize,
        export: impl Future<Output = OTelSdkResult> + Send,
    ) -> OTelSdkResult {
        let less = |waiting: usize| Some(waiting.saturating_sub(items));
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.cause.take();
        let result = self.bounded(export).await;
        match &result {
            Ok(()) => drop(self.counts.batches.fetch_add(1, Ordering::Relaxed)),
            Err(error) => self.failed(error),
        }
        result
    }

    async fn bounded(&self, export: impl Future<Output = OTelSdkResult> + Send) -> OTelSdkResult {
        let mut stop = self.stop.clone();
        let timeout = self.to.timeout;
        let mut bounded = pin!(async {
            tokio::select! {
                biased;
                result = export => result,
                _ = stop.wait_for(|stop| *stop) => Err(OTelSdkError::AlreadyShutdown),
                () = tokio::time::sleep(timeout) => Err(OTelSdkError::Timeout(timeout)),
            }
        });
        std::future::poll_fn(|cx| {
            let _context = self.runtime.enter();
            bounded.as_mut().poll(cx)
        })
        .await
    }

    fn failed(&self, error: &OTelSdkError) {
        let failures = self.counts.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let cause = self.clean(self.cause.take().unwrap_or_else(|| from_sdk(error)));
        if failures.is_power_of_two() {
            let (signal, endpoint) = (self.signal.name(), &self.to.endpoint);
            let Cause { code, message } = &cause;
            tracing::warn!(signal, %endpoint, code, failures, "telemetry is not exported, a batch is lost: {message}");
        }
        *lock(&self.last_failure) = Some((cause, Instant::now()));
    }

    /// A peer may repeat what it was sent.
    fn clean(&self, mut cause: Cause) -> Cause {
        let values = self.to.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        // of `Bearer abc…` also the second word alone
        let mut secrets = values.flat_map(|value| value.split(' ').chain([value]));
        if secrets.any(|secret| secret.len() >= MIN_SECRET && cause.message.contains(secret)) {
            cause.message = "the reason repeats a header's value and is not shown".to_owned();
        }
        cause
    }

    pub(super) fn snapshot(&self) -> ExportSnapshot {
        let last = lock(&self.last_failure);
        ExportSnapshot {
            endpoint: self.to.endpoint.to_string(),
            protocol: self.to.protocol.name().to_owned(),
            batches: self.batches(),
            failures: self.failures(),
            dropped: self.dropped(),
            last_error: last.as_ref().map(|(cause, at)| LastError {
                code: cause.code.to_owned(),
                message: cause.message.clone(),
                seconds_ago: at.elapsed().as_secs_f64(),
            }),
        }
    }
}

/// The exporters say a status code or a gRPC code, never what the collector wrote.
fn from_sdk(error: &OTelSdkError) -> Cause {
    match error {
        OTelSdkError::AlreadyShutdown => Cause::new("shutdown", "the time to shut down was over".to_owned()),
        OTelSdkError::Timeout(limit) => Cause::new("timeout", format!("no answer within {limit:?}")),
        OTelSdkError::InternalFailure(message) => {
            let code = if message.contains("status code") {
                "http_status"
            } else if message.contains("gRPC code") {
                "grpc_status"
            } else {
                "export"
            };
            Cause::new(code, message.clone())
        }
    }
}

impl Cause {
    pub(super) fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }
}

impl LastCause {
    pub(super) fn put(&self, cause: Cause) {
        *lock(&self.0) = Some(cause);
    }

    pub(super) fn put_if_none(&self, cause: Cause) {
        lock(&self.0).get_or_insert(cause);
    }

    fn take(&self) -> Option<Cause> {
        lock(&self.0).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shorter values are no secrets (a tenant's number, say), and stand in any sentence by chance.
const MIN_SECRET: usize = 8;

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
