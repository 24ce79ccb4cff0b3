//! One client's WebSocket with its outgoing queue, as a stream of events.
//!
//! Reading goes on while writing waits, so that a client that does not read can still cancel; what it makes us say
//! meanwhile is bounded. Deliberately absent: what any message means.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// A client's socket; see [`Socket::event`].
pub(super) struct Socket<S> {
    ws: WebSocketStream<S>,
    outgoing: VecDeque<Message>,
    /// Bytes handed over or waiting that the kernel has not taken.
    unwritten: usize,
    /// There may be something to flush.
    unflushed: bool,
    send_timeout: Duration,
    stall: Pin<Box<Sleep>>,
    stalled: bool,
}

/// What a socket has to say.
#[derive(Debug)]
pub(super) enum SocketEvent {
    Text(Utf8Bytes),
    /// A binary message, of so many bytes.
    Binary(usize),
    /// A sign of life.
    Alive,
    /// There is room again ([`Socket::has_room`]).
    Written,
    Ended(Ended),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client closed it.
    Client,
    /// It broke.
    Lost,
    /// The client took nothing for too long.
    Stalled,
    /// A message beyond what is read at all: close 1009.
    TooLarge,
    /// A text that is none: close 1007.
    NotUtf8,
    /// What is no WebSocket: close 1002.
    Protocol,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket whose handshake is done; messages beyond `max_bytes` end it.
    pub async fn new(io: S, max_bytes: usize, send_timeout: Duration) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(max_bytes))
            .max_frame_size(Some(max_bytes));
        Self {
            ws: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
            outgoing: VecDeque::new(),
            unwritten: 0,
            unflushed: false,
            send_timeout,
            stall: Box::pin(sleep_until(Instant::now())),
            stalled: false,
        }
    }

    pub fn send(&mut self, json: String) {
        self.unwritten += json.len();
        self.outgoing.push_back(Message::text(json));
    }

    pub fn ping(&mut self) {
        self.outgoing.push_back(Message::Ping(Bytes::new()));
    }

    /// Whether more of a stream should be said: the client keeps up.
    pub fn has_room(&self) -> bool {
        self.unwritten < ROOM && self.outgoing.len() < MAX_STREAMED
    }

    /// Whether everything said was taken by the kernel.
    pub fn is_written(&self) -> bool {
        !self.unflushed && self.outgoing.is_empty()
    }

    /// The next event; what was said is written meanwhile.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn event(&mut self) -> SocketEvent {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        let was_full = !self.has_room();
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) if was_full => return Poll::Ready(SocketEvent::Written),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(e)) => return Poll::Ready(SocketEvent::Ended(ended(&e))),
            Poll::Pending if self.is_stalled(cx) => return Poll::Ready(SocketEvent::Ended(Ended::Stalled)),
            Poll::Pending => {}
        }
        // who says much and hears nothing is not listened to either
        if self.outgoing.len() < MAX_WAITING {
            return self.poll_read(cx);
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut ws = Pin::new(&mut self.ws);
        while !self.outgoing.is_empty() {
            std::task::ready!(ws.as_mut().poll_ready(cx))?;
            let Some(message) = self.outgoing.pop_front() else {
                break;
            };
            self.unflushed = true;
            self.stalled = false;
            ws.as_mut().start_send(message)?;
        }
        if self.unflushed {
            std::task::ready!(ws.poll_flush(cx))?;
            self.unflushed = false;
            self.unwritten = 0;
        }
        self.stalled = false;
        Poll::Ready(Ok(()))
    }

    fn is_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        if !std::mem::replace(&mut self.stalled, true) {
            self.stall.as_mut().reset(Instant::now() + self.send_timeout);
        }
        self.stall.as_mut().poll(cx).is_ready()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        let message = match std::task::ready!(Pin::new(&mut self.ws).poll_next(cx)) {
            Some(Ok(message)) => message,
            Some(Err(e)) => return Poll::Ready(SocketEvent::Ended(ended(&e))),
            None => return Poll::Ready(SocketEvent::Ended(Ended::Lost)),
        };
        Poll::Ready(match message {
            Message::Text(text) => SocketEvent::Text(text),
            Message::Binary(bytes) => SocketEvent::Binary(bytes.len()),
            Message::Ping(_) => {
                // the library has queued the pong
                self.unflushed = true;
                SocketEvent::Alive
            }
            Message::Pong(_) | Message::Frame(_) => SocketEvent::Alive,
            Message::Close(_) => SocketEvent::Ended(Ended::Client),
        })
    }

    /// Says what waits, then closes with this code, and waits a moment for the client to agree; what it still says is
    /// thrown away, since a socket with unread bytes would be reset before the client has read ours.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        let farewell = async {
            while let Some(message) = self.outgoing.pop_front() {
                self.ws.feed(message).await?;
            }
            self.ws.send(Message::Close(Some(frame))).await?;
            let mut scratch = [0; 4096];
            let raw = self.ws.get_mut();
            while raw.read(&mut scratch).await? > 0 {}
            Ok::<(), Error>(())
        };
        // a client that is gone, or stays, is let go either way
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }

    /// Answers the client's close frame, and lets go.
    pub async fn finish(mut self) {
        let close = async {
            let _ = self.ws.flush().await;
            let _ = self.ws.close(None).await;
        };
        let _ = tokio::time::timeout(LINGER, close).await;
    }
}

fn ended(error: &Error) -> Ended {
    match error {
        Error::Capacity(_) => Ended::TooLarge,
        Error::Utf8(_) => Ended::NotUtf8,
        Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Ended::Lost
        }
        Error::Protocol(_) => Ended::Protocol,
        // the library's variants for other uses of it end a connection, too
        _ => Ended::Lost,
    }
}

impl Ended {
    /// For counting.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::Stalled => "stalled",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::Protocol => "protocol",
        }
    }
}

/// What a stream may be ahead of its client, besides what the kernel and Envoy hold.
const ROOM: usize = 64 * 1024;

/// Messages of a stream that may wait to be written.
const MAX_STREAMED: usize = 128;

/// Messages that may wait, answers to what the client says among them; beyond it the client is not listened to.
const MAX_WAITING: usize = 2 * MAX_STREAMED;

/// Questions are small; large ones take several reads.
const READ_BUFFER: usize = 8 * 1024;

/// Deltas are smaller; many of them are written at once.
const WRITE_BUFFER: usize = 16 * 1024;

/// Longest wait for the end of a connection that was closed.
const LINGER: Duration = Duration::from_secs(1);
