//! A Unix socket that wakes its reader only.
//!
//! Linux tells a Unix socket's writer that there is room whenever its peer has read anything, also if the writer never
//! waited for room: with tokio's own type each request would wake the relay's thread once for nothing. Here the kernel is
//! asked for room only while a write waits for it.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connection to Envoy's local listener.
#[derive(Debug)]
pub(super) struct LocalUnix {
    socket: AsyncFd<UnixStream>,
    /// While a write waits for room.
    room: Option<AsyncFd<OwnedFd>>,
}

impl LocalUnix {
    /// Connects.
    ///
    /// # Errors
    /// As the kernel says; [`io::ErrorKind::WouldBlock`] when the accept queue is full.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let socket = tokio::net::UnixStream::connect(path).await?.into_std()?;
        Ok(Self {
            socket: registered(socket, Interest::READABLE)?,
            room: None,
        })
    }

    /// Writes with `write` what there is room for, and waits if there is none.
    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(self.socket.get_ref()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                written => {
                    self.room = None;
                    return Poll::Ready(written);
                }
            }
            let room = match &mut self.room {
                Some(room) => room,
                none => {
                    // a descriptor of its own: the other one stays registered for reading
                    let fd = OwnedFd::from(self.socket.get_ref().try_clone()?);
                    none.insert(registered(fd, Interest::WRITABLE)?)
                }
            };
            ready!(room.poll_write_ready(cx))?.clear_ready();
        }
    }
}

impl AsyncRead for LocalUnix {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut ready = ready!(this.socket.poll_read_ready(cx))?;
            let wanted = buf.remaining().min(READ_AT_ONCE);
            let unfilled = buf.initialize_unfilled_to(wanted);
            match ready.try_io(|socket| {
                let mut socket: &UnixStream = socket.get_ref();
                socket.read(unfilled)
            }) {
                Ok(Ok(read)) => {
                    // less than asked for: there is nothing more, which need not be asked for
                    if read > 0 && read < wanted {
                        ready.clear_ready();
                    }
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for LocalUnix {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with(cx, |mut socket| socket.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with(cx, |mut socket| socket.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may change their descriptor; these keep theirs"
)]
fn registered<T: std::os::fd::AsRawFd>(source: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(source, interest)
}

/// A socket's buffer holds little more; what is not read need not be cleared before.
const READ_AT_ONCE: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;
    use crate::relay::testing::Scratch;

    async fn pair(dir: &Scratch) -> (LocalUnix, tokio::net::UnixStream) {
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
