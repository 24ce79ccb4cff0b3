//! What failed in TLS, with a remedy in a clause.
//!
//! `tls` builds it from what rustls says, `error` carries it. Certificate names are shown, and nothing else of the peer's.

use std::fmt;
use std::time::Duration;

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

impl TlsFault {
    /// A short label from a bounded set.
    pub(super) fn code(&self) -> &'static str {
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
