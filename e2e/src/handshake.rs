//! The server's half of a WebSocket handshake, shared by the relay and the model. Pure.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The value of `Sec-WebSocket-Accept`, if this is a WebSocket handshake (RFC 6455 §4.2.1).
pub(crate) fn accept(method: &Method, headers: &HeaderMap) -> Option<String> {
    let lists = |name: HeaderName, token: &str| {
        let values = headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    let asked = method == Method::GET
        && lists(header::CONNECTION, "upgrade")
        && lists(header::UPGRADE, "websocket")
        && lists(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    asked.then(|| derive_accept_key(key.as_bytes()))
}

/// The answer that agrees to it; `nothing` is an empty body.
pub(crate) fn switching<B>(accept: String, nothing: B) -> Response<B> {
    let mut reply = Response::new(nothing);
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    reply
}
