//! What leaves the process, as a collector receives it.

mod collector;
mod delivery;
mod exchanges;
mod metrics;
mod spans;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use tokio::runtime::Handle;

use super::*;
use collector::{Collector, Export};

/// More than anything here takes; never a measure.
const GENEROUS: Duration = Duration::from_secs(60);

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const BOTH: [&str; 2] = ["grpc", "http/protobuf"];

/// Figures that a test sets.
#[derive(Debug, Default)]
struct Figures(Mutex<ProcessSnapshot>);

impl Source for Figures {
    fn snapshot(&self) -> ProcessSnapshot {
        self.0.lock().unwrap().clone()
    }
}

fn start(variables: &[(&str, &str)]) -> Telemetry {
    start_with(&config::Telemetry::default(), variables, Arc::new(Figures::default()))
}

fn start_with(settings: &config::Telemetry, variables: &[(&str, &str)], source: Arc<dyn Source>) -> Telemetry {
    let environment = variables.iter().copied().collect();
    Telemetry::start(&Handle::current(), settings, &environment, source)
}

fn start_to(collector: &Collector, more: &[(&str, &str)]) -> Telemetry {
    let url = collector.url();
    let mut variables = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", collector.protocol()),
    ];
    variables.extend(more);
    start(&variables)
}

/// An answered chat request; tests change what they are about.
struct Chat {
    origin: Origin,
    request: Request,
    answer: Answer,
}

impl Chat {
    fn new(model: &str, input: u64, output: u64) -> Self {
        let mut chat = Self {
            origin: Origin::new("eu", &[]),
            request: Request::default(),
            answer: Answer::default(),
        };
        chat.request.model = Some(model.into());
        chat.answer.model = Some(model.into());
        chat.answer.reported = crate::usage::Reported::Present;
        chat.answer.usage.input = Some(input);
        chat.answer.usage.output = Some(output);
        chat
    }

    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            via: Via::Relay(&self.origin),
            operation: Operation::Chat,
            request: &self.request,
            answer: Some(&self.answer),
            status: Some(200),
            error: None,
            missing: None,
            request_id: Some("req-1"),
            duration: Duration::from_millis(1500),
            time_to_first_token: None,
            server: None,
        }
    }
}

type Attributes = BTreeMap<String, String>;

/// Values with their type, so that `17` and `"17"` differ.
fn attributes(pairs: &[KeyValue]) -> Attributes {
    let mut seen = Attributes::new();
    for pair in pairs {
        let value = pair.value.as_ref().map(shown).unwrap_or_default();
        assert_eq!(seen.insert(pair.key.clone(), value), None, "{} twice", pair.key);
    }
    seen
}

fn shown(value: &AnyValue) -> String {
    match value.value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => format!("{text:?}"),
        any_value::Value::IntValue(int) => int.to_string(),
        any_value::Value::DoubleValue(double) => format!("{double:?}"),
        any_value::Value::BoolValue(flag) => flag.to_string(),
        any_value::Value::ArrayValue(array) => {
            let values: Vec<_> = array.values.iter().map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        other => panic!("no type of ours: {other:?}"),
    }
}

fn expect(pairs: &[(&str, &str)]) -> Attributes {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// All metrics of the last export that has any.
fn metrics_of(exports: &[Export]) -> Vec<Metric> {
    let last = exports.iter().filter_map(Export::metrics).next_back().unwrap();
    let scopes = last
        .resource_metrics
        .into_iter()
        .flat_map(|resource| resource.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).collect()
}

fn spans_of(exports: &[Export]) -> Vec<OtlpSpan> {
    let traces = exports.iter().filter_map(Export::traces);
    let scopes = traces
        .flat_map(|traces| traces.resource_spans)
        .flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn events_of(exports: &[Export]) -> Vec<LogRecord> {
    let logs = exports.iter().filter_map(Export::logs);
    let scopes = logs
        .flat_map(|logs| logs.resource_logs)
        .flat_map(|resource| resource.scope_logs);
    scopes.flat_map(|scope| scope.log_records).collect()
}

/// Points of a sum, or count and sum of a histogram, by their attributes without the `common` ones.
fn points(metrics: &[Metric], name: &str, common: &[&str]) -> Vec<(Attributes, String)> {
    let Some(metric) = metrics.iter().find(|metric| metric.name == name) else {
        return Vec::new();
    };
    let without = |pairs: &[KeyValue]| {
        let mut attributes = attributes(pairs);
        attributes.retain(|key, _| !common.contains(&key.as_str()));
        attributes
    };
    let mut points: Vec<_> = match metric.data.as_ref().unwrap() {
        metric::Data::Sum(sum) => {
            let points = sum.data_points.iter();
            let value = |value| match value {
                Some(number_data_point::Value::AsInt(int)) => int.to_string(),
                other => panic!("{other:?}"),
            };
            points
                .map(|point| (without(&point.attributes), value(point.value)))
                .collect()
        }
        metric::Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            let text = |count, sum: Option<f64>| format!("{count} of {}", sum.unwrap());
            points
                .map(|point| (without(&point.attributes), text(point.count, point.sum)))
                .collect()
        }
        other => panic!("{other:?}"),
    };
    points.sort();
    points
}

fn metric<'a>(metrics: &'a [Metric], name: &str) -> &'a Metric {
    metrics
        .iter()
        .find(|metric| metric.name == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

fn resource_of(exports: &[Export]) -> Vec<Resource> {
    let mut resources = Vec::new();
    for export in exports {
        resources.extend(
            export
                .metrics()
                .into_iter()
                .flat_map(|m| m.resource_metrics)
                .map(|m| m.resource),
        );
        resources.extend(
            export
                .traces()
                .into_iter()
                .flat_map(|t| t.resource_spans)
                .map(|t| t.resource),
        );
        resources.extend(
            export
                .logs()
                .into_iter()
                .flat_map(|l| l.resource_logs)
                .map(|l| l.resource),
        );
    }
    resources.into_iter().map(Option::unwrap).collect()
}

/// What is logged by this thread.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Until the guard is dropped.
    pub(super) fn capture(&self) -> tracing::subscriber::DefaultGuard {
        use tracing_subscriber::layer::SubscriberExt;
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!(" {field}={value:?}"));
            }
        }
        if event.metadata().target().starts_with("spectral_bridge") {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }
    }
}
