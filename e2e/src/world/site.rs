//! A customer's site and a platform in small: a relay, a model, and between them the real Envoy on a shipped file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Reply};
use super::{Certificates, Envoy, Scratch, free_address, render, workspace};
use crate::failed::{Failed, Result};
use crate::model::Model;
use crate::otlp::Protocol;
use crate::relay::{Relay, RelayOptions, Version};

/// A shipped configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipped {
    /// `envoy/sidecar.yaml`: the bootstrap extension.
    Sidecar,
    /// `envoy/mesh-filter.yaml`: the HTTP filter.
    MeshFilter,
    /// `envoy/budgets.yaml`: the bootstrap extension, with budgets, a schedule and a token.
    Budgets,
}

/// What a site is made from; change it before [`Plan::start`].
#[derive(Debug)]
pub struct Plan {
    /// Holds everything that the site writes.
    pub scratch: Scratch,
    /// The file.
    pub shipped: Shipped,
    /// The file's text after the usual edits; [`Plan::edit`] makes more.
    pub text: String,
    /// Where the relay is, or will be.
    pub relay: SocketAddr,
    /// Where the model is, or will be.
    pub model: SocketAddr,
    /// The key that Envoy finds in its environment.
    pub key: String,
    /// Further variables of Envoy's environment.
    pub variables: Vec<(String, String)>,
    /// Further arguments of Envoy.
    pub arguments: Vec<String>,
    /// Whom the configuration trusts, and what the relay shows.
    pub certificates: Certificates,
    admin: SocketAddr,
    status: SocketAddr,
}

/// A running Envoy and where to reach it.
#[derive(Debug)]
pub struct Site {
    /// The process.
    pub envoy: Envoy,
    /// What it was made from.
    pub plan: Plan,
}

impl Plan {
    /// Edits the shipped file as its comments tell a user: relay, model, and this test's paths and ports.
    ///
    /// # Errors
    /// The file does not have what is to be edited, or no port is free.
    pub fn new(shipped: Shipped) -> Result<Self> {
        let scratch = Scratch::new()?;
        let certificates = Certificates::make(&scratch)?;
        let (relay, model, admin, status) = (free_address()?, free_address()?, free_address()?, free_address()?);
        let text = render(
            &shipped.path(),
            &[
                (
                    "wss://relay.example.com/connect",
                    &format!("wss://localhost:{}/connect", relay.port()),
                ),
                ("# tls: {}  ", &format!("tls: {{ ca_file: {:?} }} # ", certificates.ca)),
                (
                    "/run/spectral-bridge/adapter.sock",
                    &scratch.path().join("adapter.sock").display().to_string(),
                ),
                ("port_value: 9901", &format!("port_value: {}", admin.port())),
                ("port_value: 8000", &format!("port_value: {}", model.port())),
                ("port_value: 8841", &format!("port_value: {}", status.port())),
                ("127.0.0.1:8841", &status.to_string()),
            ],
        )?;
        Ok(Self {
            scratch,
            shipped,
            text,
            relay,
            model,
            key: KEY.to_owned(),
            variables: Vec::new(),
            arguments: Vec::new(),
            certificates,
            admin,
            status,
        })
    }

    /// Replaces `from`, which must occur, by `to`.
    ///
    /// # Errors
    /// It does not occur.
    pub fn edit(mut self, from: &str, to: &str) -> Result<Self> {
        if !self.text.contains(from) {
            return Err(Failed::new(format!("{:?} does not contain `{from}`", self.shipped)));
        }
        self.text = self.text.replace(from, to);
        Ok(self)
    }

    /// Lets Envoy's environment name `endpoint` as the collector, at which everything is soon after it happened.
    #[must_use]
    pub fn exporting(mut self, endpoint: &str, protocol: Protocol) -> Self {
        self.variables.extend(exported_to(endpoint, protocol));
        self
    }

    /// A plan for a second Envoy on this host: the same relay and key; its own socket and ports.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn beside(&self) -> Result<Self> {
        let mut other = Self::new(self.shipped)?;
        let own = (
            other.relay.port().to_string(),
            other.certificates.ca.display().to_string(),
        );
        other = other.edit(
            &format!("localhost:{}", own.0),
            &format!("localhost:{}", self.relay.port()),
        )?;
        other = other.edit(&own.1, &self.certificates.ca.display().to_string())?;
        (other.relay, other.key) = (self.relay, self.key.clone());
        Ok(other)
    }

    /// A relay server at the place where the configuration looks for it, with TLS and the key.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_relay(&self, change: impl FnOnce(&mut RelayOptions)) -> Result<Relay> {
        let mut options = RelayOptions::new(Version::V2, KEY);
        options.public = self.relay;
        options.tls = Some(self.certificates.server.clone());
        change(&mut options);
        Ok(Relay::start(options).await?)
    }

    /// A model at the place where the configuration looks for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_model(&self) -> Result<Model> {
        let options = crate::model::ModelOptions {
            listen: self.model,
            ..crate::model::ModelOptions::default()
        };
        Ok(Model::start_with(options).await?)
    }

    /// Writes the configuration file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Result<PathBuf> {
        self.scratch.write("envoy.yaml", &self.text)
    }

    /// Starts Envoy and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start(self) -> Result<Site> {
        self.start_with(&[]).await
    }

    /// [`Plan::start`] with further command line arguments.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_with(self, more: &[&str]) -> Result<Site> {
        let mut site = self.launch(more)?;
        site.envoy.ready(DEADLINE).await?;
        Ok(site)
    }

    /// Starts Envoy and does not wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn launch(self, more: &[&str]) -> Result<Site> {
        let config = self.write()?;
        let arguments: Vec<&str> = self
            .arguments
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        let envoy = Envoy::start_with(&config, self.admin, &self.variables(), &arguments)?;
        Ok(Site { envoy, plan: self })
    }

    /// Starts one of several Envoys that hand over to each other ([`Envoy::start_epoch`]) and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn epoch(&self, epoch: u32, more: &[&str]) -> Result<Envoy> {
        let family = self.scratch.path().join("base-id");
        let mut envoy = Envoy::start_epoch(epoch, &family, &self.write()?, self.admin, &self.variables(), more)?;
        envoy.ready(DEADLINE).await?;
        Ok(envoy)
    }

    /// A page of the status server.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self, path: &str) -> Result<Reply> {
        http::get(&format!("http://{}{path}", self.status)).await
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        let more = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        std::iter::once(("SPECTRAL_BRIDGE_API_KEY", self.key.as_str()))
            .chain(more)
            .collect()
    }
}

impl Site {
    /// A site on this file with its relay and model, connected.
    ///
    /// # Errors
    /// Something does not start or connect.
    pub async fn connected(shipped: Shipped) -> Result<(Self, Relay, Model)> {
        let plan = Plan::new(shipped)?;
        let relay = plan.start_relay(|_| {}).await?;
        let model = plan.start_model().await?;
        let site = plan.start().await?;
        relay.connected(1, DEADLINE).await?;
        Ok((site, relay, model))
    }

    /// A page of the status server.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self, path: &str) -> Result<Reply> {
        self.plan.status(path).await
    }

    /// `http://127.0.0.1:PORT` and `path` on the status server.
    #[must_use]
    pub fn status_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.plan.status)
    }

    /// The first relay's part of `/status`.
    ///
    /// # Errors
    /// The status server does not answer.
    pub async fn relay_status(&self) -> Result<Value> {
        let status = self.status("/status").await?.json();
        Ok(status.pointer("/relays/0").cloned().unwrap_or_default())
    }

    /// Waits until the first relay's status has `value` at the JSON pointer `at`; gives that status.
    ///
    /// # Errors
    /// It had something else after the deadline.
    pub async fn relay_status_becomes(&self, at: &str, value: Value) -> Result<Value> {
        let what = format!("{at} is {value}");
        let reached = super::eventually(&what, DEADLINE, || async {
            let status = self.relay_status().await.ok()?;
            (status.pointer(at) == Some(&value)).then_some(status)
        });
        match reached.await {
            Ok(status) => Ok(status),
            Err(late) => Err(late.during(&format!("{}", self.relay_status().await?))),
        }
    }
}

impl Shipped {
    fn path(self) -> PathBuf {
        workspace().join(match self {
            Self::Sidecar => "envoy/sidecar.yaml",
            Self::MeshFilter => "envoy/mesh-filter.yaml",
            Self::Budgets => "envoy/budgets.yaml",
        })
    }
}

/// Variables that name `endpoint` as the collector, at which everything is soon after it happened.
#[must_use]
pub fn exported_to(endpoint: &str, protocol: Protocol) -> Vec<(String, String)> {
    let protocol = match protocol {
        Protocol::Grpc => "grpc",
        Protocol::Http => "http/protobuf",
    };
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    variables.map(owned).into()
}

/// A chat completion request for the demo model's `behaviour`.
#[must_use]
pub fn chat(behaviour: &str) -> String {
    json!({ "model": behaviour, "messages": [{ "role": "user", "content": "Say something." }] }).to_string()
}

/// The key of the relay, unless a test changes it.
pub const KEY: &str = "test-key-5f1c";

/// How long anything may take that should happen at once.
pub const DEADLINE: Duration = Duration::from_secs(20);
