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
    Text(Field),
    Number(Figure),
    Flag(Flag),
}

/// What text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Model,
    ServiceTier,
    ReasoningEffort,
    PreviousResponseId,
    Type,
    EventId,
    StreamId,
    SessionModel,
    TranscriptionModel,
}

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    MaxTokens,
    ChoiceCount,
    Seed,
    Temperature,
    TopP,
    FrequencyPenalty,
    PresencePenalty,
}

/// What is true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    Stream,
    IncludeUsage,
}

impl Table for Asking {
    type Place = Place;

    const ROOT: Place = Place::Root;

    fn is_leaf(place: Place) -> bool {
        matches!(place, Place::Text(_) | Place::Number(_) | Place::Flag(_))
    }

    fn member(&self, place: Place, key: &[u8]) -> Option<Place> {
        match (place, key) {
            (Place::Root | Place::Response, _) => asked(place, key),
            (Place::StreamOptions, b"include_usage") => Some(Place::Flag(Flag::IncludeUsage)),
            (Place::Reasoning, b"effort") | (Place::ThinkingConfig, b"thinkingLevel") => {
                Some(Place::Text(Field::ReasoningEffort))
            }
            (Place::Options, _) => option(key),
            (Place::Session, b"model") => Some(Place::Text(Field::SessionModel)),
            (Place::Session, b"audio") => Some(Place::SessionAudio),
            (Place::SessionAudio, b"input") => Some(Place::SessionInput),
            (Place::Session, b"input_audio_transcription") | (Place::SessionInput, b"transcription") => {
                Some(Place::Transcription)
            }
            (Place::Transcription, b"model") => Some(Place::Text(Field::TranscriptionModel)),
            _ => None,
        }
    }

    fn element(&self, _: Place) -> Option<Place> {
        None
    }

    fn begin(&mut self, _: Place, _: Container) {}

    fn end(&mut self, _: Place) {}

    fn scalar(&mut self, place: Place, scalar: Scalar<'_>) {
        match (place, scalar) {
            (_, Scalar::Text("")) => {}
            (Place::Text(field), Scalar::Text(text)) => self.text(field, text),
            (Place::Number(figure), Scalar::Number(_)) => self.number(figure, scalar),
            (Place::Flag(Flag::Stream), Scalar::Bool(value)) => self.request.stream = Some(value),
            (Place::Flag(Flag::IncludeUsage), Scalar::Bool(value)) => self.request.include_usage = Some(value),
            (_, Scalar::Null | Scalar::Bool(_) | Scalar::Number(_) | Scalar::Text(_)) => {}
        }
    }
}

impl Asking {
    fn text(&mut self, field: Field, text: &str) {
        let to = match field {
            Field::Model => &mut self.request.model,
            Field::ServiceTier => &mut self.request.service_tier,
            Field::ReasoningEffort => &mut self.request.reasoning_effort,
            Field::PreviousResponseId => &mut self.request.previous_response_id,
            Field::EventId => &mut self.event.event_id,
            Field::StreamId => &mut self.event.stream_id,
            Field::SessionModel => &mut self.event.session_model,
            Field::TranscriptionModel => &mut self.event.transcription_model,
            Field::Type => return self.event.creates = text == "response.create",
        };
        remember(to, text);
    }

    fn number(&mut self, figure: Figure, number: Scalar<'_>) {
        let request = &mut self.request;
        let float = match figure {
            Figure::MaxTokens => return keep(&mut request.max_tokens, number.count()),
            Figure::ChoiceCount => return keep(&mut request.choice_count, number.count()),
            Figure::Seed => return keep(&mut request.seed, number.integer()),
            Figure::Temperature => &mut request.temperature,
            Figure::TopP => &mut request.top_p,
            Figure::FrequencyPenalty => &mut request.frequency_penalty,
            Figure::PresencePenalty => &mut request.presence_penalty,
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
        b"model" => Place::Text(Field::Model),
        b"stream" => Place::Flag(Flag::Stream),
        b"stream_options" => Place::StreamOptions,
        b"n" => Place::Number(Figure::ChoiceCount),
        b"reasoning" => Place::Reasoning,
        b"reasoning_effort" => Place::Text(Field::ReasoningEffort),
        b"service_tier" => Place::Text(Field::ServiceTier),
        b"previous_response_id" => Place::Text(Field::PreviousResponseId),
        b"options" | b"generationConfig" => Place::Options,
        b"response" if place == Place::Root => Place::Response,
        b"session" => Place::Session,
        b"type" => Place::Text(Field::Type),
        b"event_id" => Place::Text(Field::EventId),
        b"stream_id" => Place::Text(Field::StreamId),
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
        | b"maxOutputTokens" => Place::Number(Figure::MaxTokens),
        b"seed" => Place::Number(Figure::Seed),
        b"temperature" => Place::Number(Figure::Temperature),
        b"top_p" | b"topP" => Place::Number(Figure::TopP),
        b"frequency_penalty" | b"frequencyPenalty" => Place::Number(Figure::FrequencyPenalty),
        b"presence_penalty" | b"presencePenalty" => Place::Number(Figure::PresencePenalty),
        b"candidateCount" => Place::Number(Figure::ChoiceCount),
        b"thinkingConfig" => Place::ThinkingConfig,
        _ => return None,
    })
}
