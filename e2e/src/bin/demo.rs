//! What `make run` shows without settings: a relay, a model and Envoy with the module between them, and one request
//! that crosses. Keeps running until Ctrl-C, then drains.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use e2e::failed::{Failed, Result};
use e2e::model::Model;
use e2e::relay::{Relay, RelayOptions, Version};
use e2e::world::{eventually, free_address, http, launcher};
use hyper::StatusCode;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let relay = Relay::start(options()).await?;
    say(&format!(
        "relay   the platform's side, clients connect to {}",
        relay.connect_url()
    ));
    let model = Model::start().await?;
    say(&format!(
        "model   the private side, OpenAI-compatible, on http://{}",
        model.address()
    ));
    let (status, admin) = (free_address()?, free_address()?);
    let mut envoy = start_envoy(&relay, &model, status, admin)?;
    say("envoy   starts with the module and connects to the relay");

    let shown = async {
        show(&relay, status, admin).await?;
        std::future::pending::<()>().await;
        Ok::<(), Failed>(())
    };
    tokio::select! {
        failed = shown => {
            stop(&mut envoy).await?;
            failed?;
        }
        ended = envoy.wait() => return Err(Failed::new(format!("Envoy ended by itself: {}", ended?))),
        _ = interrupt.recv() => say("stopping, requests in flight may finish"),
        _ = terminate.recv() => say("stopping, requests in flight may finish"),
    }
    let code = stop(&mut envoy).await?;
    relay.shutdown().await;
    model.stop().await;
    Ok(code)
}

fn options() -> RelayOptions {
    let mut options = RelayOptions::new(Version::V2, KEY);
    options.public = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    options.journal = false;
    options
}

fn start_envoy(relay: &Relay, model: &Model, status: SocketAddr, admin: SocketAddr) -> Result<Child> {
    let mut command = Command::new(launcher()?);
    command.args(["start", "--insecure-relay", "--relay-url", &relay.connect_url()]);
    command.args(["--target", &format!("http://{}", model.address())]);
    command.args([
        "--status-port",
        &status.port().to_string(),
        "--admin-port",
        &admin.port().to_string(),
    ]);
    command.env("SPECTRAL_BRIDGE_API_KEY", KEY).stdin(Stdio::null());
    // Ctrl-C in a terminal reaches the whole group: the launcher must hear of it from here alone, once.
    Ok(command.process_group(0).kill_on_drop(true).spawn()?)
}

async fn show(relay: &Relay, status: SocketAddr, admin: SocketAddr) -> Result<()> {
    let ready = format!("http://{status}/readyz");
    eventually("the module is connected to the relay", PATIENCE, || async {
        http::get(&ready)
            .await
            .is_ok_and(|reply| reply.status == StatusCode::OK)
            .then_some(())
    })
    .await?;
    let url = relay.url("/v1/chat/completions");
    let answer = http::post(&url, QUESTION).await?;
    println!();
    say("one request crosses: relay -> module in Envoy -> model -> relay");
    println!("  $ curl {url} -H 'content-type: application/json' -d '{QUESTION}'");
    println!("  HTTP {}\n  {}", answer.status, answer.text());
    println!();
    say("where to look");
    println!("  status   curl http://{status}/status, or: target/release/spectral-bridge status --address {status}");
    println!("  admin    http://{admin}/, for example http://{admin}/stats?filter=cluster.adapter");
    println!("  again    the curl line above, as often as you like; Envoy's access log shows each");
    println!("  stop     Ctrl-C");
    println!();
    match answer.status {
        StatusCode::OK => Ok(()),
        status => Err(Failed::new(format!(
            "the request should have been answered 200, not {status}"
        ))),
    }
}

/// Asks the launcher to stop and waits for it: it drains Envoy within its grace.
async fn stop(envoy: &mut Child) -> Result<ExitCode> {
    if let Some(id) = envoy
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
    {
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
    }
    let ended = tokio::time::timeout(PATIENCE, envoy.wait()).await??;
    say(&format!("Envoy ended: {ended}"));
    Ok(ended
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn say(line: &str) {
    println!("==> {line}");
}

const KEY: &str = "demo-key";
const QUESTION: &str = r#"{"messages":[{"role":"user","content":"Hello through the bridge!"}]}"#;
const PATIENCE: Duration = Duration::from_secs(30);
