//! `chat`: the WebSocket endpoint for callers that only speak WebSocket.

use std::path::PathBuf;
use std::time::Duration;

use super::errors::shown;
use super::fields::{Field, Fields};
use super::{Chat, ForwardTo, defaults, duration, forward, keepalive};

/// Reads `chat`; absent means that there is no such endpoint.
pub(super) fn read(field: Option<Field<'_>>) -> Option<Option<Chat>> {
    let Some(field) = field else {
        return Some(None);
    };
    let fields = field.object(&KEYS)?;
    let listen = fields.or("listen", PathBuf::from(defaults::CHAT_LISTEN), |field| listen(&field));
    let path = fields.or("path", defaults::CHAT_PATH.to_owned(), read_path);
    let adapter_path = fields.or("adapter_path", defaults::CHAT_ADAPTER_PATH.to_owned(), read_path);
    let model = fields.or("model", None, |field| model(&field).map(Some));
    let max_sessions = fields.size(
        "max_sessions",
        defaults::MAX_CHAT_SESSIONS,
        &defaults::MAX_CHAT_SESSIONS_RANGE,
    );
    let max_message_bytes = fields.size(
        "max_message_bytes",
        defaults::MAX_CHAT_MESSAGE_BYTES,
        &defaults::MAX_CHAT_MESSAGE_RANGE,
    );
    let times = times(&fields);
    let keepalive = keepalive::read(&fields);
    let [request_timeout, idle_timeout, send_timeout, shutdown_grace] = times?;
    Some(Some(Chat {
        listen: listen?,
        path: path?,
        adapter_path: adapter_path?,
        model: model?,
        max_sessions: max_sessions?,
        max_message_bytes: max_message_bytes?,
        request_timeout,
        idle_timeout,
        send_timeout,
        keepalive: keepalive?,
        shutdown_grace,
    }))
}

/// All of them are read, so that each mistake is reported.
fn times(fields: &Fields<'_>) -> Option<[Duration; 4]> {
    let read = |key, default, range| duration::read(fields, key, default, range);
    let request = read(
        "request_timeout",
        defaults::REQUEST_TIMEOUT,
        &defaults::REQUEST_TIMEOUT_RANGE,
    );
    let idle = read(
        "idle_timeout",
        defaults::CHAT_IDLE_TIMEOUT,
        &defaults::CHAT_IDLE_TIMEOUT_RANGE,
    );
    let send = read("send_timeout", defaults::CHAT_SEND_TIMEOUT, &defaults::KEEPALIVE_RANGE);
    let grace = read(
        "shutdown_grace",
        defaults::SHUTDOWN_GRACE,
        &defaults::SHUTDOWN_GRACE_RANGE,
    );
    Some([request?, idle?, send?, grace?])
}

/// Nothing but a Unix socket: on a port every local process could come past Envoy's authentication.
fn listen(field: &Field<'_>) -> Option<PathBuf> {
    let text = field.text(LISTEN)?;
    let Some(path) = text.strip_prefix("unix:") else {
        return field.wrong(format!("{} is not a Unix socket", shown(text)), LISTEN);
    };
    match forward::unix(field, path, LISTEN)? {
        ForwardTo::Unix(path) => Some(path),
        ForwardTo::Tcp { .. } => None,
    }
}

fn read_path(field: Field<'_>) -> Option<String> {
    let allowed = "an absolute path without a query, such as /v1/chat/completions";
    let text = field.text(allowed)?;
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\');
    if text.starts_with('/') && text.len() <= MAX_PATH && text.bytes().all(plain) {
        Some(text.to_owned())
    } else {
        field.wrong(format!("{} is not a path", shown(text)), allowed)
    }
}

fn model(field: &Field<'_>) -> Option<String> {
    let allowed = "the name of a model, 1 to 256 bytes";
    let text = field.text(allowed)?;
    if text.is_empty() || text.len() > MAX_MODEL || text.contains(char::is_control) {
        return field.wrong(format!("{} is not a model's name", shown(text)), allowed);
    }
    Some(text.to_owned())
}

const KEYS: [&str; 11] = [
    "listen",
    "path",
    "adapter_path",
    "model",
    "max_sessions",
    "max_message_bytes",
    "request_timeout",
    "idle_timeout",
    "send_timeout",
    "keepalive",
    "shutdown_grace",
];
const LISTEN: &str = "the socket that Envoy's cluster connects to, as unix:///run/spectral-bridge/chat.sock";
const MAX_PATH: usize = 1024;
const MAX_MODEL: usize = 256;
