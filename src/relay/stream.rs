//! What lies under the WebSocket: TCP, TLS over it, or TLS inside the TLS of an `https` proxy.
//!
//! Bytes are counted at the bottom, where the kernel takes and gives them, so that the driver can tell a slow peer (the
//! counts move) from a dead one. Deliberately absent: any buffering beyond what TLS needs.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::tls;

/// A connection to a relay or to a proxy.
pub enum RelayStream {
    /// Plain TCP.
    Tcp(CountedTcp),
    /// TLS over TCP, or over the tunnel through an `https` proxy.
    Tls(Box<TlsStream<RelayStream>>),
}

/// A TCP connection that counts.
pub struct CountedTcp {
    tcp: TcpStream,
    counts: ByteCounts,
}

/// Bytes that crossed one TCP connection so far; clones see the same counts.
#[derive(Debug, Clone, Default)]
pub struct ByteCounts {
    written: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
}

impl ByteCounts {
    /// Bytes that the kernel accepted, TLS and handshakes included.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes that the kernel delivered, TLS and handshakes included.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl RelayStream {
    pub(super) fn tcp(tcp: TcpStream) -> Self {
        Self::Tcp(CountedTcp {
            tcp,
            counts: ByteCounts::default(),
        })
    }

    /// The counts of the TCP connection at the bottom.
    #[must_use]
    pub fn counts(&self) -> ByteCounts {
        match self {
            Self::Tcp(tcp) => tcp.counts.clone(),
            Self::Tls(tls) => tls.get_ref().0.counts(),
        }
    }
}

impl CountedTcp {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &result {
            self.counts.written.fetch_add(*n as u64, Ordering::Relaxed);
        }
        result
    }
}

/// A failed write, told by the alert that the peer sent before it stopped listening, if there is one to read.
///
/// A TLS 1.3 server refuses a client's certificate when the client may already be writing: the reset would hide why.
fn explained<T>(
    result: Poll<io::Result<T>>,
    tls: &mut TlsStream<RelayStream>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    let Poll::Ready(Err(error)) = result else {
        return result;
    };
    let mut byte = [0];
    match Pin::new(tls).poll_read(cx, &mut ReadBuf::new(&mut byte)) {
        Poll::Ready(Err(alert)) if tls::fault(&alert).is_some() => Poll::Ready(Err(alert)),
        Poll::Ready(_) | Poll::Pending => Poll::Ready(Err(error)),
    }
}

impl AsyncRead for RelayStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => {
                let before = buf.filled().len();
                let result = Pin::new(&mut tcp.tcp).poll_read(cx, buf);
                let read = buf.filled().len().saturating_sub(before);
                tcp.counts.read.fetch_add(read as u64, Ordering::Relaxed);
                result
            }
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for RelayStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => {
                let result = Pin::new(&mut tcp.tcp).poll_write(cx, buf);
                tcp.wrote(result)
            }
            Self::Tls(tls) => {
                let result = Pin::new(tls.as_mut()).poll_write(cx, buf);
                explained(result, tls, cx)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => {
                let result = Pin::new(&mut tcp.tcp).poll_write_vectored(cx, bufs);
                tcp.wrote(result)
            }
            Self::Tls(tls) => {
                let result = Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs);
                explained(result, tls, cx)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(&mut tcp.tcp).poll_flush(cx),
            Self::Tls(tls) => {
                let result = Pin::new(tls.as_mut()).poll_flush(cx);
                explained(result, tls, cx)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(&mut tcp.tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for RelayStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_) => f.write_str("Tcp"),
            Self::Tls(tls) => f.debug_tuple("Tls").field(tls.get_ref().0).finish(),
        }
    }
}
