//! What is told about each exchange with a model, and about the relays, in OpenTelemetry's terms.
//!
//! One [`Telemetry`] per process, owned by the registry: it has private providers on private threads and sets no
//! global. The relay client's forwarding and the HTTP filter `usage` call one function per event; names live in
//! [`names`] alone. What the environment does not ask for costs nothing. Deliberately absent: content of requests and
//! answers, and waiting: no call here blocks, and no export failure reaches a request.

mod attributes;
mod connect;
mod destination;
mod endpoint;
mod environment;
mod events;
mod exporters;
mod http_client;
mod instruments;
mod labels;
pub mod names;
mod origin;
mod outlet;
pub mod probe;
mod providers;
mod relays;
mod resource;
mod sessions;
mod settings;
mod spans;
mod start;
mod variables;

#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod tests;

pub use environment::Environment;
pub use origin::Origin;
pub use sessions::Session;
pub use spans::Span;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config;
use crate::status::snapshot::{ProcessSnapshot, TelemetrySnapshot};
use crate::usage::{Answer, Missing, Operation, Request};
use attributes::{LabelsOf, Vocabulary};
use events::{Event, Events};
use instruments::Instruments;
use outlet::Outlet;
use settings::Semconv;
use spans::Spans;

/// The process's telemetry. Cheap to clone. The default one exports nothing, and keeps labels bounded all the same.
#[derive(Debug, Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
    view: Arc<View>,
}

/// What one configuration lets telemetry say.
#[derive(Debug)]
struct View {
    settings: config::Telemetry,
    vocabulary: Vocabulary,
}

#[derive(Debug)]
struct Inner {
    semconv: Semconv,
    /// Equal configurations share one, and with it the models that were seen.
    views: Mutex<Vec<Weak<View>>>,
    metrics: Option<(SdkMeterProvider, Instruments)>,
    spans: Option<Spans>,
    events: Option<Events>,
    outlets: Vec<Arc<Outlet>>,
    runtime: Option<Handle>,
    /// Told `true` when no export may be waited for any more.
    stop: watch::Sender<bool>,
    ended: AtomicBool,
}

/// Where the figures about relays come from, read at each collection.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The relays as they are now.
    fn snapshot(&self) -> ProcessSnapshot;
}

/// Which tap point saw an exchange.
#[derive(Debug, Clone, Copy)]
pub enum Via<'a> {
    /// The relay client, for this relay.
    Relay(&'a Origin),
    /// The HTTP filter `usage`.
    Filter,
    /// The chat endpoint.
    Chat,
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

/// A relayed request that was answered without asking the model.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The relay.
    pub relay: &'a Origin,
    /// The relay's request id.
    pub request_id: &'a str,
    /// The fault's code.
    pub code: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Its `traceparent` and `tracestate`.
    pub trace: &'a HeaderMap,
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

impl Telemetry {
    /// The same telemetry on behalf of a configuration with these settings.
    #[must_use]
    pub fn with(&self, settings: &config::Telemetry) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            view: self.inner.view(settings),
        }
    }

    /// Begins a request's span as a child of the `traceparent` in `headers`, and puts its own there for who comes next.
    /// Without traces, `headers` stay as they are.
    #[must_use]
    pub fn begin(&self, headers: &mut HeaderMap, received: SystemTime) -> Span {
        match &self.inner.spans {
            Some(spans) if !self.ended() => spans.begin(headers, received),
            _ => Span::default(),
        }
    }

    /// Records an exchange once: metrics, span and log event. Does nothing after [`Telemetry::shutdown`].
    pub fn finish(&self, span: Span, exchange: &Exchange<'_>) {
        if !self.wants_requests() || self.ended() {
            return;
        }
        let vocabulary = &self.view.vocabulary;
        let labels = vocabulary.labels(exchange);
        if let Some((_, instruments)) = &self.inner.metrics {
            instruments.record(vocabulary, exchange, &labels);
        }
        let told = self.inner.events.is_some() || self.view.settings.request_log;
        if !told && !span.is_recording() {
            return;
        }
        let attributes = vocabulary.of_span(exchange, &labels);
        if told {
            self.tell(&Event {
                name: names::EVENT,
                attributes: &attributes,
                duration: exchange.duration,
                failed: exchange.error.is_some(),
                span: span.context(),
            });
        }
        let name = span_name(exchange.operation, &labels);
        let error = labels.error.as_ref().map(labels::Label::as_str);
        span.end(name, attributes, error, exchange.duration);
    }

    /// Records a refused request: span and log event; among the metrics the relay's faults have it.
    pub fn refused(&self, refusal: &Refusal<'_>) {
        if !self.wants_requests() || self.ended() {
            return;
        }
        let span = self.begin(&mut refusal.trace.clone(), SystemTime::now());
        let attributes = attributes::of_refusal(refusal);
        if self.inner.events.is_some() || self.view.settings.request_log {
            self.tell(&Event {
                name: names::REFUSED,
                attributes: &attributes,
                duration: Duration::ZERO,
                failed: true,
                span: span.context(),
            });
        }
        span.end(names::SPAN.to_owned(), attributes, Some(refusal.code), Duration::ZERO);
    }

    /// Records how long a stage of a relayed request took.
    pub fn stage(&self, relay: &Origin, stage: Stage, took: Duration) {
        if let Some((_, instruments)) = &self.inner.metrics
            && !self.ended()
        {
            instruments.stage(relay, stage, took);
        }
    }

    /// Whether [`Telemetry::finish`] uses what the request says, so that it is worth reading.
    #[must_use]
    pub fn wants_requests(&self) -> bool {
        let Inner {
            metrics, spans, events, ..
        } = &*self.inner;
        metrics.is_some() || spans.is_some() || events.is_some() || self.view.settings.request_log
    }

    /// `model` if it is among the configured or the first seen ones, else `other`: what may become a label.
    #[must_use]
    pub fn model_label<'a>(&self, model: &'a str) -> Cow<'a, str> {
        match self.view.vocabulary.models.label(model) {
            labels::Label::Word(_) => Cow::Borrowed(model),
            labels::Label::Other(other) => Cow::Borrowed(other),
        }
    }

    /// Flushes and ends, in no more than `within`; what a collector has not taken by then is lost. A second call does
    /// nothing.
    pub async fn shutdown(&self, within: Duration) {
        if self.inner.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(runtime) = &self.inner.runtime else { return };
        let flushed = futures_util::future::join_all([
            runtime.spawn_blocking(self.part(move |inner| {
                drop(
                    inner
                        .metrics
                        .as_ref()
                        .map(|(metrics, _)| metrics.shutdown_with_timeout(within)),
                );
            })),
            runtime.spawn_blocking(self.part(move |inner| {
                drop(
                    inner
                        .spans
                        .as_ref()
                        .map(|spans| spans.provider.shutdown_with_timeout(within)),
                );
            })),
            runtime.spawn_blocking(self.part(move |inner| {
                drop(
                    inner
                        .events
                        .as_ref()
                        .map(|events| events.provider.shutdown_with_timeout(within)),
                );
            })),
        ]);
        if tokio::time::timeout(within, flushed).await.is_err() {
            tracing::warn!(?within, "telemetry could not be flushed in time, what was left is lost");
        }
        // ends exports that still wait, and with them their threads
        self.inner.stop.send_replace(true);
    }

    /// What the status shows.
    #[must_use]
    pub fn snapshot(&self) -> TelemetrySnapshot {
        let outlets = self.inner.outlets.iter();
        TelemetrySnapshot {
            exports: outlets
                .map(|outlet| (outlet.signal.name().to_owned(), outlet.snapshot()))
                .collect(),
        }
    }

    fn of(inner: Inner, settings: &config::Telemetry) -> Self {
        let view = inner.view(settings);
        let inner = Arc::new(inner);
        Self { inner, view }
    }

    fn tell(&self, event: &Event<'_>) {
        if let Some(events) = &self.inner.events {
            events.emit(event);
        }
        if self.view.settings.request_log {
            events::log(event);
        }
    }

    fn part(&self, end: impl FnOnce(&Inner) + Send + 'static) -> impl FnOnce() + Send + 'static {
        let inner = Arc::clone(&self.inner);
        move || end(&inner)
    }

    fn ended(&self) -> bool {
        self.inner.ended.load(Ordering::Acquire)
    }
}

impl Inner {
    fn view(&self, settings: &config::Telemetry) -> Arc<View> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|view| view.strong_count() > 0);
        let shared = views.iter().filter_map(Weak::upgrade);
        if let Some(view) = shared.into_iter().find(|view| view.settings == *settings) {
            return view;
        }
        let view = Arc::new(View {
            settings: settings.clone(),
            vocabulary: Vocabulary::new(settings, self.semconv),
        });
        views.push(Arc::downgrade(&view));
        view
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::of(Inner::silent(Semconv::Released), &config::Telemetry::default())
    }
}

/// The same telemetry for equal settings.
impl PartialEq for Telemetry {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) && self.view.settings == other.view.settings
    }
}

impl Drop for Inner {
    /// The SDK flushes for seconds when a provider is dropped, which whoever drops this has not asked for.
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A model only by its label: names of spans are grouped by.
fn span_name(operation: Operation, labels: &LabelsOf) -> String {
    match &labels.request_model {
        Some(model) => format!("{} {}", operation.name(), model.as_str()),
        None => operation.name().to_owned(),
    }
}
