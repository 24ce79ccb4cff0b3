//! An adapter's answer, or a fault, becomes a response frame.
//!
//! Called by the forwarding task, one answer at a time: the connection, on the same thread, has its turn in between.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::frame::push_json_string;
use super::limits::MAX_QUOTED_CHARS;
use super::{Fault, RequestId, Text, text_only};
use crate::usage::{self, Answer, Missing};

/// A response frame, ready to be sent (`PROTOCOL §2.2`), and what is to be known about it.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status that the caller gets.
    pub status: u16,
    /// The whole frame.
    pub frame: Text,
    /// [`Fault::code`] when the adapter did not give this answer.
    pub fault: Option<&'static str>,
    /// What the answer says about itself; absent when the adapter did not give it.
    pub answer: Option<Box<Answer>>,
}

/// What the adapter answered, complete.
#[derive(Debug)]
pub struct AdapterAnswer<'a> {
    /// HTTP status.
    pub status: u16,
    /// All response headers.
    pub headers: &'a HeaderMap,
    /// All of the body.
    pub body: &'a [u8],
}

/// How much of an adapter's answer leaves the network.
#[derive(Debug, Clone, Copy)]
pub enum Policy<'a> {
    /// All of the body, with `content-type` and these headers.
    Passthrough(&'a [HeaderName]),
    /// What the adapter contract names, and no header of the adapter's.
    TextOnly(text_only::Known<'a>),
}

impl Response {
    /// The frame for what the adapter answered, as far as `policy` lets it through.
    #[must_use]
    pub fn from_adapter(
        id: &RequestId,
        answer: &AdapterAnswer<'_>,
        policy: &Policy<'_>,
        max_frame_bytes: usize,
    ) -> Self {
        match policy {
            Policy::Passthrough(headers) => Self::passed(id, answer, headers, max_frame_bytes),
            Policy::TextOnly(known) => Self::reduced(id, answer, known, max_frame_bytes),
        }
    }

    fn passed(id: &RequestId, answer: &AdapterAnswer<'_>, passed: &[HeaderName], max_frame_bytes: usize) -> Self {
        match json_frame(id, answer, passed) {
            Ok((frame, said)) => Self {
                answer: Some(Box::new(said)),
                ..Self::bounded(id, answer.status, frame, max_frame_bytes)
            },
            Err(not_json) if answer.status >= 400 => {
                let body = json!({ "error": { "message": not_json.text } }).to_string();
                let frame = encode(id, answer.status, JSON_HEADERS, &body);
                Self::bounded(id, answer.status, frame, max_frame_bytes)
            }
            Err(not_json) => Self::from_fault(id, &Fault::AdapterInvalidResponse(not_json.why)),
        }
    }

    /// Says nothing in the adapter's words but what the contract names, also of what is wrong with them.
    fn reduced(
        id: &RequestId,
        answer: &AdapterAnswer<'_>,
        known: &text_only::Known<'_>,
        max_frame_bytes: usize,
    ) -> Self {
        let (body, said) = match json_body(answer) {
            Ok((body, said)) => (Some(body), Some(Box::new(said))),
            Err(_) => (None, None),
        };
        let reduced = match body {
            _ if answer.status >= 400 => Ok(text_only::reduce_error(answer.status, body)),
            Some(body) => text_only::reduce(known, body).map_err(|misfit| misfit.to_string()),
            None => Err("response_policy text_only: the body is not plain JSON".to_owned()),
        };
        match reduced {
            Ok(body) => Self {
                answer: said,
                ..Self::bounded(
                    id,
                    answer.status,
                    encode(id, answer.status, JSON_HEADERS, &body),
                    max_frame_bytes,
                )
            },
            // its tokens were used
            Err(misfit) => Self {
                answer: said,
                ..Self::from_fault(id, &Fault::AdapterInvalidResponse(misfit.into()))
            },
        }
    }

    /// The frame for an answer that the adapter did not give.
    #[must_use]
    pub fn from_fault(id: &RequestId, fault: &Fault) -> Self {
        let headers = match fault.retry_after() {
            Some(seconds) => {
                json!({ "content-type": "application/json", "retry-after": seconds.to_string() }).to_string()
            }
            None => JSON_HEADERS.to_owned(),
        };
        let frame = encode(id, fault.status(), &headers, &fault.body());
        Self {
            status: fault.status(),
            frame: frame.into(),
            fault: Some(fault.code()),
            answer: None,
        }
    }

    /// Why the tokens of a successful answer are not known; absent for errors, which used none.
    #[must_use]
    pub fn usage_missing(&self) -> Option<Missing> {
        let answer = self.answer.as_ref().filter(|_| self.status < 400)?;
        answer.missing()
    }

    fn bounded(id: &RequestId, status: u16, frame: String, max_frame_bytes: usize) -> Self {
        // PROTOCOL §2.2: a response too large for a frame is replaced with an error response, status 502
        if frame.len() > max_frame_bytes {
            return Self::from_fault(id, &Fault::ResponseTooLarge { limit: max_frame_bytes });
        }
        Self {
            status,
            frame: frame.into(),
            fault: None,
            answer: None,
        }
    }
}

/// Whether a response with these headers can only be refused, so that its body need not be awaited: an event stream
/// may never end, audio is of no use to a frame. Errors are read for their text whatever they are.
#[must_use]
pub fn is_refused_by_headers(status: u16, headers: &HeaderMap) -> Option<Fault> {
    // PROTOCOL §1: stream: true is not supported
    if status >= 400 {
        return None;
    }
    let advice = if is_of_type(headers, EVENT_STREAM_TYPE) {
        EVENT_STREAM
    } else if BINARY_TYPES.iter().any(|binary| is_of_type(headers, binary)) {
        BINARY
    } else {
        return None;
    };
    Some(Fault::AdapterInvalidResponse(advice.into()))
}

struct NotJson {
    /// For a 2xx: what is wrong with it.
    why: Cow<'static, str>,
    /// For an error: its text, capped.
    text: String,
}

/// The frame with the body as it is, and what the body says about itself, if it is JSON that was not compressed on the
/// way. The body is checked where it stands in the frame: once.
fn json_frame(id: &RequestId, answer: &AdapterAnswer<'_>, passed: &[HeaderName]) -> Result<(String, Answer), NotJson> {
    uncompressed(answer)?;
    let mut frame = head(
        id,
        answer.status,
        &passed_headers(answer.headers, passed),
        answer.body.len(),
    )
    .into_bytes();
    let start = frame.len();
    // PROTOCOL §1: status and body unchanged, byte for byte
    frame.extend_from_slice(answer.body);
    let mut frame = String::from_utf8(frame).map_err(|_| not_json(answer, "not UTF-8"))?;
    let body = frame.get(start..).unwrap_or_default();
    let said = usage::read_json(body).map_err(|_| not_json(answer, "not JSON"))?;
    frame.push_str(TAIL);
    Ok((frame, said))
}

fn uncompressed(answer: &AdapterAnswer<'_>) -> Result<(), NotJson> {
    let Some(coding) = content_coding(answer.headers) else {
        return Ok(());
    };
    let why = format!("content-encoding {coding}, though none was asked for");
    Err(NotJson {
        text: why.clone(),
        why: why.into(),
    })
}

/// The body and what it says about itself, if it is JSON that was not compressed on the way.
fn json_body<'a>(answer: &AdapterAnswer<'a>) -> Result<(&'a str, Answer), NotJson> {
    uncompressed(answer)?;
    let text = std::str::from_utf8(answer.body).map_err(|_| not_json(answer, "not UTF-8"))?;
    let said = usage::read_json(text).map_err(|_| not_json(answer, "not JSON"))?;
    Ok((text, said))
}

fn not_json(answer: &AdapterAnswer<'_>, what: &str) -> NotJson {
    let kind = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("none");
    let kind: String = kind.chars().take(100).collect();
    let why = format!(
        "status {} with a body that is {what} (content-type {kind}, {} bytes); the protocol relays JSON only",
        answer.status,
        answer.body.len()
    );
    let text: String = String::from_utf8_lossy(answer.body.get(..MAX_QUOTED_CHARS * 4).unwrap_or(answer.body))
        .trim()
        .chars()
        .take(MAX_QUOTED_CHARS)
        .collect();
    let text = if text.is_empty() {
        format!("the adapter answered status {} without a body", answer.status)
    } else {
        text
    };
    NotJson { why: why.into(), text }
}

fn content_coding(headers: &HeaderMap) -> Option<String> {
    let coding = headers.get(CONTENT_ENCODING)?;
    let coding = String::from_utf8_lossy(coding.as_bytes()).trim().to_ascii_lowercase();
    (!coding.is_empty() && coding != "identity").then(|| coding.chars().take(32).collect())
}

fn is_of_type(headers: &HeaderMap, kind: &[u8]) -> bool {
    let own = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    own.get(..kind.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(kind))
}

/// `content-type` always, and the configured ones that the adapter sent, as a JSON object.
fn passed_headers(headers: &HeaderMap, passed: &[HeaderName]) -> Cow<'static, str> {
    let plain = headers.get(CONTENT_TYPE).is_none_or(|kind| kind == "application/json");
    if plain && passed.is_empty() {
        return JSON_HEADERS.into();
    }
    let mut object = serde_json::Map::new();
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("application/json");
    object.insert(CONTENT_TYPE.as_str().into(), kind.into());
    for name in passed {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()))
            .collect();
        if !values.is_empty() {
            object.insert(name.as_str().into(), values.join(", ").into());
        }
    }
    serde_json::Value::Object(object).to_string().into()
}

/// `headers` and `body` are JSON and go in as they are.
fn encode(id: &RequestId, status: u16, headers: &str, body: &str) -> String {
    let mut out = head(id, status, headers, body.len());
    out.push_str(body);
    out.push_str(TAIL);
    out
}

/// A frame up to its body, with room for the rest.
fn head(id: &RequestId, status: u16, headers: &str, body: usize) -> String {
    let mut out = String::with_capacity(body + headers.len() + id.as_str().len() + 96);
    out.push_str(r#"{"type":"response","request_id":"#);
    // PROTOCOL §2.2: echo the request id unchanged
    push_json_string(&mut out, id.as_str());
    out.push_str(r#","payload":{"status":"#);
    out.push_str(&status.to_string());
    out.push_str(r#","headers":"#);
    out.push_str(headers);
    out.push_str(r#","body":"#);
    out
}

const TAIL: &str = "}}";
const JSON_HEADERS: &str = r#"{"content-type":"application/json"}"#;
const EVENT_STREAM_TYPE: &[u8] = b"text/event-stream";
const BINARY_TYPES: [&[u8]; 3] = [b"audio/", b"image/", b"video/"];
const BINARY: &str = "audio, an image or a video, which the protocol cannot relay: a frame carries JSON only; ask for an answer in JSON, such as \"response_format\": \"b64_json\" for images";
const EVENT_STREAM: &str = "an event stream, which the protocol cannot relay; send the request with \"stream\": false";

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16 * 1024 * 1024;

    fn answered(status: u16, headers: &[(&'static str, &'static str)], body: &[u8], max: usize) -> Response {
        let headers: HeaderMap = headers
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect();
        let passed = [HeaderName::from_static("x-ratelimit")];
        Response::from_adapter(
            &RequestId::from("r\"1"),
            &AdapterAnswer {
                status,
                headers: &headers,
                body,
            },
            &Policy::Passthrough(&passed),
            max,
        )
    }

    // PROTOCOL §2.2: response frame
    // PROTOCOL §1: status and body unchanged, byte for byte
    #[test]
    fn json_crosses_byte_for_byte() {
        let body =
            br#"{ "n":12345678901234567890123, "s":"\u00e9\/", "usage":{"prompt_tokens":1,"completion_tokens":2} }"#;
        let response = answered(
            200,
            &[
                ("content-type", "application/json; charset=utf-8"),
                ("x-ratelimit", "7"),
                ("server", "x"),
            ],
            body,
            MAX,
        );
        let expected = format!(
            r#"{{"type":"response","request_id":"r\"1","payload":{{"status":200,"headers":{{"content-type":"application/json; charset=utf-8","x-ratelimit":"7"}},"body":{}}}}}"#,
            std::str::from_utf8(body).unwrap()
        );
        assert_eq!(response.frame.as_str(), expected);
        let usage = response.answer.unwrap().usage;
        assert_eq!((usage.input, usage.output, response.fault), (Some(1), Some(2), None));
    }

    // PROTOCOL §1: errors keep their status
    #[test]
    fn an_error_in_json_is_passed_on_unchanged() {
        let response = answered(503, &[], br#"{"error":{"message":"model loading"}}"#, MAX);
        assert_eq!((response.status, response.fault), (503, None));
        assert!(
            response
                .frame
                .ends_with(r#""body":{"error":{"message":"model loading"}}}}"#)
        );
    }

    #[test]
    fn an_error_that_is_not_json_keeps_its_status_and_text() {
        let response = answered(
            500,
            &[("content-type", "text/html")],
            b"<h1>Internal \"error\"</h1>",
            MAX,
        );
        assert_eq!((response.status, response.fault), (500, None));
        assert!(
            response
                .frame
                .contains(r#""body":{"error":{"message":"<h1>Internal \"error\"</h1>"}}"#),
            "{}",
            response.frame
        );
        let long = answered(400, &[], "é".repeat(100_000).as_bytes(), MAX);
        assert!(long.frame.len() < 3_000, "{}", long.frame.len());
    }

    #[test]
    fn a_success_that_is_not_json_is_502() {
        for body in [&b"<html>"[..], b"", b"{\"a\":NaN}", b"\xff\xfe", b"{} trailing"] {
            let response = answered(200, &[("content-type", "text/html")], body, MAX);
            assert_eq!(
                (response.status, response.fault),
                (502, Some("adapter_invalid_response")),
                "{body:?}"
            );
        }
        let zipped = answered(200, &[("content-encoding", "gzip")], b"{}", MAX);
        assert!(zipped.frame.contains("content-encoding gzip"), "{}", zipped.frame);
        assert!(
            answered(200, &[("content-encoding", "identity")], b"{}", MAX)
                .fault
                .is_none()
        );
    }

    // PROTOCOL §1: stream: true is not supported
    #[test]
    fn an_event_stream_is_refused_before_its_body() {
        let stream: HeaderMap = [(
            CONTENT_TYPE,
            HeaderValue::from_static("Text/Event-Stream; charset=utf-8"),
        )]
        .into_iter()
        .collect();
        assert!(
            is_refused_by_headers(200, &stream)
                .unwrap()
                .to_string()
                .contains("\"stream\": false")
        );
        assert!(is_refused_by_headers(500, &stream).is_none());
        assert!(is_refused_by_headers(200, &HeaderMap::new()).is_none());
    }

    #[test]
    fn audio_and_images_are_refused_before_their_bodies_with_advice() {
        for kind in ["audio/mpeg", "Image/png", "video/mp4; x=1"] {
            let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
            let fault = is_refused_by_headers(200, &headers).unwrap();
            assert_eq!((fault.status(), fault.code()), (502, "adapter_invalid_response"));
            assert!(fault.to_string().contains("JSON only"), "{fault}");
            assert!(is_refused_by_headers(400, &headers).is_none());
        }
    }

    fn reduced(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Response {
        let headers: HeaderMap = headers
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect();
        let known = text_only::Known {
            path: "/v1/chat/completions",
            id: "r",
            model: None,
            created: 1,
        };
        let answer = AdapterAnswer {
            status,
            headers: &headers,
            body: body.as_bytes(),
        };
        Response::from_adapter(&RequestId::from("r"), &answer, &Policy::TextOnly(known), MAX)
    }

    #[test]
    fn text_only_passes_what_the_contract_names_and_no_header() {
        let body = r#"{"LEAK":"LEAK","choices":[{"message":{"role":"assistant","content":"hi","x":"LEAK"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let headers = [("content-type", "application/json; LEAK=1"), ("x-ratelimit", "LEAK")];
        let response = reduced(200, &headers, body);
        assert!(!response.frame.contains("LEAK"), "{}", response.frame);
        assert!(
            response
                .frame
                .contains(r#""headers":{"content-type":"application/json"},"body":{"#)
        );
        // what is counted is what the model used, whatever of it is told
        let usage = response.answer.unwrap().usage;
        assert_eq!((usage.input, usage.output), (Some(3), Some(4)));
    }

    #[test]
    fn text_only_refuses_what_does_not_fit_without_quoting_it() {
        for (headers, body) in [
            (&[("content-type", "text/LEAK")][..], "LEAK"),
            (&[("content-encoding", "LEAK")][..], "{}"),
            (&[][..], r#"{"LEAK":1}"#),
            (
                &[][..],
                r#"{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":["LEAK"]}}]}"#,
            ),
        ] {
            for status in [200, 302] {
                let response = reduced(status, headers, body);
                assert_eq!(
                    (response.status, response.fault),
                    (502, Some("adapter_invalid_response"))
                );
                assert!(!response.frame.contains("LEAK"), "{}", response.frame);
            }
            let error = reduced(500, headers, body);
            assert_eq!((error.status, error.fault), (500, None));
            assert!(!error.frame.contains("LEAK"), "{}", error.frame);
        }
    }

    // PROTOCOL §2.2: at most 16 MiB, to the byte
    // PROTOCOL §2.2: a response too large is replaced with 502
    #[test]
    fn a_frame_may_be_as_large_as_the_limit_and_no_larger() {
        let overhead = answered(200, &[], b"\"\"", MAX).frame.len() - 2;
        let body = |n: usize| format!("\"{}\"", "x".repeat(n - 2)).into_bytes();
        let fits = answered(200, &[], &body(MAX - overhead), MAX);
        assert_eq!((fits.frame.len(), fits.status), (MAX, 200));
        let too_large = answered(200, &[], &body(MAX - overhead + 1), MAX);
        assert_eq!((too_large.status, too_large.fault), (502, Some("response_too_large")));
    }
}
