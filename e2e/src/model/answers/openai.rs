//! Chat completions, legacy completions and embeddings.

use serde_json::{Value, json};

use super::{Composer, Piece, Tokens, Told, pieces};
use crate::model::behaviour::Reporting;
use crate::model::question::Api;

impl Composer<'_> {
    /// A whole completion; what was said stands under `part`.
    pub(super) fn completion(&self, object: &str, part: &str, reply: &str) -> Told {
        let said = if self.api == Api::Chat {
            json!({"role": "assistant", "content": reply, "refusal": null})
        } else {
            json!(reply)
        };
        let answer = json!({
            "id": self.id("chatcmpl"),
            "object": object,
            "created": self.created,
            "model": self.question.model,
            "choices": [{ "index": 0, part: said, "logprobs": null, "finish_reason": "stop" }],
            "service_tier": "default",
            "system_fingerprint": "fp_demo",
        });
        let tokens = self.tokens(reply);
        self.reporting(answer, tokens, prompt_usage(tokens))
    }

    /// A completion as a stream.
    pub(super) fn chunks(&self, object: &str) -> Vec<Piece> {
        let reply = self.question.reply();
        let continuous = self.reporting == Reporting::Continuous;
        let so_far = |said: &str| continuous.then(|| self.tokens(said));
        let mut events = Vec::new();
        let chat = self.api == Api::Chat;
        if chat {
            let hello = json!({"role": "assistant", "content": ""});
            events.push(self.chunk(object, self.choice(hello, Value::Null), so_far("")));
        }
        let mut said = String::new();
        for piece in pieces(&reply) {
            said.push_str(piece);
            let delta = if chat {
                json!({ "content": piece })
            } else {
                json!(piece)
            };
            events.push(self.chunk(object, self.choice(delta, Value::Null), so_far(&said)));
        }
        let nothing = if chat { json!({}) } else { json!("") };
        events.push(self.chunk(object, self.choice(nothing, json!("stop")), so_far(&reply)));
        if self.reports_in_stream() {
            let tokens = (self.reporting != Reporting::Null).then(|| self.tokens(&reply));
            events.push(self.chunk(object, json!([]), tokens));
        }
        events.push(Piece::new("data: [DONE]\n\n".to_owned(), None));
        events
    }

    fn choice(&self, said: Value, finish: Value) -> Value {
        let part = if self.api == Api::Chat { "delta" } else { "text" };
        json!([{ "index": 0, part: said, "finish_reason": finish }])
    }

    /// One event, with the usage of `tokens`; null where usage is reported by another event.
    fn chunk(&self, object: &str, choices: Value, tokens: Option<Tokens>) -> Piece {
        let mut chunk = json!({
            "id": self.id("chatcmpl"),
            "object": object,
            "created": self.created,
            "model": self.question.model,
            "choices": choices,
        });
        if self.reports_in_stream() {
            super::merge(&mut chunk, &json!({ "usage": tokens.map(prompt_usage) }));
        }
        Piece::new(format!("data: {chunk}\n\n"), tokens)
    }

    fn reports_in_stream(&self) -> bool {
        match self.reporting {
            Reporting::AsAsked => self.question.include_usage,
            Reporting::Always | Reporting::Continuous | Reporting::Null => true,
            Reporting::Never => false,
        }
    }

    /// A short vector for every text.
    pub(super) fn embeddings(&self) -> Told {
        let vector = |index: usize| json!({"object": "embedding", "index": index, "embedding": [0.25, -0.5]});
        let answer = json!({
            "object": "list",
            "data": (0..self.question.texts).map(vector).collect::<Vec<_>>(),
            "model": self.question.model,
        });
        let tokens = self.tokens("");
        let usage = json!({"prompt_tokens": tokens.input, "total_tokens": tokens.input});
        self.reporting(answer, tokens, usage)
    }
}

fn prompt_usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": 0},
    })
}
