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
    /// A figure.
    Count(Slot),
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
    /// A choice's `index`.
    ChoiceIndex,
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
    /// `content_index`.
    ContentIndex,
    /// `session.model`.
    SessionModel,
    /// A transcription's `model`.
    TranscriptionModel,
    /// `usage.type`.
    UsageType,
    /// `usage.seconds`.
    Seconds,
    /// Gemini's `modality`.
    Modality,
    /// Its `tokenCount`.
    ModalityCount,
}

use Place::{
    CacheCreation, Choice, ChoiceDelta, ChoiceIndex, Choices, Content, ContentIndex, Count, Delta, Error, ErrorCause,
    ErrorCode, ErrorStatus, ErrorType, Fingerprint, FinishReason, Gemini, Groq, Id, InputDetails, InputModalities,
    InputModality, ItemId, Listed, Message, Modality, ModalityCount, Model, Output, OutputDetails, OutputItem,
    OutputModalities, OutputModality, Part, Parts, Reason, Response, ResponseId, Root, Seconds, Session, SessionAudio,
    SessionInput, SessionModel, Status, StatusDetails, StopReason, StreamId, Svg, Tier, Timings, Transcription,
    TranscriptionModel, Type, Usage, UsageType,
};

/// See `Table::is_leaf`.
pub(super) fn is_leaf(place: Place) -> bool {
    match place {
        Root | Listed | Response | Message | Delta | Choices | Choice | ChoiceDelta | Content | Parts | Part
        | Usage | Svg | Gemini | InputDetails | OutputDetails | CacheCreation | InputModalities | InputModality
        | OutputModalities | OutputModality | Timings | Groq | Error | StatusDetails | Session | SessionAudio
        | SessionInput | Transcription | Output | OutputItem => false,
        Count(_) | Id | Model | Tier | Fingerprint | Status | Reason | FinishReason | StopReason | ChoiceIndex
        | ErrorType | ErrorCode | ErrorStatus | ErrorCause | Type | ResponseId | StreamId | ItemId | ContentIndex
        | SessionModel | TranscriptionModel | UsageType | Seconds | Modality | ModalityCount => true,
    }
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
pub(super) fn member(place: Place, key: &str, looks: Looks) -> Option<Place> {
    let found = match place {
        Root | Listed => root(key),
        Response | Message => response(key),
        Delta if key == "stop_reason" => Some(StopReason),
        Delta | ChoiceDelta | Part => delta(key),
        Choice => choice(key),
        Content => (key == "parts").then_some(Parts),
        Usage => usage(key),
        InputDetails | OutputDetails | CacheCreation | Svg | Timings => details(place, key),
        Gemini => gemini(key),
        InputModality | OutputModality => match key {
            "modality" => Some(Modality),
            "tokenCount" => Some(ModalityCount),
            _ => None,
        },
        Groq => (key == "usage").then_some(Usage),
        Error => match key {
            "type" => Some(ErrorType),
            "code" => Some(ErrorCode),
            "status" => Some(ErrorStatus),
            "event_id" => Some(ErrorCause),
            _ => None,
        },
        StatusDetails => match key {
            "reason" => Some(Reason),
            "error" => Some(Error),
            _ => None,
        },
        Session | SessionAudio | SessionInput | Transcription => session(place, key),
        _ => None,
    };
    found.filter(|found| is_looked_at(*found, looks))
}

fn root(key: &str) -> Option<Place> {
    Some(match key {
        "choices" | "candidates" => Choices,
        "usageMetadata" => Gemini,
        "svg_usage" => Svg,
        "timings" => Timings,
        "x_groq" => Groq,
        "response" => Response,
        "message" => Message,
        "delta" => Delta,
        "modelVersion" => Model,
        "responseId" => Id,
        "prompt_eval_count" => Count(Slot::OllamaPrompt),
        "eval_count" => Count(Slot::OllamaOutput),
        "tokens_evaluated" => Count(Slot::LlamaPrompt),
        "tokens_predicted" => Count(Slot::LlamaOutput),
        "done_reason" | "stop_type" => StopReason,
        "type" => Type,
        "code" => ErrorCode,
        "response_id" => ResponseId,
        "stream_id" => StreamId,
        "item_id" => ItemId,
        "content_index" => ContentIndex,
        "session" => Session,
        "audio" | "b64_json" => Output,
        _ => return response(key),
    })
}

/// What stands both at the top and in an event's `response` or `message`.
fn response(key: &str) -> Option<Place> {
    Some(match key {
        "id" => Id,
        "model" => Model,
        "usage" => Usage,
        "service_tier" => Tier,
        "system_fingerprint" => Fingerprint,
        "status" => Status,
        "incomplete_details" | "status_details" => StatusDetails,
        "error" => Error,
        "stop_reason" => StopReason,
        "content" | "thinking" | "tool_calls" => Output,
        _ => return None,
    })
}

fn choice(key: &str) -> Option<Place> {
    Some(match key {
        "finish_reason" | "finishReason" => FinishReason,
        "index" => ChoiceIndex,
        "delta" => ChoiceDelta,
        "text" => Output,
        "content" => Content,
        _ => return None,
    })
}

fn delta(key: &str) -> Option<Place> {
    Some(match key {
        // Anthropic's
        "text" | "partial_json" | "thinking" => Output,
        // OpenAI's and its servers'
        "content" | "reasoning" | "reasoning_content" | "refusal" | "tool_calls" | "function_call" | "audio" => Output,
        // Gemini's
        "functionCall" | "inlineData" | "executableCode" | "codeExecutionResult" => Output,
        _ => return None,
    })
}

fn usage(key: &str) -> Option<Place> {
    Some(match key {
        "prompt_tokens" => Count(Slot::Prompt),
        "completion_tokens" => Count(Slot::Completion),
        "input_tokens" => Count(Slot::Input),
        "output_tokens" => Count(Slot::Output),
        "prompt_tokens_details" | "input_tokens_details" | "input_token_details" => InputDetails,
        "completion_tokens_details" | "output_tokens_details" | "output_token_details" => OutputDetails,
        "cache_read_input_tokens" => Count(Slot::AnthropicRead),
        "cache_creation_input_tokens" => Count(Slot::AnthropicWrite),
        "cache_creation" => CacheCreation,
        // DeepSeek's and Moonshot's
        "prompt_cache_hit_tokens" | "cached_tokens" => Count(Slot::Cached),
        // SGLang's
        "reasoning_tokens" => Count(Slot::Reasoning),
        "service_tier" => Tier,
        "type" => UsageType,
        "seconds" => Seconds,
        _ => return None,
    })
}

fn details(place: Place, key: &str) -> Option<Place> {
    let slot = match (place, key) {
        (InputDetails, "cached_tokens") => Slot::Cached,
        (InputDetails, "cache_write_tokens") => Slot::CacheWrite,
        (InputDetails, "text_tokens") => Slot::TextInput,
        (InputDetails, "image_tokens") => Slot::ImageInput,
        (InputDetails, "audio_tokens") => Slot::AudioInput,
        (OutputDetails, "reasoning_tokens" | "thinking_tokens") => Slot::Reasoning,
        (OutputDetails, "text_tokens") => Slot::TextOutput,
        (OutputDetails, "image_tokens") => Slot::ImageOutput,
        (OutputDetails, "audio_tokens") => Slot::AudioOutput,
        (CacheCreation, "ephemeral_5m_input_tokens") => Slot::AnthropicWrite5m,
        (CacheCreation, "ephemeral_1h_input_tokens") => Slot::AnthropicWrite1h,
        (Svg, "input_tokens") => Slot::SvgInput,
        (Svg, "output_tokens") => Slot::SvgOutput,
        (Svg, "reasoning_tokens") => Slot::SvgReasoning,
        (Timings, "prompt_n") => Slot::TimedPrompt,
        (Timings, "cache_n") => Slot::TimedCached,
        (Timings, "predicted_n") => Slot::TimedOutput,
        _ => return None,
    };
    Some(Count(slot))
}

fn gemini(key: &str) -> Option<Place> {
    Some(match key {
        "promptTokenCount" => Count(Slot::GeminiPrompt),
        "toolUsePromptTokenCount" => Count(Slot::GeminiTools),
        "candidatesTokenCount" | "responseTokenCount" => Count(Slot::GeminiCandidates),
        "thoughtsTokenCount" => Count(Slot::GeminiThoughts),
        "cachedContentTokenCount" => Count(Slot::Cached),
        "promptTokensDetails" => InputModalities,
        "candidatesTokensDetails" | "responseTokensDetails" => OutputModalities,
        _ => return None,
    })
}

fn session(place: Place, key: &str) -> Option<Place> {
    match (place, key) {
        (Session, "model") => Some(SessionModel),
        (Session, "audio") => Some(SessionAudio),
        (Session, "input_audio_transcription") | (SessionInput, "transcription") => Some(Transcription),
        (SessionAudio, "input") => Some(SessionInput),
        (Transcription, "model") => Some(TranscriptionModel),
        _ => None,
    }
}

fn is_looked_at(place: Place, looks: Looks) -> bool {
    match place {
        Output | ChoiceDelta | Content => looks != Looks::Whole,
        ResponseId | StreamId | ItemId | ContentIndex | Session | ErrorCause => looks == Looks::Socket,
        _ => true,
    }
}
