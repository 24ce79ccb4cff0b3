//! One relay's client at work: feeds the session with what happens and does what it says.
//!
//! Owns the socket, the timers, the dial and the forwarding tasks. Decides nothing that PROTOCOL speaks about.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;
use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet};

use super::clock::clock;
use super::core::{Command, Core, Wiring, settings};
use super::lock::KeyLock;
use super::report;
use super::socket::{Socket, SocketEvent};
use super::timer::Timer;
use super::{RelaySocket, dial};
use crate::config;
use crate::forward::{Forwarded, Hold, accepts};
use crate::protocol::{
    Action, CloseFrame, DialFailure, Disconnect, Event, Fault, ForwardRequest, Input, RequestId, Response,
};
use crate::secret::Secret;
use crate::status::snapshot::RelayState;
use crate::telemetry::{Refusal, Stage};

/// One relay's client.
pub struct Driver {
    wiring: Wiring,
    core: Arc<Mutex<Core>>,
    commands: mpsc::Receiver<Command>,
    socket: Option<Socket>,
    pending: Pending,
    forwards: JoinSet<Forwarded>,
    running: HashMap<RequestId, AbortHandle>,
    /// Acknowledged, to be forwarded once their acks are written.
    admitted: Vec<ForwardRequest<Hold>>,
    timer: Timer,
    key_check: Option<JoinHandle<Option<[u8; 32]>>>,
    finished: bool,
}

/// What must come before frames can flow.
enum Pending {
    Nothing,
    Listener(BoxFuture<()>),
    Dial(BoxFuture<Result<RelaySocket, DialFailure>>),
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Happened {
    Listener,
    Dialled(Box<Result<RelaySocket, DialFailure>>),
    Socket(SocketEvent),
    Forwarded(Result<Forwarded, JoinError>),
    Command(Option<Command>),
    KeyRead(Option<[u8; 32]>),
    Deadline,
}

impl Driver {
    /// A client that begins when [`Driver::run`] is polled, and ends after [`Command::Drain`] or when `commands` closes.
    #[must_use]
    pub fn new(wiring: Wiring, core: Arc<Mutex<Core>>, commands: mpsc::Receiver<Command>) -> Self {
        let listener = Pending::Listener(Box::pin(listener_accepts(wiring.forward_to.clone())));
        Self {
            wiring,
            core,
            commands,
            socket: None,
            pending: listener,
            forwards: JoinSet::new(),
            running: HashMap::new(),
            admitted: Vec::new(),
            timer: Timer::default(),
            key_check: None,
            finished: false,
        }
    }

    /// Runs until drained.
    pub async fn run(mut self) {
        while !self.finished {
            let mut happened = Some(self.next().await);
            let mut left = BATCH;
            // what happened at the same time is taken together: its frames leave in one write
            while let Some(event) = happened {
                if let Some(input) = self.input(event) {
                    self.handle(input);
                }
                left -= 1;
                happened = if left > 0 { self.next_now() } else { None };
            }
            self.forward_admitted();
            // one read brings thousands of tiny frames, and the connections to Envoy and the timers share this thread
            consume_budget().await;
        }
        if let Some(socket) = self.socket.take() {
            socket.finish().await;
        }
    }

    async fn next(&mut self) -> Happened {
        // first what was asked for: a client that was told to end does not dial any more
        if let Ok(command) = self.commands.try_recv() {
            return Happened::Command(Some(command));
        }
        let (deadline, stopped) = {
            let session = &self.lock().session;
            (session.deadline(), session.state() == RelayState::Stopped)
        };
        let socket = async {
            match &mut self.socket {
                Some(socket) => socket.event().await,
                None => std::future::pending().await,
            }
        };
        let key = async {
            match &mut self.key_check {
                // a failed join is a panic: nothing was read
                Some(read) => read.await.ok().flatten(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = self.commands.recv() => Happened::Command(command),
            event = socket => Happened::Socket(event),
            Some(done) = self.forwards.join_next() => Happened::Forwarded(done),
            happened = self.pending.wait() => happened,
            key = key => Happened::KeyRead(key),
            () = self.timer.until(deadline) => Happened::Deadline,
            // a stopped relay waits for nothing but a person, who may be rotating the key just now
            () = async { tokio::time::sleep(STOPPED_KEY_POLL).await }, if stopped => Happened::Command(Some(Command::CheckKey)),
        }
    }

    /// What has happened besides, if anything.
    fn next_now(&mut self) -> Option<Happened> {
        if self.finished {
            return None;
        }
        if let Some(done) = self.forwards.try_join_next() {
            return Some(Happened::Forwarded(done));
        }
        self.socket.as_mut()?.event_now().map(Happened::Socket)
    }

    /// Turns what happened into the session's words.
    fn input(&mut self, happened: Happened) -> Option<Input<Hold>> {
        match happened {
            Happened::Listener => {
                self.pending = Pending::Nothing;
                Some(Input::ListenerReady)
            }
            Happened::Dialled(result) => {
                self.pending = Pending::Nothing;
                Some(match *result {
                    Ok(ws) => {
                        self.socket = Some(Socket::new(ws));
                        Input::Dialled
                    }
                    Err(failure) => Input::DialFailed(failure),
                })
            }
            Happened::Socket(event) => Some(self.socket_input(event)),
            Happened::Forwarded(Ok(forwarded)) => {
                self.running.remove(&forwarded.id);
                Some(Input::Forwarded {
                    id: forwarded.id,
                    response: forwarded.response,
                    hold: forwarded.hold,
                })
            }
            Happened::Forwarded(Err(error)) => self.forward_ended_early(&error),
            Happened::Command(command) => self.command(command),
            Happened::KeyRead(key) => self.on_key_read(key),
            Happened::Deadline => Some(Input::DeadlinePassed),
        }
    }

    fn socket_input(&mut self, event: SocketEvent) -> Input<Hold> {
        match event {
            SocketEvent::Text(text) => {
                let hold = self.lock().budget.try_hold(text.len());
                Input::Text { text, hold }
            }
            SocketEvent::NotUtf8 => Input::NotUtf8,
            SocketEvent::TooLarge => Input::TooLarge,
            SocketEvent::Pong(number) => Input::Pong(number),
            SocketEvent::PingWritten => Input::PingWritten,
            SocketEvent::Ended(why) => {
                if let Some(socket) = self.socket.take() {
                    tokio::spawn(socket.finish());
                }
                Input::Disconnected(self.without_key(why))
            }
        }
    }

    /// What a relay gives as its reason is shown to people, unless it repeats the key.
    fn without_key(&self, why: Disconnect) -> Disconnect {
        match why {
            Disconnect::Closed(CloseFrame { code, reason })
                if self
                    .lock()
                    .dialled_key
                    .as_ref()
                    .is_some_and(|key| key.shows_in(&reason)) =>
            {
                let reason = "withheld: it repeats the API key".to_owned();
                Disconnect::Closed(CloseFrame { code, reason })
            }
            why => why,
        }
    }

    /// A task that was cancelled was answered before; one that panicked is answered now, and never forwarded again.
    fn forward_ended_early(&mut self, error: &JoinError) -> Option<Input<Hold>> {
        let failed = |(_, task): &(&RequestId, &AbortHandle)| task.id() == error.id();
        let id = self.running.iter().find(failed).map(|(id, _)| id.clone())?;
        self.running.remove(&id);
        if error.is_cancelled() {
            return None;
        }
        tracing::error!(relay = self.wiring.relay.name, request_id = ?id, "a forwarding task panicked");
        let response = Response::from_fault(
            &id,
            &Fault::AdapterUnavailable("internal error of the relay client".into()),
        );
        Some(Input::Forwarded {
            id,
            response,
            hold: None,
        })
    }

    fn command(&mut self, command: Option<Command>) -> Option<Input<Hold>> {
        match command {
            Some(Command::Drain { grace }) => Some(Input::DrainAsked { grace }),
            Some(Command::Reconnect) => Some(Input::ReconnectAsked),
            Some(Command::CheckKey) => {
                self.refresh_secrets();
                self.check_key();
                Some(clock())
            }
            Some(Command::Pause) => Some(Input::PauseAsked),
            Some(Command::Resume) => Some(Input::ResumeAsked),
            Some(Command::Reconfigure(wiring)) => Some(self.reconfigure(*wiring)),
            // nobody is left who could ask for anything
            None => {
                self.finished = true;
                None
            }
        }
    }

    fn refresh_secrets(&self) {
        let secrets = Arc::clone(&self.wiring.secrets);
        // a read that fails is said by refresh itself
        drop(tokio::task::spawn_blocking(move || secrets.refresh()));
    }

    /// Reads the key away from this task: a file system may hang.
    fn check_key(&mut self) {
        let source = self.wiring.relay.api_key.clone();
        let read = move || Secret::read(&source).ok().map(|key| key.fingerprint());
        self.key_check.get_or_insert_with(|| tokio::task::spawn_blocking(read));
    }

    fn on_key_read(&mut self, key: Option<[u8; 32]>) -> Option<Input<Hold>> {
        self.key_check = None;
        if key.is_none() || self.lock().dialled_key.as_ref().map(Secret::fingerprint) == key {
            return None;
        }
        Some(Input::SettingsChanged {
            settings: settings(&self.wiring.relay),
            redial: false,
        })
    }

    fn reconfigure(&mut self, wiring: Wiring) -> Input<Hold> {
        let (old, new) = (&self.wiring.relay, &wiring.relay);
        let same_road = old.tls == new.tls && old.proxy == new.proxy && old.protocol == new.protocol;
        let redial = !(same_road && old.keepalive == new.keepalive && old.max_frame_bytes == new.max_frame_bytes);
        if matches!(self.pending, Pending::Listener(_)) {
            self.pending = Pending::Listener(Box::pin(listener_accepts(wiring.forward_to.clone())));
        }
        let settings = settings(new);
        self.lock().budget = wiring.budget.clone();
        self.wiring = wiring;
        Input::SettingsChanged { settings, redial }
    }

    fn handle(&mut self, input: Input<Hold>) {
        let core = Arc::clone(&self.core);
        let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
        // the timer's clock, so that what it says is due is due
        let (now, before) = (tokio::time::Instant::now().into_std(), core.session.state());
        core.session.handle(now, input);
        while let Some(action) = core.session.next_action() {
            self.act(action, &mut core, now);
        }
        if core.session.state() != before {
            core.state_since = now;
        }
    }

    fn forward_admitted(&mut self) {
        if self.admitted.is_empty() {
            return;
        }
        // PROTOCOL §2.2: acks every request frame as soon as it receives it, before forwarding it
        self.on_socket(Socket::push);
        for request in self.admitted.drain(..) {
            let (id, forwarder) = (request.id.clone(), Arc::clone(&self.wiring.forwarder));
            let task = self.forwards.spawn(async move { forwarder.forward(request).await });
            self.running.insert(id, task);
        }
    }

    fn act(&mut self, action: Action<Hold>, core: &mut Core, now: Instant) {
        match action {
            // PROTOCOL §2: initiated outbound by the client
            Action::Dial => self.pending = Pending::Dial(self.dial(core.lock.clone())),
            Action::Send(text) => self.on_socket(|socket| socket.send(text)),
            Action::Ping(number) => self.on_socket(|socket| socket.ping(number)),
            Action::Close { code, reason } => self.on_socket(|socket| socket.close(code, reason)),
            Action::Abort => {
                self.socket = None;
                self.pending = Pending::Nothing;
            }
            Action::Forward(request) => self.admitted.push(request),
            Action::Cancel(id) => {
                self.admitted.retain(|request| request.id != id);
                if let Some(task) = self.running.remove(&id) {
                    task.abort();
                }
            }
            Action::Report(event) => self.report(&event, core, now),
            Action::Finish => self.finished = true,
        }
    }

    fn report(&self, event: &Event, core: &mut Core, now: Instant) {
        let relay = &self.wiring.origin;
        let recorder = self.wiring.forwarder.recorder();
        match event {
            // another process may have the configuration or the rights that this one lacks
            Event::Stopped(_) => core.lock.release(),
            Event::Acknowledged { id, waited } => {
                self.wiring.telemetry.stage(relay, Stage::Ack, *waited);
                recorder.acknowledged(id.as_str(), *waited);
            }
            Event::Refused {
                id,
                code,
                status,
                path,
                trace,
            } => {
                self.wiring.telemetry.refused(&Refusal {
                    relay,
                    request_id: id.as_str(),
                    code,
                    status: *status,
                    trace,
                });
                recorder.refused(id.as_str(), path.as_deref(), *status, code);
            }
            Event::TimedOut { id } => recorder.timed_out(id.as_str(), self.wiring.relay.request_timeout),
            Event::ResponseExpired { id } => recorder.expired(id.as_str()),
            Event::Connected(_)
            | Event::Disconnected { .. }
            | Event::Faulted { .. }
            | Event::FrameIgnored(_)
            | Event::Paused(_)
            | Event::Resumed(_)
            | Event::DrainStarted { .. }
            | Event::DrainEnded { .. } => {}
        }
        if let Some(error) = report::report(&self.wiring.relay, event, now) {
            recorder.trouble(error.code, &error.message);
            core.last_error = Some(error);
        }
    }

    fn on_socket(&mut self, then: impl FnOnce(&mut Socket)) {
        if let Some(socket) = &mut self.socket {
            then(socket);
        }
    }

    fn dial(&self, lock: KeyLock) -> BoxFuture<Result<RelaySocket, DialFailure>> {
        let relay = Arc::clone(&self.wiring.relay);
        let core = Arc::clone(&self.core);
        Box::pin(async move {
            // PROTOCOL §2.5: on reconnect, the same API key, as its source has it now
            let key = lock.key(&relay).await.map_err(|e| failure("api_key", e.to_string()))?;
            core.lock().unwrap_or_else(PoisonError::into_inner).dialled_key = Some(key.clone());
            // PROTOCOL §2.1: the version header; version 1 knows none
            let send_version = relay.protocol != config::ProtocolChoice::V1;
            dial(&relay, &key, send_version).await.map_err(|e| DialFailure {
                status: e.status(),
                code: e.code(),
                message: e.to_string(),
            })
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    async fn wait(&mut self) -> Happened {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Listener(ready) => {
                ready.await;
                Happened::Listener
            }
            Self::Dial(dial) => Happened::Dialled(Box::new(dial.await)),
        }
    }
}

fn failure(code: &'static str, message: String) -> DialFailure {
    DialFailure {
        status: None,
        code,
        message,
    }
}

/// Waits until Envoy's local listener accepts: requests that arrived earlier could only be answered 503.
async fn listener_accepts(to: config::ForwardTo) {
    let mut pause = LISTENER_POLL;
    let mut waited = Duration::ZERO;
    while let Err(error) = accepts(&to).await {
        tokio::time::sleep(pause).await;
        let said = waited >= LISTENER_PATIENCE;
        waited += pause;
        if !said && waited >= LISTENER_PATIENCE {
            tracing::warn!(?to, error = %error.kind(), "Envoy's local listener does not accept connections yet; the relay is dialled once it does");
        }
        pause = (pause * 2).min(LISTENER_POLL_MAX);
    }
}

/// How much is taken together before anything else has its turn.
const BATCH: usize = 64;

/// How often the key is looked at while the relay is stopped.
const STOPPED_KEY_POLL: Duration = Duration::from_secs(1);

/// The listener opens within moments of Envoy's start, so the first polls are close together.
const LISTENER_POLL: Duration = Duration::from_millis(10);
const LISTENER_POLL_MAX: Duration = Duration::from_millis(500);

/// After this the wait is said in the log.
const LISTENER_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
