//! A WebSocket server over TLS that sends back every byte it gets, frames or not, and keeps the handshakes' headers.
//!
//! Whoever sends it what a model would say hears it from a server. Deliberately absent: any look at frames.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::listen::Server;
use crate::relay::{TlsFiles, tls};
use crate::{handshake, locked};

/// A running server. Dropping it ends it as [`Echo::stop`] does.
#[derive(Debug)]
pub struct Echo {
    server: Arc<Server>,
    address: SocketAddr,
    handshakes: Handshakes,
}

type Handshakes = Arc<Mutex<Vec<HeaderMap>>>;

impl Echo {
    /// Serves on a free loopback port with this certificate.
    ///
    /// # Errors
    /// No port can be bound, or the certificate cannot be read.
    pub async fn start(files: &TlsFiles) -> io::Result<Self> {
        let (server, handshakes) = (Arc::<Server>::default(), Handshakes::default());
        let (own, seen) = (Arc::clone(&server), Arc::clone(&handshakes));
        let service = service_fn(move |request| {
            let answer = agree(&own, &seen, request);
            async { Ok::<_, io::Error>(answer) }
        });
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = server.listen(any, Some(tls::acceptor(files)?), service).await?;
        Ok(Self {
            server,
            address,
            handshakes,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The headers of all handshakes so far.
    #[must_use]
    pub fn handshakes(&self) -> Vec<HeaderMap> {
        locked(&self.handshakes).clone()
    }

    /// Ends abruptly: the port refuses connections, open ones are dropped.
    pub async fn stop(&self) {
        self.server.kill().await;
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn agree(server: &Arc<Server>, seen: &Handshakes, mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let Some(accept) = handshake::accept(request.method(), request.headers()) else {
        let mut reply = Response::new(Empty::new());
        *reply.status_mut() = StatusCode::BAD_REQUEST;
        return reply;
    };
    locked(seen).push(request.headers().clone());
    let upgraded = hyper::upgrade::on(&mut request);
    server.spawn(async move {
        if let Ok(socket) = upgraded.await {
            // an error is a client that left
            drop(repeat(TokioIo::new(socket)).await);
        }
    });
    handshake::switching(accept, Empty::new())
}

async fn repeat(mut socket: impl AsyncReadExt + AsyncWriteExt + Unpin) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = socket.read(&mut piece).await?;
        if length == 0 {
            return socket.shutdown().await;
        }
        socket.write_all(piece.get(..length).unwrap_or_default()).await?;
        socket.flush().await?;
    }
}
