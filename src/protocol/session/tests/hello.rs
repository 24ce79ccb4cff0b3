//! From the handshake to the `connected` frame.

use super::harness::{Script, connected_v2};
use crate::config::ProtocolChoice;
use crate::protocol::Version;
use crate::status::snapshot::RelayState;

fn dialled(protocol: ProtocolChoice) -> Script {
    let mut script = Script::with(|settings| settings.protocol = protocol);
    script.listener_ready().dialled().skip();
    script
}

#[test]
fn the_relay_is_dialled_once_the_forward_address_accepts() {
    let mut script = Script::new();
    assert_eq!(script.session.state(), RelayState::WaitingForListener);
    assert_eq!(script.deadline_at(), None);
    script.listener_ready().expect(["dial"]).listener_ready().expect([]);
    assert_eq!(script.session.state(), RelayState::Connecting);
}

// PROTOCOL §2.1: the client should surface the `connected` frame to the user
#[test]
fn the_connected_frame_makes_it_connected_and_people_are_told() {
    let mut script = dialled(ProtocolChoice::Auto);
    assert_eq!(script.session.state(), RelayState::Connecting);
    script.hello_v2().expect(["(connected v2)"]);
    assert_eq!(script.session.state(), RelayState::Connected);
    assert_eq!(script.session.version(), Some(Version::V2));
    assert_eq!(script.session.totals().connections, 1);
}

// PROTOCOL 0.1.2 §2.1: the frame of version 1 names no version
#[test]
fn auto_takes_either_version_from_the_connected_frame() {
    dialled(ProtocolChoice::Auto).hello_v1().expect(["(connected v1)"]);
    dialled(ProtocolChoice::Auto).hello_v2().expect(["(connected v2)"]);
    dialled(ProtocolChoice::V1).hello_v1().expect(["(connected v1)"]);
    dialled(ProtocolChoice::V2).hello_v2().expect(["(connected v2)"]);
}

// PROTOCOL §2.1: versions are not negotiated; the client must not retry without user intervention
#[test]
fn a_version_that_is_not_allowed_closes_and_stops() {
    for (protocol, hello) in [
        (ProtocolChoice::V2, r#"{"type":"connected"}"#),
        (ProtocolChoice::V1, r#"{"type":"connected","protocol":2}"#),
        (ProtocolChoice::Auto, r#"{"type":"connected","protocol":3}"#),
        (ProtocolChoice::Auto, r#"{"type":"connected","protocol":"2"}"#),
    ] {
        let mut script = dialled(protocol);
        script.text(hello).expect(["close 1000"]);
        assert_eq!(script.session.state(), RelayState::Stopped);
        script.closed(1000).expect(["(stopped unsupported_version)"]);
        script.pass_until(1_000_000).expect([]);
        assert_eq!(script.session.totals().connections, 0);
    }
}

// PROTOCOL §2.1: the server sends `connected` before any request frames
#[test]
fn requests_and_acks_before_the_connected_frame_are_ignored() {
    let mut script = dialled(ProtocolChoice::Auto);
    script.request("a").expect(["(ignored before_connected)"]);
    script.ack("a").expect(["(ignored before_connected)"]);
    assert_eq!(script.holds(), 0);
    // not acknowledged, so the relay may send it again, and then it is new
    script.hello_v2().skip().request("a").expect(["ack a", "forward a"]);
}

// PROTOCOL §2.2: a frame of an unknown type, or one that isn't a JSON object, is ignored
#[test]
fn a_wrong_first_frame_is_ignored_until_the_connected_frame_comes() {
    let mut script = dialled(ProtocolChoice::Auto);
    script.text("hi").expect(["(ignored not_json)"]);
    script.text(r#"{"type":"welcome"}"#).expect(["(ignored unknown_type)"]);
    script.at(9).hello_v2().expect(["(connected v2)"]);
    assert_eq!(script.session.totals().ignored_frames, 2);
}

// PROTOCOL §2.5: reconnects on any disconnect
#[test]
fn without_a_connected_frame_the_connection_is_made_again() {
    let mut script = dialled(ProtocolChoice::Auto);
    script.text("[]").skip();
    assert_eq!(script.deadline_at(), Some(10_000));
    script.at_millis(9_999).deadline().expect([]);
    script.at(10).deadline();
    script.expect(["abort", "(no_connected_frame, retry in 0)"]);
    script.deadline().expect(["dial"]);
}

#[test]
fn a_second_connected_frame_says_nothing_new() {
    let mut script = connected_v2();
    script
        .hello_v1()
        .expect([])
        .text(r#"{"type":"connected","protocol":9}"#)
        .expect([]);
    assert_eq!(script.session.version(), Some(Version::V2));
    script.request("a").expect(["ack a", "forward a"]);
}

// PROTOCOL §2.2: what is no UTF-8 encoded JSON object must not close the connection
#[test]
fn frames_that_are_none_do_not_close_an_open_connection() {
    let mut script = connected_v2();
    for text in [
        "",
        "null",
        "[]",
        r#"{"type":"pause"}"#,
        r#"{"type":"request"}"#,
        r#"{"type":"response","request_id":"a"}"#,
    ] {
        let seen = script.text(text).seen();
        assert!(
            matches!(seen.as_slice(), [only] if only.starts_with("(ignored")),
            "{text}: {seen:?}"
        );
    }
    script
        .input(super::super::Input::NotUtf8)
        .expect(["(ignored not_utf8)"]);
    script.request("a").expect(["ack a", "forward a"]);
}
