//! What a relay server can be told before it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A relay server's settings. The defaults are those that PROTOCOL suggests, on free loopback ports.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Where clients connect (`/connect`). Port 0 picks a free one.
    pub public: SocketAddr,
    /// Where callers send requests; `None` serves them on the public address too.
    pub internal: Option<SocketAddr>,
    /// The protocol version spoken.
    pub version: Version,
    /// How an unknown key is refused.
    pub refusal: Refusal,
    /// Relay ids and their keys; the first one also answers `/v1/…`.
    pub keys: Vec<(String, String)>,
    /// From sending a request to its response.
    pub request_timeout: Duration,
    /// How long a request waits for a client that was connected and is not (version 2).
    pub reconnect_wait: Duration,
    /// Largest frame in bytes, both directions.
    pub max_frame_bytes: usize,
    /// Age at which a connection is closed with 4003.
    pub rotate_after: Option<Duration>,
    /// PEM certificate chain and key: `/connect` is then served over TLS.
    pub tls: Option<TlsFiles>,
    /// What a client hears first.
    pub hello: Hello,
    /// Whether everything said is kept for assertions. Off where throughput is measured.
    pub journal: bool,
    /// Whether readable lines go to stderr.
    pub log: bool,
}

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// No acks, no resending, chat completions only.
    V1,
    /// Acks, resending, and the `path` field.
    V2,
}

/// How an unknown key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Before the upgrade, with HTTP 403, as the reference does.
    Handshake,
    /// Accepted, then closed with 4001.
    Close,
}

/// What a client hears first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// The `connected` frame.
    Connected,
    /// Nothing at all, and no requests either.
    Silence,
    /// This text instead of the `connected` frame.
    Text(String),
}

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authorities of which clients must show a certificate; `None` asks for none.
    pub client_ca: Option<PathBuf>,
}

impl RelayOptions {
    /// The defaults of `version` on free loopback ports, with the relay `default` and this key.
    #[must_use]
    pub fn new(version: Version, key: &str) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            public: any_port,
            internal: Some(any_port),
            version,
            refusal: Refusal::Handshake,
            keys: vec![(DEFAULT_RELAY.to_owned(), key.to_owned())],
            request_timeout: match version {
                // PROTOCOL 0.1.2 §3.1: 30 seconds
                Version::V1 => Duration::from_secs(30),
                // PROTOCOL §3.1: the server's timeout
                Version::V2 => Duration::from_secs(600),
            },
            reconnect_wait: Duration::from_secs(10),
            max_frame_bytes: MAX_FRAME_BYTES,
            rotate_after: None,
            tls: None,
            hello: Hello::Connected,
            journal: true,
            log: false,
        }
    }
}

/// The relay that `/v1/…` reaches.
pub const DEFAULT_RELAY: &str = "default";

/// `PROTOCOL §2.2`: a frame is at most 16 MiB.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
