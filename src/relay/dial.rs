//! One attempt to reach a relay: name, address, proxy, TLS, WebSocket handshake, all within one deadline.
//!
//! The driver calls [`dial`] when the protocol core says so. Deliberately absent: what a failure means for the next
//! attempt (the core reads [`DialError::status`]), and everything after the handshake's answer.

use std::future::Future;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT};
use http::{HeaderName, HeaderValue, Request};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::connect;
use super::error::{DialError, Peer, Step};
use super::proxy::{self, Route, Variables};
use super::stream::RelayStream;
use super::tls::{self, TlsClient};
use super::tunnel;
use crate::config::{Proxy, Relay, RelayUrl};
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
    Attempt::new(relay, DIAL_TIMEOUT, Variables::read())
        .run(key, send_version)
        .await
}

/// One attempt and its deadline.
pub(super) struct Attempt<'a> {
    pub(super) relay: &'a Relay,
    pub(super) peer: Peer,
    variables: Variables,
    limit: Duration,
    deadline: Instant,
}

/// What an attempt needs from files, secrets and variables, read before anything is opened.
pub(super) struct Prepared {
    pub(super) proxy: Option<(Route, Option<TlsClient>)>,
    pub(super) tls: Option<TlsClient>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(relay: &'a Relay, limit: Duration, variables: Variables) -> Self {
        let peer = Peer::relay(&relay.url.host, relay.url.port);
        Self {
            relay,
            peer,
            variables,
            limit,
            deadline: Instant::now() + limit,
        }
    }

    pub(super) async fn run(&self, key: &Secret, send_version: bool) -> Result<RelaySocket, DialError> {
        let request = handshake_request(&self.relay.url, key, send_version)?;
        let prepared = self.within(&self.peer, Step::Prepare, self.prepare()).await?;
        let stream = match &prepared.proxy {
            Some((route, tls)) => self.tunnel(route, tls.as_ref()).await?,
            None => self.tcp(&self.peer).await?,
        };
        let stream = self.tls(&self.peer, prepared.tls.as_ref(), stream).await?;
        self.within(&self.peer, Step::Handshake, self.handshake(request, stream))
            .await
    }

    pub(super) async fn prepare(&self) -> Result<Prepared, DialError> {
        let (relay, variables) = (self.relay.clone(), self.variables.clone());
        let reading = tokio::task::spawn_blocking(move || Prepared::read(&relay, &variables));
        let failed = |e| DialError::Local {
            code: "internal",
            reason: format!("reading the files it needs failed: {e}"),
        };
        reading.await.map_err(failed)?
    }

    async fn tunnel(&self, route: &Route, tls: Option<&TlsClient>) -> Result<RelayStream, DialError> {
        let stream = self.tcp(&route.peer).await?;
        let stream = self.tls(&route.peer, tls, stream).await?;
        let target = self.peer.authority();
        let opening = tunnel::open(stream, &route.peer, &target, route.authorization.as_ref());
        self.within(&route.peer, Step::Tunnel, opening).await
    }

    async fn tcp(&self, peer: &Peer) -> Result<RelayStream, DialError> {
        let addresses = self.within(peer, Step::Resolve, connect::resolve(peer)).await?;
        self.within(peer, Step::Connect, connect::connect(peer, addresses))
            .await
            .map(RelayStream::tcp)
    }

    pub(super) async fn tls(
        &self,
        peer: &Peer,
        tls: Option<&TlsClient>,
        stream: RelayStream,
    ) -> Result<RelayStream, DialError> {
        match tls {
            Some(tls) => self.within(peer, Step::Tls, tls.connect(peer, stream)).await,
            None => Ok(stream),
        }
    }

    pub(super) async fn handshake(&self, request: Request<()>, stream: RelayStream) -> Result<RelaySocket, DialError> {
        let config = websocket_config(self.relay.max_frame_bytes);
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _response)) => Ok(socket),
            Err(error) => Err(handshake_error(&self.peer, error)),
        }
    }

    pub(super) async fn within<T>(
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

impl Prepared {
    /// Reads files: call it on a blocking thread.
    fn read(relay: &Relay, variables: &Variables) -> Result<Self, DialError> {
        let proxy = match &relay.proxy {
            Proxy::None => None,
            Proxy::FromEnv => proxy::from_env(&relay.url, variables)?,
            Proxy::Http(configured) => Some(proxy::configured(configured)?),
        };
        let proxy = match proxy {
            Some(route) if route.tls => {
                let tls = TlsClient::for_proxy(&relay.tls, &route.peer.host)?;
                Some((route, Some(tls)))
            }
            Some(route) => Some((route, None)),
            None => None,
        };
        let tls = if relay.url.tls {
            Some(TlsClient::for_relay(relay)?)
        } else {
            None
        };
        Ok(Self { proxy, tls })
    }
}

// PROTOCOL §2.1: the key and the version travel in the handshake's headers
// PROTOCOL 0.1.2 §2.1: the key alone
pub(super) fn handshake_request(url: &RelayUrl, key: &Secret, send_version: bool) -> Result<Request<()>, DialError> {
    let authority = authority(url);
    let mut bearer = header(&format!("Bearer {}", key.expose()))?;
    bearer.set_sensitive(true);
    let scheme = if url.tls { "wss" } else { "ws" };
    // PROTOCOL §2.1: connect to the relay's /connect
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

// PROTOCOL §2.2: a frame is at most 16 MiB, to the byte, in both directions
/// Buffers and limits of a relay's WebSocket.
#[must_use]
pub fn websocket_config(max_frame_bytes: usize) -> WebSocketConfig {
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

/// Room for frame headers, a close, a ping and a pong beside the largest frame, also if it were not sent in fragments.
const CONTROL_FRAMES: usize = 4 * 1024;

/// How this client names itself, to relays and to proxies.
pub(super) const USER_AGENT_VALUE: &str = concat!("spectral-bridge-envoy/", env!("CARGO_PKG_VERSION"));

const PROTOCOL_VERSION_HEADER: HeaderName = HeaderName::from_static("spectral-bridge-protocol");

const PROTOCOL_VERSION: &str = "2";

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
