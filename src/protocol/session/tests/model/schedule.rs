//! The reconnect schedule by the tables of `PROTOCOL §2.5` and `PROTOCOL 0.1.2 §2.5`.

use super::net::Millis;
use crate::config::ProtocolChoice;
use crate::protocol::Version;

pub(super) struct Schedule {
    attempts: usize,
    /// Of the current or last connection.
    version: Version,
    opened: Option<Millis>,
    draining: bool,
    due: Option<Millis>,
}

impl Schedule {
    pub(super) fn new(protocol: ProtocolChoice) -> Self {
        let version = match protocol {
            ProtocolChoice::V1 => Version::V1,
            ProtocolChoice::V2 | ProtocolChoice::Auto => Version::V2,
        };
        Self {
            attempts: 0,
            version,
            opened: None,
            draining: false,
            due: None,
        }
    }

    pub(super) fn connected(&mut self, now: Millis, version: Version) {
        (self.version, self.opened) = (version, Some(now));
    }

    pub(super) fn disconnected(&mut self, now: Millis, replaced: bool, retry_in: Millis) {
        // PROTOCOL §2.5: a connection that stayed up long enough resets the schedule; one that was replaced does not
        if self.opened.take().is_some_and(|since| now - since >= 60_000) && !replaced {
            self.attempts = 0;
        }
        let table: &[Millis] = match self.version {
            Version::V1 => &[1, 2, 4, 8],
            Version::V2 => &[0, 1, 2, 4, 8],
        };
        let mut delay = 1000 * table.get(self.attempts).copied().unwrap_or(30);
        if self.draining {
            delay = delay.min(1000);
        }
        assert_eq!(retry_in, delay, "after {} attempts", self.attempts);
        self.attempts += 1;
        self.due = Some(now + delay);
    }

    pub(super) fn dialled(&mut self, now: Millis) {
        if let Some(due) = self.due.take() {
            assert_eq!(now, due, "not when the schedule says");
        }
        self.opened = None;
    }

    /// A person acted: no wait, and the first row is next.
    pub(super) fn wake(&mut self, waiting: bool) {
        if waiting {
            (self.attempts, self.due) = (0, None);
        }
    }

    /// What is held may still be delivered, so a wait may be cut short.
    pub(super) fn drain(&mut self) {
        (self.draining, self.due) = (true, None);
    }
}
