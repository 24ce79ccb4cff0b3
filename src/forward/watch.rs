//! What telemetry is told about one forwarded request: once, also when it is given up.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::HeaderMap;

use crate::inspector::{self, Outcome, Recorder};
use crate::protocol::{ForwardRequest, RequestId, Response};
use crate::relayed::{self, Ticket, X_SPECTRAL_BRIDGE_TICKET};
use crate::telemetry::{Exchange, Origin, Span, Stage, Telemetry, Via};
use crate::usage::{self, Operation, Request};

/// A request on its way to the adapter and back.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    telemetry: &'a Telemetry,
    relay: &'a Origin,
    recorder: &'a Recorder,
    /// Taken when the end was told.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    id: RequestId,
    path: Arc<str>,
    /// Absent for what is no inference, such as a list of models: of that only the stages are told.
    operation: Option<Operation>,
    request: Request,
    span: Span,
    received: Instant,
    dispatched: Instant,
    deadline: Instant,
    _ticket: Option<Ticket>,
    /// Its place among the last requests.
    recorded: Option<inspector::Ticket>,
}

impl<'a> Watch<'a> {
    /// Begins to watch `request`, whose headers then carry the trace on and the ticket by which the filter `usage` knows
    /// that it is counted here.
    pub(super) fn begin<H>(
        telemetry: &'a Telemetry,
        relay: &'a Origin,
        recorder: &'a Recorder,
        request: &mut ForwardRequest<H>,
    ) -> Self {
        let dispatched = Instant::now();
        let waited = dispatched.saturating_duration_since(request.received);
        telemetry.stage(relay, Stage::Queue, waited);
        let recorded = recorder.begin(&inspector::Asked {
            id: request.id.as_str(),
            path: &request.path,
            headers: &request.headers,
            body: &request.body,
            waited,
        });
        let operation = usage::operation(request.method.as_str(), &request.path);
        let open = Open {
            id: request.id.clone(),
            path: Arc::clone(&request.path),
            operation,
            request: asked(telemetry, &request.body),
            span: match operation {
                Some(_) => telemetry.begin(&mut request.headers, SystemTime::now() - waited),
                None => Span::default(),
            },
            received: request.received,
            dispatched,
            deadline: request.deadline,
            _ticket: ticket(&mut request.headers),
            recorded,
        };
        Self {
            telemetry,
            relay,
            recorder,
            open: Some(open),
        }
    }

    /// The request has its response.
    pub(super) fn finish(mut self, response: &Response) {
        let failed = (response.status >= 400).then(|| response.status.to_string());
        self.end(Some(response), response.fault, response.fault.or(failed.as_deref()));
    }

    fn end(&mut self, response: Option<&Response>, fault: Option<&'static str>, error: Option<&str>) {
        let Some(mut open) = self.open.take() else { return };
        let now = Instant::now();
        let since = |then: Instant| now.saturating_duration_since(then);
        self.telemetry.stage(self.relay, Stage::Forward, since(open.dispatched));
        if let Some(recorded) = open.recorded.take() {
            let answer = response.and_then(|response| response.answer.as_deref());
            let outcome = Outcome {
                status: response.map(|response| response.status),
                fault,
                model: answer
                    .and_then(|answer| answer.model.as_deref())
                    .or(open.request.model.as_deref()),
                usage: answer.map(|answer| answer.usage).unwrap_or_default(),
                took: since(open.dispatched),
                frame: response.map(|response| &*response.frame),
            };
            self.recorder.finish(recorded, open.id.as_str(), &open.path, &outcome);
        }
        let Some(operation) = open.operation else { return };
        let exchange = Exchange {
            via: Via::Relay(self.relay),
            operation,
            request: &open.request,
            answer: response.and_then(|response| response.answer.as_deref()),
            status: response.map(|response| response.status),
            error,
            missing: response.and_then(Response::usage_missing),
            request_id: Some(open.id.as_str()),
            duration: since(open.received),
            time_to_first_token: None,
            server: None,
        };
        self.telemetry.finish(open.span, &exchange);
    }
}

impl Drop for Watch<'_> {
    /// The forwarding was given up: its time is over, or its answer is not wanted any more.
    fn drop(&mut self) {
        let over = |open: &Open| open.deadline.saturating_duration_since(Instant::now()) == Duration::ZERO;
        let error = match &self.open {
            Some(open) if over(open) => "adapter_timeout",
            Some(_) | None => "cancelled",
        };
        self.end(None, Some(error), Some(error));
    }
}

/// What the body asks for, if anybody wants to know.
fn asked(telemetry: &Telemetry, body: &[u8]) -> Request {
    if !telemetry.wants_requests() {
        return Request::default();
    }
    std::str::from_utf8(body).map(usage::read_request).unwrap_or_default()
}

fn ticket(headers: &mut HeaderMap) -> Option<Ticket> {
    let ticket = relayed::ticket();
    match &ticket {
        Some(ticket) => headers.insert(X_SPECTRAL_BRIDGE_TICKET, ticket.header()),
        // none that a relay made up
        None => headers.remove(X_SPECTRAL_BRIDGE_TICKET),
    };
    ticket
}
