//! A configuration or key that changes while the client runs.

use super::harness::{Script, connected_v2};

// PROTOCOL §2.5: pending requests carry over as with any reconnect
#[test]
fn an_open_connection_is_made_anew_without_losing_requests() {
    let mut script = connected_v2();
    script.request("a").skip();
    script.settings_changed(true).expect(["close 1000"]);
    script.answer("a").expect([]);
    script.closed(1000).expect(["dial"]);
    script.dialled().hello_v2().expect(["(connected v2)", "response a 200"]);
}

#[test]
fn a_relay_that_does_not_answer_the_close_does_not_hold_up_the_new_connection() {
    let mut script = connected_v2();
    script.settings_changed(true).skip();
    script.at(1).deadline().expect(["abort", "dial"]);
}

#[test]
fn a_change_that_needs_no_new_connection_leaves_it_alone() {
    let mut script = connected_v2();
    script.settings.paths = vec!["/v1/embeddings".into()];
    script.settings_changed(false).expect([]);
    script
        .request("a")
        .expect_done(["ack a", "response a 404 path_not_allowed"]);
    script.text(r#"{"type":"request","request_id":"b","payload":{"path":"/v1/embeddings"}}"#);
    script.expect(["ack b", "forward b"]);
}

#[test]
fn a_change_ends_a_backoff() {
    let mut script = connected_v2();
    script.broken().dial_failed(None).skip();
    script.settings_changed(true).expect(["dial"]);
}

// PROTOCOL §2.1: user intervention: a new key must not be missed because an attempt with the old one is under way
#[test]
fn a_change_while_dialling_starts_the_attempt_again() {
    let mut script = Script::new();
    script.listener_ready().skip();
    script.settings_changed(true).expect(["abort", "dial"]);
    script.settings_changed(false).expect([]);
    script.dialled().hello_v2().expect(["(connected v2)"]);
}

#[test]
fn before_the_listener_is_ready_nothing_is_dialled() {
    let mut script = Script::new();
    script.settings_changed(true).reconnect_asked().expect([]);
    script.listener_ready().expect(["dial"]);
}

#[test]
fn a_person_who_asks_for_a_connection_that_is_there_changes_nothing() {
    let mut script = connected_v2();
    script.reconnect_asked().expect([]);
    script.request("a").expect(["ack a", "forward a"]);
}
