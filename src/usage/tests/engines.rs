//! Both engines agree on all JSON, in any split; what is none does no harm.

use super::*;

/// Keys that lead somewhere, and some that do not.
const KEYS: &[&str] = &[
    "usage",
    "response",
    "message",
    "choices",
    "candidates",
    "delta",
    "usageMetadata",
    "timings",
    "x_groq",
    "svg_usage",
    "error",
    "status",
    "incomplete_details",
    "status_details",
    "reason",
    "type",
    "code",
    "id",
    "model",
    "service_tier",
    "system_fingerprint",
    "finish_reason",
    "finishReason",
    "stop_reason",
    "stop_type",
    "index",
    "content",
    "parts",
    "text",
    "tool_calls",
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "prompt_tokens_details",
    "input_token_details",
    "output_tokens_details",
    "cache_creation",
    "audio_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "ephemeral_1h_input_tokens",
    "reasoning_tokens",
    "promptTokenCount",
    "thoughtsTokenCount",
    "promptTokensDetails",
    "candidatesTokensDetails",
    "modality",
    "tokenCount",
    "prompt_eval_count",
    "eval_count",
    "prompt_n",
    "cache_n",
    "seconds",
    "stream",
    "stream_options",
    "include_usage",
    "options",
    "generationConfig",
    "thinkingConfig",
    "reasoning",
    "effort",
    "temperature",
    "seed",
    "n",
    "max_tokens",
    "top_p",
    "other",
    "",
    "us\\u0061ge",
    "\\ud800",
    "é",
    "a very long key that is not known to anyone at all",
];
const SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "7",
    "-1",
    "3.0",
    "2.5",
    "1e3",
    "1e999",
    "-1e999",
    "18446744073709551616",
    "0.1e-400",
    "123456789012345678901234567890123456789012345678901234567890",
    "\"\"",
    "\"stop\"",
    "\"completed\"",
    "\"error\"",
    "\"duration\"",
    "\"AUDIO\"",
    "\"a\\\"b\\\\c\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\ude00x\"",
    "\"éé\"",
    "\"{\\\"usage\\\":{\\\"input_tokens\\\":1}}\"",
    "\"[}{]\"",
];
const SPACES: &[&str] = &["", "", "", " ", "\n", "\t ", "\r\n"];

/// Any JSON value, mostly where something is read.
fn value(chance: &mut Chance, depth: usize, out: &mut String) {
    out.push_str(chance.of(SPACES));
    match chance.below(if depth == 0 { 1 } else { 4 }) {
        0 => out.push_str(chance.of(SCALARS)),
        1 => list(chance, ('[', ']'), out, |chance, out| value(chance, depth - 1, out)),
        _ => list(chance, ('{', '}'), out, |chance, out| {
            out.push_str(chance.of(SPACES));
            out.push('"');
            out.push_str(chance.of(KEYS));
            out.push('"');
            out.push_str(chance.of(SPACES));
            out.push(':');
            value(chance, depth - 1, out);
        }),
    }
    out.push_str(chance.of(SPACES));
}

fn list(chance: &mut Chance, (open, close): (char, char), out: &mut String, item: impl Fn(&mut Chance, &mut String)) {
    out.push(open);
    for n in 0..chance.below(9) {
        if n > 0 {
            out.push(',');
        }
        item(chance, out);
    }
    out.push_str(chance.of(SPACES));
    out.push(close);
}

fn tapped(pieces: &[&[u8]]) -> Answer {
    // JSON by its type, so that a document that is one number is read, too.
    let mut tap = Tap::new(Operation::Chat, Some(b"application/json"), None);
    for piece in pieces {
        tap.push(piece);
    }
    tap.finish(true);
    tap.answer().clone()
}

fn request_tapped(pieces: &[&[u8]]) -> Request {
    let mut tap = RequestTap::new();
    for piece in pieces {
        tap.push(piece);
    }
    tap.finish()
}

#[test]
fn both_engines_agree_on_any_json_in_any_split() {
    let mut read = 0;
    for seed in 1..=2000 {
        let chance = &mut Chance(seed);
        let mut text = String::new();
        // Often an object, where more is read.
        value(chance, 5, &mut text);
        while !text.trim_start().starts_with('{') && chance.below(20) > 0 {
            text.clear();
            value(chance, 5, &mut text);
        }
        let answer = read_json(&text).unwrap_or_else(|_| panic!("not JSON, seed {seed}: {text}"));
        let request = read_request(&text);
        read += usize::from(answer != Answer::default());
        for most in [1, 4, 60, usize::MAX - 1] {
            let pieces = chance.pieces(text.as_bytes(), most);
            assert_eq!(tapped(&pieces), answer, "seed {seed}: {text}");
            assert_eq!(request_tapped(&pieces), request, "seed {seed}: {text}");
        }
    }
    assert!(read > 300, "only {read} of the documents said anything");
}

#[test]
fn what_the_grammar_allows_is_json_even_where_a_parser_refuses_it() {
    for text in [
        r#"{"usage":1e999,"model":"m"}"#,
        r#"{"\ud800":1,"model":"m"}"#,
        r#"{"error":"\ud800","model":"m"}"#,
        r#"{"response":"\udfff","model":"m"}"#,
    ] {
        assert_eq!(read_json(text).unwrap().model.as_deref(), Some("m"), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read_json(&deep), Ok(Answer::default()));
    let deep = format!(r#"{{"x":{deep},"choices":{deep},"model":"m"}}"#);
    assert_eq!(read_json(&deep).unwrap().model.as_deref(), Some("m"));
    assert_eq!(tapped(&[deep.as_bytes()]).model.as_deref(), Some("m"));
}

#[test]
fn what_is_not_json_is_no_harm() {
    let marks = b"{}[]\":,\\u0012ntfdeata: \r\n-.eE+ \xff\xc3\xa9usage";
    for seed in 1..=4000 {
        let chance = &mut Chance(seed);
        let mut bytes = Vec::new();
        for _ in 0..chance.below(400) {
            match chance.below(4) {
                0 => bytes.extend_from_slice(format!("\"{}\":", chance.of(KEYS)).as_bytes()),
                1 => bytes.extend_from_slice(chance.of(SCALARS).as_bytes()),
                _ => bytes.push(chance.of(marks)),
            }
        }
        for kind in [None, Some(&b"text/event-stream"[..]), Some(b"application/x-ndjson")] {
            let run = |pieces: &[&[u8]]| {
                let mut tap = Tap::new(Operation::Chat, kind, None);
                let outputs = pieces.iter().filter(|piece| tap.push(piece).first_output).count();
                tap.finish(true);
                (tap.answer().clone(), tap.missing(), tap.is_stream(), outputs)
            };
            let whole = run(&[&bytes]);
            assert!(whole.0.finish_reasons.len() <= 16);
            assert_eq!(run(&chance.pieces(&bytes, 3)), whole, "seed {seed}, {kind:?}");
        }
        let whole = request_tapped(&[&bytes]);
        assert_eq!(request_tapped(&chance.pieces(&bytes, 3)), whole, "seed {seed}");
    }
}

#[test]
fn a_broken_document_is_told_and_keeps_what_it_said() {
    for (text, missing) in [
        (&b"<html>"[..], Some(Missing::Unreadable)),
        (b"{", Some(Missing::Unreadable)),
        (b"{}}", Some(Missing::Unreadable)),
        (b"{\"a\" 1}", Some(Missing::Unreadable)),
        (b"\"text\"", Some(Missing::Unreadable)),
        (b"", Some(Missing::Absent)),
        (b" \r\n", Some(Missing::Absent)),
        (b"\xef\xbb\xbf {}", Some(Missing::Absent)),
        (b"{\"usage\":{\"prompt_tokens\":1}", None),
    ] {
        let mut tap = Tap::new(Operation::Chat, Some(b"application/json"), None);
        tap.push(text);
        assert_eq!(tap.missing(), None, "not finished");
        tap.finish(true);
        assert_eq!(tap.missing(), missing, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn requests_of_every_api_are_read() {
    let chat = read_request(
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"{\"model\":\"x\"}"}],"stream":true,
        "stream_options":{"include_usage":true},"max_completion_tokens":100,"n":2,"seed":-5,"temperature":0.2,"top_p":1,
        "frequency_penalty":-0.5,"presence_penalty":0.25,"service_tier":"flex","reasoning_effort":"low",
        "metadata":{"model":"y","stream":false}}"#,
    );
    let expected = Request {
        model: Some("gpt-4o".into()),
        stream: Some(true),
        include_usage: Some(true),
        max_tokens: Some(100),
        choice_count: Some(2),
        seed: Some(-5),
        temperature: Some(0.2),
        top_p: Some(1.0),
        frequency_penalty: Some(-0.5),
        presence_penalty: Some(0.25),
        service_tier: Some("flex".into()),
        reasoning_effort: Some("low".into()),
        previous_response_id: None,
    };
    assert_eq!(chat, expected);
    let responses = read_request(
        r#"{"model":"gpt-5","input":[],"reasoning":{"effort":"high"},"max_output_tokens":7,"previous_response_id":"r"}"#,
    );
    assert_eq!(responses.reasoning_effort.as_deref(), Some("high"));
    assert_eq!(
        (responses.max_tokens, responses.previous_response_id.as_deref()),
        (Some(7), Some("r"))
    );
    let ollama = read_request(r#"{"model":"llama3.2","options":{"seed":1,"temperature":0,"num_predict":9}}"#);
    assert_eq!(
        (ollama.seed, ollama.temperature, ollama.max_tokens),
        (Some(1), Some(0.0), Some(9))
    );
    let gemini = read_request(
        r#"{"contents":[],"generationConfig":{"topP":0.9,"maxOutputTokens":5,"candidateCount":2,"thinkingConfig":{"thinkingLevel":"LOW"}}}"#,
    );
    assert_eq!(
        (gemini.top_p, gemini.max_tokens, gemini.choice_count),
        (Some(0.9), Some(5), Some(2))
    );
    assert_eq!(gemini.reasoning_effort.as_deref(), Some("LOW"));
    for unreadable in [
        "",
        "{",
        "{\"model\":\"m\"",
        "--boundary\r\n",
        "7",
        "[{\"model\":\"m\"}]",
    ] {
        assert_eq!(read_request(unreadable), Request::default(), "{unreadable}");
    }
}
