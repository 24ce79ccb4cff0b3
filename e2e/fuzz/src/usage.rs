//! Any bytes as JSON, read whole and by the piece; and as what two sides of a WebSocket write.

use std::time::Instant;

use serde_json::Value;
use serde_json::value::RawValue;
use spectral_bridge::usage::{self, Operation, RequestTap, SocketTap, Tap, Turn};

use crate::sse::bounded;

/// Both readers say the same of all JSON, and the figures that a tree of the same document has. The first byte chooses
/// the split; the others also go to the sides of a WebSocket in turn, 64 at a time.
pub fn usage(data: &[u8]) {
    let Some((&split, body)) = data.split_first() else {
        return;
    };
    let piece = usize::from(split) + 1;
    socket(body, piece);
    let Ok(text) = std::str::from_utf8(body) else { return };
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    let whole = usage::read_json(text);
    assert_eq!(whole.is_ok(), is_json, "what is JSON");
    abridged(text, piece);
    let request = usage::read_request(text);
    let Ok(answer) = whole else {
        assert_eq!(request, usage::Request::default(), "a request that is no JSON");
        return;
    };
    bounded(&answer);
    let mut tap = Tap::new(Operation::Chat, Some(b"application/json"), None);
    let mut request_tap = RequestTap::new();
    for bytes in body.chunks(piece) {
        tap.push(bytes);
        request_tap.push(bytes);
    }
    tap.finish(true);
    // By its first byte alone, a document that is no object and no list is none.
    if text.trim_start().starts_with(['{', '[']) {
        assert_eq!(tap.answer(), &answer, "the readers differ");
    }
    assert_eq!(request_tap.finish(), request, "the readers differ");
    if let Ok(tree) = serde_json::from_str::<Value>(text) {
        agree(&answer, &tree);
    }
}

/// Without the insides of its long strings, a text is the same JSON, or none.
fn abridged(text: &str, piece: usize) {
    let long = text.replacen(' ', &" ".repeat(5000), 20);
    let mut abridged = usage::Abridged::default();
    let mut rest = long.as_str();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rest.ceil_char_boundary(piece));
        abridged.push(piece);
        rest = left;
    }
    assert_eq!(usage::read_json(abridged.kept()), usage::read_json(&long), "abridged");
}

/// A second opinion: the figures of chat completions, where nothing else interferes.
fn agree(answer: &usage::Answer, tree: &Value) {
    let Some(object) = tree.as_object() else { return };
    let lone = object
        .keys()
        .all(|key| matches!(key.as_str(), "id" | "model" | "usage" | "choices" | "object"));
    let Some(reported) = object.get("usage").and_then(Value::as_object).filter(|_| lone) else {
        return;
    };
    let of_chat = |key: &String| matches!(key.as_str(), "prompt_tokens" | "completion_tokens" | "total_tokens");
    // Of what occurs twice the tree knows the last, the tap the last that is a count.
    if reported.keys().all(of_chat) && reported.values().all(Value::is_u64) {
        // Beside a zero another API's name would count.
        let figure = |key| reported.get(key).and_then(Value::as_u64).filter(|count| *count > 0);
        if let Some(input) = figure("prompt_tokens") {
            assert_eq!(answer.usage.input, Some(input));
        }
        if let Some(output) = figure("completion_tokens") {
            assert_eq!(answer.usage.output, Some(output));
        }
    }
}

fn socket(body: &[u8], piece: usize) {
    let now = Instant::now();
    let read = |piece: usize| {
        let mut tap = SocketTap::new(Operation::Chat);
        for (side, bytes) in body.chunks(64).enumerate() {
            for bytes in bytes.chunks(piece) {
                match side % 2 {
                    0 => tap.from_server(bytes, now),
                    _ => tap.from_client(bytes, now),
                }
            }
        }
        tap.finish(now);
        let turns: Vec<Turn> = std::iter::from_fn(|| tap.next_turn()).collect();
        turns.iter().for_each(|turn| bounded(&turn.answer));
        (turns, tap.close())
    };
    assert_eq!(read(piece), read(usize::MAX), "the split changed what was read");
}
