//! What a seed stands for.

use std::time::Duration;

use super::super::super::Settings;
use super::net::Millis;
use super::random::Random;
use crate::config::{Budget, Keepalive, ProtocolChoice};
use crate::protocol::Version;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) version: Version,
    pub(super) requests: u64,
    /// When faults end.
    pub(super) healed_at: Millis,
    /// Mean time between two faults.
    pub(super) fault_every: Millis,
    pub(super) relay_timeout: Millis,
    /// How often, of a hundred, the byte budget has no room.
    pub(super) tight: u64,
    /// Whether the relay sends requests again that it has no reason to send.
    pub(super) sloppy: bool,
    /// Whether the relay still reads what was sent before its close frame was seen.
    pub(super) reads_on: bool,
    /// When the client is asked to stop, and its grace.
    pub(super) drain: Option<(Millis, Millis)>,
}

impl Plan {
    pub(super) fn new(random: &mut Random) -> Self {
        let protocol = random.pick(&[
            ProtocolChoice::Auto,
            ProtocolChoice::Auto,
            ProtocolChoice::Auto,
            ProtocolChoice::V2,
            ProtocolChoice::V2,
            ProtocolChoice::V1,
        ]);
        let version = match protocol {
            ProtocolChoice::V1 => Version::V1,
            ProtocolChoice::Auto if random.chance(25) => Version::V1,
            ProtocolChoice::V2 | ProtocolChoice::Auto => Version::V2,
        };
        let relay_timeout = random.between(5_000, 90_000);
        // PROTOCOL §2.5: a timeout at least as long as the server's; some operators get it wrong
        let timeout = if random.chance(15) {
            random.between(1_000, relay_timeout)
        } else {
            relay_timeout + random.below(30_000)
        };
        let healed_at = random.between(20_000, 200_000);
        Self {
            settings: settings(random, protocol, timeout),
            version,
            requests: random.between(3, 40),
            healed_at,
            fault_every: random.pick(&[500, 3_000, 10_000, 40_000]),
            relay_timeout,
            tight: random.pick(&[0, 0, 10]),
            sloppy: random.chance(15),
            reads_on: random.chance(50),
            drain: random
                .chance(25)
                .then(|| (random.between(1_000, healed_at + 60_000), random.below(15_000))),
        }
    }

    pub(super) fn timeout(&self) -> Millis {
        self.settings.request_timeout.as_millis() as Millis
    }

    /// Whether a version 2 relay's request cannot be given up before its caller is.
    pub(super) fn patient(&self) -> bool {
        self.timeout() >= self.relay_timeout
    }
}

fn settings(random: &mut Random, protocol: ProtocolChoice, timeout: Millis) -> Settings {
    Settings {
        protocol,
        keepalive: Keepalive {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        },
        request_timeout: Duration::from_millis(timeout),
        max_in_flight: random.between(1, 12) as usize,
        max_queued: random.pick(&[0, 2, 8, 100]),
        paths: vec!["/v1/chat/completions".into(), "/v1/responses".into()],
        // enough for those that are asked once everything is well again
        budget: Budget {
            requests_per_minute: random.pick(&[None, None, Some(4), Some(7)]),
            tokens_per_day: None,
            max_concurrent: random.pick(&[None, None, Some(4)]),
        },
        schedule: None,
    }
}
