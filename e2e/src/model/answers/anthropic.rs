//! Anthropic's Messages: `input_tokens` are those that no cache had to do with, and a stream's counts are cumulative.

use serde_json::{Value, json};

use super::{Composer, Reporting, Tokens, Told, merge, pieces};

impl Composer<'_> {
    /// The whole message.
    pub(super) fn anthropic_message(&self, reply: &str) -> Told {
        let tokens = self.tokens(reply);
        let content = json!([{"type": "text", "text": reply}]);
        self.reporting(self.message_object(content, json!("end_turn")), tokens, usage(tokens))
    }

    /// The events that a message is made of.
    pub(super) fn anthropic_events(&self) -> Vec<Told> {
        let reply = self.question.reply();
        let all = self.tokens(&reply);
        let first = Tokens { output: 1, ..all };
        let (message, tells) = self.reporting(self.message_object(json!([]), Value::Null), first, usage(first));
        let mut told = vec![
            (json!({"type": "message_start", "message": message}), tells),
            (
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                None,
            ),
            (json!({"type": "ping"}), None),
        ];
        let delta = |text: &str| {
            let delta = json!({"type": "text_delta", "text": text});
            json!({"type": "content_block_delta", "index": 0, "delta": delta})
        };
        told.extend(pieces(&reply).map(|piece| (delta(piece), None)));
        told.push((json!({"type": "content_block_stop", "index": 0}), None));
        let mut last = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}});
        let tells = match self.reporting {
            Reporting::AsAsked | Reporting::Always | Reporting::Continuous => {
                merge(&mut last, &json!({"usage": {"output_tokens": all.output}}));
                Some(all)
            }
            Reporting::Null | Reporting::Never => None,
        };
        told.push((last, tells));
        told.push((json!({"type": "message_stop"}), None));
        told
    }

    fn message_object(&self, content: Value, stop: Value) -> Value {
        json!({
            "id": self.id("msg"),
            "type": "message",
            "role": "assistant",
            "model": self.question.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": null,
        })
    }
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "input_tokens": tokens.input - tokens.cached - tokens.written,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
        "service_tier": "standard",
    })
}
