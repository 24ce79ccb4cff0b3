//! The inputs: always the same bytes, in the shapes that models and their callers write.

use crate::KIB;

/// A chat request of at least `size` bytes: one short message after the other, with escapes and some UTF-8.
#[must_use]
pub fn request(size: usize) -> String {
    let head = r#"{"model":"gpt-4o","temperature":0.7,"max_completion_tokens":512,"messages":["#;
    fill(head, MESSAGE, ",", r#"],"user":"u-1"}"#, size)
}

/// A chat completion of at least `size` bytes, with its usage at the end.
#[must_use]
pub fn completion(size: usize) -> String {
    let head = concat!(
        r#"{"id":"chatcmpl-C1","object":"chat.completion","created":1741569952,"model":"gpt-4o-2024-08-06","choices":["#,
        r#"{"index":0,"logprobs":null,"finish_reason":"stop","message":{"role":"assistant","refusal":null,"content":""#,
    );
    let tail = format!(r#""}}}}],"usage":{USAGE},"service_tier":"default","system_fingerprint":"fp_44709d6fcb"}}"#);
    fill(head, TEXT, "", &tail, size)
}

/// An answer of at least `size` bytes that is all numbers.
#[must_use]
pub fn embeddings(size: usize) -> String {
    let head = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":["#;
    let tail = r#"]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    fill(head, "-0.006929283495992422,0.0225", ",", tail, size)
}

/// A streamed chat completion of at least `size` bytes, a word in each event and the usage in the last.
#[must_use]
pub fn events(size: usize) -> String {
    let chunk = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-C1\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,\
             \"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\",\
             \"choices\":{choices},\"usage\":{usage}}}\n\n"
        )
    };
    let word = chunk(
        r#"[{"index":0,"delta":{"content":" bridge"},"logprobs":null,"finish_reason":null}]"#,
        "null",
    );
    let tail = format!("{}data: [DONE]\n\n", chunk("[]", USAGE));
    fill("", &word, "", &tail, size)
}

/// Both sides of a Responses WebSocket, after the handshake.
#[derive(Debug)]
pub struct Talk {
    /// What the client writes, masked.
    pub client: Vec<u8>,
    /// What the server writes.
    pub server: Vec<u8>,
}

/// Talk of at least `size` bytes on each side: one large question, its answer in small events.
#[must_use]
pub fn talk(size: usize) -> Talk {
    let question = fill(
        r#"{"type":"response.create","model":"gpt-5","input":["#,
        MESSAGE,
        ",",
        "]}",
        size,
    );
    let response = |status: &str, usage: &str| {
        format!(
            r#"{{"type":"response.{status}","sequence_number":0,"response":{{"id":"resp_1","object":"response","status":"{status}","model":"gpt-5","usage":{usage}}}}}"#
        )
    };
    let mut delta = Vec::new();
    let said = r#"{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" bridge","obfuscation":"aB3"}"#;
    frame(&mut delta, said, None);
    let mut talk = Talk {
        client: Vec::new(),
        server: Vec::new(),
    };
    frame(&mut talk.client, &question, Some([7, 31, 127, 200]));
    frame(&mut talk.server, &response("created", "null"), None);
    while talk.server.len() < size {
        talk.server.extend_from_slice(&delta);
    }
    let usage = r#"{"input_tokens":19,"output_tokens":10,"total_tokens":29}"#;
    frame(&mut talk.server, &response("completed", usage), None);
    talk
}

/// One WebSocket text message in one frame (RFC 6455 §5.2).
fn frame(to: &mut Vec<u8>, text: &str, mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    to.push(0x81);
    match text.len() {
        len @ 0..=125 => to.push(masked | len as u8),
        len @ 126..=0xFFFF => {
            to.push(masked | 126);
            to.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            to.push(masked | 127);
            to.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    to.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    to.extend(text.bytes().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// `head`, as many `piece`s as make `size` bytes, `tail`.
fn fill(head: &str, piece: &str, between: &str, tail: &str, size: usize) -> String {
    let mut text = String::with_capacity(size + head.len() + piece.len() + tail.len() + KIB);
    text.push_str(head);
    text.push_str(piece);
    while text.len() + tail.len() < size {
        text.push_str(between);
        text.push_str(piece);
    }
    text.push_str(tail);
    text
}

const MESSAGE: &str = r#"{"role":"user","content":"The platform said: \"Reach the model!\"\nBut no road led there – not even over the bridge at Königsberg, whose seven spans nobody has ever crossed once each."}"#;
const TEXT: &str = r#"A bridge carries what is put on it.\n\n1. It does not ask \"why?\".\n2. It does not keep what crosses, größer or smaller, and it counts each crossing once, as the toll says.\n"#;
const USAGE: &str = r#"{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}"#;
