//! Sessions that do not end in order: on either side, in the middle, by a timeout, with Envoy.

use std::time::Duration;

use e2e::model::Behaviour;
use e2e::world::eventually;

use super::*;

/// A session without a close frame was told of as lost, by who is said to have ended it.
async fn assert_lost<P>(site: &mut Site<P>, id: &str, turns: u64, closed_by: &str) {
    let line = site.gateway.logged(id).await.unwrap();
    assert_eq!(
        (&line["turns"], &line["close_code"]),
        (&json!(turns), &json!(1006)),
        "{line}"
    );
    assert_eq!(line["closed_by"], closed_by, "{line}");
    let ended = site.line("session ended", id).await;
    assert!(ended.contains(&format!(" turns={turns} ")), "{ended}");
    assert!(
        ended.contains(&format!(" close_code=1006 closed_by={closed_by} ")),
        "{ended}"
    );
    site.shows("sessions_active", &[], 0.0).await;
    site.shows("streams_active", &[], 0.0).await;
}

#[tokio::test]
async fn a_client_that_vanishes_ends_the_providers_side_too() {
    let mut site = Plan::new().start_model().await;
    let by = if site.envoy_tells().await { "client" } else { "unknown" };
    for (id, reset) in [("gone", false), ("reset", true)] {
        let mut socket = site.dial(id, "/v1/responses").await;
        answered(&mut socket, "demo", "one two").await;
        if reset {
            socket.get_ref().set_zero_linger().unwrap();
        }
        drop(socket);
        assert_lost(&mut site, id, 1, by).await;
    }
    let connections = async || {
        let active = site
            .gateway
            .envoy
            .stat("cluster.provider.upstream_cx_active")
            .await
            .ok()
            .flatten();
        (active == Some(0)).then_some(())
    };
    eventually("the provider's connections are closed", DEADLINE, connections)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_provider_that_breaks_off_ends_the_clients_side_too() {
    let mut site = Plan::new().start_model().await;
    let mut socket = site.dial("cut", "/v1/responses").await;
    answered(&mut socket, "demo", "one two").await;
    site.provider.next(Behaviour::CloseMidAnswer);
    let create = json!({"type": "response.create", "model": "demo", "input": "three"});
    socket.send(Message::text(create.to_string())).await.unwrap();
    assert!(!heard_to_the_end(&mut socket).await, "nobody said good-bye");
    let by = if site.envoy_tells().await { "server" } else { "unknown" };
    assert_lost(&mut site, "cut", 2, by).await;
    let line = site.gateway.logged("cut").await.unwrap();
    assert_eq!(line["usage_missing"], "cut_short", "{line}");
    assert_eq!(line["input_tokens"], site.provider.tokens().input, "{line}");

    let mut socket = site.dial("killed", "/v1/responses").await;
    answered(&mut socket, "demo", "one two").await;
    site.provider.stop().await;
    assert!(!heard_to_the_end(&mut socket).await, "nobody said good-bye");
    assert_lost(&mut site, "killed", 1, by).await;
}

#[tokio::test]
async fn a_session_in_which_nobody_speaks_is_ended_by_envoy_and_one_in_use_is_not() {
    let mut site = Plan::new()
        .edit("idle_timeout: 900s", "idle_timeout: 1s")
        .start_model()
        .await;
    let mut silent = site.dial("silent", "/v1/responses").await;
    // longer than the silence allowed, with words that are never that far apart
    site.provider.next(Behaviour::Pace(Duration::from_millis(300)));
    let mut speaking = site.dial("speaking", "/v1/responses").await;
    answered(&mut speaking, "demo", "one two three four").await;
    heard_to_the_end(&mut silent).await;
    answered(&mut speaking, "demo", "still here").await;
    let by = if site.envoy_tells().await { "envoy" } else { "unknown" };
    let line = site.gateway.logged("silent").await.unwrap();
    assert_eq!(
        (&line["close_code"], &line["closed_by"]),
        (&json!(1006), &json!(by)),
        "{line}"
    );
    speaking.close(None).await.unwrap();
    heard_to_the_end(&mut speaking).await;
    let line = site.gateway.logged("speaking").await.unwrap();
    assert_eq!(
        (&line["turns"], &line["close_code"]),
        (&json!(2), &json!(1005)),
        "{line}"
    );
}

#[tokio::test]
async fn envoys_own_end_is_told_of_the_sessions_that_it_cuts() {
    let mut site = Plan::new().start_model().await;
    let mut socket = site.dial("cut-off", "/v1/responses").await;
    answered(&mut socket, "demo", "one two").await;
    let process = site.gateway.envoy.process();
    process.terminate().unwrap();
    assert!(process.exited(DEADLINE).await.unwrap().success());
    let output = process.output_to_end(DEADLINE).await;
    assert!(
        output.contains("session ended path=/v1/responses model=demo turns=1 "),
        "{output}"
    );
    heard_to_the_end(&mut socket).await;
}
