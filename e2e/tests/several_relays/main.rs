//! The promises of `envoy/several-relays.yaml`: several platforms on one Envoy, each with its own settings, and none that
//! another one's flood or stall holds up.

mod flood;
mod isolation;
mod mistakes;
mod own;

use std::net::SocketAddr;

use e2e::model::{Model, ModelOptions};
use e2e::relay::{DEFAULT_RELAY, Relay, RelayOptions, Version};
use e2e::world::site::DEADLINE;
use e2e::world::{Certificates, Envoy, Scratch, free_address, http, render, workspace};
use serde_json::Value;

/// The shipped file with this test's relays, models, paths and ports.
struct Plan {
    scratch: Scratch,
    certificates: Certificates,
    text: String,
    /// Where the relay `partner` is looked for, and the models of both.
    partner: SocketAddr,
    models: [SocketAddr; 2],
    admin: SocketAddr,
    status: SocketAddr,
    variables: Vec<(String, String)>,
}

/// Envoy on the shipped file. The relay `evaluations` is the test's own; `partner` is a good one.
struct World {
    envoy: Envoy,
    relay: Relay,
    /// Of `evaluations` and of `partner`.
    models: [Model; 2],
    status: SocketAddr,
    _scratch: Scratch,
}

impl Plan {
    /// A plan whose relay `evaluations` is at `url`.
    fn new(url: &str) -> Self {
        let scratch = Scratch::new().unwrap();
        let certificates = Certificates::make(&scratch).unwrap();
        // plain text knows no authorities
        let own_tls = match url.starts_with("wss:") {
            true => format!("tls: {{ ca_file: {:?} }} # ", certificates.ca),
            false => "# tls: {} ".to_owned(),
        };
        let [partner, one, other, admin, status] = [(); 5].map(|()| free_address().unwrap());
        let text = render(
            &workspace().join("envoy/several-relays.yaml"),
            &[
                ("wss://relay.example.com/connect            #", &format!("{url} #")),
                (
                    "wss://bridge.partner.example/connect",
                    &format!("wss://localhost:{}/connect", partner.port()),
                ),
                ("# tls: {}\n", &format!("tls: {{ ca_file: {:?} }}\n", certificates.ca)),
                ("# tls: {} ", &own_tls),
                ("/run/spectral-bridge", &scratch.path().display().to_string()),
                ("port_value: 9901", &format!("port_value: {}", admin.port())),
                ("port_value: 8000", &format!("port_value: {}", one.port())),
                ("port_value: 8001", &format!("port_value: {}", other.port())),
                ("port_value: 8841", &format!("port_value: {}", status.port())),
                ("127.0.0.1:8841", &status.to_string()),
            ],
        )
        .unwrap();
        let variables = [
            ("EVALUATIONS_API_KEY", EVALUATIONS_KEY),
            ("PARTNER_API_KEY", PARTNER_KEY),
        ];
        Self {
            scratch,
            certificates,
            text,
            partner,
            models: [one, other],
            admin,
            status,
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    /// Replaces `from`, which must occur, by `to`.
    fn edit(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "the file does not contain `{from}`");
        self.text = self.text.replace(from, to);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// A relay server with TLS and this key.
    async fn relay_at(&self, public: SocketAddr, key: &str) -> Relay {
        let mut options = RelayOptions::new(Version::V2, key);
        options.public = public;
        options.tls = Some(self.certificates.server.clone());
        Relay::start(options).await.unwrap()
    }

    async fn start(self) -> World {
        let relay = self.relay_at(self.partner, PARTNER_KEY).await;
        let model = async |listen| {
            let options = ModelOptions {
                listen,
                ..ModelOptions::default()
            };
            Model::start_with(options).await.unwrap()
        };
        let models = [model(self.models[0]).await, model(self.models[1]).await];
        let config = self.scratch.write("envoy.yaml", &self.text).unwrap();
        let mut envoy = Envoy::start(&config, self.admin, &self.variables()).unwrap();
        envoy.ready(DEADLINE).await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        World {
            envoy,
            relay,
            models,
            status: self.status,
            _scratch: self.scratch,
        }
    }
}

impl World {
    /// The part of this relay in `/status`.
    async fn status_of(&self, name: &str) -> Value {
        let status = http::get(&format!("http://{}/status", self.status))
            .await
            .unwrap()
            .json();
        let relays = status["relays"].as_array().unwrap();
        relays.iter().find(|relay| relay["name"] == name).unwrap().clone()
    }
}

/// Where a caller of this relay asks for `path`.
fn url(relay: &Relay, path: &str) -> String {
    relay.url(&format!("/relays/{DEFAULT_RELAY}{path}"))
}

const EVALUATIONS_KEY: &str = "key-of-evaluations-1c";
const PARTNER_KEY: &str = "key-of-partner-9e";
