//! The stream's dynamic metadata: what access logs, tracing and token rate limits read.
//!
//! Numbers are numbers, and what is not known is not set. Texts and lists are plain strings, one form for every release
//! of Envoy (only 1.40 takes structures).

use std::time::Duration;

use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;

use super::session::Closing;
use crate::usage::{Missing, Operation, Usage};

/// Of the dynamic metadata: `%DYNAMIC_METADATA(spectral_bridge.gen_ai:input_tokens)%` in an access log.
pub const NAMESPACE: &str = "spectral_bridge.gen_ai";

/// What is known at a stream's end.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) operation: Operation,
    pub(super) provider: &'a str,
    pub(super) request_model: Option<&'a str>,
    pub(super) response_model: Option<&'a str>,
    pub(super) stream: bool,
    pub(super) finish_reasons: &'a [Box<str>],
    pub(super) time_to_first_token: Option<Duration>,
    pub(super) missing: Option<Missing>,
}

/// Sets what is known at a stream's end, tokens apart.
pub(super) fn set<EHF: EnvoyHttpFilter>(envoy: &mut EHF, facts: &Facts<'_>) {
    let reasons = facts.finish_reasons.join(",");
    let texts = [
        ("operation", Some(facts.operation.name())),
        ("provider", Some(facts.provider)),
        ("request_model", facts.request_model),
        ("response_model", facts.response_model),
        ("finish_reasons", (!reasons.is_empty()).then_some(reasons.as_str())),
        ("usage_missing", facts.missing.map(Missing::code)),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            envoy.set_dynamic_metadata_string(NAMESPACE, key, value);
        }
    }
    envoy.set_dynamic_metadata_bool(NAMESPACE, "stream", facts.stream);
    if let Some(took) = facts.time_to_first_token {
        let millis = (took.as_secs_f64() * 1000.0).round();
        envoy.set_dynamic_metadata_number(NAMESPACE, "time_to_first_token_ms", millis);
    }
}

/// Sets the tokens that are known.
pub(super) fn set_tokens<EHF: EnvoyHttpFilter>(envoy: &mut EHF, usage: &Usage) {
    let numbers = [
        ("input_tokens", usage.input),
        ("output_tokens", usage.output),
        ("total_tokens", total(usage)),
        ("cached_tokens", usage.cache_read),
        ("cache_write_tokens", usage.cache_write),
        ("reasoning_tokens", usage.reasoning),
        ("text_input_tokens", usage.text_input),
        ("image_input_tokens", usage.image_input),
        ("audio_input_tokens", usage.audio_input),
        ("text_output_tokens", usage.text_output),
        ("image_output_tokens", usage.image_output),
        ("audio_output_tokens", usage.audio_output),
    ];
    for (key, value) in numbers {
        if let Some(tokens) = value {
            envoy.set_dynamic_metadata_number(NAMESPACE, key, number(tokens));
        }
    }
}

/// Sets how a session went.
pub(super) fn set_session<EHF: EnvoyHttpFilter>(envoy: &mut EHF, turns: u64, closing: Closing) {
    envoy.set_dynamic_metadata_number(NAMESPACE, "turns", number(turns));
    envoy.set_dynamic_metadata_number(NAMESPACE, "close_code", closing.code.into());
    envoy.set_dynamic_metadata_string(NAMESPACE, "closed_by", closing.by.name());
}

/// Input and output together, as far as they are known.
fn total(usage: &Usage) -> Option<u64> {
    match (usage.input, usage.output) {
        (None, None) => None,
        (input, output) => Some(input.unwrap_or_default().saturating_add(output.unwrap_or_default())),
    }
}

#[allow(clippy::cast_precision_loss)] // metadata has doubles only; 2^53 tokens are out of reach
fn number(tokens: u64) -> f64 {
    tokens as f64
}

/// The custom flag of an answer whose tokens are not known: `%CUSTOM_FLAGS%` in an access log.
pub(super) fn flag(missing: Missing) -> &'static str {
    match missing {
        Missing::Absent | Missing::Null => "SBUM",
        Missing::CutShort => "SBUC",
        Missing::Unreadable => "SBUR",
        Missing::Encoding => "SBUE",
    }
}
