//! Any text as a frame from the relay, read by the product and by a second reader.

use serde_json::Value;
use serde_json::value::RawValue;
use spectral_bridge::protocol::frame::{self, Frame};
use spectral_bridge::protocol::limits::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_REQUEST_ID};
use spectral_bridge::protocol::{RequestId, headers};

/// A frame is read without a panic, as any JSON reader reads it, and its raw parts are slices of itself.
pub fn frames(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = frame::decode(text);
    if let Ok(tree) = serde_json::from_str::<Value>(text) {
        agree(&read, &tree);
    }
    match read {
        Frame::Request { id, payload } => {
            id_is_echoed(&id);
            let Some(payload) = payload else { return };
            for part in [payload.method, payload.path, payload.headers, payload.body] {
                let Some(part) = part else { continue };
                let part = part.get().as_bytes().as_ptr_range();
                let whole = data.as_ptr_range();
                assert!(
                    whole.start <= part.start && part.end <= whole.end,
                    "a part is no slice of its frame"
                );
            }
            check_headers(payload.headers);
        }
        Frame::Ack { id } => id_is_echoed(&id),
        Frame::Connected(_) | Frame::Ignored(_) => {}
    }
}

/// What the tree of the frame says, where there is one: it is stricter than the product about depth and numbers.
fn agree(read: &Frame<'_>, tree: &Value) {
    let id = tree["request_id"].as_str();
    match (tree["type"].as_str(), id) {
        (Some("request"), Some(id)) if id.len() <= MAX_REQUEST_ID => {
            let Frame::Request { id: read, payload } = read else {
                panic!("a request was read as {read:?}")
            };
            assert_eq!(read, id);
            assert_eq!(payload.is_some(), tree["payload"].is_object(), "the payload's kind");
            let Some(payload) = payload else { return };
            let parts = [payload.method, payload.path, payload.headers, payload.body];
            for (name, part) in ["method", "path", "headers", "body"].into_iter().zip(parts) {
                let part = part.map(|part| serde_json::from_str::<Value>(part.get()).expect("a part is JSON"));
                assert_eq!(part.as_ref(), tree["payload"].get(name), "{name}");
            }
        }
        (Some("ack"), Some(id)) if id.len() <= MAX_REQUEST_ID => {
            let Frame::Ack { id: read } = read else {
                panic!("an ack was read as {read:?}")
            };
            assert_eq!(read, id);
        }
        (Some("connected"), _) => assert!(matches!(read, Frame::Connected(_)), "{read:?}"),
        (Some(_) | None, _) => assert!(matches!(read, Frame::Ignored(_)), "{read:?}"),
    }
}

/// PROTOCOL §2.2: the id is echoed unchanged.
fn id_is_echoed(id: &str) {
    assert!(id.len() <= MAX_REQUEST_ID);
    let id = RequestId::from(id);
    let ack = frame::ack(&id);
    let Frame::Ack { id: echoed } = frame::decode(&ack) else {
        panic!("our ack cannot be read: {ack}")
    };
    assert_eq!(echoed, id.as_str());
    let printed = id.printable();
    assert!(
        printed.len() <= 256 && printed.bytes().all(|b| b.is_ascii_graphic()),
        "{printed:?} breaks a log line"
    );
}

fn check_headers(raw: Option<&RawValue>) {
    let Ok(headers) = headers::read(raw) else { return };
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    assert!(headers.len() <= MAX_HEADERS && bytes <= MAX_HEADER_BYTES);
    for (name, value) in &headers {
        let name = name.as_str();
        let steers = ["x-envoy-", "x-forwarded-", "x-spectral-bridge-"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let hop = matches!(
            name,
            "host" | "connection" | "transfer-encoding" | "content-length" | "upgrade" | "te"
        );
        assert!(!steers && !hop, "{name} reaches Envoy");
        assert!(
            !value.as_bytes().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)),
            "{name} breaks its line"
        );
    }
}
