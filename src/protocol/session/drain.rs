//! Stopping: what is in flight is finished within a grace, then the connection is closed (`PROTOCOL §2.6`).
//!
//! Driven by the session: it asks after every input whether the drain is over. Refusing new requests meanwhile is
//! `inbound`'s.

use std::time::{Duration, Instant};

use super::{Action, AfterClose, Event, Link, Session};
use crate::protocol::Version;

#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) deadline: Instant,
}

impl<H> Session<H> {
    pub(super) fn on_drain_asked(&mut self, now: Instant, grace: Duration) {
        let deadline = now + grace;
        if let Some(drain) = &mut self.drain {
            // whoever stops the process last may have less time than who asked first
            drain.deadline = drain.deadline.min(deadline);
            return;
        }
        self.drain = Some(Drain { deadline });
        let (in_flight, held) = (
            self.requests.forwarding() + self.requests.queued(),
            self.requests.held(),
        );
        self.actions
            .push_back(Action::Report(Event::DrainStarted { in_flight, held, grace }));
        // PROTOCOL §2.6: what is held can still be delivered, so a backoff is cut short
        if !self.requests.is_empty()
            && let Link::BackingOff { until } = &mut self.link
        {
            *until = (*until).min(now);
        }
    }

    pub(super) fn finish_if_drained(&mut self, now: Instant) {
        let Some(drain) = self.drain else { return };
        if self.is_finishing() {
            return;
        }
        // PROTOCOL §2.6: lets the requests in flight finish, up to a grace period
        let over = drain.deadline <= now;
        if !over && !self.requests.is_empty() && !matches!(self.link, Link::Stopped | Link::WaitingForListener) {
            return;
        }
        self.actions.push_back(Action::Report(Event::DrainEnded {
            unfinished: self.requests.forwarding() + self.requests.queued(),
            unacknowledged: self.requests.held(),
        }));
        self.abandon_requests();
        if matches!(self.link, Link::Connected(_)) {
            // without acks nobody says that the last response is through: it has the rest of the grace to get there
            let patience = if self.version == Some(Version::V1) {
                drain.deadline.max(now)
            } else {
                now
            };
            // PROTOCOL §2.6: it closes the connection with code 1001 (going away)
            self.close(patience, 1001, "client shutting down", AfterClose::Finish);
        } else {
            self.actions.push_back(Action::Abort);
            self.finish();
        }
    }

    pub(super) fn is_finishing(&self) -> bool {
        matches!(
            self.link,
            Link::Closing {
                then: AfterClose::Finish,
                ..
            } | Link::Drained
        )
    }

    pub(super) fn finish(&mut self) {
        self.link = Link::Drained;
        self.actions.push_back(Action::Finish);
    }
}
