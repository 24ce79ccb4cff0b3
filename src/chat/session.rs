//! One client's connection: its messages in, answers out, one turn at a time.
//!
//! Every turn ends with exactly one `done` or `error`. A second turn while one runs is refused: who wants two answers at
//! once opens two connections. Deliberately absent: memory of earlier turns; a client sends the whole conversation.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ask::{self, Id, Said};
use super::counts::Counts;
use super::reply::{Failure, cancelled};
use super::socket::{Ended, Socket, SocketEvent};
use super::turn::{Adapter, Turn, TurnEvent};
use crate::protocol::Fault;

/// A connection whose handshake is done.
pub(super) struct Session<S> {
    socket: Socket<S>,
    adapter: Arc<Adapter>,
    counts: Arc<Counts>,
    caller: Caller,
    turn: Option<Turn>,
    /// Turns begun.
    turns: u64,
    /// When the last turn ended.
    quiet_since: Instant,
    /// When the client last gave a sign of life.
    heard: Instant,
    pinged: Option<Instant>,
}

/// What the handshake said that goes with each turn.
#[derive(Debug, Default)]
pub(super) struct Caller {
    trace: HeaderMap,
    request_id: Option<String>,
}

/// When a drain began and by when it is over; `None` before.
pub(super) type Drain = watch::Receiver<Option<Instant>>;

/// How a session ends.
enum End {
    /// Closed by this side.
    Close(u16, &'static str, &'static str),
    /// By the client, or the network.
    Gone(Ended),
}

enum Event {
    Socket(SocketEvent),
    Turn(TurnEvent),
    Time,
}

impl Caller {
    /// Takes what goes on from the handshake's headers; the client's credentials do not.
    pub fn new(headers: &HeaderMap) -> Self {
        let trace = TRACE
            .into_iter()
            .filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
        let id = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
        Self {
            trace: trace.collect(),
            request_id: id.filter(|id| id.len() <= MAX_REQUEST_ID).map(str::to_owned),
        }
    }

    /// The headers of a turn: each has an id of its own that begins with the connection's.
    fn headers(&self, turn: u64) -> HeaderMap {
        let mut headers = self.trace.clone();
        let id = self.request_id.as_ref();
        if let Some(Ok(id)) = id.map(|id| HeaderValue::from_str(&format!("{id}-{turn}"))) {
            headers.insert(X_REQUEST_ID, id);
        }
        headers
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub async fn new(io: S, adapter: Arc<Adapter>, counts: Arc<Counts>, caller: Caller) -> Self {
        let settings = &adapter.settings;
        // up to twice the limit a message is read, so that the answer to it can say why it is refused
        let readable = settings.max_message_bytes.saturating_mul(2);
        let now = Instant::now();
        Self {
            socket: Socket::new(io, readable, settings.send_timeout).await,
            adapter,
            counts,
            caller,
            turn: None,
            turns: 0,
            quiet_since: now,
            heard: now,
            pinged: None,
        }
    }

    /// Serves the connection to its end.
    pub async fn run(mut self, mut drain: Drain) {
        let end = loop {
            let by = *drain.borrow_and_update();
            if let Some(end) = self.over(by) {
                break end;
            }
            let (wake, has_room) = (self.wake_at(by), self.socket.has_room());
            let event = tokio::select! {
                event = self.socket.event() => Event::Socket(event),
                said = next_of(&mut self.turn), if has_room => Event::Turn(said),
                () = sleep_until(wake) => Event::Time,
                // an endpoint that is gone has aborted this
                Ok(()) = drain.changed() => Event::Time,
            };
            let ended = match event {
                Event::Socket(event) => self.on_socket(event),
                Event::Turn(said) => self.on_turn(said),
                Event::Time => self.on_time(),
            };
            if let Some(end) = ended {
                break end;
            }
        };
        self.finish(end).await;
    }

    fn on_socket(&mut self, event: SocketEvent) -> Option<End> {
        self.heard = Instant::now();
        match event {
            SocketEvent::Text(text) => self.on_text(&text),
            SocketEvent::Binary(bytes) => {
                let what = format!("a binary message of {bytes} bytes; messages are JSON texts");
                self.refuse(None, &Failure::new(400, "binary_message", what));
            }
            SocketEvent::Alive | SocketEvent::Written => {}
            SocketEvent::Ended(ended) => return Some(End::Gone(ended)),
        }
        self.pinged = None;
        None
    }

    fn on_text(&mut self, text: &str) {
        let most = self.adapter.settings.max_message_bytes;
        if text.len() > most {
            let what = format!("a message of {} bytes; at most {most} are read", text.len());
            return self.refuse(None, &Failure::new(413, "message_too_large", what));
        }
        match ask::read(text, self.adapter.settings.model.as_deref()) {
            Ok(Said::Turn { id, body }) => self.ask(id, body),
            Ok(Said::Cancel { id }) => self.cancel(id.as_ref()),
            Err(mistake) => self.refuse(mistake.id.as_ref(), &mistake.failure),
        }
    }

    fn ask(&mut self, id: Option<Id>, body: String) {
        if self.turn.is_some() {
            let what = "a turn runs on this connection: wait for its done or error, or cancel it";
            return self.refuse(id.as_ref(), &Failure::new(409, "turn_running", what));
        }
        self.turns += 1;
        let headers = self.caller.headers(self.turns);
        self.turn = Some(self.adapter.ask(id, body, headers));
    }

    fn cancel(&mut self, id: Option<&Id>) {
        let meant = |turn: &Turn| id.is_none() || turn.id.as_ref() == id;
        match self.turn.take_if(|turn| meant(turn)) {
            Some(turn) => {
                self.socket.send(cancelled(turn.id.as_ref()));
                self.quiet_since = Instant::now();
            }
            None => {
                let what = "there is no such turn; it may just have ended";
                self.refuse(id, &Failure::new(409, "no_turn_running", what));
            }
        }
    }

    fn on_turn(&mut self, said: TurnEvent) -> Option<End> {
        let last = match said {
            TurnEvent::Says(message) => {
                self.socket.send(message);
                return None;
            }
            TurnEvent::Done(message) => message,
            TurnEvent::Failed(failure) => failure.json(self.turn.as_ref().and_then(|turn| turn.id.as_ref())),
        };
        self.socket.send(last);
        self.turn = None;
        self.quiet_since = Instant::now();
        None
    }

    /// A message that is no turn is answered, and nothing else happens.
    fn refuse(&mut self, id: Option<&Id>, failure: &Failure) {
        self.counts.message_refused(&failure.label());
        self.socket.send(failure.json(id));
    }

    /// Whether it is time to end: for a drain, or because nothing is asked any more.
    fn over(&mut self, drained_by: Option<Instant>) -> Option<End> {
        let now = Instant::now();
        if let Some(by) = drained_by {
            match self.turn.take_if(|_| now >= by) {
                Some(turn) => {
                    let failure = Failure::from(&Fault::Draining);
                    self.socket.send(failure.json(turn.id.as_ref()));
                    turn.give_up(&failure);
                }
                None if self.turn.is_some() => return None,
                None => {}
            }
            return Some(End::Close(1001, "draining", "the service is shutting down"));
        }
        let idle = self.turn.is_none() && now >= self.quiet_since + self.adapter.settings.idle_timeout;
        idle.then_some(End::Close(1000, "idle", "no turn for too long"))
    }

    fn on_time(&mut self) -> Option<End> {
        let now = Instant::now();
        let keepalive = self.adapter.settings.keepalive;
        match self.pinged {
            Some(at) if now >= at + keepalive.timeout => {
                // behind what the client has not taken, its pong may be late; how late, `send_timeout` says
                if self.socket.is_written() {
                    return Some(End::Close(1001, "ping_timeout", "no pong"));
                }
                self.pinged = Some(now);
            }
            None if now >= self.heard + keepalive.interval => {
                self.socket.ping();
                self.pinged = Some(now);
            }
            Some(_) | None => {}
        }
        None
    }

    fn wake_at(&self, drained_by: Option<Instant>) -> Instant {
        let settings = &self.adapter.settings;
        let life = match self.pinged {
            Some(at) => at + settings.keepalive.timeout,
            None => self.heard + settings.keepalive.interval,
        };
        let idle = self.turn.is_none().then_some(self.quiet_since + settings.idle_timeout);
        [idle, drained_by].into_iter().flatten().fold(life, Instant::min)
    }

    async fn finish(mut self, end: End) {
        // counted as cancelled, and its request is closed
        drop(self.turn.take());
        let (label, close) = match end {
            End::Close(code, label, reason) => (label, Some((code, reason))),
            End::Gone(ended) => (ended.label(), ended.code()),
        };
        self.counts.session_ends(label);
        tracing::debug!(turns = self.turns, "a chat session ended: {label}");
        match close {
            Some((code, reason)) => self.socket.close(code, reason).await,
            None => self.socket.finish().await,
        }
    }
}

impl Ended {
    /// The close code that answers it, and why.
    fn code(self) -> Option<(u16, &'static str)> {
        match self {
            Self::TooLarge => Some((1009, "the message is too large")),
            Self::NotUtf8 => Some((1007, "the text is not UTF-8")),
            Self::Protocol => Some((1002, "not the WebSocket protocol")),
            Self::Client | Self::Lost | Self::Stalled => None,
        }
    }
}

/// What the turn says next; without one, nothing ever.
async fn next_of(turn: &mut Option<Turn>) -> TurnEvent {
    match turn {
        Some(turn) => turn.next().await,
        None => std::future::pending().await,
    }
}

const TRACE: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 256;
