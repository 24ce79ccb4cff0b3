//! Where requests say what they ask for: HTTP bodies of every API, and what clients write into a WebSocket.
//!
//! Read by the same two engines as answers. Deliberately absent: content.

use super::Request;
use super::answer::remember;
use super::scalar::Scalar;
use super::table::{Container, Table};

/// Reads one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking {
    /// What it asks for.
    pub request: Request,
    /// Of a WebSocket's message: what it is.
    pub event: ClientEvent,
}

/// One message of a WebSocket's client.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientEvent {
    /// It asks for a response.
    pub creates: bool,
    /// Its own id.
    pub event_id: Option<Box<str>>,
    /// The lane.
    pub stream_id: Option<Box<str>>,
    /// The session's model.
    pub session_model: Option<Box<str>>,
    /// The session's model for transcription.
    pub transcription_model: Option<Box<str>>,
}

/// A place in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    /// `response` of Realtime's `response.create`.
    Response,
    StreamOptions,
    Reasoning,
    /// Ollama's `options`, Gemini's `generationConfig`.
    Options,
    ThinkingConfig,
    Session,
    SessionAudio,
    SessionInput,
    Transcription,
    Model,
    Stream,
    IncludeUsage,
    MaxTokens,
    ChoiceCount,
    Seed,
    Temperature,
    TopP,
    FrequencyPenalty,
    PresencePenalty,
    ServiceTier,
    ReasoningEffort,
    PreviousResponseId,
    Type,
    EventId,
    StreamId,
    SessionModel,
    TranscriptionModel,
}

impl Table for Asking {
    type Place = Place;

    const ROOT: Place = Place::Root;

    fn is_leaf(place: Place) -> bool {
        match place {
            Place::Root
            | Place::Response
            | Place::StreamOptions
            | Place::Reasoning
            | Place::Options
            | Place::ThinkingConfig
            | Place::Session
            | Place::SessionAudio
            | Place::SessionInput
            | Place::Transcription => false,
            Place::Model
            | Place::Stream
            | Place::IncludeUsage
            | Place::MaxTokens
            | Place::ChoiceCount
            | Place::Seed
            | Place::Temperature
            | Place::TopP
            | Place::FrequencyPenalty
            | Place::PresencePenalty
            | Place::ServiceTier
            | Place::ReasoningEffort
            | Place::PreviousResponseId
            | Place::Type
            | Place::EventId
            | Place::StreamId
            | Place::SessionModel
            | Place::TranscriptionModel => true,
        }
    }

    fn member(&self, place: Place, key: &str) -> Option<Place> {
        match (place, key) {
            (Place::Root | Place::Response, _) => asked(place, key),
            (Place::StreamOptions, "include_usage") => Some(Place::IncludeUsage),
            (Place::Reasoning, "effort") | (Place::ThinkingConfig, "thinkingLevel") => Some(Place::ReasoningEffort),
            (Place::Options, _) => option(key),
            (Place::Session, "model") => Some(Place::SessionModel),
            (Place::Session, "audio") => Some(Place::SessionAudio),
            (Place::SessionAudio, "input") => Some(Place::SessionInput),
            (Place::Session, "input_audio_transcription") | (Place::SessionInput, "transcription") => {
                Some(Place::Transcription)
            }
            (Place::Transcription, "model") => Some(Place::TranscriptionModel),
            _ => None,
        }
    }

    fn element(&self, _: Place) -> Option<Place> {
        None
    }

    fn begin(&mut self, _: Place, _: Container) {}

    fn end(&mut self, _: Place) {}

    fn scalar(&mut self, place: Place, scalar: Scalar<'_>) {
        match scalar {
            Scalar::Text(text) if !text.is_empty() => self.text(place, text),
            Scalar::Bool(value) => match place {
                Place::Stream => self.request.stream = Some(value),
                Place::IncludeUsage => self.request.include_usage = Some(value),
                _ => {}
            },
            Scalar::Number(_) => self.number(place, scalar),
            Scalar::Null | Scalar::Text(_) => {}
        }
    }
}

impl Asking {
    fn text(&mut self, place: Place, text: &str) {
        let to = match place {
            Place::Model => &mut self.request.model,
            Place::ServiceTier => &mut self.request.service_tier,
            Place::ReasoningEffort => &mut self.request.reasoning_effort,
            Place::PreviousResponseId => &mut self.request.previous_response_id,
            Place::EventId => &mut self.event.event_id,
            Place::StreamId => &mut self.event.stream_id,
            Place::SessionModel => &mut self.event.session_model,
            Place::TranscriptionModel => &mut self.event.transcription_model,
            Place::Type => {
                self.event.creates = text == "response.create";
                return;
            }
            _ => return,
        };
        remember(to, text);
    }

    fn number(&mut self, place: Place, number: Scalar<'_>) {
        let request = &mut self.request;
        let float = match place {
            Place::MaxTokens => return keep(&mut request.max_tokens, number.count()),
            Place::ChoiceCount => return keep(&mut request.choice_count, number.count()),
            Place::Seed => return keep(&mut request.seed, number.integer()),
            Place::Temperature => &mut request.temperature,
            Place::TopP => &mut request.top_p,
            Place::FrequencyPenalty => &mut request.frequency_penalty,
            Place::PresencePenalty => &mut request.presence_penalty,
            _ => return,
        };
        keep(float, number.float());
    }
}

fn keep<T>(to: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *to = value;
    }
}

fn asked(place: Place, key: &str) -> Option<Place> {
    Some(match key {
        "model" => Place::Model,
        "stream" => Place::Stream,
        "stream_options" => Place::StreamOptions,
        "n" => Place::ChoiceCount,
        "reasoning" => Place::Reasoning,
        "reasoning_effort" => Place::ReasoningEffort,
        "service_tier" => Place::ServiceTier,
        "previous_response_id" => Place::PreviousResponseId,
        "options" | "generationConfig" => Place::Options,
        "response" if place == Place::Root => Place::Response,
        "session" => Place::Session,
        "type" => Place::Type,
        "event_id" => Place::EventId,
        "stream_id" => Place::StreamId,
        _ => return option(key),
    })
}

fn option(key: &str) -> Option<Place> {
    Some(match key {
        "max_tokens"
        | "max_completion_tokens"
        | "max_output_tokens"
        | "n_predict"
        | "num_predict"
        | "maxOutputTokens" => Place::MaxTokens,
        "seed" => Place::Seed,
        "temperature" => Place::Temperature,
        "top_p" | "topP" => Place::TopP,
        "frequency_penalty" | "frequencyPenalty" => Place::FrequencyPenalty,
        "presence_penalty" | "presencePenalty" => Place::PresencePenalty,
        "candidateCount" => Place::ChoiceCount,
        "thinkingConfig" => Place::ThinkingConfig,
        _ => return None,
    })
}
