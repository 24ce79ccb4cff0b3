//! The model's HTTP face: routes, the bearer key, and acting out a [`Behaviour`].

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::answers::{Api, Composer, Question};
use super::{Behaviour, Exact, Exchange, Shared};

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

// PROTOCOL §1: handle concurrent requests: each in its own task
/// Answers one HTTP request; an error hangs up.
pub(super) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Reply> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if shared.options.log {
        eprintln!("model: {} {path} ({} bytes)", head.method, body.len());
    }
    if (&head.method, path.as_str()) == (&Method::GET, "/health") {
        return Ok(json(StatusCode::OK, r#"{"status":"ok"}"#));
    }
    let _at_work = shared.ledger.at_work();
    let authorised = authorised(&shared, head.headers.get(header::AUTHORIZATION));
    let number = shared.ledger.asked(|| Exchange {
        method: head.method.clone(),
        path: path.clone(),
        headers: head.headers,
        body: body.clone(),
        answer: None,
    });
    if !authorised {
        return Ok(error(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            "incorrect API key provided",
        ));
    }
    // PROTOCOL §1: one or both of the endpoints, here both
    let api = match (&head.method, path.as_str()) {
        (&Method::GET, "/v1/models") => return Ok(json(StatusCode::OK, MODELS)),
        // PROTOCOL 0.1.2 §1: it must implement this endpoint
        (&Method::POST, "/v1/chat/completions") => Api::Chat,
        (&Method::POST, "/v1/responses") => Api::Responses,
        (_, "/v1/models" | "/v1/chat/completions" | "/v1/responses") => {
            return Ok(error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "not with this method",
            ));
        }
        _ => return Ok(error(StatusCode::NOT_FOUND, "not_found", "no such endpoint")),
    };
    let Some(question) = Question::read(&body) else {
        return Ok(error(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            "the body is no JSON object",
        ));
    };
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let composer = Composer {
        api,
        question: &question,
        number,
        created,
    };
    act(&shared, shared.behaviour(&question.model), composer).await
}

async fn act(shared: &Shared, behaviour: Behaviour, composer: Composer<'_>) -> io::Result<Reply> {
    let whole = |exact: Exact| {
        shared.ledger.answered(composer.number, &exact.body);
        exact.reply()
    };
    let ok = |body: String| Exact::json(StatusCode::OK, body);
    Ok(match behaviour {
        Behaviour::Answer => answer(composer, whole),
        Behaviour::Delay(delay) => {
            tokio::time::sleep(delay).await;
            answer(composer, whole)
        }
        Behaviour::Behind(gate) => {
            gate.passed().await;
            answer(composer, whole)
        }
        Behaviour::Pace(pace) => events(composer.events(), pace),
        Behaviour::Sized(size) => whole(ok(composer.sized(size))),
        Behaviour::Exact(exact) => whole(exact),
        Behaviour::EventStream => events(composer.events(), Duration::ZERO),
        Behaviour::Gzip => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(composer.whole().as_bytes())?;
            let mut exact = Exact::json(StatusCode::OK, packed.finish()?);
            exact.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
            whole(exact)
        }
        Behaviour::Chunked => {
            let body = Bytes::from(composer.whole());
            shared.ledger.answered(composer.number, &body);
            let middle = body.len() / 2;
            streamed(
                "application/json",
                vec![Ok(body.slice(..middle)), Ok(body.slice(middle..))],
                Duration::ZERO,
            )
        }
        Behaviour::CloseAfterRequest => return Err(io::Error::other("hanging up after the request")),
        Behaviour::CloseMidAnswer => cut_short(&composer.whole()),
    })
}

fn answer(composer: Composer<'_>, whole: impl FnOnce(Exact) -> Reply) -> Reply {
    if composer.question.stream {
        return events(composer.events(), Duration::ZERO);
    }
    whole(Exact::json(StatusCode::OK, composer.whole()))
}

fn events(events: Vec<String>, pace: Duration) -> Reply {
    streamed(
        "text/event-stream",
        events.into_iter().map(|event| Ok(event.into())).collect(),
        pace,
    )
}

/// Promises the whole answer and breaks off in the middle.
fn cut_short(answer: &str) -> Reply {
    let half = Bytes::copy_from_slice(answer.as_bytes().get(..answer.len() / 2).unwrap_or_default());
    let broken = Err(io::Error::other("hanging up in the middle"));
    let mut reply = streamed("application/json", vec![Ok(half), broken], Duration::ZERO);
    reply
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(answer.len()));
    reply
}

fn streamed(content_type: &'static str, pieces: Vec<io::Result<Bytes>>, pace: Duration) -> Reply {
    let pieces = stream::unfold((pieces.into_iter(), false), move |(mut pieces, later)| async move {
        let piece = pieces.next()?;
        if later {
            pause(pace).await;
        }
        Some((piece.map(Frame::data), (pieces, true)))
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
    fn reply(self) -> Reply {
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

fn authorised(shared: &Shared, given: Option<&HeaderValue>) -> bool {
    match &shared.options.key {
        None => true,
        Some(key) => given.is_some_and(|given| given.as_bytes() == format!("Bearer {key}").as_bytes()),
    }
}

// PROTOCOL §1: a standard HTTP error status with an error object
fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    let body = serde_json::json!({
        "error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}
    });
    json(status, body.to_string())
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    Exact::json(status, body).reply()
}

const MODELS: &str =
    r#"{"object":"list","data":[{"id":"demo","object":"model","created":1735689600,"owned_by":"spectral-bridge"}]}"#;
