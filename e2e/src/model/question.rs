//! What is asked of the model, read from any of its APIs. Pure.

use serde_json::{Map, Value};

/// An API that the model answers by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`, the legacy one.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/responses`, over HTTP and over a WebSocket.
    Responses,
    /// `/v1/realtime`, a WebSocket.
    Realtime,
    /// `/v1/messages`, Anthropic's.
    Messages,
    /// `/api/chat`, Ollama's own.
    Ollama,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The `model` it names.
    pub model: String,
    /// The last thing said to the model.
    pub last: String,
    /// White-space separated words of everything said to it.
    pub tokens: u64,
    /// How many things were said to it.
    pub texts: usize,
    /// `stream`.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
}

impl Api {
    /// The API that is asked at `path`.
    pub(super) fn at(path: &str) -> Option<Self> {
        let all = [
            Self::Chat,
            Self::Completions,
            Self::Embeddings,
            Self::Responses,
            Self::Realtime,
            Self::Messages,
            Self::Ollama,
        ];
        all.into_iter().find(|api| api.path() == path)
    }

    /// Where it is asked.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Realtime => "/v1/realtime",
            Self::Messages => "/v1/messages",
            Self::Ollama => "/api/chat",
        }
    }

    /// Whether it can be asked over a WebSocket.
    pub(super) fn has_socket(self) -> bool {
        match self {
            Self::Responses | Self::Realtime => true,
            Self::Chat | Self::Completions | Self::Embeddings | Self::Messages | Self::Ollama => false,
        }
    }

    /// Whether it can be asked by a POST.
    pub(super) fn has_post(self) -> bool {
        match self {
            Self::Realtime => false,
            Self::Chat | Self::Completions | Self::Embeddings | Self::Responses | Self::Messages | Self::Ollama => true,
        }
    }
}

impl Question {
    /// Reads a request body; `None` when it is no JSON object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        Some(Self::of(body.as_object()?))
    }

    /// Reads the members of a request.
    pub(super) fn of(fields: &Map<String, Value>) -> Self {
        let mut said = Vec::new();
        for part in ["instructions", "system", "messages", "input", "prompt"] {
            texts(fields.get(part).unwrap_or(&Value::Null), &mut said);
        }
        let options = fields
            .get("stream_options")
            .and_then(|options| options.get("include_usage"));
        Self {
            model: fields.get("model").and_then(Value::as_str).unwrap_or("demo").to_owned(),
            last: said.last().copied().unwrap_or_default().to_owned(),
            tokens: said.iter().map(|text| words(text)).sum(),
            texts: said.len(),
            stream: fields.get("stream").and_then(Value::as_bool),
            include_usage: options == Some(&Value::Bool(true)),
        }
    }

    /// What the model has to say.
    pub(super) fn reply(&self) -> String {
        format!("You said: {}", self.last)
    }
}

/// White-space separated words.
pub(super) fn words(text: &str) -> u64 {
    text.split_whitespace().map(|_| 1).sum()
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
