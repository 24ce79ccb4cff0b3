//! From the start to the end of an Envoy with chats.

use std::os::unix::net::UnixListener;

use e2e::model::Model;
use e2e::world::http::{get, post};
use e2e::world::site::DEADLINE;
use e2e::world::{Envoy, validate};
use serde_json::{Value, json};

use super::puppet::Puppet;
use super::{Chat, Client, Plan, ask, assert_error, exists};

async fn exits_with_0(envoy: &mut Envoy) {
    let status = envoy.process().exited(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", envoy.process().output());
}

/// A turn that has begun to answer.
async fn running(chat: &Chat, puppet: &mut Puppet) -> (Client, super::puppet::Line) {
    let mut client = chat.dial().await;
    client.say(ask("demo", "go on")).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    line.says("first").await;
    assert_eq!(client.hears().await["content"], "first");
    (client, line)
}

#[tokio::test]
async fn sigterm_lets_a_turn_finish_closes_with_1001_and_removes_the_socket() {
    let mut puppet = Puppet::start().await;
    let mut chat = Plan::new().serving(puppet.address()).await;
    let mut idle = chat.dial().await;
    let (mut client, mut line) = running(&chat, &mut puppet).await;
    chat.envoy.process().terminate().unwrap();
    assert_eq!(idle.hears_close().await, Some(1001), "who has no turn need not wait");
    chat.becomes("/state", json!("draining")).await;
    assert!(!exists(&chat.plan.socket()));
    line.says(" last").await;
    line.ends().await;
    let (said, done) = client.answer().await;
    assert_eq!((said.as_str(), &done["type"]), (" last", &json!("done")));
    assert_eq!(client.hears_close().await, Some(1001));
    exits_with_0(&mut chat.envoy).await;
}

#[tokio::test]
async fn a_turn_longer_than_the_grace_is_told_so() {
    let mut puppet = Puppet::start().await;
    let plan = Plan::new().edit("# shutdown_grace: 8s", "shutdown_grace: 500ms #");
    let mut chat = plan.serving(puppet.address()).await;
    let (mut client, mut line) = running(&chat, &mut puppet).await;
    chat.envoy.process().terminate().unwrap();
    let (_, error) = client.answer().await;
    assert_error(&error, 503, "draining", "bridge");
    assert_eq!(client.hears_close().await, Some(1001));
    line.is_hung_up().await;
    exits_with_0(&mut chat.envoy).await;
}

#[tokio::test]
async fn a_dead_envoys_socket_is_replaced_and_a_strangers_is_waited_for() {
    let model = Model::start().await.unwrap();
    let plan = Plan::new();
    drop(UnixListener::bind(plan.socket()).unwrap());
    assert!(exists(&plan.socket()), "what a killed Envoy leaves behind");
    let chat = plan.serving(model.address()).await;
    chat.dial().await.still_answers().await;
    drop(chat);

    let plan = Plan::new();
    let stranger = UnixListener::bind(plan.socket()).unwrap();
    let chat = plan.start(model.address()).await;
    chat.becomes("/last_error/code", json!("listen")).await;
    assert_eq!(chat.status().await["state"], "waiting_for_socket");
    let ready = get(&format!("http://{}/readyz", chat.plan.status)).await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("another listens there"), "{}", ready.text());
    drop(stranger);
    chat.becomes("/state", json!("listening")).await;
    let ready = get(&format!("http://{}/readyz", chat.plan.status)).await.unwrap();
    assert_eq!(ready.status, 200, "{}", ready.text());
}

#[tokio::test]
async fn post_drain_ends_chats_as_a_signal_does() {
    let (chat, _model) = Chat::with_model().await;
    let mut client = chat.dial().await;
    client.still_answers().await;
    let url = format!("http://{}/drain?wait=true", chat.plan.status);
    let drained = tokio::spawn(async move { post(&url, "").await.unwrap() });
    assert_eq!(client.hears_close().await, Some(1001));
    // the farewell ends with the connection
    drop(client);
    assert_eq!(drained.await.unwrap().status, 200);
    assert_eq!(chat.status().await["state"], "drained");
    let refused = chat.try_dial("/websockets/chat", Some(super::CREDENTIALS), &[]).await;
    assert_eq!(refused.err(), Some(503));
}

#[tokio::test]
async fn validation_binds_nothing_and_reports_every_mistake() {
    let plan = Plan::new();
    let config = plan.write("127.0.0.1:1".parse().unwrap());
    let validation = validate(&config, &[], DEADLINE).await.unwrap();
    assert!(validation.status.success(), "{}", validation.output);
    assert!(!exists(&plan.socket()));
    let plan = Plan::new()
        .edit("path: /websockets/chat  ", "path: websockets  ")
        .edit("# max_sessions: 256", "max_sessions: 0 #")
        .edit("# idle_timeout: 600s", "idle_timeout: soon #")
        .edit("# send_timeout: 60s", "send_timout: 60s #");
    let config = plan.write("127.0.0.1:1".parse().unwrap());
    let validation = validate(&config, &[], DEADLINE).await.unwrap();
    assert!(!validation.status.success());
    for path in [
        "chat.path",
        "chat.max_sessions",
        "chat.idle_timeout",
        "chat.send_timout",
    ] {
        assert!(validation.output.contains(path), "{path}: {}", validation.output);
    }
}

#[tokio::test]
async fn an_envoy_with_chats_alone_has_no_relays_in_its_status() {
    let (chat, _model) = Chat::with_model().await;
    let url = format!("http://{}/status", chat.plan.status);
    let status: Value = get(&url).await.unwrap().json();
    assert_eq!((&status["running"], &status["relays"]), (&json!(true), &json!([])));
    let admin = chat.envoy.admin("/spectral_bridge").await.unwrap().json();
    assert_eq!(admin.pointer("/chat/0/path"), Some(&json!("/websockets/chat")));
}
