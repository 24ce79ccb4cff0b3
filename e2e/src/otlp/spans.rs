//! Spans and log records, one by one.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as wire};
use serde_json::Value;

use super::value::{Attributes, Scope, attributes, hex, resource, value};

/// A span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits; empty of a root.
    pub parent_span_id: String,
    /// `tracestate`.
    pub trace_state: String,
    /// W3C flags and, above them, whether the parent is remote.
    pub flags: u32,
    /// What was done.
    pub name: String,
    /// `client`, `server`, `internal`, `producer`, `consumer` or `unspecified`.
    pub kind: &'static str,
    /// In nanoseconds since 1970.
    pub start: u64,
    /// In nanoseconds since 1970.
    pub end: u64,
    /// Of the span.
    pub attributes: Attributes,
    /// Names of events on it.
    pub events: Vec<String>,
    /// `unset`, `ok` or `error`.
    pub status: &'static str,
    /// What went wrong.
    pub message: String,
    /// Who made it.
    pub scope: Scope,
    /// Of the process.
    pub resource: Attributes,
}

/// A log record.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// When it happened, in nanoseconds since 1970.
    pub time: u64,
    /// When it was noticed, in nanoseconds since 1970.
    pub observed: u64,
    /// 1 to 24.
    pub severity: i32,
    /// As its writer calls it.
    pub severity_text: String,
    /// The event's name.
    pub event: String,
    /// What it says.
    pub body: Value,
    /// Of the record.
    pub attributes: Attributes,
    /// 32 hexadecimal digits, or empty.
    pub trace_id: String,
    /// 16 hexadecimal digits, or empty.
    pub span_id: String,
    /// Who wrote it.
    pub scope: Scope,
    /// Of the process.
    pub resource: Attributes,
}

/// All spans of a message.
pub(super) fn spans(message: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for process in &message.resource_spans {
        let resource = resource(process.resource.as_ref());
        for made in &process.scope_spans {
            let scope = Scope::of(made.scope.as_ref(), &made.schema_url);
            spans.extend(made.spans.iter().map(|span| Span {
                scope: scope.clone(),
                resource: resource.clone(),
                ..of_span(span)
            }));
        }
    }
    spans
}

/// All records of a message.
pub(super) fn logs(message: &ExportLogsServiceRequest) -> Vec<Log> {
    let mut logs = Vec::new();
    for process in &message.resource_logs {
        let resource = resource(process.resource.as_ref());
        for written in &process.scope_logs {
            let scope = Scope::of(written.scope.as_ref(), &written.schema_url);
            logs.extend(written.log_records.iter().map(|record| Log {
                scope: scope.clone(),
                resource: resource.clone(),
                ..of_record(record)
            }));
        }
    }
    logs
}

fn of_span(span: &wire::Span) -> Span {
    let status = span.status.as_ref();
    Span {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: hex(&span.parent_span_id),
        trace_state: span.trace_state.clone(),
        flags: span.flags,
        name: span.name.clone(),
        kind: kind(span.kind),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(|event| event.name.clone()).collect(),
        status: status_name(status.map_or(0, |status| status.code)),
        message: status.map(|status| status.message.clone()).unwrap_or_default(),
        scope: Scope::default(),
        resource: Attributes::new(),
    }
}

fn of_record(record: &LogRecord) -> Log {
    Log {
        time: record.time_unix_nano,
        observed: record.observed_time_unix_nano,
        severity: record.severity_number,
        severity_text: record.severity_text.clone(),
        event: record.event_name.clone(),
        body: value(record.body.as_ref()),
        attributes: attributes(&record.attributes),
        trace_id: hex(&record.trace_id),
        span_id: hex(&record.span_id),
        scope: Scope::default(),
        resource: Attributes::new(),
    }
}

fn kind(wire: i32) -> &'static str {
    match SpanKind::try_from(wire) {
        Ok(SpanKind::Client) => "client",
        Ok(SpanKind::Server) => "server",
        Ok(SpanKind::Internal) => "internal",
        Ok(SpanKind::Producer) => "producer",
        Ok(SpanKind::Consumer) => "consumer",
        Ok(SpanKind::Unspecified) | Err(_) => "unspecified",
    }
}

fn status_name(wire: i32) -> &'static str {
    match StatusCode::try_from(wire) {
        Ok(StatusCode::Ok) => "ok",
        Ok(StatusCode::Error) => "error",
        Ok(StatusCode::Unset) | Err(_) => "unset",
    }
}
