//! One WebSocket: writes what the slot queued, reports what came, closes with the right code.
//!
//! A single task owns the socket and polls both directions, so that a client which does not read cannot keep us from
//! reading. Deliberately absent: any meaning of a frame (`slot` and `frames` know it).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream};
use hyper::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::journal::Event;
use super::slot::{Attached, Ending, Outgoing, Slot};

/// Upgrades `socket` to a WebSocket with the given frame limit.
pub(super) async fn accept<S>(socket: S, max_frame_bytes: usize) -> WebSocketStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default()
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes));
    WebSocketStream::from_raw_socket(socket, Role::Server, Some(limits)).await
}

/// Closes a socket that never belonged to a slot.
pub(super) async fn refuse<S>(mut socket: WebSocketStream<S>, code: u16, reason: &'static str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    close(&mut socket, code, reason).await;
    linger(socket).await;
}

/// Serves `socket` as the newest connection of `slot` until it ends.
pub(super) async fn serve<S>(
    socket: WebSocketStream<S>,
    slot: &Arc<Slot>,
    headers: &HeaderMap,
    rotate: Option<Duration>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Attached { number, commands, cut } = slot.attach(headers);
    let (batch, queue) = (Vec::new(), VecDeque::new());
    let mut wire = Wire {
        socket,
        commands,
        batch,
        queue,
        slot,
        number,
        closing: None,
        closed: None,
        mute: false,
    };
    let mut rotation = std::pin::pin!(async {
        match rotate {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    });
    let mut rotated = false;
    let stop = loop {
        tokio::select! {
            stop = wire.run() => break stop,
            () = cut.notified() => break Stop::Ended(Ending::Broken),
            () = &mut rotation, if !rotated => {
                // PROTOCOL §2.5, §3.1: 4003 at the age that was asked for
                rotated = true;
                slot.close(4003, "rotation");
            }
        }
    };
    let Wire {
        mut socket,
        mut commands,
        queue,
        ..
    } = wire;
    let unsent = queue.into_iter().chain(std::iter::from_fn(|| commands.try_recv().ok()));
    match stop {
        Stop::Ended(ending) => slot.detach(number, ending, unsent),
        Stop::Refused(code, reason) => {
            slot.detach(number, Ending::Broken, unsent);
            close(&mut socket, code, reason).await;
            linger(socket).await;
        }
    }
}

struct Wire<'a, S> {
    socket: WebSocketStream<S>,
    commands: mpsc::UnboundedReceiver<Outgoing>,
    batch: Vec<Outgoing>,
    queue: VecDeque<Outgoing>,
    slot: &'a Slot,
    number: u64,
    /// Since when our close frame waits for its answer.
    closing: Option<Instant>,
    /// The client's close frame, once it came, and its code.
    closed: Option<Option<u16>>,
    /// Whether writing failed.
    mute: bool,
}

/// Why a wire stops.
enum Stop {
    /// Nothing more can be said.
    Ended(Ending),
    /// The client broke a rule: close with this code and reason.
    Refused(u16, &'static str),
}

enum Step {
    Came(Message),
    Failed(Error),
    ReadEnd,
    CloseSent,
}

impl<S> Wire<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Runs until the connection ends.
    ///
    /// # Cancel safety
    /// Safe: everything is kept in `self`.
    async fn run(&mut self) -> Stop {
        loop {
            let closing = self.closing;
            let step = std::future::poll_fn(|cx| self.poll_step(cx));
            let step = match closing {
                None => step.await,
                Some(since) => match tokio::time::timeout_at(since + CLOSE_ANSWER, step).await {
                    Ok(step) => step,
                    Err(_) => return Stop::Ended(Ending::ByRelay(None)),
                },
            };
            match step {
                // Another round, now with a deadline.
                Step::CloseSent => {}
                Step::Came(Message::Close(frame)) => self.closed = Some(frame.map(|frame| frame.code.into())),
                Step::Came(message) => self.came(message),
                Step::ReadEnd | Step::Failed(Error::Io(_)) => {
                    return Stop::Ended(match (self.closing, self.closed) {
                        (Some(_), code) => Ending::ByRelay(code.flatten()),
                        (None, Some(code)) => Ending::ByClient(code),
                        (None, None) => Ending::Broken,
                    });
                }
                // PROTOCOL §2.2: a larger frame makes the receiver close the connection.
                Step::Failed(Error::Capacity(_)) => return Stop::Refused(1009, "frame too large"),
                Step::Failed(Error::Utf8(_)) => return Stop::Refused(1007, "a text frame is not UTF-8"),
                Step::Failed(_) => return Stop::Refused(1002, "protocol error"),
            }
        }
    }

    fn came(&self, message: Message) {
        match message {
            Message::Text(text) => self.slot.received(self.number, text),
            Message::Binary(bytes) => {
                self.slot
                    .journal()
                    .add(self.slot.id(), self.number, || Event::ReceivedBinary(bytes));
            }
            // The pong is the WebSocket library's.
            Message::Ping(_) => self.slot.journal().add(self.slot.id(), self.number, || Event::Pinged),
            Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match self.poll_write(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Step::CloseSent),
            // What the client said before it went is still worth reading.
            Poll::Ready(Err(Error::Io(_))) => self.mute = true,
            Poll::Ready(Err(error)) => return Poll::Ready(Step::Failed(error)),
            Poll::Pending => {}
        }
        match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            Some(Ok(message)) => Poll::Ready(Step::Came(message)),
            Some(Err(error)) => Poll::Ready(Step::Failed(error)),
            None => Poll::Ready(Step::ReadEnd),
        }
    }

    /// Writes what is queued; ready once a close frame was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // After the client's close frame nothing may follow; reading on answers it.
        if self.mute || self.closed.is_some() {
            return Poll::Pending;
        }
        while self.closing.is_none() {
            if self.queue.is_empty() && self.commands.poll_recv_many(cx, &mut self.batch, BATCH).is_ready() {
                self.queue.extend(self.batch.drain(..));
            }
            if self.queue.is_empty() {
                break;
            }
            ready!(Pin::new(&mut self.socket).poll_ready(cx))?;
            let Some(outgoing) = self.queue.pop_front() else { break };
            if self.start_send(outgoing)? {
                self.closing = Some(Instant::now());
                return Poll::Ready(Ok(()));
            }
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        Poll::Pending
    }

    /// Hands one frame to the socket. Tells whether it was the last.
    fn start_send(&mut self, outgoing: Outgoing) -> Result<bool, Error> {
        let (message, last) = match outgoing {
            Outgoing::Request(_, text) | Outgoing::Text(text) => {
                self.slot
                    .journal()
                    .add(self.slot.id(), self.number, || Event::Sent(text.clone()));
                (Message::Text(text), false)
            }
            Outgoing::Binary(bytes) => (Message::Binary(bytes), false),
            Outgoing::Broken(bytes) => {
                let text = Frame::message(bytes, OpCode::Data(Data::Text), true);
                (Message::Frame(text), false)
            }
            Outgoing::Close(code, reason) => (Message::Close(Some(close_frame(code, reason))), true),
        };
        Pin::new(&mut self.socket).start_send(message)?;
        Ok(last)
    }
}

async fn close<S>(socket: &mut WebSocketStream<S>, code: u16, reason: &'static str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A socket that is already broken has nobody to tell.
    drop(
        timeout(
            CLOSE_ANSWER,
            socket.send(Message::Close(Some(close_frame(code, reason)))),
        )
        .await,
    );
}

/// Reads and drops what the client is still sending: closing at once would reset the connection, and the reset could
/// overtake our close frame.
async fn linger<S>(socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut socket = socket.into_inner();
    let mut sink = vec![0; 64 * 1024];
    let drain = async { while matches!(socket.read(&mut sink).await, Ok(1..)) {} };
    drop(timeout(CLOSE_ANSWER, drain).await);
}

fn close_frame(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame {
        code: CloseCode::from(code),
        reason: reason.into(),
    }
}

/// Frames handed to the socket between two looks at the other direction.
const BATCH: usize = 256;

/// How long a client may take to answer our close frame.
const CLOSE_ANSWER: Duration = Duration::from_secs(5);
