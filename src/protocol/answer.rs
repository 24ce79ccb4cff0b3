//! An adapter's answer becomes a response frame while it is read.
//!
//! Driven by the forwarding task, one answer at a time: the connection, on the same thread, has its turn in between.

use std::borrow::Cow;
use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::body::{Body, Whole};
use super::limits::MAX_QUOTED_CHARS;
use super::response::{JSON_HEADERS, encode, head};
use super::{Fault, RequestId, Response, text_only};
use crate::usage::{self, Abridged, Answer};

/// How much of an adapter's answer leaves the network.
#[derive(Debug, Clone, Copy)]
pub enum Policy<'a> {
    /// All of the body, with `content-type` and these headers.
    Passthrough(&'a [HeaderName]),
    /// What the adapter contract names, and no header of the adapter's.
    TextOnly(text_only::Known<'a>),
}

/// What the adapter answers. Its body is put where it stands in the frame, and is copied and checked there only.
pub struct AdapterAnswer<'a> {
    id: &'a RequestId,
    status: u16,
    headers: &'a HeaderMap,
    policy: &'a Policy<'a>,
    body: Body,
}

impl<'a> AdapterAnswer<'a> {
    /// An answer with these headers, whose body is still to come, with room for `expected` bytes of it.
    #[must_use]
    pub fn begin(
        id: &'a RequestId,
        status: u16,
        headers: &'a HeaderMap,
        policy: &'a Policy<'a>,
        expected: usize,
    ) -> Self {
        let head = match policy {
            Policy::Passthrough(passed) => head(id, status, &passed_headers(headers, passed), expected),
            // what leaves is not this body
            Policy::TextOnly(_) => String::with_capacity(expected),
        };
        Self {
            id,
            status,
            headers,
            policy,
            body: Body::after(head),
        }
    }

    /// More of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.body.push(piece);
    }

    /// Bytes of the body that came.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The body, as far as it came.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.bytes()
    }

    /// The frame for the whole answer, as far as the policy lets it through.
    #[must_use]
    pub fn response(self, max_frame_bytes: usize) -> Response {
        match self.policy {
            Policy::Passthrough(_) => self.passed(max_frame_bytes),
            Policy::TextOnly(known) => self.reduced(known, max_frame_bytes),
        }
    }

    fn passed(self, max_frame_bytes: usize) -> Response {
        let (id, status) = (self.id, self.status);
        match self.json() {
            Ok((whole, said)) => Response {
                answer: Some(Box::new(said)),
                ..Response::bounded(id, status, whole.finished(), max_frame_bytes)
            },
            Err(not_json) if status >= 400 => {
                let body = json!({ "error": { "message": not_json.text } }).to_string();
                Response::bounded(id, status, encode(id, status, JSON_HEADERS, &body), max_frame_bytes)
            }
            Err(not_json) => Response::from_fault(id, &Fault::AdapterInvalidResponse(not_json.why)),
        }
    }

    /// Says nothing in the adapter's words but what the contract names, also of what is wrong with them.
    fn reduced(self, known: &text_only::Known<'_>, max_frame_bytes: usize) -> Response {
        let (id, status) = (self.id, self.status);
        let (whole, said) = match self.json() {
            Ok((whole, said)) => (Some(whole), Some(Box::new(said))),
            Err(_) => (None, None),
        };
        let body = whole.as_ref().map(Whole::body);
        let reduced = match body {
            _ if status >= 400 => Ok(text_only::reduce_error(status, body)),
            Some(body) => text_only::reduce(known, body).map_err(|misfit| misfit.to_string()),
            None => Err("response_policy text_only: the body is not plain JSON".to_owned()),
        };
        match reduced {
            Ok(body) => Response {
                answer: said,
                ..Response::bounded(id, status, encode(id, status, JSON_HEADERS, &body), max_frame_bytes)
            },
            // its tokens were used
            Err(misfit) => Response {
                answer: said,
                ..Response::from_fault(id, &Fault::AdapterInvalidResponse(misfit.into()))
            },
        }
    }

    /// The body in its frame and what it says about itself, if it is JSON that was not compressed on the way.
    fn json(self) -> Result<(Whole, Answer), NotJson> {
        let Self { status, headers, .. } = self;
        if let Some(coding) = content_coding(headers) {
            let why = format!("content-encoding {coding}, though none was asked for");
            return Err(NotJson {
                text: why.clone(),
                why: why.into(),
            });
        }
        // PROTOCOL §1: status and body unchanged, byte for byte
        let whole = self
            .body
            .finish()
            .map_err(|body| not_json(status, headers, &body, "not UTF-8"))?;
        let text = whole.abridged.as_ref().map_or(whole.body(), Abridged::kept);
        let said =
            usage::read_json(text).map_err(|_| not_json(status, headers, whole.body().as_bytes(), "not JSON"))?;
        Ok((whole, said))
    }
}

impl fmt::Debug for AdapterAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdapterAnswer")
            .field("id", self.id)
            .field("status", &self.status)
            .field("bytes", &self.body_len())
            .finish_non_exhaustive()
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

fn not_json(status: u16, headers: &HeaderMap, body: &[u8], what: &str) -> NotJson {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("none");
    let kind: String = kind.chars().take(100).collect();
    let why = format!(
        "status {status} with a body that is {what} (content-type {kind}, {} bytes); the protocol relays JSON only",
        body.len()
    );
    let text: String = String::from_utf8_lossy(body.get(..MAX_QUOTED_CHARS * 4).unwrap_or(body))
        .trim()
        .chars()
        .take(MAX_QUOTED_CHARS)
        .collect();
    let text = if text.is_empty() {
        format!("the adapter answered status {status} without a body")
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

const EVENT_STREAM_TYPE: &[u8] = b"text/event-stream";
const BINARY_TYPES: [&[u8]; 3] = [b"audio/", b"image/", b"video/"];
const BINARY: &str = "audio, an image or a video, which the protocol cannot relay: a frame carries JSON only; ask for an answer in JSON, such as \"response_format\": \"b64_json\" for images";
const EVENT_STREAM: &str = "an event stream, which the protocol cannot relay; send the request with \"stream\": false";

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
