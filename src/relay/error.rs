//! Why an attempt to reach a relay failed, grouped by who is at fault, with a short label and a sentence for people.
//!
//! Built by the modules of `relay`, read by the driver. No variant can hold a key, a password or a header value: peers'
//! answers are reduced to a status code or to our own words before they get here.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

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
    /// The proxy wants credentials, or other ones (407).
    ProxyAuth {
        /// The proxy.
        peer: Peer,
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

/// What failed in TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFault {
    /// No trusted root issued the certificate.
    UnknownIssuer,
    /// The trusted root with the issuer's name did not sign the certificate.
    OtherIssuerKey,
    /// The certificate expired, so long ago.
    Expired(Option<Duration>),
    /// The certificate is not valid yet, for so long.
    NotValidYet(Option<Duration>),
    /// The certificate is for other names.
    WrongName {
        /// The name asked for.
        expected: Option<String>,
        /// The names the certificate has.
        presented: Vec<String>,
    },
    /// The certificate was revoked or is otherwise unusable.
    BadCertificate(String),
    /// The peer does not accept our client certificate, or wants one.
    ClientCertificate(String),
    /// The peer does not speak TLS on this port.
    NotTls,
    /// Anything else, in words.
    Other(String),
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

impl TlsFault {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownIssuer | Self::OtherIssuerKey => "tls_unknown_issuer",
            Self::Expired(_) => "tls_expired",
            Self::NotValidYet(_) => "tls_not_valid_yet",
            Self::WrongName { .. } => "tls_wrong_name",
            Self::BadCertificate(_) => "tls_bad_certificate",
            Self::ClientCertificate(_) => "tls_client_certificate",
            Self::NotTls => "tls_not_spoken",
            Self::Other(_) => "tls",
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { reason, .. } => f.write_str(reason),
            Self::Dns { peer, reason } => write!(f, "the name of the {peer} does not resolve: {reason}"),
            Self::Connect { peer, reason } => write!(f, "cannot connect to the {peer}: {reason}"),
            Self::Timeout { peer, step, limit } => {
                write!(
                    f,
                    "no {step} with the {peer} within the {limit:?} that an attempt may take"
                )
            }
            Self::ProxyAuth { peer, sent, offered } => write_proxy_auth(f, peer, *sent, offered),
            Self::ProxyRefused { peer, status, target } => {
                write!(
                    f,
                    "the {peer} refuses a tunnel to {target} with HTTP {}",
                    Status(*status)
                )
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

fn write_proxy_auth(f: &mut fmt::Formatter<'_>, peer: &Peer, sent: bool, offered: &[String]) -> fmt::Result {
    let what = if sent {
        "does not accept its user name and password"
    } else {
        "wants a user name and password"
    };
    write!(f, "the {peer} {what} (HTTP 407)")?;
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
            Self::Prepare => "certificates and secrets read for the connection",
            Self::Resolve => "name resolved for the connection",
            Self::Connect => "TCP connection",
            Self::Tunnel => "tunnel (CONNECT)",
            Self::Tls => "TLS handshake",
            Self::Handshake => "WebSocket handshake",
        })
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str(
                "its certificate was issued by nobody trusted here; name the issuer's certificate in tls.ca_file",
            ),
            Self::OtherIssuerKey => f.write_str(
                "its certificate was not signed by the key of its issuer that is trusted here; \
                 is tls.ca_file the certificate of an older one?",
            ),
            Self::Expired(ago) => {
                write!(
                    f,
                    "its certificate expired{}; it must be renewed, or this machine's clock is wrong",
                    Ago(*ago)
                )
            }
            Self::NotValidYet(ahead) => {
                write!(
                    f,
                    "its certificate is not valid yet{}; is this machine's clock right?",
                    Ahead(*ahead)
                )
            }
            Self::WrongName { expected, presented } => write_wrong_name(f, expected.as_deref(), presented),
            Self::BadCertificate(reason) => write!(f, "its certificate cannot be used: {reason}"),
            Self::ClientCertificate(reason) => {
                write!(f, "{reason}; set or correct tls.cert_file and tls.key_file")
            }
            Self::NotTls => f.write_str("it does not speak TLS on this port; is the port right?"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

fn write_wrong_name(f: &mut fmt::Formatter<'_>, expected: Option<&str>, presented: &[String]) -> fmt::Result {
    f.write_str("its certificate is for ")?;
    match presented {
        [] => f.write_str("no name at all")?,
        names if names.len() <= MAX_NAMES => f.write_str(&names.join(", "))?,
        names => {
            let shown: Vec<_> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
            write!(f, "{} and {} more", shown.join(", "), names.len() - MAX_NAMES)?;
        }
    }
    if let Some(expected) = expected {
        write!(f, ", not for {expected}")?;
    }
    f.write_str("; correct the URL, or name the certificate's name in tls.server_name")
}

/// Certificate names that a message shows; wildcard farms have hundreds.
const MAX_NAMES: usize = 5;

struct Ago(Option<Duration>);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(span) => write!(f, " {} ago", Rough(span)),
            None => Ok(()),
        }
    }
}

struct Ahead(Option<Duration>);

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(span) => write!(f, " for another {}", Rough(span)),
            None => Ok(()),
        }
    }
}

/// A span in its largest unit.
struct Rough(Duration);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            s @ 172_800.. => write!(f, "{} days", s / 86_400),
            s @ 7_200.. => write!(f, "{} hours", s / 3_600),
            s @ 120.. => write!(f, "{} minutes", s / 60),
            s => write!(f, "{s} seconds"),
        }
    }
}
