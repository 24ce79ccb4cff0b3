//! The metrics that are recorded as things happen.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::attributes::{LabelsOf, Vocabulary};
use super::names::{self, Metric};
use super::sessions::Sessions;
use super::settings::Semconv;
use super::{Exchange, Origin, Stage};
use crate::usage::{Operation, Usage};

#[derive(Debug)]
pub(super) struct Instruments {
    duration: Histogram<f64>,
    time_to_first_token: Histogram<f64>,
    time_per_output_token: Histogram<f64>,
    released: Option<Released>,
    latest: Option<Latest>,
    missing: Counter<u64>,
    stage: Histogram<f64>,
    pub(super) sessions: Sessions,
}

/// Names that only the released conventions have.
#[derive(Debug)]
struct Released {
    tokens: Histogram<u64>,
}

/// Names that only the unreleased conventions have.
#[derive(Debug)]
struct Latest {
    input: Counter<u64>,
    output: Counter<u64>,
    cache_read: Counter<u64>,
    cache_write: Counter<u64>,
    reasoning: Counter<u64>,
    operation_input: Histogram<u64>,
    operation_output: Histogram<u64>,
    time_to_first_chunk: Histogram<f64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter, semconv: Semconv) -> Self {
        Self {
            duration: seconds(meter, &names::OPERATION_DURATION),
            time_to_first_token: seconds(meter, &names::TIME_TO_FIRST_TOKEN),
            time_per_output_token: seconds(meter, &names::TIME_PER_OUTPUT_TOKEN),
            released: semconv.released().then(|| Released {
                tokens: whole(meter, &names::TOKEN_USAGE),
            }),
            latest: semconv.latest().then(|| Latest::new(meter)),
            missing: counter(meter, &names::USAGE_MISSING),
            stage: seconds(meter, &names::STAGE_DURATION),
            sessions: Sessions::new(meter),
        }
    }

    pub(super) fn record(&self, vocabulary: &Vocabulary, exchange: &Exchange<'_>, labels: &LabelsOf) {
        let mut attributes = vocabulary.of_metrics(exchange, labels);
        self.time(&attributes, exchange);
        let fetched = exchange.operation == Operation::FetchResponse;
        let usage = exchange.answer.map(|answer| answer.usage).filter(|_| !fetched);
        if let (Some(released), Some(usage)) = (&self.released, &usage) {
            released.record(&mut attributes, usage);
        }
        if let Some(latest) = &self.latest {
            attributes.extend(vocabulary.service_tier(exchange));
            latest.record(&mut attributes, exchange, usage.as_ref());
        }
        if let Some(error) = &labels.error {
            attributes.push(KeyValue::new(names::ERROR_TYPE, error.value()));
        }
        self.duration.record(exchange.duration.as_secs_f64(), &attributes);
        if let Some(missing) = exchange.missing {
            self.missing(missing.code(), exchange.operation, labels);
        }
    }

    /// Of successful streams only, as the conventions say.
    fn time(&self, attributes: &[KeyValue], exchange: &Exchange<'_>) {
        let (None, Some(first)) = (exchange.error, exchange.time_to_first_token) else {
            return;
        };
        self.time_to_first_token.record(first.as_secs_f64(), attributes);
        let output = exchange.answer.and_then(|answer| answer.usage.output);
        if let Some(per_token) = output.and_then(|output| per_token(exchange.duration.saturating_sub(first), output)) {
            self.time_per_output_token.record(per_token, attributes);
        }
    }

    fn missing(&self, reason: &'static str, operation: Operation, labels: &LabelsOf) {
        let mut attributes = vec![
            KeyValue::new(names::MISSING_REASON, reason),
            KeyValue::new(names::OPERATION, operation.name()),
        ];
        if let Some(model) = &labels.request_model {
            attributes.push(KeyValue::new(names::REQUEST_MODEL, model.value()));
        }
        self.missing.add(1, &attributes);
    }

    pub(super) fn stage(&self, relay: &Origin, stage: Stage, took: Duration) {
        let stage = KeyValue::new(names::REQUEST_STAGE, stage.name());
        let attributes: Vec<_> = relay.all().iter().cloned().chain([stage]).collect();
        self.stage.record(took.as_secs_f64(), &attributes);
    }
}

impl Released {
    /// What was not reported is not recorded; a reported zero is.
    fn record(&self, attributes: &mut Vec<KeyValue>, usage: &Usage) {
        for (word, count) in [("input", usage.input), ("output", usage.output)] {
            if let Some(count) = count {
                attributes.push(KeyValue::new(names::TOKEN_TYPE, word));
                self.tokens.record(count, attributes);
                attributes.pop();
            }
        }
    }
}

impl Latest {
    fn new(meter: &Meter) -> Self {
        Self {
            input: counter(meter, &names::INPUT_TOKENS),
            output: counter(meter, &names::OUTPUT_TOKENS),
            cache_read: counter(meter, &names::CACHE_READ_TOKENS),
            cache_write: counter(meter, &names::CACHE_WRITE_TOKENS),
            reasoning: counter(meter, &names::REASONING_TOKENS),
            operation_input: whole(meter, &names::OPERATION_INPUT_TOKENS),
            operation_output: whole(meter, &names::OPERATION_OUTPUT_TOKENS),
            time_to_first_chunk: seconds(meter, &names::TIME_TO_FIRST_CHUNK),
        }
    }

    fn record(&self, attributes: &mut Vec<KeyValue>, exchange: &Exchange<'_>, usage: Option<&Usage>) {
        if let Some(first) = exchange.time_to_first_token {
            self.time_to_first_chunk.record(first.as_secs_f64(), attributes);
        }
        let Some(usage) = usage else { return };
        if let Some(input) = usage.input {
            self.operation_input.record(input, attributes);
            let parts = [usage.text_input, usage.image_input, usage.audio_input];
            add_by_modality(&self.input, attributes, input, parts);
        }
        if let Some(output) = usage.output {
            self.operation_output.record(output, attributes);
            let parts = [usage.text_output, usage.image_output, usage.audio_output];
            add_by_modality(&self.output, attributes, output, parts);
        }
        for (counter, count) in [
            (&self.cache_read, usage.cache_read),
            (&self.cache_write, usage.cache_write),
            (&self.reasoning, usage.reasoning),
        ] {
            if let Some(count) = count {
                add_by_modality(counter, attributes, count, [None; 3]);
            }
        }
    }
}

/// Adds `total`, split as far as the model says; the sum over modalities is always the total.
fn add_by_modality(counter: &Counter<u64>, attributes: &mut Vec<KeyValue>, total: u64, parts: [Option<u64>; 3]) {
    let known = parts
        .iter()
        .flatten()
        .try_fold(0, |sum: u64, part| sum.checked_add(*part));
    let (parts, rest) = match known.and_then(|known| total.checked_sub(known)) {
        Some(rest) => (parts, rest),
        None => ([None; 3], total),
    };
    let parts = ["text", "image", "audio"].into_iter().zip(parts);
    for (modality, count) in parts.chain([("unknown", Some(rest).filter(|rest| *rest > 0 || total == 0))]) {
        if let Some(count) = count.filter(|count| *count > 0 || modality == "unknown") {
            attributes.push(KeyValue::new(names::TOKEN_MODALITY, modality));
            counter.add(count, attributes);
            attributes.pop();
        }
    }
}

/// Seconds for each token after the first.
fn per_token(after_first: Duration, tokens: u64) -> Option<f64> {
    let more = u32::try_from(tokens.checked_sub(1)?).ok().filter(|more| *more > 0)?;
    Some(after_first.as_secs_f64() / f64::from(more))
}

impl Stage {
    /// As the metric spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Forward => "forward",
            Self::Ack => "ack",
        }
    }
}

fn counter(meter: &Meter, metric: &Metric) -> Counter<u64> {
    meter
        .u64_counter(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .build()
}

pub(super) fn seconds(meter: &Meter, metric: &Metric) -> Histogram<f64> {
    meter
        .f64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_boundaries(metric.buckets.to_vec())
        .build()
}

pub(super) fn whole(meter: &Meter, metric: &Metric) -> Histogram<u64> {
    meter
        .u64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_boundaries(metric.buckets.to_vec())
        .build()
}
