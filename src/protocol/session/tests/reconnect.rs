//! What a request and its response see of a lost connection.

use super::harness::connected_v2;

// PROTOCOL §2.5: a request outlives the connection it was sent on, and its response may come back on a later one
#[test]
fn a_request_outlives_its_connection() {
    let mut script = connected_v2();
    script.request("a").skip();
    script.broken().expect(["(broken, retry in 0)", "dial"]);
    script.dialled().hello_v2().expect(["(connected v2)"]);
    script.answer("a").expect(["response a 200"]);
    script.ack("a");
    assert_eq!(script.holds(), 0);
}

// PROTOCOL §2.5: after every reconnect sends again those not acked yet
#[test]
fn an_answer_that_comes_while_disconnected_is_sent_on_the_next_connection() {
    let mut script = connected_v2();
    script.request("a").broken().skip();
    script.answer("a").expect([]);
    script.dialled().expect([]);
    script.hello_v2().expect(["(connected v2)", "response a 200"]);
}

// PROTOCOL §2.1: the server sends `connected` first; nothing of ours goes before it
#[test]
fn an_answer_that_comes_before_the_connected_frame_waits_for_it() {
    let mut script = connected_v2();
    script.request("a").broken().dialled().skip();
    script.answer("a").expect([]);
    script.hello_v2().expect(["(connected v2)", "response a 200"]);
}

// PROTOCOL §2.5: after every reconnect sends again those not acked yet
#[test]
fn unacknowledged_responses_are_sent_again_in_order_after_every_reconnect() {
    let mut script = connected_v2();
    script.request("a").request("b").request("c").request("d");
    script.answer("c").answer("a").answer("b").ack("a").skip();
    for _ in 0..2 {
        script
            .reconnected_v2()
            .expect_done(["dial", "response c 200", "response b 200"]);
    }
    assert_eq!(script.session.totals().resent_responses, 4);
    script.ack("b").ack("c").reconnected_v2().expect_done(["dial"]);
    assert_eq!(script.at_adapter(), ["d"]);
    assert_eq!(script.holds(), 1);
}

// PROTOCOL §2.5: each response, so also an error response of our own
#[test]
fn a_refusal_is_sent_again_like_any_response() {
    let mut script = connected_v2();
    script
        .text(r#"{"type":"request","request_id":"a","payload":{"path":"/v1/models"}}"#)
        .skip();
    script
        .reconnected_v2()
        .expect_done(["dial", "response a 404 path_not_allowed"]);
    script.ack("a").reconnected_v2().expect_done(["dial"]);
}

// PROTOCOL §2.5: the client must not replay requests on its own
#[test]
fn a_reconnect_forwards_nothing() {
    let mut script = connected_v2();
    script.request("a").skip();
    script.reconnected_v2().expect_done(["dial"]);
    script.request("a").expect(["ack a"]);
    assert_eq!(script.at_adapter(), ["a"]);
}

// PROTOCOL §2.5: after every reconnect, and only then, what is not acked yet
#[test]
fn nothing_is_sent_again_on_a_connection_that_stays() {
    let mut script = connected_v2();
    script.request("a").answer("a").skip();
    script.stay_until(599).expect([]);
    script.stay_until(600).expect(["(expired a)"]);
}

// PROTOCOL §2.5: 4003, pending requests carry over as with any reconnect
#[test]
fn pending_requests_carry_over_a_rotation() {
    let mut script = connected_v2();
    script.request("a").request("b").answer("b").skip();
    script.at(61).closed(4003).expect(["(rotation, retry in 0)", "dial"]);
    script.dialled().hello_v2().expect(["(connected v2)", "response b 200"]);
    script.answer("a").expect(["response a 200"]);
}
