//! Token usage as models report it: pure, read from the bytes that pass by.
//!
//! [`read_json`] and [`read_request`] read a text in one piece: `protocol::answer` uses the first on each relayed
//! answer, in the same pass that checks that the answer is JSON; of a large one on what [`Abridged`] left of it. [`Tap`], [`RequestTap`] and [`SocketTap`] read any
//! split of an exchange's bytes for the HTTP filter `usage`; their memory has a bound whatever comes. What is read is
//! one table of places (`answer`, `request`), walked by two engines (`whole`, `scanner`). Of each figure the last value
//! counts, also when it comes from several events; nothing is added up but what an API reports in parts. Deliberately
//! absent: estimating. What a model does not report is not known here.
#![deny(clippy::disallowed_methods)]

mod abridged;
mod answer;
mod answer_places;
mod coding;
mod counts;
mod operation;
mod reader;
mod request;
mod scalar;
mod scanner;
mod socket;
pub(crate) mod sse;
mod table;
mod tap;
mod turns;
mod websocket;
mod whole;

pub use abridged::Abridged;
pub use operation::{model_in_path, operation};
pub use socket::{Close, Peer, SocketTap};
pub use tap::{News, RequestTap, Tap};
pub use turns::Turn;

/// Tokens of one answer. Absent and zero are different things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input: Option<u64>,
    /// All output tokens, reasoning included.
    pub output: Option<u64>,
    /// Of the input: read from a cache.
    pub cache_read: Option<u64>,
    /// Of the input: written to a cache.
    pub cache_write: Option<u64>,
    /// Of the output: reasoning.
    pub reasoning: Option<u64>,
    /// Of the input: text.
    pub text_input: Option<u64>,
    /// Of the input: images.
    pub image_input: Option<u64>,
    /// Of the input: audio.
    pub audio_input: Option<u64>,
    /// Of the output: text.
    pub text_output: Option<u64>,
    /// Of the output: images.
    pub image_output: Option<u64>,
    /// Of the output: audio.
    pub audio_output: Option<u64>,
}

/// Whether an answer said anything about its usage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reported {
    /// There was no such member.
    #[default]
    Absent,
    /// `usage: null`.
    Null,
    /// There was one; the counts in it may still be absent.
    Present,
}

/// What an answer says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// `id` of the completion or response.
    pub id: Option<Box<str>>,
    /// The model that answered.
    pub model: Option<Box<str>>,
    /// Why it stopped, one for each choice.
    pub finish_reasons: Vec<Box<str>>,
    /// `service_tier`.
    pub service_tier: Option<Box<str>>,
    /// `system_fingerprint`.
    pub system_fingerprint: Option<Box<str>>,
    /// `error.type`, else `error.code`, of an answer that is an error.
    pub error: Option<Box<str>>,
    /// Whether there was a usage at all.
    pub reported: Reported,
    /// The tokens.
    pub usage: Usage,
}

impl Answer {
    /// Why the tokens of this answer, complete and readable, are not known.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        match self.reported {
            Reported::Absent => Some(Missing::Absent),
            Reported::Null => Some(Missing::Null),
            Reported::Present if self.usage == Usage::default() => Some(Missing::Absent),
            Reported::Present => None,
        }
    }
}

/// What a request asks for, as far as telemetry names it. Content is never among it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// `model`.
    pub model: Option<Box<str>>,
    /// `stream`.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`.
    pub include_usage: Option<bool>,
    /// `max_tokens`, `max_completion_tokens` or `max_output_tokens`.
    pub max_tokens: Option<u64>,
    /// `n`.
    pub choice_count: Option<u64>,
    /// `seed`.
    pub seed: Option<i64>,
    /// `temperature`.
    pub temperature: Option<f64>,
    /// `top_p`.
    pub top_p: Option<f64>,
    /// `frequency_penalty`.
    pub frequency_penalty: Option<f64>,
    /// `presence_penalty`.
    pub presence_penalty: Option<f64>,
    /// `service_tier`.
    pub service_tier: Option<Box<str>>,
    /// `reasoning_effort` or `reasoning.effort`.
    pub reasoning_effort: Option<Box<str>>,
    /// `previous_response_id`.
    pub previous_response_id: Option<Box<str>>,
}

/// Why the tokens of a successful answer are not known: a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The answer has no usage.
    Absent,
    /// The answer has `usage: null`; of a stream: it was not asked for (`stream_options.include_usage`).
    Null,
    /// The stream broke off before its end.
    CutShort,
    /// The body is no JSON, no event stream, or not well-formed.
    Unreadable,
    /// A content-encoding that is not decoded here, or not within the bounds.
    Encoding,
}

impl Missing {
    /// Short and bounded, for labels.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Null => "null",
            Self::CutShort => "cut_short",
            Self::Unreadable => "unreadable",
            Self::Encoding => "encoding",
        }
    }
}

/// What is asked of a model (`gen_ai.operation.name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Chat completions, Responses, Anthropic's messages, Ollama's chat.
    Chat,
    /// Legacy completions.
    TextCompletion,
    /// Embeddings.
    Embeddings,
    /// Gemini, images, audio: multimodal generation.
    GenerateContent,
    /// Realtime sessions.
    RealtimeInference,
    /// A stored response is fetched: its tokens were counted when it was made.
    FetchResponse,
}

impl Operation {
    /// The well-known value of `gen_ai.operation.name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
            Self::GenerateContent => "generate_content",
            Self::RealtimeInference => "realtime_inference",
            Self::FetchResponse => "fetch_response",
        }
    }
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// Checks that `text` is one JSON value and reads what it says about itself, in one pass.
///
/// # Errors
/// `text` is not JSON.
pub fn read_json(text: &str) -> Result<Answer, NotJson> {
    let mut reading: answer::Reading = whole::read(text)?;
    reading.settle();
    Ok(reading.answer)
}

/// Reads what a request asks for, from its whole body; of what is not JSON, nothing.
#[must_use]
pub fn read_request(json: &str) -> Request {
    whole::read::<request::Asking>(json)
        .map(|asking| asking.request)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
