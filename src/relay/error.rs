//! Why an attempt to reach a relay failed, grouped by who is at fault, with a short label and a sentence for people.
//!
//! Built by the modules of `relay`, read by the driver. No variant can hold a key, a password or a header value: peers'
//! answers are reduced to a status code or to our own words before they get here.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use super::tls_fault::TlsFault;

/// Why one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// This side: a file, a secret or a variable named by the configuration cannot be used.
    Local {
        /// What it is about, as a label: `tls_config` or `proxy_config`.
        code: &'static str,
        /// What is wrong, for people.
        reason: String,
    },
    /// The network: a name that does not resolve.
    Dns {
        /// Whose name.
        peer: Peer,
        /// What the resolver said.
        reason: String,
    },
    /// The network: no address of the peer accepts a connection.
    Connect {
        /// Whose addresses.
        peer: Peer,
        /// What the last address tried gave.
        reason: String,
    },
    /// The network or a silent peer: the deadline passed.
    Timeout {
        /// Who was being waited for.
        peer: Peer,
        /// For what.
        step: Step,
        /// The whole attempt's limit.
        limit: Duration,
    },
    /// The proxy wants credentials, or other ones.
    ProxyAuth {
        /// The proxy.
        peer: Peer,
        /// Its answer.
        status: u16,
        /// Whether credentials were sent.
        sent: bool,
        /// The schemes that the proxy offers, where it offers no Basic.
        offered: Vec<String>,
    },
    /// The proxy answered CONNECT with another status.
    ProxyRefused {
        /// The proxy.
        peer: Peer,
        /// Its answer.
        status: u16,
        /// Where the tunnel was to end, `host:port`.
        target: String,
    },
    /// The proxy's answer to CONNECT is not HTTP as it should be.
    ProxyAnswer {
        /// The proxy.
        peer: Peer,
        /// What was seen.
        reason: String,
    },
    /// TLS with the relay or with an `https` proxy failed.
    Tls {
        /// With whom.
        peer: Peer,
        /// What failed.
        fault: TlsFault,
    },
    /// The relay answered the WebSocket handshake with a status other than 101.
    HandshakeStatus {
        /// The relay.
        peer: Peer,
        /// Its answer.
        status: u16,
    },
    /// The relay's answer to the WebSocket handshake is not one, or it never came.
    Handshake {
        /// The relay.
        peer: Peer,
        /// What was seen.
        reason: String,
    },
}

/// The other end of a step: the relay, or the proxy in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `true` for the proxy.
    pub proxy: bool,
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What an attempt was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Certificates and secrets are read from files.
    Prepare,
    /// The name is resolved.
    Resolve,
    /// TCP.
    Connect,
    /// The proxy's answer to CONNECT.
    Tunnel,
    /// TLS.
    Tls,
    /// The answer to the WebSocket handshake.
    Handshake,
}

impl DialError {
    /// A short label from a bounded set.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Local { code, .. } => code,
            Self::Dns { peer, .. } => peer.either("dns", "proxy_dns"),
            Self::Connect { peer, .. } => peer.either("connect", "proxy_connect"),
            Self::Timeout { .. } => "timeout",
            Self::ProxyAuth { .. } => "proxy_auth",
            Self::ProxyRefused { .. } => "proxy_refused",
            Self::ProxyAnswer { .. } => "proxy_answer",
            Self::Tls { fault, .. } => fault.code(),
            Self::HandshakeStatus { .. } => "handshake_status",
            Self::Handshake { .. } => "handshake",
        }
    }

    /// The HTTP status with which the relay refused the handshake; never a proxy's.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::HandshakeStatus { status, .. } => Some(*status),
            Self::Local { .. }
            | Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::ProxyAuth { .. }
            | Self::ProxyRefused { .. }
            | Self::ProxyAnswer { .. }
            | Self::Tls { .. }
            | Self::Handshake { .. } => None,
        }
    }
}

impl Peer {
    /// The relay at `host:port`.
    #[must_use]
    pub fn relay(host: &str, port: u16) -> Self {
        Self {
            proxy: false,
            host: host.to_owned(),
            port,
        }
    }

    /// The proxy at `host:port`.
    #[must_use]
    pub fn proxy(host: &str, port: u16) -> Self {
        Self {
            proxy: true,
            host: host.to_owned(),
            port,
        }
    }

    /// `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    fn either(&self, relay: &'static str, proxy: &'static str) -> &'static str {
        if self.proxy { proxy } else { relay }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { reason, .. } => f.write_str(reason),
            Self::Dns { peer, reason } => write!(f, "the name of the {peer} does not resolve: {reason}"),
            Self::Connect { peer, reason } => write!(f, "cannot connect to the {peer}: {reason}"),
            Self::Timeout { peer, step, limit } => {
                write!(f, "gave up on the {peer} after {limit:?}, waiting for {step}")
            }
            Self::ProxyAuth {
                peer,
                status,
                sent,
                offered,
            } => write_proxy_auth(f, peer, *status, *sent, offered),
            Self::ProxyRefused { peer, status, target } => {
                write!(
                    f,
                    "the {peer} refuses a tunnel to {target} with HTTP {}",
                    Status(*status)
                )?;
                f.write_str(proxy_remedy(*status))
            }
            Self::ProxyAnswer { peer, reason } => {
                write!(f, "the {peer} does not answer CONNECT as a proxy does: {reason}")
            }
            Self::Tls { peer, fault } => write!(f, "TLS with the {peer} failed: {fault}"),
            Self::HandshakeStatus { peer, status } => {
                write!(
                    f,
                    "the {peer} refuses the WebSocket handshake with HTTP {}",
                    Status(*status)
                )?;
                f.write_str(remedy(*status))
            }
            Self::Handshake { peer, reason } => write!(f, "the WebSocket handshake with the {peer} failed: {reason}"),
        }
    }
}

impl std::error::Error for DialError {}

fn write_proxy_auth(
    f: &mut fmt::Formatter<'_>,
    peer: &Peer,
    status: u16,
    sent: bool,
    offered: &[String],
) -> fmt::Result {
    let what = if sent {
        "does not accept its user name and password"
    } else {
        "wants a user name and password"
    };
    write!(f, "the {peer} {what} (HTTP {status})")?;
    if !offered.is_empty() {
        write!(
            f,
            "; it offers {}, of which only Basic could be used",
            offered.join(", ")
        )?;
    }
    Ok(())
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "; is the API key the right one, and not revoked?",
        404 | 405 => "; is the path of the relay's URL right?",
        300..=399 => "; redirects are not followed, the relay's URL must be its final one",
        200..=299 | 426 => "; is this a relay, and does everything in between pass WebSockets on?",
        _ => "",
    }
}

fn proxy_remedy(status: u16) -> &'static str {
    match status {
        403 | 405 => "; it must allow CONNECT to this host and port, many allow port 443 only",
        502..=504 => "; the proxy itself cannot reach the relay",
        _ => "",
    }
}

/// A status code with its reason phrase, where there is a registered one.
struct Status(u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match StatusCode::from_u16(self.0).ok().and_then(|s| s.canonical_reason()) {
            Some(phrase) => write!(f, "{} {phrase}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.either("relay", "proxy"), self.authority())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "files and secrets to be read",
            Self::Resolve => "its name to resolve",
            Self::Connect => "the TCP connection",
            Self::Tunnel => "its answer to CONNECT",
            Self::Tls => "the TLS handshake",
            Self::Handshake => "its answer to the WebSocket handshake",
        })
    }
}
