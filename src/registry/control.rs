//! What the status server and Envoy's admin page see and do.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use super::{Registry, Shared};
use crate::gateway::Watched;
use crate::inspector::Recorder;
use crate::status::server::Control;
use crate::status::snapshot::{GatewaySnapshot, ProcessSnapshot, RelaySnapshot};

impl Control for Registry {
    fn snapshot(&self) -> ProcessSnapshot {
        let state = self.lock();
        let mut relays: Vec<RelaySnapshot> = state.clients.values().map(|client| client.client.snapshot()).collect();
        relays.sort_by(|a, b| a.name.cmp(&b.name));
        ProcessSnapshot {
            running: !state.draining,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: state.started.map_or(0.0, |at| at.elapsed().as_secs_f64()),
            relays,
            gateway: state
                .gateways
                .values()
                .map(Watched::figures)
                .reduce(GatewaySnapshot::and),
            telemetry: state
                .telemetry
                .as_ref()
                .map(|(telemetry, _)| telemetry.snapshot())
                .unwrap_or_default(),
            chat: state.chats.snapshots(),
        }
    }

    fn recorders(&self) -> Vec<(String, Recorder)> {
        let state = self.lock();
        let clients = state.clients.values().map(|shared| &shared.client);
        let mut recorders: Vec<_> = clients
            .map(|client| (client.name().to_owned(), client.recorder().clone()))
            .collect();
        recorders.sort_by(|(a, _), (b, _)| a.cmp(b));
        recorders
    }

    fn drain(&self) {
        drop(self.begin_drain());
    }

    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.begin_drain())
    }

    fn reconnect(&self, name: &str) -> bool {
        let state = self.lock();
        let mut found = false;
        for shared in state.clients.values().filter(|shared| shared.client.name() == name) {
            shared.client.reconnect();
            found = true;
        }
        found
    }

    fn pause(&self, name: Option<&str>, pause: bool) -> Vec<String> {
        let state = &mut *self.lock();
        let mut names = BTreeSet::new();
        for Shared { client, .. } in state.clients.values() {
            if name.is_none_or(|name| name == client.name()) {
                client.pause(pause);
                names.insert(client.name().to_owned());
            }
        }
        if pause {
            state.paused.extend(names.iter().cloned());
        } else {
            state.paused.retain(|paused| name.is_some_and(|name| name != paused));
        }
        names.into_iter().collect()
    }
}
