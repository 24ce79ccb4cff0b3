//! A connection to a collector, for gRPC and for HTTP alike: TCP, and TLS over it.
//!
//! Asked for by tonic and by hyper-util's client, on the module's runtime. Certificates are read at each connect, so that
//! a renewed one needs no restart. Deliberately absent: proxies, and a choice of cryptography by anyone else; the relay's
//! own TLS is used.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::destination::TlsFiles;
use super::endpoint::Endpoint;
use super::outlet::{Cause, LastCause};
use crate::relay::tls;

/// Makes connections to one collector, and remembers why one could not be made.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<Target>);

#[derive(Debug)]
struct Target {
    endpoint: Endpoint,
    tls: TlsFiles,
    alpn: &'static [u8],
    cause: LastCause,
}

/// A connection.
pub(super) struct Stream(TokioIo<Box<dyn Socket>>);

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl Connector {
    pub(super) fn new(endpoint: Endpoint, tls: TlsFiles, alpn: &'static [u8], cause: LastCause) -> Self {
        Self(Arc::new(Target {
            endpoint,
            tls,
            alpn,
            cause,
        }))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The address is the configured one, whatever the request's.
    fn call(&mut self, _: Uri) -> Self::Future {
        let target = Arc::clone(&self.0);
        Box::pin(async move {
            target.connect().await.map_err(|cause| {
                let error = io::Error::other(cause.message.clone());
                target.cause.put(cause);
                error
            })
        })
    }
}

impl Target {
    async fn connect(self: &Arc<Self>) -> Result<Stream, Cause> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let tcp = TcpStream::connect((host.as_str(), *port)).await;
        let tcp = tcp.map_err(|error| Cause::new("connect", format!("no connection: {error}")))?;
        // batches are written at once, so waiting for more to send gains nothing
        let _ = tcp.set_nodelay(true);
        if !self.endpoint.tls {
            return Ok(Stream(TokioIo::new(Box::new(tcp))));
        }
        let connector = self.tls_connector().await?;
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| tls_cause(format!("{host:?} is no name that a certificate could have")))?;
        match connector.connect(name, tcp).await {
            Ok(tls) => Ok(Stream(TokioIo::new(Box::new(tls)))),
            Err(error) => Err(tls_cause(match tls::fault(&error) {
                Some(fault) => format!("TLS: {fault}"),
                None => format!("TLS: {error}"),
            })),
        }
    }

    async fn tls_connector(self: &Arc<Self>) -> Result<TlsConnector, Cause> {
        let target = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || target.tls_config());
        let config = read.await.map_err(|error| tls_cause(error.to_string()))??;
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn tls_config(&self) -> Result<rustls::ClientConfig, Cause> {
        let cause = |error: crate::relay::DialError| tls_cause(error.to_string());
        let roots = match &self.tls.ca {
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                let what = format!("{CERTIFICATE} {}", path.display());
                let (added, _) = roots.add_parsable_certificates(tls::certificates(path, &what).map_err(cause)?);
                if added == 0 {
                    return Err(tls_cause(format!("{what}: no certificate in it can be a trusted root")));
                }
                roots
            }
            None => tls::platform_roots().map_err(cause)?,
        };
        let builder = tls::builder(roots).map_err(cause)?;
        let mut config = match &self.tls.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let what = format!("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE {}", certificate.display());
                let chain = tls::certificates(certificate, &what).map_err(cause)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                    let reason = tls::pem_reason(&error, "private key without a passphrase");
                    tls_cause(format!("OTEL_EXPORTER_OTLP_CLIENT_KEY {}: {reason}", key.display()))
                })?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| tls_cause(format!("{what} and its key do not go together: {error}")))?
            }
        };
        config.alpn_protocols = vec![self.alpn.to_vec()];
        Ok(config)
    }
}

/// The relay's words name the relay's settings, where there are variables here.
fn tls_cause(message: String) -> Cause {
    let message = message
        .replace("tls.ca_file", CERTIFICATE)
        .replace("tls.server_name", "the endpoint");
    Cause::new("tls", message)
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
