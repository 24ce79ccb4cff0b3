//! TLS towards a relay or an `https` proxy: what to trust, what to present, and what a failure means.
//!
//! Files are read at every attempt, so that a renewed certificate needs no restart; the caller does it on a blocking
//! thread. The cryptography is named here and not taken from a process-wide default, which another module of the same
//! Envoy could set. Deliberately absent: switching verification off.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::{AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use super::error::{DialError, Peer};
use super::stream::RelayStream;
use super::tls_fault::TlsFault;
use crate::config;

/// All that one TLS handshake needs, read from files.
pub(super) struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsClient {
    /// For the relay: `ca_file` replaces the platform's roots. Reads files: call it on a blocking thread.
    pub(super) fn for_relay(relay: &config::Relay) -> Result<Self, DialError> {
        let roots = match &relay.tls.ca_file {
            Some(path) => file_roots(path)?,
            None => platform_roots()?,
        };
        let builder = builder(roots)?;
        let config = match &relay.tls.client {
            Some(files) => with_client_certificate(builder, files)?,
            None => builder.with_no_client_auth(),
        };
        Self::new(config, relay.tls.server_name.as_deref().unwrap_or(&relay.url.host))
    }

    /// For an `https` proxy: `ca_file` adds to the platform's roots, since the proxy may be the house's own while the relay
    /// is not, or the other way round. No client certificate. Reads files: call it on a blocking thread.
    pub(super) fn for_proxy(tls: &config::Tls, host: &str) -> Result<Self, DialError> {
        let roots = match &tls.ca_file {
            Some(path) => {
                let mut roots = file_roots(path)?;
                if let Ok(platform) = platform_roots() {
                    roots.extend(platform.roots);
                }
                roots
            }
            None => platform_roots()?,
        };
        Self::new(builder(roots)?.with_no_client_auth(), host)
    }

    /// For a server of neither kind: `ca_file` replaces the platform's roots. Reads files: call it on a blocking thread.
    pub(super) fn for_server(ca_file: Option<&Path>, host: &str) -> Result<Self, DialError> {
        let roots = match ca_file {
            Some(path) => file_roots(path)?,
            None => platform_roots()?,
        };
        Self::new(builder(roots)?.with_no_client_auth(), host)
    }

    fn new(mut config: ClientConfig, name: &str) -> Result<Self, DialError> {
        // Without ALPN some load balancers guess HTTP/2, where a WebSocket handshake has another form.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            local(format!(
                "{name:?} is no name that a certificate could have; see tls.server_name"
            ))
        })?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    /// The handshake over `stream`.
    pub(super) async fn connect(&self, peer: &Peer, stream: RelayStream) -> Result<RelayStream, DialError> {
        match self.connector.connect(self.name.clone(), stream).await {
            Ok(tls) => Ok(RelayStream::Tls(Box::new(tls))),
            Err(error) => {
                let fault = fault(&error).unwrap_or_else(|| TlsFault::Other(broken_off(&error)));
                Err(DialError::Tls {
                    peer: peer.clone(),
                    fault,
                })
            }
        }
    }
}

/// What `error` says about TLS, if TLS is what failed.
///
/// A TLS 1.3 server judges the client's certificate when the client's handshake is already done, so this is asked about
/// errors of the first read after it, too.
pub(crate) fn fault(error: &io::Error) -> Option<TlsFault> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(error) => certificate_fault(error),
        rustls::Error::AlertReceived(alert) => alert_fault(*alert),
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        rustls::Error::PeerIncompatible(_) => {
            TlsFault::Other("it has no TLS version (1.2 or 1.3) or cipher suite in common with this client".to_owned())
        }
        other => TlsFault::Other(other.to_string()),
    })
}

fn certificate_fault(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
        CertificateError::BadSignature => TlsFault::OtherIssuerKey,
        CertificateError::Expired => TlsFault::Expired(None),
        CertificateError::ExpiredContext { time, not_after } => TlsFault::Expired(Some(span(not_after, time))),
        CertificateError::NotValidYet => TlsFault::NotValidYet(None),
        CertificateError::NotValidYetContext { time, not_before } => {
            TlsFault::NotValidYet(Some(span(time, not_before)))
        }
        CertificateError::NotValidForName => TlsFault::WrongName {
            expected: None,
            presented: Vec::new(),
        },
        CertificateError::NotValidForNameContext { expected, presented } => TlsFault::WrongName {
            expected: Some(expected.to_str().into_owned()),
            presented: presented.iter().map(|name| plain_name(name)).collect(),
        },
        other if other.to_string().contains("CaUsedAsEndEntity") => TlsFault::BadCertificate(
            "it is a CA's own certificate (as `openssl req -x509` makes them); \
             a server needs one issued for it, without the CA mark"
                .to_owned(),
        ),
        other => TlsFault::BadCertificate(other.to_string()),
    }
}

fn alert_fault(alert: AlertDescription) -> TlsFault {
    match alert {
        AlertDescription::CertificateRequired => {
            TlsFault::ClientCertificate("it wants a client certificate".to_owned())
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => TlsFault::ClientCertificate(format!(
            "it does not accept the client certificate, or lacks one ({alert:?})"
        )),
        AlertDescription::UnrecognisedName => {
            TlsFault::Other("it does not serve this name; name the one it serves in tls.server_name".to_owned())
        }
        AlertDescription::HandshakeFailure => TlsFault::Other(
            "it ended the handshake (HandshakeFailure): no cipher suite in common, or it wants a client certificate"
                .to_owned(),
        ),
        other => TlsFault::Other(format!("it ended the handshake ({other:?})")),
    }
}

fn broken_off(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "it closed the connection in the middle of the handshake; \
             is the port right, and does everything in between let TLS through?"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

fn span(from: &UnixTime, to: &UnixTime) -> Duration {
    Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()))
}

/// `relay.example.com` out of `DnsName("relay.example.com")`, as the verifier gives names.
fn plain_name(presented: &str) -> String {
    let inner = presented
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(presented);
    inner.trim_matches('"').to_owned()
}

pub(crate) fn builder(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, DialError> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| local(format!("TLS cannot be set up: {e}")))?;
    Ok(versions.with_root_certificates(roots))
}

pub(crate) fn platform_roots() -> Result<RootCertStore, DialError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some());
    let remedy = match named {
        Some(name) => format!("correct or remove the environment variable {name}"),
        None => "install the package ca-certificates".to_owned(),
    };
    Err(local(format!(
        "this machine has no trusted root certificates{why}; {remedy}, or set tls.ca_file"
    )))
}

fn file_roots(path: &Path) -> Result<RootCertStore, DialError> {
    let what = format!("tls.ca_file {}", path.display());
    let mut roots = RootCertStore::empty();
    let (added, refused) = roots.add_parsable_certificates(certificates(path, &what)?);
    if added == 0 {
        return Err(local(format!(
            "{what}: none of its {refused} certificates can be a trusted root"
        )));
    }
    Ok(roots)
}

fn with_client_certificate(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    files: &config::ClientCertificate,
) -> Result<ClientConfig, DialError> {
    let (cert_file, key_file) = (files.cert_file.display(), files.key_file.display());
    let chain = certificates(&files.cert_file, &format!("tls.cert_file {cert_file}"))?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|e| {
        local(format!(
            "tls.key_file {key_file}: {}",
            pem_reason(&e, "private key without a passphrase")
        ))
    })?;
    builder.with_client_auth_cert(chain, key).map_err(|e| {
        local(format!(
            "tls.cert_file {cert_file} and tls.key_file {key_file} do not go together: {e}"
        ))
    })
}

pub(crate) fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let failed = |e: pem::Error| local(format!("{what}: {}", pem_reason(&e, "certificate")));
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if found.is_empty() {
        Err(failed(pem::Error::NoItemsFound))
    } else {
        Ok(found)
    }
}

/// The reason in our own words: the parser's would quote the file.
pub(crate) fn pem_reason(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::Io(error) => error.kind().to_string(),
        pem::Error::NoItemsFound => format!("it has no PEM {wanted}"),
        _ => "it is not valid PEM".to_owned(),
    }
}

fn local(reason: String) -> DialError {
    DialError::Local {
        code: "tls_config",
        reason,
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
