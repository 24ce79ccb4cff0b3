//! What crosses the WebSocket: decoding the relay's frames in one pass, encoding ours.
//!
//! Bodies stay raw slices of the frame: they cross byte for byte and are never parsed here.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess};
use serde_json::value::RawValue;

use super::connection::Hello;
use super::limits::MAX_REQUEST_ID;
use super::{Outgoing, RequestId};
use crate::json::{self, FromFields, Object};

/// A frame from the relay (`PROTOCOL §2.2`).
#[derive(Debug)]
pub enum Frame<'a> {
    /// `connected`, with the version it names (`PROTOCOL §2.1`).
    Connected(Hello),
    /// `request`; the payload is `None` when it is absent or no object.
    Request {
        /// The relay's token.
        id: Cow<'a, str>,
        /// What to ask the adapter.
        payload: Option<Payload<'a>>,
    },
    /// `ack` of one of our responses.
    Ack {
        /// The request whose response arrived.
        id: Cow<'a, str>,
    },
    /// Anything else: ignored, never a reason to close (`PROTOCOL §2.2`).
    Ignored(Ignored),
}

/// The fields of a request frame's payload, still raw.
#[derive(Debug, Default)]
pub struct Payload<'a> {
    /// `method`.
    pub method: Option<&'a RawValue>,
    /// `path`.
    pub path: Option<&'a RawValue>,
    /// `headers`.
    pub headers: Option<&'a RawValue>,
    /// `body`.
    pub body: Option<&'a RawValue>,
}

/// Why a frame was ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Not JSON, or JSON after which something follows.
    NotJson,
    /// JSON, but no object.
    NotAnObject,
    /// No `type`, or one that this client does not know or does not take from a relay.
    UnknownType,
    /// A known type without the `request_id` string that it needs.
    NoRequestId,
    /// A `request_id` longer than [`MAX_REQUEST_ID`].
    RequestIdTooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Before the `connected` frame.
    BeforeConnected,
}

impl Ignored {
    /// Short and bounded, for logs and labels.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::UnknownType => "unknown_type",
            Self::NoRequestId => "no_request_id",
            Self::RequestIdTooLong => "request_id_too_long",
            Self::NotUtf8 => "not_utf8",
            Self::BeforeConnected => "before_connected",
        }
    }
}

/// Decodes one frame. Of a key that occurs twice the last value counts, as in most JSON readers.
#[must_use]
pub fn decode(text: &str) -> Frame<'_> {
    let fields = match json::read::<Fields<'_>>(text) {
        Ok(Some(fields)) => fields,
        // PROTOCOL §2.2: a frame that isn't a JSON object is ignored
        Ok(None) => return Frame::Ignored(Ignored::NotAnObject),
        Err(_) => return Frame::Ignored(Ignored::NotJson),
    };
    let kind = fields.kind.and_then(string);
    let id = fields.request_id.and_then(string);
    match (kind.as_deref(), id) {
        (Some("request" | "ack"), Some(id)) if id.len() > MAX_REQUEST_ID => Frame::Ignored(Ignored::RequestIdTooLong),
        (Some("request"), Some(id)) => Frame::Request {
            id,
            payload: fields.payload,
        },
        (Some("ack"), Some(id)) => Frame::Ack { id },
        (Some("request" | "ack"), None) => Frame::Ignored(Ignored::NoRequestId),
        (Some("connected"), _) => Frame::Connected(hello(fields.protocol)),
        // PROTOCOL §2.2: a frame of an unknown type is ignored
        (Some(_) | None, _) => Frame::Ignored(Ignored::UnknownType),
    }
}

/// An ack frame (`PROTOCOL §2.2`).
#[must_use]
pub fn ack(id: &RequestId) -> Outgoing {
    let mut out = String::with_capacity(ACK_HEAD.len() + id.as_str().len() + 4);
    out.push_str(ACK_HEAD);
    push_json_string(&mut out, id.as_str());
    out.push('}');
    out.into()
}

/// Appends `value` as a JSON string.
pub(super) fn push_json_string(out: &mut String, value: &str) {
    if value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
    {
        out.push('"');
        out.push_str(value);
        out.push('"');
        return;
    }
    // a plain string cannot fail to serialise
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

fn hello(protocol: Option<&RawValue>) -> Hello {
    match protocol.map(RawValue::get) {
        // PROTOCOL 0.1.2 §2.1: the frame of version 1 names no version
        None | Some("null" | "1") => Hello::V1,
        Some("2") => Hello::V2,
        Some(other) => Hello::Other(other.chars().take(32).collect()),
    }
}

const ACK_HEAD: &str = r#"{"type":"ack","request_id":"#;

#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a RawValue>,
    request_id: Option<&'a RawValue>,
    protocol: Option<&'a RawValue>,
    payload: Option<Payload<'a>>,
}

impl<'de: 'a, 'a> FromFields<'de> for Fields<'a> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "type" => self.kind = Some(map.next_value()?),
            "request_id" => self.request_id = Some(map.next_value()?),
            "protocol" => self.protocol = Some(map.next_value()?),
            "payload" => self.payload = map.next_value::<Object<Payload<'a>>>()?.0,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> FromFields<'de> for Payload<'a> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "method" => self.method = Some(map.next_value()?),
            "path" => self.path = Some(map.next_value()?),
            "headers" => self.headers = Some(map.next_value()?),
            "body" => self.body = Some(map.next_value()?),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(text: &str) -> Ignored {
        match decode(text) {
            Frame::Ignored(why) => why,
            other => unreachable!("{text:.60} decoded as {other:?}"),
        }
    }

    // `PROTOCOL §2.2` shows the request frame.
    #[test]
    fn a_request_frame_gives_its_parts_raw() {
        let text = r#"{"type":"request","request_id":"r-1","payload":{"method":"POST","path":"/v1/responses","headers":{"a":"b"},
            "body":{"n": 12345678901234567890123, "u":"\u00e9", "z":1,"a":2}}}"#;
        let Frame::Request {
            id,
            payload: Some(payload),
        } = decode(text)
        else {
            unreachable!()
        };
        assert_eq!(id, "r-1");
        assert_eq!(payload.path.map(RawValue::get), Some(r#""/v1/responses""#));
        assert_eq!(
            payload.body.map(RawValue::get),
            Some(r#"{"n": 12345678901234567890123, "u":"\u00e9", "z":1,"a":2}"#)
        );
    }

    // PROTOCOL §2.2: echo the id unchanged
    #[test]
    fn an_id_with_escapes_comes_back_as_the_same_string() {
        let Frame::Ack { id } = decode(r#"{"type":"ack","request_id":"a\"\u00e9\n"}"#) else {
            unreachable!()
        };
        let back = ack(&RequestId::from(&*id));
        let Frame::Ack { id: again } = decode(&back) else {
            unreachable!()
        };
        assert_eq!((&*id, &*again), ("a\"é\n", "a\"é\n"));
    }

    // PROTOCOL §2.2: unknown types and frames that are no object are ignored
    #[test]
    fn what_is_no_frame_is_ignored_and_says_why() {
        for text in [
            "",
            "{",
            "nonsense",
            "{\"type\":\"ack\"} x",
            "\u{feff}{}",
            "{\"type\":\"ack\",}",
            "[1,",
            "NaN",
        ] {
            assert_eq!(ignored(text), Ignored::NotJson, "{text}");
        }
        for text in ["[]", "[{\"type\":\"ack\"}]", "1", "-1", "1.5", "\"x\"", "null", "true"] {
            assert_eq!(ignored(text), Ignored::NotAnObject, "{text}");
        }
        for text in [
            "{}",
            r#"{"type":"pong"}"#,
            r#"{"type":1}"#,
            r#"{"type":null}"#,
            r#"{"type":"response","request_id":"a"}"#,
        ] {
            assert_eq!(ignored(text), Ignored::UnknownType, "{text}");
        }
        for text in [
            r#"{"type":"request"}"#,
            r#"{"type":"ack","request_id":7}"#,
            r#"{"type":"request","request_id":null}"#,
        ] {
            assert_eq!(ignored(text), Ignored::NoRequestId, "{text}");
        }
    }

    #[test]
    fn a_payload_that_is_no_object_leaves_a_request_that_can_be_answered() {
        for payload in ["null", "[]", "[1,[2]]", "\"x\"", "\"\\n\"", "7", "-7", "1e3", "false"] {
            let text = format!(r#"{{"type":"request","payload":{payload},"request_id":"r"}}"#);
            assert!(
                matches!(decode(&text), Frame::Request { payload: None, .. }),
                "{payload}"
            );
        }
    }

    #[test]
    fn an_id_that_would_not_fit_an_answer_is_ignored() {
        let frame = |n: usize| format!(r#"{{"type":"request","request_id":"{}"}}"#, "x".repeat(n));
        assert!(matches!(decode(&frame(MAX_REQUEST_ID)), Frame::Request { .. }));
        assert_eq!(ignored(&frame(MAX_REQUEST_ID + 1)), Ignored::RequestIdTooLong);
    }

    #[test]
    fn nesting_a_thousand_deep_is_passed_on_in_a_body_and_ignored_elsewhere() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let text = format!(r#"{{"type":"request","request_id":"r","payload":{{"body":{deep}}},"other":{deep}}}"#);
        let Frame::Request {
            payload: Some(payload), ..
        } = decode(&text)
        else {
            unreachable!()
        };
        assert_eq!(payload.body.map(RawValue::get), Some(deep.as_str()));
        assert_eq!(ignored(&deep), Ignored::NotAnObject);
    }

    #[test]
    fn of_a_key_that_occurs_twice_the_last_counts() {
        let text = r#"{"type":"ack","type":"request","request_id":"a","request_id":"b","payload":7,"payload":{"body":1,"body":2}}"#;
        let Frame::Request {
            id,
            payload: Some(payload),
        } = decode(text)
        else {
            unreachable!()
        };
        assert_eq!((&*id, payload.body.map(RawValue::get)), ("b", Some("2")));
    }

    // PROTOCOL §2.1, PROTOCOL 0.1.2 §2.1
    #[test]
    fn the_connected_frame_names_the_version() {
        let version = |text| match decode(text) {
            Frame::Connected(hello) => hello,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(version(r#"{"type":"connected"}"#), Hello::V1);
        assert_eq!(version(r#"{"type":"connected","protocol":2}"#), Hello::V2);
        assert_eq!(
            version(r#"{"type":"connected","protocol":3}"#),
            Hello::Other("3".into())
        );
        assert_eq!(
            version(r#"{"type":"connected","protocol":"2"}"#),
            Hello::Other("\"2\"".into())
        );
    }
}
