//! The endpoints of this process and the configurations that ask for them: one for each socket, the newest
//! configuration at work.

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Endpoint;
use crate::config;
use crate::status::snapshot::ChatSnapshot;
use crate::telemetry::Telemetry;

/// All of them.
#[derive(Debug, Default)]
pub struct Endpoints(Vec<Shared>);

/// An endpoint and who asks for it, the newest last.
#[derive(Debug)]
struct Shared {
    listen: PathBuf,
    endpoint: Endpoint,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    lease: u64,
    settings: config::Chat,
    forward: config::Forward,
    telemetry: Telemetry,
}

impl Endpoints {
    /// Hands `settings` to the endpoint that has their socket already, or starts one.
    pub fn ask(
        &mut self,
        runtime: &Handle,
        lease: u64,
        settings: config::Chat,
        forward: &config::Forward,
        telemetry: &Telemetry,
        drained: bool,
    ) {
        let asked = Asked {
            lease,
            settings: settings.clone(),
            forward: forward.clone(),
            telemetry: telemetry.clone(),
        };
        if let Some(shared) = self.0.iter_mut().find(|shared| shared.listen == settings.listen) {
            shared.endpoint.reconfigure(settings, forward, telemetry.clone());
            shared.asked.push(asked);
            return;
        }
        let listen = settings.listen.clone();
        let endpoint = Endpoint::spawn(runtime, settings, forward, telemetry.clone(), drained);
        self.0.push(Shared {
            listen,
            endpoint,
            asked: vec![asked],
        });
    }

    /// Takes back what `lease` asked for; gives the endpoints that nobody else asks for.
    pub fn release(&mut self, lease: u64) -> Vec<Endpoint> {
        let mut released = Vec::new();
        for mut shared in std::mem::take(&mut self.0) {
            let before = shared.asked.len();
            shared.asked.retain(|asked| asked.lease != lease);
            match shared.asked.last() {
                None => released.push(shared.endpoint),
                Some(asked) => {
                    if shared.asked.len() < before {
                        let telemetry = asked.telemetry.clone();
                        shared
                            .endpoint
                            .reconfigure(asked.settings.clone(), &asked.forward, telemetry);
                    }
                    self.0.push(shared);
                }
            }
        }
        released
    }

    /// Drains all of them, each within its own grace.
    pub fn drain(&self) {
        for Shared { endpoint, .. } in &self.0 {
            endpoint.drain(endpoint.grace());
        }
    }

    /// The longest grace.
    #[must_use]
    pub fn grace(&self) -> Duration {
        let graces = self.0.iter().map(|shared| shared.endpoint.grace());
        graces.max().unwrap_or_default()
    }

    /// Completes when all of them have ended.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let ended: Vec<_> = self.0.iter().map(|shared| shared.endpoint.ended()).collect();
        async move {
            for endpoint in ended {
                endpoint.await;
            }
        }
    }

    /// What the status shows.
    #[must_use]
    pub fn snapshots(&self) -> Vec<ChatSnapshot> {
        self.0.iter().map(|shared| shared.endpoint.snapshot()).collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
