//! What is not tried again until a person acts.

use super::super::Input;
use super::harness::{Script, connected_v2};
use crate::status::snapshot::RelayState;

fn assert_stopped(script: &mut Script) {
    assert_eq!(script.session.state(), RelayState::Stopped);
    assert_eq!(script.deadline_at(), None);
    script
        .listener_ready()
        .dialled()
        .hello_v2()
        .broken()
        .ping_written()
        .pass_until(1_000_000);
    script.expect([]);
}

// PROTOCOL §2.1, §2.5: the handshake failing with 401 or 403 is an authentication failure
#[test]
fn a_handshake_refused_with_401_or_403_stops() {
    for status in [401, 403] {
        let mut script = Script::new();
        script.listener_ready().dial_failed(Some(status));
        script.expect(["dial", "(stopped authentication_failed)"]);
        assert_stopped(&mut script);
    }
}

// PROTOCOL §2.5: reconnects on any disconnect except those it can't recover from by retrying
#[test]
fn a_handshake_refused_otherwise_is_tried_again() {
    for status in [
        None,
        Some(400),
        Some(404),
        Some(407),
        Some(429),
        Some(500),
        Some(502),
        Some(503),
    ] {
        let mut script = Script::new();
        script.listener_ready().dial_failed(status);
        script.expect(["dial", "(dial_failed, retry in 0)", "dial"]);
    }
}

// PROTOCOL §2.1: 4001 and 4002 are not retried without user intervention; §2.5: nor is 1009
#[test]
fn closes_that_cannot_be_recovered_from_stop() {
    for (code, reason) in [
        (4001, "(stopped authentication_failed)"),
        (4002, "(stopped unsupported_version)"),
        (1009, "(stopped frame_too_large)"),
    ] {
        let mut script = connected_v2();
        script.closed(code).expect([reason]);
        assert_stopped(&mut script);
        let mut before_hello = Script::new();
        before_hello
            .listener_ready()
            .dialled()
            .skip()
            .closed(code)
            .expect([reason]);
        assert_stopped(&mut before_hello);
    }
}

// PROTOCOL §2.2: a larger frame makes the receiver close the connection (1009); §2.5: on it the client stops
#[test]
fn a_frame_above_the_limit_closes_with_1009_and_stops() {
    let mut script = connected_v2();
    script.input(Input::TooLarge).expect(["close 1009"]);
    script.request("a").expect([]);
    script.closed(1009).expect(["(stopped frame_too_large)"]);
    assert_stopped(&mut script);
}

// PROTOCOL §2.5: and stops, whether or not the relay answers the close
#[test]
fn a_relay_that_does_not_answer_our_close_is_cut_off_and_the_client_stops() {
    let mut script = connected_v2();
    script.input(Input::TooLarge).skip();
    assert_eq!(script.deadline_at(), Some(1_000));
    script.at(1).deadline().expect(["abort", "(stopped frame_too_large)"]);
    assert_stopped(&mut script);
}

// PROTOCOL §2.1: a person's intervention
#[test]
fn a_stopped_client_dials_again_when_a_person_asks_or_the_settings_change() {
    for wake in [
        Script::reconnect_asked as fn(&mut Script) -> &mut Script,
        |script| script.settings_changed(true),
        |script| script.settings_changed(false),
    ] {
        let mut script = connected_v2();
        script.closed(4001).skip();
        wake(&mut script).expect(["dial"]);
        // the schedule starts at its first row
        script.dial_failed(None).expect(["(dial_failed, retry in 0)", "dial"]);
    }
}

// PROTOCOL §2.1: user intervention, which must not be missed because our close frame is still on its way
#[test]
fn a_person_who_acts_while_the_last_connection_is_closing_is_heard() {
    for wake in [
        Script::reconnect_asked as fn(&mut Script) -> &mut Script,
        |script| script.settings_changed(true),
        |script| script.settings_changed(false),
    ] {
        let mut script = connected_v2();
        script.input(Input::TooLarge).skip();
        assert_eq!(script.session.state(), RelayState::Stopped);
        wake(&mut script).expect([]);
        script.closed(1009).expect(["dial"]);
    }
}

// PROTOCOL §2.5: a disconnect does not fail in-flight requests
#[test]
fn what_is_in_flight_survives_a_stop_until_its_deadline() {
    let mut script = connected_v2();
    script.request("a").request("b").skip();
    script.closed(4001).answer("a").skip();
    script
        .at(100)
        .reconnect_asked()
        .dialled()
        .hello_v2()
        .expect_done(["dial", "response a 200"]);
    script.answer("b").expect(["response b 200"]);
    script
        .closed(4001)
        .skip()
        .pass_until(600)
        .expect(["(expired a)", "(expired b)"]);
    assert_eq!(script.holds(), 0);
}
