//! Which headers of a request frame reach the adapter.
//!
//! End-to-end headers do. Connection-level ones do not, nor does anything by which a relay could steer Envoy or pretend
//! to be it.

use std::collections::BTreeSet;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Fault;
use super::limits::{MAX_HEADER_BYTES, MAX_HEADERS};

/// Reads a frame's `headers` object (`PROTOCOL §2.2`). Absent and `null` mean none.
///
/// # Errors
/// [`Fault::InvalidRequestFrame`] for what is no object of strings or cannot be a header;
/// [`Fault::HeadersTooLarge`] for more than Envoy takes. A message names headers, never values.
pub fn read(raw: Option<&RawValue>) -> Result<HeaderMap, Fault> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(HeaderMap::new());
    };
    // written with escapes, a header is at most six times as long; what is longer is not even parsed
    if raw.get().len() > 6 * MAX_HEADER_BYTES {
        let seen = format!(
            "{} bytes of JSON, at most {MAX_HEADER_BYTES} bytes of headers are allowed",
            raw.get().len()
        );
        return Err(Fault::HeadersTooLarge(seen.into()));
    }
    let fields: serde_json::Map<String, Value> = serde_json::from_str(raw.get())
        .map_err(|_| Fault::InvalidRequestFrame("payload.headers must be an object of strings".into()))?;
    let named = named_by_connection(&fields);
    let mut headers = HeaderMap::with_capacity(fields.len().min(MAX_HEADERS));
    let mut bytes = 0_usize;
    for (name, value) in &fields {
        let name_lower = name.to_ascii_lowercase();
        if is_withheld(&name_lower) || named.contains(&name_lower) {
            continue;
        }
        let (name, value) = header(&name_lower, value)?;
        bytes = bytes.saturating_add(name.as_str().len()).saturating_add(value.len());
        // before it goes in: a header map panics on more than it can hold
        check_size(headers.len() + 1, bytes)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What joins a refused request to its caller's trace; nothing when its headers cannot be read.
pub fn trace(raw: Option<&RawValue>) -> HeaderMap {
    let headers = read(raw).unwrap_or_default();
    let mut trace = HeaderMap::new();
    for name in &TRACE {
        for value in headers.get_all(name) {
            trace.append(name, value.clone());
        }
    }
    trace
}

fn header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue), Fault> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Fault::InvalidRequestFrame("a header name has characters that HTTP does not allow".into()))?;
    let Value::String(value) = value else {
        return Err(Fault::InvalidRequestFrame(
            format!("the value of header {} must be a string", quoted(name)).into(),
        ));
    };
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        Fault::InvalidRequestFrame(format!("the value of header {} has control characters", quoted(name)).into())
    })?;
    Ok((parsed, value))
}

/// A header's name for a message that must stay small.
fn quoted(name: &str) -> &str {
    name.get(..MAX_QUOTED_NAME).unwrap_or(name)
}

fn check_size(count: usize, bytes: usize) -> Result<(), Fault> {
    if count > MAX_HEADERS {
        return Err(Fault::HeadersTooLarge(
            format!("more than {MAX_HEADERS} headers").into(),
        ));
    }
    if bytes > MAX_HEADER_BYTES {
        return Err(Fault::HeadersTooLarge(
            format!("more than {MAX_HEADER_BYTES} bytes of headers").into(),
        ));
    }
    Ok(())
}

/// RFC 9110 §7.6.1: headers that `connection` names belong to the connection.
fn named_by_connection(fields: &serde_json::Map<String, Value>) -> BTreeSet<String> {
    let connection = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let values = connection.filter_map(|(_, value)| value.as_str());
    values
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

fn is_withheld(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
        || WITHHELD.contains(&name)
        || WITHHELD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const MAX_QUOTED_NAME: usize = 64;

/// Connection-level headers (RFC 9110 §7.6.1 and those it names).
pub const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

const WITHHELD: &[&str] = &[
    // ours to say on this hop
    "host",
    "content-length",
    "expect",
    "accept-encoding",
    // what only a trusted proxy may say
    "forwarded",
    "x-real-ip",
    "via",
];

const WITHHELD_PREFIXES: &[&str] = &[":", "x-envoy-", "x-forwarded-", "x-spectral-bridge-"];

const TRACE: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read_str(json: &str) -> Result<HeaderMap, Fault> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        read(Some(&raw))
    }

    #[test]
    fn end_to_end_headers_reach_the_adapter() {
        let headers =
            read_str(r#"{"Authorization":"Bearer x","traceparent":"00-a-b-01","X-Latin":"é","empty":""}"#).unwrap();
        assert_eq!(headers["authorization"], "Bearer x");
        assert_eq!(headers["traceparent"], "00-a-b-01");
        assert_eq!(headers["x-latin"].as_bytes(), "é".as_bytes());
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn what_would_steer_envoy_or_belongs_to_the_connection_does_not() {
        let headers = read_str(
            r#"{"Host":"evil","Content-Length":"1","Transfer-Encoding":"chunked",":path":"/x","x-envoy-original-dst-host":"10.0.0.1:80",
                "X-Envoy-Upstream-Rq-Timeout-Ms":"1","X-Forwarded-For":"1.2.3.4","x-spectral-bridge-relay":"x","forwarded":"x","x-real-ip":"x",
                "via":"x","expect":"100-continue","accept-encoding":"gzip","Connection":"close, X-Secret-Hop","x-secret-hop":"1","te":"trailers",
                "upgrade":"websocket"}"#,
        )
        .unwrap();
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn control_characters_are_refused_not_forwarded() {
        for json in [
            r#"{"a":"b\r\nx: y"}"#,
            r#"{"a\r\nb":"c"}"#,
            r#"{"a b":"c"}"#,
            r#"{"a":"\u0000"}"#,
            r#"{"":"x"}"#,
            r#"{"é":"x"}"#,
        ] {
            assert!(matches!(read_str(json), Err(Fault::InvalidRequestFrame(_))), "{json}");
        }
    }

    #[test]
    fn values_that_are_no_strings_are_refused() {
        for json in [r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":["b"]}"#, "[]", "7", r#""x""#] {
            assert!(matches!(read_str(json), Err(Fault::InvalidRequestFrame(_))), "{json}");
        }
        assert!(read_str("null").unwrap().is_empty());
        assert!(read(None).unwrap().is_empty());
    }

    #[test]
    fn more_than_envoy_takes_is_refused() {
        let object = |n: usize, value: &str| {
            let fields: Vec<String> = (0..n).map(|i| format!(r#""h{i}":"{value}""#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert_eq!(read_str(&object(100, "v")).unwrap().len(), 100);
        assert!(matches!(read_str(&object(101, "v")), Err(Fault::HeadersTooLarge(_))));
        assert!(matches!(
            read_str(&object(1, &"v".repeat(60 * 1024))),
            Err(Fault::HeadersTooLarge(_))
        ));
    }

    #[test]
    fn a_connection_header_that_names_thousands_of_others_withholds_them_all() {
        let names: Vec<String> = (0..12_000).map(|i| format!("h{i}")).collect();
        let fields: Vec<String> = names.iter().map(|name| format!(r#""{name}":"""#)).collect();
        let json = format!(
            r#"{{"connection":"{}",{},"kept":"x"}}"#,
            names.join(", "),
            fields.join(",")
        );
        assert_eq!(read_str(&json).unwrap().keys().collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn a_trace_is_read_of_headers_that_can_be_read() {
        let trace_of = |json: &str| trace(Some(&RawValue::from_string(json.to_owned()).unwrap()));
        let seen = trace_of(r#"{"traceparent":"00-a","Tracestate":"b=1","authorization":"s3cret"}"#);
        assert_eq!(
            (&seen["traceparent"], &seen["tracestate"]),
            (&"00-a".parse().unwrap(), &"b=1".parse().unwrap())
        );
        assert_eq!(seen.len(), 2);
        for json in ["{}", "7", r#"{"traceparent":"00-a","a":1}"#] {
            assert!(trace_of(json).is_empty(), "{json}");
        }
        assert!(trace(None).is_empty());
    }

    #[test]
    fn headers_far_too_long_are_refused_unread() {
        let fault = read_str(&format!(r#"{{"a":"{}"}}"#, "x".repeat(6 * MAX_HEADER_BYTES))).unwrap_err();
        assert!(fault.to_string().contains("bytes of JSON"), "{fault}");
        let long = read_str(&format!(r#"{{"{}":7}}"#, "x".repeat(50_000))).unwrap_err();
        assert!(long.to_string().len() < 200, "{long}");
    }

    #[test]
    fn a_message_names_the_header_but_never_its_value() {
        let fault = read_str(r#"{"x-token":"s3cret\n"}"#).unwrap_err().to_string();
        assert!(fault.contains("x-token") && !fault.contains("s3cret"), "{fault}");
    }
}
