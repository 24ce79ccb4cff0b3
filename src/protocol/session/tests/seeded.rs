//! Inputs in any order, sensible or not: nothing panics, nothing is forwarded twice, nothing leaks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::Input;
use super::harness::{Script, request};
use crate::status::snapshot::RelayState;

const SEEDS: u64 = 200;
const STEPS: usize = 400;
const MAX_IN_FLIGHT: usize = 3;

/// SplitMix64: enough to shuffle, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn id(&mut self) -> String {
        self.below(40).to_string()
    }
}

fn script() -> Script {
    Script::with(|settings| {
        settings.max_in_flight = MAX_IN_FLIGHT;
        settings.max_queued = 4;
        settings.request_timeout = Duration::from_secs(120);
    })
}

fn step(script: &mut Script, random: &mut Random, clock: &mut u64) {
    if random.below(3) == 0 {
        *clock += random.below(20_000);
        script.at_millis(*clock);
    }
    match random.below(100) {
        0..10 => script.listener_ready(),
        10..20 => script.dialled(),
        20..30 => script.hello_v2(),
        30 => script.hello_v1(),
        31..51 => script.request(&random.id()),
        51..53 => script.request_without_room(&random.id()),
        53 => script.text(r#"{"type":"request","request_id":"bad","payload":{"path":"/"}}"#),
        54..64 => script.ack(&random.id()),
        64..74 => script.answer(&random.id()),
        74..79 => script.ping_written(),
        79..84 => script.pong(1 + random.below(3)),
        84 => script.broken(),
        85 => script.closed([1000, 1001, 1009, 4001, 4002, 4003][random.below(6) as usize]),
        86 => script.dial_failed([None, Some(401), Some(503)][random.below(3) as usize]),
        87 => script.input(Input::TooLarge),
        88 => script.input(Input::NotUtf8),
        89..91 => script.reconnect_asked(),
        91 => {
            script.settings.request_timeout = Duration::from_secs(1 + random.below(120));
            script.settings_changed(random.below(2) == 0)
        }
        92 if random.below(8) == 0 => script.drain(random.below(10)),
        _ => script.deadline(),
    };
}

/// Runs one seed to the end of a drain; returns everything that was done.
fn run(seed: u64) -> Vec<String> {
    let (mut script, mut random, mut clock) = (script(), Random(seed), 0);
    let (mut all, mut forwarded) = (Vec::new(), BTreeSet::new());
    for _ in 0..STEPS {
        step(&mut script, &mut random, &mut clock);
        let seen = script.seen();
        for id in seen.iter().filter_map(|line| line.strip_prefix("forward ")) {
            assert!(forwarded.insert(id.to_owned()), "seed {seed}: {id} was forwarded twice");
        }
        let requests = script.session.requests();
        assert!(requests.forwarding() <= MAX_IN_FLIGHT, "seed {seed}");
        assert!(requests.queued() <= 4, "seed {seed}");
        assert_eq!(
            script.at_adapter().len(),
            requests.forwarding(),
            "seed {seed}: what is at the adapter"
        );
        let shares = requests.forwarding() + requests.queued() + requests.held() - requests.held_refusals();
        assert_eq!(script.holds(), shares, "seed {seed}: shares of the byte budget");
        all.extend(seen);
    }
    script.drain(8).pass_until(clock / 1000 + 20);
    assert_eq!(script.session.state(), RelayState::Drained, "seed {seed}");
    assert_eq!((script.holds(), script.deadline_at()), (0, None), "seed {seed}");
    all.extend(script.seen());
    assert_eq!(all.iter().filter(|line| *line == "finish").count(), 1, "seed {seed}");
    assert_eq!(all.last().map(String::as_str), Some("finish"), "seed {seed}");
    all
}

// PROTOCOL §2.5: the client must never forward the same request to the adapter twice
#[test]
fn whatever_happens_in_whatever_order_nothing_is_forwarded_twice_and_nothing_leaks() {
    let mut lines = BTreeSet::new();
    for seed in 0..SEEDS {
        lines.extend(
            run(seed)
                .into_iter()
                .map(|line| line.split(' ').next().unwrap_or_default().to_owned()),
        );
    }
    // the runs are worth something only if they reach everything
    for word in [
        "dial", "ack", "response", "forward", "cancel", "ping", "close", "abort", "finish", "(expired", "(timed",
        "(stopped",
    ] {
        assert!(lines.contains(word), "no run did {word}");
    }
}

#[test]
fn the_same_inputs_at_the_same_times_give_the_same_actions() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}

// PROTOCOL §2.5: keeps each response until the server acks it: nothing acknowledged is lost
#[test]
fn over_connections_that_keep_breaking_every_request_is_answered_exactly_as_often_as_needed() {
    for seed in 0..SEEDS {
        let (mut script, mut random) = (script(), Random(seed));
        script.settings.max_queued = 100;
        script
            .settings_changed(false)
            .listener_ready()
            .dialled()
            .hello_v2()
            .skip();
        let mut unacknowledged: BTreeSet<String> = BTreeSet::new();
        let mut received: BTreeSet<String> = BTreeSet::new();
        let (mut unsent, mut clock) = ((0..30).map(|n| n.to_string()).collect::<Vec<_>>(), 0);
        for _ in 0..2_000 {
            clock += random.below(40);
            script.at_millis(clock);
            play_relay(
                &mut script,
                &mut random,
                &mut unsent,
                &mut unacknowledged,
                &mut received,
            );
            if received.len() == 30 && script.session.requests().is_empty() {
                break;
            }
        }
        assert_eq!(received.len(), 30, "seed {seed}: {unacknowledged:?}");
        assert_eq!(script.holds(), 0, "seed {seed}");
        assert_eq!(script.session.totals().requests, 30, "seed {seed}");
    }
}

/// One step of a relay as PROTOCOL §2.5 and §3.1 want it, over a link that loses what was sent just before it breaks.
fn play_relay(
    script: &mut Script,
    random: &mut Random,
    unsent: &mut Vec<String>,
    unacknowledged: &mut BTreeSet<String>,
    received: &mut BTreeSet<String>,
) {
    match random.below(10) {
        0..4 => {
            if let Some(id) = unsent.pop() {
                unacknowledged.insert(id.clone());
                script.text(&request(&id));
            }
        }
        4..8 => {
            if let Some(id) = script.at_adapter().first().cloned() {
                script.answer(&id);
            }
        }
        8 => {}
        _ => {
            script.broken();
            if random.below(2) == 0 {
                // what was sent last never arrived
                script.skip();
            }
            while script.session.state() == RelayState::BackingOff {
                script.settings_changed(false);
            }
            script.dialled().hello_v2();
            for id in unacknowledged.clone() {
                script.text(&request(&id));
            }
        }
    }
    for line in script.seen() {
        if let Some(id) = line.strip_prefix("ack ") {
            unacknowledged.remove(id);
        }
        if let Some(id) = line
            .strip_prefix("response ")
            .and_then(|line| line.strip_suffix(" 200"))
        {
            unacknowledged.remove(id);
            received.insert(id.to_owned());
            if random.below(4) > 0 {
                script.ack(id);
            }
        }
    }
}
