//! One turn: the adapter is asked through Envoy's local listener, and its event stream becomes messages.
//!
//! Driven by the session, which asks for the next message only when its client keeps up: what is not asked for stays in
//! the sockets, and Envoy stops reading from the model. Dropping a turn closes its connection, so Envoy resets the
//! request. Deliberately absent: asking twice.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Answer};
use super::ask::Id;
use super::counts::Counts;
use super::reply::Failure;
use super::watch::Watch;
use crate::config;
use crate::forward::pool::{Exchange, Pool};
use crate::forward::{HeaderSecrets, UPSTREAM_SERVICE_TIME, envoy_reply};
use crate::protocol::Fault;
use crate::telemetry::Telemetry;
use crate::usage::sse::{Piece, Sse};

/// Whom turns ask, with these settings.
#[derive(Debug)]
pub(super) struct Adapter {
    pub settings: config::Chat,
    pub secrets: HeaderSecrets,
    pool: Pool,
    authority: HeaderValue,
    telemetry: Telemetry,
    counts: Arc<Counts>,
}

/// A turn under way.
pub(super) struct Turn {
    pub id: Option<Id>,
    phase: Phase,
    ready: VecDeque<String>,
    answer: Answer,
    deadline: Instant,
    /// Taken at the end.
    watch: Option<Watch>,
}

/// What a turn has to say.
#[derive(Debug)]
pub(super) enum TurnEvent {
    /// A message to pass on.
    Says(String),
    /// The last message: the answer is whole.
    Done(String),
    /// It ends with this.
    Failed(Failure),
}

enum Phase {
    Asking(Pin<Box<dyn Future<Output = Result<Exchange, Fault>> + Send>>),
    Streaming(Box<Stream>),
    Whole(Box<Whole>),
    Over,
}

struct Whole {
    exchange: Exchange,
    body: Vec<u8>,
}

struct Stream {
    exchange: Exchange,
    sse: Sse,
    event: Vec<u8>,
    /// `[DONE]` was said.
    said_all: bool,
}

impl Adapter {
    pub fn new(settings: config::Chat, forward: &config::Forward, telemetry: Telemetry, counts: Arc<Counts>) -> Self {
        let authority = HeaderValue::from_str(&forward.authority);
        Self {
            secrets: HeaderSecrets::new(forward.headers.clone()),
            pool: Pool::new(forward.to.clone(), settings.max_sessions),
            authority: authority.unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            settings,
            telemetry,
            counts,
        }
    }

    /// Begins a turn. `headers` are what goes with the request, the trace and the request's id.
    pub fn ask(self: &Arc<Self>, id: Option<Id>, body: String, mut headers: HeaderMap) -> Turn {
        let body = Bytes::from(body);
        let path = &self.settings.adapter_path;
        let watch = Watch::begin(&self.telemetry, &self.counts, path, &mut headers, &body);
        let (adapter, request) = (Arc::clone(self), self.request(headers, body));
        Turn {
            id,
            phase: Phase::Asking(Box::pin(async move { adapter.pool.send(request?).await })),
            ready: VecDeque::new(),
            answer: Answer::default(),
            deadline: Instant::now() + self.settings.request_timeout,
            watch: Some(watch),
        }
    }

    fn request(&self, mut headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, Fault> {
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        self.secrets.apply(&mut headers)?;
        let path: Uri = self.settings.adapter_path.parse().map_err(|_| Fault::PathNotAllowed)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl Turn {
    /// The next message; after [`TurnEvent::Done`] and [`TurnEvent::Failed`] there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> TurnEvent {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return TurnEvent::Says(message);
            }
            let step = match timeout_at(self.until(), self.advance()).await {
                Ok(step) => step,
                // the connection is late with its end, the answer is not
                Err(_) if self.said_all() => Ok(true),
                Err(_) => Err(Failure::from(&Fault::AdapterTimeout)),
            };
            match step {
                Ok(false) => {}
                // a whole answer is both: words and their end
                Ok(true) if !self.ready.is_empty() => {}
                Ok(true) => {
                    self.end(None);
                    return TurnEvent::Done(self.answer.done(self.id.as_ref()));
                }
                Err(failure) => {
                    self.end(Some(&failure));
                    return TurnEvent::Failed(failure);
                }
            }
        }
    }

    /// Ends for a reason of this side's.
    pub fn give_up(mut self, failure: &Failure) {
        self.end(Some(failure));
    }

    fn end(&mut self, failure: Option<&Failure>) {
        self.phase = Phase::Over;
        if let Some(watch) = self.watch.take() {
            watch.finish(failure.map(Failure::label).as_deref());
        }
    }

    fn said_all(&self) -> bool {
        matches!(&self.phase, Phase::Streaming(stream) if stream.said_all)
    }

    fn until(&self) -> Instant {
        match self.said_all() {
            true => self.deadline.min(Instant::now() + LATE_END),
            false => self.deadline,
        }
    }

    /// One step; `true` when the answer is whole.
    async fn advance(&mut self) -> Result<bool, Failure> {
        match &mut self.phase {
            Phase::Asking(asking) => {
                let exchange = asking.await.map_err(|fault| Failure::from(&fault))?;
                self.begin(exchange)?;
                Ok(false)
            }
            Phase::Streaming(stream) => {
                let frame = stream.exchange.response.body_mut().frame().await;
                self.streamed(frame.map(|frame| frame.map(hyper::body::Frame::into_data)))
            }
            Phase::Whole(whole) => {
                let Whole { exchange, body } = &mut **whole;
                let frame = exchange.response.body_mut().frame().await;
                match frame
                    .transpose()
                    .map_err(|_| broke_off())?
                    .map(hyper::body::Frame::into_data)
                {
                    Some(Ok(data)) if body.len() + data.len() > MAX_WHOLE => Err(too_large(MAX_WHOLE)),
                    Some(Ok(data)) => {
                        body.extend_from_slice(&data);
                        Ok(false)
                    }
                    Some(Err(_trailers)) => Ok(false),
                    None => self.whole(),
                }
            }
            Phase::Over => Ok(true),
        }
    }

    fn begin(&mut self, exchange: Exchange) -> Result<(), Failure> {
        let (status, headers) = (exchange.response.status(), exchange.response.headers());
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let made_by_envoy = !headers.contains_key(UPSTREAM_SERVICE_TIME);
        if let Some(watch) = self.watch.as_mut().filter(|_| !made_by_envoy) {
            watch.answers_with(status.as_u16(), content_type);
        }
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(invalid("it is compressed, though nobody asked for that"));
        }
        let streams = content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(EVENT_STREAM));
        self.phase = if status.is_success() && streams && !made_by_envoy {
            Phase::Streaming(Box::new(Stream {
                exchange,
                sse: Sse::default(),
                event: Vec::new(),
                said_all: false,
            }))
        } else {
            let body = Vec::new();
            Phase::Whole(Box::new(Whole { exchange, body }))
        };
        Ok(())
    }

    fn streamed(
        &mut self,
        frame: Option<hyper::Result<Result<Bytes, hyper::body::Frame<Bytes>>>>,
    ) -> Result<bool, Failure> {
        let Phase::Streaming(stream) = &mut self.phase else {
            return Ok(true);
        };
        let bytes = match frame {
            Some(Ok(Ok(bytes))) => bytes,
            Some(Ok(Err(_trailers))) => return Ok(false),
            Some(Err(_)) if stream.said_all => return Ok(true),
            Some(Err(_)) => return Err(broke_off()),
            None => {
                let whole = stream.said_all || self.answer.has_finished();
                self.hang_up();
                return if whole { Ok(true) } else { Err(broke_off()) };
            }
        };
        if let Some(watch) = &mut self.watch {
            watch.answers(&bytes);
        }
        let mut rest = &bytes[..];
        while let Some(piece) = stream.sse.next(&mut rest) {
            match piece {
                Piece::Data(data) if stream.event.len() + data.len() > MAX_EVENT => return Err(too_large(MAX_EVENT)),
                Piece::Data(data) => stream.event.extend_from_slice(data),
                Piece::Strange => {}
                Piece::End => {
                    let event = std::mem::take(&mut stream.event);
                    if stream.said_all || event == DONE {
                        stream.said_all = true;
                        continue;
                    }
                    let text = std::str::from_utf8(&event).map_err(|_| invalid("an event is not UTF-8"))?;
                    self.ready.extend(self.answer.read(self.id.as_ref(), text)?);
                }
            }
        }
        Ok(false)
    }

    /// An error, or an answer of a server that does not stream.
    fn whole(&mut self) -> Result<bool, Failure> {
        let Phase::Whole(whole) = &mut self.phase else {
            return Ok(true);
        };
        let Whole { exchange, body } = &mut **whole;
        let (status, body) = (exchange.response.status(), std::mem::take(body));
        let made_by_envoy = !exchange.response.headers().contains_key(UPSTREAM_SERVICE_TIME);
        self.hang_up();
        if made_by_envoy {
            return Err(Failure::from(&envoy_reply::fault(status.as_u16(), &body)));
        }
        if let Some(watch) = &mut self.watch {
            watch.answers(&body);
        }
        if status.is_client_error() || status.is_server_error() {
            return Err(answer::refusal(status.as_u16(), &body));
        }
        if !status.is_success() {
            return Err(invalid(&format!("its status is {}", status.as_u16())));
        }
        let text = std::str::from_utf8(&body).map_err(|_| invalid("it is not UTF-8"))?;
        self.ready.extend(self.answer.read(self.id.as_ref(), text)?);
        Ok(true)
    }

    /// The body was read to its end: its connection serves others.
    fn hang_up(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Streaming(stream) => stream.exchange.finish(),
            Phase::Whole(whole) => whole.exchange.finish(),
            Phase::Asking(_) | Phase::Over => {}
        }
    }
}

fn broke_off() -> Failure {
    Failure::from(&Fault::AdapterUnavailable("its answer broke off".into()))
}

fn invalid(what: &str) -> Failure {
    Failure::from(&Fault::AdapterInvalidResponse(what.to_owned().into()))
}

fn too_large(limit: usize) -> Failure {
    let message = format!("the model says more at once than the {limit} bytes that are passed on");
    Failure::new(502, "response_too_large", message)
}

const EVENT_STREAM: &[u8] = b"text/event-stream";
const DONE: &[u8] = b"[DONE]";

/// The largest event of a stream; a delta is some hundred bytes.
const MAX_EVENT: usize = 1024 * 1024;

/// The largest answer that comes whole.
const MAX_WHOLE: usize = 4 * 1024 * 1024;

/// How long the end of the connection may take after the answer's own end.
const LATE_END: Duration = Duration::from_secs(1);
