//! Pausing, the schedule and the budgets: what the session tells its [`Admission`] and what people are told of it.
//!
//! The connection stays up while a relay is paused, so that the platform gets answers; requests in flight finish.
//!
//! [`Admission`]: crate::protocol::admission::Admission

use std::time::{Duration, Instant};

use super::{Action, Event, Session};
use crate::protocol::{Limit, Response};

impl<H> Session<H> {
    /// Before anything that happens at `now`: the schedule may have opened or closed.
    pub(super) fn on_schedule(&mut self, now: Instant) {
        if self.admission.deadline().is_some_and(|at| at <= now) {
            self.changing_schedule(|session| session.admission.follow_schedule(now));
        }
    }

    pub(super) fn on_clock_read(&mut self, now: Instant, since_1970: Duration) {
        self.changing_schedule(|session| session.admission.tell_time(now, since_1970));
    }

    pub(super) fn on_admission_changed(&mut self, now: Instant) {
        let (budget, schedule) = (self.settings.budget, self.settings.schedule.clone());
        self.changing_schedule(|session| session.admission.configure(now, budget, schedule));
    }

    fn changing_schedule(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.admission.is_closed();
        change(self);
        let closed = self.admission.is_closed();
        if before != closed {
            self.tell_of_pause(Limit::Schedule, closed);
        }
    }

    pub(super) fn on_pause_asked(&mut self, now: Instant, pause: bool) {
        if self.admission.pause(now, pause) {
            self.tell_of_pause(Limit::Hand, pause);
        }
    }

    fn tell_of_pause(&mut self, by: Limit, paused: bool) {
        let event = if paused { Event::Paused(by) } else { Event::Resumed(by) };
        self.actions.push_back(Action::Report(event));
    }

    /// The tokens of an answer are spent, whatever becomes of it.
    pub(super) fn spend(&mut self, now: Instant, response: &Response) {
        let Some(answer) = &response.answer else { return };
        let (input, output) = (answer.usage.input.unwrap_or(0), answer.usage.output.unwrap_or(0));
        self.admission.on_tokens(now, input.saturating_add(output));
    }
}
