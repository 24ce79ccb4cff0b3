//! Every client of this process, whoever asked for it.
//!
//! The bootstrap extension and each HTTP filter configuration take a [`Lease`]; leases for the same key at the same
//! relay share one client, so configuring both hosts, or an LDS push that keeps the old configuration alive for ten
//! minutes, still means one connection per key. The newest configuration is at work; when it goes first (Envoy refused
//! the push that brought it), the one before is again. The last lease to go ends the client.

mod control;
mod figures;
mod leases;
mod release;

pub use leases::{Lease, TelemetryLease, ThreadsLease};

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::chat::Endpoints;
use crate::client::Client;
use crate::config::{self, Config};
use crate::gateway::Watched;
use crate::inspector::Recorder;
use crate::status::inspect::Inspector;
use crate::status::server::StatusServer;
use crate::status::snapshot::GatewaySnapshot;
use crate::status::token::Token;
use crate::telemetry::{Environment, Telemetry};
use crate::threads::Threads;
use figures::Figures;

/// The process's clients. One is enough: see [`registry`].
#[derive(Debug, Default)]
pub struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runtime: Option<Runtime>,
    telemetry: Option<(Telemetry, Arc<Figures>)>,
    /// Filters that tell telemetry of what they see, or need the threads for something else.
    tellers: usize,
    clients: HashMap<u64, Shared>,
    servers: HashMap<SocketAddr, Serving>,
    /// Relays that a person has paused, by name: also those that come back with another key.
    paused: BTreeSet<String>,
    gateways: HashMap<u64, Watched>,
    chats: Endpoints,
    started: Option<Instant>,
    draining: bool,
    /// Releases under way: the threads stay until the last is through.
    releasing: usize,
    last_id: u64,
}

/// A client and the configurations that ask for it, the newest last: that one is at work.
#[derive(Debug)]
struct Shared {
    client: Client,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    lease: u64,
    relay: config::Relay,
    forward: config::Forward,
    telemetry: Telemetry,
    inspector: Option<config::Inspector>,
}

#[derive(Debug)]
struct Serving {
    /// With what each asks for, the newest last.
    leases: Vec<(u64, config::Status)>,
    token: Token,
    inspector: Inspector,
    server: StatusServer,
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
            gateway,
            telemetry,
            chat,
        } = config;
        let telemetry = self.telemetry_of(&mut state, &runtime, &telemetry);
        let lease = state.next_id();
        let mut clients = Vec::with_capacity(relays.len());
        let mut failed = None;
        for relay in relays {
            let forward = relay.forward_or(&forward).clone();
            match state.ask(lease, relay, &forward, &telemetry, status.inspector) {
                Ok(client) => clients.push(client),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(gateway) = gateway {
            state.gateways.insert(lease, Watched::new(gateway));
        }
        if let Some(chat) = chat {
            let drained = state.draining;
            state.chats.ask(&runtime, lease, chat, &forward, &telemetry, drained);
        }
        let control = Arc::clone(self);
        let spawn = || {
            let (token, inspector) = (Token::default(), Inspector::default());
            Serving {
                leases: Vec::new(),
                token: token.clone(),
                inspector: inspector.clone(),
                server: StatusServer::spawn(&runtime, status.listen, control, token, inspector),
            }
        };
        let listen = status.listen;
        let serving = state.servers.entry(listen).or_insert_with(spawn);
        serving.leases.push((lease, status));
        serving.choose();
        drop(state);
        let lease = Lease {
            registry: Arc::clone(self),
            id: lease,
            clients,
            server: listen,
        };
        // dropping the lease ends what was started for it
        failed.map_or(Ok(lease), Err)
    }

    /// The process's telemetry, for a filter with these settings.
    ///
    /// # Errors
    /// The threads for it could not be started.
    pub fn telemetry(self: &Arc<Self>, settings: &config::Telemetry) -> std::io::Result<TelemetryLease> {
        let mut state = self.lock();
        let runtime = state.runtime()?;
        let telemetry = self.telemetry_of(&mut state, &runtime, settings);
        state.tellers += 1;
        Ok(TelemetryLease {
            registry: Arc::clone(self),
            telemetry,
        })
    }

    /// The process's threads, for a filter.
    ///
    /// # Errors
    /// They could not be started.
    pub fn threads(self: &Arc<Self>) -> std::io::Result<ThreadsLease> {
        let mut state = self.lock();
        let handle = state.runtime()?;
        state.tellers += 1;
        Ok(ThreadsLease {
            registry: Arc::clone(self),
            handle,
        })
    }

    /// What Envoy's statistics say now about the gateway with this `stat_prefix`.
    pub fn tell(&self, stat_prefix: &str, figures: GatewaySnapshot) {
        let state = self.lock();
        let watched = state.gateways.values().filter(|watched| watched.is(stat_prefix));
        watched.for_each(|watched| watched.tell(figures));
    }

    fn telemetry_of(self: &Arc<Self>, state: &mut State, runtime: &Handle, settings: &config::Telemetry) -> Telemetry {
        let start = || {
            let figures = Arc::new(Figures {
                registry: Arc::downgrade(self),
                last: Mutex::default(),
            });
            let environment = Environment::from_process();
            let telemetry = Telemetry::start(runtime, settings, &environment, Arc::clone(&figures) as _);
            (telemetry, figures)
        };
        state.telemetry.get_or_insert_with(start).0.with(settings)
    }

    /// Drains every client and calls `done` when that is over, which takes at most the longest grace and a moment.
    pub fn drain_then(&self, done: impl FnOnce() + Send + 'static) {
        let drained = self.begin_drain();
        // not within the lock: `done` may come back here
        let (runtime, telemetry) = {
            let state = self.lock();
            (state.handle(), state.telemetry.clone())
        };
        match runtime {
            Some(runtime) => drop(runtime.spawn(async move {
                drained.await;
                if let Some((telemetry, _)) = telemetry {
                    telemetry.shutdown(TELEMETRY_GRACE).await;
                }
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
        for Shared { client, .. } in state.clients.values() {
            if first {
                client.drain(client.grace());
            }
            longest = longest.max(client.grace());
            ended.push(client.ended());
        }
        let quiet: Vec<_> = state.gateways.values().map(Watched::quiet).collect();
        if first {
            state.chats.drain();
        }
        longest = longest.max(state.chats.grace());
        let chats = state.chats.ended();
        async move {
            let all = async {
                chats.await;
                for client in ended {
                    client.await;
                }
            };
            let clients = async {
                if tokio::time::timeout(longest + AFTER_GRACE, all).await.is_err() {
                    tracing::error!("a relay client did not end within its grace; it is given up");
                }
            };
            let gateways = futures_util::future::join_all(quiet);
            tokio::join!(clients, gateways);
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
        self.clients.is_empty() && self.servers.is_empty() && self.chats.is_empty() && self.tellers == 0
    }

    fn handle(&self) -> Option<Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Hands `relay` to the client that serves its key already, or starts one.
    fn ask(
        &mut self,
        lease: u64,
        relay: config::Relay,
        forward: &config::Forward,
        telemetry: &Telemetry,
        inspector: Option<config::Inspector>,
    ) -> std::io::Result<u64> {
        let asked = Asked {
            lease,
            relay: relay.clone(),
            forward: forward.clone(),
            telemetry: telemetry.clone(),
            inspector,
        };
        let serving = self.clients.iter_mut().find(|(_, shared)| shared.client.serves(&relay));
        if let Some((id, shared)) = serving {
            shared.client.reconfigure(relay, forward, telemetry);
            shared.client.recorder().set(inspector.as_ref());
            shared.asked.push(asked);
            return Ok(*id);
        }
        // who drains goes away: nothing new begins
        let threads = Threads::start(&relay.name)?;
        let recorder = Recorder::new(inspector.as_ref());
        let client = Client::spawn(threads, relay, forward, telemetry.clone(), recorder, self.draining);
        if self.paused.contains(client.name()) {
            client.pause(true);
        }
        let id = self.next_id();
        self.clients.insert(
            id,
            Shared {
                client,
                asked: vec![asked],
            },
        );
        Ok(id)
    }

    /// Takes back what `lease` asked of a client; returns the client when nobody else asks for it.
    ///
    /// What was asked before is at work again: Envoy drops a configuration also because it refused the push that
    /// brought it, and then the one before goes on.
    fn release_client(&mut self, id: u64, lease: u64) -> Option<Client> {
        let shared = self.clients.get_mut(&id)?;
        shared.asked.retain(|asked| asked.lease != lease);
        match shared.asked.last() {
            Some(Asked {
                relay,
                forward,
                telemetry,
                inspector,
                ..
            }) => {
                shared.client.reconfigure(relay.clone(), forward, telemetry);
                shared.client.recorder().set(inspector.as_ref());
                None
            }
            None => self.clients.remove(&id).map(|shared| shared.client),
        }
    }

    fn release_server(&mut self, address: SocketAddr, lease: u64) -> Option<StatusServer> {
        let serving = self.servers.get_mut(&address)?;
        serving.leases.retain(|(id, _)| *id != lease);
        serving.choose();
        if !serving.leases.is_empty() {
            return None;
        }
        self.servers.remove(&address).map(|serving| serving.server)
    }
}

impl Serving {
    /// The newest token that is named, and the inspector as the newest wants it.
    fn choose(&self) {
        let mut named = self.leases.iter().rev().filter_map(|(_, status)| status.token.clone());
        self.token.set(named.next());
        let newest = self.leases.last();
        self.inspector
            .set(newest.is_some_and(|(_, status)| status.inspector.is_some()));
    }
}

/// For the status and for telemetry; each relay has a thread of its own.
const WORKERS: usize = 2;

/// What may follow a grace: the close handshake and the socket's end.
const AFTER_GRACE: Duration = Duration::from_millis(2500);

/// What telemetry may take at the end to hand over what it has: a dead collector must not hold up Envoy's exit.
const TELEMETRY_GRACE: Duration = Duration::from_millis(1500);

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
