//! What telemetry and the status are told about one turn: once, also when it is given up.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::HeaderMap;

use super::counts::Counts;
use super::reply::CANCELLED;
use crate::relayed::{self, Ticket, X_SPECTRAL_BRIDGE_TICKET};
use crate::telemetry::{Exchange, Span, Telemetry, Via};
use crate::usage::{self, Operation, Request, Tap};

/// A turn on its way to the adapter and back.
#[derive(Debug)]
pub(super) struct Watch {
    telemetry: Telemetry,
    counts: Arc<Counts>,
    operation: Operation,
    request: Request,
    request_id: Option<String>,
    tap: Option<Tap>,
    status: Option<u16>,
    began: Instant,
    first_output: Option<Duration>,
    /// Taken when the end was told.
    open: Option<(Span, Option<Ticket>)>,
}

impl Watch {
    /// Begins to watch the turn that asks `body`; `headers` then carry the trace on and the ticket by which the filter
    /// `usage` knows that it is counted here.
    pub fn begin(
        telemetry: &Telemetry,
        counts: &Arc<Counts>,
        path: &str,
        headers: &mut HeaderMap,
        body: &Bytes,
    ) -> Self {
        counts.turn_begins();
        let span = telemetry.begin(headers, SystemTime::now());
        let ticket = relayed::ticket();
        if let Some(ticket) = &ticket {
            headers.insert(X_SPECTRAL_BRIDGE_TICKET, ticket.header());
        }
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let asked = std::str::from_utf8(body).ok().filter(|_| telemetry.wants_requests());
        Self {
            telemetry: telemetry.clone(),
            counts: Arc::clone(counts),
            operation: usage::operation("POST", path).unwrap_or(Operation::Chat),
            request: asked.map(usage::read_request).unwrap_or_default(),
            request_id: id.map(str::to_owned),
            tap: None,
            status: None,
            began: Instant::now(),
            first_output: None,
            open: Some((span, ticket)),
        }
    }

    /// The model answers.
    pub fn answers_with(&mut self, status: u16, content_type: Option<&[u8]>) {
        self.status = Some(status);
        self.tap = Some(Tap::new(self.operation, content_type, None));
    }

    pub fn answers(&mut self, bytes: &[u8]) {
        if let Some(tap) = &mut self.tap
            && tap.push(bytes).first_output
        {
            self.first_output.get_or_insert_with(|| self.began.elapsed());
        }
    }

    /// The turn is over: with its whole answer, or with the failure of this label.
    pub fn finish(mut self, failure: Option<&str>) {
        self.end(failure);
    }

    fn end(&mut self, failure: Option<&str>) {
        let Some((span, _ticket)) = self.open.take() else {
            return;
        };
        if let Some(tap) = &mut self.tap {
            tap.finish(failure.is_none());
        }
        let succeeded = self.status.is_some_and(|status| (200..300).contains(&status));
        let tap = self.tap.as_ref();
        let answer = tap.map(Tap::answer);
        self.counts
            .turn_ends(failure.unwrap_or(DONE), answer.map(|answer| &answer.usage));
        let exchange = Exchange {
            via: Via::Chat,
            operation: self.operation,
            request: &self.request,
            answer,
            status: self.status,
            error: failure,
            missing: tap.filter(|_| succeeded).and_then(Tap::missing),
            request_id: self.request_id.as_deref(),
            duration: self.began.elapsed(),
            time_to_first_token: self.first_output,
            server: None,
        };
        self.telemetry.finish(span, &exchange);
    }
}

impl Drop for Watch {
    /// The turn was given up: cancelled, or its client is gone.
    fn drop(&mut self) {
        self.end(Some(CANCELLED));
    }
}

/// How a turn with its whole answer is counted.
const DONE: &str = "done";
