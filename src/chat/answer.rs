//! A model's answer, event by event, turned into messages for the client. Pure.
//!
//! The members of a delta pass on as the model wrote them. An answer that came whole, from a server that does not stream,
//! is one delta.
#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::ask::Id;
use super::members::{Members, parse};
use super::reply::{Failure, Origin, begin};

/// What an answer has said of itself so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    model: Option<Box<str>>,
    usage: Option<Box<str>>,
    /// By the index of the choice.
    finish_reasons: BTreeMap<u64, String>,
}

impl Answer {
    /// Reads one event, or a whole answer; gives the messages that it makes.
    pub fn read(&mut self, id: Option<&Id>, json: &str) -> Result<Vec<String>, Failure> {
        let Ok(Some(event)) = Members::read(json) else {
            return Err(Failure::new(
                502,
                "adapter_invalid_response",
                "the model's answer is no JSON object",
            ));
        };
        if let Some(error) = event.get("error") {
            return Err(mid_stream(error));
        }
        if let Some(model) = event.text("model") {
            self.model = Some(model.into());
        }
        if let Some(usage) = event.get("usage") {
            self.usage = Some(usage.get().into());
        }
        let choices = event.items("choices").into_iter();
        Ok(choices.filter_map(|choice| self.choice(id, choice)).collect())
    }

    /// Whether a choice has come to its end.
    pub fn has_finished(&self) -> bool {
        !self.finish_reasons.is_empty()
    }

    /// The message that ends the turn.
    pub fn done(&self, id: Option<&Id>) -> String {
        let mut done = begin("done", id);
        if let Some(model) = &self.model {
            done.text("model", model);
        }
        match self.finish_reasons.values().next() {
            Some(reason) => done.text("finish_reason", reason),
            None => done.raw("finish_reason", "null"),
        }
        if self.finish_reasons.len() > 1
            && let Ok(reasons) = serde_json::to_string(&self.finish_reasons)
        {
            done.raw("finish_reasons", &reasons);
        }
        done.raw("usage", self.usage.as_deref().unwrap_or("null"));
        done.finish()
    }

    fn choice(&mut self, id: Option<&Id>, choice: &RawValue) -> Option<String> {
        let choice = Members::of(choice);
        let index: u64 = choice.get("index").and_then(parse).unwrap_or_default();
        if let Some(reason) = choice.text("finish_reason")
            && self.finish_reasons.len() < MAX_CHOICES
        {
            self.finish_reasons.insert(index, reason);
        }
        let delta = choice.get("delta").or_else(|| choice.get("message"))?;
        let delta = Members::of(delta);
        let mut message = begin("delta", id);
        message.raw("index", &index.to_string());
        let mut says = false;
        let logprobs = choice.get("logprobs").map(|logprobs| ("logprobs", logprobs));
        for (key, value) in delta.iter().chain(logprobs) {
            if !OWN.contains(&key) && value.get() != "null" {
                says |= key != "content" || value.get() != r#""""#;
                message.raw(key, value.get());
            }
        }
        says.then(|| message.finish())
    }
}

/// The model's answer with an error's status.
pub(super) fn refusal(status: u16, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(body);
    let whole = Members::read(&text).ok().flatten().unwrap_or_default();
    match whole.get("error") {
        Some(error) => failure(status, error),
        None => Failure {
            status,
            code: "model_error".into(),
            message: cut(text.trim(), MAX_MESSAGE),
            param: None,
            origin: Origin::Model,
        },
    }
}

/// An error in the midst of a stream, where HTTP's status is gone: some servers say it as a number.
fn mid_stream(error: &RawValue) -> Failure {
    let members = Members::of(error);
    let said = members
        .get("code")
        .or_else(|| members.get("status"))
        .and_then(parse::<u16>);
    failure(said.filter(|status| (400..600).contains(status)).unwrap_or(502), error)
}

/// OpenAI's error object, or a text where that should be.
fn failure(status: u16, error: &RawValue) -> Failure {
    let members = Members::of(error);
    let message = members.text("message").or_else(|| parse(error));
    let code = members.text("code").or_else(|| members.text("type"));
    Failure {
        status,
        code: code.map_or("model_error".into(), |code| cut(&code, MAX_CODE).into()),
        message: cut(&message.unwrap_or_default(), MAX_MESSAGE),
        param: members.text("param").map(|param| cut(&param, MAX_CODE)),
        origin: Origin::Model,
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Members of a message that a delta cannot say.
const OWN: [&str; 3] = ["type", "id", "index"];
/// More than any API gives in one answer.
const MAX_CHOICES: usize = 128;
const MAX_MESSAGE: usize = 4096;
const MAX_CODE: usize = 128;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(answer: &mut Answer, event: &Value) -> Vec<Value> {
        let messages = answer.read(None, &event.to_string()).unwrap();
        messages
            .iter()
            .map(|message| serde_json::from_str(message).unwrap())
            .collect()
    }

    #[test]
    fn each_delta_passes_on_with_its_index_and_what_says_nothing_does_not() {
        let mut answer = Answer::default();
        let first = json!({"model": "m-1", "usage": null, "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": ""}},
            {"index": 1, "delta": {"content": "b", "refusal": null}, "logprobs": {"content": []}},
        ]});
        assert_eq!(
            read(&mut answer, &first),
            [
                json!({"type": "delta", "index": 0, "role": "assistant", "content": ""}),
                json!({"type": "delta", "index": 1, "content": "b", "logprobs": {"content": []}}),
            ]
        );
        let call = json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c"}], "type": "x"}}]});
        assert_eq!(
            read(&mut answer, &call),
            [json!({"type": "delta", "index": 0, "tool_calls": [{"index": 0, "id": "c"}]})]
        );
        let end = json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "length"},
            {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]});
        assert_eq!(read(&mut answer, &end), [json!(null); 0]);
        read(&mut answer, &json!({"choices": [], "usage": {"total_tokens": 3}}));
        let done: Value = serde_json::from_str(&answer.done(None)).unwrap();
        assert_eq!(
            done,
            json!({"type": "done", "model": "m-1", "finish_reason": "stop",
                "finish_reasons": {"0": "stop", "1": "length"}, "usage": {"total_tokens": 3}})
        );
    }

    #[test]
    fn a_whole_answer_is_one_delta() {
        let mut answer = Answer::default();
        let whole = json!({"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]});
        assert_eq!(
            read(&mut answer, &whole),
            [json!({"type": "delta", "index": 0, "role": "assistant", "content": "hi"})]
        );
        assert!(answer.has_finished());
    }

    #[test]
    fn errors_keep_the_models_words() {
        let told = refusal(
            429,
            br#"{"error":{"message":"slow down","type":"t","code":"rate_limit"}}"#,
        );
        assert_eq!(
            (told.status, &*told.code, &*told.message),
            (429, "rate_limit", "slow down")
        );
        let text = refusal(500, b"<h1>oops</h1>\n");
        assert_eq!((&*text.code, &*text.message), ("model_error", "<h1>oops</h1>"));
        for (event, status) in [
            (json!({"error": {"message": "m", "code": 529}}), 529),
            (json!({"error": {"message": "m", "code": "no"}}), 502),
            (json!({"error": "m"}), 502),
        ] {
            let failure = Answer::default().read(None, &event.to_string()).unwrap_err();
            assert_eq!(
                (failure.status, &*failure.message, failure.origin),
                (status, "m", Origin::Model)
            );
        }
        for odd in ["[]", "no", "{\"choices\":1"] {
            let read = Answer::default().read(None, odd);
            assert!(odd.ends_with('1') || read.is_err(), "{odd}");
        }
    }
}
