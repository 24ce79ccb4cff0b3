//! What runs come by, so that many runs can be seen to come by everything.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Figures(BTreeMap<&'static str, u64>);

impl Figures {
    pub(super) fn add(&mut self, name: &'static str, n: u64) {
        *self.0.entry(name).or_default() += n;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (name, n) in &other.0 {
            self.add(name, *n);
        }
    }

    /// Runs are worth something only if they come by everything.
    pub(super) fn assert_reached(&self, runs: u64) {
        for name in EVERYTHING {
            let n = self.0.get(name).copied().unwrap_or_default();
            assert!(n >= runs / 100, "{name}: {n} in {runs} runs, {self:#?}");
        }
        assert_eq!(self.0.len(), EVERYTHING.len(), "{self:#?}");
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const EVERYTHING: [&str; 22] = [
    "steps",
    "cuts",
    "frames lost",
    "relay restarts",
    "callers answered",
    "callers told 503 by the relay",
    "callers told 504",
    "callers whose relay was down",
    "connections",
    "stale connections",
    "replaced",
    "stopped",
    "forwarded",
    "requests repeated",
    "refused",
    "pauses",
    "refused while paused",
    "refused over budget",
    "faulted",
    "timed out",
    "responses resent",
    "responses expired",
];
