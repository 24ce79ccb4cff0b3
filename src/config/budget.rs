//! `budget` of a relay: how much of it is served.

use std::ops::RangeInclusive;

use super::fields::Fields;

/// What one relay may ask for; what is absent has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Requests admitted in any 60 seconds.
    pub requests_per_minute: Option<usize>,
    /// Input and output tokens, as the model reports them; a request is admitted while the day's sum is below.
    pub tokens_per_day: Option<u64>,
    /// Requests accepted and not answered yet, at the model or waiting.
    pub max_concurrent: Option<usize>,
}

/// Reads `budget`; absent means no bound.
pub(super) fn read(fields: &Fields<'_>) -> Option<Budget> {
    fields.or("budget", Budget::default(), |field| {
        let fields = field.clone().object(&KEYS)?;
        let requests = bound(&fields, "requests_per_minute", &REQUESTS_RANGE);
        let tokens = bound(&fields, "tokens_per_day", &TOKENS_RANGE);
        let concurrent = bound(&fields, "max_concurrent", &CONCURRENT_RANGE);
        let budget = Budget {
            requests_per_minute: size(requests?),
            tokens_per_day: tokens?,
            max_concurrent: size(concurrent?),
        };
        if budget == Budget::default() {
            return field.wrong("a budget of nothing", format!("one or more of {}", KEYS.join(", ")));
        }
        Some(budget)
    })
}

fn bound(fields: &Fields<'_>, key: &str, range: &RangeInclusive<u64>) -> Option<Option<u64>> {
    fields.or(key, None, |field| field.integer(range).map(Some))
}

fn size(bound: Option<u64>) -> Option<usize> {
    bound.and_then(|bound| usize::try_from(bound).ok())
}

const KEYS: [&str; 3] = ["requests_per_minute", "tokens_per_day", "max_concurrent"];

/// The instant of each admitted request of a minute is remembered: 1.6 MB at most.
const REQUESTS_RANGE: RangeInclusive<u64> = 1..=100_000;
/// What a configuration's numbers hold exactly is more; no model writes it in a day.
const TOKENS_RANGE: RangeInclusive<u64> = 1..=1_000_000_000_000;
/// Beyond, `max_in_flight` and `max_queued` rule.
const CONCURRENT_RANGE: RangeInclusive<u64> = 1..=1_000_000;
