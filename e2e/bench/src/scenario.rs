//! What is measured.

use std::time::Duration;

use crate::load::{Load, Pace};
use crate::systems::{ALL, System};
use crate::usage::Meter;

/// A load and on whom it is put.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// As the command line and the results call it.
    pub id: &'static str,
    /// As the report calls it.
    pub title: &'static str,
    /// The load.
    pub load: Load,
    /// On whom.
    pub systems: &'static [System],
    /// How often in one repetition: more often where the difference is small.
    pub rounds: u32,
}

/// Everything, with windows of `window`.
pub fn all(window: Duration) -> Vec<Scenario> {
    let load = |pace, request_bytes, answer_bytes, delay_ms| Load {
        pace,
        request_bytes,
        answer_bytes,
        delay_ms,
        warm_up: window / 4,
        window,
        meter: Meter::default(),
    };
    let small = |pace| load(pace, KIB, KIB, 0);
    let long = |load: Load| Load {
        window: window * 2,
        ..load
    };
    let burst = |load: Load| Load {
        warm_up: Duration::ZERO,
        ..load
    };
    let scenario = |id, title, load, systems| Scenario {
        id,
        title,
        load,
        systems,
        rounds: 1,
    };
    let tap = |id, title, load| Scenario {
        rounds: TAP_ROUNDS,
        ..scenario(id, title, load, TAP)
    };
    vec![
        scenario("closed_1", "1 KiB, 1 in flight", small(Pace::Closed(1)), &ALL),
        scenario("closed_16", "1 KiB, 16 in flight", small(Pace::Closed(16)), &ALL),
        scenario("closed_64", "1 KiB, 64 in flight", small(Pace::Closed(64)), &ALL),
        scenario("closed_256", "1 KiB, 256 in flight", small(Pace::Closed(256)), &ALL),
        scenario("open_200", "1 KiB, 200 requests/s", long(small(Pace::Open(200))), &ALL),
        scenario(
            "slow_256",
            "1 KiB, 256 in flight, model takes 100 ms",
            long(load(Pace::Closed(256), KIB, KIB, 100)),
            &ALL,
        ),
        scenario(
            "answers_256k",
            "256 KiB answers, 16 in flight",
            load(Pace::Closed(16), KIB, 256 * KIB, 0),
            &ALL,
        ),
        scenario(
            "requests_256k",
            "256 KiB requests, 16 in flight",
            load(Pace::Closed(16), 256 * KIB, KIB, 0),
            &ALL,
        ),
        scenario(
            "answers_4m",
            "4 MiB answers, 8 in flight",
            load(Pace::Closed(8), KIB, 4096 * KIB, 0),
            &ALL,
        ),
        scenario("closed_100", "1 KiB, 100 outstanding", small(Pace::Closed(100)), DEEP),
        scenario(
            "closed_1000",
            "1 KiB, 1,000 outstanding",
            small(Pace::Closed(1_000)),
            DEEP,
        ),
        scenario(
            "closed_10000",
            "1 KiB, 10,000 outstanding",
            small(Pace::Closed(10_000)),
            DEEP,
        ),
        scenario(
            "burst_10000",
            "1 KiB, 10,000 requests at once",
            burst(small(Pace::Burst(10_000))),
            &[System::Module],
        ),
        tap(
            "tap_1k",
            "1 KiB, 64 in flight, usage read or not",
            small(Pace::Closed(64)),
        ),
        tap(
            "tap_256k",
            "256 KiB answers, 16 in flight, usage read or not",
            load(Pace::Closed(16), KIB, 256 * KIB, 0),
        ),
    ]
}

/// One request, for the time to the first answer.
pub fn one() -> Load {
    Load {
        pace: Pace::Burst(1),
        request_bytes: KIB,
        answer_bytes: KIB,
        delay_ms: 0,
        warm_up: Duration::ZERO,
        window: Duration::ZERO,
        meter: Meter::default(),
    }
}

const TAP: &[System] = &[System::Tapped, System::Untapped];

const TAP_ROUNDS: u32 = 5;

const DEEP: &[System] = &[System::Module, System::BareEnvoy];

const KIB: usize = 1024;
