//! Reads typed values from the environment, and keeps what was wrong.
#![deny(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::time::Duration;

use super::environment::Environment;
use super::settings::{Mistake, Signal};

pub(super) struct Variables<'a> {
    environment: &'a Environment,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            mistakes: RefCell::default(),
        }
    }

    /// Each once: a variable for all signals is read for each.
    pub(super) fn mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.dedup();
        let mut seen = Vec::new();
        mistakes.retain(|mistake| {
            let new = !seen.contains(mistake);
            seen.push(mistake.clone());
            new
        });
        mistakes
    }

    pub(super) fn wrong(&self, name: &str, allowed: impl Into<String>) {
        let value = self.environment.get(name).unwrap_or_default();
        self.mistakes.borrow_mut().push(Mistake::new(name, value, allowed));
    }

    /// As [`Variables::wrong`], without the value.
    pub(super) fn wrong_secret(&self, name: &str, allowed: impl Into<String>) {
        let mut mistake = Mistake::new(name, "", allowed);
        mistake.value = None;
        self.mistakes.borrow_mut().push(mistake);
    }

    /// The signal's own exporter variable if it is set, else the one for all signals, with its name.
    pub(super) fn of(&self, signal: Signal, key: &str) -> Option<(String, &'a str)> {
        let names = [signal.variable(key), format!("OTEL_EXPORTER_OTLP_{key}")];
        names
            .into_iter()
            .find_map(|name| self.environment.get(&name).map(|value| (name, value)))
    }

    /// The name of the variable that counts, see [`Variables::of`].
    pub(super) fn name_of(&self, signal: Signal, key: &str) -> String {
        self.of(signal, key)
            .map_or_else(|| signal.variable(key), |(name, _)| name)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.word(name, &[("true", true), ("false", false)], false)
    }

    pub(super) fn list(&self, name: &str) -> Vec<&'a str> {
        let words = self.environment.get(name).unwrap_or_default().split(',');
        words.map(str::trim).filter(|word| !word.is_empty()).collect()
    }

    /// One of `words`, whatever the case of its letters.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)], default: T) -> T {
        let Some(text) = self.environment.get(name) else {
            return default;
        };
        match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            Some((_, value)) => *value,
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(name, words.join(", "));
                default
            }
        }
    }

    pub(super) fn milliseconds(&self, name: &str, default: Duration) -> Duration {
        let allowed = format!("milliseconds, 1 to {}", MAX_DURATION.as_millis());
        let read = |text: &str| text.parse().ok().map(Duration::from_millis);
        self.parsed(name, default, &allowed, |text| {
            read(text).filter(|time| !time.is_zero() && *time <= MAX_DURATION)
        })
    }

    pub(super) fn count(&self, name: &str, default: usize) -> usize {
        let allowed = format!("a number, 1 to {MAX_COUNT}");
        self.parsed(name, default, &allowed, |text| {
            text.parse().ok().filter(|count| (1..=MAX_COUNT).contains(count))
        })
    }

    pub(super) fn ratio(&self, name: &str, default: f64) -> f64 {
        self.parsed(name, default, "a number, 0 to 1", |text| {
            text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
        })
    }

    fn parsed<T>(&self, name: &str, default: T, allowed: &str, read: impl FnOnce(&str) -> Option<T>) -> T {
        let Some(text) = self.environment.get(name) else {
            return default;
        };
        read(text).unwrap_or_else(|| {
            self.wrong(name, allowed);
            default
        })
    }
}

const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);
/// Spans and events that wait in memory: some hundred megabytes at most.
const MAX_COUNT: usize = 100_000;
