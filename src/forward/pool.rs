//! Keep-alive connections to the local listener, HTTP/1.1.
//!
//! Written here rather than taken from a pooling client because *at most once* needs one property that those do not
//! promise: a request is sent on another connection only if not a byte of it was written to the first.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};

use super::connect::{LocalStream, connect};
use crate::config::ForwardTo;
use crate::protocol::Fault;

type Sender = SendRequest<Full<Bytes>>;

/// Idle connections, the one used last on top.
#[derive(Debug)]
pub(super) struct Pool {
    to: ForwardTo,
    idle: Arc<Idle>,
}

#[derive(Debug)]
struct Idle {
    senders: Mutex<Vec<Sender>>,
    max: usize,
}

/// A response whose connection goes back to the pool once the body was read ([`Exchange::finish`]) and is closed
/// otherwise.
pub(super) struct Exchange {
    pub response: Response<Incoming>,
    sender: Sender,
    idle: Arc<Idle>,
}

impl Pool {
    pub fn new(to: ForwardTo, max_idle: usize) -> Self {
        Self {
            to,
            idle: Arc::new(Idle {
                senders: Mutex::default(),
                max: max_idle,
            }),
        }
    }

    /// Sends `request` and waits for the response's head.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Exchange, Fault> {
        loop {
            let (mut sender, reused) = match self.idle.take() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            if sender.ready().await.is_err() {
                if reused {
                    continue;
                }
                return Err(Fault::AdapterUnavailable(
                    "Envoy's local listener closed the connection at once".into(),
                ));
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(Exchange {
                        response,
                        sender,
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

    async fn connect(&self) -> Result<Sender, Fault> {
        let stream = connect(&self.to).await.map_err(|e| self.unreachable(&e))?;
        let sender = match stream {
            LocalStream::Unix(io) => handshake(io).await,
            LocalStream::Tcp(io) => handshake(io).await,
        };
        sender.map_err(|_| Fault::AdapterUnavailable("Envoy's local listener closed the connection at once".into()))
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
    fn take(&self) -> Option<Sender> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = senders.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }
}

impl Exchange {
    /// The body was read to its end: the connection can serve another request.
    pub fn finish(self) {
        let mut senders = self.idle.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.len() < self.idle.max && !self.sender.is_closed() {
            senders.push(self.sender);
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
