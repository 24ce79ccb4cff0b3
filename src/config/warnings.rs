//! What is allowed but worth a line in the log.

use super::{Config, ForwardTo, Relay, url};

impl Config {
    /// One line each, with the JSON path, for the host to log.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (i, relay) in self.relays.iter().enumerate() {
            let place = format!("relays[{i}].url");
            warnings.extend(relay_warnings(relay).into_iter().map(|text| format!("{place}: {text}")));
        }
        if let ForwardTo::Tcp { host, port } = &self.forward.to
            && !url::is_loopback(host)
        {
            let to = url::authority(host, *port);
            warnings.push(format!(
                "forward.to: {to} is not on this host, prompts and answers cross the network unencrypted"
            ));
        }
        warnings
    }
}

fn relay_warnings(relay: &Relay) -> Vec<String> {
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
