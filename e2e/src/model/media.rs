//! Speech, transcriptions and images: answers that are no text, or to questions that are none. Pure.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::behaviour::Exact;

/// The answer to a POST at `path`; `None` where nothing of this kind is served.
pub(super) fn answer(path: &str, content_type: &str, body: &Bytes) -> Option<Exact> {
    match path {
        "/v1/audio/speech" => Some(speech(body)),
        "/v1/audio/transcriptions" => Some(transcription(content_type, body)),
        "/v1/images/generations" => Some(image(body)),
        _ => None,
    }
}

/// As many bytes as the input has, none of which is text.
fn speech(body: &[u8]) -> Exact {
    let question: Value = serde_json::from_slice(body).unwrap_or_default();
    match question.get("input").and_then(Value::as_str) {
        Some(input) => Exact::new(StatusCode::OK, "audio/mpeg", vec![0xff_u8; input.len()]),
        None => refused("input is missing"),
    }
}

/// How many bytes the file has that was sent, and for which model.
fn transcription(content_type: &str, body: &[u8]) -> Exact {
    let boundary = content_type
        .strip_prefix("multipart/form-data; boundary=")
        .map(|boundary| boundary.trim_matches('"'));
    let Some(boundary) = boundary else {
        return refused("the body is no form");
    };
    let (Some(model), Some(file)) = (part(body, boundary, "model"), part(body, boundary, "file")) else {
        return refused("model or file is missing");
    };
    let text = format!("{} bytes for {}", file.len(), String::from_utf8_lossy(model));
    Exact::json(StatusCode::OK, json!({ "text": text }).to_string())
}

/// The smallest of all pictures.
fn image(body: &[u8]) -> Exact {
    let question: Value = serde_json::from_slice(body).unwrap_or_default();
    match question.get("prompt").and_then(Value::as_str) {
        Some(prompt) => Exact::json(
            StatusCode::OK,
            json!({"created": 1_735_689_600, "data": [{"b64_json": "iVBORw0KGgo=", "revised_prompt": prompt}]})
                .to_string(),
        ),
        None => refused("prompt is missing"),
    }
}

fn refused(message: &str) -> Exact {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}});
    Exact::json(StatusCode::BAD_REQUEST, body.to_string())
}

/// The content of the part of this name.
fn part<'a>(body: &'a [u8], boundary: &str, name: &str) -> Option<&'a [u8]> {
    let named = format!("name=\"{name}\"");
    let head = find(body, named.as_bytes())?;
    let content = head + find(body.get(head..)?, b"\r\n\r\n")? + 4;
    let end = find(body.get(content..)?, format!("\r\n--{boundary}").as_bytes())?;
    body.get(content..content + end)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
