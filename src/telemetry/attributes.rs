//! What an exchange says about itself, as attributes: the bounded ones for metrics, all of them for spans and events.

use std::sync::Arc;

use opentelemetry::{Array, KeyValue, StringValue, Value};

use super::labels::{Label, Labels};
use super::settings::Semconv;
use super::{Exchange, Refusal, Via, names};
use crate::config;
use crate::usage::{Answer, Request, Usage};

/// Turns words into labels.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub provider: StringValue,
    pub models: Labels,
    pub errors: Labels,
    servers: Labels,
    pub semconv: Semconv,
}

/// The labels of one exchange, made once for metrics and spans.
#[derive(Debug)]
pub(super) struct LabelsOf {
    pub request_model: Option<Label>,
    pub response_model: Option<Label>,
    pub error: Option<Label>,
}

impl Vocabulary {
    pub(super) fn new(settings: &config::Telemetry, semconv: Semconv) -> Self {
        Self {
            provider: StringValue::from(Arc::<str>::from(settings.provider.as_str())),
            models: Labels::new(&settings.models, settings.max_models, names::OTHER_MODEL),
            errors: Labels::new(&[], MAX_ERRORS, names::OTHER_ERROR),
            servers: Labels::new(&[], MAX_SERVERS, names::OTHER_MODEL),
            semconv,
        }
    }

    pub(super) fn labels(&self, exchange: &Exchange<'_>) -> LabelsOf {
        let model = |model: &Option<Box<str>>| model.as_deref().map(|model| self.models.label(model));
        LabelsOf {
            request_model: model(&exchange.request.model),
            response_model: exchange.answer.and_then(|answer| model(&answer.model)),
            error: exchange.error.map(|error| self.errors.label(error)),
        }
    }

    /// What the metrics of an exchange have in common.
    pub(super) fn of_metrics(&self, exchange: &Exchange<'_>, labels: &LabelsOf) -> Vec<KeyValue> {
        // room for two more, which some metrics add
        let mut attributes = Vec::with_capacity(8);
        attributes.push(KeyValue::new(names::OPERATION, exchange.operation.name()));
        attributes.push(KeyValue::new(names::PROVIDER, self.provider.clone()));
        if let Some(model) = &labels.request_model {
            attributes.push(KeyValue::new(names::REQUEST_MODEL, model.value()));
        }
        if let Some(model) = &labels.response_model {
            attributes.push(KeyValue::new(names::RESPONSE_MODEL, model.value()));
        }
        if let Some((host, port)) = exchange.server {
            match self.servers.label(&format!("{host}:{port}")) {
                Label::Word(_) => {
                    attributes.push(KeyValue::new(names::SERVER_ADDRESS, host.to_owned()));
                    attributes.push(KeyValue::new(names::SERVER_PORT, i64::from(port)));
                }
                Label::Other(other) => attributes.push(KeyValue::new(names::SERVER_ADDRESS, other)),
            }
        }
        attributes
    }

    /// OpenAI's service tier, one of the known ones: an answer's text is no label.
    pub(super) fn service_tier(&self, exchange: &Exchange<'_>) -> Option<KeyValue> {
        let tier = exchange.answer?.service_tier.as_deref()?;
        if !self.is_openai() {
            return None;
        }
        let known = SERVICE_TIERS.iter().find(|known| **known == tier);
        let tier = known.copied().unwrap_or(names::OTHER_MODEL);
        Some(KeyValue::new(names::RESPONSE_SERVICE_TIER, tier))
    }

    /// What a span and an event say.
    pub(super) fn of_span(&self, exchange: &Exchange<'_>, labels: &LabelsOf) -> Vec<KeyValue> {
        let mut all = Attributes(Vec::with_capacity(32));
        all.word(names::OPERATION, exchange.operation.name());
        all.0.push(KeyValue::new(names::PROVIDER, self.provider.clone()));
        self.request(&mut all, exchange.request);
        if let Some((host, port)) = exchange.server {
            all.text(names::SERVER_ADDRESS, Some(host));
            all.0.push(KeyValue::new(names::SERVER_PORT, i64::from(port)));
        }
        if let Some(answer) = exchange.answer {
            self.answer(&mut all, answer);
            self.usage(&mut all, &answer.usage);
        }
        let first = exchange.time_to_first_token.map(|time| time.as_secs_f64());
        all.float(names::RESPONSE_TIME_TO_FIRST_CHUNK, first);
        if let Some(error) = &labels.error {
            all.0.push(KeyValue::new(names::ERROR_TYPE, error.value()));
        }
        all.int(names::STATUS_CODE, exchange.status.map(u64::from));
        if let Some(missing) = exchange.missing {
            all.word(names::MISSING_REASON, missing.code());
        }
        if let Via::Relay(name) = exchange.via {
            all.text(names::RELAY_NAME, Some(name));
        }
        all.text(names::REQUEST_ID, exchange.request_id);
        all.0
    }

    fn request(&self, all: &mut Attributes, request: &Request) {
        all.text(names::REQUEST_MODEL, request.model.as_deref());
        if request.stream == Some(true) {
            all.0.push(KeyValue::new(names::REQUEST_STREAM, true));
        }
        all.int(names::REQUEST_MAX_TOKENS, request.max_tokens);
        all.int(names::REQUEST_CHOICE_COUNT, request.choice_count.filter(|n| *n != 1));
        if let Some(seed) = request.seed {
            all.0.push(KeyValue::new(names::REQUEST_SEED, seed));
        }
        all.float(names::REQUEST_TEMPERATURE, request.temperature);
        all.float(names::REQUEST_TOP_P, request.top_p);
        all.float(names::REQUEST_FREQUENCY_PENALTY, request.frequency_penalty);
        all.float(names::REQUEST_PRESENCE_PENALTY, request.presence_penalty);
        all.text(names::REQUEST_REASONING_LEVEL, request.reasoning_effort.as_deref());
        all.text(
            names::REQUEST_PREVIOUS_RESPONSE_ID,
            request.previous_response_id.as_deref(),
        );
        if self.is_openai() {
            let tier = request.service_tier.as_deref().filter(|tier| *tier != "auto");
            all.text(names::REQUEST_SERVICE_TIER, tier);
        }
    }

    fn answer(&self, all: &mut Attributes, answer: &Answer) {
        all.text(names::RESPONSE_ID, answer.id.as_deref());
        all.text(names::RESPONSE_MODEL, answer.model.as_deref());
        if !answer.finish_reasons.is_empty() {
            let reasons = answer.finish_reasons.iter().take(MAX_REASONS);
            let reasons = reasons.map(|reason| cut(reason)).collect();
            all.0.push(KeyValue::new(
                names::RESPONSE_FINISH_REASONS,
                Value::Array(Array::String(reasons)),
            ));
        }
        if self.is_openai() {
            all.text(names::RESPONSE_SERVICE_TIER, answer.service_tier.as_deref());
            all.text(names::RESPONSE_SYSTEM_FINGERPRINT, answer.system_fingerprint.as_deref());
        }
    }

    fn usage(&self, all: &mut Attributes, usage: &Usage) {
        all.int(names::USAGE_INPUT, usage.input);
        all.int(names::USAGE_OUTPUT, usage.output);
        all.int(names::USAGE_CACHE_READ, usage.cache_read);
        if self.semconv.released() {
            all.int(names::USAGE_CACHE_CREATION, usage.cache_write);
        }
        if self.semconv.latest() {
            all.int(names::USAGE_CACHE_WRITE, usage.cache_write);
        }
        all.int(names::USAGE_REASONING, usage.reasoning);
        all.int(names::USAGE_TEXT_INPUT, usage.text_input);
        all.int(names::USAGE_IMAGE_INPUT, usage.image_input);
        all.int(names::USAGE_AUDIO_INPUT, usage.audio_input);
        all.int(names::USAGE_TEXT_OUTPUT, usage.text_output);
        all.int(names::USAGE_IMAGE_OUTPUT, usage.image_output);
        all.int(names::USAGE_AUDIO_OUTPUT, usage.audio_output);
    }

    fn is_openai(&self) -> bool {
        self.provider.as_str() == "openai"
    }
}

/// What is told of a request that was refused: the model's conventions do not apply, since it was not asked.
pub(super) fn of_refusal(refusal: &Refusal<'_>) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(4));
    all.word(names::ERROR_TYPE, refusal.code);
    all.int(names::STATUS_CODE, Some(refusal.status.into()));
    all.text(names::RELAY_NAME, Some(refusal.relay));
    all.text(names::REQUEST_ID, Some(refusal.request_id));
    all.0
}

/// What is absent gets no attribute.
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn word(&mut self, key: &'static str, value: &'static str) {
        self.0.push(KeyValue::new(key, value));
    }

    fn text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push(KeyValue::new(key, cut(value)));
        }
    }

    fn int(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.0
                .push(KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX)));
        }
    }

    fn float(&mut self, key: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.0.push(KeyValue::new(key, value));
        }
    }
}

impl Label {
    pub(super) fn value(&self) -> StringValue {
        match self {
            Self::Word(word) => StringValue::from(Arc::clone(word)),
            Self::Other(word) => StringValue::from(*word),
        }
    }
}

/// A peer's text of bounded length.
fn cut(text: &str) -> StringValue {
    let end = text.floor_char_boundary(MAX_TEXT);
    StringValue::from(text.get(..end).unwrap_or_default().to_owned())
}

/// The longest text of an attribute, in bytes.
const MAX_TEXT: usize = 256;

/// `n` answers in one have a reason each.
const MAX_REASONS: usize = 32;

/// Values of `error.type`: faults, HTTP statuses, ways a stream breaks off.
const MAX_ERRORS: usize = 100;

/// Hosts with their ports, as requests name them.
const MAX_SERVERS: usize = 100;

const SERVICE_TIERS: &[&str] = &["auto", "default", "flex", "scale", "priority", "batch", "standard"];
