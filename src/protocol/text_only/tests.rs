//! Answers full of what the contract does not name.

use serde_json::{Value, json};

use super::*;

fn known(path: &str) -> Known<'_> {
    Known {
        path,
        id: "r\"1",
        model: Some("asked-for"),
        created: 1_700_000_000,
    }
}

fn reduced(path: &str, body: &str) -> Value {
    serde_json::from_str(&reduce(&known(path), body).unwrap()).unwrap()
}

fn misfit(path: &str, body: &Value) -> String {
    reduce(&known(path), &body.to_string()).unwrap_err().to_string()
}

// PROTOCOL §1: a minimal completion object
#[test]
fn a_completion_keeps_role_content_finish_reason_and_usage() {
    let body = r#"{"id":"chatcmpl-LEAK","created":7,"model":"/srv/LEAK","system_fingerprint":"LEAK","service_tier":"LEAK",
        "choices":[{"index":3,"logprobs":{"content":[{"token":"LEAK"}]},"finish_reason":"stop","stop_reason":"LEAK",
        "message":{"role":"assistant","content":"a\u00e9\/\"b","reasoning_content":"LEAK","annotations":["LEAK"],"refusal":"LEAK",
        "tool_calls":[{"id":"LEAK"}],"audio":{"data":"LEAK"}}}],"x-host":"LEAK",
        "usage":{"prompt_tokens":12345678901234567890,"completion_tokens":2,"total_tokens":"LEAK","cost":9.5,
        "prompt_tokens_details":{"cached_tokens":1,"LEAK":2},"completion_tokens_details":{"reasoning_tokens":4}},"prompt":"LEAK"}"#;
    assert_eq!(
        reduce(&known(CHAT), body).unwrap(),
        concat!(
            r#"{"object":"chat.completion","created":1700000000,"id":"r\"1","model":"asked-for","#,
            r#""choices":[{"index":0,"message":{"role":"assistant","content":"a\u00e9\/\"b"},"logprobs":null,"finish_reason":"stop"}],"#,
            r#""usage":{"prompt_tokens":12345678901234567890,"completion_tokens":2,"#,
            r#""prompt_tokens_details":{"cached_tokens":1},"completion_tokens_details":{"reasoning_tokens":4}}}"#
        )
    );
}

// PROTOCOL §1: the responses body
#[test]
fn a_response_keeps_messages_status_and_usage() {
    let body = json!({
        "id": "resp_LEAK", "object": "LEAK", "status": "incomplete", "instructions": "LEAK", "metadata": {"LEAK": "LEAK"},
        "tools": [{"LEAK": 1}], "previous_response_id": "LEAK", "user": "LEAK",
        "incomplete_details": {"reason": "max_output_tokens", "more": "LEAK"},
        "output": [
            {"type": "reasoning", "summary": [{"text": "LEAK"}], "encrypted_content": "LEAK"},
            {"type": "message", "id": "msg_LEAK", "role": "assistant", "status": "incomplete", "phase": "LEAK", "content": [
                {"type": "output_text", "text": "one", "annotations": [{"url": "LEAK"}], "logprobs": ["LEAK"]},
                {"type": "refusal", "refusal": "LEAK"}, {"type": "output_text", "text": "two"}]},
            {"type": "function_call", "arguments": "LEAK"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 1, "LEAK": 1}},
    });
    let seen = reduced(RESPONSES, &body.to_string());
    assert_eq!(
        seen,
        json!({
            "id": "r\"1", "object": "response", "created_at": 1_700_000_000, "model": "asked-for", "status": "incomplete",
            "error": null, "incomplete_details": {"reason": "max_output_tokens"}, "instructions": null, "metadata": {},
            "parallel_tool_calls": false, "temperature": null, "tool_choice": "none", "tools": [], "top_p": null,
            "output": [{"id": "msg_0", "type": "message", "status": "incomplete", "role": "assistant", "content": [
                {"type": "output_text", "annotations": [], "text": "one"},
                {"type": "output_text", "annotations": [], "text": "two"}]}],
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 1}},
        })
    );
    let failed = json!({"status": "failed", "output": [], "error": {"code": "server_error", "message": "it broke", "host": "LEAK"}});
    let seen = reduced(RESPONSES, &failed.to_string());
    assert_eq!(seen["error"], json!({"code": "server_error", "message": "it broke"}));
}

#[test]
fn a_text_completion_keeps_its_texts() {
    let body = json!({"choices": [{"text": "a", "finish_reason": "length", "prompt_logprobs": "LEAK"}, {"text": "b"}], "usage": null});
    let seen = reduced(COMPLETIONS, &body.to_string());
    assert_eq!(
        seen["choices"],
        json!([{"index": 0, "text": "a", "logprobs": null, "finish_reason": "length"},
            {"index": 1, "text": "b", "logprobs": null, "finish_reason": null}])
    );
    assert!(seen.get("usage").is_none());
}

#[test]
fn what_does_not_fit_is_refused_and_never_quoted() {
    let choice = |choice: Value| json!({ "choices": [choice] });
    let message = |message: Value| json!({"choices": [{"message": message}]});
    for body in [
        json!({}),
        json!([]),
        json!("LEAK"),
        json!({"choices": {}}),
        json!({"choices": []}),
        json!({"choices": "LEAK"}),
        json!({"error": {"message": "LEAK"}}),
        choice(json!("LEAK")),
        choice(json!({})),
        choice(json!({"text": "LEAK"})),
        message(json!(["LEAK"])),
        message(json!({"content": "LEAK"})),
        message(json!({"role": "LEAK", "content": "x"})),
        message(json!({"role": "assistant"})),
        message(json!({"role": "assistant", "content": 7})),
        message(json!({"role": "assistant", "content": [{"type": "text", "text": "LEAK"}]})),
        json!({"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": ["LEAK"]}}]}),
        json!({"choices": vec![json!({"message": {"role": "assistant", "content": ""}}); 1025]}),
    ] {
        assert!(!misfit(CHAT, &body).contains("LEAK"), "{body:.80}");
    }
    let items = |items: Value| json!({ "output": items });
    for body in [
        json!({}),
        items(json!("LEAK")),
        items(json!([])),
        items(json!(["LEAK"])),
        items(json!([{"type": "function_call", "arguments": "LEAK"}])),
        items(json!([{"type": "message", "role": "user", "content": []}])),
        items(json!([{"type": "message", "role": "assistant", "content": "LEAK"}])),
        items(
            json!([{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": {"LEAK": 1}}]}]),
        ),
        json!({"status": "LEAK", "output": []}),
    ] {
        assert!(!misfit(RESPONSES, &body).contains("LEAK"), "{body:.80}");
    }
    for path in ["/v1/embeddings", "/v1/models", "/", ""] {
        assert!(misfit(path, &json!({"data": "LEAK"})).contains("no answer of this endpoint"));
    }
}

#[test]
fn an_answer_that_was_cut_before_its_first_word_passes_with_its_reason() {
    for reason in ["length", "content_filter"] {
        let body = json!({"choices": [{"finish_reason": reason, "message": {"role": "assistant", "content": null, "reasoning": "LEAK"}}]});
        let choice = &reduced(CHAT, &body.to_string())["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&Value::Null, &json!(reason))
        );
    }
}

#[test]
fn a_reason_that_is_no_word_and_a_count_that_is_no_number_are_left_out() {
    for reason in [
        json!("LEAK"),
        json!("a b"),
        json!("x".repeat(33)),
        json!(7),
        json!(["LEAK"]),
        json!(""),
        json!("\""),
    ] {
        let body = json!({"choices": [{"finish_reason": reason, "message": {"role": "assistant", "content": "x"}}],
            "usage": {"prompt_tokens": -1, "completion_tokens": 1.5, "total_tokens": {"LEAK": 1}}});
        let seen = reduced(CHAT, &body.to_string());
        assert_eq!(
            (&seen["choices"][0]["finish_reason"], seen.get("usage")),
            (&Value::Null, None)
        );
    }
}

#[test]
fn of_a_key_that_occurs_twice_the_last_value_counts_and_the_first_is_gone() {
    let body = r#"{"choices":["LEAK"],"choices":[{"message":{"role":"LEAK","content":"LEAK","role":"assistant","content":"x"},
        "message":{"content":"LEAK","role":"assistant","content":"y"}}],"usage":{"prompt_tokens":98765},"usage":{"prompt_tokens":1,"prompt_tokens":2}}"#;
    let text = reduce(&known(CHAT), body).unwrap();
    assert!(!text.contains("LEAK") && !text.contains("98765"), "{text}");
    let seen: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&seen["choices"][0]["message"]["content"], &seen["usage"]),
        (&json!("y"), &json!({"prompt_tokens": 2}))
    );
}

#[test]
fn depth_and_size_of_what_is_skipped_do_not_matter() {
    let deep = format!("{}\"LEAK\"{}", "[{\"a\":".repeat(100_000), "}]".repeat(100_000));
    let huge = "LEAK".repeat(2_000_000);
    let body = format!(
        r#"{{"x":{deep},"y":"{huge}","choices":[{{"message":{{"role":"assistant","z":{deep},"content":"ok"}},"logprobs":{deep}}}],"usage":{deep}}}"#
    );
    let text = reduce(&known(CHAT), &body).unwrap();
    assert!(text.len() < 300 && text.contains(r#""content":"ok""#), "{text:.300}");
}

// PROTOCOL §1: standard HTTP error status
#[test]
fn an_error_keeps_its_message_and_nothing_else() {
    let full = r#"{"error":{"message":"no \u00e9","type":"LEAK","param":"LEAK","code":"LEAK","trace":["LEAK"]},"host":"LEAK"}"#;
    assert_eq!(reduce_error(400, Some(full)), r#"{"error":{"message":"no \u00e9"}}"#);
    for other in [
        Some(r#"{"detail":"LEAK"}"#),
        Some(r#"{"error":"LEAK"}"#),
        Some(r#"{"error":{"message":{"LEAK":1}}}"#),
        Some(r#"["LEAK"]"#),
        Some("<h1>LEAK"),
        None,
    ] {
        let reduced: Value = serde_json::from_str(&reduce_error(502, other)).unwrap();
        let message = reduced["error"]["message"].as_str().unwrap();
        assert!(message.contains("status 502") && !message.contains("LEAK"), "{message}");
    }
}

/// Random answers that fit the contract, with random extras everywhere: of these no byte is left, of the rest all.
#[test]
fn no_byte_of_any_extra_survives_and_none_of_a_text_is_lost() {
    for seed in 1..=3000_u64 {
        let mut random = Random(seed);
        let path = PATHS[random.below(3)];
        let mut texts = Vec::new();
        let body = random.answer(path, &mut texts);
        assert!(serde_json::from_str::<Value>(&body).is_ok(), "seed {seed}: {body}");
        let text = reduce(&known(path), &body).unwrap_or_else(|misfit| panic!("seed {seed}: {misfit}: {body}"));
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "seed {seed}: {text}");
        for leaked in ["LEAK", "777", "\\u004c"] {
            assert!(!text.contains(leaked), "seed {seed}: {text}\nfrom {body}");
        }
        let mut rest = text.as_str();
        for said in &texts {
            let at = rest.find(said.as_str());
            let at = at.unwrap_or_else(|| panic!("seed {seed}: {said} is lost in {text}"));
            rest = &rest[at + said.len()..];
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    /// Any JSON value that must not get through.
    fn extra(&mut self, depth: usize) -> String {
        match self.below(if depth > 3 { 5 } else { 7 }) {
            0 => r#""LEAK""#.to_owned(),
            1 => "777".to_owned(),
            2 => "[777.777e7,null,true]".to_owned(),
            3 => r#""\u004cEAK \" ] } \\""#.to_owned(),
            4 => "\"LEAKé\u{1F600}\"".to_owned(),
            5 => format!("[{},{}]", self.extra(depth + 1), self.extra(depth + 1)),
            _ => format!(
                r#"{{"LEAK":{},"content":{}}}"#,
                self.extra(depth + 1),
                self.extra(depth + 1)
            ),
        }
    }

    /// An object with these members in order, and extras between, before and behind them, some under the same key.
    fn object(&mut self, members: &[(&str, String)]) -> String {
        let mut all = Vec::new();
        for (key, value) in members {
            for _ in 0..self.below(3) {
                let names = [
                    "LEAK",
                    "id",
                    "reasoning_content",
                    "tool_calls",
                    "annotations",
                    "logprobs",
                    "created",
                    "",
                    "Content",
                    key,
                ];
                let name = names[self.below(names.len())];
                all.push(format!("\"{name}\":{}", self.extra(0)));
            }
            all.push(format!("\"{key}\" : {value}"));
        }
        if self.below(2) == 0 {
            all.push(format!("\"LEAK777\":{}", self.extra(0)));
        }
        format!("{{{}}}", all.join(","))
    }

    /// A text to be kept, as it is written.
    fn text(&mut self, texts: &mut Vec<String>) -> String {
        let pieces = [
            "a",
            "é",
            r"\u00e9",
            r"\n",
            r#"\""#,
            r"\\",
            r"\/",
            "}",
            "],",
            "0",
            "\u{2028}",
            r"\ud83d\ude00",
        ];
        let count = 1 + self.below(8);
        let inner: String = (0..count).map(|_| pieces[self.below(pieces.len())]).collect();
        let text = format!("\"{}{inner}\"", texts.len());
        texts.push(text.clone());
        text
    }

    fn usage(&mut self, words: [&str; 2]) -> String {
        let members = words.map(|word| (word, self.below(1000).to_string().replace('7', "1")));
        self.object(&members)
    }

    fn answer(&mut self, path: &str, texts: &mut Vec<String>) -> String {
        let count = 1 + self.below(3);
        let parts: Vec<String> = (0..count).map(|_| self.part(path, texts)).collect();
        let parts = format!("[{}]", parts.join(" , "));
        match path {
            RESPONSES => {
                let usage = self.usage(["input_tokens", "output_tokens"]);
                self.object(&[
                    ("status", r#""completed""#.to_owned()),
                    ("output", parts),
                    ("usage", usage),
                ])
            }
            _ => {
                let usage = self.usage(["prompt_tokens", "completion_tokens"]);
                self.object(&[("choices", parts), ("usage", usage)])
            }
        }
    }

    fn part(&mut self, path: &str, texts: &mut Vec<String>) -> String {
        let text = self.text(texts);
        let role = ("role", r#""assistant""#.to_owned());
        let reason = ("finish_reason", r#""stop""#.to_owned());
        match path {
            CHAT => {
                let message = self.object(&[role, ("content", text)]);
                self.object(&[("message", message), reason])
            }
            COMPLETIONS => self.object(&[("text", text), reason]),
            _ => {
                let part = self.object(&[("type", r#""output_text""#.to_owned()), ("text", text)]);
                let other = format!(r#"{{"type":"LEAK","text":{}}}"#, self.extra(0));
                let content = format!("[{part},{other}]");
                self.object(&[("type", r#""message""#.to_owned()), role, ("content", content)])
            }
        }
    }
}
