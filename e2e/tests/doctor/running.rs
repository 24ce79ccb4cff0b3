//! A bridge that serves the key: it is asked instead of being replaced, and no request is lost to a look.

use e2e::model::Model;
use e2e::relay::{DEFAULT_RELAY, Event, Relay, Version};
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, KEY, chat};
use e2e::world::{Process, command, envoy_binary, free_address, launcher, library_dir};
use hyper::StatusCode;

use crate::{Doctor, relay};

/// The launcher with Envoy, connected to `relay`.
async fn start(relay: &Relay, model: &Model, status: u16, connection: u64) -> Process {
    let mut start = command(launcher().unwrap());
    start.args(["start", "--insecure-relay", "--relay-url", &relay.connect_url()]);
    start.args(["--target", &format!("http://{}", model.address())]);
    start.args(["--status-port", &status.to_string()]);
    start
        .env("SPECTRAL_BRIDGE_API_KEY", KEY)
        .env("SPECTRAL_BRIDGE_ENVOY", envoy_binary().unwrap())
        .env("SPECTRAL_BRIDGE_LIB_DIR", library_dir().unwrap());
    let bridge = Process::start("start", &mut start).unwrap();
    relay.connected(connection, DEADLINE).await.unwrap();
    bridge.line("connected to the relay", DEADLINE).await.unwrap();
    bridge
}

#[tokio::test]
async fn a_bridge_that_runs_is_asked_and_keeps_its_connection_unless_that_is_wanted() {
    let (relay, model) = (relay(Version::V2).await, Model::start().await.unwrap());
    let (status, elsewhere) = (free_address().unwrap().port(), free_address().unwrap().port());
    let mut bridge = start(&relay, &model, status, 1).await;
    let doctor = |port: u16, more: &[&str]| {
        Doctor::new(&["--only", "relay", "--target", "http://127.0.0.1:1", "--insecure-relay"])
            .with(&["--relay-url", &relay.connect_url(), "--status-port", &port.to_string()])
            .with(more)
            .says()
    };

    let said = doctor(status, &[]).await;
    said.is_well(&["dns", "tcp", "handshake", "protocol"]);
    let handshake = said.check("handshake");
    let (detail, advice) = (
        handshake["detail"].as_str().unwrap(),
        handshake["advice"].as_str().unwrap(),
    );
    assert!(
        detail.contains(&format!("127.0.0.1:{status}")) && detail.contains("(process "),
        "{detail}"
    );
    assert!(advice.contains("--connect always"), "{advice}");
    assert_eq!(said.check("protocol")["detail"], "version 2, says the instance");

    let said = doctor(elsewhere, &[]).await;
    assert_eq!(
        (said.code, said.statuses(&["handshake", "protocol"])),
        (0, vec!["skipped", "skipped"])
    );
    assert!(
        said.check("handshake")["advice"]
            .as_str()
            .unwrap()
            .contains("--status-port")
    );
    assert!(relay.journal().closes().is_empty(), "its connection was taken");

    doctor(status, &["--connect", "always"])
        .await
        .is_well(&["handshake", "protocol"]);
    // the doctor's was the second, and the bridge is back
    relay.connected(3, DEADLINE).await.unwrap();
    let reply = post(&relay.url("/v1/chat/completions"), chat("quick")).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    bridge.terminate().unwrap();
    bridge.exited(DEADLINE).await.unwrap();
}

// PROTOCOL §2.5: a disconnect does not fail in-flight requests; not acked is sent again
#[tokio::test]
async fn a_request_that_is_pushed_to_the_doctor_reaches_the_model_later_and_once() {
    let (relay, model) = (relay(Version::V2).await, Model::start().await.unwrap());
    let look = || Doctor::of_relay(&relay.connect_url()).says();
    // a client that was there once is waited for by callers
    look().await.is_well(&["handshake"]);
    let url = relay.url("/v1/chat/completions");
    let request = tokio::spawn(async move { post(&url, chat("quick")).await.unwrap() });
    // the next connection, the second doctor's, gets it
    let pushed = relay.journal().wait(DEADLINE, |entries| {
        let mut sent = entries.iter().filter(|entry| entry.connection > 1);
        sent.any(|entry| matches!(&entry.event, Event::Sent(text) if text.contains("\"request\"")))
            .then_some(())
    });
    let looking = async {
        loop {
            look().await.is_well(&["handshake", "protocol"]);
            if relay.slot(DEFAULT_RELAY).unwrap().pending() > 0 {
                break;
            }
        }
    };
    let ((), pushed) = tokio::join!(looking, pushed);
    pushed.unwrap();
    assert!(relay.journal().acks().is_empty(), "the doctor took it");
    assert!(!request.is_finished());

    let before = relay.journal().closes().len() as u64;
    let mut bridge = start(&relay, &model, free_address().unwrap().port(), before + 1).await;
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(model.ledger().exchanges().len(), 1);
    assert!(relay.journal().closes().iter().all(|code| *code == Some(1000)));
    bridge.terminate().unwrap();
    bridge.exited(DEADLINE).await.unwrap();
}
