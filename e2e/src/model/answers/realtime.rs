//! The Realtime API: the events of one response in a session, text only.

use serde_json::{Value, json};

use super::{Composer, Told, pieces};

impl Composer<'_> {
    /// The events of a response.
    pub(super) fn realtime_events(&self) -> Vec<Told> {
        let reply = self.question.reply();
        let place = |kind: &str, name: &str, text: &str| {
            json!({
                "type": kind, "event_id": self.id("event"), "response_id": self.id("resp"), "item_id": self.id("item"),
                "output_index": 0, "content_index": 0, name: text,
            })
        };
        let event = |kind: &str, (response, tells): Told| {
            let event = json!({"type": kind, "event_id": self.id("event"), "response": response});
            (event, tells)
        };
        let mut told = vec![event("response.created", self.realtime_response("in_progress", None))];
        let deltas = pieces(&reply).map(|piece| (place("response.output_text.delta", "delta", piece), None));
        told.extend(deltas);
        told.push((place("response.output_text.done", "text", &reply), None));
        told.push(event(
            "response.done",
            self.realtime_response("completed", Some(&reply)),
        ));
        told
    }

    /// The response object; usage is null until there is a reply.
    pub(super) fn realtime_response(&self, status: &str, reply: Option<&str>) -> Told {
        let item = |reply: &str| {
            json!({
                "id": self.id("item"), "object": "realtime.item", "type": "message", "status": status,
                "role": "assistant", "content": [{"type": "output_text", "text": reply}],
            })
        };
        let answer = json!({
            "id": self.id("resp"),
            "object": "realtime.response",
            "status": status,
            "status_details": null,
            "output": reply.map(item).into_iter().collect::<Vec<Value>>(),
            "output_modalities": ["text"],
            "usage": null,
        });
        let Some(reply) = reply else {
            return (answer, None);
        };
        let tokens = self.tokens(reply);
        let details = json!({"text_tokens": tokens.cached, "audio_tokens": 0, "image_tokens": 0});
        let usage = json!({
            "total_tokens": tokens.input + tokens.output,
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "input_token_details": {
                "text_tokens": tokens.input, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": tokens.cached,
                "cached_tokens_details": details,
            },
            "output_token_details": {"text_tokens": tokens.output, "audio_tokens": 0},
        });
        self.reporting(answer, tokens, usage)
    }
}
