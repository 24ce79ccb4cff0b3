//! Bodies and headers of the last requests, kept only when the configuration asks for them.
//!
//! Of a header that is not on a short list only its name is kept, so that no secret is there to be shown. A body is kept
//! to its first bytes, for a few requests. What in it looks like a secret is hidden when it is shown (`redact`).

use std::collections::{BTreeMap, VecDeque};

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::redact::redact;

/// What was kept of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    /// As the relay sent it.
    pub request: Side,
    /// As the relay gets it; absent when there was no answer.
    pub answer: Option<Side>,
}

/// One side of an exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Names, and values where these are no secret.
    pub headers: Vec<(String, Option<String>)>,
    /// Its beginning.
    pub body: String,
    /// How many bytes the whole body has.
    pub body_bytes: usize,
}

/// The last few.
#[derive(Default)]
pub(super) struct Contents(VecDeque<(u64, Content)>);

impl Contents {
    pub(super) fn keep(&mut self, number: u64, content: Content) {
        if self.0.len() == CONTENTS {
            self.0.pop_front();
        }
        self.0.push_back((number, content));
    }

    /// With what looks like a secret hidden.
    pub(super) fn find(&self, number: u64) -> Option<Content> {
        let (_, content) = self.0.iter().find(|(kept, _)| *kept == number)?;
        let mut content = content.clone();
        for side in std::iter::once(&mut content.request).chain(&mut content.answer) {
            side.body = redact(&side.body);
        }
        Some(content)
    }

    pub(super) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

/// What is kept of a request.
pub(super) fn request(headers: &HeaderMap, body: &[u8], most: usize) -> Side {
    let headers = headers.iter().take(HEADERS);
    let headers = headers.map(|(name, value)| header(name.as_str(), || value.to_str().ok().map(str::to_owned)));
    Side {
        headers: headers.collect(),
        body: beginning(body, most),
        body_bytes: body.len(),
    }
}

/// What is kept of a response frame.
pub(super) fn answer(frame: &str, most: usize) -> Option<Side> {
    let Frame { payload } = serde_json::from_str(frame).ok()?;
    let headers = payload.headers.into_iter().take(HEADERS);
    let body = payload.body.get();
    Some(Side {
        headers: headers.map(|(name, value)| header(&name, || Some(value))).collect(),
        body: beginning(body.as_bytes(), most),
        body_bytes: body.len(),
    })
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    headers: BTreeMap<String, String>,
    #[serde(borrow)]
    body: &'a RawValue,
}

fn header(name: &str, value: impl FnOnce() -> Option<String>) -> (String, Option<String>) {
    let plain = PLAIN.iter().any(|plain| plain.as_str().eq_ignore_ascii_case(name));
    let value = plain.then(value).flatten();
    (cut(name), value.as_deref().map(cut))
}

fn beginning(body: &[u8], most: usize) -> String {
    String::from_utf8_lossy(body.get(..most).unwrap_or(body)).into_owned()
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(HEADER_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Whose values are no secret. Of all others only the name is kept.
static PLAIN: [HeaderName; 8] = [
    http::header::ACCEPT,
    http::header::CONTENT_LENGTH,
    http::header::CONTENT_TYPE,
    http::header::RETRY_AFTER,
    http::header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-spectral-bridge-request-id"),
];

/// Requests of each relay whose content is kept.
const CONTENTS: usize = 32;

/// Headers of a side that are kept, and bytes of a name or a value.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 256;
