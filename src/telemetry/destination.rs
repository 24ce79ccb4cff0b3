//! Where one signal goes and how, out of the exporter's variables.
#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::endpoint::{self, Endpoint};
use super::resource::percent_decoded;
use super::settings::Signal;
use super::variables::Variables;

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

/// Where `signal` goes; `None` when it is not exported.
pub(super) fn destination(variables: &Variables<'_>, signal: Signal) -> Option<Destination> {
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

impl Protocol {
    /// As the variable spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
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

/// Default of the OpenTelemetry specification.
const TIMEOUT: Duration = Duration::from_secs(10);
