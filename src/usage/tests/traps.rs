//! What users and models write is never taken for a figure, and odd values are not guessed at.

use super::*;

const FAKE: &str = r#"{"usage":{"prompt_tokens":666,"completion_tokens":666,"input_tokens":666,"output_tokens":666},"usageMetadata":{"promptTokenCount":666},"eval_count":666,"prompt_eval_count":666,"prompt_tokens":666,"model":"fake","timings":{"prompt_n":666},"id":"fake","error":{"type":"fake"},"finish_reason":"fake","stop_reason":"fake","status":"failed"}"#;

/// Answers with a place where a user or a model may write any JSON, marked `@`.
const SPOTS: &[&str] = &[
    r#"{"choices":[{"message":{"content":@}}]}"#,
    r#"{"choices":[{"message":@}]}"#,
    r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":@}}]}}]}"#,
    r#"{"choices":[{"message":{"annotations":[@]}}]}"#,
    r#"{"choices":[{"delta":@}]}"#,
    r#"{"choices":[{"delta":{"content":@}}]}"#,
    r#"{"choices":[{"delta":{"tool_calls":[@]}}]}"#,
    r#"{"choices":[{"logprobs":@}]}"#,
    r#"{"choices":[{"text":@}]}"#,
    r#"{"choices":[[@]]}"#,
    r#"{"metadata":@}"#,
    r#"{"output":[{"type":"function_call","arguments":@}]}"#,
    r#"{"output":[@]}"#,
    r#"{"tools":[@],"text":{"format":{"schema":@}},"prompt":@}"#,
    r#"{"type":"response.output_item.done","item":@}"#,
    r#"{"type":"response.output_text.delta","delta":{"content":@}}"#,
    r#"{"type":"response.created","response":{"metadata":@,"output":[@],"tools":[@]}}"#,
    r#"{"content":[{"type":"tool_use","input":@}]}"#,
    r#"{"content":@}"#,
    r#"{"type":"content_block_start","content_block":{"input":@}}"#,
    r#"{"type":"message_start","message":{"content":[@],"container":@}}"#,
    r#"{"message":{"role":"assistant","content":"","tool_calls":[{"function":{"arguments":@}}]}}"#,
    r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":@}}]}}]}"#,
    r#"{"candidates":[{"content":@}]}"#,
    r#"{"candidates":[{"groundingMetadata":@,"citationMetadata":@}]}"#,
    r#"{"usage":{"server_tool_use":@,"iterations":[@]}}"#,
    r#"{"usage":[@]}"#,
    r#"{"usage":{"prompt_tokens_details":[@],"usage":@}}"#,
    r#"{"tool_usage":{"image_gen":@}}"#,
    r#"{"generation_settings":@,"prompt_progress":@}"#,
    r#"[[@]]"#,
    r#"{"usage ":@,"Usage":@,"\u0055sage":@,"usag":@,"":@}"#,
];

#[test]
fn nothing_is_read_where_users_and_models_write() {
    let quoted = serde_json::to_string(FAKE).unwrap();
    for spot in SPOTS {
        for fake in [FAKE, &quoted, &format!("[{FAKE}]")] {
            let text = spot.replace('@', fake);
            let clean = spot.replace('@', "0");
            let expected = read_json(&clean).unwrap();
            assert_eq!(expected.usage, Usage::default(), "{clean}");
            assert_eq!(read_json(&text), Ok(expected.clone()), "{text}");
            for kind in [&b"application/json"[..], b"application/x-ndjson"] {
                let mut tap = Tap::new(Operation::Chat, Some(kind), None);
                tap.push(text.as_bytes());
                assert_eq!(tap.answer(), &expected, "{text}");
            }
            let mut tap = Tap::new(Operation::Chat, Some(b"text/event-stream"), None);
            tap.push(format!("data: {text}\n\n").as_bytes());
            assert_eq!(tap.answer(), &expected, "{text}");
        }
    }
}

#[test]
fn text_that_looks_like_an_event_is_none() {
    let mut tap = Tap::new(Operation::Chat, Some(b"text/event-stream"), None);
    let event = serde_json::json!({"choices": [{"delta": {"content": format!("\n\ndata: {FAKE}\n\n")}}]});
    tap.push(format!(": data: {FAKE}\nevent: data: {FAKE}\ndata: {event}\n\n").as_bytes());
    assert_eq!(tap.answer(), &Answer::default());
}

#[test]
fn odd_figures_are_refused_or_saturate() {
    for (figure, expected) in [
        ("7", Some(7)),
        ("0", Some(0)),
        ("7.0", Some(7)),
        ("7e2", Some(700)),
        ("1.5e1", Some(15)),
        ("0.0", Some(0)),
        ("9007199254740993", Some(9_007_199_254_740_993)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", Some(u64::MAX)),
        ("99999999999999999999999", Some(u64::MAX)),
        ("1e30", Some(u64::MAX)),
        ("1e999", Some(u64::MAX)),
        ("7.5", None),
        ("-7", None),
        ("-0", None),
        ("-7.0", None),
        ("-1e999", None),
        ("null", None),
        ("true", None),
        ("\"7\"", None),
        ("[7]", None),
        ("{\"prompt_tokens\":7}", None),
        ("1.0000000000000000000000000000000000000000", None),
    ] {
        let text = format!(r#"{{"usage":{{"prompt_tokens":{figure},"completion_tokens":1}}}}"#);
        let usage = read_json(&text).unwrap().usage;
        assert_eq!((usage.input, usage.output), (expected, Some(1)), "{figure}");
        let mut tap = Tap::new(Operation::Chat, None, None);
        tap.push(text.as_bytes());
        assert_eq!(tap.answer().usage, usage, "{figure}");
    }
}

#[test]
fn absent_null_and_zero_are_three_things() {
    for (text, reported, missing) in [
        ("{}", Reported::Absent, Some(Missing::Absent)),
        (r#"{"usage":null}"#, Reported::Null, Some(Missing::Null)),
        (r#"{"usage":{}}"#, Reported::Present, Some(Missing::Absent)),
        (
            r#"{"usage":{"prompt_tokens":null}}"#,
            Reported::Present,
            Some(Missing::Absent),
        ),
        (r#"{"usage":{"prompt_tokens":0}}"#, Reported::Present, None),
        (r#"{"usage":7}"#, Reported::Absent, Some(Missing::Absent)),
        (r#"{"usage":{"prompt_tokens":1},"usage":null}"#, Reported::Present, None),
    ] {
        assert_eq!(read_json(text).unwrap().reported, reported, "{text}");
        let mut tap = Tap::new(Operation::Chat, Some(b"application/json"), None);
        tap.push(text.as_bytes());
        tap.finish(true);
        assert_eq!(tap.missing(), missing, "{text}");
    }
}

#[test]
fn of_a_key_that_occurs_twice_the_last_value_counts() {
    let text = r#"{"model":"a","usage":{"prompt_tokens":1},"model":"b","usage":{"prompt_tokens":2,"prompt_tokens":3}}"#;
    let answer = read_json(text).unwrap();
    assert_eq!((answer.model.as_deref(), answer.usage.input), (Some("b"), Some(3)));
    assert_eq!(
        read_request(r#"{"model":"a","n":1,"model":"b","n":2}"#).choice_count,
        Some(2)
    );
}

#[test]
fn what_is_kept_has_bounds() {
    let long = "é".repeat(1000);
    let choices: Vec<String> = (0..100)
        .map(|n| format!(r#"{{"index":{n},"finish_reason":"stop"}}"#))
        .collect();
    let text = format!(
        r#"{{"id":"x{long}","model":"{long}","choices":[{}]}}"#,
        choices.join(",")
    );
    let answer = read_json(&text).unwrap();
    assert_eq!(answer.model.as_deref(), Some(&*"é".repeat(128)));
    assert_eq!(answer.id.as_deref(), Some(&*format!("x{}", "é".repeat(127))));
    assert_eq!(answer.finish_reasons.len(), 16);
    let mut tap = Tap::new(Operation::Chat, None, None);
    for piece in Chance(1).pieces(text.as_bytes(), 40) {
        tap.push(piece);
    }
    assert_eq!(tap.answer(), &answer);
}

#[test]
fn escapes_are_resolved_as_json_means_them() {
    for (written, meant) in [
        (r"a\/b\u002dc\n", "a/b-c\n"),
        (r"\u00e9\uD83D\uDE00", "é😀"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ude00", "\u{fffd}"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud83d\n", "\u{fffd}\n"),
    ] {
        let text = format!(r#"{{"m\u006fdel":"{written}"}}"#);
        assert_eq!(read_json(&text).unwrap().model.as_deref(), Some(meant), "{written}");
        let mut tap = Tap::new(Operation::Chat, None, None);
        for byte in text.as_bytes().chunks(1) {
            tap.push(byte);
        }
        assert_eq!(tap.answer().model.as_deref(), Some(meant), "{written}");
    }
}
