//! Where answers say what they used: the table of every shape that is known.
//!
//! OpenAI (chat, completions, embeddings, Responses, Realtime, images, audio; whole, as chunks and as events), what
//! servers of its API add (vLLM, SGLang, llama.cpp, Groq, DeepSeek), Anthropic, Gemini and Ollama. Their names do not
//! collide, so one table reads them all and no one has to say which API it is. Deliberately absent: `tool_usage` of the
//! Responses API, which is another model's.

use super::answer_places::{Field, Figure, Place, element, is_leaf, member};
use super::counts::{Counts, Slot};
use super::scalar::Scalar;
use super::table::{Container, Table};
use super::{Answer, Missing, Reported};

/// Reads one answer, from one document or from many.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// What it says. Its `usage` is brought up to date by [`Reading::settle`].
    pub answer: Answer,
    /// What matters besides.
    pub looks: Looks,
    /// Generated output was seen.
    pub output: bool,
    /// The documents are a list, as Gemini streams without `alt=sse`.
    pub listed: bool,
    /// `usage` says how long something took, not how many tokens.
    pub timed: bool,
    /// Of a WebSocket's message: what it is.
    pub event: Event,
    counts: Counts,
    settled: u64,
    /// By the choice's index, as the finish reasons are in `answer`.
    indexes: Vec<u64>,
    choice: Choice,
    status: Option<Box<str>>,
    reason: Option<Box<str>>,
    error: ErrorParts,
    is_error: bool,
    modality: Modality,
    /// Of one list, by kind.
    modalities: [Option<u64>; 3],
}

/// Which places are looked at besides what [`Answer`] has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Looks {
    /// None.
    #[default]
    Whole,
    /// Generated output.
    Stream,
    /// Generated output, and what tells a WebSocket's messages apart.
    Socket,
}

/// One message of a WebSocket.
#[derive(Debug, Clone, Default)]
pub(super) struct Event {
    /// Its `type`.
    pub kind: EventKind,
    /// The response that it belongs to, when it is not in `response.id`.
    pub response_id: Option<Box<str>>,
    /// The lane.
    pub stream_id: Option<Box<str>>,
    /// The conversation's item.
    pub item_id: Option<Box<str>>,
    /// Which part of the item.
    pub content_index: u64,
    /// Of an error: the client's event that caused it.
    pub caused_by: Option<Box<str>>,
    /// The session's model.
    pub session_model: Option<Box<str>>,
    /// The session's model for transcription.
    pub transcription_model: Option<Box<str>>,
}

/// What a message of a WebSocket says happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum EventKind {
    /// Something else.
    #[default]
    Other,
    /// A response began.
    Created,
    /// A response ended, well or not.
    Ended,
    /// Input audio was transcribed, or could not be.
    Transcribed,
    /// Something failed.
    Error,
}

#[derive(Debug, Clone, Default)]
struct Choice {
    /// Its place in the list.
    position: u64,
    index: Option<u64>,
    reason: Option<Box<str>>,
}

#[derive(Debug, Clone, Default)]
struct ErrorParts {
    kind: Option<Box<str>>,
    code: Option<Box<str>>,
    status: Option<Box<str>>,
    number: Option<u64>,
}

/// One of Gemini's details.
#[derive(Debug, Clone, Default)]
struct Modality {
    kind: Kind,
    count: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Kind {
    #[default]
    Text,
    Image,
    Audio,
    Other,
}

impl Reading {
    /// Looks at more.
    pub fn looking(looks: Looks) -> Self {
        Self {
            looks,
            ..Self::default()
        }
    }

    /// Brings `answer.usage` up to date; tells whether a figure was read since it was last.
    pub fn settle(&mut self) -> bool {
        if self.counts.news == self.settled {
            return false;
        }
        self.settled = self.counts.news;
        self.answer.usage = self.counts.usage();
        true
    }

    /// Why a whole answer has no tokens.
    pub fn missing(&self) -> Option<Missing> {
        let usage = &self.answer.usage;
        if usage.input.is_some() || usage.output.is_some() || self.timed {
            return None;
        }
        Some(match self.answer.reported {
            Reported::Null => Missing::Null,
            Reported::Absent | Reported::Present => Missing::Absent,
        })
    }

    fn count(&mut self, slot: Slot, scalar: Scalar<'_>) {
        if let Some(count) = scalar.count() {
            self.counts.set(slot, count);
            self.answer.reported = Reported::Present;
        }
    }

    fn finished(&mut self, index: u64, reason: Box<str>) {
        let reasons = &mut self.answer.finish_reasons;
        match self.indexes.binary_search(&index) {
            Ok(at) => {
                if let Some(known) = reasons.get_mut(at) {
                    *known = reason;
                }
            }
            Err(at) if reasons.len() < MAX_FINISH_REASONS => {
                self.indexes.insert(at, index);
                reasons.insert(at, reason);
            }
            Err(_) => {}
        }
    }

    fn end_choice(&mut self) {
        let index = self.choice.index.take().unwrap_or(self.choice.position);
        self.choice.position = self.choice.position.saturating_add(1);
        if let Some(reason) = self.choice.reason.take() {
            self.finished(index, reason);
        }
    }

    fn end_error(&mut self) {
        let parts = std::mem::take(&mut self.error);
        let number = || parts.number.map(|number| number.to_string().into_boxed_str());
        let error = parts.kind.or(parts.code).or(parts.status).or_else(number);
        self.answer.error = Some(error.unwrap_or_else(|| OTHER_ERROR.into()));
    }

    /// Forgets what a document that broke off left behind.
    fn begin_document(&mut self) {
        (self.status, self.reason, self.is_error) = (None, None, false);
        self.error = ErrorParts::default();
        self.choice = Choice::default();
        self.modality = Modality::default();
    }

    fn end_document(&mut self) {
        if std::mem::take(&mut self.is_error) && self.answer.error.is_none() {
            self.end_error();
        }
        let status = self.status.take();
        if let Some(reason) = self.reason.take().or(status) {
            self.finished(0, reason);
        }
    }

    fn end_modality(&mut self) {
        let Modality { kind, count } = std::mem::take(&mut self.modality);
        let [text, image, audio] = &mut self.modalities;
        let sum = match kind {
            Kind::Text => text,
            Kind::Image => image,
            Kind::Audio => audio,
            Kind::Other => return,
        };
        if let Some(count) = count {
            *sum = Some(sum.unwrap_or(0).saturating_add(count));
        }
    }

    fn end_modalities(&mut self, slots: [Slot; 3]) {
        for (slot, sum) in slots.into_iter().zip(std::mem::take(&mut self.modalities)) {
            if let Some(sum) = sum {
                self.counts.set(slot, sum);
            }
        }
    }

    fn event_type(&mut self, name: &str) {
        self.is_error = name == "error";
        self.event.kind = match name {
            "response.created" => EventKind::Created,
            "response.done"
            | "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => EventKind::Ended,
            "conversation.item.input_audio_transcription.completed"
            | "conversation.item.input_audio_transcription.failed" => EventKind::Transcribed,
            "error" => EventKind::Error,
            _ => EventKind::Other,
        };
    }
}

impl Table for Reading {
    type Place = Place;

    const ROOT: Place = Place::Root;

    fn is_leaf(place: Place) -> bool {
        is_leaf(place)
    }

    fn member(&self, place: Place, key: &[u8]) -> Option<Place> {
        member(place, key, self.looks)
    }

    fn element(&self, place: Place) -> Option<Place> {
        element(place)
    }

    fn begin(&mut self, place: Place, container: Container) {
        match (place, container) {
            (Place::Root, Container::Array) => self.listed = self.looks == Looks::Stream,
            (Place::Root | Place::Listed, Container::Object) => self.begin_document(),
            (Place::Usage | Place::Gemini | Place::Svg, Container::Object) => {
                self.answer.reported = Reported::Present;
            }
            (Place::Choices, Container::Array) => self.choice = Choice::default(),
            (Place::InputModalities | Place::OutputModalities, Container::Array) => self.modalities = [None; 3],
            (Place::Output, Container::Object) | (Place::OutputItem, _) => self.output = true,
            (_, Container::Object | Container::Array) => {}
        }
    }

    fn end(&mut self, place: Place) {
        match place {
            Place::Root | Place::Listed => self.end_document(),
            Place::Choice => self.end_choice(),
            Place::Error => self.end_error(),
            Place::InputModality | Place::OutputModality => self.end_modality(),
            Place::InputModalities => self.end_modalities([Slot::TextInput, Slot::ImageInput, Slot::AudioInput]),
            Place::OutputModalities => self.end_modalities([Slot::TextOutput, Slot::ImageOutput, Slot::AudioOutput]),
            _ => {}
        }
    }

    fn scalar(&mut self, place: Place, scalar: Scalar<'_>) {
        match (place, scalar) {
            (Place::Count(slot), scalar) => self.count(slot, scalar),
            (_, Scalar::Text("")) => {}
            (Place::Text(field), Scalar::Text(text)) => self.text(field, text),
            (Place::Text(Field::ErrorCode), Scalar::Number(_)) => self.error.number = scalar.count(),
            (Place::Number(figure), Scalar::Number(_)) => self.number(figure, scalar),
            (Place::Usage | Place::Gemini, Scalar::Null) if self.answer.reported == Reported::Absent => {
                self.answer.reported = Reported::Null;
            }
            (Place::Error, Scalar::Text(_)) => self.end_error(),
            (Place::Output | Place::OutputItem | Place::Delta | Place::Response, Scalar::Text(_)) => self.output = true,
            (_, Scalar::Null | Scalar::Bool(_) | Scalar::Number(_) | Scalar::Text(_)) => {}
        }
    }
}

impl Reading {
    fn text(&mut self, field: Field, text: &str) {
        let to = match field {
            Field::Id => &mut self.answer.id,
            Field::Model => &mut self.answer.model,
            Field::Tier => &mut self.answer.service_tier,
            Field::Fingerprint => &mut self.answer.system_fingerprint,
            Field::FinishReason => &mut self.choice.reason,
            Field::Reason => &mut self.reason,
            Field::ErrorType => &mut self.error.kind,
            Field::ErrorCode => &mut self.error.code,
            Field::ErrorStatus => &mut self.error.status,
            Field::ErrorCause => &mut self.event.caused_by,
            Field::ResponseId => &mut self.event.response_id,
            Field::StreamId => &mut self.event.stream_id,
            Field::ItemId => &mut self.event.item_id,
            Field::SessionModel => &mut self.event.session_model,
            Field::TranscriptionModel => &mut self.event.transcription_model,
            Field::Status => match text {
                "completed" | "incomplete" | "failed" | "cancelled" => &mut self.status,
                _ => return,
            },
            Field::StopReason => {
                // llama.cpp's, until it stops
                if text != "none" {
                    self.finished(0, text.into());
                }
                return;
            }
            Field::Type => return self.event_type(text),
            Field::UsageType => return self.timed |= text == "duration",
            Field::Modality => return self.modality.kind = modality(text),
        };
        remember(to, text);
    }

    fn number(&mut self, figure: Figure, number: Scalar<'_>) {
        match figure {
            Figure::ChoiceIndex => self.choice.index = number.count(),
            Figure::ContentIndex => self.event.content_index = number.count().unwrap_or(0),
            Figure::ModalityCount => self.modality.count = number.count(),
            Figure::Seconds => self.timed = true,
        }
    }
}

/// Without taking memory when nothing changes, as in every chunk of a stream.
pub(super) fn remember(to: &mut Option<Box<str>>, text: &str) {
    if to.as_deref() != Some(text) {
        *to = Some(text.into());
    }
}

fn modality(name: &str) -> Kind {
    match name {
        "TEXT" | "MODALITY_UNSPECIFIED" => Kind::Text,
        "IMAGE" => Kind::Image,
        "AUDIO" => Kind::Audio,
        _ => Kind::Other,
    }
}

/// An answer has one for each choice; who asks for more choices sees no more reasons.
const MAX_FINISH_REASONS: usize = 16;
/// What OpenTelemetry calls an error that has no name.
const OTHER_ERROR: &str = "_OTHER";
