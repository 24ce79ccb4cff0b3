//! PROTOCOL §2.6: a client that ends takes nothing new, finishes what it has, and says that it goes.

use serde_json::json;

use super::*;

// PROTOCOL §2.6
#[tokio::test]
async fn what_is_in_flight_is_finished_acked_and_then_the_connection_closed_with_1001() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    rig.drain(LONG).await;
    assert_eq!(rig.state(), RelayState::Draining);
    caller.request("late").await;
    caller.hears_ack("late").await;
    let (status, body) = caller.hears_response("late").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("draining")));
    caller.ack("late").await;
    arrival.answer("{}");
    caller.hears_response("r-1").await;
    rig.until(|core| core.session.requests().held() == 1).await;
    caller.ack("r-1").await;
    assert_eq!(caller.hears_close().await, 1001);
    assert!(rig.adapter.is_left_alone());
    let core = Arc::clone(&rig.core);
    rig.ends().await;
    assert_eq!(core.lock().unwrap().session.state(), RelayState::Drained);
}

#[tokio::test]
async fn an_ack_that_never_comes_is_awaited_no_longer_than_the_grace() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    rig.adapter.arrival().await.answer("{}");
    caller.hears_response("r-1").await;
    rig.drain(Duration::from_millis(100)).await;
    assert_eq!(caller.hears_close().await, 1001);
    rig.ends().await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up_at_the_grace() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    rig.drain(Duration::from_millis(100)).await;
    assert_eq!(caller.hears_close().await, 1001);
    arrival.given_up().await;
    rig.ends().await;
}

#[tokio::test]
async fn a_held_answer_is_delivered_over_a_connection_made_for_it() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    drop(caller);
    rig.relay.refuse("502 Bad Gateway").await;
    rig.until_state(RelayState::BackingOff).await;
    arrival.answer("[1]");
    rig.until(|core| core.session.requests().held() == 1).await;
    rig.drain(LONG).await;
    let mut caller = rig.relay.connect().await;
    assert_eq!(caller.hears_response("r-1").await, (200, json!([1])));
    caller.ack("r-1").await;
    assert_eq!(caller.hears_close().await, 1001);
    rig.ends().await;
}

#[tokio::test]
async fn a_connection_lost_while_draining_is_made_again() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    rig.drain(LONG).await;
    drop(caller);
    let mut caller = rig.relay.connect().await;
    arrival.answer("[1]");
    caller.hears_response("r-1").await;
    caller.ack("r-1").await;
    assert_eq!(caller.hears_close().await, 1001);
    rig.ends().await;
}

#[tokio::test]
async fn with_nothing_to_finish_a_client_ends_at_once_whatever_it_is_doing() {
    // dialling a relay that does not answer, after a refused key, waiting for the next attempt
    for refusal in [None, Some("403 Forbidden"), Some("503 Service Unavailable")] {
        let rig = Rig::start().await;
        if let Some(status) = refusal {
            rig.relay.refuse(status).await;
            rig.until(|core| core.last_error.is_some()).await;
        } else {
            rig.until_state(RelayState::Connecting).await;
        }
        rig.drain(LONG).await;
        rig.ends().await;
    }
}

#[tokio::test]
async fn a_relay_that_does_not_answer_the_close_frame_is_not_waited_for_long() {
    let rig = Rig::start().await;
    let silent = rig.relay.connect().await;
    rig.until_state(RelayState::Connected).await;
    rig.drain(LONG).await;
    rig.ends().await;
    drop(silent);
}

/// Whoever let go of the client without a drain wants it gone.
#[tokio::test]
async fn a_client_that_nobody_holds_ends() {
    let mut rig = Rig::start().await;
    let mut caller = rig.relay.connect().await;
    caller.request("r-1").await;
    caller.hears_ack("r-1").await;
    let arrival = rig.adapter.arrival().await;
    let Rig { commands, running, .. } = rig;
    drop(commands);
    assert!(caller.message().await.is_close());
    within(running).await.unwrap();
    arrival.given_up().await;
}
