//! What happened in each of the last intervals: the figures of the status, looked at now and then.
//!
//! Sampled by the status server beside its other work, so that the plots begin before somebody looks and requests pay
//! nothing for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::view::Rates;
use crate::status::snapshot::{ProcessSnapshot, RelaySnapshot};

/// The last five minutes.
#[derive(Debug, Default)]
pub struct History(Mutex<BTreeMap<String, Relay>>);

#[derive(Debug, Default)]
struct Relay {
    last: Sums,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    answers: u64,
    faults: u64,
    tokens: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    during: Sums,
    in_flight: u64,
}

impl History {
    /// Takes the figures at the end of an interval. A relay that is gone is forgotten.
    pub fn sample(&self, status: &ProcessSnapshot) {
        let mut relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        relays.retain(|name, _| status.relays.iter().any(|relay| relay.name == *name));
        for same_name in status.relays.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = same_name.first() else { continue };
            let sums = same_name.iter().map(Sums::of).fold(Sums::default(), Sums::plus);
            let in_flight = same_name.iter().map(|relay| relay.in_flight + relay.queued).sum();
            match relays.get_mut(&first.name) {
                Some(relay) => relay.add(sums, in_flight),
                // what was before is no rate
                None => drop(relays.insert(
                    first.name.clone(),
                    Relay {
                        last: sums,
                        ..Relay::default()
                    },
                )),
            }
        }
    }

    /// By relay.
    #[must_use]
    pub fn rates(&self) -> BTreeMap<String, Rates> {
        let relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        relays
            .iter()
            .map(|(name, relay)| (name.clone(), relay.rates()))
            .collect()
    }
}

impl Relay {
    fn add(&mut self, sums: Sums, in_flight: u64) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        let during = sums.minus(self.last);
        self.last = sums;
        self.samples.push_back(Sample { during, in_flight });
    }

    fn rates(&self) -> Rates {
        let all = |figure: fn(&Sample) -> u64| self.samples.iter().map(figure).collect();
        Rates {
            answers: all(|sample| sample.during.answers),
            faults: all(|sample| sample.during.faults),
            tokens: all(|sample| sample.during.tokens),
            in_flight: all(|sample| sample.in_flight),
        }
    }
}

impl Sums {
    fn of(relay: &RelaySnapshot) -> Self {
        let totals = &relay.totals;
        Self {
            answers: totals.responses.values().sum(),
            faults: totals.faults.values().sum(),
            tokens: totals.input_tokens.saturating_add(totals.output_tokens),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            answers: self.answers.saturating_add(other.answers),
            faults: self.faults.saturating_add(other.faults),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// A client that began anew counts from zero.
    fn minus(self, earlier: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(earlier.answers),
            faults: self.faults.saturating_sub(earlier.faults),
            tokens: self.tokens.saturating_sub(earlier.tokens),
        }
    }
}

/// Between two samples.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// Five minutes of them.
const SAMPLES: usize = 150;

#[cfg(test)]
mod tests {
    use super::*;

    fn status(relays: &[(&str, u64, u64)]) -> ProcessSnapshot {
        let relay = |(name, answers, in_flight): &(&str, u64, u64)| {
            let mut relay = RelaySnapshot {
                name: (*name).to_owned(),
                in_flight: *in_flight,
                ..RelaySnapshot::default()
            };
            relay.totals.responses.insert(200, *answers);
            relay.totals.input_tokens = answers * 10;
            relay
        };
        ProcessSnapshot {
            relays: relays.iter().map(relay).collect(),
            ..ProcessSnapshot::default()
        }
    }

    #[test]
    fn each_interval_has_what_happened_in_it() {
        let history = History::default();
        for (eu, us) in [(100, 0), (103, 1), (103, 1), (110, 5)] {
            history.sample(&status(&[("eu", eu, 2), ("us", us, 0)]));
        }
        let rates = history.rates();
        assert_eq!(rates["eu"].answers, [3, 0, 7]);
        assert_eq!(rates["eu"].tokens, [30, 0, 70]);
        assert_eq!(rates["eu"].in_flight, [2, 2, 2]);
        assert_eq!(rates["us"].answers, [1, 0, 4]);
    }

    #[test]
    fn it_is_bounded_and_forgets_relays_that_are_gone() {
        let history = History::default();
        for n in 0..1000 {
            history.sample(&status(&[("eu", n, 0), ("us", 0, 0)]));
        }
        assert_eq!(history.rates()["eu"].answers, [1; SAMPLES]);
        // begun anew
        history.sample(&status(&[("eu", 0, 0)]));
        let rates = history.rates();
        assert_eq!(rates.keys().collect::<Vec<_>>(), ["eu"]);
        assert_eq!(rates["eu"].answers.last(), Some(&0));
    }
}
