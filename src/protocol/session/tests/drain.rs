//! Stopping: finish what is in flight, tell the relay, go.

use super::super::Input;
use super::harness::{Script, connected_v1, connected_v2, connected_v2_with};
use crate::status::snapshot::RelayState;

fn assert_finished(script: &mut Script) {
    assert_eq!(script.session.state(), RelayState::Drained);
    assert_eq!(script.deadline_at(), None);
    assert_eq!(script.holds(), 0);
    assert!(script.session.requests().is_empty());
    script
        .listener_ready()
        .dialled()
        .hello_v2()
        .request("late")
        .broken()
        .dial_failed(None)
        .drain(1);
    script
        .reconnect_asked()
        .settings_changed(true)
        .pass_until(1_000_000)
        .expect([]);
}

// PROTOCOL §2.6: lets the requests in flight finish, sends their responses, waits for the acks, closes with 1001
#[test]
fn what_is_in_flight_finishes_and_is_acknowledged_before_the_close() {
    let mut script = connected_v2();
    script.request("a").request("b").answer("b").skip();
    script.drain(8).expect(["(draining 1 in flight, 1 held)"]);
    assert_eq!(script.session.state(), RelayState::Draining);
    script.at(3).answer("a").expect(["response a 200"]);
    script.ack("b").expect(["(acknowledged after 3)"]);
    script.at(4).ack("a").expect([
        "(acknowledged after 1)",
        "(drained, 0 unfinished, 0 unacknowledged)",
        "close 1001",
    ]);
    script.closed(1001).expect(["finish"]);
    assert_finished(&mut script);
}

// PROTOCOL §2.6: lets the requests in flight finish: one that was acked and waits is in flight
#[test]
fn what_waits_for_its_turn_still_gets_it() {
    let mut script = connected_v2_with(|settings| settings.max_in_flight = 1);
    script
        .request("a")
        .request("b")
        .skip()
        .drain(8)
        .expect(["(draining 2 in flight, 0 held)"]);
    script.answer("a").expect(["response a 200", "forward b"]);
    script
        .answer("b")
        .ack("a")
        .ack("b")
        .expect_done(["response b 200", "close 1001"]);
}

// PROTOCOL §2.6: a request frame received from now on is acked and answered at once with 503
#[test]
fn a_new_request_is_acknowledged_and_answered_draining() {
    let mut script = connected_v2();
    script.request("a").drain(8).skip();
    script
        .request("b")
        .expect(["ack b", "(refused b draining)", "response b 503 draining"]);
    assert_eq!(script.at_adapter(), ["a"]);
    // whatever is wrong with it
    script.text(r#"{"type":"request","request_id":"c","payload":{"path":"/x"}}"#);
    script.expect_done(["ack c", "response c 503 draining"]);
    // and its ack is waited for like any other
    script.answer("a").ack("a").ack("c").expect_done(["response a 200"]);
    script.ack("b").expect_done(["close 1001"]);
}

// PROTOCOL §2.5: a request the client is still handling is acked and ignored
#[test]
fn a_duplicate_of_a_request_in_flight_is_not_answered_draining() {
    let mut script = connected_v2();
    script.request("a").drain(8).skip();
    script.request("a").expect(["ack a"]);
    script
        .answer("a")
        .skip()
        .request("a")
        .expect(["ack a", "response a 200"]);
}

// PROTOCOL §2.6: it closes the connection with code 1001
#[test]
fn with_nothing_pending_it_closes_at_once() {
    let mut script = connected_v2();
    script.drain(8).expect([
        "(draining 0 in flight, 0 held)",
        "(drained, 0 unfinished, 0 unacknowledged)",
        "close 1001",
    ]);
    script.closed(1001).expect(["finish"]);
    assert_finished(&mut script);
}

// PROTOCOL §2.6: up to a grace period
#[test]
fn when_the_grace_is_over_the_rest_is_given_up_and_the_relay_told() {
    let mut script = connected_v2_with(|settings| settings.max_in_flight = 1);
    script
        .request("a")
        .request("b")
        .answer("a")
        .request("c")
        .drain(8)
        .skip();
    assert_eq!(script.deadline_at(), Some(8_000));
    script.at_millis(7_999).deadline().expect([]);
    script.at(8).deadline();
    script.expect(["(drained, 2 unfinished, 1 unacknowledged)", "cancel b", "close 1001"]);
    script.answer("b").expect([]);
    script.broken().expect(["finish"]);
    assert_finished(&mut script);
}

// PROTOCOL §2.6: up to a grace period, which may be none
#[test]
fn without_a_grace_everything_is_given_up_at_once() {
    let mut script = connected_v2();
    script.request("a").skip().drain(0);
    script.expect_done(["cancel a", "close 1001"]);
}

// PROTOCOL §2.6: up to a grace period: the shorter of two
#[test]
fn a_second_drain_can_shorten_the_grace_and_never_lengthen_it() {
    let mut script = connected_v2();
    script.request("a").drain(300).skip();
    script.at(10).drain(8).expect([]);
    assert_eq!(script.deadline_at(), Some(18_000));
    script.at(12).drain(100).expect([]);
    assert_eq!(script.deadline_at(), Some(18_000));
    script.at(18).deadline().expect_done(["cancel a", "close 1001"]);
    script.drain(0).expect([]);
}

// PROTOCOL §2.6: it closes the connection; a relay that does not close its side is not waited for
#[test]
fn a_relay_that_does_not_answer_the_close_is_cut_off() {
    let mut script = connected_v2();
    script.drain(8).skip();
    assert_eq!(script.deadline_at(), Some(1_000));
    script.at(1).deadline().expect(["abort", "finish"]);
    assert_finished(&mut script);
}

// PROTOCOL §2.6: it closes the connection: frames after the close are of no use, the relay fails what is pending
#[test]
fn nothing_is_answered_after_the_close() {
    let mut script = connected_v2();
    script.drain(8).skip();
    script.request("a").ack("b").expect([]);
    assert_eq!(script.holds(), 0);
}

// PROTOCOL §2.5, §2.6: sending their responses and waiting for the acks, on a later connection if need be
#[test]
fn a_connection_lost_while_draining_is_made_again_to_deliver() {
    let mut script = connected_v2();
    script.request("a").request("b").answer("b").drain(8).skip();
    script.at(1).broken().expect(["(broken, retry in 0)", "dial"]);
    script.answer("a").expect([]);
    script
        .dialled()
        .hello_v2()
        .expect(["(connected v2)", "response b 200", "response a 200"]);
    script.request("c").expect_done(["ack c", "response c 503 draining"]);
    script.ack("a").ack("b").ack("c").expect_done(["close 1001"]);
}

// PROTOCOL §2.6: within the grace, so without the long waits of the schedule
#[test]
fn attempts_while_draining_are_at_most_a_second_apart() {
    let mut script = connected_v2();
    script.request("a").answer("a").drain(8).skip().broken().skip();
    for n in 1..8 {
        script.dial_failed(None).expect(["(dial_failed, retry in 1)"]);
        script.at(n).deadline().expect(["dial"]);
    }
    script.dial_failed(None).at(8).deadline();
    script.expect_done(["dial", "abort", "finish"]);
    assert_finished(&mut script);
}

// PROTOCOL §2.6: what is held can still be delivered, so the wait is cut short
#[test]
fn a_drain_ends_a_backoff_when_something_is_pending() {
    let mut script = connected_v2();
    script.request("a").answer("a").broken();
    for _ in 0..5 {
        script.dial_failed(None).due();
    }
    script.dial_failed(None).skip();
    script.drain(8).expect(["(draining 0 in flight, 1 held)", "dial"]);
}

// PROTOCOL §2.6: it closes the connection; here nothing is pending and there is none to close
#[test]
fn without_a_connection_and_nothing_pending_it_is_over_at_once() {
    let waiting: fn(&mut Script) = |_| {};
    let dialling: fn(&mut Script) = |script| {
        script.listener_ready().skip();
    };
    let backing_off: fn(&mut Script) = |script| {
        script.listener_ready().dial_failed(None).dial_failed(None).skip();
    };
    let stopped: fn(&mut Script) = |script| {
        script.listener_ready().dial_failed(Some(401)).skip();
    };
    for before in [waiting, dialling, backing_off, stopped] {
        let mut script = Script::new();
        before(&mut script);
        script.drain(8).expect_done(["abort", "finish"]);
        assert_finished(&mut script);
    }
}

// PROTOCOL §2.6: it closes the connection with 1001, also one whose `connected` frame is still to come
#[test]
fn a_connection_without_its_connected_frame_is_closed_too() {
    let mut script = Script::new();
    script
        .listener_ready()
        .dialled()
        .skip()
        .drain(8)
        .expect_done(["close 1001"]);
    script.hello_v2().expect([]).closed(1001).expect(["finish"]);
}

#[test]
fn a_stopped_client_cannot_deliver_so_it_is_over_at_once() {
    let mut script = connected_v2();
    script.request("a").request("b").answer("a").closed(4001).skip();
    script.drain(8).expect([
        "(draining 1 in flight, 1 held)",
        "(drained, 1 unfinished, 1 unacknowledged)",
        "cancel b",
        "abort",
        "finish",
    ]);
    assert_finished(&mut script);
}

// PROTOCOL §2.5: an authentication failure cannot be recovered from by retrying, so nor while draining
#[test]
fn a_client_that_is_refused_while_draining_is_over_at_once() {
    let mut script = connected_v2();
    script.request("a").drain(8).broken().skip();
    script
        .dial_failed(Some(403))
        .expect_done(["cancel a", "abort", "finish"]);
    assert_finished(&mut script);
}

// PROTOCOL 0.1.2 §2.5: nothing is answered on a later connection, so none is made
#[test]
fn a_version_1_connection_lost_while_draining_is_not_made_again() {
    let mut script = connected_v1();
    script
        .request("a")
        .drain(8)
        .skip()
        .broken()
        .expect_done(["cancel a", "abort", "finish"]);
    assert_finished(&mut script);
}

// PROTOCOL §2.6: to a relay that sends no acks there are none to wait for
#[test]
fn a_version_1_connection_is_closed_when_the_last_answer_is_sent() {
    let mut script = connected_v1();
    script.request("a").drain(8).skip();
    script.request("b").expect_done(["response b 503 draining"]);
    script.answer("a").expect_done(["response a 200", "close 1001"]);
}

#[test]
fn a_request_that_times_out_while_draining_is_answered_and_not_waited_for() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = std::time::Duration::from_secs(5));
    script.request("a").drain(8).skip();
    script
        .at(5)
        .deadline()
        .expect_done(["cancel a", "response a 503 adapter_timeout", "close 1001"]);
}

#[test]
fn a_drain_goes_on_through_changed_settings_and_impatient_people() {
    let mut script = connected_v2();
    script.request("a").drain(8).skip();
    script.settings_changed(true).reconnect_asked().expect([]);
    script
        .answer("a")
        .ack("a")
        .expect_done(["response a 200", "close 1001"]);
}

#[test]
fn a_drain_while_the_connection_is_being_made_anew_delivers_on_the_next() {
    let mut script = connected_v2();
    script.request("a").answer("a").settings_changed(true).skip();
    script.drain(8).expect_done([]);
    script.closed(1000).expect_done(["dial"]);
    script
        .dialled()
        .hello_v2()
        .ack("a")
        .expect_done(["response a 200", "close 1001"]);
}

#[test]
fn a_drain_while_a_stop_is_being_closed_finishes_with_it() {
    let mut script = connected_v2();
    script.request("a").input(Input::TooLarge).skip();
    script.drain(8).expect_done([]);
    script.closed(1009).expect_done(["cancel a", "abort", "finish"]);
    assert_finished(&mut script);
}

// PROTOCOL §2.4: every 30 seconds, while draining too
#[test]
fn a_stale_connection_is_noticed_while_draining() {
    let mut script = connected_v2();
    script.request("a").drain(100).at(30).deadline().ping_written().skip();
    script.at(40).deadline().expect(["abort", "(no_pong, retry in 0)"]);
    script.deadline().expect(["dial"]);
}
