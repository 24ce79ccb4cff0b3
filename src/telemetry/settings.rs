//! What the variables ask for, checked: pure, so that every rule of the specification is a line in a test.
//!
//! A mistake costs the setting, not the rest: it is a [`Mistake`] that the caller says in the log, and the default holds.
//! Where an endpoint or an exporter cannot be understood, that signal is not exported, since guessing where telemetry
//! should go is worse than not sending it.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::time::Duration;

use super::destination::{Destination, destination};
use super::environment::Environment;
use super::variables::Variables;

/// Everything but the resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub metrics: Option<Metrics>,
    pub traces: Option<Traces>,
    pub logs: Option<Logs>,
    pub semconv: Semconv,
    /// Whether `traceparent` is read and written.
    pub trace_context: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Metrics {
    pub to: Destination,
    pub interval: Duration,
    pub temporality: Temporality,
    /// Exponential histograms instead of explicit buckets.
    pub exponential: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Traces {
    pub to: Destination,
    pub batch: Batch,
    pub sampler: Sampler,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Logs {
    pub to: Destination,
    pub batch: Batch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub queue: usize,
    pub size: usize,
    pub delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Temporality {
    Cumulative,
    Delta,
    LowMemory,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    pub parent_based: bool,
    /// Of the traces that begin here.
    pub ratio: f64,
}

/// Which names the conventions' metrics get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Semconv {
    Released,
    Latest,
    Both,
}

/// The three signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Metrics,
    Traces,
    Logs,
}

/// A variable that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub variable: String,
    /// Absent where it may be a secret.
    pub value: Option<String>,
    pub allowed: String,
}

impl Settings {
    /// Reads them; what is wrong is added to `mistakes`.
    pub(super) fn read(environment: &Environment, mistakes: &mut Vec<Mistake>) -> Self {
        let variables = Variables::new(environment);
        let off = variables.flag("OTEL_SDK_DISABLED");
        let to = |signal| if off { None } else { destination(&variables, signal) };
        let settings = Self {
            metrics: to(Signal::Metrics).map(|to| metrics(&variables, to)),
            traces: to(Signal::Traces).map(|to| traces(&variables, to)),
            logs: to(Signal::Logs).map(|to| Logs {
                batch: batch(&variables, "OTEL_BLRP", LOGS_DELAY),
                to: within(to, variables.milliseconds("OTEL_BLRP_EXPORT_TIMEOUT", EXPORT_TIMEOUT)),
            }),
            semconv: semconv(&variables),
            trace_context: propagates(&variables),
        };
        mistakes.extend(variables.mistakes());
        settings
    }
}

fn metrics(variables: &Variables<'_>, to: Destination) -> Metrics {
    let timeout = variables.milliseconds("OTEL_METRIC_EXPORT_TIMEOUT", EXPORT_TIMEOUT);
    Metrics {
        to: within(to, timeout),
        interval: variables.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", METRICS_INTERVAL),
        temporality: variables.word(
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            &[
                ("cumulative", Temporality::Cumulative),
                ("delta", Temporality::Delta),
                ("lowmemory", Temporality::LowMemory),
            ],
            Temporality::Cumulative,
        ),
        exponential: variables.word(
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            &[
                ("explicit_bucket_histogram", false),
                ("base2_exponential_bucket_histogram", true),
            ],
            false,
        ),
    }
}

fn traces(variables: &Variables<'_>, to: Destination) -> Traces {
    Traces {
        to: within(to, variables.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", EXPORT_TIMEOUT)),
        batch: batch(variables, "OTEL_BSP", TRACES_DELAY),
        sampler: sampler(variables),
    }
}

/// The shorter of the two timeouts that the specification has for one export.
fn within(mut to: Destination, timeout: Duration) -> Destination {
    to.timeout = to.timeout.min(timeout);
    to
}

fn batch(variables: &Variables<'_>, prefix: &str, delay: Duration) -> Batch {
    let queue = variables.count(&format!("{prefix}_MAX_QUEUE_SIZE"), QUEUE);
    let name = format!("{prefix}_MAX_EXPORT_BATCH_SIZE");
    let size = variables.count(&name, BATCH.min(queue));
    if size > queue {
        variables.wrong(&name, format!("at most the queue's size, {queue}"));
    }
    Batch {
        queue,
        size: size.min(queue),
        delay: variables.milliseconds(&format!("{prefix}_SCHEDULE_DELAY"), delay),
    }
}

fn sampler(variables: &Variables<'_>) -> Sampler {
    #[derive(Clone, Copy)]
    enum Ratio {
        Fixed(f64),
        Argument,
    }
    let (parent_based, ratio) = variables.word(
        "OTEL_TRACES_SAMPLER",
        &[
            ("always_on", (false, Ratio::Fixed(1.0))),
            ("always_off", (false, Ratio::Fixed(0.0))),
            ("traceidratio", (false, Ratio::Argument)),
            ("parentbased_always_on", (true, Ratio::Fixed(1.0))),
            ("parentbased_always_off", (true, Ratio::Fixed(0.0))),
            ("parentbased_traceidratio", (true, Ratio::Argument)),
        ],
        (true, Ratio::Fixed(1.0)),
    );
    let ratio = match ratio {
        Ratio::Fixed(ratio) => ratio,
        Ratio::Argument => variables.ratio("OTEL_TRACES_SAMPLER_ARG", 1.0),
    };
    Sampler { parent_based, ratio }
}

/// Values for other conventions are in the same list, so an unknown one is no mistake.
fn semconv(variables: &Variables<'_>) -> Semconv {
    let list = variables.list("OTEL_SEMCONV_STABILITY_OPT_IN");
    if list.contains(&"gen_ai_latest_experimental/dup") {
        Semconv::Both
    } else if list.contains(&"gen_ai_latest_experimental") {
        Semconv::Latest
    } else {
        Semconv::Released
    }
}

fn propagates(variables: &Variables<'_>) -> bool {
    let list = variables.list("OTEL_PROPAGATORS");
    for word in &list {
        // baggage crosses as any other header does
        if !["tracecontext", "baggage", "none"].contains(word) {
            variables.wrong("OTEL_PROPAGATORS", "a list of tracecontext and baggage, or none");
        }
    }
    list.is_empty() || list.contains(&"tracecontext")
}

impl Signal {
    /// As the status and metrics spell it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }

    pub(super) fn upper(self) -> &'static str {
        match self {
            Self::Metrics => "METRICS",
            Self::Traces => "TRACES",
            Self::Logs => "LOGS",
        }
    }

    /// The signal's own variable.
    pub(super) fn variable(self, key: &str) -> String {
        format!("OTEL_EXPORTER_OTLP_{}_{key}", self.upper())
    }
}

impl Semconv {
    pub(super) fn released(self) -> bool {
        matches!(self, Self::Released | Self::Both)
    }

    pub(super) fn latest(self) -> bool {
        matches!(self, Self::Latest | Self::Both)
    }
}

impl Mistake {
    pub(super) fn new(variable: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self {
            variable: variable.to_owned(),
            value: Some(value.to_owned()),
            allowed: allowed.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            allowed,
        } = self;
        match value {
            Some(value) => write!(f, "{variable} is {value:?}, allowed: {allowed}"),
            None => write!(
                f,
                "{variable} cannot be used (its value may be secret), allowed: {allowed}"
            ),
        }
    }
}

/// Defaults of the OpenTelemetry specification.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
const METRICS_INTERVAL: Duration = Duration::from_secs(60);
const TRACES_DELAY: Duration = Duration::from_secs(5);
const LOGS_DELAY: Duration = Duration::from_secs(1);
const QUEUE: usize = 2048;
const BATCH: usize = 512;

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
