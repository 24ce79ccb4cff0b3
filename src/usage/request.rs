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

    fn member(&self, place: Place, key: &[u8]) -> Option<Place> {
        match (place, key) {
            (Place::Root | Place::Response, _) => asked(place, key),
            (Place::StreamOptions, b"include_usage") => Some(Place::IncludeUsage),
            (Place::Reasoning, b"effort") | (Place::ThinkingConfig, b"thinkingLevel") => Some(Place::ReasoningEffort),
            (Place::Options, _) => option(key),
            (Place::Session, b"model") => Some(Place::SessionModel),
            (Place::Session, b"audio") => Some(Place::SessionAudio),
            (Place::SessionAudio, b"input") => Some(Place::SessionInput),
            (Place::Session, b"input_audio_transcription") | (Place::SessionInput, b"transcription") => {
                Some(Place::Transcription)
            }
            (Place::Transcription, b"model") => Some(Place::TranscriptionModel),
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

fn asked(place: Place, key: &[u8]) -> Option<Place> {
    Some(match key {
        b"model" => Place::Model,
        b"stream" => Place::Stream,
        b"stream_options" => Place::StreamOptions,
        b"n" => Place::ChoiceCount,
        b"reasoning" => Place::Reasoning,
        b"reasoning_effort" => Place::ReasoningEffort,
        b"service_tier" => Place::ServiceTier,
        b"previous_response_id" => Place::PreviousResponseId,
        b"options" | b"generationConfig" => Place::Options,
        b"response" if place == Place::Root => Place::Response,
        b"session" => Place::Session,
        b"type" => Place::Type,
        b"event_id" => Place::EventId,
        b"stream_id" => Place::StreamId,
        _ => return option(key),
    })
}

fn option(key: &[u8]) -> Option<Place> {
    Some(match key {
        b"max_tokens"
        | b"max_completion_tokens"
        | b"max_output_tokens"
        | b"n_predict"
        | b"num_predict"
        | b"maxOutputTokens" => Place::MaxTokens,
        b"seed" => Place::Seed,
        b"temperature" => Place::Temperature,
        b"top_p" | b"topP" => Place::TopP,
        b"frequency_penalty" | b"frequencyPenalty" => Place::FrequencyPenalty,
        b"presence_penalty" | b"presencePenalty" => Place::PresencePenalty,
        b"candidateCount" => Place::ChoiceCount,
        b"thinkingConfig" => Place::ThinkingConfig,
        _ => return None,
    })
}
