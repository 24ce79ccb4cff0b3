//! A request frame that comes again.

use super::harness::{connected_v2, connected_v2_with};

// PROTOCOL §2.5: a request frame for a request the client is still handling is acked and ignored
#[test]
fn a_duplicate_of_a_request_at_the_adapter_is_acknowledged_and_ignored() {
    let mut script = connected_v2();
    script.request("a").skip().request("a").expect(["ack a"]);
    assert_eq!(script.at_adapter(), ["a"]);
    assert_eq!(script.holds(), 1, "the duplicate's share is given back");
    assert_eq!(script.session.totals().duplicate_requests, 1);
    assert_eq!(script.session.totals().requests, 1);
}

// PROTOCOL §2.5: a request frame for a request the client is still handling is acked and ignored
#[test]
fn a_duplicate_of_a_waiting_request_is_acknowledged_and_ignored() {
    let mut script = connected_v2_with(|settings| settings.max_in_flight = 1);
    script.request("a").request("b").expect(["ack a", "forward a", "ack b"]);
    script.request("b").expect(["ack b"]);
    assert_eq!(script.session.requests().queued(), 1);
    script.answer("a").expect(["response a 200", "forward b"]);
    script.answer("b").expect(["response b 200"]);
}

// PROTOCOL §2.5: one it has already answered (response not acked yet) is acked, and the response sent again
#[test]
fn a_duplicate_of_a_held_response_brings_the_same_response_again() {
    let mut script = connected_v2();
    script.request("a").answer("a").skip();
    script.request("a").expect(["ack a", "response a 200"]);
    assert_eq!((script.session.requests().held(), script.holds()), (1, 1));
    assert_eq!(script.session.totals().resent_responses, 1);
    assert_eq!(script.session.totals().responses.get(&200), Some(&1), "answered once");
}

// PROTOCOL §2.5: the client must never forward the same request to the adapter twice
#[test]
fn a_duplicate_after_the_ack_is_acknowledged_and_never_forwarded() {
    let mut script = connected_v2();
    script.request("a").answer("a").ack("a").skip();
    script.request("a").expect(["ack a"]);
    script.reconnected_v2().skip().request("a").expect(["ack a"]);
    assert!(script.session.requests().is_empty());
}

// PROTOCOL §2.5: the client must never forward the same request to the adapter twice
#[test]
fn a_duplicate_after_the_timeout_is_acknowledged_and_never_forwarded() {
    let mut script = connected_v2();
    script.request("a").skip().at(600).deadline().skip();
    script.request("a").expect(["ack a"]);
    assert_eq!(script.at_adapter(), [""; 0]);
}

// PROTOCOL §2.5: one it has already answered is acked, and the response sent again
#[test]
fn a_duplicate_of_a_refused_request_brings_the_refusal_again() {
    let mut script = connected_v2();
    script
        .request_without_room("a")
        .expect_done(["ack a", "response a 503 overloaded"]);
    // there is room now, but an answered request stays answered
    script.request("a").expect_done(["ack a", "response a 503 overloaded"]);
    script.ack("a").request("a").expect(["ack a"]);
    assert_eq!(script.holds(), 0);
}

// PROTOCOL §2.5: the client must never forward the same request to the adapter twice
#[test]
fn a_held_response_dropped_for_a_version_1_relay_is_still_known_as_answered() {
    let mut script = connected_v2();
    script.request("a").answer("a").broken().dialled().hello_v1().skip();
    assert!(script.session.requests().is_empty());
    script.reconnected_v2().skip();
    script.request("a").expect(["ack a"]);
    assert_eq!(script.at_adapter(), [""; 0]);
}
