//! Accept loops over hyper and the tasks they own, shared by the relay, the model and the collector.
//!
//! Whoever owns a [`Server`] can end it in two ways: [`Server::kill`] drops every socket where it stands, as a crash
//! does; [`Server::drain`] lets answers under way finish first. Deliberately absent: routing, and anything about what
//! is said over the sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::locked;

/// Listeners and everything that was accepted from them.
#[derive(Debug)]
pub struct Server {
    tasks: Mutex<JoinSet<()>>,
    listeners: Mutex<Vec<AbortHandle>>,
    draining: watch::Sender<bool>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            tasks: Mutex::default(),
            listeners: Mutex::default(),
            draining: watch::Sender::new(false),
        }
    }
}

impl Server {
    /// Runs `task` until it ends or the server does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = locked(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    /// Binds `address` and serves HTTP/1.1 on it, over TLS when `tls` says so. Returns the bound address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn listen<S, B>(
        self: &Arc<Self>,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        service: S,
    ) -> io::Result<SocketAddr>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.accept(address, move |socket, draining| {
            let (tls, service) = (tls.clone(), service.clone());
            async move {
                match tls {
                    None => serve(socket, service, draining).await,
                    Some(tls) => {
                        let Ok(Ok(socket)) = tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await else {
                            return;
                        };
                        serve(socket, service, draining).await;
                    }
                }
            }
        })
        .await
    }

    /// Binds `address` and serves HTTP/2 on it, without TLS and without a handshake, as gRPC does. Returns the bound
    /// address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn listen_http2<S, B>(self: &Arc<Self>, address: SocketAddr, service: S) -> io::Result<SocketAddr>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.accept(address, move |socket, _draining| {
            let service = service.clone();
            async move {
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service);
                // an error is a peer that went away
                drop(connection.await);
            }
        })
        .await
    }

    /// Binds `address` and runs `serve` for each connection.
    async fn accept<F>(
        self: &Arc<Self>,
        address: SocketAddr,
        serve: impl Fn(TcpStream, watch::Receiver<bool>) -> F + Send + 'static,
    ) -> io::Result<SocketAddr>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let server = Arc::clone(self);
        let accepting = self.spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                // Small frames and answers go out at once. A socket that is already gone fails on its first read.
                drop(socket.set_nodelay(true));
                server.spawn(serve(socket, server.draining.subscribe()));
            }
        });
        locked(&self.listeners).push(accepting);
        Ok(bound)
    }

    /// Starts dropping listeners and sockets where they stand, without waiting for it.
    pub fn abort(&self) {
        locked(&self.tasks).abort_all();
    }

    /// Drops listeners and sockets where they stand.
    pub async fn kill(&self) {
        let mut tasks = std::mem::take(&mut *locked(&self.tasks));
        tasks.shutdown().await;
        // A connection accepted while the first set was ending.
        let mut late = std::mem::take(&mut *locked(&self.tasks));
        late.shutdown().await;
    }

    /// Stops listening, lets what is under way finish within `grace`, then drops the rest.
    pub async fn drain(&self, grace: Duration) {
        for listener in locked(&self.listeners).drain(..) {
            listener.abort();
        }
        self.draining.send_replace(true);
        let mut tasks = std::mem::take(&mut *locked(&self.tasks));
        let finished = async { while tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(grace, finished).await);
        tasks.shutdown().await;
        self.kill().await;
    }
}

async fn serve<S, B>(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: S,
    mut draining: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut told = pin!(async move { drop(draining.wait_for(|draining| *draining).await) });
    // An error here is a peer that went away or a handler that hangs up on purpose: both end the connection, no more.
    tokio::select! {
        ended = connection.as_mut() => drop(ended),
        () = told.as_mut() => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}

/// How long a peer may take over its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
