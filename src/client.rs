//! One relay's client as the rest of the module sees it: started, told, watched.
//!
//! Wires the session's driver to its forwarder, byte budget and secrets, and renders its part of the status. Owned by
//! the registry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::config::{self, SecretSource};
use crate::forward::{Budget, Forwarder, HeaderSecrets};
use crate::inspector::Recorder;
use crate::protocol::Session;
use crate::protocol::admission::Pause;
use crate::relay::{Command, Core, Driver, LastError, Wiring};
use crate::secret::Secret;
use crate::status::snapshot::{self, BudgetSnapshot, PauseSnapshot, RelaySnapshot, RelayState};
use crate::telemetry::{Origin, Telemetry};
use crate::threads::Threads;

/// A running client.
#[derive(Debug)]
pub struct Client {
    relay: Arc<config::Relay>,
    forward: config::Forward,
    telemetry: Telemetry,
    recorder: Recorder,
    core: Arc<Mutex<Core>>,
    commands: mpsc::Sender<Command>,
    done: watch::Receiver<bool>,
    threads: Threads,
}

impl Client {
    /// Starts a client on these `threads`; with `drained`, one that never dials.
    #[must_use]
    pub fn spawn(
        threads: Threads,
        relay: config::Relay,
        forward: &config::Forward,
        telemetry: Telemetry,
        recorder: Recorder,
        drained: bool,
    ) -> Self {
        let runtime = threads.handle();
        let relay = Arc::new(relay);
        let wiring = wiring(&relay, forward, &telemetry, &recorder);
        let core = Arc::new(Mutex::new(Core::new(&wiring)));
        let (commands, inbox) = mpsc::channel(COMMANDS);
        if drained {
            let grace = Duration::ZERO;
            // the channel is empty
            let _ = commands.try_send(Command::Drain { grace });
        }
        let (finished, done) = watch::channel(false);
        runtime.spawn(poll_secrets(commands.downgrade(), done.clone()));
        let driver = {
            let _context = runtime.enter();
            Driver::new(wiring, Arc::clone(&core), inbox)
        };
        runtime.spawn(supervise(driver, Arc::clone(&core), finished));
        Self {
            relay,
            forward: forward.clone(),
            telemetry,
            recorder,
            core,
            commands,
            done,
            threads,
        }
    }

    /// Whether this client serves the same key at the same relay as `relay` asks for: one connection per key.
    #[must_use]
    pub fn serves(&self, relay: &config::Relay) -> bool {
        let same_key = || {
            let asked = fingerprint(&relay.api_key);
            let dialled = lock(&self.core).dialled_key.as_ref().map(Secret::fingerprint);
            let next = fingerprint(&self.relay.api_key);
            self.relay.api_key == relay.api_key || asked.is_some() && (asked == dialled || asked == next)
        };
        self.relay.url == relay.url && same_key()
    }

    /// The configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.relay.name
    }

    /// Who remembers its last requests.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// How long a drain may take.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.relay.shutdown_grace
    }

    /// Takes over a changed configuration; requests in flight go on. The same one again changes nothing: Envoy may hand
    /// it over whenever something beside it changes, which is no reason to show a refused key once more.
    pub fn reconfigure(&mut self, relay: config::Relay, forward: &config::Forward, telemetry: &Telemetry) {
        if *self.relay == relay && self.forward == *forward && self.telemetry == *telemetry {
            return;
        }
        self.telemetry = telemetry.clone();
        self.relay = Arc::new(relay);
        self.forward = forward.clone();
        self.tell(Command::Reconfigure(Box::new(wiring(
            &self.relay,
            forward,
            telemetry,
            &self.recorder,
        ))));
    }

    /// Finishes what is in flight within `grace`, then closes for good.
    pub fn drain(&self, grace: Duration) {
        self.tell(Command::Drain { grace });
    }

    /// Connects now, even after it stopped for good.
    pub fn reconnect(&self) {
        self.tell(Command::Reconnect);
    }

    /// Admits no new requests from now on, or admits them again; the connection stays.
    pub fn pause(&self, pause: bool) {
        self.tell(if pause { Command::Pause } else { Command::Resume });
    }

    /// Completes when the client has ended. Holds nothing of the client.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut done = self.done.clone();
        async move {
            // an error means that the supervisor is gone, so the client is too
            let _ = done.wait_for(|done| *done).await;
        }
    }

    /// Ends its threads, `within` at most. Blocks.
    pub fn join(self, within: Duration) {
        self.threads.join(within);
    }

    /// What the status shows.
    #[must_use]
    pub fn snapshot(&self) -> RelaySnapshot {
        let now = Instant::now();
        let core = lock(&self.core);
        let session = &core.session;
        let requests = session.requests();
        RelaySnapshot {
            name: self.relay.name.clone(),
            labels: self.relay.labels.iter().cloned().collect(),
            url: self.relay.url.to_string(),
            state: self.state(&core),
            since_seconds: now
                .saturating_duration_since(core.state_since.max(core.lock.changed_at()))
                .as_secs_f64(),
            protocol: session.version().map(|version| version.number()),
            attempts: session.attempts(),
            retry_in_seconds: session
                .retry_at()
                .map(|at| at.saturating_duration_since(now).as_secs_f64()),
            last_error: core.last_error.as_ref().map(|error| last_error(error, now)),
            in_flight: requests.forwarding() as u64,
            queued: requests.queued() as u64,
            held_responses: requests.held() as u64,
            held_bytes: core.budget.used() as u64,
            paused: session.admission().pause_at(now).map(|pause| paused(&pause, now)),
            budget: budget(session, now),
            max_held_bytes: self.relay.max_held_bytes as u64,
            totals: session.totals().clone(),
        }
    }

    /// A driver that ended without being drained has failed.
    fn state(&self, core: &Core) -> RelayState {
        match core.session.state() {
            RelayState::Drained => RelayState::Drained,
            _ if *self.done.borrow() => RelayState::Stopped,
            RelayState::Connecting if core.lock.is_waiting() => RelayState::WaitingForLock,
            state => state,
        }
    }

    fn tell(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command)
            && !*self.done.borrow()
        {
            tracing::error!(relay = self.relay.name, %error, "the relay client does not take commands");
        }
    }
}

fn wiring(relay: &Arc<config::Relay>, forward: &config::Forward, telemetry: &Telemetry, recorder: &Recorder) -> Wiring {
    let budget = Budget::new(relay.max_held_bytes);
    let secrets = Arc::new(HeaderSecrets::new(forward.headers.clone()));
    let forwarder = Forwarder::new(relay, forward, Arc::clone(&secrets), budget.clone(), telemetry.clone());
    Wiring {
        origin: Origin::new(&relay.name, &relay.labels),
        relay: Arc::clone(relay),
        forward_to: forward.to.clone(),
        forwarder: Arc::new(forwarder.recording(recorder.clone())),
        budget,
        secrets,
        telemetry: telemetry.clone(),
    }
}

async fn supervise(driver: Driver, core: Arc<Mutex<Core>>, finished: watch::Sender<bool>) {
    if tokio::spawn(driver.run()).await.is_err() {
        let message = "internal error: the relay client ended unexpectedly".to_owned();
        tracing::error!("{message}");
        lock(&core).last_error = Some(LastError {
            code: "internal_error",
            message,
            at: Instant::now(),
        });
    }
    lock(&core).lock.end();
    finished.send_replace(true);
}

/// Has secrets read again now and then: Kubernetes swaps a symlink, which nobody announces.
async fn poll_secrets(commands: mpsc::WeakSender<Command>, mut done: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = done.wait_for(|done| *done) => return,
            () = tokio::time::sleep(SECRETS_POLL) => {}
        }
        let Some(commands) = commands.upgrade() else { return };
        if commands.send(Command::CheckKey).await.is_err() {
            return;
        }
    }
}

fn paused(pause: &Pause, now: Instant) -> PauseSnapshot {
    PauseSnapshot {
        by: pause.by.name().to_owned(),
        since_seconds: now.saturating_duration_since(pause.since).as_secs_f64(),
        opens_in_seconds: pause.ends_in.map(|left| left.as_secs_f64()),
    }
}

fn budget<H>(session: &Session<H>, now: Instant) -> BudgetSnapshot {
    let (admission, requests) = (session.admission(), session.requests());
    let unanswered = requests.forwarding() + requests.queued();
    BudgetSnapshot {
        requests_left: admission.requests_left(now).map(|left| left as u64),
        tokens_left: admission.tokens_left(now),
        concurrent_left: admission.concurrent_left(unanswered).map(|left| left as u64),
    }
}

fn last_error(error: &LastError, now: Instant) -> snapshot::LastError {
    snapshot::LastError {
        code: error.code.to_owned(),
        message: error.message.clone(),
        seconds_ago: now.saturating_duration_since(error.at).as_secs_f64(),
    }
}

fn fingerprint(source: &SecretSource) -> Option<[u8; 32]> {
    Secret::read(source).ok().map(|key| key.fingerprint())
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Commands that may wait; a driver takes them within moments.
const COMMANDS: usize = 64;

const SECRETS_POLL: Duration = Duration::from_secs(10);
