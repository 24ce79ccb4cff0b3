//! A request frame's payload becomes a request to the adapter, or a fault.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use super::endpoint::{self, Endpoint, Verb};
use super::frame::Payload;
use super::{Fault, RequestId, Text, headers};

/// A request to put to the adapter, once.
#[derive(Debug)]
pub struct ForwardRequest<H> {
    /// The relay's token.
    pub id: RequestId,
    /// As the endpoint wants it.
    pub method: Method,
    /// One of the allowed paths.
    pub path: Arc<str>,
    /// Headers for the adapter, with `content-type` if there is a body, `x-request-id` and `x-spectral-bridge-request-id`.
    pub headers: HeaderMap,
    /// The JSON body, byte for byte as the relay sent it; empty when the method has none.
    pub body: Bytes,
    /// When it came.
    pub received: Instant,
    /// When the request counts as timed out.
    pub deadline: Instant,
    /// The share of the byte budget that this request occupies.
    pub hold: Option<H>,
}

/// What is asked of the adapter, without what the session adds.
#[derive(Debug)]
pub(super) struct Asked {
    pub method: Method,
    pub path: Arc<str>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Checks a payload. `text` is the frame that `payload` borrows from, so that the body needs no copy.
///
/// # Errors
/// The fault to answer; nothing reaches the adapter then.
pub(super) fn check(
    id: &RequestId,
    payload: Option<&Payload<'_>>,
    text: &Text,
    paths: &[Arc<str>],
) -> Result<Asked, Fault> {
    let payload = payload.ok_or_else(|| Fault::InvalidRequestFrame("payload must be an object".into()))?;
    let path = allowed_path(payload.path, paths)?;
    let endpoint = endpoint::find(&path);
    let verb = endpoint.map_or(Verb::Post, |endpoint| endpoint.verb);
    check_method(payload.method, verb)?;
    let mut headers = headers::read(payload.headers)?;
    let body = match verb {
        Verb::Get => no_body(payload.body, &mut headers)?,
        Verb::Post => {
            refuse_form(endpoint, &headers)?;
            body(payload.body, text)
        }
    };
    add_own_headers(&mut headers, id, verb);
    Ok(Asked {
        method: verb.method(),
        path,
        headers,
        body,
    })
}

// PROTOCOL §2.2: matched exactly; absent means chat completions; any other value is a 404, without asking the adapter
fn allowed_path(raw: Option<&RawValue>, paths: &[Arc<str>]) -> Result<Arc<str>, Fault> {
    let asked = match raw {
        // PROTOCOL 0.1.2 §2.2: chat completions, the one endpoint
        None => DEFAULT_PATH.into(),
        Some(raw) => serde_json::from_str::<String>(raw.get()).map_err(|_| Fault::PathNotAllowed)?,
    };
    paths
        .iter()
        // PROTOCOL §1: forwarded to the endpoint named by the frame
        .find(|path| ***path == *asked)
        .cloned()
        .ok_or(Fault::PathNotAllowed)
}

/// The path that a refused frame names, for people; absent when it is none, or longer than anybody wants to read.
pub(super) fn named_path(raw: Option<&RawValue>) -> Option<Box<str>> {
    let Some(raw) = raw else {
        return Some(DEFAULT_PATH.into());
    };
    let short = raw.get().len() <= MAX_NAMED_PATH_BYTES;
    short.then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// Each endpoint has one method, which is meant when a frame names none.
fn check_method(raw: Option<&RawValue>, verb: Verb) -> Result<(), Fault> {
    let quoted = raw.map(|raw| raw.get().trim_matches('"'));
    match quoted {
        None => Ok(()),
        Some(name) if name == verb.as_str() => Ok(()),
        Some(_) => Err(Fault::MethodNotAllowed { allow: verb.as_str() }),
    }
}

/// A frame always has room for a body; what says something there would be lost, so it is refused.
fn no_body(raw: Option<&RawValue>, headers: &mut HeaderMap) -> Result<Bytes, Fault> {
    let nothing = raw.is_none_or(|raw| {
        let bare: String = raw.get().chars().filter(|c| !c.is_ascii_whitespace()).take(5).collect();
        matches!(bare.as_str(), "null" | "{}" | "\"\"")
    });
    if !nothing {
        return Err(Fault::InvalidRequestFrame(
            "a GET has no body, so payload.body must be absent, null or empty".into(),
        ));
    }
    headers.remove(CONTENT_TYPE);
    Ok(Bytes::new())
}

/// What calls itself a form cannot be one: a frame's body is JSON. The protocol's own endpoints are left as they are.
fn refuse_form(endpoint: Option<&Endpoint>, headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_form = kind
        .get(..FORM.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(FORM));
    if is_form && endpoint.is_none_or(|endpoint| !endpoint.of_protocol) {
        return Err(Fault::InvalidRequestFrame(
            "a frame carries JSON only, a multipart body cannot be relayed; send application/json if the model takes it".into(),
        ));
    }
    Ok(())
}

fn add_own_headers(headers: &mut HeaderMap, id: &RequestId, verb: Verb) {
    if verb == Verb::Post && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    // printable() is visible ASCII by construction, so this never falls back
    let value = HeaderValue::try_from(id.printable()).unwrap_or_else(|_| HeaderValue::from_static("-"));
    if !headers.contains_key(X_REQUEST_ID) {
        headers.insert(X_REQUEST_ID, value.clone());
    }
    headers.insert(X_SPECTRAL_BRIDGE_REQUEST_ID, value);
}

// PROTOCOL §1: byte for byte, so that additional fields pass through untouched
/// The body: a large one as a slice of the frame's own buffer, `{}` when the frame has none. A small one is copied,
/// since a slice would keep the whole read buffer that the frame came in, many times its size.
fn body(raw: Option<&RawValue>, text: &Text) -> Bytes {
    match raw {
        Some(raw) if raw.get().len() < SLICED_BODY => Bytes::copy_from_slice(raw.get().as_bytes()),
        Some(raw) => Bytes::from(text.clone()).slice_ref(raw.get().as_bytes()),
        None => Bytes::from_static(b"{}"),
    }
}

/// Bodies from this size on are not copied: as large as the socket's read buffer, so that a slice keeps at most twice
/// its frame.
const SLICED_BODY: usize = 64 * 1024;

const FORM: &[u8] = b"multipart/";

/// Longest path, as it is written, of a refused frame that people are shown.
const MAX_NAMED_PATH_BYTES: usize = 1024;

/// The path when a frame names none (`PROTOCOL §2.2`).
const DEFAULT_PATH: &str = "/v1/chat/completions";

/// Correlates Envoy's access log and the model's with the relay's.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The relay's request id, for routes and logs; a relay cannot set it.
pub const X_SPECTRAL_BRIDGE_REQUEST_ID: HeaderName = HeaderName::from_static("x-spectral-bridge-request-id");

#[cfg(test)]
mod tests {
    use super::super::frame::{Frame, decode};
    use super::*;

    fn asked(payload: &str) -> Result<Asked, Fault> {
        let text: Text = format!(r#"{{"type":"request","request_id":"r","payload":{payload}}}"#).into();
        let paths = ["/v1/chat/completions".into(), "/v1/responses".into()];
        check_frame(&text, &paths)
    }

    /// With every endpoint allowed.
    fn asked_wide(payload: &str) -> Result<Asked, Fault> {
        let text: Text = format!(r#"{{"type":"request","request_id":"r","payload":{payload}}}"#).into();
        let paths = endpoint::ENDPOINTS.map(|endpoint| endpoint.path.into());
        check_frame(&text, &paths)
    }

    fn check_frame(text: &Text, paths: &[Arc<str>]) -> Result<Asked, Fault> {
        let Frame::Request { id, payload } = decode(text) else {
            unreachable!()
        };
        check(&RequestId::from(&*id), payload.as_ref(), text, paths)
    }

    #[test]
    fn each_endpoint_has_one_method_which_is_meant_when_none_is_named() {
        for endpoint in endpoint::ENDPOINTS {
            let (path, verb) = (endpoint.path, endpoint.verb.as_str());
            let other = if verb == "GET" { "POST" } else { "GET" };
            for method in [format!(r#","method":"{verb}""#), String::new()] {
                let asked = asked_wide(&format!(r#"{{"path":"{path}"{method}}}"#)).unwrap();
                assert_eq!((asked.method.as_str(), &*asked.path), (verb, path));
                assert_eq!(asked.headers.contains_key(CONTENT_TYPE), verb == "POST", "{path}");
            }
            for wrong in [other, "DELETE", "HEAD"] {
                assert_eq!(
                    asked_wide(&format!(r#"{{"path":"{path}","method":"{wrong}"}}"#)).unwrap_err(),
                    Fault::MethodNotAllowed { allow: verb },
                    "{path}"
                );
            }
        }
        for below in ["/v1/models/gpt-4o", "/v1/models/", "/v1/models?x=1", "/v1/embeddings/"] {
            let fault = asked_wide(&format!(r#"{{"path":"{below}"}}"#)).unwrap_err();
            assert_eq!(fault, Fault::PathNotAllowed, "{below}");
        }
    }

    #[test]
    fn a_get_has_no_body_and_says_so_to_who_sends_one() {
        for body in ["null", "{}", "{ \n }", "\"\""] {
            let asked = asked_wide(&format!(r#"{{"path":"/v1/models","body":{body}}}"#)).unwrap();
            assert_eq!(asked.body, "", "{body}");
        }
        for body in [r#"{"a":1}"#, "[]", "0", r#""text""#, "[null]", "false"] {
            let fault = asked_wide(&format!(r#"{{"path":"/v1/models","body":{body}}}"#)).unwrap_err();
            assert_eq!(fault.code(), "invalid_request_frame", "{body}");
        }
    }

    #[test]
    fn a_multipart_body_is_refused_where_the_protocol_does_not_forbid_it() {
        let multipart = |path: &str, kind: &str| {
            asked_wide(&format!(
                r#"{{"path":"{path}","headers":{{"Content-Type":"{kind}"}},"body":"--x"}}"#
            ))
        };
        for path in ["/v1/audio/transcriptions", "/v1/images/edits", "/v1/embeddings"] {
            let fault = multipart(path, "Multipart/form-data; boundary=x").unwrap_err();
            assert_eq!(fault.code(), "invalid_request_frame");
            assert!(fault.to_string().contains("JSON only"), "{fault}");
            assert!(multipart(path, "application/json").is_ok());
        }
        assert!(multipart("/v1/chat/completions", "multipart/form-data").is_ok());
    }

    // PROTOCOL §2.2
    #[test]
    fn an_absent_path_means_chat_completions() {
        assert_eq!(&*asked(r#"{"body":{}}"#).unwrap().path, "/v1/chat/completions");
        assert_eq!(&*asked(r#"{"path":"/v1/responses"}"#).unwrap().path, "/v1/responses");
        assert_eq!(&*asked(r#"{"path":"\/v1\/responses"}"#).unwrap().path, "/v1/responses");
    }

    #[test]
    fn a_small_body_does_not_keep_the_read_buffer_and_a_large_one_is_not_copied() {
        for (size, copied) in [(10, true), (SLICED_BODY, false)] {
            let text: Text = format!(
                r#"{{"type":"request","request_id":"r","payload":{{"body":"{}"}}}}"#,
                "x".repeat(size)
            )
            .into();
            let Frame::Request { id, payload } = decode(&text) else {
                unreachable!()
            };
            let paths = ["/v1/chat/completions".into()];
            let asked = check(&RequestId::from(&*id), payload.as_ref(), &text, &paths).unwrap();
            let is_slice = text.as_bytes().as_ptr_range().contains(&asked.body.as_ptr());
            assert_eq!(is_slice, !copied, "{size} bytes");
            assert_eq!(asked.body.len(), size + 2);
        }
    }

    // PROTOCOL §2.2: matched exactly
    #[test]
    fn any_other_path_is_not_allowed() {
        for path in [
            "null",
            "7",
            "{}",
            r#""""#,
            r#""/""#,
            r#""/v1/models""#,
            r#""/v1/chat/completions/""#,
            r#""/v1/chat/completions?x=1""#,
            r#""/V1/chat/completions""#,
            r#""//v1/chat/completions""#,
            r#""/v1/../v1/responses""#,
            r#""/v1%2fresponses""#,
            r#""http://evil/v1/responses""#,
            r#"" /v1/responses""#,
            r##""/v1/responses#x""##,
            r#""/v1/responses\u0000""#,
        ] {
            assert_eq!(
                asked(&format!(r#"{{"path":{path}}}"#)).unwrap_err(),
                Fault::PathNotAllowed,
                "{path}"
            );
        }
    }

    #[test]
    fn any_other_method_is_not_allowed() {
        assert!(asked(r#"{"method":"POST"}"#).is_ok());
        for method in [r#""GET""#, r#""post""#, "null", "1", r#""""#] {
            let fault = asked(&format!(r#"{{"method":{method}}}"#)).unwrap_err();
            assert_eq!(fault, Fault::MethodNotAllowed { allow: "POST" }, "{method}");
            assert!(fault.to_string().ends_with("allow: POST"), "{fault}");
        }
    }

    // PROTOCOL §1: byte for byte, so that additional fields pass through untouched
    #[test]
    fn the_body_crosses_byte_for_byte() {
        for body in [
            "{}",
            "null",
            r#"{ "b":1,"a" : 1.0000000000000000000001, "s":"\u0041\/" }"#,
            "[1, 2]",
            r#""text""#,
        ] {
            assert_eq!(asked(&format!(r#"{{"body": {body} }}"#)).unwrap().body, body.as_bytes());
        }
        assert_eq!(asked("{}").unwrap().body, "{}");
    }

    #[test]
    fn own_headers_are_added_and_a_callers_kept() {
        let headers = asked(r#"{"headers":{"x-request-id":"caller","x-spectral-bridge-request-id":"forged"}}"#)
            .unwrap()
            .headers;
        assert_eq!(headers["x-request-id"], "caller");
        assert_eq!(headers["x-spectral-bridge-request-id"], "r");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(asked("{}").unwrap().headers["x-request-id"], "r");
    }

    #[test]
    fn a_payload_that_is_no_object_is_an_invalid_frame() {
        assert!(matches!(asked("[]").unwrap_err(), Fault::InvalidRequestFrame(_)));
    }
}
