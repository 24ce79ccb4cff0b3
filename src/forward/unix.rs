//! A Unix socket that wakes its reader only.
//!
//! Linux tells a Unix socket's writer that there is room whenever its peer has read anything, also if the writer never
//! waited for room: with tokio's own type each request would wake the relay's thread once for nothing. Here the kernel is
//! asked for room only while a write waits for it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// A connection to Envoy's local listener.
#[derive(Debug)]
pub(super) struct LocalUnix {
    /// It is no pipe, but is read like one: this is the type of tokio that waits for what can be read, and for nothing
    /// else.
    socket: pipe::Receiver,
    /// While a write waits for room.
    room: Option<AsyncFd<OwnedFd>>,
}

impl LocalUnix {
    /// Connects.
    ///
    /// # Errors
    /// As the kernel says; [`io::ErrorKind::WouldBlock`] when the accept queue is full.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path).await?.into_std()?;
        Ok(Self {
            socket: pipe::Receiver::from_owned_fd_unchecked(socket.into())?,
            room: None,
        })
    }

    /// Writes with `write` what there is room for, and waits if there is none.
    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match rustix::io::retry_on_intr(|| write(self.socket.as_fd())) {
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                written => {
                    self.room = None;
                    return Poll::Ready(Ok(written?));
                }
            }
            let room = match &mut self.room {
                Some(room) => room,
                // a descriptor of its own: the other one stays registered for reading
                none => none.insert(room(self.socket.as_fd().try_clone_to_owned()?)?),
            };
            ready!(room.poll_write_ready(cx))?.clear_ready();
        }
    }
}

impl AsyncRead for LocalUnix {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for LocalUnix {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with(cx, |fd| send(fd, buf, SendFlags::NOSIGNAL))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bufs = bufs.get(..MAX_BUFS).unwrap_or(bufs);
        self.get_mut().poll_with(cx, |fd| {
            sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
        Poll::Ready(done.map_err(io::Error::from))
    }
}

#[expect(
    deprecated,
    reason = "its successor asks for a promise that this crate cannot make in safe code; an owned descriptor keeps it"
)]
fn room(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, Interest::WRITABLE)
}

/// As many as Linux takes at once.
const MAX_BUFS: usize = 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;
    use crate::relay::testing::Scratch;

    async fn pair(dir: &Scratch) -> (LocalUnix, UnixStream) {
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (local, accepted) = tokio::join!(LocalUnix::connect(&path), listener.accept());
        (local.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn more_than_fits_is_written_while_the_peer_reads_and_comes_back_whole() {
        let dir = Scratch::new();
        let (mut local, mut peer) = pair(&dir).await;
        let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let echo = tokio::spawn(async move {
            let mut came = vec![0; expected.len()];
            peer.read_exact(&mut came).await.unwrap();
            assert_eq!(came, expected);
            peer.write_all(&came).await.unwrap();
        });
        local.write_all(&sent).await.unwrap();
        assert!(local.room.is_none(), "asks for room only while it waits for it");
        let mut back = Vec::new();
        local.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, sent);
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn the_ends_of_a_connection_are_seen() {
        let dir = Scratch::new();
        let (mut local, mut peer) = pair(&dir).await;
        local.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        drop(peer);
        assert_eq!(local.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(local.write(&[0]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
