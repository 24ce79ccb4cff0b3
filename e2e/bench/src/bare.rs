//! The bare forwarder: acks, forwards, answers. No deadline, no resend, no check, no count: what the way itself costs with
//! the same libraries. Its one bound is the module's `max_in_flight`, without which Envoy's circuit breakers answer.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use e2e::failed::{Failed, Result};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::{model, websocket};

/// A request frame, as far as this program looks at it.
#[derive(Debug, Deserialize)]
pub struct Request<'a> {
    /// Its id; ids of the bench need no escapes.
    #[serde(rename = "request_id")]
    pub id: &'a str,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Debug, Deserialize)]
struct Payload<'a> {
    path: &'a str,
    #[serde(borrow)]
    headers: Headers<'a>,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Headers<'a> {
    #[serde(rename = "content-type")]
    content_type: &'a str,
    #[serde(rename = "x-bench-answer-bytes")]
    answer_bytes: &'a str,
    #[serde(rename = "x-bench-delay-ms")]
    delay_ms: &'a str,
}

impl<'a> Request<'a> {
    /// Reads a frame; an ack is none.
    pub fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// How large an answer it wants.
    pub fn answer_bytes(&self) -> usize {
        self.payload.headers.answer_bytes.parse().unwrap_or(1024)
    }
}

/// The receipt for `id`.
pub fn ack(id: &str) -> Utf8Bytes {
    format!(r#"{{"type":"ack","request_id":"{id}"}}"#).into()
}

type Connection = SendRequest<Full<Bytes>>;

struct Forwarder {
    to: To,
    idle: RefCell<Vec<Connection>>,
    turns: Semaphore,
    answers: mpsc::UnboundedSender<Utf8Bytes>,
}

enum To {
    Unix(String),
    Tcp(String),
}

/// Serves one connection to its end.
///
/// # Errors
/// The relay is not there.
pub async fn forward(relay: &str, key: &str, to: &str) -> Result<()> {
    let to = match (to.strip_prefix("unix://"), to.strip_prefix("http://")) {
        (Some(path), _) => To::Unix(path.to_owned()),
        (None, Some(host)) => To::Tcp(host.to_owned()),
        (None, None) => return Err(Failed::new(format!("{to}: neither unix:// nor http://"))),
    };
    let (sender, mut answers) = mpsc::unbounded_channel();
    let forwarder = Rc::new(Forwarder {
        to,
        idle: RefCell::default(),
        turns: Semaphore::new(MAX_IN_FLIGHT),
        answers: sender,
    });
    let (mut sink, mut stream) = websocket::connect(relay, key).await?.split();
    let mut outgoing = Vec::new();
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return Ok(()) };
                let mut requests = Vec::new();
                let mut next = Some(message);
                while let Some(message) = next {
                    if let Message::Text(text) = message?
                        && let Some(request) = Request::read(&text)
                    {
                        sink.feed(Message::Text(ack(request.id))).await?;
                        requests.push(text.clone());
                    }
                    next = stream.next().now_or_never().flatten();
                }
                sink.flush().await?;
                for text in requests {
                    let forwarder = Rc::clone(&forwarder);
                    tokio::task::spawn_local(async move { forwarder.one(&text).await });
                }
            }
            _ = answers.recv_many(&mut outgoing, 256) => {
                for answer in outgoing.drain(..) {
                    sink.feed(Message::Text(answer)).await?;
                }
                sink.flush().await?;
            }
        }
    }
}

impl Forwarder {
    async fn one(&self, text: &Utf8Bytes) {
        let Some(request) = Request::read(text) else { return };
        match self.ask(&request).await {
            Ok((status, body)) => drop(self.answers.send(response(request.id, status, &body))),
            Err(error) => eprintln!("bare: {error:?}"),
        }
    }

    async fn ask(&self, request: &Request<'_>) -> Result<(u16, Vec<Bytes>)> {
        let _turn = self.turns.acquire().await?;
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) if !connection.is_closed() => connection,
            Some(_) | None => self.connect().await?,
        };
        connection.ready().await?;
        let body = Bytes::copy_from_slice(request.payload.body.get().as_bytes());
        let headers = &request.payload.headers;
        let length = HeaderValue::from(body.len());
        let mut question = hyper::Request::post(request.payload.path)
            .header(HOST, "127.0.0.1")
            .header(CONTENT_LENGTH, length)
            .header("content-type", headers.content_type)
            .body(Full::new(body))?;
        question.headers_mut().insert(
            HeaderName::from_static(model::ANSWER_BYTES),
            headers.answer_bytes.parse()?,
        );
        question
            .headers_mut()
            .insert(HeaderName::from_static(model::DELAY_MS), headers.delay_ms.parse()?);
        let mut response = connection.send_request(question).await?;
        let mut parts = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            if let Ok(data) = frame?.into_data() {
                parts.push(data);
            }
        }
        self.idle.borrow_mut().push(connection);
        Ok((response.status().as_u16(), parts))
    }

    async fn connect(&self) -> Result<Connection> {
        match &self.to {
            To::Unix(path) => handshake(TokioIo::new(UnixStream::connect(path).await?)).await,
            To::Tcp(host) => {
                let stream = TcpStream::connect(host).await?;
                stream.set_nodelay(true)?;
                handshake(TokioIo::new(stream)).await
            }
        }
    }
}

async fn handshake<T>(io: T) -> Result<Connection>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let (connection, driver) = http1::handshake(io).await?;
    // its errors reach the request that waits on it
    tokio::task::spawn_local(driver);
    Ok(connection)
}

fn response(id: &str, status: u16, body: &[Bytes]) -> Utf8Bytes {
    let length: usize = body.iter().map(Bytes::len).sum();
    let mut frame = Vec::with_capacity(length + 160);
    frame.extend_from_slice(br#"{"type":"response","request_id":""#);
    frame.extend_from_slice(id.as_bytes());
    frame.extend_from_slice(br#"","payload":{"status":"#);
    frame.extend_from_slice(status.to_string().as_bytes());
    frame.extend_from_slice(br#","headers":{"content-type":"application/json"},"body":"#);
    for part in body {
        frame.extend_from_slice(part);
    }
    frame.extend_from_slice(b"}}");
    // the model's text is ASCII
    Utf8Bytes::try_from(Bytes::from(frame)).unwrap_or_default()
}

/// The module's default.
const MAX_IN_FLIGHT: usize = 512;
