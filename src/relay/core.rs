//! What a client is given, what it is told, and what the status reads of it.

use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::clock;
use super::lock::KeyLock;
use super::report::LastError;
use crate::config;
use crate::forward::{Budget, Forwarder, HeaderSecrets, Hold};
use crate::protocol::{Session, Settings};
use crate::secret::Secret;
use crate::telemetry::{Origin, Telemetry};

/// What a client needs to run, replaced as a whole when the configuration changes.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// The relay.
    pub relay: Arc<config::Relay>,
    /// Where requests go.
    pub forward_to: config::ForwardTo,
    /// Puts them there.
    pub forwarder: Arc<Forwarder>,
    /// What requests and answers may hold.
    pub budget: Budget,
    /// Headers set on every forwarded request.
    pub secrets: Arc<HeaderSecrets>,
    /// Who is told of each request.
    pub telemetry: Telemetry,
    /// As whose it is told.
    pub origin: Origin,
}

/// What a client is told from outside.
#[derive(Debug)]
pub enum Command {
    /// Drain, then end.
    Drain {
        /// How long requests in flight may take.
        grace: Duration,
    },
    /// A person asks for a new attempt.
    Reconnect,
    /// The key, the secrets of forwarded headers and the wall clock may have changed.
    CheckKey,
    /// A person asks that no new requests be admitted.
    Pause,
    /// A person takes that back.
    Resume,
    /// The configuration changed.
    Reconfigure(Box<Wiring>),
}

/// The part of a client that the status reads.
#[derive(Debug)]
pub struct Core {
    /// The protocol's state.
    pub session: Session<Hold>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// Since when the session is in its state.
    pub state_since: Instant,
    /// What requests and answers hold.
    pub budget: Budget,
    /// The key shown last.
    pub dialled_key: Option<Secret>,
    /// The right to dial, among the processes of this host.
    pub lock: KeyLock,
}

impl Core {
    /// A core whose session has not begun.
    #[must_use]
    pub fn new(wiring: &Wiring) -> Self {
        let mut session = Session::new(settings(&wiring.relay), RandomState::new());
        session.handle(tokio::time::Instant::now().into_std(), clock());
        Self {
            session,
            last_error: None,
            state_since: Instant::now(),
            budget: wiring.budget.clone(),
            dialled_key: None,
            lock: KeyLock::new(),
        }
    }
}

/// What the session goes by.
pub(super) fn settings(relay: &config::Relay) -> Settings {
    Settings {
        protocol: relay.protocol,
        keepalive: relay.keepalive,
        request_timeout: relay.request_timeout,
        max_in_flight: relay.max_in_flight,
        max_queued: relay.max_queued,
        paths: relay.paths.iter().map(|path| path.as_str().into()).collect(),
        budget: relay.budget,
        schedule: relay.schedule.clone(),
    }
}
