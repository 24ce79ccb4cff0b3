//! What `make run` shows without settings: a relay, a model and Envoy with the module between them, and one request
//! that crosses. Keeps running until Ctrl-C, then drains.
#![forbid(unsafe_code)]

use std::process::{ExitCode, Stdio};

use e2e::demo::{Demo, say};
use e2e::failed::{Failed, Result};
use hyper::StatusCode;
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
    let mut demo = Demo::start(&[], Stdio::inherit()).await?;
    let url = demo.relay.connect_url();
    say(&format!("relay   the platform's side, clients connect to {url}"));
    let address = demo.model.address();
    say(&format!(
        "model   the private side, OpenAI-compatible, on http://{address}"
    ));
    say("envoy   starts with the module and connects to the relay");

    tokio::select! {
        shown = show(&demo) => match shown {
            Ok(()) => {}
            Err(failed) => {
                demo.stop().await?;
                return Err(failed);
            }
        },
        _ = interrupt.recv() => return stop(demo).await,
        _ = terminate.recv() => return stop(demo).await,
    }
    tokio::select! {
        failed = demo.ended() => Err(failed),
        _ = interrupt.recv() => stop(demo).await,
        _ = terminate.recv() => stop(demo).await,
    }
}

async fn show(demo: &Demo) -> Result<()> {
    demo.ready().await?;
    let answer = demo.ask("/v1/chat/completions", QUESTION).await?;
    let (url, status, admin) = (demo.relay.url("/v1/chat/completions"), demo.status, demo.admin);
    println!();
    say("one request crosses: relay -> module in Envoy -> model -> relay");
    println!("  $ curl {url} -H 'content-type: application/json' -d '{QUESTION}'");
    println!("  HTTP {}\n  {}", answer.status, answer.text());
    println!();
    say("where to look");
    println!("  status   curl http://{status}/status, or: target/release/spectral-bridge status --address {status}");
    println!("  look     http://{status}/inspector in a browser: relays and requests, live");
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

async fn stop(demo: Demo) -> Result<ExitCode> {
    say("stopping, requests in flight may finish");
    demo.stop().await
}

const QUESTION: &str = r#"{"messages":[{"role":"user","content":"Hello through the bridge!"}]}"#;
