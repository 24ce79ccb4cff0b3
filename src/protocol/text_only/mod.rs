//! `response_policy: text_only`: an answer is written anew from what the adapter contract names, and nothing else.
//!
//! `PROTOCOL §1` names a completion's role and content, a response's `output` with its text, and an error's message;
//! with them go the finish reason, the status and the counts of `usage`. What those clients of OpenAI's API expect
//! besides (`id`, `object`, `created`, `model`) does not come from the model server: it is the relay's request id, a
//! constant, our clock and the model that the request named. [`contract`] says what is read, `write` what is written:
//! an allow-list on both sides, so that an unknown field has no way through. Texts and numbers cross byte for byte.
//!
//! Called by [`super::response`]. Deliberately absent: tool calls, reasoning, log probabilities, annotations, and
//! answers of other endpoints, for which the contract has no words: they are refused, never passed.

mod contract;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;

use serde_json::value::RawValue;

use crate::json::{self, FromFields};

/// What an answer says of itself that the model server has no part in.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The endpoint that was asked.
    pub path: &'a str,
    /// The relay's request id.
    pub id: &'a str,
    /// The model that the request named.
    pub model: Option<&'a str>,
    /// Seconds since 1970, by our clock.
    pub created: u64,
}

/// How a successful answer does not fit the contract; never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit(&'static str);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "response_policy text_only: {}", self.0)
    }
}

/// The endpoints whose answers the contract describes.
pub const PATHS: [&str; 3] = [CHAT, RESPONSES, COMPLETIONS];

/// A successful answer, reduced.
///
/// # Errors
/// It is not what the contract says.
pub fn reduce(known: &Known<'_>, body: &str) -> Result<String, Misfit> {
    match known.path {
        // PROTOCOL §1: a minimal completion object, of which role and content are all that is passed on
        CHAT => write::chat(known, &read(body)?),
        COMPLETIONS => write::completion(known, &read(body)?),
        // PROTOCOL §1: the responses body, an `output` array of items
        RESPONSES => write::response(known, &read(body)?),
        _ => Err(Misfit("the contract describes no answer of this endpoint")),
    }
}

/// An error's body: its message, if it has one where the contract says; `None` stands for what is not JSON.
#[must_use]
pub fn reduce_error(status: u16, body: Option<&str>) -> String {
    let refusal = body.and_then(|body| json::read::<contract::Refusal<'_>>(body).ok().flatten());
    // PROTOCOL §1: standard HTTP error status with {"error": {"message": "..."}}
    match refusal.and_then(|refusal| text(refusal.error.0?.message)) {
        Some(message) => format!(r#"{{"error":{{"message":{message}}}}}"#),
        None => format!(
            r#"{{"error":{{"message":"the adapter answered status {status}; its text is not of the contract's form and is withheld (response_policy text_only)"}}}}"#
        ),
    }
}

fn read<'a, T: FromFields<'a>>(body: &'a str) -> Result<T, Misfit> {
    let misfit = Misfit("the answer has more parts than the contract's form has room for, or is no JSON object");
    json::read(body).ok().flatten().ok_or(misfit)
}

/// A JSON string, as it is written.
fn text(raw: Option<&RawValue>) -> Option<&str> {
    raw.map(RawValue::get).filter(|raw| raw.starts_with('"'))
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const COMPLETIONS: &str = "/v1/completions";
