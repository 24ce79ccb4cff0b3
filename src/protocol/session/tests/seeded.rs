//! Inputs in any order, sensible or not: nothing panics, nothing is forwarded twice, nothing leaks. What a relay and a
//! network can really do is `model`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::Input;
use super::harness::Script;
use super::model::random::Random;
use crate::status::snapshot::RelayState;

const SEEDS: u64 = 200;
const STEPS: usize = 400;
const MAX_IN_FLIGHT: usize = 3;

fn any_id(random: &mut Random) -> String {
    random.below(40).to_string()
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
        31..51 => script.request(&any_id(random)),
        51..53 => script.request_without_room(&any_id(random)),
        53 => script.text(r#"{"type":"request","request_id":"bad","payload":{"path":"/"}}"#),
        54..64 => script.ack(&any_id(random)),
        64..74 => script.answer(&any_id(random)),
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
    let (mut script, mut random, mut clock) = (script(), Random::new(seed), 0);
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
