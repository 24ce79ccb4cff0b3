//! One attempt to reach a relay: name, address, proxy, TLS, WebSocket handshake, all within one deadline.
//!
//! The driver calls [`dial`] when the protocol core says so. Deliberately absent: what a failure means for the next
//! attempt (the core reads [`DialError::status`]), and everything after the handshake's answer.

use std::future::Future;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT};
use http::{HeaderName, HeaderValue, Request};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::connect;
use super::error::{DialError, Peer, Step};
use super::stream::RelayStream;
use super::tls::{self, TlsClient};
use crate::config::{Relay, RelayUrl};
use crate::secret::Secret;

/// A WebSocket to a relay, its handshake done.
pub type RelaySocket = WebSocketStream<RelayStream>;

/// What one attempt may take from name to handshake answer: the reference client's limit.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes one attempt to reach `relay`, showing `key`, and naming protocol version 2 when `send_version`.
///
/// # Errors
/// Says who is at fault and what failed, within [`DIAL_TIMEOUT`].
///
/// # Cancel safety
/// Dropping the future closes whatever was opened.
pub async fn dial(relay: &Relay, key: &Secret, send_version: bool) -> Result<RelaySocket, DialError> {
    Attempt::new(relay, DIAL_TIMEOUT).run(key, send_version).await
}

/// One attempt and its deadline.
pub(super) struct Attempt<'a> {
    relay: &'a Relay,
    peer: Peer,
    limit: Duration,
    deadline: Instant,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(relay: &'a Relay, limit: Duration) -> Self {
        let peer = Peer::relay(&relay.url.host, relay.url.port);
        Self {
            relay,
            peer,
            limit,
            deadline: Instant::now() + limit,
        }
    }

    pub(super) async fn run(&self, key: &Secret, send_version: bool) -> Result<RelaySocket, DialError> {
        let request = handshake_request(&self.relay.url, key, send_version)?;
        let tls = self.within(&self.peer, Step::Prepare, prepare(self.relay)).await?;
        let tcp = self.tcp(&self.peer).await?;
        let mut stream = RelayStream::tcp(tcp);
        if let Some(tls) = &tls {
            stream = self
                .within(&self.peer, Step::Tls, tls.connect(&self.peer, stream))
                .await?;
        }
        self.within(&self.peer, Step::Handshake, self.handshake(request, stream))
            .await
    }

    async fn tcp(&self, peer: &Peer) -> Result<TcpStream, DialError> {
        let addresses = self.within(peer, Step::Resolve, connect::resolve(peer)).await?;
        self.within(peer, Step::Connect, connect::connect(peer, addresses))
            .await
    }

    async fn handshake(&self, request: Request<()>, stream: RelayStream) -> Result<RelaySocket, DialError> {
        let config = websocket_config(self.relay.max_frame_bytes);
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _response)) => Ok(socket),
            Err(error) => Err(handshake_error(&self.peer, error)),
        }
    }

    async fn within<T>(
        &self,
        peer: &Peer,
        step: Step,
        work: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, DialError> {
        match timeout_at(self.deadline, work).await {
            Ok(result) => result,
            Err(_elapsed) => Err(DialError::Timeout {
                peer: peer.clone(),
                step,
                limit: self.limit,
            }),
        }
    }
}

/// Reads what TLS needs, where the relay's URL asks for TLS.
async fn prepare(relay: &Relay) -> Result<Option<TlsClient>, DialError> {
    if !relay.url.tls {
        return Ok(None);
    }
    let relay = relay.clone();
    let read = tokio::task::spawn_blocking(move || TlsClient::for_relay(&relay)).await;
    let failed = |e| DialError::Local {
        code: "tls_config",
        reason: format!("reading the certificates failed: {e}"),
    };
    read.map_err(failed)?.map(Some)
}

// PROTOCOL §2.1: the key and the version travel in the handshake's headers.
fn handshake_request(url: &RelayUrl, key: &Secret, send_version: bool) -> Result<Request<()>, DialError> {
    let authority = authority(url);
    let mut bearer = header(&format!("Bearer {}", key.expose()))?;
    bearer.set_sensitive(true);
    let scheme = if url.tls { "wss" } else { "ws" };
    let mut request = Request::get(format!("{scheme}://{authority}{}", url.path_and_query))
        .header(HOST, &authority)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, generate_key())
        .header(USER_AGENT, USER_AGENT_VALUE)
        .header(AUTHORIZATION, bearer);
    if send_version {
        request = request.header(PROTOCOL_VERSION_HEADER, PROTOCOL_VERSION);
    }
    request.body(()).map_err(|_| bad_url(url))
}

fn header(value: &str) -> Result<HeaderValue, DialError> {
    HeaderValue::from_str(value).map_err(|_| DialError::Local {
        code: "api_key",
        reason: "the API key has characters that no HTTP header can carry".to_owned(),
    })
}

fn bad_url(url: &RelayUrl) -> DialError {
    let reason = format!(
        "the relay's URL with host {:?} cannot be written into a request",
        url.host
    );
    DialError::Local { code: "url", reason }
}

/// `host`, and `:port` where it is not the scheme's own.
fn authority(url: &RelayUrl) -> String {
    let host = if url.host.contains(':') {
        format!("[{}]", url.host)
    } else {
        url.host.clone()
    };
    let default_port = if url.tls { 443 } else { 80 };
    if url.port == default_port {
        host
    } else {
        format!("{host}:{}", url.port)
    }
}

fn handshake_error(peer: &Peer, error: WsError) -> DialError {
    let peer = peer.clone();
    match error {
        WsError::Http(response) => DialError::HandshakeStatus {
            peer,
            status: response.status().as_u16(),
        },
        WsError::Io(error) => match tls::fault(&error) {
            Some(fault) => DialError::Tls { peer, fault },
            None => DialError::Handshake {
                peer,
                reason: error.to_string(),
            },
        },
        WsError::AttackAttempt => DialError::Handshake {
            peer,
            reason: "its answer is too long".to_owned(),
        },
        other => DialError::Handshake {
            peer,
            reason: other.to_string(),
        },
    }
}

// PROTOCOL §2.2: a frame of exactly the limit passes, in both directions.
fn websocket_config(max_frame_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(max_frame_bytes.saturating_add(WRITE_BUFFER + CONTROL_FRAMES))
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes))
}

/// One read takes in up to this; larger frames grow the buffer for their time.
const READ_BUFFER: usize = 64 * 1024;

/// Frames gather up to this before they are written without a flush, so that a burst of acks is one packet.
const WRITE_BUFFER: usize = 64 * 1024;

/// Room for frame headers, a close, a ping and a pong when the largest frame is already waiting.
const CONTROL_FRAMES: usize = 4 * 1024;

const USER_AGENT_VALUE: &str = concat!("spectral-bridge-envoy/", env!("CARGO_PKG_VERSION"));

const PROTOCOL_VERSION_HEADER: HeaderName = HeaderName::from_static("spectral-bridge-protocol");

const PROTOCOL_VERSION: &str = "2";

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
