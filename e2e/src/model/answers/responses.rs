//! The Responses API: one object, or the events that lead to it.

use serde_json::{Value, json};

use super::{Composer, Told, merge, pieces};

impl Composer<'_> {
    /// The events of a response, numbered.
    pub(super) fn response_events(&self) -> Vec<Told> {
        let reply = self.question.reply();
        let item = self.id("msg");
        let place = json!({"item_id": item, "output_index": 0, "content_index": 0});
        let placed = |mut fields: Value| {
            merge(&mut fields, &place);
            (fields, None)
        };
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let whole = |status, reply| {
            let (response, tells) = self.response(status, reply);
            (json!({ "response": response }), tells)
        };
        let message = |status, reply| {
            let item = self.message(status, reply);
            (json!({"output_index": 0, "item": item}), None)
        };
        let mut told = vec![
            ("response.created", whole("in_progress", None)),
            ("response.in_progress", whole("in_progress", None)),
            ("response.output_item.added", message("in_progress", None)),
            ("response.content_part.added", placed(json!({"part": part("")}))),
        ];
        told.extend(pieces(&reply).map(|piece| ("response.output_text.delta", placed(json!({ "delta": piece })))));
        told.extend([
            ("response.output_text.done", placed(json!({"text": reply}))),
            ("response.content_part.done", placed(json!({"part": part(&reply)}))),
            ("response.output_item.done", message("completed", Some(&reply))),
            ("response.completed", whole("completed", Some(&reply))),
        ]);
        let numbered = told
            .into_iter()
            .enumerate()
            .map(|(number, (kind, (mut fields, tells)))| {
                merge(&mut fields, &json!({"type": kind, "sequence_number": number}));
                (fields, tells)
            });
        numbered.collect()
    }

    /// The response object; usage is null until there is a reply.
    pub(super) fn response(&self, status: &str, reply: Option<&str>) -> Told {
        let answer = json!({
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
            "service_tier": "default",
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": null,
        });
        let Some(reply) = reply else {
            return (answer, None);
        };
        let tokens = self.tokens(reply);
        let usage = json!({
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        });
        self.reporting(answer, tokens, usage)
    }

    fn message(&self, status: &str, reply: Option<&str>) -> Value {
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let content: Vec<_> = reply.map(part).into_iter().collect();
        json!({"type": "message", "id": self.id("msg"), "status": status, "role": "assistant", "content": content})
    }
}
