//! `status`: asks a running instance's status server and prints the answer for people, probes or programs.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use spectral_bridge::status::snapshot::{
    ChatSnapshot, ChatState, ExportSnapshot, PauseSnapshot, ProcessSnapshot, RelaySnapshot, RelayState,
};
use tokio::net::TcpStream;

use crate::Refusal;
use crate::cli::StatusArgs;

/// Prints what was asked for.
pub fn run(options: &StatusArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return unreachable_instance(&e.to_string()),
    };
    match runtime.block_on(ask(options)) {
        Ok(Answer { text, ready }) => {
            println!("{text}");
            ExitCode::from(if ready { READY } else { NOT_READY })
        }
        Err(refusal) => unreachable_instance(&refusal),
    }
}

fn unreachable_instance(why: &str) -> ExitCode {
    eprintln!("Error: {why}");
    ExitCode::from(UNREACHABLE)
}

/// What to print, and whether every relay is connected.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// The exit code's source.
    pub ready: bool,
}

/// Asks once.
///
/// # Errors
/// Nothing answers there, or something else does.
pub async fn ask(options: &StatusArgs) -> Result<Answer, Refusal> {
    let path = if options.live { "/healthz" } else { "/status" };
    let (status, body) = fetch(&options.address, Method::GET, path, None).await?;
    if status != http::StatusCode::OK {
        return Err(format!("{}: answered {status} to GET {path}", options.address));
    }
    let text = String::from_utf8_lossy(&body).trim_end().to_owned();
    if options.live {
        return Ok(Answer {
            text: "alive".to_owned(),
            ready: true,
        });
    }
    let snapshot: ProcessSnapshot = serde_json::from_slice(&body)
        .map_err(|_| format!("{}: the answer is not a status of spectral-bridge", options.address))?;
    let ready = snapshot.is_ready();
    Ok(Answer {
        text: if options.json { text } else { describe(&snapshot) },
        ready,
    })
}

/// One request to the status server, with this token.
///
/// # Errors
/// Nothing answers there.
pub async fn fetch(
    address: &str,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> Result<(http::StatusCode, Bytes), Refusal> {
    fetch_within(PATIENCE, address, method, path, token).await
}

/// [`fetch`] for what is known to take its time.
///
/// # Errors
/// Nothing answers there within `patience`.
pub async fn fetch_within(
    patience: Duration,
    address: &str,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> Result<(http::StatusCode, Bytes), Refusal> {
    let fetched = tokio::time::timeout(patience, exchange(address, method, path, token)).await;
    fetched
        .unwrap_or_else(|_| Err(format!("no answer within {} seconds", patience.as_secs())))
        .map_err(|why| format!("{address}: {why}; is spectral-bridge running, and is this its status address?"))
}

async fn exchange(
    address: &str,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> Result<(http::StatusCode, Bytes), String> {
    let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    // Ends by itself when the answer is complete and the sender dropped.
    tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(path).header(HOST, address);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new());
    let response = sender
        .send_request(request.map_err(|e| e.to_string())?)
        .await
        .map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|e| e.to_string())?;
    Ok((status, body.to_bytes()))
}

fn describe(snapshot: &ProcessSnapshot) -> String {
    let state = match (snapshot.running, snapshot.is_ready()) {
        (false, _) => "draining",
        (true, true) => "ready",
        (true, false) => "not ready",
    };
    let mut text = format!(
        "{state}, spectral-bridge {}, up {}",
        snapshot.version,
        span(snapshot.uptime_seconds)
    );
    if let Some(gateway) = &snapshot.gateway {
        let _ = write!(
            text,
            "\n\ngateway: {} requests under way on {} connections, {} requests so far",
            gateway.active_requests, gateway.active_connections, gateway.total_requests
        );
    }
    for relay in &snapshot.relays {
        text.push('\n');
        text.push_str(&describe_relay(relay));
    }
    for chat in &snapshot.chat {
        text.push('\n');
        text.push_str(&describe_chat(chat));
    }
    for (signal, export) in &snapshot.telemetry.exports {
        text.push_str(&describe_export(signal, export));
    }
    text
}

fn describe_chat(chat: &ChatSnapshot) -> String {
    let totals = &chat.totals;
    let ended = totals.ended_turns.iter().map(|(how, count)| format!("{how}: {count}"));
    let state = match chat.state {
        ChatState::WaitingForSocket => "cannot listen",
        ChatState::Listening => "listening",
        ChatState::Draining => "draining",
        ChatState::Drained => "drained",
    };
    let mut text = format!("\nchat {}: {state}\n  socket   {}", chat.path, chat.listen);
    if let Some(error) = &chat.last_error {
        let ago = span(error.seconds_ago);
        let _ = write!(text, "\n  error    {}: {} ({ago} ago)", error.code, error.message);
    }
    let _ = write!(
        text,
        "\n  now      {} sessions, {} turns\n  turns    {} ({})\n  tokens   {} in, {} out",
        chat.sessions,
        chat.turns,
        totals.turns,
        ended.collect::<Vec<_>>().join(", "),
        totals.input_tokens,
        totals.output_tokens
    );
    text
}

fn describe_relay(relay: &RelaySnapshot) -> String {
    let mut text = describe_connection(relay);
    text.push_str(&describe_requests(relay));
    text.push_str(&describe_budget(relay));
    let totals = &relay.totals;
    let _ = write!(
        text,
        "\n  traffic  {} received, {} sent, {} connections, {} lost, {} replaced",
        size(totals.received_bytes),
        size(totals.sent_bytes),
        totals.connections,
        totals.disconnects,
        totals.replaced
    );
    text
}

fn describe_connection(relay: &RelaySnapshot) -> String {
    let mut text = format!(
        "\nrelay {}: {} for {}",
        relay.name,
        state_name(relay.state),
        span(relay.since_seconds)
    );
    if let Some(protocol) = relay.protocol {
        let _ = write!(text, ", protocol {protocol}");
    }
    if let Some(seconds) = relay.retry_in_seconds {
        let _ = write!(
            text,
            ", attempt {} in {}",
            relay.attempts.saturating_add(1),
            span(seconds)
        );
    }
    let _ = write!(text, "\n  url      {}", relay.url);
    if !relay.labels.is_empty() {
        let labels: Vec<String> = relay
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let _ = write!(text, "\n  labels   {}", labels.join(", "));
    }
    if let Some(pause) = &relay.paused {
        text.push_str(&describe_pause(pause));
    }
    if let Some(error) = &relay.last_error {
        let _ = write!(
            text,
            "\n  error    {}: {} ({} ago)",
            error.code,
            error.message,
            span(error.seconds_ago)
        );
    }
    text
}

fn describe_requests(relay: &RelaySnapshot) -> String {
    let totals = &relay.totals;
    let mut text = format!(
        "\n  now      {} at the adapter, {} queued, {} answers unacknowledged, {} held",
        relay.in_flight,
        relay.queued,
        relay.held_responses,
        size(relay.held_bytes)
    );
    let _ = write!(
        text,
        "\n  requests {} ({} duplicates)",
        totals.requests, totals.duplicate_requests
    );
    let answers: Vec<String> = totals
        .responses
        .iter()
        .map(|(status, count)| format!("{status}: {count}"))
        .collect();
    let answers = if answers.is_empty() {
        "none".to_owned()
    } else {
        answers.join(", ")
    };
    let _ = write!(
        text,
        "\n  answers  {answers} ({} resent, {} expired)",
        totals.resent_responses, totals.expired_responses
    );
    let _ = write!(
        text,
        "\n  tokens   {} in, {} out",
        totals.input_tokens, totals.output_tokens
    );
    let unknown: u64 = totals.usage_missing.values().sum();
    if unknown > 0 {
        let _ = write!(text, " ({unknown} answers without usage)");
    }
    text
}

fn describe_pause(pause: &PauseSnapshot) -> String {
    let mut text = format!("\n  paused   by {} for {}", pause.by, span(pause.since_seconds));
    if let Some(seconds) = pause.opens_in_seconds {
        let _ = write!(text, ", opens in {}", span(seconds));
    }
    text
}

/// Nothing where no budget is set and nothing was refused.
fn describe_budget(relay: &RelaySnapshot) -> String {
    let budget = &relay.budget;
    let left = [
        (budget.requests_left, "requests left this minute"),
        (budget.tokens_left, "tokens left today"),
        (budget.concurrent_left, "more at once"),
    ];
    let left = left
        .iter()
        .filter_map(|(left, what)| Some(format!("{} {what}", (*left)?)));
    let refused = relay.totals.not_admitted.iter();
    let refused = refused.map(|(limit, count)| format!("{count} refused by {limit}"));
    let all: Vec<String> = left.chain(refused).collect();
    if all.is_empty() {
        String::new()
    } else {
        format!("\n  budget   {}", all.join(", "))
    }
}

fn describe_export(signal: &str, export: &ExportSnapshot) -> String {
    let mut text = format!(
        "\n\n{signal} to {} ({}): {} batches, {} failures",
        export.endpoint, export.protocol, export.batches, export.failures
    );
    if export.dropped > 0 {
        let _ = write!(text, ", {} dropped", export.dropped);
    }
    if let Some(error) = &export.last_error {
        let (message, ago) = (&error.message, span(error.seconds_ago));
        let _ = write!(text, "\n  error    {}: {message} ({ago} ago)", error.code);
    }
    text
}

/// For people.
pub fn state_name(state: RelayState) -> &'static str {
    match state {
        RelayState::WaitingForListener => "waiting for Envoy's listener",
        RelayState::WaitingForLock => "waiting: another process on this host serves this key",
        RelayState::Connecting => "connecting",
        RelayState::Connected => "connected",
        RelayState::BackingOff => "disconnected, waiting to retry",
        RelayState::Stopped => "stopped until somebody acts",
        RelayState::Draining => "draining",
        RelayState::Drained => "drained",
    }
}

/// Two units are enough for people.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, and nothing depends on it
fn span(seconds: f64) -> String {
    let s = seconds as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86400, s % 86400 / 3600),
    }
}

#[allow(clippy::cast_precision_loss)] // one decimal is shown
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

const READY: u8 = 0;
const NOT_READY: u8 = 1;
const UNREACHABLE: u8 = 2;

/// Longer than a loaded host needs, shorter than a probe's patience.
const PATIENCE: Duration = Duration::from_secs(5);
/// 64 relays fill a tenth of this.
const MAX_BODY: usize = 1 << 20;

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
