//! The bodies of OpenAI's two completion APIs, whole and streamed. Pure: text in, text out.

use serde_json::{Value, json};

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The `model` it names.
    pub model: String,
    /// The last thing said to the model.
    pub last: String,
    /// White-space separated words of everything said to it.
    pub tokens: usize,
    /// `stream: true`.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
}

/// Which API an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Responses,
}

/// An answer in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Composer<'a> {
    pub api: Api,
    pub question: &'a Question,
    /// Makes ids unique.
    pub number: usize,
    /// Seconds since 1970.
    pub created: u64,
}

impl Question {
    /// Reads a request body; `None` when it is no JSON object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let fields = body.as_object()?;
        let mut said = Vec::new();
        for part in ["instructions", "messages", "input"] {
            texts(fields.get(part).unwrap_or(&Value::Null), &mut said);
        }
        Some(Self {
            model: fields.get("model").and_then(Value::as_str).unwrap_or("demo").to_owned(),
            last: said.last().copied().unwrap_or_default().to_owned(),
            tokens: said.iter().map(|text| text.split_whitespace().count()).sum(),
            stream: fields.get("stream") == Some(&Value::Bool(true)),
            include_usage: body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
        })
    }

    /// What the model has to say.
    pub(super) fn reply(&self) -> String {
        format!("You said: {}", self.last)
    }
}

/// Collects what was said: strings themselves, and those under `content` and `text`.
fn texts<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(fields) => {
            for part in ["content", "text"] {
                texts(fields.get(part).unwrap_or(&Value::Null), into);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Composer<'_> {
    /// The whole answer as JSON.
    pub(super) fn whole(&self) -> String {
        self.whole_saying(&self.question.reply())
    }

    /// The whole answer, padded to exactly `size` bytes where that is possible.
    pub(super) fn sized(&self, size: usize) -> String {
        // The word count of the padding does not depend on its length, so neither do the digits of the usage.
        let smallest = self.whole_saying("a");
        let padding = size.saturating_sub(smallest.len());
        self.whole_saying(&"a".repeat(padding + 1))
    }

    // PROTOCOL §1: a minimal completion object, or the Responses body
    fn whole_saying(&self, reply: &str) -> String {
        match self.api {
            Api::Chat => json!({
                "id": self.id("chatcmpl"),
                "object": "chat.completion",
                "created": self.created,
                "model": self.question.model,
                "choices": [{
                    "index": 0,
                    "message": {"role": "assistant", "content": reply, "refusal": null},
                    "logprobs": null,
                    "finish_reason": "stop",
                }],
                "usage": self.usage(reply),
            })
            .to_string(),
            Api::Responses => self.response("completed", Some(reply)).to_string(),
        }
    }

    /// The answer as server-sent events, each one complete with its blank line.
    pub(super) fn events(&self) -> Vec<String> {
        match self.api {
            Api::Chat => self.chat_events(),
            Api::Responses => self.response_events(),
        }
    }

    fn chat_events(&self) -> Vec<String> {
        let reply = self.question.reply();
        let chunk = |choices: Value, usage: Option<Value>| {
            let mut chunk = json!({
                "id": self.id("chatcmpl"),
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.question.model,
                "choices": choices,
            });
            if let (true, Some(fields)) = (self.question.include_usage, chunk.as_object_mut()) {
                fields.insert("usage".to_owned(), usage.unwrap_or(Value::Null));
            }
            format!("data: {chunk}\n\n")
        };
        let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let mut events = vec![chunk(
            choice(json!({"role": "assistant", "content": ""}), Value::Null),
            None,
        )];
        events.extend(pieces(&reply).map(|piece| chunk(choice(json!({ "content": piece }), Value::Null), None)));
        events.push(chunk(choice(json!({}), json!("stop")), None));
        if self.question.include_usage {
            events.push(chunk(json!([]), Some(self.usage(&reply))));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn response_events(&self) -> Vec<String> {
        let reply = self.question.reply();
        let item = self.id("msg");
        let place = json!({"item_id": item, "output_index": 0, "content_index": 0});
        let placed = |mut fields: Value| {
            merge(&mut fields, &place);
            fields
        };
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let mut told = vec![
            (
                "response.created",
                json!({"response": self.response("in_progress", None)}),
            ),
            (
                "response.in_progress",
                json!({"response": self.response("in_progress", None)}),
            ),
            (
                "response.output_item.added",
                json!({"output_index": 0, "item": self.message("in_progress", None)}),
            ),
            ("response.content_part.added", placed(json!({"part": part("")}))),
        ];
        told.extend(pieces(&reply).map(|piece| ("response.output_text.delta", placed(json!({ "delta": piece })))));
        told.extend([
            ("response.output_text.done", placed(json!({"text": reply}))),
            ("response.content_part.done", placed(json!({"part": part(&reply)}))),
            (
                "response.output_item.done",
                json!({"output_index": 0, "item": self.message("completed", Some(&reply))}),
            ),
            (
                "response.completed",
                json!({"response": self.response("completed", Some(&reply))}),
            ),
        ]);
        let numbered = told.into_iter().enumerate().map(|(number, (kind, mut fields))| {
            merge(&mut fields, &json!({"type": kind, "sequence_number": number}));
            format!("event: {kind}\ndata: {fields}\n\n")
        });
        numbered.collect()
    }

    fn response(&self, status: &str, reply: Option<&str>) -> Value {
        json!({
            "id": self.id("resp"),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "metadata": {},
            "model": self.question.model,
            "output": reply.map_or_else(|| json!([]), |reply| json!([self.message(status, Some(reply))])),
            "parallel_tool_calls": true,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": reply.map(|reply| self.usage(reply)),
        })
    }

    fn message(&self, status: &str, reply: Option<&str>) -> Value {
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let content: Vec<_> = reply.map(part).into_iter().collect();
        json!({"type": "message", "id": self.id("msg"), "status": status, "role": "assistant", "content": content})
    }

    fn usage(&self, reply: &str) -> Value {
        let (input, output) = (self.question.tokens, reply.split_whitespace().count());
        match self.api {
            Api::Chat => json!({
                "prompt_tokens": input,
                "completion_tokens": output,
                "total_tokens": input + output,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            }),
            Api::Responses => json!({
                "input_tokens": input,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": output,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": input + output,
            }),
        }
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}-demo-{:06}", self.number)
    }
}

/// Words with the white space before them: joined they are `text`.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest.find(|c: char| !c.is_whitespace())?;
        let end = rest
            .get(word..)?
            .find(char::is_whitespace)
            .map_or(rest.len(), |len| word + len);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

fn merge(fields: &mut Value, more: &Value) {
    if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
    }
}
