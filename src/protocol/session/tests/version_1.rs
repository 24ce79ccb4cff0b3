//! A relay of version 1: no acks, nothing kept, nothing answered after a reconnect.

use super::harness::{connected_v1, connected_v2};

// PROTOCOL 0.1.2 §2.2: two message types are defined, and an ack is none of them
#[test]
fn no_acks_are_sent_to_a_version_1_relay() {
    let mut script = connected_v1();
    script.request("a").expect(["forward a"]);
    script.answer("a").expect(["response a 200"]);
    script.text(r#"{"type":"request","request_id":"b","payload":7}"#);
    script.expect_done(["response b 400 invalid_request_frame"]);
}

// PROTOCOL 0.1.2 §2.5: the client must not replay; without acks nothing is kept
#[test]
fn nothing_is_kept_for_a_version_1_relay() {
    let mut script = connected_v1();
    script.request("a").answer("a").request_without_room("b");
    assert!(script.session.requests().is_empty());
    assert_eq!(script.holds(), 0);
    script.skip().broken().pass_until(1).dialled().hello_v1();
    script.expect_done(["dial"]);
}

// PROTOCOL 0.1.2 §2.5: requests in flight at a disconnect are the relay's to time out
// PROTOCOL 0.1.2 §2, §2.5: a persistent connection: reconnects on any disconnect
#[test]
fn a_lost_connection_gives_up_what_is_at_the_adapter_and_what_waits() {
    let mut script = connected_v1();
    script.settings.max_in_flight = 1;
    script
        .settings_changed(false)
        .request("a")
        .request("b")
        .expect(["forward a"]);
    script.broken().expect(["cancel a", "(broken, retry in 1)"]);
    assert!(script.session.requests().is_empty());
    assert_eq!(script.holds(), 0);
    script.pass_until(1).dialled().hello_v1().skip();
    script.answer("a").expect([]);
    assert_eq!(script.holds(), 0);
    script.request("c").expect(["forward c"]);
}

#[test]
fn a_version_1_relay_that_sends_a_request_again_does_not_have_it_forwarded_again() {
    let mut script = connected_v1();
    script.request("a").skip().request("a").expect([]);
    script.answer("a").skip().request("a").expect([]);
    script.broken().pass_until(1).dialled().hello_v1().skip();
    script.request("a").expect([]);
}

#[test]
fn a_version_1_relay_in_place_of_a_version_2_relay_gets_nothing_of_the_others() {
    let mut script = connected_v2();
    script.request("a").request("b").answer("b").broken().dialled().skip();
    script.hello_v1().expect(["cancel a", "(connected v1)"]);
    assert!(script.session.requests().is_empty());
    script.answer("a").expect([]);
    assert_eq!(script.holds(), 0);
}

// PROTOCOL §2.5: kept until acked, by the version of the connection on which the answer comes
#[test]
fn a_version_2_relay_in_place_of_a_version_1_relay_is_served_as_version_2() {
    let mut script = connected_v1();
    script.broken().pass_until(1).dialled().hello_v2().skip();
    script
        .request("a")
        .answer("a")
        .expect(["ack a", "forward a", "response a 200"]);
    script.reconnected_v2().expect_done(["dial", "response a 200"]);
}

#[test]
fn an_ack_from_a_version_1_relay_changes_nothing() {
    let mut script = connected_v1();
    script.request("a").skip().ack("a").expect([]);
    script.answer("a").expect(["response a 200"]);
}

// PROTOCOL 0.1.2 §2.1: 4001 is not retried with the same key
#[test]
fn a_version_1_relay_that_refuses_the_key_stops_the_client() {
    connected_v1()
        .request("a")
        .skip()
        .closed(4001)
        .expect(["cancel a", "(stopped authentication_failed)"]);
}

#[test]
fn a_timed_out_request_is_answered_503_on_version_1_too() {
    let mut script = connected_v1();
    script.request("a").skip().at(600).ping_written();
    script.expect_done(["cancel a", "response a 503 adapter_timeout", "ping 1"]);
}

// PROTOCOL 0.1.2 §2.5: requests in flight at a disconnect are the relay's to time out, whoever closes
#[test]
fn a_connection_that_we_make_anew_gives_up_what_is_in_flight_too() {
    let mut script = connected_v1();
    script
        .request("a")
        .skip()
        .settings_changed(true)
        .expect(["close 1000", "cancel a"]);
    script.closed(1000).expect(["dial"]);
    script.dialled().hello_v1().answer("a").expect(["(connected v1)"]);
    assert_eq!(script.holds(), 0);
}

// PROTOCOL §2.6: sending their responses: without acks only the relay's close says that the last one is through
#[test]
fn the_last_response_of_a_drain_has_the_rest_of_the_grace_to_get_through() {
    let mut script = connected_v1();
    script.request("a").drain(8).at(2).answer("a").skip();
    assert_eq!(script.deadline_at(), Some(9_000));
    script.at(3).closed(1001).expect(["finish"]);
    let mut unanswered = connected_v1();
    unanswered.request("a").drain(8).skip().at(8).deadline();
    unanswered.expect_done(["cancel a", "close 1001"]);
    assert_eq!(unanswered.deadline_at(), Some(9_000));
}

// PROTOCOL 0.1.2 §2.5: what can no longer be answered on its own connection is not put to the adapter either
#[test]
fn nothing_that_waits_is_forwarded_once_we_close() {
    let mut script = connected_v1();
    script.settings.max_in_flight = 1;
    script.settings_changed(false).request("a").request("b").skip();
    script.settings_changed(true).expect(["close 1000", "cancel a"]);
    script.answer("a").expect([]);
}
