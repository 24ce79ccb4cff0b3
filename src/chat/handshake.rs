//! What an HTTP request to the endpoint's socket asks for: a WebSocket on the one path, or whether it is well. Pure.
#![deny(clippy::disallowed_methods)]

use http::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A request that is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `GET /healthz`, for Envoy's health checks.
    Health,
    /// A WebSocket; what the answer proves.
    WebSocket {
        /// `sec-websocket-accept`.
        accept: String,
    },
}

/// Reads the head of a request; the error says its status and what was wanted.
pub(super) fn read(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    wanted: &str,
) -> Result<Asked, (StatusCode, &'static str)> {
    if path == "/healthz" {
        return match *method {
            Method::GET | Method::HEAD => Ok(Asked::Health),
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here")),
        };
    }
    if path != wanted {
        return Err((StatusCode::NOT_FOUND, "there is no chat on this path"));
    }
    if method != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is opened with GET"));
    }
    let upgrades = lists(headers, &CONNECTION, "upgrade") && lists(headers, &UPGRADE, "websocket");
    if !upgrades || !lists(headers, &SEC_WEBSOCKET_VERSION, "13") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "only WebSockets (version 13) are served here",
        ));
    }
    match headers.get(SEC_WEBSOCKET_KEY) {
        Some(key) if key.len() == KEY => Ok(Asked::WebSocket {
            accept: derive_accept_key(key.as_bytes()),
        }),
        Some(_) | None => Err((StatusCode::BAD_REQUEST, "sec-websocket-key is missing or wrong")),
    }
}

/// The answer that agrees to a WebSocket.
pub(super) fn switching<B: Default>(accept: &str) -> Response<B> {
    let mut answer = Response::new(B::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// Whether a header that lists words has this one.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

/// Sixteen bytes in base64.
const KEY: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, path: &str, without: &str) -> Result<Asked, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            if name != without {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        read(&method, path, &headers, "/websockets/chat").map_err(|(status, _)| status.as_u16())
    }

    #[test]
    fn only_a_whole_handshake_on_the_one_path_is_agreed_to() {
        // RFC 6455 §1.3 has this key and its answer
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        assert_eq!(
            ask(Method::GET, "/websockets/chat", ""),
            Ok(Asked::WebSocket { accept })
        );
        for path in [
            "/",
            "/websockets/chat/",
            "/websockets/chat/x",
            "/websockets/Chat",
            "//websockets/chat",
        ] {
            assert_eq!(ask(Method::GET, path, ""), Err(404), "{path}");
        }
        assert_eq!(ask(Method::POST, "/websockets/chat", ""), Err(405));
        for (without, status) in [
            ("connection", 426),
            ("upgrade", 426),
            ("sec-websocket-version", 426),
            ("sec-websocket-key", 400),
        ] {
            assert_eq!(ask(Method::GET, "/websockets/chat", without), Err(status), "{without}");
        }
        assert_eq!(ask(Method::GET, "/healthz", "upgrade"), Ok(Asked::Health));
        assert_eq!(ask(Method::POST, "/healthz", "upgrade"), Err(405));
    }
}
