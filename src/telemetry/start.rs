//! Brings telemetry up as the environment asks. Never fails: what cannot be is said in the log, and the rest works.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::destination::Destination;
use super::environment::Environment;
use super::events::Events;
use super::instruments::Instruments;
use super::outlet::Outlet;
use super::settings::{Semconv, Settings, Signal};
use super::spans::Spans;
use super::{Inner, Source, Telemetry, names, providers, relays, resource};
use crate::config;

impl Telemetry {
    /// Starts what `environment` asks for, on `runtime`, which must have a worker of its own: exports need it while the
    /// threads that wait for them block. Mistakes in variables are warnings in the log.
    #[must_use]
    pub fn start(
        runtime: &Handle,
        settings: &config::Telemetry,
        environment: &Environment,
        source: Arc<dyn Source>,
    ) -> Self {
        let mut mistakes = Vec::new();
        let asked = Settings::read(environment, &mut mistakes);
        let resource = resource::resource(environment, &mut mistakes);
        for mistake in mistakes {
            tracing::warn!("telemetry: {mistake}");
        }
        let mut inner = Inner::silent(asked.semconv);
        let _context = runtime.enter();
        let start = Start {
            runtime,
            resource,
            scope: scope(asked.semconv),
        };
        start.traces(&mut inner, &asked);
        start.logs(&mut inner, &asked);
        start.metrics(&mut inner, &asked, &source);
        inner.runtime = Some(runtime.clone());
        Self::of(inner, settings)
    }
}

struct Start<'a> {
    runtime: &'a Handle,
    resource: Resource,
    scope: InstrumentationScope,
}

impl Start<'_> {
    fn traces(&self, inner: &mut Inner, asked: &Settings) {
        let Some(settings) = &asked.traces else { return };
        let outlet = self.outlet(inner, Signal::Traces, &settings.to, settings.batch.queue);
        let provider = built(providers::traces(settings, &self.resource, &outlet), &outlet);
        inner.spans = provider.map(|provider| Spans::new(provider, self.scope.clone(), asked.trace_context));
        inner.outlets.extend(inner.spans.is_some().then_some(outlet));
    }

    fn logs(&self, inner: &mut Inner, asked: &Settings) {
        let Some(settings) = &asked.logs else { return };
        let outlet = self.outlet(inner, Signal::Logs, &settings.to, settings.batch.queue);
        let provider = built(providers::logs(settings, &self.resource, &outlet), &outlet);
        inner.events = provider.map(|provider| Events::new(provider, self.scope.clone()));
        inner.outlets.extend(inner.events.is_some().then_some(outlet));
    }

    /// Last, since metrics tell of the other signals' outlets.
    fn metrics(&self, inner: &mut Inner, asked: &Settings, source: &Arc<dyn Source>) {
        let Some(settings) = &asked.metrics else { return };
        let outlet = self.outlet(inner, Signal::Metrics, &settings.to, 0);
        let Some(provider) = built(providers::metrics(settings, &self.resource, &outlet), &outlet) else {
            return;
        };
        inner.outlets.push(outlet);
        inner.metrics = Some(self.instruments(provider, inner, source));
    }

    fn instruments(
        &self,
        provider: SdkMeterProvider,
        inner: &Inner,
        source: &Arc<dyn Source>,
    ) -> (SdkMeterProvider, Instruments) {
        let meter = provider.meter_with_scope(self.scope.clone());
        let instruments = Instruments::new(&meter, inner.semconv);
        relays::observe(&meter, source, &inner.outlets, inner.stop.subscribe());
        (provider, instruments)
    }

    fn outlet(&self, inner: &Inner, signal: Signal, to: &Destination, room: usize) -> Arc<Outlet> {
        let (endpoint, protocol) = (&to.endpoint, to.protocol.name());
        tracing::info!(signal = signal.name(), %endpoint, protocol, "telemetry is exported");
        Outlet::new(signal, to, room, self.runtime, inner.stop.subscribe())
    }
}

impl Inner {
    /// Exports nothing.
    pub(super) fn silent(semconv: Semconv) -> Self {
        Self {
            semconv,
            views: Mutex::default(),
            metrics: None,
            spans: None,
            events: None,
            outlets: Vec::new(),
            runtime: None,
            stop: watch::Sender::new(false),
            ended: AtomicBool::new(false),
        }
    }
}

fn built<P>(provider: Result<P, ExporterBuildError>, outlet: &Outlet) -> Option<P> {
    let said = |error| tracing::warn!(signal = outlet.signal.name(), "telemetry cannot be exported: {error}");
    provider.map_err(said).ok()
}

/// Both conventions at once have the released one's schema.
fn scope(semconv: Semconv) -> InstrumentationScope {
    let schema = match semconv {
        Semconv::Released | Semconv::Both => names::SCHEMA,
        Semconv::Latest => names::SCHEMA_LATEST,
    };
    InstrumentationScope::builder(names::SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(schema)
        .build()
}
