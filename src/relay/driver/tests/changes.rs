//! Configuration and secrets that change while a client runs.

use http::header::AUTHORIZATION;

use super::*;
use crate::config::{ForwardHeader, SecretSource};

impl Rig {
    async fn reconfigure(&self, forward: &Forward, change: impl FnOnce(&mut Relay)) {
        let mut relay = self.config.clone();
        change(&mut relay);
        self.command(Command::Reconfigure(Box::new(wiring(&relay, forward))))
            .await;
    }
}

#[tokio::test]
async fn a_new_forward_address_takes_over_and_requests_at_the_old_one_go_on() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let old = rig.adapter.arrival().await;
    let dir = Scratch::new();
    let mut adapter = Adapter::start(&dir);
    rig.reconfigure(&adapter.forward, |_| {}).await;
    caller.request("r-2").await;
    caller.hears_ack("r-2").await;
    let new = adapter.arrival().await;
    assert_eq!((old.id(), new.id()), ("r-1", "r-2"));
    new.answer("2");
    assert_eq!(caller.hears_response("r-2").await, (200, 2.into()));
    old.answer("1");
    assert_eq!(caller.hears_response("r-1").await, (200, 1.into()));
    assert_eq!(rig.core().session.totals().connections, 1);
}

#[tokio::test]
async fn a_new_road_to_the_relay_is_taken_without_losing_requests() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    let forward = rig.adapter.forward.clone();
    rig.reconfigure(&forward, |relay| relay.tls.server_name = Some("other.test".to_owned()))
        .await;
    assert_eq!(caller.hears_close().await, 1000);
    let mut caller = rig.relay.connect().await;
    arrival.answer("1");
    assert_eq!(caller.hears_response("r-1").await, (200, 1.into()));
    assert!(rig.adapter.is_left_alone(), "asked twice");
}

#[tokio::test]
async fn new_limits_hold_from_the_next_request_on() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    let forward = rig.adapter.forward.clone();
    rig.reconfigure(&forward, |relay| {
        relay.paths = vec!["/v1/responses".to_owned()];
        relay.max_held_bytes = 7;
    })
    .await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    assert_eq!(caller.hears_response("r-1").await.0, 404);
    rig.reconfigure(&forward, |relay| relay.max_held_bytes = 7).await;
    caller.request("r-2").await;
    caller.hears_ack("r-2").await;
    let (status, body) = caller.hears_response("r-2").await;
    assert_eq!((status, &body["error"]["code"]), (503, &"overloaded".into()));
    assert!(rig.adapter.is_left_alone());
    assert_eq!(rig.core().session.totals().connections, 1);
}

/// Also after the configuration was replaced: those that were watched before are gone then.
#[tokio::test]
async fn secrets_are_read_again_when_they_may_have_changed() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    let mut forward = rig.adapter.forward.clone();
    forward.headers = vec![ForwardHeader {
        name: AUTHORIZATION,
        prefix: "Bearer ".to_owned(),
        value: SecretSource::File(rig.dir.file("model-key", "first")),
    }];
    rig.reconfigure(&forward, |_| {}).await;
    rig.dir.file("model-key", "second");
    rig.command(Command::CheckKey).await;
    // the file is read beside the requests
    for n in 0.. {
        let id = format!("r-{n}");
        caller.request(&id).await;
        caller.hears_ack(&id).await;
        let arrival = rig.adapter.arrival().await;
        let seen = arrival.asked.header("authorization").to_owned();
        arrival.answer("{}");
        caller.hears_response(&id).await;
        caller.ack(&id).await;
        if seen == "Bearer second" {
            break;
        }
        assert_eq!(seen, "Bearer first");
        assert!(n < 200, "the new secret was never read");
    }
}

#[tokio::test]
async fn a_paused_client_answers_what_it_has_and_refuses_what_comes() {
    let mut rig = Rig::with(|relay| relay.budget.max_concurrent = Some(1)).await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    caller.request("r-2").await;
    caller.hears_ack("r-2").await;
    let (status, body) = caller.hears_response("r-2").await;
    assert_eq!((status, &body["error"]["code"]), (429, &"over_budget".into()));
    rig.command(Command::Pause).await;
    rig.until(|core| core.session.admission().pause_at(core.state_since).is_some())
        .await;
    arrival.answer("1");
    assert_eq!(caller.hears_response("r-1").await, (200, 1.into()));
    caller.request("r-3").await;
    caller.hears_ack("r-3").await;
    let (status, body) = caller.hears_response("r-3").await;
    assert_eq!((status, &body["error"]["code"]), (503, &"paused".into()));
    rig.command(Command::Resume).await;
    rig.until(|core| core.session.admission().pause_at(core.state_since).is_none())
        .await;
    caller.request("r-4").await;
    caller.hears_ack("r-4").await;
    rig.adapter.arrival().await.answer("4");
    assert_eq!(caller.hears_response("r-4").await, (200, 4.into()));
    assert_eq!(rig.core().session.totals().connections, 1);
}

/// Without the wall clock a schedule would never close.
#[tokio::test]
async fn a_client_knows_the_time_from_its_start() {
    let text = r#"{"relays":[{"url":"wss://r/connect","api_key":{"env":"K"},"schedule":
        [{"from":"00:00","to":"12:00","utc_offset":"Z"},{"from":"12:00","to":"23:59","utc_offset":"Z"}]}]}"#;
    let schedule = config::Config::from_json(text.as_bytes())
        .unwrap()
        .relays
        .remove(0)
        .schedule;
    let rig = Rig::with(|relay| relay.schedule = schedule).await;
    let due = rig
        .core()
        .session
        .admission()
        .deadline()
        .expect("it closes before midnight");
    let wait = due.saturating_duration_since(tokio::time::Instant::now().into_std());
    assert!(wait <= Duration::from_secs(86_400), "{wait:?}");
}
