//! What the demos show: a relay, a model, and Envoy with the module between them, as `spectral-bridge start` runs it.
//!
//! Driven by the binaries `demo` and `otel-demo`. Deliberately absent: what they say about it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use hyper::StatusCode;
use tokio::process::{Child, Command};

use crate::failed::{Failed, Result};
use crate::model::Model;
use crate::relay::{Relay, RelayOptions, Version};
use crate::world::http::{self, Reply};
use crate::world::{eventually, free_address, launcher};

/// A platform, a customer's site and a model, all on this host.
#[derive(Debug)]
pub struct Demo {
    /// The platform's side.
    pub relay: Relay,
    /// The private side.
    pub model: Model,
    /// Where the module's status server listens.
    pub status: SocketAddr,
    /// Where Envoy's admin page listens.
    pub admin: SocketAddr,
    envoy: Child,
}

impl Demo {
    /// Starts everything, Envoy with these `variables`, and does not wait.
    ///
    /// # Errors
    /// Something cannot be started.
    pub async fn start(variables: &[(String, String)], output: Stdio) -> Result<Self> {
        let mut options = RelayOptions::new(Version::V2, KEY);
        options.public = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        options.journal = false;
        let relay = Relay::start(options).await?;
        let model = Model::start().await?;
        let (status, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(launcher()?);
        command.args(["start", "--insecure-relay", "--relay-url", &relay.connect_url()]);
        command.args(["--target", &format!("http://{}", model.address())]);
        command.args(["--status-port", &status.port().to_string()]);
        command.args(["--admin-port", &admin.port().to_string()]);
        command.env("SPECTRAL_BRIDGE_API_KEY", KEY).stdin(Stdio::null());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdout(output);
        // Ctrl-C in a terminal reaches the whole group: the launcher must hear of it from here alone, once.
        let envoy = command.process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self {
            relay,
            model,
            status,
            admin,
            envoy,
        })
    }

    /// Waits until the module is connected to the relay.
    ///
    /// # Errors
    /// It is not after a while.
    pub async fn ready(&self) -> Result<()> {
        let ready = format!("http://{}/readyz", self.status);
        eventually("the module is connected to the relay", PATIENCE, || async {
            let reply = http::get(&ready).await;
            reply.is_ok_and(|reply| reply.status == StatusCode::OK).then_some(())
        })
        .await
    }

    /// Asks the model through the relay.
    ///
    /// # Errors
    /// There was no whole answer.
    pub async fn ask(&self, path: &str, question: &str) -> Result<Reply> {
        http::post(&self.relay.url(path), question.to_owned()).await
    }

    /// Waits until Envoy ends by itself, which it should not.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&mut self) -> Failed {
        match self.envoy.wait().await {
            Ok(status) => Failed::new(format!("Envoy ended by itself: {status}")),
            Err(error) => error.into(),
        }
    }

    /// Asks the launcher to stop and waits for it: it drains Envoy within its grace. Ends the rest, too.
    ///
    /// # Errors
    /// Envoy does not end.
    pub async fn stop(mut self) -> Result<ExitCode> {
        if let Some(id) = self
            .envoy
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
        {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        }
        let ended = tokio::time::timeout(PATIENCE, self.envoy.wait()).await??;
        say(&format!("Envoy ended: {ended}"));
        self.relay.shutdown().await;
        self.model.stop().await;
        let code = ended.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

/// A line of the demo itself.
pub fn say(line: &str) {
    println!("==> {line}");
}

const KEY: &str = "demo-key";
const PATIENCE: Duration = Duration::from_secs(30);
