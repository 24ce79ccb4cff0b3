//! Spans: one per relayed request, a child of the platform's, the parent of Envoy's.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

use super::names;

#[derive(Debug)]
pub(super) struct Spans {
    pub provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// Whether `traceparent` is read and written.
    joins: bool,
}

/// A span that has begun; dropped without [`super::Telemetry::finish`], it ends with the error `cancelled`.
#[derive(Debug, Default)]
pub struct Span {
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    span: SdkSpan,
    started: SystemTime,
}

impl Spans {
    pub(super) fn new(provider: SdkTracerProvider, scope: InstrumentationScope, joins: bool) -> Self {
        Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            joins,
        }
    }

    pub(super) fn begin(&self, headers: &mut HeaderMap, received: SystemTime) -> Span {
        let propagator = TraceContextPropagator::new();
        // never the thread's current context: nothing of ours sets it, and another library of the process may
        let mut parent = Context::new();
        if self.joins {
            parent = propagator.extract_with_context(&parent, &Incoming::read(headers));
        }
        let builder = SpanBuilder::from_name(names::SPAN)
            .with_kind(SpanKind::Client)
            .with_start_time(received);
        let span = self.tracer.build_with_context(builder, &parent);
        if self.joins {
            let context = Context::new().with_remote_span_context(span.span_context().clone());
            propagator.inject_context(&context, &mut Outgoing(headers));
        }
        Span {
            open: Some(Box::new(Open {
                span,
                started: received,
            })),
        }
    }
}

impl Span {
    /// Whether anything is kept of what it is told.
    pub(super) fn is_recording(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.span.is_recording())
    }

    pub(super) fn context(&self) -> Option<&SpanContext> {
        let context = self.open.as_ref()?.span.span_context();
        context.is_valid().then_some(context)
    }

    pub(super) fn end(mut self, name: String, attributes: Vec<KeyValue>, error: Option<&str>, duration: Duration) {
        let Some(mut open) = self.open.take() else { return };
        open.span.update_name(name);
        open.span.set_attributes(attributes);
        if let Some(error) = error {
            open.span.set_status(Status::error(error.to_owned()));
        }
        open.span.end_with_timestamp(open.started + duration);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = &mut self.open {
            open.span
                .set_attribute(KeyValue::new(names::ERROR_TYPE, names::CANCELLED));
            open.span.set_status(Status::error(names::CANCELLED));
            open.span.end();
        }
    }
}

/// The one `traceparent` there is; with several, nobody knows whose child this is.
#[derive(Default)]
struct Incoming {
    parent: String,
    state: String,
}

impl Incoming {
    fn read(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else {
            return Self::default();
        };
        let parent = parent.to_str().unwrap_or_default();
        if !is_shaped(parent) {
            return Self::default();
        }
        let states = headers.get_all(TRACESTATE).iter();
        let states: Vec<_> = states.filter_map(|state| state.to_str().ok()).collect();
        Self {
            parent: parent.to_owned(),
            state: states.join(","),
        }
    }
}

/// Whether every field has its width: the SDK's propagator takes shorter ones, and signs, for numbers.
fn is_shaped(parent: &str) -> bool {
    let mut fields = parent.split('-').map(str::as_bytes);
    let hex = |field: &[u8]| field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    [2, 32, 16, 2]
        .iter()
        .all(|width| fields.next().is_some_and(|field| field.len() == *width && hex(field)))
}

impl Extractor for Incoming {
    fn get(&self, key: &str) -> Option<&str> {
        if key == TRACEPARENT {
            Some(&self.parent)
        } else if key == TRACESTATE {
            Some(&self.state)
        } else {
            None
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    /// An empty state is none.
    fn set(&mut self, key: &str, value: String) {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) else {
            return;
        };
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name, value);
        }
    }
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
