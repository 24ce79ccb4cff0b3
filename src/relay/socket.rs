//! One WebSocket with its outgoing queue, as a stream of events.
//!
//! Reading and writing progress in the same poll; frames are written in batches, and flushed when nothing more can be
//! read at once. Deliberately absent: what any frame means.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, protocol};

use super::outbox::Outbox;
use super::{ByteCounts, RelaySocket};
use crate::protocol::{CloseFrame, Disconnect, Outgoing, Text};

/// A connection's socket; see [`Socket::event`].
pub(super) struct Socket {
    ws: RelaySocket,
    counts: ByteCounts,
    outbox: Outbox,
    /// Messages and fragments handed to the WebSocket since the last complete flush.
    unflushed: usize,
    ping_in_flight: bool,
    /// After a frame above the limit the stream cannot be read as frames any more.
    unreadable: bool,
    /// What went wrong in [`Socket::push`].
    failed: Option<Error>,
    stall: Stall,
}

/// Notices when the kernel has taken no bytes for [`WRITE_STALL`] although there are some to write.
struct Stall {
    timer: Pin<Box<Sleep>>,
    written: u64,
}

/// What a socket has to say.
#[derive(Debug)]
pub(super) enum SocketEvent {
    Text(Text),
    NotUtf8,
    TooLarge,
    Pong(Option<u64>),
    PingWritten,
    Ended(Disconnect),
}

impl Socket {
    pub fn new(ws: RelaySocket) -> Self {
        let counts = ws.get_ref().counts();
        let stall = Stall {
            timer: Box::pin(sleep_until(Instant::now() + WRITE_STALL)),
            written: counts.written(),
        };
        Self {
            ws,
            counts,
            outbox: Outbox::default(),
            unflushed: 0,
            ping_in_flight: false,
            unreadable: false,
            failed: None,
            stall,
        }
    }

    pub fn send(&mut self, frame: Outgoing) {
        self.outbox.push(frame);
    }

    /// A ping overtakes what waits.
    pub fn ping(&mut self, number: u64) {
        self.outbox.push_ping(Bytes::copy_from_slice(&number.to_be_bytes()));
    }

    pub fn close(&mut self, code: u16, reason: &'static str) {
        let frame = protocol::CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        self.outbox.push_control(Message::Close(Some(frame)));
    }

    /// Writes what waits, as far as the kernel takes it at once; the rest is [`Socket::event`]'s, which must be polled
    /// afterwards and tells what went wrong here.
    pub fn push(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let written = match self.poll_feed(cx) {
            Poll::Ready(Ok(())) if self.unflushed > 0 => self.ws.poll_flush_unpin(cx),
            fed => fed,
        };
        if let Poll::Ready(Err(e)) = written {
            self.failed = Some(e);
        }
    }

    /// Whether more may be read: a relay that does not take our frames is not listened to either, so that what it
    /// makes us say cannot pile up. Large frames are answers, which the byte budget bounds; they do not silence the
    /// relay's acks, which free it.
    fn may_read(&self) -> bool {
        self.outbox.small_bytes() < MAX_SMALL_BYTES
    }

    /// The next event; queued frames are written meanwhile.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn event(&mut self) -> SocketEvent {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// A frame that has come already; [`Socket::event`] must be polled afterwards.
    pub fn event_now(&mut self) -> Option<SocketEvent> {
        if self.failed.is_some() || !self.may_read() {
            return None;
        }
        match self.poll_read(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        if let Some(e) = self.failed.take() {
            return Poll::Ready(ended(&e));
        }
        if let Poll::Ready(Err(e)) = self.poll_feed(cx) {
            return Poll::Ready(ended(&e));
        }
        if self.unflushed >= FLUSH_AFTER
            && let Some(event) = self.poll_flushed(cx)
        {
            return Poll::Ready(event);
        }
        if self.may_read()
            && let Poll::Ready(event) = self.poll_read(cx)
        {
            return Poll::Ready(event);
        }
        if let Some(event) = self.poll_flushed(cx) {
            return Poll::Ready(event);
        }
        self.poll_stall(cx)
    }

    /// Hands queued messages to the WebSocket's write buffer, as far as it takes them. Behind a ping nothing is handed
    /// over before it is written, else a backlog would hide when that was.
    fn poll_feed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.outbox.is_empty() && !self.ping_in_flight {
            ready!(Pin::new(&mut self.ws).poll_ready(cx))?;
            let Some(message) = self.outbox.pop() else {
                break;
            };
            self.ping_in_flight |= matches!(message, Message::Ping(_));
            self.unflushed += 1;
            Pin::new(&mut self.ws).start_send(message)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Option<SocketEvent> {
        if self.unflushed == 0 {
            return None;
        }
        match Pin::new(&mut self.ws).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.unflushed = 0;
                std::mem::take(&mut self.ping_in_flight).then_some(SocketEvent::PingWritten)
            }
            // the close handshake is over; reading says so
            Poll::Ready(Err(Error::ConnectionClosed)) => {
                self.unflushed = 0;
                None
            }
            Poll::Ready(Err(e)) => Some(ended(&e)),
            Poll::Pending => None,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        loop {
            if self.unreadable {
                return self.poll_discard(cx);
            }
            let message = match ready!(Pin::new(&mut self.ws).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(Error::Capacity(_))) => {
                    self.unreadable = true;
                    return Poll::Ready(SocketEvent::TooLarge);
                }
                Some(Err(e)) => return Poll::Ready(ended(&e)),
                None => return Poll::Ready(SocketEvent::Ended(eof())),
            };
            match message {
                Message::Text(text) => return Poll::Ready(SocketEvent::Text(text)),
                Message::Binary(bytes) => {
                    return Poll::Ready(Text::try_from(bytes).map_or(SocketEvent::NotUtf8, SocketEvent::Text));
                }
                Message::Pong(payload) => return Poll::Ready(SocketEvent::Pong(number(&payload))),
                Message::Close(frame) => {
                    return Poll::Ready(SocketEvent::Ended(Disconnect::Closed(close_frame(frame))));
                }
                // the library has queued the pong; it must be flushed
                Message::Ping(_) => self.unflushed += 1,
                Message::Frame(_) => {}
            }
        }
    }

    /// Reads on without looking, so that the relay can read our close frame before the socket goes away.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        let mut scratch = [0_u8; 16 * 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            let result = ready!(Pin::new(self.ws.get_mut()).poll_read(cx, &mut buf));
            if result.is_err() || buf.filled().is_empty() {
                return Poll::Ready(SocketEvent::Ended(eof()));
            }
        }
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        let written = self.counts.written();
        let idle = self.unflushed == 0 && self.outbox.is_empty();
        if idle || written != self.stall.written {
            self.stall.written = written;
            self.stall.timer.as_mut().reset(Instant::now() + WRITE_STALL);
            if idle {
                return Poll::Pending;
            }
        }
        ready!(self.stall.timer.as_mut().poll(cx));
        Poll::Ready(SocketEvent::Ended(Disconnect::Broken {
            code: "write_stalled",
            message: format!("the relay took no bytes for {} s", WRITE_STALL.as_secs()),
        }))
    }

    /// Answers the relay's close frame, if there is one, and lets go; at most [`LINGER`]. A large frame of which a part
    /// was written stays a part: who closes does not want it, and what must be sent again is held.
    pub async fn finish(mut self) {
        let close = async {
            let _ = self.ws.flush().await;
            let _ = self.ws.close(None).await;
        };
        let _ = tokio::time::timeout(LINGER, close).await;
    }
}

fn ended(error: &Error) -> SocketEvent {
    let (code, message) = match error {
        // the library's word for an end of stream, the most common of all ends (PROTOCOL §2.6)
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return SocketEvent::Ended(eof()),
        Error::Io(e) => ("io", format!("the connection to the relay broke: {}", io_reason(e))),
        Error::Utf8(_) => (
            "invalid_utf8",
            "the relay sent a text message that is not UTF-8".to_owned(),
        ),
        Error::Protocol(e) => (
            "websocket_protocol",
            format!("the relay broke the WebSocket protocol: {e}"),
        ),
        Error::Tls(_) => ("tls", "TLS with the relay failed".to_owned()),
        Error::Capacity(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => ("websocket", "the WebSocket to the relay failed".to_owned()),
    };
    SocketEvent::Ended(Disconnect::Broken { code, message })
}

fn io_reason(e: &io::Error) -> String {
    e.kind().to_string()
}

fn eof() -> Disconnect {
    Disconnect::Broken {
        code: "eof",
        message: "the relay ended the connection without a close frame".to_owned(),
    }
}

fn close_frame(frame: Option<protocol::CloseFrame>) -> CloseFrame {
    match frame {
        Some(frame) => {
            let reason = frame.reason.as_str().chars().filter(|c| !c.is_control()).collect();
            CloseFrame {
                code: frame.code.into(),
                reason,
            }
        }
        // RFC 6455 §7.1.5: a close frame without a code counts as 1005
        None => CloseFrame {
            code: 1005,
            reason: String::new(),
        },
    }
}

fn number(payload: &[u8]) -> Option<u64> {
    payload.try_into().map(u64::from_be_bytes).ok()
}

/// Bytes of small frames that may wait to be written; beyond it nothing is read.
const MAX_SMALL_BYTES: usize = 32 * 1024 * 1024;

/// Messages and fragments after which a flush is made even though more could be read.
const FLUSH_AFTER: usize = 64;

/// Longest time without the kernel taking a byte of what is to be written.
const WRITE_STALL: Duration = Duration::from_secs(40);

/// Longest time for the end of a connection that the relay closed.
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
