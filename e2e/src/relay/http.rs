//! The relay's HTTP faces: `/connect` for clients, forwarding and provisioning for callers (PROTOCOL §3.1–3.4).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::connect;
use super::frames::{self, Answer, Call};
use super::options::{DEFAULT_RELAY, Version};
use super::slot::{Failure, Slot};

/// Which of the two faces an address shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Face {
    Public,
    Internal,
    Both,
}

pub(super) type Reply = Response<Full<Bytes>>;

/// Answers one HTTP request.
pub(super) async fn serve(shared: Arc<Shared>, face: Face, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (public, internal) = match face {
        Face::Public => (true, false),
        Face::Internal => (false, true),
        Face::Both => (true, true),
    };
    // PROTOCOL §3, §3.1: the public WebSocket endpoint /connect is mandatory
    if public && request.uri().path() == "/connect" {
        return Ok(connect::upgrade(&shared, request));
    }
    // PROTOCOL §3.3: forwarding is not publicly reachable
    if !internal {
        return Ok(refusal(StatusCode::NOT_FOUND, "not_found", "nothing here but /connect"));
    }
    Ok(route(&shared, request).await)
}

async fn route(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let path = path_and_query(request.uri());
    match (request.method(), path.as_str()) {
        (&Method::GET, "/health") => return health(shared),
        (&Method::POST, "/relays") => return provision(shared, request).await,
        // PROTOCOL §3.2: a single endpoint
        (&Method::POST, "/v1/chat/completions" | "/v1/responses") => {
            return forward(shared, DEFAULT_RELAY, &path, request).await;
        }
        _ => {}
    }
    let below = path
        .strip_prefix("/relays/")
        .and_then(|rest| rest.find('/').map(|at| rest.split_at(at)));
    match below {
        // PROTOCOL §3.3: resolve the relay ID
        Some((relay, path)) => forward(shared, relay, path, request).await,
        None => refusal(StatusCode::NOT_FOUND, "not_found", "no such endpoint"),
    }
}

fn health(shared: &Shared) -> Reply {
    let mut relays: Vec<_> = shared.keys.slots();
    relays.sort_by(|one, other| one.id().cmp(other.id()));
    let relays: Vec<_> = relays
        .iter()
        .map(|slot| json!({"relay_id": slot.id(), "connected": slot.is_connected()}))
        .collect();
    reply(StatusCode::OK, &json!({ "relays": relays }))
}

#[derive(Deserialize)]
struct Provision {
    relay_id: String,
}

/// `PROTOCOL §3.4`: the caller names a relay, the server makes its key.
async fn provision(shared: &Shared, request: Request<Incoming>) -> Reply {
    let body = match collect(request.into_body(), 64 * 1024).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let Ok(Provision { relay_id }) = serde_json::from_slice(&body) else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            r#"expected {"relay_id": "..."}"#,
        );
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if relay_id.is_empty() || relay_id.len() > 64 || !relay_id.chars().all(plain) {
        return refusal(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "relay_id is 1 to 64 of A-Z a-z 0-9 . _ -",
        );
    }
    match shared.keys.provision(&relay_id) {
        Some(key) => reply(StatusCode::CREATED, &json!({"relay_id": relay_id, "api_key": key})),
        None => refusal(StatusCode::CONFLICT, "relay_exists", "this relay_id is taken"),
    }
}

async fn forward(shared: &Shared, relay: &str, path: &str, request: Request<Incoming>) -> Reply {
    let Some(slot) = shared.keys.slot(relay) else {
        return refusal(StatusCode::NOT_FOUND, "unknown_relay", "no relay has this id");
    };
    // PROTOCOL 0.1.2 §2.2: version 1 has one endpoint.
    if shared.options.version == Version::V1 && path != "/v1/chat/completions" {
        return refusal(
            StatusCode::NOT_FOUND,
            "not_found",
            "version 1 forwards /v1/chat/completions only",
        );
    }
    let limit = shared.options.max_frame_bytes;
    let (head, body) = request.into_parts();
    let body = match collect(body, limit).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let request_id = shared.keys.next_request_id();
    let call = Call {
        method: &head.method,
        path,
        headers: &head.headers,
        body: &body,
    };
    let frame = match frames::request(shared.options.version, &request_id, &call) {
        Ok(frame) => frame,
        Err(e) => {
            return refusal(
                StatusCode::BAD_REQUEST,
                "invalid_json",
                &format!("the body is not JSON: {e}"),
            );
        }
    };
    if frame.len() > limit {
        return too_large(limit);
    }
    let started = std::time::Instant::now();
    let answer = slot.forward(&request_id, frame).await;
    let reply = respond(&slot, answer);
    shared.log(|| {
        let (status, id, took) = (reply.status(), slot.id(), started.elapsed());
        format!("{id}: {} {path} -> {status} in {took:.0?} ({request_id})", head.method)
    });
    reply
}

fn respond(slot: &Slot, answer: Result<Answer, Failure>) -> Reply {
    let failure = match answer {
        Ok(Answer { status, headers, body }) => {
            let mut reply = Response::new(Full::new(body));
            *reply.status_mut() = status;
            reply.headers_mut().extend(headers);
            return reply;
        }
        Err(failure) => failure,
    };
    let id = slot.id();
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (status, code, message) = match failure {
        Failure::NeverConnected => (
            unavailable,
            "client_never_connected",
            format!("no client of {id} has connected"),
        ),
        Failure::Away => (
            unavailable,
            "client_away",
            format!("the client of {id} is not connected"),
        ),
        Failure::NotSent => (
            unavailable,
            "not_sent",
            format!("the request could not be sent to the client of {id}"),
        ),
        Failure::Gone => (unavailable, "client_gone", format!("the client of {id} stopped")),
        Failure::Stopping => (unavailable, "relay_stopping", "the relay is shutting down".to_owned()),
        Failure::Timeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "client_timeout",
            format!("the client of {id} timed out"),
        ),
        Failure::Unreadable(why) => (
            StatusCode::BAD_GATEWAY,
            "unreadable_response",
            format!("the response frame of {id} is unreadable: {why}"),
        ),
    };
    refusal(status, code, &message)
}

async fn collect(body: Incoming, limit: usize) -> Result<Bytes, Box<Reply>> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(Box::new(too_large(limit))),
        Err(e) => Err(Box::new(refusal(
            StatusCode::BAD_REQUEST,
            "unreadable_body",
            &e.to_string(),
        ))),
    }
}

/// `PROTOCOL §2.2`: a request too large for a frame fails straight away.
fn too_large(limit: usize) -> Reply {
    let message = format!("the request does not fit a frame of {limit} bytes");
    let mut reply = refusal(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", &message);
    reply
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Reply {
    reply(
        status,
        &json!({"error": {"message": message, "type": "relay_error", "code": code}}),
    )
}

fn reply(status: StatusCode, body: &Value) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())));
    *reply.status_mut() = status;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *reply.headers_mut() = headers;
    reply
}

fn path_and_query(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned())
}
