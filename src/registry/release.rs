//! Ending what nobody leases any more, in bounded time: it happens on Envoy's main thread.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::figures::Figures;
use super::{AFTER_GRACE, Registry, State, TELEMETRY_GRACE};
use crate::chat;
use crate::client::Client;
use crate::status::server::StatusServer;
use crate::telemetry::Telemetry;

/// What nobody leases any more.
#[derive(Default)]
pub(super) struct Released {
    pub(super) clients: Vec<Client>,
    pub(super) chats: Vec<chat::Endpoint>,
    pub(super) server: Option<StatusServer>,
}

impl Registry {
    pub(super) fn release(&self, lease: u64, clients: &[u64], server: SocketAddr) {
        self.give_back(|state| {
            state.gateways.remove(&lease);
            let released = clients.iter().filter_map(|id| state.release_client(*id, lease));
            Released {
                clients: released.collect(),
                chats: state.chats.release(lease),
                server: state.release_server(server, lease),
            }
        });
    }

    /// Takes back what `released` finds that nobody uses any more, and ends it.
    pub(super) fn give_back(&self, released: impl FnOnce(&mut State) -> Released) {
        let (released, telemetry, runtime) = {
            let mut state = self.lock();
            let released = released(&mut state);
            let mut telemetry = None;
            if state.is_unused() {
                state.draining = false;
                state.paused.clear();
                telemetry = state.telemetry.take();
            }
            state.releasing += 1;
            (released, telemetry, state.handle())
        };
        if let Some(runtime) = runtime {
            let (over, is_over) = mpsc::channel();
            runtime.spawn(async move {
                // an error means that nobody waits any more
                let _ = over.send(end(released, telemetry).await);
            });
            // an error means that the task is gone, and with it the clients
            let ended = is_over.recv().unwrap_or_default();
            let until = Instant::now() + JOIN_TIMEOUT;
            for client in ended {
                client.join(until.saturating_duration_since(Instant::now()));
            }
        }
        let last = {
            let mut state = self.lock();
            state.releasing -= 1;
            let last = state.is_unused() && state.releasing == 0;
            last.then(|| state.runtime.take()).flatten()
        };
        if let Some(runtime) = last {
            runtime.shutdown_timeout(JOIN_TIMEOUT);
        }
    }
}

/// Ends what was released, and the telemetry if nobody uses it any more; gives the clients, whose threads are left.
async fn end(released: Released, telemetry: Option<(Telemetry, Arc<Figures>)>) -> Vec<Client> {
    let Released { clients, chats, server } = released;
    for client in &clients {
        client.drain(client.grace().min(RELEASE_GRACE));
    }
    for chat in &chats {
        chat.drain(chat.grace().min(RELEASE_GRACE));
    }
    let ended = async {
        for chat in &chats {
            chat.ended().await;
        }
        for client in &clients {
            client.ended().await;
        }
    };
    // One that was told to drain before has a longer grace: it is given up.
    let _ = tokio::time::timeout(RELEASE_GRACE + AFTER_GRACE, ended).await;
    if let Some((telemetry, figures)) = telemetry {
        let chats = chats.iter().map(chat::Endpoint::snapshot);
        figures.keep(clients.iter().map(Client::snapshot).collect(), chats.collect());
        telemetry.shutdown(TELEMETRY_GRACE).await;
    }
    if let Some(server) = server {
        server.stop().await;
    }
    clients
}

/// Releasing happens on Envoy's main thread when its configuration is already gone: what is in flight has lost its
/// listener, so there is little to wait for.
const RELEASE_GRACE: Duration = Duration::from_millis(500);

const JOIN_TIMEOUT: Duration = Duration::from_secs(1);
