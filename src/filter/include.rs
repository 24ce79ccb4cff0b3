//! Asking for usage on a client's behalf (`include_usage: true`), the one thing for which the filter takes part in a stream.
//!
//! The request is held until it is whole, so that it can be made to ask ([`ask`](super::ask)), and passes as it came when
//! it is too large or cannot be read. What the client did not ask for is taken out of its stream again
//! ([`strip`](super::strip)). Deliberately absent: compressed bodies, either way; `accept-encoding` is removed from a request
//! that is made to ask.

use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;
use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_on_http_filter_request_body_status as RequestBodyStatus;

use super::ask::{self, Asked};
use super::head::Head;
use super::stats::Stats;
use super::strip::Strip;
use crate::usage::Operation;

/// How far it is on one stream.
#[derive(Debug, Default)]
pub(super) enum Include {
    /// The stream passes as it is.
    #[default]
    No,
    /// The request is held, up to so many bytes.
    Asking(usize),
    /// The request asks; its answer has not begun.
    Added,
    /// The answer is an event stream.
    Stripping(Strip),
}

impl Include {
    /// Whether the request whose headers came is one to hold.
    pub(super) fn begin<EHF: EnvoyHttpFilter>(envoy: &EHF, head: &Head, limit: usize) -> Self {
        let header = |name| envoy.get_request_header_value(name).map(|value| value.as_slice());
        let path = header(":path").unwrap_or_default();
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        let completion =
            matches!(head.operation, Operation::Chat | Operation::TextCompletion) && path.ends_with(b"/completions");
        let json = header("content-type").is_some_and(|kind| kind.starts_with(b"application/json"));
        let length = header("content-length").and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
        let limit = within_envoys(envoy.get_buffer_limit(), limit);
        let fits = length.is_none_or(|length: usize| length <= limit);
        // whoever waits for the model's `100 Continue` sends no body until the headers have passed
        let waits = header("expect").is_some();
        if completion && json && fits && !waits && !head.is_relayed() && header("content-encoding").is_none() {
            Self::Asking(limit)
        } else {
            Self::No
        }
    }

    /// Whether the request is held.
    pub(super) fn holds(&self) -> bool {
        matches!(self, Self::Asking(_))
    }

    /// A piece of the request's body.
    pub(super) fn request_body<EHF: EnvoyHttpFilter>(
        &mut self,
        envoy: &mut EHF,
        end: bool,
        stats: &Stats,
    ) -> RequestBodyStatus {
        let Self::Asking(limit) = *self else {
            return RequestBodyStatus::Continue;
        };
        let held = envoy.get_buffered_request_body_size();
        if held.saturating_add(envoy.get_received_request_body_size()) > limit {
            stats.included(envoy, "too_large");
            *self = Self::No;
            return RequestBodyStatus::Continue;
        }
        if !end {
            return RequestBodyStatus::StopIterationAndBuffer;
        }
        let mut body = together(envoy.get_buffered_request_body());
        body.append(&mut together(envoy.get_received_request_body()));
        if let Some(asking) = self.ask(envoy, &body, stats) {
            let received = body.len().saturating_sub(held);
            envoy.drain_buffered_request_body(held);
            envoy.drain_received_request_body(received);
            envoy.append_received_request_body(&asking);
        }
        RequestBodyStatus::Continue
    }

    /// The request ends with trailers: its body is held.
    pub(super) fn request_trailers<EHF: EnvoyHttpFilter>(&mut self, envoy: &mut EHF, stats: &Stats) {
        if !self.holds() {
            return;
        }
        let body = together(envoy.get_buffered_request_body());
        if let Some(asking) = self.ask(envoy, &body, stats) {
            envoy.drain_buffered_request_body(body.len());
            envoy.append_buffered_request_body(&asking);
        }
    }

    /// The body that asks, if that is another than `body`, with the headers that belong to it.
    fn ask<EHF: EnvoyHttpFilter>(&mut self, envoy: &mut EHF, body: &[u8], stats: &Stats) -> Option<Vec<u8>> {
        *self = Self::No;
        match ask::for_usage(body) {
            Asked::Already => None,
            Asked::Unreadable => {
                stats.included(envoy, "unreadable");
                None
            }
            Asked::Added(asking) => {
                stats.included(envoy, "added");
                *self = Self::Added;
                if envoy.get_request_header_value("content-length").is_some() {
                    envoy.set_request_header("content-length", asking.len().to_string().as_bytes());
                }
                envoy.remove_request_header("accept-encoding");
                Some(asking)
            }
        }
    }

    /// The answer's headers.
    pub(super) fn response_headers<EHF: EnvoyHttpFilter>(&mut self, envoy: &EHF) {
        if !matches!(self, Self::Added) {
            return;
        }
        let header = |name| envoy.get_response_header_value(name).map(|value| value.as_slice());
        let events = header("content-type").is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        let plain = header("content-encoding").is_none() && header("content-length").is_none();
        *self = if events && plain {
            Self::Stripping(Strip::default())
        } else {
            Self::No
        };
    }

    /// A piece of the answer's body.
    pub(super) fn response_body<EHF: EnvoyHttpFilter>(&mut self, envoy: &mut EHF, end: bool) {
        let Self::Stripping(strip) = self else { return };
        let came = envoy.get_received_response_body_size();
        let held_before = !strip.is_empty();
        let mut out = Vec::with_capacity(came);
        for chunk in envoy.get_received_response_body().iter().flatten() {
            strip.push(chunk.as_slice(), &mut out);
        }
        if end {
            strip.end(&mut out);
        }
        let as_it_came = !held_before && strip.is_empty() && out.len() == came;
        if !as_it_came {
            envoy.drain_received_response_body(came);
            envoy.append_received_response_body(&out);
        }
    }

    /// The answer ends with trailers: what is held of its last event passes before them.
    pub(super) fn response_trailers<EHF: EnvoyHttpFilter>(&mut self, envoy: &mut EHF) {
        let Self::Stripping(strip) = self else { return };
        let mut out = Vec::new();
        strip.end(&mut out);
        if !out.is_empty() {
            envoy.append_buffered_response_body(&out);
        }
    }
}

/// `limit`, or what Envoy buffers if that is less: it would refuse the request (413).
fn within_envoys(envoys: u64, limit: usize) -> usize {
    match usize::try_from(envoys) {
        Ok(envoys @ 1..) => envoys.min(limit),
        Ok(0) | Err(_) => limit,
    }
}

fn together<C: AsRef<[u8]>>(chunks: Option<Vec<C>>) -> Vec<u8> {
    chunks.iter().flatten().fold(Vec::new(), |mut whole, chunk| {
        whole.extend_from_slice(chunk.as_ref());
        whole
    })
}
