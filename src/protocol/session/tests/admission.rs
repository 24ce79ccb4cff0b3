//! Budgets, the schedule and pauses by hand.

use std::time::Duration;

use super::harness::{Script, connected_v1, connected_v2, connected_v2_with, request};
use crate::config::{Budget, Config, Schedule};
use crate::protocol::requests::Known;
use crate::protocol::{Limit, RequestId, Settings};

/// A connection without pings, which have their own scripts.
fn quiet(change: impl FnOnce(&mut Settings)) -> Script {
    connected_v2_with(|settings| {
        settings.keepalive.interval = Duration::from_secs(400 * 86_400);
        change(settings);
    })
}

fn budget(change: impl FnOnce(&mut Budget)) -> Script {
    quiet(|settings| change(&mut settings.budget))
}

/// The schedule of a configuration.
fn schedule(windows: &str) -> Schedule {
    let relay = format!(r#"{{"relays":[{{"url":"wss://r/connect","api_key":{{"env":"K"}},"schedule":{windows}}}]}}"#);
    let mut config = Config::from_json(relay.as_bytes()).unwrap();
    config.relays.remove(0).schedule.unwrap()
}

/// Thursday 1970-01-01, 08:00 to 18:00 by a clock two hours ahead.
fn office() -> Schedule {
    schedule(r#"{"days":["thu"],"from":"08:00","to":"18:00","utc_offset":"+02:00"}"#)
}

/// The whole refusal of `id`, by its frame.
fn refusal(script: &Script, id: &str) -> (u64, String, String, String) {
    let frame = match script.session.requests().find(id) {
        Some(Known::Held(frame)) => frame,
        other => panic!("{id}: {other:?}"),
    };
    let payload = &serde_json::from_str::<serde_json::Value>(&frame).unwrap()["payload"];
    let (headers, error) = (&payload["headers"], &payload["body"]["error"]);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(error["type"], "relay_client_error");
    (
        payload["status"].as_u64().unwrap(),
        error["code"].as_str().unwrap().to_owned(),
        headers["retry-after"].as_str().unwrap().to_owned(),
        error["message"].as_str().unwrap().to_owned(),
    )
}

fn not_admitted(script: &Script, limit: Limit) -> u64 {
    let totals = script.session.totals();
    totals.not_admitted.get(limit.name()).copied().unwrap_or_default()
}

#[test]
fn a_minute_admits_its_budget_and_not_one_more_wherever_it_begins() {
    let mut script = budget(|budget| budget.requests_per_minute = Some(3));
    script
        .at(10)
        .request("a")
        .at(30)
        .request("b")
        .at(50)
        .request("c")
        .skip();
    script.at(65).request("d");
    script.expect(["ack d", "(refused d over_budget)", "response d 429 over_budget"]);
    let message = "over this relay's budget requests_per_minute, try again in 5 s";
    let expected = (429, "over_budget".to_owned(), "5".to_owned(), message.to_owned());
    assert_eq!(refusal(&script, "d"), expected);
    assert_eq!(not_admitted(&script, Limit::RequestsPerMinute), 1);
    // a window that slides: the refused one counts for nothing, the one at 10 s is a minute ago
    script
        .at_millis(69_999)
        .request("e")
        .expect_done(["ack e", "response e 429 over_budget"]);
    script.at(70).request("f").expect(["ack f", "forward f"]);
    script.request("g").expect_done(["ack g", "response g 429 over_budget"]);
    assert_eq!(refusal(&script, "g").2, "20");
    script.at(90).request("h").expect(["ack h", "forward h"]);
    let left = |script: &Script, at| script.session.admission().requests_left(at);
    let now = script.now();
    assert_eq!(left(&script, now), Some(0));
    assert_eq!(left(&script, now + Duration::from_secs(20)), Some(1));
    assert_eq!(left(&script, now + Duration::from_secs(60)), Some(3));
}

// PROTOCOL §2.5: a request the client is still handling is acked and ignored
#[test]
fn a_duplicate_spends_nothing_and_a_refused_request_neither() {
    let mut script = budget(|budget| budget.requests_per_minute = Some(2));
    script
        .request("a")
        .request("a")
        .answer("a")
        .request("a")
        .ack("a")
        .request("a")
        .skip();
    script
        .text(r#"{"type":"request","request_id":"x","payload":{"path":"/v1/models"}}"#)
        .skip();
    script.request_without_room("y").skip();
    script.request("b").expect(["ack b", "forward b"]);
    script.request("c").expect_done(["ack c", "response c 429 over_budget"]);
}

// PROTOCOL §2.5: keeps each response until the server acks it
#[test]
fn a_refusal_is_held_sent_again_and_never_becomes_another_answer() {
    let mut script = budget(|budget| budget.requests_per_minute = Some(1));
    script.request("a").request("b").skip();
    script
        .reconnected_v2()
        .expect_done(["dial", "response b 429 over_budget"]);
    script
        .at(120)
        .request("b")
        .expect_done(["ack b", "response b 429 over_budget"]);
    script.ack("b").skip().request("b").expect(["ack b"]);
    assert_eq!(script.at_adapter(), ["a"]);
    assert_eq!(not_admitted(&script, Limit::RequestsPerMinute), 1);
}

#[test]
fn a_version_1_relay_gets_the_same_refusal() {
    let mut script = connected_v1();
    script
        .pause()
        .skip()
        .request("a")
        .expect_done(["response a 503 paused"]);
    script.settings.budget.max_concurrent = Some(1);
    script.settings_changed(false).resume().request("b").skip();
    script.request("c").expect_done(["response c 429 over_budget"]);
}

#[test]
fn tokens_are_counted_as_the_model_reports_them_and_the_answer_that_crosses_the_budget_is_whole() {
    let mut script = budget(|budget| budget.tokens_per_day = Some(100));
    // 1970-01-02, an hour before its end
    script
        .clock(2 * 86_400 - 3600)
        .request("a")
        .request("b")
        .request("c")
        .skip();
    script.answer_using("a", 60, 39).expect(["response a 200"]);
    assert_eq!(script.session.admission().tokens_left(script.now()), Some(1));
    script.request("d").expect(["ack d", "forward d"]);
    script.answer_using("b", 500, 0).expect(["response b 200"]);
    script.request("e").expect_done(["ack e", "response e 429 over_budget"]);
    let message = "over this relay's budget tokens_per_day, try again in 3600 s";
    let expected = (429, "over_budget".to_owned(), "3600".to_owned(), message.to_owned());
    assert_eq!(refusal(&script, "e"), expected);
    // what was admitted before is answered and spends, too
    script
        .answer_using("c", 1, 1)
        .answer("d")
        .expect(["response c 200", "response d 200"]);
    // an answer that nobody waits for any more spends nothing
    script.answer_using("nobody's", 9, 9).expect([]);
    script
        .at(3599)
        .request("f")
        .expect_done(["ack f", "response f 429 over_budget"]);
    script.at(3600).request("g").expect(["ack g", "forward g"]);
    assert_eq!(script.session.admission().tokens_left(script.now()), Some(100));
    assert_eq!(not_admitted(&script, Limit::TokensPerDay), 2);
}

#[test]
fn a_day_begins_by_the_schedules_clock_and_not_a_second_time_when_the_clock_is_set_back() {
    let mut script = quiet(|settings| {
        settings.budget.tokens_per_day = Some(10);
        settings.schedule = Some(schedule(r#"{"from":"00:00","to":"24:00","utc_offset":"+02:00"}"#));
    });
    script
        .clock(86_400 + 22 * 3600 - 60)
        .request("a")
        .answer_using("a", 5, 5)
        .skip();
    script.request("b").expect_done(["ack b", "response b 429 over_budget"]);
    assert_eq!(refusal(&script, "b").2, "60");
    script.at(60).request("c").answer_using("c", 10, 0).skip();
    // set back by an hour, across midnight
    script.clock(86_400 + 21 * 3600);
    script.request("d").expect_done(["ack d", "response d 429 over_budget"]);
    // set right, a year later
    script.clock(365 * 86_400).request("e").expect(["ack e", "forward e"]);
}

#[test]
fn concurrent_requests_are_those_at_the_adapter_and_those_that_wait() {
    let mut script = quiet(|settings| {
        settings.max_in_flight = 1;
        settings.budget.max_concurrent = Some(2);
    });
    script.request("a").request("b").expect(["ack a", "forward a", "ack b"]);
    script.request("c").expect_done(["ack c", "response c 429 over_budget"]);
    assert_eq!(refusal(&script, "c").2, "1");
    // answered is answered, acknowledged or not
    script.answer("a").expect(["response a 200", "forward b"]);
    script.request("d").expect(["ack d"]);
    assert_eq!(not_admitted(&script, Limit::MaxConcurrent), 1);
}

#[test]
fn a_pause_by_hand_answers_503_keeps_the_connection_and_lets_requests_finish() {
    let mut script = quiet(|settings| settings.max_in_flight = 1);
    script.request("a").request("b").skip();
    script.pause().expect(["(paused by hand)"]);
    script.pause().expect([]);
    script
        .request("c")
        .expect(["ack c", "(refused c paused)", "response c 503 paused"]);
    let message = "this relay is paused by its operator";
    let expected = (503, "paused".to_owned(), "60".to_owned(), message.to_owned());
    assert_eq!(refusal(&script, "c"), expected);
    script.answer("a").expect(["response a 200", "forward b"]);
    script.answer("b").expect(["response b 200"]);
    // through a reconnect and a new configuration
    script.reconnected_v2().skip().settings_changed(true).skip();
    script.closed(1000).dialled().hello_v2().skip();
    script.request("d").expect_done(["ack d", "response d 503 paused"]);
    let pause = script.session.admission().pause_at(script.now()).unwrap();
    assert_eq!((pause.by, pause.ends_in), (Limit::Hand, None));
    script.resume().expect(["(resumed by hand)"]);
    script.resume().expect([]);
    script.request("e").expect(["ack e", "forward e"]);
    assert_eq!(not_admitted(&script, Limit::Hand), 2);
}

#[test]
fn a_schedule_closes_and_opens_to_the_second() {
    let mut script = quiet(|settings| settings.schedule = Some(office()));
    // nobody has told the time yet: nothing is refused for it
    script.request("early").skip();
    script.clock(6 * 3600 - 100).expect(["(paused by schedule)"]);
    assert_eq!(script.deadline_at(), Some(100_000));
    script.request("a").expect_done(["ack a", "response a 503 paused"]);
    let message = "this relay is paused by its schedule, which opens in 100 s";
    let expected = (503, "paused".to_owned(), "100".to_owned(), message.to_owned());
    assert_eq!(refusal(&script, "a"), expected);
    // the request that comes at that second is not refused, whether or not the timer was first
    script
        .at_millis(99_001)
        .request("b")
        .expect_done(["ack b", "response b 503 paused"]);
    assert_eq!(refusal(&script, "b").2, "1");
    script
        .at(100)
        .request("c")
        .expect(["(resumed by schedule)", "ack c", "forward c"]);
    script.clock(16 * 3600 - 1).at(101).request("d");
    let seen = script.seen();
    assert!(seen.contains(&"(paused by schedule)".to_owned()), "{seen:?}");
    assert!(seen.contains(&"response d 503 paused".to_owned()), "{seen:?}");
    // until next Thursday
    assert_eq!(refusal(&script, "d").2, (7 * 86_400 - 10 * 3600).to_string());
    assert_eq!(script.at_adapter(), ["c", "early"]);
    assert_eq!(not_admitted(&script, Limit::Schedule), 3);
}

#[test]
fn a_resume_by_hand_does_not_open_a_closed_schedule() {
    let mut script = quiet(|settings| settings.schedule = Some(office()));
    script.clock(0).skip().pause().resume();
    script.expect(["(paused by hand)", "(resumed by hand)"]);
    script.request("a").expect_done(["ack a", "response a 503 paused"]);
    assert!(refusal(&script, "a").3.contains("by its schedule"));
    // a configuration without one does
    script.settings.schedule = None;
    script.settings_changed(false).expect(["(resumed by schedule)"]);
    script.request("b").expect(["ack b", "forward b"]);
}

#[test]
fn a_budget_that_changes_keeps_what_was_spent() {
    let mut script = budget(|budget| {
        budget.requests_per_minute = Some(4);
        budget.tokens_per_day = Some(100);
    });
    script.request("a").at(1).request("b").answer_using("a", 30, 30).skip();
    script.settings.budget.requests_per_minute = Some(2);
    script.settings_changed(false);
    script.request("c").expect_done(["ack c", "response c 429 over_budget"]);
    assert_eq!(refusal(&script, "c").2, "59");
    script.settings.budget.requests_per_minute = Some(3);
    script
        .settings_changed(false)
        .request("d")
        .expect(["ack d", "forward d"]);
    script.settings.budget = Budget {
        tokens_per_day: Some(60),
        ..Budget::default()
    };
    script.settings_changed(false);
    script.request("e").expect_done(["ack e", "response e 429 over_budget"]);
    script.settings.budget = Budget::default();
    script
        .settings_changed(false)
        .request("f")
        .expect(["ack f", "forward f"]);
}

#[test]
fn draining_and_bad_requests_are_told_as_such() {
    let mut script = budget(|budget| budget.max_concurrent = Some(1));
    script.request("a").skip();
    script.text(r#"{"type":"request","request_id":"b","payload":{"path":"/x"}}"#);
    script.expect_done(["ack b", "response b 404 path_not_allowed"]);
    script.pause().drain(8).skip();
    script.request("c").expect_done(["ack c", "response c 503 draining"]);
    assert_eq!(script.session.totals().not_admitted.len(), 0);
}

#[test]
fn without_budgets_nothing_is_counted_and_nothing_refused() {
    let mut script = connected_v2();
    for n in 0..1000 {
        script.text(&request(&n.to_string()));
    }
    let admission = script.session.admission();
    let now = script.now();
    assert_eq!(
        (
            admission.requests_left(now),
            admission.tokens_left(now),
            admission.concurrent_left(9)
        ),
        (None, None, None)
    );
    assert!(
        script
            .session
            .requests()
            .find(RequestId::from("999").as_str())
            .is_some()
    );
    assert_eq!(script.session.totals().faults.len(), 0);
}
