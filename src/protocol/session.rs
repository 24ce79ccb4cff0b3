//! What outlives a connection: requests, held responses, the backoff, a drain. The whole client, without I/O.
//!
//! [`Session::handle`] takes what happened, [`Session::next_action`] gives what to do, [`Session::deadline`] says when
//! to come back. The same inputs at the same times give the same actions.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::answered::Answered;
use super::backoff::Backoff;
use super::connection::{Connection, Due, Version};
use super::frame::Ignored;
use super::limits::{CLOSE_TIMEOUT, DRAIN_REDIAL};
use super::requests::{Expired, Requests};
use super::{Fault, Response};
use crate::config::{Budget, Keepalive, ProtocolChoice, Schedule};
use crate::status::snapshot::{RelayState, Totals};

mod drain;
mod events;
mod gate;
mod inbound;
mod outbound;
#[cfg(test)]
mod tests;

use drain::Drain;
pub use events::{Action, DialFailure, Disconnect, Event, Input, StopReason};

/// What the session must know of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Accepted versions.
    pub protocol: ProtocolChoice,
    /// Ping interval and pong timeout.
    pub keepalive: Keepalive,
    /// From receipt to the last byte of the answer, and how long a response is held.
    pub request_timeout: Duration,
    /// Requests at the adapter at the same time.
    pub max_in_flight: usize,
    /// Requests acknowledged and waiting.
    pub max_queued: usize,
    /// Allowed paths.
    pub paths: Vec<Arc<str>>,
    /// How much is admitted.
    pub budget: Budget,
    /// When requests are admitted.
    pub schedule: Option<Schedule>,
}

/// One relay's client. `H` is a share of the byte budget, given back when dropped.
#[derive(Debug)]
pub struct Session<H> {
    settings: Settings,
    link: Link,
    /// Of the current or last connection; decides the backoff table and what survives a disconnect.
    version: Option<Version>,
    backoff: Backoff,
    drain: Option<Drain>,
    admission: Admission,
    requests: Requests<H>,
    answered: Answered,
    actions: VecDeque<Action<H>>,
    totals: Totals,
}

#[derive(Debug)]
enum Link {
    /// The forward address does not accept yet.
    WaitingForListener,
    Dialling,
    Connected(Connection),
    /// Our close frame is on its way; at the deadline the socket is dropped.
    Closing {
        deadline: Instant,
        then: AfterClose,
    },
    BackingOff {
        until: Instant,
    },
    Stopped,
    Drained,
}

#[derive(Debug, Clone)]
enum AfterClose {
    Stop(StopReason),
    Redial,
    Finish,
}

impl<H> Session<H> {
    /// A session that waits for [`Input::ListenerReady`]. `key` hides the hashes of answered ids from relays.
    #[must_use]
    pub fn new(settings: Settings, key: RandomState) -> Self {
        Self {
            admission: Admission::new(settings.budget, settings.schedule.clone()),
            settings,
            link: Link::WaitingForListener,
            version: None,
            backoff: Backoff::default(),
            drain: None,
            requests: Requests::new(),
            answered: Answered::new(key),
            actions: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// Takes what happened at `now`. An input that makes no sense in the current state changes nothing.
    pub fn handle(&mut self, now: Instant, input: Input<H>) {
        self.on_schedule(now);
        match input {
            Input::ListenerReady => self.on_listener_ready(),
            Input::Dialled => self.on_dialled(now),
            Input::DialFailed(failure) => self.on_dial_failed(now, failure),
            Input::Text { text, hold } => self.on_text(now, &text, hold),
            Input::NotUtf8 => self.on_not_utf8(),
            Input::TooLarge => self.on_too_large(now),
            Input::PingWritten => self.on_connection(|connection| connection.on_ping_written(now)),
            Input::Pong(number) => self.on_connection(|connection| connection.on_pong(number)),
            Input::Disconnected(why) => self.on_disconnected(now, why),
            Input::Forwarded { id, response, hold } => self.on_forwarded(now, &id, response, hold),
            Input::DrainAsked { grace } => self.on_drain_asked(now, grace),
            Input::ReconnectAsked => self.on_reconnect_asked(),
            Input::SettingsChanged { settings, redial } => self.on_settings_changed(now, settings, redial),
            Input::ClockRead { since_1970 } => self.on_clock_read(now, since_1970),
            Input::PauseAsked => self.on_pause_asked(now, true),
            Input::ResumeAsked => self.on_pause_asked(now, false),
            Input::DeadlinePassed => {}
        }
        self.on_deadlines(now);
        self.dispatch();
        self.finish_if_drained(now);
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action<H>> {
        self.actions.pop_front()
    }

    /// When [`Input::DeadlinePassed`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let link = match &self.link {
            Link::Connected(connection) => connection.deadline(),
            Link::Closing { deadline, .. } => Some(*deadline),
            Link::BackingOff { until } => Some(*until),
            Link::WaitingForListener | Link::Dialling | Link::Stopped | Link::Drained => None,
        };
        let drain = self.drain.filter(|_| !self.is_finishing()).map(|drain| drain.deadline);
        [link, drain, self.requests.deadline(), self.admission.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What the client is doing.
    #[must_use]
    pub fn state(&self) -> RelayState {
        match &self.link {
            Link::Drained => RelayState::Drained,
            _ if self.drain.is_some() => RelayState::Draining,
            Link::WaitingForListener => RelayState::WaitingForListener,
            Link::Dialling => RelayState::Connecting,
            Link::Connected(connection) if connection.version().is_some() => RelayState::Connected,
            Link::Connected(_) => RelayState::Connecting,
            Link::Closing {
                then: AfterClose::Stop(_),
                ..
            }
            | Link::Stopped => RelayState::Stopped,
            Link::Closing {
                then: AfterClose::Redial | AfterClose::Finish,
                ..
            } => RelayState::Connecting,
            Link::BackingOff { .. } => RelayState::BackingOff,
        }
    }

    /// When the next attempt to connect is due, while backing off.
    #[must_use]
    pub fn retry_at(&self) -> Option<Instant> {
        match self.link {
            Link::BackingOff { until } => Some(until),
            _ => None,
        }
    }

    /// The version of the current or last connection.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Attempts since the backoff was last reset.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.backoff.attempts()
    }

    /// Counts since the start.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The requests and held responses.
    #[must_use]
    pub fn requests(&self) -> &Requests<H> {
        &self.requests
    }

    /// The pauses and budgets.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    fn on_listener_ready(&mut self) {
        if matches!(self.link, Link::WaitingForListener) {
            self.dial();
        }
    }

    fn on_dialled(&mut self, now: Instant) {
        if matches!(self.link, Link::Dialling) {
            self.link = Link::Connected(Connection::new(now, self.settings.keepalive));
        }
    }

    fn on_dial_failed(&mut self, now: Instant, failure: DialFailure) {
        if !matches!(self.link, Link::Dialling) {
            return;
        }
        // PROTOCOL §2.1, §2.5: a handshake failing with HTTP 401 or 403 is an authentication failure, not to be retried
        if let Some(status @ (401 | 403)) = failure.status {
            return self.stop(StopReason::AuthenticationFailed { status: Some(status) });
        }
        self.back_off(now, Disconnect::DialFailed(failure), false);
    }

    fn on_not_utf8(&mut self) {
        if matches!(self.link, Link::Connected(_)) {
            // PROTOCOL §2.2: frames carry UTF-8 encoded JSON; what is none is ignored and must not close the connection
            self.ignore(Ignored::NotUtf8);
        }
    }

    fn on_too_large(&mut self, now: Instant) {
        if matches!(self.link, Link::Connected(_)) {
            // PROTOCOL §2.2: a larger frame makes the receiver close the connection with 1009; §2.5: and stop
            self.close(
                now,
                1009,
                "frame too large",
                AfterClose::Stop(StopReason::FrameTooLarge { sent_by_us: true }),
            );
        }
    }

    fn on_disconnected(&mut self, now: Instant, why: Disconnect) {
        match std::mem::replace(&mut self.link, Link::Drained) {
            Link::Closing { then, .. } => self.on_closed(then),
            Link::Connected(connection) => self.on_connection_lost(now, &connection, why),
            other @ (Link::WaitingForListener
            | Link::Dialling
            | Link::BackingOff { .. }
            | Link::Stopped
            | Link::Drained) => {
                self.link = other;
            }
        }
    }

    fn on_closed(&mut self, then: AfterClose) {
        self.totals.disconnects += 1;
        self.forget_if_version_1();
        match then {
            AfterClose::Finish => self.finish(),
            AfterClose::Stop(reason) => self.stop(reason),
            AfterClose::Redial => self.dial(),
        }
    }

    fn on_connection_lost(&mut self, now: Instant, connection: &Connection, why: Disconnect) {
        self.totals.disconnects += 1;
        self.forget_if_version_1();
        let code = why.close_code();
        match code {
            // PROTOCOL 0.1.2 §2.1: 4001 is not retried with the same key
            // PROTOCOL §2.1: 4001 and 4002 are not retried without user intervention; §2.5: nor is 1009
            Some(4001) => return self.stop(StopReason::AuthenticationFailed { status: None }),
            Some(4002) => return self.stop(StopReason::VersionRefused),
            Some(1009) => return self.stop(StopReason::FrameTooLarge { sent_by_us: false }),
            Some(_) | None => {}
        }
        let replaced = code == Some(1000);
        if replaced {
            // PROTOCOL §3.1: the relay closes the older connection of a key; two clients share it
            self.totals.replaced += 1;
        }
        // A replaced connection does not reset the schedule, else two clients of one key would take it from each
        // other for ever.
        let stable = connection.was_stable(now) && !replaced;
        self.back_off(now, why, stable);
    }

    /// PROTOCOL 0.1.2 §2.5: requests in flight at a disconnect are the relay's to time out; nothing is answered later.
    fn forget_if_version_1(&mut self) {
        if self.version == Some(Version::V2) {
            // PROTOCOL §2.5: a disconnect does not fail in-flight requests
            return;
        }
        self.abandon_requests();
    }

    fn abandon_requests(&mut self) {
        for (id, forwarding) in self.requests.clear() {
            // PROTOCOL §2.5: never forward twice, also what was answered and not yet acknowledged
            self.answered.insert(&id);
            if forwarding {
                self.actions.push_back(Action::Cancel(id));
            }
        }
    }

    fn on_reconnect_asked(&mut self) {
        if self.drain.is_none() {
            self.wake();
        }
    }

    /// Starts the schedule again for a person who acted.
    fn wake(&mut self) {
        match &mut self.link {
            Link::Stopped | Link::BackingOff { .. } => {
                self.backoff.reset();
                self.dial();
            }
            Link::Closing {
                then: then @ AfterClose::Stop(_),
                ..
            } => {
                self.backoff.reset();
                *then = AfterClose::Redial;
            }
            Link::WaitingForListener
            | Link::Dialling
            | Link::Connected(_)
            | Link::Closing {
                then: AfterClose::Redial | AfterClose::Finish,
                ..
            }
            | Link::Drained => {}
        }
    }

    fn on_settings_changed(&mut self, now: Instant, settings: Settings, redial: bool) {
        self.settings = settings;
        self.on_admission_changed(now);
        if self.drain.is_some() {
            return;
        }
        match &self.link {
            Link::Connected(_) if redial => self.close(now, 1000, "configuration changed", AfterClose::Redial),
            Link::Dialling if redial => {
                // else the old key's refusal would stop the client although the new one is there
                self.actions.push_back(Action::Abort);
                self.dial();
            }
            Link::WaitingForListener
            | Link::Dialling
            | Link::Connected(_)
            | Link::Closing { .. }
            | Link::BackingOff { .. }
            | Link::Stopped
            | Link::Drained => self.wake(),
        }
    }

    fn on_deadlines(&mut self, now: Instant) {
        while let Some(expired) = self.requests.expire(now) {
            self.on_expired(expired);
        }
        match &mut self.link {
            Link::Connected(connection) => match connection.on_deadline(now) {
                Due::Nothing => {}
                Due::Ping(number) => self.actions.push_back(Action::Ping(number)),
                Due::NoHello => self.abort(now, Disconnect::NoHello),
                // PROTOCOL §2.4: the connection is stale: close it and reconnect
                Due::NoPong => self.abort(now, Disconnect::NoPong),
            },
            Link::Closing { deadline, .. } if *deadline <= now => self.abort(now, Disconnect::NoCloseFrame),
            Link::BackingOff { until } if *until <= now => self.dial(),
            Link::Closing { .. }
            | Link::BackingOff { .. }
            | Link::WaitingForListener
            | Link::Dialling
            | Link::Stopped
            | Link::Drained => {}
        }
    }

    fn on_expired(&mut self, expired: Expired) {
        match expired {
            // PROTOCOL §2.5: a response may be dropped once the relay's timeout for it has passed
            Expired::Held(id) => {
                self.totals.expired_responses += 1;
                self.answered.insert(&id);
                self.actions.push_back(Action::Report(Event::ResponseExpired { id }));
            }
            Expired::Unanswered { id, forwarding } => {
                if forwarding {
                    self.actions.push_back(Action::Cancel(id.clone()));
                }
                let response = Response::from_fault(&id, &Fault::AdapterTimeout);
                self.count(&response);
                self.answered.insert(&id);
                self.send_response(response.frame);
                self.actions.push_back(Action::Report(Event::TimedOut { id }));
            }
        }
    }

    /// Forwards what waits, as far as the adapter's share allows.
    fn dispatch(&mut self) {
        // PROTOCOL §1: multiple requests simultaneously
        // PROTOCOL §2.3: handle request frames concurrently; immediately dispatch each
        while self.requests.forwarding() < self.settings.max_in_flight
            && let Some(request) = self.requests.dispatch()
        {
            self.actions.push_back(Action::Forward(request));
        }
    }

    fn dial(&mut self) {
        self.link = Link::Dialling;
        self.actions.push_back(Action::Dial);
    }

    /// `patience` ends [`CLOSE_TIMEOUT`] before the socket is dropped.
    fn close(&mut self, patience: Instant, code: u16, reason: &'static str, then: AfterClose) {
        self.actions.push_back(Action::Close { code, reason });
        self.link = Link::Closing {
            deadline: patience + CLOSE_TIMEOUT,
            then,
        };
        self.forget_if_version_1();
    }

    /// Drops the socket without waiting for the relay, then goes on as after any disconnect.
    fn abort(&mut self, now: Instant, why: Disconnect) {
        self.actions.push_back(Action::Abort);
        self.on_disconnected(now, why);
    }

    fn stop(&mut self, reason: StopReason) {
        self.link = Link::Stopped;
        self.actions.push_back(Action::Report(Event::Stopped(reason)));
    }

    // PROTOCOL §2, §2.5: a persistent connection: the client reconnects on any disconnect
    // PROTOCOL 0.1.2 §2, §2.5: a persistent connection: the client reconnects on any disconnect
    fn back_off(&mut self, now: Instant, why: Disconnect, stable: bool) {
        if stable {
            // PROTOCOL §2.5: a connection that stayed up long enough resets the schedule
            self.backoff.reset();
        }
        let mut delay = self.backoff.next_delay(self.version.unwrap_or(self.default_version()));
        if self.drain.is_some() {
            delay = delay.min(DRAIN_REDIAL);
        }
        *self.totals.reconnects.entry(why.code().to_owned()).or_default() += 1;
        self.actions
            .push_back(Action::Report(Event::Disconnected { why, retry_in: delay }));
        self.link = Link::BackingOff { until: now + delay };
    }

    fn default_version(&self) -> Version {
        match self.settings.protocol {
            ProtocolChoice::V1 => Version::V1,
            ProtocolChoice::V2 | ProtocolChoice::Auto => Version::V2,
        }
    }

    fn on_connection(&mut self, then: impl FnOnce(&mut Connection)) {
        if let Link::Connected(connection) = &mut self.link {
            then(connection);
        }
    }

    fn ignore(&mut self, why: Ignored) {
        self.totals.ignored_frames += 1;
        self.actions.push_back(Action::Report(Event::FrameIgnored(why)));
    }
}
