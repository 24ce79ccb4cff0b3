//! The time a request has, from its receipt.

use std::time::Duration;

use super::harness::{connected_v2, connected_v2_with};

// PROTOCOL §2.5: a timeout counted from when it receives the request
#[test]
fn a_request_at_the_adapter_times_out_and_is_given_up() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(20));
    script.at(5).request("a").skip();
    assert_eq!(script.deadline_at(), Some(25_000));
    script.at_millis(24_999).deadline().expect([]);
    script.at(25).deadline();
    script.expect(["cancel a", "response a 503 adapter_timeout", "(timed out a)"]);
    assert!(script.session.requests().is_empty());
    assert_eq!(script.holds(), 0);
    assert_eq!(script.session.totals().responses.get(&503), Some(&1));
}

#[test]
fn an_answer_after_the_timeout_is_ignored() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(20));
    script.request("a").at(20).deadline().skip();
    script.answer("a").expect([]);
    assert_eq!(script.holds(), 0);
    assert_eq!(script.session.totals().responses.get(&200), None);
}

#[test]
fn an_answer_that_nobody_asked_for_is_ignored() {
    let mut script = connected_v2();
    script.answer("a").expect([]);
    script.request("a").answer("a").skip().answer("a").expect([]);
    assert_eq!((script.session.requests().held(), script.holds()), (1, 1));
}

#[test]
fn a_waiting_request_times_out_without_reaching_the_adapter() {
    let mut script = connected_v2_with(|settings| {
        settings.request_timeout = Duration::from_secs(20);
        settings.max_in_flight = 1;
    });
    script.request("a").at(1).request("b").skip();
    script.at(21).deadline();
    script.expect_done([
        "cancel a",
        "response a 503 adapter_timeout",
        "response b 503 adapter_timeout",
    ]);
    assert_eq!(script.holds(), 0);
    script.request("c").expect(["ack c", "forward c"]);
}

#[test]
fn the_place_of_a_timed_out_request_goes_to_the_one_that_waited_longest() {
    let mut script = connected_v2_with(|settings| {
        settings.request_timeout = Duration::from_secs(20);
        settings.max_in_flight = 1;
    });
    script.request("a").at(5).request("b").request("c").skip();
    script.at(20).deadline();
    script.expect_done(["cancel a", "response a 503 adapter_timeout", "forward b"]);
}

// PROTOCOL §2.5: it may drop a response once the relay server's timeout for it has passed
#[test]
fn a_held_response_is_dropped_when_the_time_of_its_request_is_over() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(20));
    script.request("a").at(15).answer("a").skip();
    assert_eq!(script.deadline_at(), Some(20_000));
    script.at(20).deadline().expect(["(expired a)"]);
    assert!(script.session.requests().is_empty());
    assert_eq!(script.holds(), 0);
    assert_eq!(script.session.totals().expired_responses, 1);
    script.request("a").expect(["ack a"]);
}

#[test]
fn deadlines_pass_in_their_order_not_in_that_of_receipt() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(25));
    script.request("slow").skip();
    script.settings.request_timeout = Duration::from_secs(5);
    script.settings_changed(false).at(1).request("quick").skip();
    assert_eq!(script.deadline_at(), Some(6_000));
    script.pass_until(25);
    script.expect_done([
        "cancel quick",
        "response quick 503 adapter_timeout",
        "cancel slow",
        "response slow 503 adapter_timeout",
    ]);
}

#[test]
fn several_deadlines_of_one_instant_pass_in_the_order_of_receipt() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(5));
    script.request("c").request("a").request("b").answer("a").skip();
    script.at(5).deadline();
    script.expect([
        "cancel c",
        "response c 503 adapter_timeout",
        "(timed out c)",
        "(expired a)",
        "cancel b",
        "response b 503 adapter_timeout",
        "(timed out b)",
    ]);
}

// PROTOCOL §2.5: it may drop a response: once the relay's timeout has passed there is nobody to answer
#[test]
fn a_timeout_while_disconnected_gives_the_request_up_and_sends_nothing_later() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(5));
    script.request("a").broken().skip();
    script.at(5).deadline().expect(["cancel a", "(timed out a)"]);
    script.dialled().hello_v2().expect(["(connected v2)"]);
}

#[test]
fn any_input_lets_due_deadlines_pass() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(5));
    script.request("a").skip().at(7).request("b");
    script.expect_done(["ack b", "forward b", "cancel a", "response a 503 adapter_timeout"]);
}

// PROTOCOL §2.5: keeps each response: a late answer is not lost as long as the timeout was not acted on
#[test]
fn an_answer_that_comes_at_its_deadline_is_still_sent() {
    let mut script = connected_v2_with(|settings| settings.request_timeout = Duration::from_secs(5));
    script
        .request("a")
        .skip()
        .at(5)
        .answer("a")
        .expect(["response a 200", "(expired a)"]);
    assert_eq!(script.holds(), 0);
}
