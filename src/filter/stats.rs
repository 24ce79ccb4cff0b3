//! What the filter adds to Envoy's statistics: names, labels, and one call for each exchange.
//!
//! Under the `metrics_namespace` of the filter's configuration; `/stats/prometheus` shows counters as they are named, so
//! their names end in `_total`. Histograms are in milliseconds, since Envoy's hold whole numbers.

use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_metrics_result as MetricsResult;
use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyCounterVecId, EnvoyGaugeId, EnvoyHistogramVecId, EnvoyHttpFilter, EnvoyHttpFilterConfig,
};

use crate::telemetry::{Exchange, Session};
use crate::usage::{Operation, Usage};

/// The defined statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stats {
    requests: EnvoyCounterVecId,
    tokens: EnvoyCounterVecId,
    details: EnvoyCounterVecId,
    missing: EnvoyCounterVecId,
    include: EnvoyCounterVecId,
    active: EnvoyGaugeId,
    duration: EnvoyHistogramVecId,
    first_token: EnvoyHistogramVecId,
    sessions: EnvoyCounterVecId,
    sessions_active: EnvoyGaugeId,
    session_duration: EnvoyHistogramVecId,
}

impl Stats {
    /// Defines them, while the configuration is made.
    pub(super) fn define<EC: EnvoyHttpFilterConfig>(envoy: &mut EC) -> Result<Self, MetricsResult> {
        Ok(Self {
            requests: envoy.define_counter_vec("gen_ai_requests_total", &["operation", "model", "outcome"])?,
            tokens: envoy.define_counter_vec("gen_ai_tokens_total", &["operation", "model", "token_type"])?,
            details: envoy.define_counter_vec("gen_ai_token_details_total", &["operation", "model", "detail"])?,
            missing: envoy.define_counter_vec("gen_ai_usage_missing_total", &["operation", "model", "reason"])?,
            include: envoy.define_counter_vec("gen_ai_include_usage_total", &["result"])?,
            active: envoy.define_gauge("gen_ai_streams_active")?,
            duration: envoy.define_histogram_vec("gen_ai_request_duration_ms", &["operation", "model"])?,
            first_token: envoy.define_histogram_vec("gen_ai_time_to_first_token_ms", &["operation", "model"])?,
            sessions: envoy
                .define_counter_vec("gen_ai_sessions_total", &["operation", "model", "close", "closed_by"])?,
            sessions_active: envoy.define_gauge("gen_ai_sessions_active")?,
            session_duration: envoy.define_histogram_vec("gen_ai_session_duration_ms", &["operation", "model"])?,
        })
    }

    /// A stream begins; `lost` ones ended unnoticed.
    pub(super) fn begin<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, lost: u64) {
        told(envoy.increase_gauge(self.active, 1));
        if lost > 0 {
            told(envoy.decrease_gauge(self.active, lost));
        }
    }

    /// A stream is over.
    pub(super) fn end<EHF: EnvoyHttpFilter>(&self, envoy: &EHF) {
        told(envoy.decrease_gauge(self.active, 1));
    }

    /// A session begins; `lost` ones ended unnoticed.
    pub(super) fn begin_session<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, lost: u64) {
        told(envoy.increase_gauge(self.sessions_active, 1));
        if lost > 0 {
            told(envoy.decrease_gauge(self.sessions_active, lost));
        }
    }

    /// A session is over; it counts under the label `model`.
    pub(super) fn end_session<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, session: &Session<'_>, model: &str) {
        let operation = session.operation.name();
        told(envoy.decrease_gauge(self.sessions_active, 1));
        let labels = [operation, model, session.close, session.closed_by];
        told(envoy.increment_counter_vec(self.sessions, &labels, 1));
        told(envoy.record_histogram_value_vec(self.session_duration, &[operation, model], millis(session.duration)));
    }

    /// A request was made to ask for its usage (`added`), or why it was not.
    pub(super) fn included<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, result: &str) {
        told(envoy.increment_counter_vec(self.include, &[result], 1));
    }

    /// Counts an exchange under the label `model`.
    pub(super) fn record<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, exchange: &Exchange<'_>, model: &str) {
        let operation = exchange.operation.name();
        let count = |id, label, value| told(envoy.increment_counter_vec(id, &[operation, model, label], value));
        count(self.requests, outcome(exchange), 1);
        if let Some(missing) = exchange.missing {
            count(self.missing, missing.code(), 1);
        }
        if let Some(answer) = exchange.answer
            && exchange.operation != Operation::FetchResponse
        {
            let usage = &answer.usage;
            let counted = |(name, tokens): (_, Option<u64>)| Some((name, tokens.filter(|tokens| *tokens > 0)?));
            for (name, tokens) in totals(usage).into_iter().filter_map(counted) {
                count(self.tokens, name, tokens);
            }
            for (name, tokens) in details(usage).into_iter().filter_map(counted) {
                count(self.details, name, tokens);
            }
        }
        told(envoy.record_histogram_value_vec(self.duration, &[operation, model], millis(exchange.duration)));
        if let Some(took) = exchange.time_to_first_token {
            told(envoy.record_histogram_value_vec(self.first_token, &[operation, model], millis(took)));
        }
    }
}

/// Tokens that add up.
fn totals(usage: &Usage) -> [(&'static str, Option<u64>); 2] {
    [("input", usage.input), ("output", usage.output)]
}

/// Parts of them, which would count twice in a sum.
fn details(usage: &Usage) -> [(&'static str, Option<u64>); 9] {
    [
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
        ("reasoning", usage.reasoning),
        ("text_input", usage.text_input),
        ("image_input", usage.image_input),
        ("audio_input", usage.audio_input),
        ("text_output", usage.text_output),
        ("image_output", usage.image_output),
        ("audio_output", usage.audio_output),
    ]
}

/// How it ended: a label.
fn outcome(exchange: &Exchange<'_>) -> &'static str {
    match (exchange.status, exchange.error) {
        (_, Some(CANCELLED)) => CANCELLED,
        (_, Some(CUT_SHORT)) => CUT_SHORT,
        (Some(500..), _) => "server_error",
        (Some(400..), _) => "client_error",
        (_, Some(_)) => "failed",
        (_, None) => "ok",
    }
}

pub(super) fn millis(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// What was defined can be changed, so an error would be a defect, and no reason to trouble a stream.
fn told(result: Result<(), MetricsResult>) {
    if let Err(error) = result {
        tracing::debug!("a statistic cannot be changed: {error:?}");
    }
}

/// The client left before the answer was whole.
pub(super) const CANCELLED: &str = "cancelled";
/// The answer broke off.
pub(super) const CUT_SHORT: &str = "cut_short";
/// The answer says that it failed, under a status of success.
pub(super) const FAILED: &str = "failed";
