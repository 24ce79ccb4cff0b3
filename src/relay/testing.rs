//! What the tests of this module share: certificates of their own authority, servers on loopback, configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::config::{Budget, Keepalive, ProtocolChoice, Proxy, Relay, RelayUrl, ResponsePolicy, SecretSource, Tls};
use crate::secret::Secret;

/// What a test server holds of one connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection that a test server accepted, TLS done where there is TLS.
pub(super) type Conn = Box<dyn Io>;

/// Serves every connection with `handler` until the test's runtime ends.
pub(super) async fn serve<F, Fut>(tls: Option<Arc<ServerConfig>>, handler: F) -> SocketAddr
where
    F: Fn(Conn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (handler, tls) = (Arc::clone(&handler), tls.clone());
            tokio::spawn(async move {
                let Some(config) = tls else {
                    return handler(Box::new(tcp)).await;
                };
                match TlsAcceptor::from(config).accept(tcp).into_fallible().await {
                    Ok(tls) => handler(Box::new(tls)).await,
                    // Read on, so that closing does not destroy the alert on its way.
                    Err((_, mut tcp)) => drain(&mut tcp).await,
                }
            });
        }
    });
    address
}

/// Reads until the other side closes.
pub(super) async fn drain(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let _ = io.shutdown().await;
    let mut sink = [0; 1024];
    while io.read(&mut sink).await.is_ok_and(|n| n > 0) {}
}

/// Reads one request head.
pub(super) async fn read_head(io: &mut Conn) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A server that reads a request head and answers with these bytes, whatever was asked.
pub(super) async fn answering(answer: &'static str) -> SocketAddr {
    serve(None, move |mut conn| async move {
        read_head(&mut conn).await;
        conn.write_all(answer.as_bytes()).await.unwrap();
        drain(&mut conn).await;
    })
    .await
}

/// A relay at `host:port` with everything at its default.
pub(crate) fn relay(host: &str, port: u16, tls: bool) -> Relay {
    Relay {
        name: "default".to_owned(),
        url: RelayUrl {
            tls,
            host: host.to_owned(),
            port,
            path_and_query: "/connect".to_owned(),
        },
        api_key: SecretSource::Env("SPECTRAL_BRIDGE_API_KEY".to_owned()),
        protocol: ProtocolChoice::Auto,
        tls: Tls::default(),
        proxy: Proxy::None,
        keepalive: Keepalive {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        },
        max_frame_bytes: 16 * 1024 * 1024,
        request_timeout: Duration::from_secs(600),
        shutdown_grace: Duration::from_secs(8),
        max_in_flight: 512,
        max_queued: 16384,
        max_held_bytes: 256 * 1024 * 1024,
        paths: Vec::new(),
        response_policy: ResponsePolicy::Passthrough,
        response_headers: Vec::new(),
        forward: None,
        labels: Vec::new(),
        budget: Budget::default(),
        schedule: None,
    }
}

/// A directory for one test's files, removed with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "spectral-bridge-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(unique);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file and says where.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A secret with this value.
pub(super) fn secret(value: &str) -> Secret {
    let scratch = Scratch::new();
    Secret::read(&SecretSource::File(scratch.file("secret", value))).unwrap()
}

/// A certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    der: CertificateDer<'static>,
}

/// A certificate and its key.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    pub(crate) cert_pem: String,
    pub(crate) key: KeyPair,
}

impl Ca {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::named(&format!("test authority {}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// An authority with this name and a key of its own.
    pub(super) fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            pem: cert.pem(),
            der: cert.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for these names or addresses, changed by `change` before it is signed.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![cert.der().clone()],
            cert_pem: cert.pem(),
            key,
        }
    }

    /// A good server certificate for 127.0.0.1 and `localhost`.
    pub(crate) fn good(&self) -> Identity {
        self.issue(&["127.0.0.1", "localhost"], |_| {})
    }
}

impl Identity {
    /// A server that shows this certificate and, with `clients`, wants one of theirs.
    pub(crate) fn server(&self, clients: Option<&Ca>) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.der.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(self.chain.clone(), key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
