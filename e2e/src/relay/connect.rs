//! `/connect`: the handshake and its refusals (PROTOCOL §3.1).

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::Shared;
use super::http::{Reply, refusal};
use super::journal::Event;
use super::options::{Refusal, Version};
use super::slot::Slot;
use super::wire;
use crate::handshake;

/// What becomes of a client that asks to connect.
enum Verdict {
    Welcome(Arc<Slot>),
    /// HTTP 403, so that nothing is upgraded.
    Forbidden,
    /// Accepted, so that the client gets to see the code.
    Close(u16, &'static str),
}

/// Answers a client's handshake and starts its connection.
pub(super) fn upgrade(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Reply {
    let Some(accept) = handshake::accept(request.method(), request.headers()) else {
        return refusal(
            StatusCode::UPGRADE_REQUIRED,
            "websocket_expected",
            "/connect speaks WebSocket version 13",
        );
    };
    let verdict = judge(shared, request.headers());
    if let Verdict::Forbidden = verdict {
        shared
            .journal
            .add("", 0, || Event::Refused(StatusCode::FORBIDDEN.as_u16()));
        shared.log(|| "refused a client with an unknown key: HTTP 403".to_owned());
        return refusal(StatusCode::FORBIDDEN, "invalid_api_key", "invalid api key");
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let headers = std::mem::take(request.headers_mut());
    let shared_for_task = Arc::clone(shared);
    shared.server().spawn(async move {
        let Ok(socket) = upgraded.await else { return };
        let socket = wire::accept(TokioIo::new(socket), shared_for_task.options.max_frame_bytes).await;
        match verdict {
            Verdict::Forbidden => {}
            Verdict::Close(code, reason) => {
                shared_for_task.journal.add("", 0, || Event::Refused(code));
                shared_for_task.log(|| format!("refused a client: {code} {reason}"));
                wire::refuse(socket, code, reason).await;
            }
            Verdict::Welcome(slot) => {
                shared_for_task.log(|| format!("{}: client connected", slot.id()));
                wire::serve(socket, &slot, &headers, shared_for_task.options.rotate_after).await;
                shared_for_task.log(|| format!("{}: a connection ended", slot.id()));
            }
        }
    });
    handshake::switching(accept, Full::new(Bytes::new()))
}

fn judge(shared: &Shared, headers: &HeaderMap) -> Verdict {
    // PROTOCOL §2.1, §3.1: the version first; accepting makes 4002 reach the client. Version 1 knows no such header.
    let spoken = headers.get("spectral-bridge-protocol").map(HeaderValue::as_bytes);
    if shared.options.version == Version::V2 && spoken != Some(b"2") {
        return Verdict::Close(4002, "unsupported protocol version");
    }
    // PROTOCOL §2.1, §3.1: a key that is absent or invalid is refused with 4001, or before accepting as the reference does
    // PROTOCOL 0.1.2 §2.1, §3.1: 4001
    match bearer(headers).and_then(|key| shared.keys.authenticate(key)) {
        Some(slot) => Verdict::Welcome(slot),
        None => match shared.options.refusal {
            Refusal::Handshake => Verdict::Forbidden,
            Refusal::Close => Verdict::Close(4001, "invalid api key"),
        },
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
        .map(str::trim)
}
