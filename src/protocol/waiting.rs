//! A request that waits for its turn, its headers packed.
//!
//! A header map takes ten times the bytes that its headers have in a frame, and those are what the byte budget counts.
//! Packed on entry to the queue and unpacked at the end of the wait by `requests`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{ForwardRequest, RequestId};

/// A [`ForwardRequest`] in few bytes.
#[derive(Debug)]
pub(super) struct Waiting<H> {
    id: RequestId,
    method: Method,
    path: Arc<str>,
    headers: Box<[u8]>,
    body: Bytes,
    received: Instant,
    deadline: Instant,
    hold: Option<H>,
}

impl<H> From<ForwardRequest<H>> for Waiting<H> {
    fn from(request: ForwardRequest<H>) -> Self {
        Self {
            headers: packed(&request.headers),
            id: request.id,
            method: request.method,
            path: request.path,
            body: request.body,
            received: request.received,
            deadline: request.deadline,
            hold: request.hold,
        }
    }
}

impl<H> From<Waiting<H>> for ForwardRequest<H> {
    fn from(waiting: Waiting<H>) -> Self {
        Self {
            headers: unpacked(&waiting.headers),
            id: waiting.id,
            method: waiting.method,
            path: waiting.path,
            body: waiting.body,
            received: waiting.received,
            deadline: waiting.deadline,
            hold: waiting.hold,
        }
    }
}

/// Name, line feed, value, line feed: neither can have one.
fn packed(headers: &HeaderMap) -> Box<[u8]> {
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 2);
    let mut packed = Vec::with_capacity(bytes.sum());
    for (name, value) in headers {
        packed.extend_from_slice(name.as_str().as_bytes());
        packed.push(b'\n');
        packed.extend_from_slice(value.as_bytes());
        packed.push(b'\n');
    }
    packed.into_boxed_slice()
}

fn unpacked(packed: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut parts = packed.split(|byte| *byte == b'\n');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        // they were headers before, so they are again
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_the_same_after_the_wait() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", &b"application/json"[..]),
            ("x-empty", b""),
            ("x-twice", b"one"),
            ("x-latin", "Gr\u{fc}\u{df}e\t".as_bytes()),
            ("x-twice", b"two"),
            ("x-any", b"\x80\xff"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(unpacked(&packed(&headers)), headers);
        assert!(unpacked(&packed(&HeaderMap::new())).is_empty());
    }

    #[test]
    fn a_header_occupies_its_own_bytes_and_two_more() {
        let headers: HeaderMap = (0..100)
            .map(|n| {
                (
                    HeaderName::try_from(format!("x{n}")).unwrap(),
                    HeaderValue::from_static(""),
                )
            })
            .collect();
        let names: usize = headers.keys().map(|name| name.as_str().len()).sum();
        assert_eq!(packed(&headers).len(), names + 200);
    }
}
