//! Frames to the relay: acks, responses, and what is counted of them.

use std::time::Instant;

use super::{Action, Event, Link, Session};
use crate::protocol::connection::Version;
use crate::protocol::{Outgoing, RequestId, Response, frame};
use crate::status::snapshot::{Sent, Traffic};

impl<H> Session<H> {
    pub(super) fn on_forwarded(&mut self, now: Instant, id: &RequestId, response: Response, hold: Option<H>) {
        // cancelled or timed out meanwhile: already answered
        if self.requests.is_forwarding(id) {
            self.count(&response);
            self.spend(now, &response);
            if let Some(code) = response.fault {
                self.actions
                    .push_back(Action::Report(Event::Faulted { id: id.clone(), code }));
            }
            if self.version == Some(Version::V2) {
                // PROTOCOL §2.5: kept until the server acks it
                if !self.requests.hold_answer(now, id, response.frame.clone(), hold) {
                    self.answered.insert(id);
                }
            } else {
                self.requests.remove(id);
                self.answered.insert(id);
            }
            // PROTOCOL §2.3: in any order, each as it comes
            self.send_response(response.frame);
        }
    }

    pub(super) fn count(&mut self, response: &Response) {
        *self.totals.responses.entry(response.status).or_default() += 1;
        if let Some(code) = response.fault {
            *self.totals.faults.entry(code.to_owned()).or_default() += 1;
        }
        let usage = response.answer.as_ref().map(|answer| answer.usage).unwrap_or_default();
        let add = |total: &mut u64, tokens: Option<u64>| *total = total.saturating_add(tokens.unwrap_or(0));
        add(&mut self.totals.input_tokens, usage.input);
        add(&mut self.totals.output_tokens, usage.output);
        if let Some(missing) = response.usage_missing() {
            *self.totals.usage_missing.entry(missing.code().to_owned()).or_default() += 1;
        }
    }

    pub(super) fn send_ack(&mut self, id: &RequestId) {
        let frame = frame::ack(id);
        self.send(frame, |sent| &mut sent.ack);
    }

    /// What must survive a disconnect is held beside this.
    pub(super) fn send_response(&mut self, frame: Outgoing) {
        self.send(frame, |sent| &mut sent.response);
    }

    /// Sends if a connection is open.
    fn send(&mut self, frame: Outgoing, count: impl FnOnce(&mut Sent) -> &mut Traffic) {
        if let Link::Connected(connection) = &self.link
            && connection.version().is_some()
        {
            self.totals.sent_bytes = self.totals.sent_bytes.saturating_add(frame.len() as u64);
            count(&mut self.totals.sent).add(frame.len());
            self.actions.push_back(Action::Send(frame));
        }
    }
}
