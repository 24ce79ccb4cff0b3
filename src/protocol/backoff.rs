//! The reconnect schedule.

use std::time::Duration;

use super::connection::Version;

/// How many attempts were made since the schedule was last reset.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The delay before the next attempt; each call moves one step down the table.
    ///
    /// The tables are exact: the text gives no room for jitter.
    pub fn next_delay(&mut self, version: Version) -> Duration {
        let table = match version {
            // PROTOCOL §2.5: 0, 1, 2, 4, 8, then 30 s
            Version::V2 => DELAYS_V2,
            // PROTOCOL 0.1.2 §2.5: 1, 2, 4, 8, then 30 s
            Version::V1 => DELAYS_V1,
        };
        let step = usize::try_from(self.attempts).unwrap_or(usize::MAX);
        self.attempts = self.attempts.saturating_add(1);
        Duration::from_secs(table.get(step).copied().unwrap_or(LONGEST_DELAY))
    }

    /// Starts the schedule again from its first row.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Attempts since the last reset.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

const DELAYS_V2: &[u64] = &[0, 1, 2, 4, 8];
const DELAYS_V1: &[u64] = &[1, 2, 4, 8];
const LONGEST_DELAY: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(version: Version, n: usize) -> Vec<u64> {
        let mut backoff = Backoff::default();
        (0..n).map(|_| backoff.next_delay(version).as_secs()).collect()
    }

    // PROTOCOL §2.5: the table of version 2
    #[test]
    fn version_2_waits_as_its_table_says() {
        assert_eq!(delays(Version::V2, 8), [0, 1, 2, 4, 8, 30, 30, 30]);
    }

    // PROTOCOL 0.1.2 §2.5: the table of version 1
    #[test]
    fn version_1_waits_as_its_table_says() {
        assert_eq!(delays(Version::V1, 7), [1, 2, 4, 8, 30, 30, 30]);
    }

    #[test]
    fn a_reset_starts_at_the_first_row() {
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            backoff.next_delay(Version::V2);
        }
        backoff.reset();
        assert_eq!(backoff.next_delay(Version::V2), Duration::ZERO);
        assert_eq!(backoff.attempts(), 1);
    }
}
