//! What a stream's request headers say: whether it is watched at all, and what telemetry names of it.

use std::time::Instant;

use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;

use crate::relayed::{self, X_SPECTRAL_BRIDGE_TICKET};
use crate::usage::{self, Operation};

/// A stream that is watched.
#[derive(Debug)]
pub(super) struct Head {
    /// When its headers came.
    pub(super) started: Instant,
    /// What it asks for.
    pub(super) operation: Operation,
    /// The ticket of what this process's relay client forwarded, and counts.
    pub(super) ticket: Option<Box<[u8]>>,
    /// `x-request-id`.
    pub(super) request_id: Option<Box<str>>,
    /// The host that it names, and the port.
    pub(super) server: Option<(Box<str>, u16)>,
    /// The model that its path names, or its query if it is an upgrade.
    pub(super) model: Option<Box<str>>,
    /// Whether it asks to become a WebSocket.
    pub(super) upgrade: bool,
    /// Its path without the query, of one that does.
    pub(super) path: Option<Box<str>>,
}

impl Head {
    /// Reads the request headers; `None` for a stream that is nothing to this filter. `named` asks for what only
    /// OpenTelemetry tells.
    pub(super) fn read<EHF: EnvoyHttpFilter>(envoy: &mut EHF, named: bool) -> Option<Self> {
        // a ticket is between the forwarder and this filter: nobody after it sees one, valid or not
        let ticket = take_ticket(envoy);
        let envoy: &EHF = envoy;
        let method = text(envoy, ":method")?;
        let path = text(envoy, ":path")?;
        let operation = usage::operation(method, path)?;
        let told = |wanted: bool, name| if wanted { text(envoy, name) } else { None };
        let upgrade = is_socket(method, operation);
        if upgrade && !asks_for_websocket(envoy) {
            return None;
        }
        Some(Self {
            started: Instant::now(),
            operation,
            ticket,
            request_id: told(named || upgrade, "x-request-id").map(Box::from),
            server: told(named, ":authority").and_then(|authority| server(authority, text(envoy, ":scheme"))),
            model: usage::model_in_path(path)
                .or_else(|| queried_model(path).filter(|_| upgrade))
                .map(Box::from),
            upgrade,
            path: upgrade.then(|| path.split('?').next().unwrap_or(path).into()),
        })
    }

    /// Whether this process's relay client counts it.
    pub(super) fn is_relayed(&self) -> bool {
        self.ticket.is_some()
    }
}

fn take_ticket<EHF: EnvoyHttpFilter>(envoy: &mut EHF) -> Option<Box<[u8]>> {
    let name = X_SPECTRAL_BRIDGE_TICKET;
    let ticket: Box<[u8]> = envoy.get_request_header_value(name.as_str())?.as_slice().into();
    envoy.remove_request_header(name.as_str());
    relayed::take(&ticket).then_some(ticket)
}

/// Puts a ticket that was taken back on its request, which begins again.
pub(super) fn give_back<EHF: EnvoyHttpFilter>(envoy: &mut EHF, ticket: &[u8]) {
    relayed::give_back(ticket);
    envoy.set_request_header(X_SPECTRAL_BRIDGE_TICKET.as_str(), ticket);
}

/// A request header's first value, when it is text.
fn text<'a, EHF: EnvoyHttpFilter>(envoy: &'a EHF, name: &str) -> Option<&'a str> {
    std::str::from_utf8(envoy.get_request_header_value(name)?.as_slice()).ok()
}

/// HTTP/1.1's `upgrade`, or the extended CONNECT of HTTP/2 and HTTP/3, which Envoy shows as the former.
fn asks_for_websocket<EHF: EnvoyHttpFilter>(envoy: &EHF) -> bool {
    let websocket = |name| text(envoy, name).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    websocket("upgrade") || websocket(":protocol")
}

/// Whether nothing but a WebSocket asks this by this method.
fn is_socket(method: &str, operation: Operation) -> bool {
    method != "POST" && operation != Operation::FetchResponse
}

/// `model` in the query of a realtime session. Names that need escapes are left to what the session itself says.
fn queried_model(path: &str) -> Option<&str> {
    let (_, query) = path.split_once('?')?;
    let model = query.split('&').find_map(|pair| pair.strip_prefix("model="))?;
    (!model.is_empty() && !model.contains(['%', '+'])).then_some(model)
}

fn server(authority: &str, scheme: Option<&str>) -> Option<(Box<str>, u16)> {
    let authority: http::uri::Authority = authority.parse().ok()?;
    let default = if scheme == Some("http") { 80 } else { 443 };
    let port = authority.port_u16().unwrap_or(default);
    Some((authority.host().trim_matches(['[', ']']).into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_in_the_query_is_read_as_it_stands() {
        assert_eq!(
            queried_model("/v1/realtime?intent=x&model=gpt-realtime"),
            Some("gpt-realtime")
        );
        for path in [
            "/v1/realtime",
            "/v1/realtime?model=",
            "/v1/realtime?model=a%2Fb",
            "/?my_model=m",
        ] {
            assert_eq!(queried_model(path), None, "{path}");
        }
    }

    #[test]
    fn the_host_that_a_request_names_has_a_port() {
        let server = |authority, scheme| server(authority, scheme).map(|(host, port)| (host.into_string(), port));
        assert_eq!(server("model:8000", None), Some(("model".to_owned(), 8000)));
        assert_eq!(server("model", Some("http")), Some(("model".to_owned(), 80)));
        assert_eq!(server("[::1]", Some("https")), Some(("::1".to_owned(), 443)));
        assert_eq!(server("a b", None), None);
    }
}
