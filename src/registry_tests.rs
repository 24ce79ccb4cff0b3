//! Leases as Envoy takes and drops them: from threads that run no async code.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::config::{ForwardTo, Relay, SecretSource, Status};
use crate::forward::scripted::Adapter;
use crate::relay::scripted::{Caller, ScriptedRelay};
use crate::relay::testing::Scratch;
use crate::status::server::Control;
use crate::status::snapshot::{RelaySnapshot, RelayState};

/// A registry of its own, a relay and an adapter, which run beside the test's thread.
struct World {
    runtime: Runtime,
    registry: Arc<Registry>,
    relay: ScriptedRelay,
    adapter: Adapter,
    dir: Scratch,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("world")
            .enable_all()
            .build()
            .unwrap();
        let dir = Scratch::new();
        let (relay, adapter) = runtime.block_on(async { (ScriptedRelay::listen().await, Adapter::start(&dir)) });
        Self {
            runtime,
            registry: Arc::default(),
            relay,
            adapter,
            dir,
        }
    }

    fn config(&self, change: impl FnOnce(&mut Relay)) -> Config {
        let mut relay = self.relay.config(&self.dir);
        change(&mut relay);
        Config {
            relays: vec![relay],
            forward: self.adapter.forward.clone(),
            gateway: None,
            status: Status {
                listen: "127.0.0.1:0".parse().unwrap(),
                token: None,
                inspector: None,
            },
            telemetry: config::Telemetry::default(),
            chat: None,
        }
    }

    fn lease(&self, change: impl FnOnce(&mut Relay)) -> Lease {
        self.registry.acquire(self.config(change)).unwrap()
    }

    /// The next connection, once its client knows that it is connected.
    fn connect(&self) -> Caller {
        let caller = self.runtime.block_on(self.relay.connect());
        self.until(|relays| relays.iter().any(|relay| relay.state == RelayState::Connected));
        caller
    }

    fn relays(&self) -> Vec<RelaySnapshot> {
        self.registry.snapshot().relays
    }

    fn until(&self, expected: impl Fn(&[RelaySnapshot]) -> bool) {
        let start = Instant::now();
        while !expected(&self.relays()) {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", self.relays());
            std::thread::yield_now();
        }
    }

    /// Drops a lease while `caller` listens; gives the code with which its connection is closed.
    fn close_code(&self, lease: Lease, mut caller: Caller) -> u16 {
        let closing = self.runtime.spawn(async move { caller.hears_close().await });
        drop(lease);
        self.runtime.block_on(closing).unwrap()
    }

    /// Nothing of the registry is left.
    fn is_over(&self) -> bool {
        let state = self.registry.lock();
        state.runtime.is_none() && state.clients.is_empty() && state.servers.is_empty()
    }
}

/// One exchange over `caller`, answered by the adapter.
async fn exchange(caller: &mut Caller, adapter: &mut Adapter, id: &str) {
    caller.request(id).await;
    caller.hears_ack(id).await;
    adapter.arrival().await.answer("{}");
    assert_eq!(caller.hears_response(id).await, (200, json!({})));
    caller.ack(id).await;
}

// PROTOCOL §2.5: one client process serves a key at a time
#[test]
fn two_leases_for_one_key_share_a_connection_until_the_last_is_gone() {
    let mut world = World::new();
    let bootstrap = world.lease(|_| {});
    let mut caller = world.connect();
    let filter = world.lease(|relay| {
        relay.name = "renamed".to_owned();
        relay.request_timeout = Duration::from_secs(60);
    });
    let used = async {
        exchange(&mut caller, &mut world.adapter, "r-1").await;
    };
    world.runtime.block_on(world.relay.is_left_alone_while(used));
    let relays = world.relays();
    assert_eq!((relays.len(), &*relays[0].name), (1, "renamed"));
    drop(bootstrap);
    let used = async {
        exchange(&mut caller, &mut world.adapter, "r-2").await;
    };
    world.runtime.block_on(world.relay.is_left_alone_while(used));
    assert_eq!(world.relays()[0].totals.connections, 1);
    assert_eq!(world.close_code(filter, caller), 1001);
    assert!(world.is_over());
}

#[test]
fn a_key_is_known_by_its_value_wherever_it_is_read_from() {
    let world = World::new();
    let config = world.config(|_| {});
    let read_from = |file| {
        let mut config = config.clone();
        config.relays[0].api_key = SecretSource::File(file);
        world.registry.acquire(config).unwrap()
    };
    let first = world.registry.acquire(config.clone()).unwrap();
    let caller = world.connect();
    // rotated: the connection shows the old key, the next one will show the new
    world.dir.file("api-key", "sk-rotated");
    let same = read_from(world.dir.file("same-key", "sk-1\n"));
    world.dir.file("same-key", "sk-rotated");
    let rotated = read_from(world.dir.file("rotated-key", "sk-rotated"));
    assert_eq!(world.relays().len(), 1);
    let other = read_from(world.dir.file("other-key", "sk-2"));
    assert_eq!(world.relays().len(), 2);
    let stranger = world.runtime.block_on(world.relay.connect());
    assert_eq!(stranger.authorization, "Bearer sk-2");
    world.until(|relays| relays.iter().all(|relay| relay.state == RelayState::Connected));
    assert_eq!(world.close_code(other, stranger), 1001);
    drop((first, same));
    assert_eq!(world.close_code(rotated, caller), 1001);
    assert!(world.is_over());
}

#[test]
fn an_unchanged_configuration_does_not_show_a_refused_key_again_and_a_changed_one_does() {
    let world = World::new();
    let first = world.lease(|_| {});
    world.runtime.block_on(world.relay.refuse("403 Forbidden"));
    world.until(|relays| relays[0].last_error.is_some());
    let stopped = &world.relays()[0];
    assert_eq!(stopped.state, RelayState::Stopped);
    assert_eq!(stopped.last_error.as_ref().unwrap().code, "authentication_failed");
    let again = world.lease(|_| {});
    assert_eq!(world.relays()[0].state, RelayState::Stopped);
    let changed = world.lease(|relay| relay.max_queued = 1);
    let caller = world.connect();
    drop((first, again));
    assert_eq!(world.close_code(changed, caller), 1001);
}

#[test]
fn a_stopped_relay_is_dialled_again_when_its_name_is_asked_for() {
    let world = World::new();
    let _lease = world.lease(|relay| relay.name = "eu".to_owned());
    world.runtime.block_on(world.relay.refuse("403 Forbidden"));
    world.until(|relays| relays[0].last_error.is_some());
    assert!(!world.registry.reconnect("us"));
    assert!(world.registry.reconnect("eu"));
    world.connect();
}

#[test]
fn the_snapshot_shows_what_a_client_is_doing() {
    let mut world = World::new();
    let lease = world.lease(|relay| relay.max_in_flight = 1);
    let mut caller = world.connect();
    let at_adapter = world.runtime.block_on(async {
        exchange(&mut caller, &mut world.adapter, "r-1").await;
        for id in ["r-2", "r-3"] {
            caller.request(id).await;
            caller.hears_ack(id).await;
        }
        world.adapter.arrival().await
    });
    world.until(|relays| relays[0].queued == 1 && relays[0].held_responses == 0);
    let process = world.registry.snapshot();
    assert!(process.running && process.is_ready());
    let relay = &process.relays[0];
    assert_eq!((&*relay.name, relay.protocol), ("default", Some(2)));
    assert!(
        relay.url.starts_with("ws://127.0.0.1:") && relay.url.ends_with("/connect"),
        "{}",
        relay.url
    );
    assert_eq!((relay.in_flight, relay.queued, relay.attempts), (1, 1, 0));
    // the request that waits; the one at the adapter is not given back before its answer
    assert!(relay.held_bytes > 100, "{relay:?}");
    assert_eq!((relay.totals.requests, relay.totals.responses.get(&200)), (3, Some(&1)));
    assert!(!serde_json::to_string(&process).unwrap().contains("sk-1"));
    at_adapter.answer("{}");
    drop(caller);
    drop(lease);
}

#[test]
fn a_drain_is_over_once_and_says_so_where_the_registry_may_be_asked_again() {
    let world = World::new();
    let (said, times) = mpsc::channel();
    let done = |registry: &Arc<Registry>| {
        let (registry, said) = (Arc::clone(registry), said.clone());
        move || said.send(registry.snapshot().running).unwrap()
    };
    // with nothing to drain, at once
    World::new().registry.drain_then(done(&world.registry));
    assert!(times.try_recv().unwrap());
    let lease = world.lease(|_| {});
    let mut caller = world.connect();
    let closing = world.runtime.spawn(async move { caller.hears_close().await });
    world.registry.drain_then(done(&world.registry));
    assert_eq!(world.runtime.block_on(closing).unwrap(), 1001);
    assert!(!times.recv_timeout(Duration::from_secs(20)).unwrap());
    assert_eq!(world.relays()[0].state, RelayState::Drained);
    world.registry.drain_then(done(&world.registry));
    assert!(!times.recv_timeout(Duration::from_secs(20)).unwrap());
    drop(lease);
    assert!(times.try_recv().is_err(), "said more than once");
    assert!(world.is_over());
}

#[test]
fn nothing_new_begins_while_draining_and_everything_does_afterwards() {
    let world = World::new();
    let lease = world.lease(|_| {});
    let mut caller = world.connect();
    let closing = world.runtime.spawn(async move { caller.hears_close().await });
    world.registry.drain();
    assert_eq!(world.runtime.block_on(closing).unwrap(), 1001);
    let other = world.dir.file("other-key", "sk-2");
    let late = world.lease(|relay| relay.api_key = SecretSource::File(other));
    world.until(|relays| relays.iter().all(|relay| relay.state == RelayState::Drained));
    assert_eq!(world.relays().len(), 2);
    drop((lease, late));
    assert!(world.is_over());
    let lease = world.lease(|_| {});
    let caller = world.connect();
    assert_eq!(world.close_code(lease, caller), 1001);
}

#[test]
fn a_lease_with_a_request_that_is_never_answered_goes_in_bounded_time() {
    let mut world = World::new();
    let lease = world.lease(|relay| relay.shutdown_grace = Duration::from_secs(3600));
    let mut caller = world.connect();
    let arrival = world.runtime.block_on(async {
        caller.request("r-1").await;
        caller.hears_ack("r-1").await;
        world.adapter.arrival().await
    });
    assert_eq!(world.close_code(lease, caller), 1001);
    world.runtime.block_on(arrival.given_up());
    assert!(world.is_over());
}

#[test]
fn leases_may_go_at_the_same_time_on_different_threads() {
    let world = World::new();
    let keys = AtomicUsize::new(0);
    for _ in 0..20 {
        let leases: Vec<Lease> = (0..4)
            .map(|_| {
                let n = keys.fetch_add(1, Ordering::Relaxed);
                let file = world.dir.file(&format!("key-{n}"), &format!("sk-{n}"));
                let mut config = world.config(|relay| relay.api_key = SecretSource::File(file));
                // a listener that never opens: nothing is dialled
                config.forward.to = ForwardTo::Unix(world.dir.path().join("nobody.sock"));
                world.registry.acquire(config).unwrap()
            })
            .collect();
        std::thread::scope(|scope| {
            for lease in leases {
                scope.spawn(move || drop(lease));
            }
        });
        assert!(world.is_over());
    }
}

#[test]
fn a_configuration_that_goes_first_gives_way_to_the_one_before() {
    let world = World::new();
    let kept = world.lease(|relay| relay.name = "kept".to_owned());
    let caller = world.connect();
    let refused = world.lease(|relay| relay.name = "refused".to_owned());
    assert_eq!(world.relays()[0].name, "refused");
    drop(refused);
    assert_eq!((world.relays().len(), &*world.relays()[0].name), (1, "kept"));
    assert_eq!(world.relays()[0].state, RelayState::Connected);
    assert_eq!(world.close_code(kept, caller), 1001);
}

#[test]
fn a_pause_by_hand_outlives_a_new_configuration_and_a_new_key() {
    let world = World::new();
    let first = world.lease(|_| {});
    let _caller = world.connect();
    assert_eq!(world.registry.pause(Some("nobody"), true), [""; 0]);
    assert_eq!(world.registry.pause(Some("default"), true), ["default"]);
    let by_hand = |relay: &RelaySnapshot| relay.paused.as_ref().is_some_and(|pause| pause.by == "hand");
    world.until(|relays| relays.iter().all(by_hand));
    let second = world.lease(|relay| relay.request_timeout = Duration::from_secs(60));
    drop(first);
    assert!(world.relays().iter().all(by_hand), "{:?}", world.relays());
    // another client, under the same name
    let key = SecretSource::File(world.dir.file("another-key", "another"));
    let third = world.lease(|relay| relay.api_key = key);
    world.until(|relays| relays.len() == 2 && relays.iter().all(by_hand));
    assert_eq!(world.registry.pause(None, false), ["default"]);
    world.until(|relays| relays.iter().all(|relay| relay.paused.is_none()));
    drop((second, third));
}

#[test]
fn the_newest_configuration_that_names_a_token_decides() {
    let world = World::new();
    let lease = |token: Option<&str>| {
        let mut config = world.config(|_| {});
        config.status.token = token.map(|name| SecretSource::Env(name.to_owned()));
        world.registry.acquire(config).unwrap()
    };
    let named = || {
        let state = world.registry.lock();
        let serving = state.servers.values().next().unwrap();
        serving.token.source()
    };
    let env = |name: &str| Some(SecretSource::Env(name.to_owned()));
    let (none, one) = (lease(None), lease(Some("ONE")));
    assert_eq!(named(), env("ONE"));
    let (two, without) = (lease(Some("TWO")), lease(None));
    assert_eq!(named(), env("TWO"));
    drop(two);
    assert_eq!(named(), env("ONE"));
    drop(one);
    assert_eq!(named(), None);
    drop((none, without));
}
