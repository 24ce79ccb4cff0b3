//! Every client of this process, whoever asked for it.
//!
//! The bootstrap extension and each HTTP filter configuration take a [`Lease`]; leases for the same key at the same
//! relay share one client, so configuring both hosts, or an LDS push that keeps the old configuration alive for ten
//! minutes, still means one connection per key. The last lease to go ends the client.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::client::Client;
use crate::config::Config;
use crate::status::server::{Control, StatusServer};
use crate::status::snapshot::{ProcessSnapshot, RelaySnapshot};

/// The process's clients. One is enough: see [`registry`].
#[derive(Debug, Default)]
pub struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runtime: Option<Runtime>,
    clients: HashMap<u64, Leased<Client>>,
    servers: HashMap<SocketAddr, Leased<StatusServer>>,
    started: Option<Instant>,
    draining: bool,
    /// Releases under way: the threads stay until the last is through.
    releasing: usize,
    last_id: u64,
}

#[derive(Debug)]
struct Leased<T> {
    leases: usize,
    item: T,
}

/// A configuration at work. Dropping it ends the clients that no other lease shares, in bounded time.
#[derive(Debug)]
#[must_use]
pub struct Lease {
    registry: Arc<Registry>,
    clients: Vec<u64>,
    server: SocketAddr,
}

/// This process's registry.
#[must_use]
pub fn registry() -> Arc<Registry> {
    static REGISTRY: Mutex<Option<Arc<Registry>>> = Mutex::new(None);
    let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(registry.get_or_insert_default())
}

impl Registry {
    /// Puts `config` to work: starts its clients, or hands it to those that already serve its keys.
    ///
    /// # Errors
    /// The threads for it could not be started.
    pub fn acquire(self: &Arc<Self>, config: Config) -> std::io::Result<Lease> {
        let mut state = self.lock();
        let runtime = state.runtime()?;
        let Config {
            relays,
            forward,
            status,
        } = config;
        let mut clients = Vec::with_capacity(relays.len());
        for relay in relays {
            let shared = state.clients.iter_mut().find(|(_, client)| client.item.serves(&relay));
            if let Some((id, client)) = shared {
                client.leases += 1;
                client.item.reconfigure(relay, &forward);
                clients.push(*id);
                continue;
            }
            // who drains goes away: nothing new begins
            let item = Client::spawn(&runtime, relay, &forward, state.draining);
            state.last_id += 1;
            let id = state.last_id;
            state.clients.insert(id, Leased { leases: 1, item });
            clients.push(id);
        }
        let control = Arc::clone(self);
        let spawn = || Leased {
            leases: 0,
            item: StatusServer::spawn(&runtime, status.listen, control),
        };
        state.servers.entry(status.listen).or_insert_with(spawn).leases += 1;
        Ok(Lease {
            registry: Arc::clone(self),
            clients,
            server: status.listen,
        })
    }

    /// Drains every client and calls `done` when that is over, which takes at most the longest grace and a moment.
    pub fn drain_then(&self, done: impl FnOnce() + Send + 'static) {
        let drained = self.begin_drain();
        // not within the lock: `done` may come back here
        let runtime = self.lock().handle();
        match runtime {
            Some(runtime) => drop(runtime.spawn(async move {
                drained.await;
                done();
            })),
            None => done(),
        }
    }

    fn begin_drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.lock();
        let first = !std::mem::replace(&mut state.draining, true);
        let mut longest = Duration::ZERO;
        let mut ended = Vec::new();
        for client in state.clients.values() {
            if first {
                client.item.drain(client.item.grace());
            }
            longest = longest.max(client.item.grace());
            ended.push(client.item.ended());
        }
        async move {
            let all = async {
                for client in ended {
                    client.await;
                }
            };
            if tokio::time::timeout(longest + AFTER_GRACE, all).await.is_err() {
                tracing::error!("a relay client did not end within its grace; it is given up");
            }
        }
    }

    fn release(&self, clients: &[u64], server: SocketAddr) {
        let (released, server, runtime) = {
            let mut state = self.lock();
            let released: Vec<_> = clients.iter().filter_map(|id| state.release_client(*id)).collect();
            let server = state.release_server(server);
            if state.is_unused() {
                state.draining = false;
            }
            state.releasing += 1;
            (released, server, state.handle())
        };
        if let Some(runtime) = runtime {
            let (over, is_over) = mpsc::channel::<()>();
            runtime.spawn(async move {
                end(released, server).await;
                drop(over);
            });
            // Nothing is sent: it ends when the task does.
            let _ = is_over.recv();
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The private threads, started on first use.
    fn runtime(&mut self) -> std::io::Result<Handle> {
        if let Some(runtime) = &self.runtime {
            return Ok(runtime.handle().clone());
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("spectral-bridge")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        self.runtime = Some(runtime);
        self.started.get_or_insert_with(Instant::now);
        Ok(handle)
    }

    fn is_unused(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty()
    }

    fn handle(&self) -> Option<Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    fn release_client(&mut self, id: u64) -> Option<Client> {
        let client = self.clients.get_mut(&id)?;
        client.leases -= 1;
        if client.leases > 0 {
            return None;
        }
        self.clients.remove(&id).map(|client| client.item)
    }

    fn release_server(&mut self, address: SocketAddr) -> Option<StatusServer> {
        let server = self.servers.get_mut(&address)?;
        server.leases -= 1;
        if server.leases > 0 {
            return None;
        }
        self.servers.remove(&address).map(|server| server.item)
    }
}

/// Ends clients and a server that nobody leases any more.
async fn end(clients: Vec<Client>, server: Option<StatusServer>) {
    for client in &clients {
        client.drain(client.grace().min(RELEASE_GRACE));
    }
    let ended = async {
        for client in &clients {
            client.ended().await;
        }
    };
    // One that was told to drain before has a longer grace: it is given up.
    let _ = tokio::time::timeout(RELEASE_GRACE + AFTER_GRACE, ended).await;
    if let Some(server) = server {
        server.stop().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.registry.release(&self.clients, self.server);
    }
}

impl Control for Registry {
    fn snapshot(&self) -> ProcessSnapshot {
        let state = self.lock();
        let mut relays: Vec<RelaySnapshot> = state.clients.values().map(|client| client.item.snapshot()).collect();
        relays.sort_by(|a, b| a.name.cmp(&b.name));
        ProcessSnapshot {
            running: !state.draining,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: state.started.map_or(0.0, |at| at.elapsed().as_secs_f64()),
            relays,
        }
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
        for client in state.clients.values().filter(|client| client.item.name() == name) {
            client.item.reconnect();
            found = true;
        }
        found
    }
}

/// The relay's socket and the forwarding tasks are light; Envoy's own threads do the rest.
const WORKERS: usize = 2;

/// What may follow a grace: the close handshake and the socket's end.
const AFTER_GRACE: Duration = Duration::from_millis(2500);

/// Releasing happens on Envoy's main thread when its configuration is already gone: what is in flight has lost its
/// listener, so there is little to wait for.
const RELEASE_GRACE: Duration = Duration::from_millis(500);

const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
