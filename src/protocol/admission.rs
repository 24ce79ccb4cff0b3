//! Whether a new request may begin: pauses by hand, the schedule, and the budgets of a relay.
//!
//! Asked by the session for each new request, never for a duplicate. A request that is refused spends nothing.
//! Requests are counted in a sliding window: never more than the budget in any 60 seconds. Tokens are counted as the
//! model reports them, by day of the schedule's clock or of UTC; the request that crosses the budget still has its answer,
//! and so have those that were admitted beside it. Deliberately absent: a wall clock, which the shell tells now and then,
//! and any memory beyond the process.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Fault;
use super::limits::{CONCURRENT_RETRY, PAUSE_RETRY};
use crate::config::{Budget, Schedule};

/// What keeps a request from being admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `budget.requests_per_minute`.
    RequestsPerMinute,
    /// `budget.tokens_per_day`.
    TokensPerDay,
    /// `budget.max_concurrent`.
    MaxConcurrent,
    /// `schedule`: it is closed now.
    Schedule,
    /// A person has paused the relay.
    Hand,
}

/// That a relay admits nothing, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// [`Limit::Hand`] or [`Limit::Schedule`].
    pub by: Limit,
    /// Since when.
    pub since: Instant,
    /// Until it ends by itself.
    pub ends_in: Option<Duration>,
}

/// The gate that new requests pass.
#[derive(Debug)]
pub struct Admission {
    budget: Budget,
    schedule: Option<Schedule>,
    clock: Option<WallClock>,
    by_hand: Option<Instant>,
    /// The schedule is closed since then.
    closed: Option<Instant>,
    /// When the schedule opens or closes next.
    change: Option<Instant>,
    /// When the last requests were admitted, at most as many as a minute may have.
    admitted: VecDeque<Instant>,
    day: i64,
    spent: u64,
}

/// What the wall clock showed at an instant.
#[derive(Debug, Clone, Copy)]
struct WallClock {
    at: Instant,
    since_1970: Duration,
}

impl Limit {
    /// As the configuration and the status spell it; a metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerDay => "tokens_per_day",
            Self::MaxConcurrent => "max_concurrent",
            Self::Schedule => "schedule",
            Self::Hand => "hand",
        }
    }

    /// Whether it is a pause, rather than a budget that is spent.
    #[must_use]
    pub fn is_pause(self) -> bool {
        match self {
            Self::RequestsPerMinute | Self::TokensPerDay | Self::MaxConcurrent => false,
            Self::Schedule | Self::Hand => true,
        }
    }
}

impl Admission {
    /// A gate that is open until it is told otherwise.
    #[must_use]
    pub fn new(budget: Budget, schedule: Option<Schedule>) -> Self {
        Self {
            budget,
            schedule,
            clock: None,
            by_hand: None,
            closed: None,
            change: None,
            admitted: VecDeque::new(),
            day: 0,
            spent: 0,
        }
    }

    /// Takes over a changed configuration; what was spent stays spent.
    pub(super) fn configure(&mut self, now: Instant, budget: Budget, schedule: Option<Schedule>) {
        self.budget = budget;
        self.schedule = schedule;
        self.follow_schedule(now);
    }

    /// The wall clock shows this now.
    pub(super) fn tell_time(&mut self, now: Instant, since_1970: Duration) {
        self.clock = Some(WallClock { at: now, since_1970 });
        self.follow_schedule(now);
    }

    /// Pauses or resumes by hand; whether that changed anything.
    pub(super) fn pause(&mut self, now: Instant, pause: bool) -> bool {
        let changed = self.by_hand.is_some() != pause;
        if changed {
            self.by_hand = pause.then_some(now);
        }
        changed
    }

    /// Whether the schedule is closed, as it was last followed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// When the schedule opens or closes next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.change
    }

    /// Whether requests are admitted at all.
    ///
    /// # Errors
    /// They are not, and when to ask again.
    pub(super) fn check_pause(&self, now: Instant) -> Result<(), Fault> {
        match self.pause_at(now) {
            Some(pause) => Err(refused(pause.by, pause.ends_in.unwrap_or(PAUSE_RETRY))),
            None => Ok(()),
        }
    }

    /// Whether the budgets allow one more beside `unanswered` others.
    ///
    /// # Errors
    /// One is spent, and when to ask again.
    pub(super) fn check_budget(&self, now: Instant, unanswered: usize) -> Result<(), Fault> {
        if self.budget.max_concurrent.is_some_and(|most| unanswered >= most) {
            return Err(refused(Limit::MaxConcurrent, CONCURRENT_RETRY));
        }
        if self.tokens_left(now) == Some(0) {
            return Err(refused(Limit::TokensPerDay, self.until_midnight(now)));
        }
        match self.next_request_at().filter(|at| *at > now) {
            Some(at) => Err(refused(Limit::RequestsPerMinute, at - now)),
            None => Ok(()),
        }
    }

    /// A request was admitted.
    pub(super) fn on_admitted(&mut self, now: Instant) {
        let Some(most) = self.budget.requests_per_minute else {
            return self.admitted.clear();
        };
        self.admitted.push_back(now);
        while self.admitted.len() > most {
            self.admitted.pop_front();
        }
    }

    /// The model reported these tokens.
    pub(super) fn on_tokens(&mut self, now: Instant, tokens: u64) {
        if self.is_new_day(now) {
            self.day = self.day_at(now);
            self.spent = 0;
        }
        self.spent = self.spent.saturating_add(tokens);
    }

    /// Why nothing is admitted at `now`, if that is so.
    #[must_use]
    pub fn pause_at(&self, now: Instant) -> Option<Pause> {
        let by_schedule = self.closed.map(|since| Pause {
            by: Limit::Schedule,
            since,
            ends_in: self.change.map(|at| at.saturating_duration_since(now)),
        });
        let by_hand = self.by_hand.map(|since| Pause {
            by: Limit::Hand,
            since,
            ends_in: None,
        });
        by_hand.or(by_schedule)
    }

    /// Requests that may begin at `now`, of `requests_per_minute`.
    #[must_use]
    pub fn requests_left(&self, now: Instant) -> Option<usize> {
        let most = self.budget.requests_per_minute?;
        let past = self.admitted.partition_point(|at| *at + MINUTE <= now);
        Some(most.saturating_sub(self.admitted.len() - past))
    }

    /// Tokens left of `tokens_per_day`.
    #[must_use]
    pub fn tokens_left(&self, now: Instant) -> Option<u64> {
        let spent = if self.is_new_day(now) { 0 } else { self.spent };
        Some(self.budget.tokens_per_day?.saturating_sub(spent))
    }

    /// Requests that may begin beside `unanswered` others, of `max_concurrent`.
    #[must_use]
    pub fn concurrent_left(&self, unanswered: usize) -> Option<usize> {
        Some(self.budget.max_concurrent?.saturating_sub(unanswered))
    }

    /// When the minute has room again; `None` when it never was full. A budget that was lowered counts from its new end.
    fn next_request_at(&self) -> Option<Instant> {
        let most = self.budget.requests_per_minute?;
        let oldest = self.admitted.len().checked_sub(most)?;
        self.admitted.get(oldest).map(|at| *at + MINUTE)
    }

    /// Opens or closes by the schedule.
    pub(super) fn follow_schedule(&mut self, now: Instant) {
        let told = self.schedule.as_ref().zip(self.since_1970(now));
        let Some((schedule, since_1970)) = told else {
            (self.closed, self.change) = (None, None);
            return;
        };
        let seconds = since_1970.as_secs();
        let until = schedule.until_change(seconds).map(Duration::from_secs);
        self.closed = if schedule.is_open(seconds) {
            None
        } else {
            self.closed.or(Some(now))
        };
        let begun = Duration::from_nanos(u64::from(since_1970.subsec_nanos()));
        self.change = until.map(|until| now + until.saturating_sub(begun));
    }

    fn since_1970(&self, now: Instant) -> Option<Duration> {
        let clock = self.clock?;
        Some(clock.since_1970.saturating_add(now.saturating_duration_since(clock.at)))
    }

    /// Whether the day is over. A clock that is set back across midnight does not give the day before a second budget.
    fn is_new_day(&self, now: Instant) -> bool {
        let today = self.day_at(now);
        today != self.day && today + 1 != self.day
    }

    fn day_at(&self, now: Instant) -> i64 {
        self.second_at(now).div_euclid(DAY)
    }

    fn until_midnight(&self, now: Instant) -> Duration {
        let left = DAY - self.second_at(now).rem_euclid(DAY);
        Duration::from_secs(u64::try_from(left).unwrap_or_default())
    }

    /// Of the clock by which days are counted.
    fn second_at(&self, now: Instant) -> i64 {
        let offset = self.schedule.as_ref().map_or(0, Schedule::offset);
        let seconds = self.since_1970(now).unwrap_or_default().as_secs();
        i64::try_from(seconds).unwrap_or(i64::MAX).saturating_add(offset)
    }
}

fn refused(limit: Limit, retry_after: Duration) -> Fault {
    let started = u64::from(retry_after.subsec_nanos() > 0);
    Fault::NotAdmitted {
        limit,
        retry_after: retry_after.as_secs().saturating_add(started).max(1),
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400;
