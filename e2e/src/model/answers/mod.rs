//! The bodies of the APIs that models are asked by, whole and streamed. Pure: text in, text out.

mod anthropic;
mod ollama;
mod openai;
mod realtime;
mod responses;

use bytes::Bytes;
use serde_json::{Value, json};

use super::behaviour::Reporting;
use super::question::{Api, Question, words};
use super::tokens::Tokens;

/// An answer in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Composer<'a> {
    pub api: Api,
    pub question: &'a Question,
    /// Makes ids unique.
    pub number: usize,
    /// Seconds since 1970.
    pub created: u64,
    pub reporting: Reporting,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub bytes: Bytes,
    /// What it tells of the whole answer's tokens so far.
    pub tells: Option<Tokens>,
}

/// A JSON text and what it tells.
pub(super) type Told = (Value, Option<Tokens>);

impl Composer<'_> {
    /// The whole answer as JSON.
    pub(super) fn whole(&self) -> Piece {
        self.whole_saying(&self.question.reply())
    }

    /// The whole answer, padded to exactly `size` bytes where that is possible.
    pub(super) fn sized(&self, size: usize) -> Piece {
        // The word count of the padding does not depend on its length, so neither do the digits of the usage.
        let smallest = self.whole_saying("a");
        let padding = size.saturating_sub(smallest.bytes.len());
        self.whole_saying(&"a".repeat(padding + 1))
    }

    // PROTOCOL §1: a minimal completion object, or the Responses body
    fn whole_saying(&self, reply: &str) -> Piece {
        let (body, tells) = match self.api {
            Api::Chat => self.completion("chat.completion", "message", reply),
            Api::Completions => self.completion("text_completion", "text", reply),
            Api::Embeddings => self.embeddings(),
            Api::Responses => self.response("completed", Some(reply)),
            Api::Realtime => self.realtime_response("completed", Some(reply)),
            Api::Messages => self.anthropic_message(reply),
            Api::Ollama => self.ollama_message(reply, true),
        };
        Piece::new(body.to_string(), tells)
    }

    /// The answer as a stream: server-sent events, each one complete with its blank line, or Ollama's lines.
    pub(super) fn events(&self) -> Vec<Piece> {
        match self.api {
            Api::Chat => self.chunks("chat.completion.chunk"),
            Api::Completions => self.chunks("text_completion"),
            Api::Embeddings => vec![self.whole()],
            Api::Responses | Api::Realtime => self.named(self.messages()),
            Api::Messages => self.named(self.anthropic_events()),
            Api::Ollama => self.ollama_lines(),
        }
    }

    /// The answer as messages of a WebSocket.
    pub(super) fn messages(&self) -> Vec<Told> {
        match self.api {
            Api::Realtime => self.realtime_events(),
            Api::Chat | Api::Completions | Api::Embeddings | Api::Responses | Api::Messages | Api::Ollama => {
                self.response_events()
            }
        }
    }

    /// Server-sent events that say their `type` as their name, too.
    fn named(&self, events: Vec<Told>) -> Vec<Piece> {
        let event = |(event, tells): Told| {
            let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
            Piece::new(format!("event: {kind}\ndata: {event}\n\n"), tells)
        };
        events.into_iter().map(event).collect()
    }

    /// What the answer costs; some of it cached, and some of it thought, so that every count is seen.
    fn tokens(&self, reply: &str) -> Tokens {
        let (input, output) = (self.question.tokens, words(reply));
        let cached = input / 2;
        match self.api {
            Api::Embeddings => Tokens {
                input,
                ..Tokens::default()
            },
            Api::Ollama => Tokens {
                input,
                output,
                ..Tokens::default()
            },
            Api::Realtime => Tokens {
                input,
                output,
                cached,
                ..Tokens::default()
            },
            Api::Messages => Tokens {
                input,
                output,
                cached,
                written: input / 4,
                ..Tokens::default()
            },
            Api::Chat | Api::Completions | Api::Responses => Tokens {
                input,
                output,
                cached,
                reasoning: output / 3,
                ..Tokens::default()
            },
        }
    }

    /// Puts `usage` into `answer`, as the reporting says.
    fn reporting(&self, mut answer: Value, tokens: Tokens, usage: Value) -> Told {
        let (usage, tells) = match self.reporting {
            Reporting::AsAsked | Reporting::Always | Reporting::Continuous => (usage, Some(tokens)),
            Reporting::Null => (Value::Null, None),
            Reporting::Never => return (answer, None),
        };
        merge(&mut answer, &json!({ "usage": usage }));
        (answer, tells)
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}-demo-{:06}", self.number)
    }
}

impl Piece {
    pub(super) fn new(text: String, tells: Option<Tokens>) -> Self {
        Self {
            bytes: text.into(),
            tells,
        }
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

/// Adds the members of `more` to `fields`.
pub(super) fn merge(fields: &mut Value, more: &Value) {
    if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
    }
}
