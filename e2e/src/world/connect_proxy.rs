//! A proxy of a corporate network: CONNECT, Basic credentials, TLS of its own, and no patience with idle links.
//!
//! Deliberately absent: forwarding of plain requests, and any other proof than Basic.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::failed::Result;
use crate::listen::Server;
use crate::locked;
use crate::relay::{TlsFiles, tls};

/// What a proxy can be told before it starts.
#[derive(Debug, Clone, Default)]
pub struct ProxyOptions {
    /// The `user:password` it wants.
    pub credentials: Option<String>,
    /// Its certificate: clients then speak TLS to it.
    pub tls: Option<TlsFiles>,
    /// The only port to which it opens tunnels.
    pub only_port: Option<u16>,
    /// What becomes of a tunnel without traffic, and after how long.
    pub idle: Option<(Duration, IdleEnd)>,
}

/// How a tunnel without traffic ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleEnd {
    /// It is closed, as proxies do.
    Closed,
    /// It is forgotten without a word to either side, as firewalls do.
    Forgotten,
}

/// A running proxy. Dropping it drops every tunnel.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    server: Arc<Server>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that a proxy saw: the target, and its headers.
pub type Seen = (String, HeaderMap);

impl ConnectProxy {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// It cannot listen, or the TLS files cannot be used.
    pub async fn start(options: ProxyOptions) -> Result<Self> {
        let (server, seen) = (Arc::new(Server::default()), Arc::<Mutex<Vec<Seen>>>::default());
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let options = Arc::new(options);
        let (tunnels, record) = (Arc::downgrade(&server), Arc::clone(&seen));
        let service = service_fn(move |request: Request<Incoming>| {
            locked(&record).push((request.uri().to_string(), request.headers().clone()));
            let (options, tunnels) = (Arc::clone(&options), tunnels.clone());
            async move {
                let tunnel = match judge(&options, &request) {
                    Ok(()) => connect(&options, request).await,
                    Err(refusal) => Err(refusal),
                };
                Ok::<_, Infallible>(match tunnel {
                    Ok(tunnel) => {
                        if let Some(server) = tunnels.upgrade() {
                            server.spawn(tunnel);
                        }
                        answer(StatusCode::OK)
                    }
                    Err(refusal) => answer(refusal),
                })
            }
        });
        let address = server
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls, service)
            .await?;
        Ok(Self { address, server, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it was asked.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.seen).clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn judge(options: &ProxyOptions, request: &Request<Incoming>) -> std::result::Result<(), StatusCode> {
    if request.method() != Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if let Some(credentials) = &options.credentials {
        let wanted = format!("Basic {}", BASE64.encode(credentials.as_bytes()));
        let proof = request.headers().get(PROXY_AUTHORIZATION);
        if proof.map(HeaderValue::as_bytes) != Some(wanted.as_bytes()) {
            return Err(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        }
    }
    match options.only_port {
        Some(only) if request.uri().port_u16() != Some(only) => Err(StatusCode::FORBIDDEN),
        Some(_) | None => Ok(()),
    }
}

/// Connects to the target; gives the tunnel's work.
async fn connect(
    options: &ProxyOptions,
    request: Request<Incoming>,
) -> std::result::Result<impl Future<Output = ()> + use<>, StatusCode> {
    let upstream = TcpStream::connect(request.uri().to_string()).await;
    let upstream = upstream.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let idle = options.idle;
    Ok(async move {
        let Ok(client) = hyper::upgrade::on(request).await else {
            return;
        };
        let mut client = TokioIo::new(client);
        let (mut upstream, mut client) = (upstream, &mut client);
        // However it ends, both sides are closed with it.
        drop(tunnel(&mut client, &mut upstream, idle).await);
    })
}

async fn tunnel(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    upstream: &mut TcpStream,
    idle: Option<(Duration, IdleEnd)>,
) -> io::Result<()> {
    let (mut down, mut up) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let patience = async {
            match idle {
                Some((limit, end)) => {
                    sleep(limit).await;
                    end
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = client.read(&mut up) => match read? {
                0 => return Ok(()),
                length => upstream.write_all(up.get(..length).unwrap_or_default()).await?,
            },
            read = upstream.read(&mut down) => match read? {
                0 => return Ok(()),
                length => {
                    client.write_all(down.get(..length).unwrap_or_default()).await?;
                    client.flush().await?;
                }
            },
            end = patience => match end {
                IdleEnd::Closed => return Ok(()),
                IdleEnd::Forgotten => std::future::pending().await,
            },
        }
    }
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let offer = HeaderValue::from_static("Basic realm=\"house\"");
        answer.headers_mut().insert(PROXY_AUTHENTICATE, offer);
    }
    answer
}

const PIECE: usize = 16 * 1024;
