//! What is allowed but worth a line in the log.

use super::{Config, ForwardTo, Relay, ResponsePolicy, url};
use crate::protocol::endpoint;

impl Config {
    /// One line each, with the JSON path, for the host to log.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (i, relay) in self.relays.iter().enumerate() {
            let place = format!("relays[{i}]");
            warnings.extend(
                url_warnings(relay)
                    .into_iter()
                    .map(|text| format!("{place}.url: {text}")),
            );
            let caveats = relay
                .paths
                .iter()
                .filter_map(|path| Some((path, endpoint::find(path)?.caveat?)));
            warnings.extend(caveats.map(|(path, caveat)| format!("{place}.paths: {path} {caveat}")));
            if relay.response_policy == ResponsePolicy::TextOnly && !relay.response_headers.is_empty() {
                warnings.push(format!(
                    "{place}.response_headers: response_policy text_only passes none of them"
                ));
            }
            // one that it has from the common forward is warned of once
            if let Some(forward) = relay.forward.as_ref().filter(|own| own.to != self.forward.to) {
                warnings.extend(distant(&format!("{place}.forward.to"), &forward.to));
            }
        }
        warnings.extend(distant("forward.to", &self.forward.to));
        if self
            .status
            .inspector
            .is_some_and(|inspector| inspector.bodies.is_some())
        {
            let readers = match self.status.token {
                Some(_) => "whoever has status.token",
                None => "every process and user on this host (with status.token: whoever has it)",
            };
            warnings.push(format!(
                "status.inspector.bodies: prompts and answers can be read on {} by {readers}",
                self.status.listen
            ));
        }
        warnings
    }
}

fn distant(place: &str, to: &ForwardTo) -> Option<String> {
    let ForwardTo::Tcp { host, port } = to else { return None };
    let to = url::authority(host, *port);
    let problem = "is not on this host, prompts and answers cross the network unencrypted";
    (!url::is_loopback(host)).then(|| format!("{place}: {to} {problem}"))
}

fn url_warnings(relay: &Relay) -> Vec<String> {
    let mut warnings = Vec::new();
    let url = &relay.url;
    // PROTOCOL §2.1: not where the traffic could leave a trusted network
    if !url.tls {
        warnings.push("ws:// sends the API key, prompts and answers unencrypted; use wss:// in production".to_owned());
    }
    let (path, query) = url.path_and_query.split_once('?').unwrap_or((&url.path_and_query, ""));
    if path == "/" {
        warnings.push("the path is /, but a relay's WebSocket endpoint is /connect (PROTOCOL §2.1)".to_owned());
    }
    if !query.is_empty() {
        warnings.push("the query shows in /config_dump; a secret does not belong into it".to_owned());
    }
    warnings
}
