//! Chats for callers that only speak WebSocket: an endpoint on a Unix socket, behind Envoy.
//!
//! A client's handshake passes Envoy's authentication and reaches the socket through an upgrade route; each of its
//! messages becomes a request to the adapter through Envoy's local listener (`turn`), whose event stream comes back as
//! messages. Owned by the registry. The messages are in `ask`, `reply` and `answer` (pure). Deliberately absent: TLS,
//! keys, other transports: Envoy has them, and the socket answers to nobody but the Envoy of this process.

mod answer;
mod ask;
mod counts;
mod endpoints;
mod handshake;
mod listen;
mod members;
mod reply;
mod serve;
mod session;
mod socket;
mod turn;
mod watch;

pub use endpoints::Endpoints;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch as channel;
use tokio::time::Instant;

use crate::config;
use crate::status::snapshot::{ChatSnapshot, ChatState, LastError};
use crate::telemetry::Telemetry;
use counts::Counts;
use turn::Adapter;

/// A running endpoint. Dropping it ends it at once.
#[derive(Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    drain: channel::Sender<Option<Instant>>,
    done: channel::Receiver<bool>,
    task: tokio::task::AbortHandle,
}

/// What the endpoint's tasks share.
#[derive(Debug)]
struct Shared {
    counts: Arc<Counts>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// Of sessions that begin from now on.
    adapter: Arc<Adapter>,
    state: ChatState,
    last_error: Option<(std::time::Instant, LastError)>,
}

impl Endpoint {
    /// Starts an endpoint on `runtime`; with `drained`, one that never listens.
    #[must_use]
    pub fn spawn(
        runtime: &Handle,
        settings: config::Chat,
        forward: &config::Forward,
        telemetry: Telemetry,
        drained: bool,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let adapter = Arc::new(Adapter::new(settings, forward, telemetry, Arc::clone(&counts)));
        let shared = Arc::new(Shared {
            counts,
            now: Mutex::new(Now {
                adapter,
                state: ChatState::WaitingForSocket,
                last_error: None,
            }),
        });
        let (drain, draining) = channel::channel(drained.then(Instant::now));
        let (finished, done) = channel::channel(false);
        let task = runtime.spawn(serve::run(Arc::clone(&shared), draining, finished));
        Self {
            shared,
            drain,
            done,
            task: task.abort_handle(),
        }
    }

    /// Takes over other settings, for sessions that begin from now on; the socket stays.
    pub fn reconfigure(&self, settings: config::Chat, forward: &config::Forward, telemetry: Telemetry) {
        let counts = Arc::clone(&self.shared.counts);
        self.shared.lock().adapter = Arc::new(Adapter::new(settings, forward, telemetry, counts));
    }

    /// Where it listens.
    #[must_use]
    pub fn is_at(&self, listen: &Path) -> bool {
        self.shared.adapter().settings.listen == listen
    }

    /// How long a drain may take.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.shared.adapter().settings.shutdown_grace
    }

    /// Accepts nobody any more, lets running turns finish within `grace`, then closes with 1001.
    pub fn drain(&self, grace: Duration) {
        self.drain.send_if_modified(|by| {
            let sooner = Instant::now() + grace;
            let changes = by.is_none_or(|by| sooner < by);
            if changes {
                *by = Some(sooner);
            }
            changes
        });
    }

    /// Completes when the endpoint has ended. Holds nothing of it.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut done = self.done.clone();
        async move {
            // an error means that the task is gone, so the endpoint is too
            let _ = done.wait_for(|done| *done).await;
        }
    }

    /// What the status shows.
    #[must_use]
    pub fn snapshot(&self) -> ChatSnapshot {
        let figures = self.shared.counts.figures();
        let now = self.shared.lock();
        let settings = &now.adapter.settings;
        ChatSnapshot {
            listen: format!("unix://{}", settings.listen.display()),
            path: settings.path.clone(),
            state: now.state,
            last_error: now.last_error.as_ref().map(|(at, error)| LastError {
                seconds_ago: at.elapsed().as_secs_f64(),
                ..error.clone()
            }),
            sessions: figures.sessions,
            turns: figures.turns,
            totals: figures.totals,
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn adapter(&self) -> Arc<Adapter> {
        Arc::clone(&self.lock().adapter)
    }

    fn is(&self, state: ChatState) {
        self.lock().state = state;
    }

    fn failed(&self, code: &str, message: String) {
        let error = LastError {
            code: code.to_owned(),
            message,
            seconds_ago: 0.0,
        };
        self.lock().last_error = Some((std::time::Instant::now(), error));
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
