//! The module's configuration: what a user may write, checked once, then impossible to hold wrong.
//!
//! [`Config::from_json`] reads the JSON that Envoy hands over (a protobuf Struct or a StringValue with the same JSON)
//! and is the only validation: unknown keys are refused, and every mistake is reported at once with its path. `raw` is
//! the JSON as it arrived, `fields` walks it, and one file per noun says what is allowed there. Derived readers are
//! not used, since they stop at the first mistake. Deliberately absent: reading environment variables or files. A
//! secret is only named here ([`SecretSource`]); the shell reads it (`crate::secret`).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(test)]
mod admission_tests;
mod auth_filter;
mod budget;
mod chat;
pub mod defaults;
mod duration;
mod errors;
mod fields;
mod forward;
mod gateway;
mod headers;
mod keepalive;
mod labels;
mod proxy;
mod raw;
mod relay;
mod schedule;
mod secret_source;
mod status;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod usage_filter;
mod warnings;

pub use auth_filter::AuthFilter;
pub use budget::Budget;
pub use errors::{ConfigError, ConfigErrors};
pub use schedule::Schedule;
pub use usage_filter::UsageFilter;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

/// A checked configuration of one host (the bootstrap extension or one HTTP filter configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The relays to connect to; names are unique. None only where another job is configured.
    pub relays: Vec<Relay>,
    /// Where requests are forwarded: Envoy's local listener, unless a relay has its own.
    pub forward: Forward,
    /// The loopback status server.
    pub status: Status,
    /// Envoy as a gateway for clients of its own, if it is one.
    pub gateway: Option<Gateway>,
    /// What telemetry says.
    pub telemetry: Telemetry,
    /// The WebSocket endpoint for chats.
    pub chat: Option<Chat>,
}

impl Config {
    /// Every secret that it names: keys, and values of forwarded headers.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        let own = self.relays.iter().filter_map(|relay| relay.forward.as_ref());
        let headers = std::iter::once(&self.forward)
            .chain(own)
            .flat_map(|forward| &forward.headers);
        let keys = self.relays.iter().map(|relay| &relay.api_key);
        keys.chain(headers.map(|header| &header.value))
            .chain(&self.status.token)
    }

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Every mistake at once, never quoting what may be a secret.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigErrors> {
        read_whole(json, WANTED, &KEYS, |fields| {
            let busy = OTHER_JOBS.iter().any(|job| fields.get(job).is_some());
            let relays = relay::read_all(&fields, busy);
            let forward = forward::read(fields.get("forward"));
            let status = status::read(fields.get("status"));
            let gateway = gateway::read(fields.get("gateway"));
            let telemetry = telemetry::read(fields.get("telemetry"));
            let chat = chat::read(fields.get("chat"));
            Some(Self {
                relays: relay::with_forward(relays?, forward.as_ref()?),
                forward: forward?.whole(),
                status: status?,
                gateway: gateway?,
                telemetry: telemetry?,
                chat: chat?,
            })
        })
    }
}

/// Reads an object with these keys; `wanted` is what every message about the configuration as a whole recommends.
fn read_whole<T>(
    json: &[u8],
    wanted: &str,
    keys: &[&str],
    read: impl FnOnce(fields::Fields<'_>) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let root = raw::parse(json, wanted)?;
    if !matches!(root, raw::Node::Object(_)) {
        return Err(ConfigErrors::whole(root.kind(), wanted));
    }
    let mistakes = errors::Mistakes::default();
    let whole = fields::Field {
        place: errors::Place::default(),
        mistakes: &mistakes,
        node: &root,
    };
    let config = whole.object(keys).and_then(read);
    mistakes.finish(config)
}

const KEYS: [&str; 6] = ["relays", "forward", "status", "gateway", "telemetry", "chat"];

/// What there is to do without a relay.
const OTHER_JOBS: [&str; 2] = ["gateway", "chat"];

const WANTED: &str = "write a google.protobuf.Struct with the keys relays, forward, status, gateway, telemetry, chat, or a StringValue with the same as JSON";

/// One relay and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Name in logs, status and `POST /relays/{name}/reconnect`; `[A-Za-z0-9._-]{1,64}`.
    pub name: String,
    /// The WebSocket URL, `wss://` unless `insecure`.
    pub url: RelayUrl,
    /// Where the API key comes from (`PROTOCOL §2.1`).
    pub api_key: SecretSource,
    /// Which protocol version is accepted.
    pub protocol: ProtocolChoice,
    /// TLS settings for `wss://`.
    pub tls: Tls,
    /// How the relay is reached from a corporate network.
    pub proxy: Proxy,
    /// Ping interval and pong timeout (`PROTOCOL §2.4`).
    pub keepalive: Keepalive,
    /// Largest frame, both directions, in bytes (`PROTOCOL §2.2`).
    pub max_frame_bytes: usize,
    /// From receipt of a request to the last byte of its answer, and how long an answer is held (`PROTOCOL §2.5`).
    pub request_timeout: Duration,
    /// How long a drain lets requests in flight finish (`PROTOCOL §2.6`).
    pub shutdown_grace: Duration,
    /// Requests at the adapter at the same time.
    pub max_in_flight: usize,
    /// Requests acknowledged and waiting their turn.
    pub max_queued: usize,
    /// Bytes of requests and answers held at the same time.
    pub max_held_bytes: usize,
    /// Paths a relay may ask for, matched exactly (`PROTOCOL §2.2`).
    pub paths: Vec<String>,
    /// How much of an answer leaves the network.
    pub response_policy: ResponsePolicy,
    /// Response headers of the adapter that are passed on besides `content-type`.
    pub response_headers: Vec<HeaderName>,
    /// Where its requests are forwarded, if elsewhere than the others'.
    pub forward: Option<Forward>,
    /// What telemetry, the log and the status say of it, by name.
    pub labels: Vec<(String, String)>,
    /// How much of it is served.
    pub budget: Budget,
    /// When it is served; always when absent.
    pub schedule: Option<Schedule>,
}

impl Relay {
    /// Its own forward address, or the `common` one.
    #[must_use]
    pub fn forward_or<'a>(&'a self, common: &'a Forward) -> &'a Forward {
        self.forward.as_ref().unwrap_or(common)
    }
}

/// How much of an adapter's answer leaves the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponsePolicy {
    /// All of it, byte for byte.
    #[default]
    Passthrough,
    /// What the adapter contract names (`PROTOCOL §1`), and nothing else.
    TextOnly,
}

/// A relay's WebSocket URL in parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelayUrl {
    /// `true` for `wss`.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port, the scheme's default when the URL named none.
    pub port: u16,
    /// Path and query, at least `/`.
    pub path_and_query: String,
}

impl RelayUrl {
    /// `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        url::authority(&self.host, self.port)
    }
}

/// For logs and status: the default port is left out, and so is the query, which may hold a secret.
impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default_port) = if self.tls { ("wss", 443) } else { ("ws", 80) };
        let authority = self.authority();
        let shown = if self.port == default_port {
            authority
                .strip_suffix(&format!(":{default_port}"))
                .unwrap_or(&authority)
        } else {
            &authority
        };
        let path = self.path_and_query.split('?').next().unwrap_or("/");
        write!(f, "{scheme}://{shown}{path}")
    }
}

/// Where a secret is read from. Never the secret itself: Envoy prints configurations in `/config_dump`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// An environment variable of the Envoy process.
    Env(String),
    /// A file, read again at every use.
    File(PathBuf),
}

/// Which protocol version is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// Taken from the relay's `connected` frame.
    Auto,
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
}

/// TLS towards the relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM roots that replace the platform's.
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain and its key: both or neither.
    pub client: Option<ClientCertificate>,
    /// Name to verify and to send as SNI instead of the URL's host.
    pub server_name: Option<String>,
}

/// Client certificate files (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Certificate chain, leaf first.
    pub cert_file: PathBuf,
    /// Private key.
    pub key_file: PathBuf,
}

/// How the relay is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` decide, as curl reads them.
    FromEnv,
    /// Directly.
    None,
    /// Through this HTTP proxy by CONNECT.
    Http(HttpProxy),
}

/// An HTTP proxy that speaks CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// `true` for an `https://` proxy.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Basic credentials.
    pub credentials: Option<ProxyCredentials>,
}

/// Basic credentials for a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// User name.
    pub username: String,
    /// Where the password comes from.
    pub password: SecretSource,
}

/// Ping interval and pong timeout (`PROTOCOL §2.4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Between pings.
    pub interval: Duration,
    /// From a ping to its pong.
    pub timeout: Duration,
}

/// Where requests are forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Envoy's local listener.
    pub to: ForwardTo,
    /// `host` sent to Envoy; the listener's address by default (`localhost` for a Unix socket).
    pub authority: String,
    /// Headers set on every forwarded request, replacing the relay's.
    pub headers: Vec<ForwardHeader>,
}

/// The address of Envoy's local listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardTo {
    /// A Unix socket that Envoy creates.
    Unix(PathBuf),
    /// Plain HTTP; loopback unless `insecure_forward`.
    Tcp {
        /// Host name or IP address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// A header set on every forwarded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardHeader {
    /// Header name.
    pub name: HeaderName,
    /// Written before the secret, for example `Bearer `.
    pub prefix: String,
    /// Where the value comes from.
    pub value: SecretSource,
}

/// The loopback status server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// A loopback address; port 0 picks a free one and logs it.
    pub listen: SocketAddr,
    /// What a person who pauses and resumes relays must show; without it nobody can.
    pub token: Option<SecretSource>,
    /// What its page shows; absent when there is no page.
    pub inspector: Option<Inspector>,
}

/// The inspector, a page of the status server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inspector {
    /// Bytes of each body that are kept to be shown; none of any when absent.
    pub bodies: Option<usize>,
}

/// Envoy as a gateway for clients of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The `stat_prefix` of the connection manager whose connections and requests the status tells.
    pub stat_prefix: String,
    /// How long Envoy's exit waits for the requests under way.
    pub shutdown_grace: Duration,
}

/// What telemetry says about exchanges with models; where it goes is the environment's (`OTEL_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// `gen_ai.provider.name`: the API that is spoken, whoever serves it.
    pub provider: String,
    /// Model names that are always labels.
    pub models: Vec<String>,
    /// Further model names that become labels, the first ones seen; the rest are `other`.
    pub max_models: usize,
    /// One line of JSON for each request in Envoy's log, without content.
    pub request_log: bool,
}

/// The WebSocket endpoint for chats, which Envoy reaches by a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The Unix socket that it makes, of mode 0600.
    pub listen: PathBuf,
    /// The path that a handshake must name, exactly.
    pub path: String,
    /// The path that turns are posted to, at [`Forward::to`].
    pub adapter_path: String,
    /// The model of turns that name none.
    pub model: Option<String>,
    /// Connections at the same time.
    pub max_sessions: usize,
    /// Largest message of a client that is answered, in bytes.
    pub max_message_bytes: usize,
    /// From a turn's message to the last byte of its answer.
    pub request_timeout: Duration,
    /// How long a connection may be without a turn.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is said to it.
    pub send_timeout: Duration,
    /// Ping interval and pong timeout.
    pub keepalive: Keepalive,
    /// How long a drain lets running turns finish.
    pub shutdown_grace: Duration,
}
