//! A response frame, of an adapter's answer or of a fault.

use serde_json::json;

use super::frame::push_json_string;
use super::{Fault, Outgoing, RequestId};
use crate::usage::{Answer, Missing};

/// A response frame, ready to be sent (`PROTOCOL §2.2`), and what is to be known about it.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status that the caller gets.
    pub status: u16,
    /// The whole frame.
    pub frame: Outgoing,
    /// [`Fault::code`] when the adapter did not give this answer.
    pub fault: Option<&'static str>,
    /// What the answer says about itself; absent when the adapter did not give it.
    pub answer: Option<Box<Answer>>,
}

impl Response {
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

    /// The frame for what the adapter answered, or the fault that it is too large.
    pub(super) fn bounded(id: &RequestId, status: u16, frame: String, max_frame_bytes: usize) -> Self {
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

/// `headers` and `body` are JSON and go in as they are.
pub(super) fn encode(id: &RequestId, status: u16, headers: &str, body: &str) -> String {
    let mut out = head(id, status, headers, body.len());
    out.push_str(body);
    out.push_str(TAIL);
    out
}

/// A frame up to its body, with room for the rest.
pub(super) fn head(id: &RequestId, status: u16, headers: &str, body: usize) -> String {
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

/// What follows the body.
pub(super) const TAIL: &str = "}}";

/// A response frame's headers, when it has no others.
pub(super) const JSON_HEADERS: &str = r#"{"content-type":"application/json"}"#;
