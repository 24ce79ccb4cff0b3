//! Frames as PROTOCOL §2.2 writes them: built by splicing, read without touching the body.
//!
//! Pure. Bodies are copied byte for byte in both directions, never parsed into values and written again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::options::Version;

/// A caller's request on its way into a frame.
#[derive(Debug)]
pub struct Call<'a> {
    /// The caller's method.
    pub method: &'a Method,
    /// The path that the adapter shall see.
    pub path: &'a str,
    /// The caller's headers; those that concern only its connection to the relay are left out.
    pub headers: &'a HeaderMap,
    /// One JSON value, or nothing.
    pub body: &'a [u8],
}

/// What a client said.
#[derive(Debug)]
pub enum Inbound {
    /// A receipt for a request.
    Ack(String),
    /// A response, and what could be read of it.
    Response(String, Result<Answer, String>),
    /// Anything else: ignored (PROTOCOL §2.2).
    Unknown,
}

/// A response as the caller gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers that may be passed on.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The JSON value of `body`, byte for byte.
    pub body: Bytes,
}

/// The first frame on every connection (PROTOCOL §2.1).
#[must_use]
pub fn connected(version: Version) -> Utf8Bytes {
    Utf8Bytes::from_static(match version {
        // PROTOCOL 0.1.2 §2.1: the frame names no version
        Version::V1 => r#"{"type":"connected"}"#,
        Version::V2 => r#"{"type":"connected","protocol":2}"#,
    })
}

/// The receipt for a response.
#[must_use]
pub fn ack(request_id: &str) -> Utf8Bytes {
    format!(r#"{{"type":"ack","request_id":{}}}"#, json(request_id)).into()
}

/// The request frame for `call`.
///
/// # Errors
/// The body is not one JSON value.
pub fn request(version: Version, request_id: &str, call: &Call<'_>) -> Result<Utf8Bytes, serde_json::Error> {
    let body = match call.body {
        b"" => "null",
        // Checks that it is one UTF-8 JSON value; the text itself is what crosses.
        text => serde_json::from_slice::<&RawValue>(text)?.get(),
    };
    let mut frame = String::with_capacity(body.len() + 1024);
    frame.push_str(r#"{"type":"request","request_id":"#);
    frame.push_str(&json(request_id));
    frame.push_str(r#","payload":{"method":"#);
    frame.push_str(&json(call.method.as_str()));
    match version {
        // Version 1 has one endpoint and does not name it.
        Version::V1 => {}
        Version::V2 => {
            frame.push_str(r#","path":"#);
            frame.push_str(&json(call.path));
        }
    }
    frame.push_str(r#","headers":"#);
    frame.push_str(&headers(call.headers));
    frame.push_str(r#","body":"#);
    frame.push_str(body);
    frame.push_str("}}");
    Ok(frame.into())
}

/// Reads what a client sent.
#[must_use]
pub fn read(text: &Utf8Bytes) -> Inbound {
    // PROTOCOL §2.2: UTF-8 encoded JSON; anything else is ignored
    let Ok(frame) = serde_json::from_str::<Frame<'_>>(text.as_str()) else {
        return Inbound::Unknown;
    };
    let (Some(kind), Some(request_id)) = (string(frame.kind), string(frame.request_id)) else {
        return Inbound::Unknown;
    };
    match &*kind {
        "ack" => Inbound::Ack(request_id.into_owned()),
        "response" => Inbound::Response(request_id.into_owned(), answer(frame.payload, text)),
        _ => Inbound::Unknown,
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(borrow)]
    body: &'a RawValue,
}

fn answer(payload: Option<&RawValue>, text: &Utf8Bytes) -> Result<Answer, String> {
    let payload = payload.ok_or("it has no payload")?;
    let payload: Payload<'_> = serde_json::from_str(payload.get()).map_err(|e| e.to_string())?;
    let status = StatusCode::from_u16(payload.status).map_err(|e| e.to_string())?;
    let headers = payload.headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::try_from(name).ok().filter(end_to_end)?;
        Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
    });
    let whole: &Bytes = text.as_ref();
    Ok(Answer {
        status,
        headers: headers.collect(),
        body: whole.slice_ref(payload.body.get().as_bytes()),
    })
}

fn headers(all: &HeaderMap) -> String {
    let mut object: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in all {
        let Ok(value) = value.to_str() else { continue };
        if !end_to_end(name) || *name == header::HOST || *name == header::AUTHORIZATION {
            continue;
        }
        object
            .entry(name.as_str())
            .and_modify(|seen| seen.extend([", ", value]))
            .or_insert_with(|| value.to_owned());
    }
    serde_json::to_string(&object).unwrap_or_else(|_| "{}".to_owned())
}

fn end_to_end(name: &HeaderName) -> bool {
    const CONNECTION_LEVEL: [&str; 9] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    !CONNECTION_LEVEL.contains(&name.as_str())
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

fn string(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let text = raw?.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

#[cfg(test)]
mod tests;
