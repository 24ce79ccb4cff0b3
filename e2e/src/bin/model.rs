//! The demo model as a program.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::model::{Model, ModelOptions};
use tokio::signal::unix::{SignalKind, signal};

/// A small model that repeats what it is told: chat completions, completions, embeddings, Responses (a WebSocket, too),
/// Realtime, speech, transcriptions, images, Anthropic messages, Ollama chat. GET /ledger tells the tokens that it told its callers about.
///
/// The request's `model` chooses a behaviour: delay-20s, pace-50ms, bytes-15728640, status-503, html-200, html-500, sse,
/// gzip, chunked, nan, close-after-request, close-mid-answer, no-usage, null-usage, always-usage, continuous-usage, crlf,
/// fragmented; any other name simply answers.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8800")]
    listen: SocketAddr,
    /// Bearer key that requests must carry.
    #[arg(long, env = "MODEL_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Say nothing about requests.
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("model: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let key = arguments.key.filter(|key| !key.is_empty());
    let options = ModelOptions {
        listen: arguments.listen,
        key,
        ledger: false,
        log: !arguments.quiet,
    };
    let model = Model::start_with(options).await?;
    eprintln!("model: answers at {}", model.url("/v1/chat/completions"));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("model: stopping");
    model.drain(Duration::from_secs(5)).await;
    Ok(())
}
