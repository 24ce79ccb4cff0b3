//! Pings and pongs.

use super::super::Input;
use super::harness::{connected_v1, connected_v2};

// PROTOCOL §2.4: a ping frame every 30 seconds
#[test]
fn a_ping_goes_out_every_thirty_seconds() {
    for mut script in [connected_v2(), connected_v1()] {
        for n in 1..4 {
            script.at_millis(n * 30_000 - 1).deadline().expect([]);
            assert_eq!(script.deadline_at(), Some(u128::from(n) * 30_000));
            script.at(n * 30).deadline().expect([format!("ping {n}").as_str()]);
            script.ping_written().at(n * 30 + 9).pong(n).expect([]);
        }
    }
}

// PROTOCOL §2.4: no pong within 10 seconds of a ping: close it and initiate a reconnect
#[test]
fn without_a_pong_within_ten_seconds_the_connection_is_made_again() {
    let mut script = connected_v2();
    script.at(30).deadline().ping_written().skip();
    assert_eq!(script.deadline_at(), Some(40_000));
    script.at_millis(39_999).deadline().expect([]);
    script.at(40).deadline().expect(["abort", "(no_pong, retry in 0)"]);
    script.deadline().expect(["dial"]);
    script.dialled().hello_v2().skip();
    // the new connection starts its own count
    assert_eq!(script.deadline_at(), Some(70_000));
}

// PROTOCOL §2.4: within 10 seconds of a ping, which is when it is on the wire
#[test]
fn the_pongs_time_starts_when_the_ping_is_written() {
    let mut script = connected_v2();
    script.at(30).deadline().expect(["ping 1"]);
    script.at(50).deadline().expect([]);
    script.ping_written();
    assert_eq!(script.deadline_at(), Some(60_000));
    script.at(59).pong(1).expect([]);
    script.at(60).deadline().expect(["ping 2"]);
}

// PROTOCOL §2.4: the connection is considered stale: one that takes no bytes is
#[test]
fn a_ping_that_cannot_be_written_is_not_waited_for_for_ever() {
    let mut script = connected_v2();
    script.at(30).deadline().skip();
    assert_eq!(script.deadline_at(), Some(165_000));
    script.at_millis(164_999).deadline().expect([]);
    script.at(165).deadline().expect(["abort", "(no_pong, retry in 0)"]);
}

// RFC 6455 §5.5.3 lets a peer send pongs that nobody asked for
#[test]
fn a_pong_that_answers_none_of_our_pings_is_ignored() {
    let mut script = connected_v2();
    script.pong(0).pong(1).input(Input::Pong(None));
    script.at(30).deadline().ping_written().expect(["ping 1"]);
    script.pong(0).pong(2).input(Input::Pong(None)).expect([]);
    script.at(40).deadline().expect_done(["abort"]);
}

// RFC 6455 §5.5.3: a pong to an older ping answers that one only
#[test]
fn a_pong_of_an_earlier_ping_does_not_answer_a_later_one() {
    let mut script = connected_v2();
    script.at(30).deadline().ping_written().pong(1).skip();
    script.at(60).deadline().ping_written().expect(["ping 2"]);
    script.pong(1).at(70).deadline().expect_done(["abort"]);
}

// PROTOCOL §2.4: within 10 seconds of a ping
#[test]
fn a_pong_that_overtakes_the_news_of_its_ping_counts() {
    let mut script = connected_v2();
    script.at(30).deadline().pong(1).ping_written().skip();
    assert_eq!(script.deadline_at(), Some(60_000));
}

// PROTOCOL §2.4: 10 seconds from the ping on, whatever else arrives
#[test]
fn other_frames_do_not_stand_in_for_a_pong() {
    let mut script = connected_v2();
    script.at(30).deadline().ping_written().skip();
    script.at(39).request("a").skip();
    script.at(40).deadline().expect_done(["abort"]);
}

#[test]
fn no_ping_is_sent_before_the_connected_frame() {
    let mut script = connected_v2();
    script.at(1).broken().dialled().at(8).hello_v2().skip();
    script.at(37).deadline().expect([]);
    script.at(38).deadline().expect(["ping 1"]);
}

// PROTOCOL §2.5: a disconnect does not fail in-flight requests
#[test]
fn a_stale_connection_loses_no_request() {
    let mut script = connected_v2();
    script
        .request("a")
        .answer("a")
        .request("b")
        .at(30)
        .deadline()
        .ping_written()
        .skip();
    script.at(40).deadline().deadline().dialled().hello_v2();
    script.expect_done(["abort", "dial", "response a 200"]);
    script.answer("b").expect(["response b 200"]);
}
