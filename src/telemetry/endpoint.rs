//! Where one signal goes: the collector's address out of a variable.
#![deny(clippy::disallowed_methods)]

use std::fmt;

use http::Uri;
use http::uri::Scheme;

use super::destination::Protocol;
use super::settings::Signal;

/// A collector's address. Its query may hold a key, so `Debug` and `Display` do not show it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// Of http/protobuf, with the query; gRPC has its own.
    pub path: String,
}

/// Where the specification expects a collector.
pub(super) fn default(protocol: Protocol, signal: Signal) -> Endpoint {
    let (port, path) = match protocol {
        Protocol::Grpc => (4317, String::new()),
        Protocol::HttpProtobuf => (4318, signal_path("", signal)),
    };
    Endpoint {
        tls: false,
        host: "localhost".to_owned(),
        port,
        path,
    }
}

/// Reads an endpoint; `shared_by` is the signal whose path is appended when the variable is the one for all signals.
///
/// # Errors
/// What is allowed instead.
pub(super) fn read(
    text: &str,
    protocol: Protocol,
    insecure: bool,
    shared_by: Option<Signal>,
) -> Result<Endpoint, &'static str> {
    let (allowed, text) = match protocol {
        Protocol::HttpProtobuf => ("a URL such as http://collector:4318", text.to_owned()),
        Protocol::Grpc if text.contains("://") => (GRPC, text.to_owned()),
        Protocol::Grpc => (GRPC, format!("{}://{text}", if insecure { "http" } else { "https" })),
    };
    let uri: Uri = text.parse().map_err(|_| allowed)?;
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => return Err(allowed),
    };
    let authority = uri.authority().ok_or(allowed)?;
    if authority.as_str().contains('@') {
        return Err("a URL without credentials in it; OTEL_EXPORTER_OTLP_HEADERS is for those");
    }
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => Some(if tls { 443 } else { 80 }),
        _ => authority.port_u16().filter(|port| *port != 0),
    };
    let given = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = match (protocol, shared_by) {
        (Protocol::Grpc, _) if given == "/" => String::new(),
        (Protocol::Grpc, _) => return Err("an address without a path, since gRPC has its own"),
        (Protocol::HttpProtobuf, Some(signal)) => signal_path(uri.path(), signal),
        (Protocol::HttpProtobuf, None) => given.to_owned(),
    };
    Ok(Endpoint {
        tls,
        host: authority.host().trim_matches(['[', ']']).to_owned(),
        port: port.ok_or(allowed)?,
        path,
    })
}

fn signal_path(base: &str, signal: Signal) -> String {
    format!("{}/v1/{}", base.trim_end_matches('/'), signal.name())
}

impl Endpoint {
    /// `host:port`, with brackets around an IPv6 address.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// All of it, for the one place that sends there.
    pub(super) fn url(&self) -> String {
        self.with(&self.path)
    }

    fn with(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }
}

/// For people: without the query, where some collectors expect a key.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        f.write_str(&self.with(path))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

const GRPC: &str = "an address such as http://collector:4317";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, protocol: Protocol, insecure: bool, shared_by: Option<Signal>) -> String {
        read(text, protocol, insecure, shared_by).map_or_else(|e| format!("! {e}"), |endpoint| endpoint.url())
    }

    #[test]
    fn one_for_all_signals_gets_the_signals_path_and_a_signals_own_is_used_as_it_is() {
        let all = |text| shown(text, Protocol::HttpProtobuf, false, Some(Signal::Traces));
        assert_eq!(all("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(all("https://c/otlp/"), "https://c:443/otlp/v1/traces");
        assert_eq!(all("http://[::1]:4318/"), "http://[::1]:4318/v1/traces");
        let own = |text| shown(text, Protocol::HttpProtobuf, false, None);
        assert_eq!(own("http://c:4318"), "http://c:4318/");
        assert_eq!(own("http://c/a/b?x=1"), "http://c:80/a/b?x=1");
    }

    #[test]
    fn grpc_has_no_path_and_needs_no_scheme() {
        let grpc = |text, insecure| shown(text, Protocol::Grpc, insecure, Some(Signal::Logs));
        assert_eq!(grpc("http://c:4317/", false), "http://c:4317");
        assert_eq!(grpc("https://c:4317", true), "https://c:4317", "a scheme wins");
        assert_eq!(grpc("c:4317", false), "https://c:4317");
        assert_eq!(grpc("c:4317", true), "http://c:4317");
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for (text, protocol) in [
            ("c:4318", Protocol::HttpProtobuf),
            ("ftp://c", Protocol::HttpProtobuf),
            ("unix:///run/otel", Protocol::Grpc),
            ("http://user:hunter2@c:4317", Protocol::Grpc),
            ("http://c:4317/v1/traces", Protocol::Grpc),
            ("http://c:99999", Protocol::Grpc),
            ("", Protocol::HttpProtobuf),
        ] {
            let seen = shown(text, protocol, false, Some(Signal::Metrics));
            assert!(seen.starts_with("! ") && !seen.contains("hunter2"), "{text}: {seen}");
        }
    }
}
