//! Receipts in both directions.

use super::harness::connected_v2;

// PROTOCOL §2.2: the client acks every request frame as soon as it receives it, before forwarding it
#[test]
fn a_request_is_acknowledged_before_it_is_forwarded() {
    connected_v2().request("a").expect(["ack a", "forward a"]);
}

// PROTOCOL §2.2: every request frame, so also one that is not forwarded
#[test]
fn a_request_that_is_refused_is_acknowledged_too() {
    connected_v2()
        .text(r#"{"type":"request","request_id":"a","payload":null}"#)
        .expect_done(["ack a", "response a 400 invalid_request_frame"]);
}

// PROTOCOL §2.2: request_id is opaque, echoed back unchanged
#[test]
fn an_odd_id_comes_back_unchanged() {
    let mut script = connected_v2();
    let text = r#"{"type":"request","request_id":"\"\u00e9\u0000 ","payload":{"path":"/"}}"#;
    script.text(text);
    script.expect_done(["ack \"é\0 ", "response \"é\0  404 path_not_allowed"]);
    script.text(r#"{"type":"request","request_id":"","payload":{}}"#);
    script.expect(["ack ", "forward "]);
}

// PROTOCOL §2.2: an ack is never itself acknowledged
#[test]
fn an_ack_is_never_acknowledged() {
    let mut script = connected_v2();
    script.request("a").answer("a").skip();
    script
        .ack("a")
        .expect([])
        .ack("a")
        .expect([])
        .ack("never seen")
        .expect([]);
}

// PROTOCOL §2.5: keeps each response until the server acks it
#[test]
fn a_response_is_held_until_its_ack_and_its_bytes_with_it() {
    let mut script = connected_v2();
    script
        .request("a")
        .answer("a")
        .expect(["ack a", "forward a", "response a 200"]);
    assert_eq!((script.session.requests().held(), script.holds()), (1, 1));
    script.ack("a");
    assert_eq!((script.session.requests().held(), script.holds()), (0, 0));
}

#[test]
fn an_ack_of_what_is_not_answered_yet_changes_nothing() {
    let mut script = connected_v2();
    script.request("a").skip().ack("a").expect([]);
    script.answer("a").expect(["response a 200"]);
    assert_eq!(script.session.requests().held(), 1);
}

// PROTOCOL §2.3: responses may be sent back in any order
#[test]
fn responses_go_out_in_the_order_in_which_they_come() {
    let mut script = connected_v2();
    script
        .request("a")
        .request("b")
        .expect(["ack a", "forward a", "ack b", "forward b"]);
    script
        .answer("b")
        .answer("a")
        .expect(["response b 200", "response a 200"]);
    script.ack("a").ack("b");
    assert!(script.session.requests().is_empty());
    assert_eq!(script.holds(), 0);
    assert_eq!(script.session.totals().responses.get(&200), Some(&2));
}
