//! Connections to Envoy's local listener.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::unix::LocalUnix;
use crate::config::ForwardTo;

/// Whether the listener accepts connections now.
///
/// # Errors
/// Why it does not.
pub async fn accepts(to: &ForwardTo) -> io::Result<()> {
    match to {
        ForwardTo::Unix(path) => UnixStream::connect(path).await.map(drop),
        ForwardTo::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.map(drop),
    }
}

/// A byte stream to the listener.
pub(super) enum LocalStream {
    Unix(TokioIo<LocalUnix>),
    Tcp(TokioIo<TcpStream>),
}

/// Connects. A Unix socket whose accept queue is full says so at once; that is waited out, since the session ends a
/// request whose time is over.
pub(super) async fn connect(to: &ForwardTo) -> io::Result<LocalStream> {
    let mut pause = Duration::from_millis(1);
    loop {
        let result = match to {
            ForwardTo::Unix(path) => LocalUnix::connect(path)
                .await
                .map(|s| LocalStream::Unix(TokioIo::new(s))),
            ForwardTo::Tcp { host, port } => tcp(host, *port).await,
        };
        match result {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            result => return result,
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<LocalStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(LocalStream::Tcp(TokioIo::new(stream)))
}
