//! One WebSocket's life: the `connected` frame, then pings and pongs until it ends.

use std::time::{Duration, Instant};

use super::limits::{HELLO_TIMEOUT, PING_WRITE_TIMEOUT, STABLE_AFTER};
use crate::config::Keepalive;

/// A protocol version that this client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `PROTOCOL.md` 0.1.2: no acks, nothing kept for a reconnect.
    V1,
    /// `PROTOCOL.md` 0.5.0.
    V2,
}

impl Version {
    /// The number in the `connected` frame and the handshake's header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// The version that a `connected` frame names (`PROTOCOL §2.1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// None: version 1.
    V1,
    /// `"protocol": 2`.
    V2,
    /// Something else, as written.
    Other(String),
}

/// A close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The close code; 1005 when the frame had none.
    pub code: u16,
    /// The reason, for logs.
    pub reason: String,
}

/// One WebSocket, from its handshake to its end.
#[derive(Debug)]
pub struct Connection {
    keepalive: Keepalive,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The handshake is done; the `connected` frame is awaited.
    Hello { deadline: Instant },
    /// Frames flow.
    Open {
        since: Instant,
        version: Version,
        ping: Ping,
    },
}

#[derive(Debug)]
struct Ping {
    /// The payload of the last ping.
    number: u64,
    stage: PingStage,
}

#[derive(Debug)]
enum PingStage {
    Due(Instant),
    /// Handed to the socket, behind what was queued before it.
    BeingWritten {
        deadline: Instant,
        next: Instant,
    },
    Awaited {
        deadline: Instant,
        next: Instant,
    },
}

/// What a passed deadline asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Send a ping with this payload.
    Ping(u64),
    /// The `connected` frame did not come in time.
    NoHello,
    /// The pong did not come in time (`PROTOCOL §2.4`).
    NoPong,
}

impl Connection {
    /// A connection whose handshake has just succeeded.
    #[must_use]
    pub fn new(now: Instant, keepalive: Keepalive) -> Self {
        Self {
            keepalive,
            phase: Phase::Hello {
                deadline: now + HELLO_TIMEOUT,
            },
        }
    }

    /// The `connected` frame arrived.
    pub fn open(&mut self, now: Instant, version: Version) {
        let stage = PingStage::Due(now + self.keepalive.interval);
        self.phase = Phase::Open {
            since: now,
            version,
            ping: Ping { number: 0, stage },
        };
    }

    /// The version, once the `connected` frame has arrived.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self.phase {
            Phase::Hello { .. } => None,
            Phase::Open { version, .. } => Some(version),
        }
    }

    /// Whether it was open long enough to reset the backoff (`PROTOCOL §2.5`).
    #[must_use]
    pub fn was_stable(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Hello { .. } => false,
            Phase::Open { since, .. } => now.saturating_duration_since(since) >= STABLE_AFTER,
        }
    }

    /// The ping was written to the socket: the pong's time starts now, however long the frames before it took.
    pub fn on_ping_written(&mut self, now: Instant) {
        let timeout = self.keepalive.timeout;
        if let Phase::Open { ping, .. } = &mut self.phase
            && let PingStage::BeingWritten { next, .. } = ping.stage
        {
            // PROTOCOL §2.4: 10 seconds for the pong
            ping.stage = PingStage::Awaited {
                deadline: now + timeout,
                next,
            };
        }
    }

    /// A pong arrived; one that answers no ping of ours is ignored (RFC 6455 §5.5.3).
    pub fn on_pong(&mut self, number: Option<u64>) {
        if let Phase::Open { ping, .. } = &mut self.phase
            && number == Some(ping.number)
            && let PingStage::Awaited { next, .. } | PingStage::BeingWritten { next, .. } = ping.stage
        {
            ping.stage = PingStage::Due(next);
        }
    }

    /// What is due at `now`.
    pub fn on_deadline(&mut self, now: Instant) -> Due {
        let interval = self.keepalive.interval;
        match &mut self.phase {
            Phase::Hello { deadline } if *deadline <= now => Due::NoHello,
            Phase::Hello { .. } => Due::Nothing,
            Phase::Open { ping, .. } => ping.on_deadline(now, interval),
        }
    }

    /// When something is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Hello { deadline } => Some(*deadline),
            Phase::Open { ping, .. } => match ping.stage {
                PingStage::Due(at) => Some(at),
                PingStage::BeingWritten { deadline, .. } | PingStage::Awaited { deadline, .. } => Some(deadline),
            },
        }
    }
}

impl Ping {
    fn on_deadline(&mut self, now: Instant, interval: Duration) -> Due {
        match self.stage {
            // PROTOCOL §2.4: a ping every 30 seconds
            PingStage::Due(at) if at <= now => {
                self.number = self.number.wrapping_add(1);
                self.stage = PingStage::BeingWritten {
                    deadline: now + PING_WRITE_TIMEOUT,
                    next: now + interval,
                };
                Due::Ping(self.number)
            }
            PingStage::BeingWritten { deadline, .. } | PingStage::Awaited { deadline, .. } if deadline <= now => {
                Due::NoPong
            }
            PingStage::Due(_) | PingStage::BeingWritten { .. } | PingStage::Awaited { .. } => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Keepalive = Keepalive {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
    };

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    // PROTOCOL §2.5: a connection that stayed up long enough
    #[test]
    fn a_connection_is_stable_sixty_seconds_after_its_connected_frame() {
        let start = start();
        let mut connection = Connection::new(start, KEEPALIVE);
        assert!(!connection.was_stable(after(start, 1000)), "it was never open");
        connection.open(after(start, 5), Version::V2);
        assert!(!connection.was_stable(after(start, 64)));
        assert!(connection.was_stable(after(start, 65)));
        assert!(!connection.was_stable(start), "a clock that went back is no uptime");
    }

    // PROTOCOL §2.4: a ping every 30 seconds, one at a time
    #[test]
    fn a_ping_that_took_long_is_followed_at_once_by_a_single_one() {
        let start = start();
        let mut connection = Connection::new(start, KEEPALIVE);
        connection.open(start, Version::V1);
        assert_eq!(connection.on_deadline(after(start, 30)), Due::Ping(1));
        assert_eq!(connection.on_deadline(after(start, 100)), Due::Nothing);
        connection.on_ping_written(after(start, 110));
        connection.on_pong(Some(1));
        assert_eq!(connection.on_deadline(after(start, 111)), Due::Ping(2));
        assert_eq!(connection.on_deadline(after(start, 111)), Due::Nothing);
    }

    #[test]
    fn a_ping_written_twice_does_not_lengthen_the_pongs_time() {
        let start = start();
        let mut connection = Connection::new(start, KEEPALIVE);
        connection.open(start, Version::V2);
        connection.on_ping_written(start);
        assert_eq!(connection.deadline(), Some(after(start, 30)));
        connection.on_deadline(after(start, 30));
        connection.on_ping_written(after(start, 31));
        connection.on_ping_written(after(start, 39));
        assert_eq!(connection.on_deadline(after(start, 41)), Due::NoPong);
    }
}
