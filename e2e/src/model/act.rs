//! Acting out a [`Behaviour`] over HTTP, and booking what is told on the way.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::answers::{Composer, Piece};
use super::question::Api;
use super::serve::Reply;
use super::tokens::Receipt;
use super::{Behaviour, Exact, Shared};

/// Answers as `behaviour` says; an error hangs up.
pub(super) async fn act(shared: &Arc<Shared>, behaviour: Behaviour, composer: Composer<'_>) -> io::Result<Reply> {
    let (api, model) = (composer.api, &composer.question.model);
    let begin = || shared.books.begin(api, model);
    let whole = |exact: Exact| {
        shared.ledger.answered(composer.number, &exact.body);
        exact.reply()
    };
    let told = |piece: Piece| {
        begin().sent(piece.tells);
        whole(Exact::json(StatusCode::OK, piece.bytes))
    };
    let stream =
        |pieces: Vec<Piece>, pace| streamed(event_type(api), pieces.into_iter().map(Ok).collect(), pace, begin());
    let answer = || match streams(&composer) {
        true => stream(composer.events(), Duration::ZERO),
        false => told(composer.whole()),
    };
    Ok(match behaviour {
        Behaviour::Answer | Behaviour::Report(_) | Behaviour::Fragmented => answer(),
        Behaviour::Delay(delay) => {
            tokio::time::sleep(delay).await;
            answer()
        }
        Behaviour::Behind(gate) => {
            gate.passed().await;
            answer()
        }
        Behaviour::Pace(pace) => stream(composer.events(), pace),
        Behaviour::Sized(size) => told(composer.sized(size)),
        Behaviour::Exact(exact) => whole(exact),
        Behaviour::EventStream => stream(composer.events(), Duration::ZERO),
        Behaviour::CrLf if streams(&composer) => stream(crlf(composer.events()), Duration::ZERO),
        Behaviour::CrLf => answer(),
        Behaviour::Gzip if streams(&composer) => gzip(stream(packed(composer.events())?, Duration::ZERO)),
        Behaviour::Gzip => gzip(told(joined(packed(vec![composer.whole()])?))),
        Behaviour::Chunked => {
            let whole = composer.whole();
            shared.ledger.answered(composer.number, &whole.bytes);
            let pieces = halves(whole).map(Ok).into();
            streamed("application/json", pieces, Duration::ZERO, begin())
        }
        Behaviour::CloseAfterRequest => return Err(io::Error::other("hanging up after the request")),
        Behaviour::CloseMidAnswer => cut_short(&composer, begin()),
    })
}

/// Whether the answer is a stream: Ollama's is unless the request says otherwise.
fn streams(composer: &Composer<'_>) -> bool {
    match composer.api {
        Api::Embeddings | Api::Realtime => false,
        Api::Ollama => composer.question.stream != Some(false),
        Api::Chat | Api::Completions | Api::Responses | Api::Messages => composer.question.stream == Some(true),
    }
}

fn event_type(api: Api) -> &'static str {
    match api {
        Api::Ollama => "application/x-ndjson",
        Api::Embeddings => "application/json",
        Api::Chat | Api::Completions | Api::Responses | Api::Realtime | Api::Messages => "text/event-stream",
    }
}

fn crlf(events: Vec<Piece>) -> Vec<Piece> {
    let line = |piece: Piece| Piece {
        bytes: String::from_utf8_lossy(&piece.bytes).replace('\n', "\r\n").into(),
        tells: piece.tells,
    };
    events.into_iter().map(line).collect()
}

/// Compresses each piece so that it can be read before the next one comes.
fn packed(pieces: Vec<Piece>) -> io::Result<Vec<Piece>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut packed = Vec::new();
    for piece in pieces {
        encoder.write_all(&piece.bytes)?;
        encoder.flush()?;
        let bytes = std::mem::take(encoder.get_mut()).into();
        packed.push(Piece { bytes, ..piece });
    }
    let (bytes, tells) = (encoder.finish()?.into(), None);
    packed.push(Piece { bytes, tells });
    Ok(packed)
}

fn gzip(mut reply: Reply) -> Reply {
    let encoding = HeaderValue::from_static("gzip");
    reply.headers_mut().insert(header::CONTENT_ENCODING, encoding);
    reply
}

/// Many pieces as one.
fn joined(pieces: Vec<Piece>) -> Piece {
    let tells = pieces.iter().find_map(|piece| piece.tells);
    let bytes: Vec<_> = pieces.into_iter().map(|piece| piece.bytes).collect();
    Piece {
        bytes: bytes.concat().into(),
        tells,
    }
}

/// One piece as two; the second one tells.
fn halves(Piece { bytes, tells }: Piece) -> [Piece; 2] {
    let middle = bytes.len() / 2;
    let half = |bytes, tells| Piece { bytes, tells };
    [half(bytes.slice(..middle), None), half(bytes.slice(middle..), tells)]
}

/// Begins an answer, of which more is promised, and breaks off in the middle.
fn cut_short(composer: &Composer<'_>, receipt: Receipt) -> Reply {
    let broken = Err(io::Error::other("hanging up in the middle"));
    if streams(composer) {
        let mut events = composer.events();
        events.truncate(events.len() / 2);
        let pieces = events.into_iter().map(Ok).chain([broken]).collect();
        return streamed(event_type(composer.api), pieces, Duration::ZERO, receipt);
    }
    let whole = composer.whole();
    let length = HeaderValue::from(whole.bytes.len());
    let [half, _] = halves(whole);
    let mut reply = streamed("application/json", vec![Ok(half), broken], Duration::ZERO, receipt);
    reply.headers_mut().insert(header::CONTENT_LENGTH, length);
    reply
}

fn streamed(content_type: &'static str, pieces: Vec<io::Result<Piece>>, pace: Duration, receipt: Receipt) -> Reply {
    let state = (pieces.into_iter(), receipt, false);
    let pieces = stream::unfold(state, move |(mut pieces, mut receipt, later)| async move {
        let piece = pieces.next()?;
        if later {
            pause(pace).await;
        }
        let frame = piece.map(|piece| {
            receipt.sent(piece.tells);
            Frame::data(piece.bytes)
        });
        Some((frame, (pieces, receipt, true)))
    });
    let mut reply = Response::new(StreamBody::new(pieces).boxed_unsync());
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Lets every piece reach the socket by itself.
async fn pause(pace: Duration) {
    if pace.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(pace).await;
    }
}

impl Exact {
    /// The answer as HTTP.
    pub(super) fn reply(self) -> Reply {
        let mut reply = Response::new(Full::new(self.body).map_err(|never| match never {}).boxed_unsync());
        *reply.status_mut() = self.status;
        let content_type = [("content-type".to_owned(), self.content_type)];
        for (name, value) in content_type.iter().chain(&self.headers) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                reply.headers_mut().append(name, value);
            }
        }
        reply
    }
}
