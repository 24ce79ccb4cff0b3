//! Keep-alive connections to the local listener, HTTP/1.1.
//!
//! Written here rather than taken from a pooling client because *at most once* needs one property that those do not
//! promise: a request is sent on another connection only if not a byte of it was written to the first.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::time::Instant;

use super::connect::{LocalStream, connect};
use crate::config::ForwardTo;
use crate::protocol::Fault;

type Sender = SendRequest<Full<Bytes>>;

/// Idle connections, the one used last on top. None is used for longer than [`MAX_AGE`]: when Envoy replaces a listener,
/// what is in flight on connections to the old one is cut at the end of its drain, however late it began.
#[derive(Debug)]
pub(crate) struct Pool {
    to: ForwardTo,
    idle: Arc<Idle>,
}

#[derive(Debug)]
struct Idle {
    connections: Mutex<Vec<Connection>>,
    max: usize,
}

#[derive(Debug)]
struct Connection {
    sender: Sender,
    since: Instant,
}

/// A response whose connection goes back to the pool once the body was read ([`Exchange::finish`]) and is closed
/// otherwise.
pub(crate) struct Exchange {
    pub response: Response<Incoming>,
    connection: Connection,
    idle: Arc<Idle>,
}

impl Pool {
    pub fn new(to: ForwardTo, max_idle: usize) -> Self {
        Self {
            to,
            idle: Arc::new(Idle {
                connections: Mutex::default(),
                max: max_idle,
            }),
        }
    }

    /// Sends `request` and waits for the response's head.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Exchange, Fault> {
        loop {
            let (mut connection, reused) = match self.idle.take() {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            if connection.sender.ready().await.is_err() {
                if reused {
                    continue;
                }
                return Err(Fault::AdapterUnavailable(
                    "Envoy's local listener closed the connection at once".into(),
                ));
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(Exchange {
                        response,
                        connection,
                        idle: Arc::clone(&self.idle),
                    });
                }
                Err(mut e) => match e.take_message() {
                    // not a byte was written: PROTOCOL §2.5 (never twice) allows another connection
                    Some(unsent) if reused => request = unsent,
                    // it may have reached the adapter
                    Some(_) | None => {
                        return Err(Fault::AdapterUnavailable(
                            "the connection ended before an answer came".into(),
                        ));
                    }
                },
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let stream = connect(&self.to).await.map_err(|e| self.unreachable(&e))?;
        let sender = match stream {
            LocalStream::Unix(io) => handshake(io).await,
            LocalStream::Tcp(io) => handshake(io).await,
        };
        let closed = |_| Fault::AdapterUnavailable("Envoy's local listener closed the connection at once".into());
        Ok(Connection {
            sender: sender.map_err(closed)?,
            since: Instant::now(),
        })
    }

    fn unreachable(&self, e: &io::Error) -> Fault {
        let to = match &self.to {
            ForwardTo::Unix(path) => format!("unix://{}", path.display()),
            ForwardTo::Tcp { host, port } => format!("http://{host}:{port}"),
        };
        Fault::AdapterUnavailable(format!("Envoy's local listener {to} cannot be reached: {}", e.kind()).into())
    }
}

impl Idle {
    fn take(&self) -> Option<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = connections.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < MAX_AGE
    }
}

impl Exchange {
    /// The body was read to its end: the connection can serve another request.
    pub fn finish(self) {
        let mut connections = self.idle.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() < self.idle.max && self.connection.is_usable() {
            connections.push(self.connection);
        }
    }
}

async fn handshake<T>(io: T) -> hyper::Result<Sender>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new().max_headers(256).handshake(io).await?;
    // its errors reach the request that waits on it
    tokio::spawn(connection);
    Ok(sender)
}

/// A new connection costs a tenth of a millisecond; a listener's drain lasts minutes.
const MAX_AGE: Duration = Duration::from_secs(2);
