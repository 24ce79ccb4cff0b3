//! The model's HTTP face: routes and the bearer key.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::answers::Composer;
use super::question::{Api, Question};
use super::{Exact, Exchange, Reporting, Shared, act, media, sockets};
use crate::handshake;
use crate::listen::Server;

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

// PROTOCOL §1: handle concurrent requests: each in its own task
/// Answers one HTTP request; an error hangs up.
pub(super) async fn serve(
    shared: Arc<Shared>,
    server: Arc<Server>,
    mut request: Request<Incoming>,
) -> io::Result<Reply> {
    let upgraded =
        handshake::accept(request.method(), request.headers()).map(|accept| (accept, hyper::upgrade::on(&mut request)));
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if shared.options.log {
        eprintln!("model: {} {} ({} bytes)", head.method, head.uri, body.len());
    }
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/health") => return Ok(json(StatusCode::OK, r#"{"status":"ok"}"#)),
        (&Method::GET, "/ledger") => return Ok(json(StatusCode::OK, shared.books.json().to_string())),
        _ => {}
    }
    let authorised = authorised(&shared, head.headers.get(header::AUTHORIZATION));
    let api = Api::at(head.uri.path());
    if let (true, Some((accept, upgraded)), Some(api)) = (authorised, upgraded, api.filter(|api| api.has_socket())) {
        let talk = sockets::talk(shared, api, head, upgraded);
        server.spawn(talk);
        return Ok(handshake::switching(
            accept,
            Full::default().map_err(|never| match never {}).boxed_unsync(),
        ));
    }
    post(&shared, head, body, authorised).await
}

async fn post(shared: &Arc<Shared>, head: Parts, body: Bytes, authorised: bool) -> io::Result<Reply> {
    let _at_work = shared.ledger.at_work();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let number = shared.ledger.asked(|| Exchange::of(&head, body.clone()));
    if !authorised {
        return Ok(error(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            "incorrect API key provided",
        ));
    }
    let post = method == Method::POST;
    let content_type = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if post && let Some(answer) = media::answer(&path, content_type.unwrap_or_default(), &body) {
        return Ok(answer.reply());
    }
    // PROTOCOL §1: one or both of the endpoints, here both
    // PROTOCOL 0.1.2 §1: it must implement this endpoint
    let api = match (Api::at(&path), path.as_str()) {
        (Some(api), _) if post && api.has_post() => api,
        (None, "/v1/models") if !post => return Ok(json(StatusCode::OK, MODELS)),
        (None, stored) if !post && stored.starts_with("/v1/responses/") => return Ok(fetched(number)),
        (Some(_), _) | (None, "/v1/models") => {
            return Ok(error(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "not with this method",
            ));
        }
        (None, _) => return Ok(error(StatusCode::NOT_FOUND, "not_found", "no such endpoint")),
    };
    let Some(question) = Question::read(&body) else {
        return Ok(error(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            "the body is no JSON object",
        ));
    };
    let behaviour = shared.behaviour(&question.model);
    let composer = Composer {
        api,
        question: &question,
        number,
        created: now(),
        reporting: behaviour.reporting(),
    };
    act::act(shared, behaviour, composer).await
}

/// A stored response: it repeats the usage that was told when it was made, so it is in no books.
fn fetched(number: usize) -> Reply {
    let question = Question::of(&serde_json::Map::from_iter([("input".to_owned(), "stored".into())]));
    let composer = Composer {
        api: Api::Responses,
        question: &question,
        number,
        created: now(),
        reporting: Reporting::AsAsked,
    };
    json(StatusCode::OK, composer.whole().bytes)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
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
