//! Every table has an end, and an answer when it is reached.

use super::super::Input;
use super::harness::{Script, connected_v2, connected_v2_with, request};
use crate::protocol::limits::{MAX_HELD_REFUSAL_BYTES, MAX_HELD_REFUSALS};

fn small(max_in_flight: usize, max_queued: usize) -> Script {
    connected_v2_with(|settings| {
        settings.max_in_flight = max_in_flight;
        settings.max_queued = max_queued;
    })
}

fn refused(id: &str, path: &str) -> String {
    format!(r#"{{"type":"request","request_id":"{id}","payload":{{"path":"{path}"}}}}"#)
}

// PROTOCOL §2.3: the client must handle request frames concurrently, immediately dispatch each and go on reading
// PROTOCOL §1: multiple requests simultaneously
#[test]
fn requests_are_forwarded_at_once_up_to_max_in_flight() {
    let mut script = small(2, 8);
    script.request("a").request("b").request("c").request("d");
    script.expect(["ack a", "forward a", "ack b", "forward b", "ack c", "ack d"]);
    assert_eq!(script.session.requests().forwarding(), 2);
    assert_eq!(script.session.requests().queued(), 2);
    script.answer("b").expect(["response b 200", "forward c"]);
    script.answer("a").expect(["response a 200", "forward d"]);
}

#[test]
fn a_request_beyond_max_queued_is_answered_overloaded() {
    let mut script = small(1, 1);
    script.request("a").request("b").skip();
    script
        .request("c")
        .expect(["ack c", "(refused c overloaded)", "response c 503 overloaded"]);
    assert_eq!(script.session.requests().queued(), 1);
    script.answer("a").skip().request("d").expect(["ack d"]);
}

#[test]
fn without_a_queue_requests_are_still_forwarded_up_to_max_in_flight() {
    let mut script = small(1, 0);
    script.request("a").expect(["ack a", "forward a"]);
    script.request("b").expect_done(["ack b", "response b 503 overloaded"]);
    script
        .answer("a")
        .request("c")
        .expect_done(["response a 200", "ack c", "forward c"]);
}

#[test]
fn a_request_without_room_in_the_byte_budget_is_answered_overloaded() {
    let mut script = connected_v2();
    script
        .request_without_room("a")
        .expect_done(["ack a", "response a 503 overloaded"]);
    script.request("b").expect(["ack b", "forward b"]);
}

// PROTOCOL §2.5: keeps each response until the server acks it
#[test]
fn an_overloaded_answer_is_held_until_its_ack() {
    let mut script = small(1, 0);
    script.request("a").request("b").skip();
    assert_eq!(script.session.requests().held(), 1);
    script
        .reconnected_v2()
        .expect_done(["dial", "response b 503 overloaded"]);
    script.ack("b");
    assert_eq!(
        (
            script.session.requests().held(),
            script.session.requests().held_refusals()
        ),
        (0, 0)
    );
}

// an ack needs no room
#[test]
fn an_ack_is_taken_without_room_in_the_byte_budget() {
    let mut script = connected_v2();
    script.request("a").answer("a");
    script.input(Input::Text {
        text: r#"{"type":"ack","request_id":"a"}"#.into(),
        hold: None,
    });
    assert!(script.session.requests().is_empty());
    assert_eq!(script.holds(), 0);
}

#[test]
fn an_answer_is_held_even_without_a_share_of_the_byte_budget() {
    let mut script = connected_v2();
    script.request("a").answer_without_room("a").skip();
    script.reconnected_v2().expect_done(["dial", "response a 200"]);
}

#[test]
fn refusals_beyond_their_number_are_sent_once_and_not_held() {
    let mut script = connected_v2();
    for n in 0..MAX_HELD_REFUSALS {
        script.text(&refused(&n.to_string(), "/x"));
    }
    assert_eq!(script.session.requests().held_refusals(), MAX_HELD_REFUSALS);
    script.skip().text(&refused("one more", "/x"));
    script.expect_done(["ack one more", "response one more 404 path_not_allowed"]);
    assert_eq!(script.session.requests().held(), MAX_HELD_REFUSALS);
    // an ack makes room
    script.ack("0").text(&refused("another", "/x"));
    assert_eq!(script.session.requests().held(), MAX_HELD_REFUSALS);
    assert_eq!(script.holds(), 0);
}

#[test]
fn refusals_beyond_their_bytes_are_sent_once_and_not_held() {
    let mut script = connected_v2();
    let id = |n: usize| format!("{n}{}", "x".repeat(8 * 1000));
    let fit = MAX_HELD_REFUSAL_BYTES / id(0).len();
    for n in 0..fit + 3 {
        script.text(&refused(&id(n), "/x"));
    }
    let kept = script.session.requests().held();
    assert!((1..=fit).contains(&kept), "{kept} held");
    script.stay_until(600);
    assert_eq!(script.session.requests().held(), 0);
    script.skip().text(&refused("small", "/x"));
    assert_eq!(script.session.requests().held(), 1, "room again");
}

// PROTOCOL §2.5: never forward twice
#[test]
fn answers_without_a_share_of_the_byte_budget_are_bounded_like_refusals() {
    let mut script = connected_v2();
    for n in 0..MAX_HELD_REFUSALS {
        script.request(&n.to_string()).answer_without_room(&n.to_string());
    }
    script.request("one more").skip().answer_without_room("one more");
    script.expect(["response one more 200"]);
    assert_eq!(script.session.requests().held(), MAX_HELD_REFUSALS);
    script.request("one more").expect(["ack one more"]);
    script.ack("0").request("another").answer_without_room("another");
    assert_eq!(script.session.requests().held(), MAX_HELD_REFUSALS, "an ack makes room");
    script.stay_until(600);
    assert_eq!((script.session.requests().held_refusals(), script.holds()), (0, 0));
}

// PROTOCOL §2.5: never forward twice: one that was refused and not held was never forwarded
#[test]
fn a_refusal_that_was_not_held_leaves_the_request_new() {
    let mut script = connected_v2();
    for n in 0..MAX_HELD_REFUSALS {
        script.text(&refused(&n.to_string(), "/x"));
    }
    script
        .skip()
        .request_without_room("a")
        .expect_done(["ack a", "response a 503 overloaded"]);
    script.request("a").expect(["ack a", "forward a"]);
    script.request("a").expect(["ack a"]);
}

#[test]
fn a_lower_max_in_flight_lets_what_runs_run_and_starts_nothing_new() {
    let mut script = small(3, 8);
    for id in ["a", "b", "c", "d"] {
        script.request(id);
    }
    script.skip();
    script.settings.max_in_flight = 1;
    script.settings_changed(false).expect([]);
    script
        .answer("a")
        .answer("b")
        .expect(["response a 200", "response b 200"]);
    script.answer("c").expect(["response c 200", "forward d"]);
}

#[test]
fn a_higher_max_in_flight_starts_what_waits() {
    let mut script = small(1, 8);
    script.request("a").request("b").request("c").skip();
    script.settings.max_in_flight = 3;
    script.settings_changed(false).expect(["forward b", "forward c"]);
}

#[test]
fn a_frame_that_is_no_request_gives_its_share_back_at_once() {
    let mut script = connected_v2();
    script.text("nonsense").text(r#"{"type":"x"}"#).ack("a");
    script.broken().text(&request("a"));
    assert_eq!(script.holds(), 0);
}
