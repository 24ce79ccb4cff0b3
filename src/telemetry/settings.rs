//! What the variables ask for, checked: pure, so that every rule of the specification is a line in a test.
//!
//! A mistake costs the setting, not the rest: it is a [`Mistake`] that the caller says in the log, and the default holds.
//! Where an endpoint or an exporter cannot be understood, that signal is not exported, since guessing where telemetry
//! should go is worse than not sending it.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::endpoint::{self, Endpoint};
use super::environment::Environment;
use super::resource::percent_decoded;
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

/// Where one signal goes, and how.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub protocol: Protocol,
    pub endpoint: Endpoint,
    /// Secrets, as a rule.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For one batch, retries included.
    pub timeout: Duration,
    pub gzip: bool,
    pub tls: TlsFiles,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub ca: Option<PathBuf>,
    /// Certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
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

fn destination(variables: &Variables<'_>, signal: Signal) -> Option<Destination> {
    let explicit = exporter(variables, signal)?;
    let (variable, endpoint) = match variables.of(signal, "ENDPOINT") {
        Some((variable, text)) => (variable, Some(text)),
        None if explicit => (String::new(), None),
        None => return None,
    };
    let protocol = protocol(variables, signal)?;
    let endpoint = match endpoint {
        None => endpoint::default(protocol, signal),
        Some(text) => {
            let insecure = variables
                .of(signal, "INSECURE")
                .is_some_and(|(variable, _)| variables.flag(&variable));
            let own = variable == signal.variable("ENDPOINT");
            match endpoint::read(text, protocol, insecure, (!own).then_some(signal)) {
                Ok(endpoint) => endpoint,
                Err(allowed) => {
                    // it may hold credentials, so it is not shown
                    variables.wrong_secret(&variable, format!("{allowed}; {} are not exported", signal.name()));
                    return None;
                }
            }
        }
    };
    Some(Destination {
        protocol,
        endpoint,
        headers: headers(variables, signal),
        timeout: variables.milliseconds(&variables.name_of(signal, "TIMEOUT"), TIMEOUT),
        gzip: variables.word(
            &variables.name_of(signal, "COMPRESSION"),
            &[("none", false), ("gzip", true)],
            false,
        ),
        tls: tls(variables, signal),
    })
}

/// Whether it is asked for by name; `None` when the signal is not exported.
fn exporter(variables: &Variables<'_>, signal: Signal) -> Option<bool> {
    let name = format!("OTEL_{}_EXPORTER", signal.upper());
    let list = variables.list(&name);
    if list.iter().any(|word| !["otlp", "none"].contains(word)) {
        variables.wrong(&name, "otlp or none");
    }
    match list.as_slice() {
        [] => Some(false),
        words if words.contains(&"none") => None,
        words => words.contains(&"otlp").then_some(true),
    }
}

fn protocol(variables: &Variables<'_>, signal: Signal) -> Option<Protocol> {
    let Some((variable, word)) = variables.of(signal, "PROTOCOL") else {
        return Some(Protocol::Grpc);
    };
    match word {
        "grpc" => Some(Protocol::Grpc),
        "http/protobuf" => Some(Protocol::HttpProtobuf),
        _ => {
            let allowed = format!("grpc or http/protobuf; {} are not exported", signal.name());
            variables.wrong(&variable, allowed);
            None
        }
    }
}

fn headers(variables: &Variables<'_>, signal: Signal) -> Vec<(HeaderName, HeaderValue)> {
    let Some((variable, text)) = variables.of(signal, "HEADERS") else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        match header(pair) {
            Some(header) => headers.push(header),
            None => variables.wrong_secret(&variable, "name=value pairs, percent-encoded"),
        }
    }
    headers
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(&percent_decoded(value.trim())?).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

fn tls(variables: &Variables<'_>, signal: Signal) -> TlsFiles {
    let file = |key| variables.of(signal, key).map(|(_, path)| PathBuf::from(path));
    let client = match (file("CLIENT_CERTIFICATE"), file("CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            variables.wrong(
                &variables.name_of(signal, "CLIENT_CERTIFICATE"),
                "only together with the variable for CLIENT_KEY",
            );
            None
        }
        (None, Some(_)) => {
            variables.wrong(
                &variables.name_of(signal, "CLIENT_KEY"),
                "only together with the variable for CLIENT_CERTIFICATE",
            );
            None
        }
    };
    TlsFiles {
        ca: file("CERTIFICATE"),
        client,
    }
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

impl Protocol {
    /// As the variable spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
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

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("protocol", &self.protocol)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
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
const TIMEOUT: Duration = Duration::from_secs(10);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
const METRICS_INTERVAL: Duration = Duration::from_secs(60);
const TRACES_DELAY: Duration = Duration::from_secs(5);
const LOGS_DELAY: Duration = Duration::from_secs(1);
const QUEUE: usize = 2048;
const BATCH: usize = 512;

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
