//! One event for each exchange: through OTLP, and as a line of JSON in Envoy's log if asked for. Never content.

use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::trace::SpanContext;
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use serde_json::{Map, json};

use super::names;

#[derive(Debug)]
pub(super) struct Events {
    pub provider: SdkLoggerProvider,
    logger: SdkLogger,
}

/// What an event says.
pub(super) struct Event<'a> {
    pub name: &'static str,
    pub attributes: &'a [KeyValue],
    pub duration: Duration,
    pub failed: bool,
    pub span: Option<&'a SpanContext>,
}

impl Events {
    pub(super) fn new(provider: SdkLoggerProvider, scope: InstrumentationScope) -> Self {
        Self {
            logger: provider.logger_with_scope(scope),
            provider,
        }
    }

    pub(super) fn emit(&self, event: &Event<'_>) {
        let mut record = self.logger.create_log_record();
        let now = SystemTime::now();
        record.set_event_name(event.name);
        record.set_timestamp(now);
        record.set_observed_timestamp(now);
        let (severity, text) = match event.failed {
            true => (Severity::Error, "ERROR"),
            false => (Severity::Info, "INFO"),
        };
        record.set_severity_number(severity);
        record.set_severity_text(text);
        if let Some(span) = event.span {
            record.set_trace_context(span.trace_id(), span.span_id(), Some(span.trace_flags()));
        }
        record.add_attribute(names::REQUEST_DURATION, event.duration.as_secs_f64());
        let attributes = event.attributes.iter();
        record.add_attributes(attributes.map(|pair| (pair.key.clone(), any(&pair.value))));
        self.logger.emit(record);
    }
}

/// The event as one line of JSON, as the message of a log line and nothing else.
pub(super) fn log(event: &Event<'_>) {
    let line = line(event);
    match event.failed {
        true => tracing::error!(target: TARGET, "{line}"),
        false => tracing::info!(target: TARGET, "{line}"),
    }
}

fn line(event: &Event<'_>) -> String {
    let mut fields = Map::new();
    fields.insert("event".to_owned(), json!(event.name));
    if let Some(span) = event.span {
        fields.insert("trace_id".to_owned(), json!(span.trace_id().to_string()));
        fields.insert("span_id".to_owned(), json!(span.span_id().to_string()));
    }
    fields.insert(names::REQUEST_DURATION.to_owned(), json!(event.duration.as_secs_f64()));
    for pair in event.attributes {
        fields.insert(pair.key.as_str().to_owned(), json_value(&pair.value));
    }
    serde_json::Value::Object(fields).to_string()
}

fn any(value: &Value) -> AnyValue {
    match value {
        Value::Bool(value) => AnyValue::Boolean(*value),
        Value::I64(value) => AnyValue::Int(*value),
        Value::F64(value) => AnyValue::Double(*value),
        Value::String(value) => AnyValue::String(value.clone()),
        Value::Array(Array::String(values)) => values.iter().cloned().collect(),
        other => AnyValue::String(other.to_string().into()),
    }
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::String(value) => json!(value.as_str()),
        Value::Array(Array::String(values)) => values.iter().map(|value| json!(value.as_str())).collect(),
        other => json!(other.to_string()),
    }
}

const TARGET: &str = "spectral_bridge::request";

#[cfg(test)]
mod tests {
    use opentelemetry::StringValue;

    use super::*;

    #[test]
    fn the_line_is_json_with_typed_values() {
        let attributes = [
            KeyValue::new(names::REQUEST_MODEL, "a\"\nb".to_owned()),
            KeyValue::new(names::USAGE_INPUT, 17),
            KeyValue::new(names::REQUEST_STREAM, true),
            KeyValue::new(
                names::RESPONSE_FINISH_REASONS,
                Value::Array(Array::String(vec![StringValue::from("stop")])),
            ),
        ];
        let line = line(&Event {
            name: names::EVENT,
            attributes: &attributes,
            duration: Duration::from_millis(1500),
            failed: false,
            span: None,
        });
        assert!(!line.contains('\n'));
        let seen: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            seen,
            json!({
                "event": "gen_ai.client.inference.operation.details",
                "gen_ai.request.model": "a\"\nb",
                "gen_ai.usage.input_tokens": 17,
                "gen_ai.request.stream": true,
                "gen_ai.response.finish_reasons": ["stop"],
                "spectral_bridge.request.duration": 1.5,
            })
        );
    }
}
