//! Promises of the two commands a newcomer starts with: `spectral-bridge`, and the demo behind `make run`.

use e2e::model::{Model, ModelOptions};
use e2e::relay::{Relay, RelayOptions, Version};
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, KEY, chat};
use e2e::world::{Process, Scratch, command, envoy_binary, free_address, launcher, library_dir};
use hyper::StatusCode;
use tokio::process::Command;

fn spectral_bridge(arguments: &[&str]) -> Command {
    let mut command = command(launcher().unwrap());
    command.args(arguments);
    command
        .env("SPECTRAL_BRIDGE_ENVOY", envoy_binary().unwrap())
        .env("SPECTRAL_BRIDGE_LIB_DIR", library_dir().unwrap());
    command
}

async fn relay() -> Relay {
    Relay::start(RelayOptions::new(Version::V2, KEY)).await.unwrap()
}

#[tokio::test]
async fn start_connects_forwards_shows_its_status_and_stops_with_envoys_code() {
    let (relay, model) = (relay().await, Model::start().await.unwrap());
    let status = free_address().unwrap();
    let mut start = spectral_bridge(&["start", "--insecure-relay", "--relay-url", &relay.connect_url()]);
    start.args([
        "--target",
        &format!("http://{}", model.address()),
        "--status-port",
        &status.port().to_string(),
    ]);
    let mut launcher = Process::start("start", start.env("SPECTRAL_BRIDGE_API_KEY", KEY)).unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    assert_eq!(
        post(&relay.url("/v1/chat/completions"), chat("quick"))
            .await
            .unwrap()
            .status,
        StatusCode::OK
    );
    launcher.line("access | ", DEADLINE).await.unwrap();
    launcher.line("connected to the relay", DEADLINE).await.unwrap();
    let page = format!("http://{status}/inspector in a browser");
    launcher.line(&page, DEADLINE).await.unwrap();

    let mut shown = spectral_bridge(&["status", "--address", &status.to_string()]);
    let mut shown = Process::start("status", &mut shown).unwrap();
    assert_eq!(shown.exited(DEADLINE).await.unwrap().code(), Some(0));
    let said = shown.output_to_end(DEADLINE).await;
    assert!(
        said.contains("relay default: connected") && said.contains("requests 1"),
        "{said}"
    );

    let url = relay.url("/v1/chat/completions");
    let request = tokio::spawn(async move { post(&url, chat("delay-2s")).await.unwrap() });
    model.ledger().wait(2, DEADLINE).await.unwrap();
    launcher.interrupt().unwrap();
    assert_eq!(
        launcher.exited(DEADLINE).await.unwrap().code(),
        Some(0),
        "{}",
        launcher.output()
    );
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(relay.journal().closes(), [Some(1001)]);
    assert!(!launcher.output().contains(KEY), "the key is in the log");
}

#[tokio::test]
async fn start_relay_with_an_adapter_url_is_the_same_thing_and_a_model_gets_its_own_key() {
    let relay = relay().await;
    let options = ModelOptions {
        key: Some("models-own-key".into()),
        ..ModelOptions::default()
    };
    let model = Model::start_with(options).await.unwrap();
    let mut start = spectral_bridge(&[
        "start-relay",
        "--insecure-relay",
        "--status-port",
        "0",
        "--relay-url",
        &relay.connect_url(),
    ]);
    start.args([
        "--adapter-url",
        &format!("http://{}", model.address()),
        "--target-key-env",
        "MODEL_API_KEY",
    ]);
    start
        .env("SPECTRAL_BRIDGE_API_KEY", KEY)
        .env("MODEL_API_KEY", "models-own-key");
    let mut launcher = Process::start("start-relay", &mut start).unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let reply = post(&relay.url("/v1/chat/completions"), chat("quick")).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(
        model.ledger().last().unwrap().header("authorization"),
        Some("Bearer models-own-key")
    );
    launcher.terminate().unwrap();
    assert_eq!(launcher.exited(DEADLINE).await.unwrap().code(), Some(0));
    assert!(
        !launcher.output().contains("models-own-key"),
        "the model's key is in the log"
    );
}

#[tokio::test]
async fn config_prints_what_start_would_run_and_envoy_accepts_it() {
    let scratch = Scratch::new().unwrap();
    let mut print = spectral_bridge(&[
        "config",
        "--target",
        "https://models.example.com/openai",
        "--relay-url",
        "wss://relay.example.com/connect",
    ]);
    let mut print = Process::start("config", &mut print).unwrap();
    assert_eq!(
        print.exited(DEADLINE).await.unwrap().code(),
        Some(0),
        "{}",
        print.output()
    );
    let text = print.output_to_end(DEADLINE).await;
    assert!(
        text.contains("sni: \"models.example.com\"") || text.contains("sni: models.example.com"),
        "{text}"
    );
    let config = scratch.write("envoy.yaml", text).unwrap();
    let validation = e2e::world::validate(&config, &[("SPECTRAL_BRIDGE_API_KEY", KEY)], DEADLINE)
        .await
        .unwrap();
    assert!(validation.status.success(), "{}", validation.output);
}

#[tokio::test]
async fn a_missing_key_or_envoy_is_said_with_the_remedy() {
    let mut no_key = Process::start(
        "no key",
        &mut spectral_bridge(&["start", "--target", "http://127.0.0.1:1"]),
    )
    .unwrap();
    assert!(!no_key.exited(DEADLINE).await.unwrap().success());
    assert!(
        no_key.output_to_end(DEADLINE).await.contains(
            "set SPECTRAL_BRIDGE_API_KEY to the relay API key, or name a file that has it with --api-key-file"
        )
    );
    let mut lost = spectral_bridge(&["start", "--target", "http://127.0.0.1:1", "--envoy", "/nowhere/envoy"]);
    let mut lost = Process::start("no envoy", lost.env("SPECTRAL_BRIDGE_API_KEY", KEY)).unwrap();
    assert!(!lost.exited(DEADLINE).await.unwrap().success());
    let said = lost.output_to_end(DEADLINE).await;
    assert!(said.contains("/nowhere/envoy"), "{said}");
}

#[tokio::test]
async fn the_demo_shows_a_request_crossing_keeps_running_and_drains_on_ctrl_c() {
    let mut demo = command(env!("CARGO_BIN_EXE_demo"));
    demo.env("SPECTRAL_BRIDGE_ENVOY", envoy_binary().unwrap())
        .env("SPECTRAL_BRIDGE_LIB_DIR", library_dir().unwrap());
    let mut demo = Process::start("demo", &mut demo).unwrap();
    demo.line("You said: Hello through the bridge!", DEADLINE)
        .await
        .unwrap();
    demo.line("stop     Ctrl-C", DEADLINE).await.unwrap();
    assert!(demo.is_running());
    demo.interrupt().unwrap();
    assert_eq!(
        demo.exited(DEADLINE).await.unwrap().code(),
        Some(0),
        "{}",
        demo.output()
    );
    assert!(
        demo.output_to_end(DEADLINE).await.contains("drained"),
        "{}",
        demo.output()
    );
}
