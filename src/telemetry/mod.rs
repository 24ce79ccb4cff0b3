//! What is told about each exchange with a model, and about the relays, in OpenTelemetry's terms.
//!
//! One [`Telemetry`] per process, owned by the registry: it has private providers on private threads and sets no
//! global. The relay client's forwarding and the HTTP filter `usage` call one function per event; names live in
//! [`names`] alone. What the environment does not ask for costs nothing. Deliberately absent: content of requests and
//! answers, and waiting: no call here blocks, and no export failure reaches a request.

pub mod names;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::config;
use crate::status::snapshot::{ProcessSnapshot, TelemetrySnapshot};
use crate::usage::{Answer, Missing, Operation, Request};

/// The process's telemetry. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    inner: Option<Arc<Inner>>,
    /// Of the configuration that this handle speaks for.
    settings: Arc<config::Telemetry>,
}

impl Telemetry {
    /// The same telemetry on behalf of a configuration with these settings.
    #[must_use]
    pub fn with(&self, settings: &config::Telemetry) -> Self {
        Self {
            inner: self.inner.clone(),
            settings: Arc::new(settings.clone()),
        }
    }
}

/// The same telemetry for equal settings.
impl PartialEq for Telemetry {
    fn eq(&self, other: &Self) -> bool {
        let place = |this: &Self| this.inner.as_ref().map(Arc::as_ptr);
        place(self) == place(other) && self.settings == other.settings
    }
}

#[derive(Debug)]
struct Inner {}

/// Where the figures about relays come from, read at each collection.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The relays as they are now.
    fn snapshot(&self) -> ProcessSnapshot;
}

/// Which tap point saw an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via<'a> {
    /// The relay client, for the relay of this name.
    Relay(&'a str),
    /// The HTTP filter `usage`.
    Filter,
}

/// One exchange with a model, over.
#[derive(Debug, Clone)]
pub struct Exchange<'a> {
    /// Who saw it.
    pub via: Via<'a>,
    /// What was asked for.
    pub operation: Operation,
    /// What the request says.
    pub request: &'a Request,
    /// What the answer says; absent when there was none.
    pub answer: Option<&'a Answer>,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// `error.type`: a fault's code, the status of an error, or how the stream broke off.
    pub error: Option<&'a str>,
    /// Why a successful answer's tokens are not known.
    pub missing: Option<Missing>,
    /// The relay's request id, or Envoy's `x-request-id`.
    pub request_id: Option<&'a str>,
    /// From the request's receipt to the answer's last byte.
    pub duration: Duration,
    /// From the request's receipt to the first output of a streamed answer.
    pub time_to_first_token: Option<Duration>,
    /// The model's address as the request names it, with its port.
    pub server: Option<(&'a str, u16)>,
}

/// A part of a relayed request's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From receipt until it is put to the adapter.
    Queue,
    /// At the adapter.
    Forward,
    /// From the answer until the relay acknowledged it.
    Ack,
}

/// A span that has begun; dropped without [`Telemetry::finish`], it is never seen.
#[derive(Debug, Default)]
pub struct Span {}

impl Telemetry {
    /// Begins a request's span as a child of the `traceparent` in `headers`, and puts its own there for who comes next.
    /// Without traces, `headers` stay as they are.
    #[must_use]
    pub fn begin(&self, _headers: &mut HeaderMap, _received: SystemTime) -> Span {
        Span {}
    }

    /// Records an exchange once: metrics, span and log event.
    pub fn finish(&self, _span: Span, _exchange: &Exchange<'_>) {}

    /// Records how long a stage of a relayed request took.
    pub fn stage(&self, _relay: &str, _stage: Stage, _took: Duration) {}

    /// Whether [`Telemetry::finish`] uses what the request says, so that it is worth reading.
    #[must_use]
    pub fn wants_requests(&self) -> bool {
        self.inner.is_some()
    }

    /// `model` if it is among the configured or the first seen ones, else `other`: what may become a label.
    #[must_use]
    pub fn model_label<'a>(&self, model: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(model)
    }

    /// Starts what the environment asks for.
    #[must_use]
    pub fn start(_runtime: &tokio::runtime::Handle, settings: &config::Telemetry, _source: Arc<dyn Source>) -> Self {
        Self {
            inner: None,
            settings: Arc::new(settings.clone()),
        }
    }

    /// Flushes and ends, in no more than `within`.
    pub async fn shutdown(&self, _within: Duration) {}

    /// What the status shows.
    #[must_use]
    pub fn snapshot(&self) -> TelemetrySnapshot {
        TelemetrySnapshot::default()
    }
}
