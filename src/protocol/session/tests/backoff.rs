//! When the next attempt is made.

use super::harness::{Script, connected_v1, connected_v2};
use crate::status::snapshot::RelayState;

/// The delays before the next `n` attempts, which all fail.
fn failing(script: &mut Script, n: usize) -> Vec<u64> {
    (0..n)
        .map(|_| {
            script.dial_failed(None);
            delay(script)
        })
        .collect()
}

/// The announced delay; the next dial is seen to come then and not before.
fn delay(script: &mut Script) -> u64 {
    let seen = script.seen();
    let told = seen.iter().find_map(|line| line.split("retry in ").nth(1)).unwrap();
    let told: u64 = told.trim_end_matches(')').parse().unwrap();
    if seen.last().is_some_and(|line| line == "dial") {
        return told;
    }
    assert_eq!(script.session.state(), RelayState::BackingOff);
    script.due().expect(["dial"]);
    told
}

// PROTOCOL §2: a persistent connection
// PROTOCOL §2.5: the table of version 2
#[test]
fn attempts_follow_the_table_of_version_2() {
    let mut script = Script::new();
    script.listener_ready().skip();
    assert_eq!(failing(&mut script, 8), [0, 1, 2, 4, 8, 30, 30, 30]);
    assert_eq!(script.session.attempts(), 8);
}

// PROTOCOL 0.1.2 §2.5: the table of version 1
#[test]
fn attempts_follow_the_table_of_version_1_once_a_relay_said_so() {
    let mut script = connected_v1();
    script.broken();
    assert_eq!(delay(&mut script), 1);
    assert_eq!(failing(&mut script, 5), [2, 4, 8, 30, 30]);
}

// PROTOCOL 0.1.2 §2.5: the table of version 1
#[test]
fn a_client_of_version_1_only_starts_with_its_table() {
    let mut script = Script::with(|settings| settings.protocol = crate::config::ProtocolChoice::V1);
    script.listener_ready().skip();
    assert_eq!(failing(&mut script, 3), [1, 2, 4]);
}

// PROTOCOL §2.5: no dial before the delay is over
#[test]
fn nothing_is_dialled_before_the_delay_is_over() {
    let mut script = Script::new();
    script.listener_ready();
    failing(&mut script, 1);
    script.dial_failed(None).expect(["(dial_failed, retry in 1)"]);
    script.at_millis(999).deadline().expect([]);
    assert_eq!(script.deadline_at(), Some(1000));
    script.at_millis(1000).deadline().expect(["dial"]);
}

// PROTOCOL §2.5: a connection that stayed up long enough resets the schedule
#[test]
fn sixty_seconds_of_an_open_connection_reset_the_schedule() {
    for (up, first) in [(60, 0), (59, 4)] {
        let mut script = Script::new();
        script.listener_ready().skip();
        assert_eq!(failing(&mut script, 3), [0, 1, 2]);
        script.dialled().hello_v2().skip();
        let opened = 3;
        script.at(opened + up).broken();
        assert_eq!(delay(&mut script), first, "after {up} seconds");
    }
}

// PROTOCOL §2.5: the time that counts is that of a connection that is up, after the `connected` frame
#[test]
fn the_wait_for_the_connected_frame_does_not_count_as_up() {
    let mut script = Script::new();
    script
        .listener_ready()
        .dialled()
        .at(9)
        .hello_v2()
        .at(60)
        .skip()
        .broken();
    assert_eq!(delay(&mut script), 0);
    script.dialled().hello_v2().broken();
    assert_eq!(delay(&mut script), 1, "51 seconds did not reset");
}

// PROTOCOL §2.5: only a connection that stayed up resets
#[test]
fn a_relay_that_accepts_and_drops_at_once_is_not_hammered() {
    let mut script = connected_v2();
    let mut delays = Vec::new();
    for _ in 0..7 {
        script.broken();
        delays.push(delay(&mut script));
        script.dialled().hello_v2().skip();
    }
    assert_eq!(delays, [0, 1, 2, 4, 8, 30, 30]);
}

// PROTOCOL §2.5: 4003 comes after long enough, so the client reconnects at once
#[test]
fn a_rotation_is_followed_at_once_every_time() {
    let mut script = connected_v2();
    for hour in 1..5 {
        script
            .at(hour * 3600)
            .closed(4003)
            .expect(["(rotation, retry in 0)", "dial"]);
        script.dialled().hello_v2().skip();
    }
}

// PROTOCOL §3.1: the client treats 1012 like any other disconnect, and reconnects
#[test]
fn a_relay_restart_is_a_disconnect_like_any_other() {
    for (code, name) in [
        (1012, "relay_restart"),
        (1001, "relay_going_away"),
        (1011, "closed"),
        (4999, "closed"),
    ] {
        let mut script = connected_v2();
        script
            .closed(code)
            .expect([format!("({name}, retry in 0)").as_str(), "dial"]);
        script.dialled().hello_v2().closed(code).expect_done([]);
        assert_eq!(script.session.state(), RelayState::BackingOff);
    }
}

// PROTOCOL §3.1: on concurrent connections with the same key the relay closes the older one cleanly
#[test]
fn being_replaced_by_another_client_of_the_key_does_not_reset_the_schedule() {
    let mut script = connected_v2();
    let mut delays = Vec::new();
    for n in 1..7 {
        script.at(n * 100).closed(1000);
        delays.push(delay(&mut script));
        script.dialled().hello_v2().skip();
    }
    assert_eq!(delays, [0, 1, 2, 4, 8, 30]);
    assert_eq!(script.session.totals().replaced, 6);
}

#[test]
fn a_person_who_asks_need_not_wait() {
    let mut script = Script::new();
    script.listener_ready().skip();
    failing(&mut script, 6);
    script.dial_failed(None).skip();
    assert_eq!(script.session.state(), RelayState::BackingOff);
    script.reconnect_asked().expect(["dial"]);
    assert_eq!(script.session.attempts(), 0);
    assert_eq!(failing(&mut script, 2), [0, 1]);
}
