//! Promises of a whole client, kept between a scripted relay and a scripted adapter.

mod changes;
mod drain;
mod endings;
mod requests;

use std::sync::MutexGuard;

use super::*;
use crate::config::{Forward, Relay};
use crate::forward::scripted::{Adapter, within};
use crate::forward::{Budget, Forwarder, HeaderSecrets};
use crate::relay::scripted::ScriptedRelay;
use crate::relay::testing::Scratch;
use crate::status::snapshot::RelayState;
use crate::telemetry::{Origin, Telemetry};

/// A running client between its relay and its adapter.
struct Rig {
    relay: ScriptedRelay,
    adapter: Adapter,
    dir: Scratch,
    config: Relay,
    core: Arc<Mutex<Core>>,
    commands: mpsc::Sender<Command>,
    running: JoinHandle<()>,
}

impl Rig {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A rig whose client's configuration `change` has changed.
    async fn with(change: impl FnOnce(&mut Relay)) -> Self {
        let dir = Scratch::new();
        let relay = ScriptedRelay::listen().await;
        let adapter = Adapter::start(&dir);
        let mut config = relay.config(&dir);
        change(&mut config);
        let wiring = wiring(&config, &adapter.forward);
        let core = Arc::new(Mutex::new(Core::new(&wiring)));
        let (commands, inbox) = mpsc::channel(8);
        let running = tokio::spawn(Driver::new(wiring, Arc::clone(&core), inbox).run());
        Self {
            relay,
            adapter,
            dir,
            config,
            core,
            commands,
            running,
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap()
    }

    fn state(&self) -> RelayState {
        self.core().session.state()
    }

    /// Waits until the client's state is as `expected`.
    async fn until(&self, expected: impl Fn(&Core) -> bool) {
        let reached = async {
            while !expected(&self.core()) {
                tokio::task::yield_now().await;
            }
        };
        within(reached).await;
    }

    async fn until_state(&self, state: RelayState) {
        self.until(|core| core.session.state() == state).await;
    }

    /// Waits until the last error has this code.
    async fn until_error(&self, code: &str) {
        self.until(|core| core.last_error.as_ref().is_some_and(|e| e.code == code))
            .await;
    }

    /// Gives a command; the client has carried it out when this returns.
    async fn command(&self, command: Command) {
        within(self.commands.send(command)).await.unwrap();
        let taken = async {
            while self.commands.capacity() < self.commands.max_capacity() {
                tokio::task::yield_now().await;
            }
        };
        within(taken).await;
    }

    async fn drain(&self, grace: Duration) {
        self.command(Command::Drain { grace }).await;
    }

    /// The client ends, without a panic.
    async fn ends(self) {
        within(self.running).await.unwrap();
    }
}

fn wiring(relay: &Relay, forward: &Forward) -> Wiring {
    let budget = Budget::new(relay.max_held_bytes);
    let secrets = Arc::new(HeaderSecrets::new(forward.headers.clone()));
    let forwarder = Forwarder::new(
        relay,
        forward,
        Arc::clone(&secrets),
        budget.clone(),
        Telemetry::default(),
    );
    Wiring {
        origin: Origin::new(&relay.name, &relay.labels),
        telemetry: Telemetry::default(),
        relay: Arc::new(relay.clone()),
        forward_to: forward.to.clone(),
        forwarder: Arc::new(forwarder),
        budget,
        secrets,
    }
}

/// Moves the client's clock past something that nobody wants to wait for.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

const LONG: Duration = Duration::from_secs(600);
