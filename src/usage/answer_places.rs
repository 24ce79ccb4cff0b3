//! The places of an answer: from each, by a key, to the next.
//!
//! What is not named here is never looked at. Deliberately absent: what users and models write. No place leads into
//! messages, tool arguments or metadata, except [`Place::Output`], of which nothing is read but that it is there.

use super::answer::Looks;
use super::counts::Slot;

/// A place in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The document, which may be a list of them.
    Root,
    /// A document in a list.
    Listed,
    /// `response` of an event; Ollama's text.
    Response,
    /// `message` of Anthropic's first event, and of Ollama.
    Message,
    /// `delta` of an event: Anthropic's object, OpenAI's text.
    Delta,
    /// `choices`, `candidates`.
    Choices,
    /// One of them.
    Choice,
    /// Its `delta`.
    ChoiceDelta,
    /// Gemini's `content`.
    Content,
    /// Its `parts`.
    Parts,
    /// One of them.
    Part,
    /// `usage`.
    Usage,
    /// `svg_usage`.
    Svg,
    /// `usageMetadata`.
    Gemini,
    /// `prompt_tokens_details`, `input_tokens_details`, `input_token_details`.
    InputDetails,
    /// `completion_tokens_details`, `output_tokens_details`, `output_token_details`.
    OutputDetails,
    /// Anthropic's `cache_creation`.
    CacheCreation,
    /// `promptTokensDetails`.
    InputModalities,
    /// One of them.
    InputModality,
    /// `candidatesTokensDetails`.
    OutputModalities,
    /// One of them.
    OutputModality,
    /// llama.cpp's `timings`.
    Timings,
    /// `x_groq`.
    Groq,
    /// `error`.
    Error,
    /// `incomplete_details`, `status_details`.
    StatusDetails,
    /// `session`.
    Session,
    /// `session.audio`.
    SessionAudio,
    /// `session.audio.input`.
    SessionInput,
    /// What transcribes a session's input.
    Transcription,
    /// Generated output: only whether there is any.
    Output,
    /// One of a list of outputs.
    OutputItem,
    /// A count of tokens.
    Count(Slot),
    /// Text.
    Text(Field),
    /// A number that is no count of tokens.
    Number(Figure),
}

/// What text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// `id`.
    Id,
    /// `model`.
    Model,
    /// `service_tier`.
    Tier,
    /// `system_fingerprint`.
    Fingerprint,
    /// `status`.
    Status,
    /// Why it is incomplete.
    Reason,
    /// Of a choice.
    FinishReason,
    /// Of an answer with one choice.
    StopReason,
    /// `error.type`.
    ErrorType,
    /// `error.code`.
    ErrorCode,
    /// Gemini's `error.status`.
    ErrorStatus,
    /// `error.event_id`.
    ErrorCause,
    /// `type` of an event.
    Type,
    /// `response_id`.
    ResponseId,
    /// `stream_id`.
    StreamId,
    /// `item_id`.
    ItemId,
    /// `session.model`.
    SessionModel,
    /// A transcription's `model`.
    TranscriptionModel,
    /// `usage.type`.
    UsageType,
    /// Gemini's `modality`.
    Modality,
}

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// A choice's `index`.
    ChoiceIndex,
    /// `content_index`.
    ContentIndex,
    /// Its `tokenCount`.
    ModalityCount,
    /// `usage.seconds`.
    Seconds,
}

use Place::{
    CacheCreation, Choice, ChoiceDelta, Choices, Content, Count, Delta, Error, Gemini, Groq, InputDetails,
    InputModalities, InputModality, Listed, Message, Number, Output, OutputDetails, OutputItem, OutputModalities,
    OutputModality, Part, Parts, Response, Root, Session, SessionAudio, SessionInput, StatusDetails, Svg, Text,
    Timings, Transcription, Usage,
};

/// See `Table::is_leaf`.
pub(super) fn is_leaf(place: Place) -> bool {
    matches!(place, Count(_) | Text(_) | Number(_))
}

/// See `Table::element`.
pub(super) fn element(place: Place) -> Option<Place> {
    match place {
        Root => Some(Listed),
        Choices => Some(Choice),
        Parts => Some(Part),
        InputModalities => Some(InputModality),
        OutputModalities => Some(OutputModality),
        Output => Some(OutputItem),
        _ => None,
    }
}

/// See `Table::member`.
pub(super) fn member(place: Place, key: &[u8], looks: Looks) -> Option<Place> {
    let found = match place {
        Root | Listed => root(key),
        Response | Message => response(key),
        Delta if key == b"stop_reason" => Some(Text(Field::StopReason)),
        Delta | ChoiceDelta | Part => delta(key),
        Choice => choice(key),
        Content => (key == b"parts").then_some(Parts),
        Usage => usage(key),
        InputDetails | OutputDetails | CacheCreation | Svg | Timings => details(place, key),
        Gemini => gemini(key),
        InputModality | OutputModality => match key {
            b"modality" => Some(Text(Field::Modality)),
            b"tokenCount" => Some(Number(Figure::ModalityCount)),
            _ => None,
        },
        Groq => (key == b"usage").then_some(Usage),
        Error => match key {
            b"type" => Some(Text(Field::ErrorType)),
            b"code" => Some(Text(Field::ErrorCode)),
            b"status" => Some(Text(Field::ErrorStatus)),
            b"event_id" => Some(Text(Field::ErrorCause)),
            _ => None,
        },
        StatusDetails => match key {
            b"reason" => Some(Text(Field::Reason)),
            b"error" => Some(Error),
            _ => None,
        },
        Session | SessionAudio | SessionInput | Transcription => session(place, key),
        _ => None,
    };
    found.filter(|found| is_looked_at(*found, looks))
}

fn root(key: &[u8]) -> Option<Place> {
    Some(match key {
        b"choices" | b"candidates" => Choices,
        b"usageMetadata" => Gemini,
        b"svg_usage" => Svg,
        b"timings" => Timings,
        b"x_groq" => Groq,
        b"response" => Response,
        b"message" => Message,
        b"delta" => Delta,
        b"modelVersion" => Text(Field::Model),
        b"responseId" => Text(Field::Id),
        b"prompt_eval_count" => Count(Slot::OllamaPrompt),
        b"eval_count" => Count(Slot::OllamaOutput),
        b"tokens_evaluated" => Count(Slot::LlamaPrompt),
        b"tokens_predicted" => Count(Slot::LlamaOutput),
        b"done_reason" | b"stop_type" => Text(Field::StopReason),
        b"type" => Text(Field::Type),
        b"code" => Text(Field::ErrorCode),
        b"response_id" => Text(Field::ResponseId),
        b"stream_id" => Text(Field::StreamId),
        b"item_id" => Text(Field::ItemId),
        b"content_index" => Number(Figure::ContentIndex),
        b"session" => Session,
        b"audio" | b"b64_json" => Output,
        _ => return response(key),
    })
}

/// What stands both at the top and in an event's `response` or `message`.
fn response(key: &[u8]) -> Option<Place> {
    Some(match key {
        b"id" => Text(Field::Id),
        b"model" => Text(Field::Model),
        b"usage" => Usage,
        b"service_tier" => Text(Field::Tier),
        b"system_fingerprint" => Text(Field::Fingerprint),
        b"status" => Text(Field::Status),
        b"incomplete_details" | b"status_details" => StatusDetails,
        b"error" => Error,
        b"stop_reason" => Text(Field::StopReason),
        b"content" | b"thinking" | b"tool_calls" => Output,
        _ => return None,
    })
}

fn choice(key: &[u8]) -> Option<Place> {
    Some(match key {
        b"finish_reason" | b"finishReason" => Text(Field::FinishReason),
        b"index" => Number(Figure::ChoiceIndex),
        b"delta" => ChoiceDelta,
        b"text" => Output,
        b"content" => Content,
        _ => return None,
    })
}

fn delta(key: &[u8]) -> Option<Place> {
    Some(match key {
        // Anthropic's
        b"text" | b"partial_json" | b"thinking" => Output,
        // OpenAI's and its servers'
        b"content" | b"reasoning" | b"reasoning_content" | b"refusal" | b"tool_calls" | b"function_call" | b"audio" => {
            Output
        }
        // Gemini's
        b"functionCall" | b"inlineData" | b"executableCode" | b"codeExecutionResult" => Output,
        _ => return None,
    })
}

fn usage(key: &[u8]) -> Option<Place> {
    Some(match key {
        b"prompt_tokens" => Count(Slot::Prompt),
        b"completion_tokens" => Count(Slot::Completion),
        b"input_tokens" => Count(Slot::Input),
        b"output_tokens" => Count(Slot::Output),
        b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => InputDetails,
        b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => OutputDetails,
        b"cache_read_input_tokens" => Count(Slot::AnthropicRead),
        b"cache_creation_input_tokens" => Count(Slot::AnthropicWrite),
        b"cache_creation" => CacheCreation,
        // DeepSeek's and Moonshot's
        b"prompt_cache_hit_tokens" | b"cached_tokens" => Count(Slot::Cached),
        // SGLang's
        b"reasoning_tokens" => Count(Slot::Reasoning),
        b"service_tier" => Text(Field::Tier),
        b"type" => Text(Field::UsageType),
        b"seconds" => Number(Figure::Seconds),
        _ => return None,
    })
}

fn details(place: Place, key: &[u8]) -> Option<Place> {
    let slot = match (place, key) {
        (InputDetails, b"cached_tokens") => Slot::Cached,
        (InputDetails, b"cache_write_tokens") => Slot::CacheWrite,
        (InputDetails, b"text_tokens") => Slot::TextInput,
        (InputDetails, b"image_tokens") => Slot::ImageInput,
        (InputDetails, b"audio_tokens") => Slot::AudioInput,
        (OutputDetails, b"reasoning_tokens" | b"thinking_tokens") => Slot::Reasoning,
        (OutputDetails, b"text_tokens") => Slot::TextOutput,
        (OutputDetails, b"image_tokens") => Slot::ImageOutput,
        (OutputDetails, b"audio_tokens") => Slot::AudioOutput,
        (CacheCreation, b"ephemeral_5m_input_tokens") => Slot::AnthropicWrite5m,
        (CacheCreation, b"ephemeral_1h_input_tokens") => Slot::AnthropicWrite1h,
        (Svg, b"input_tokens") => Slot::SvgInput,
        (Svg, b"output_tokens") => Slot::SvgOutput,
        (Svg, b"reasoning_tokens") => Slot::SvgReasoning,
        (Timings, b"prompt_n") => Slot::TimedPrompt,
        (Timings, b"cache_n") => Slot::TimedCached,
        (Timings, b"predicted_n") => Slot::TimedOutput,
        _ => return None,
    };
    Some(Count(slot))
}

fn gemini(key: &[u8]) -> Option<Place> {
    Some(match key {
        b"promptTokenCount" => Count(Slot::GeminiPrompt),
        b"toolUsePromptTokenCount" => Count(Slot::GeminiTools),
        b"candidatesTokenCount" | b"responseTokenCount" => Count(Slot::GeminiCandidates),
        b"thoughtsTokenCount" => Count(Slot::GeminiThoughts),
        b"cachedContentTokenCount" => Count(Slot::Cached),
        b"promptTokensDetails" => InputModalities,
        b"candidatesTokensDetails" | b"responseTokensDetails" => OutputModalities,
        _ => return None,
    })
}

fn session(place: Place, key: &[u8]) -> Option<Place> {
    match (place, key) {
        (Session, b"model") => Some(Text(Field::SessionModel)),
        (Session, b"audio") => Some(SessionAudio),
        (Session, b"input_audio_transcription") | (SessionInput, b"transcription") => Some(Transcription),
        (SessionAudio, b"input") => Some(SessionInput),
        (Transcription, b"model") => Some(Text(Field::TranscriptionModel)),
        _ => None,
    }
}

fn is_looked_at(place: Place, looks: Looks) -> bool {
    match place {
        Output | ChoiceDelta | Content => looks != Looks::Whole,
        Text(Field::ResponseId)
        | Text(Field::StreamId)
        | Text(Field::ItemId)
        | Number(Figure::ContentIndex)
        | Session
        | Text(Field::ErrorCause) => looks == Looks::Socket,
        _ => true,
    }
}
