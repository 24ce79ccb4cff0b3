//! Frames from the relay.

use std::time::Instant;

use super::{Action, AfterClose, Event, Link, Session, StopReason};
use crate::config::ProtocolChoice;
use crate::protocol::connection::{Hello, Version};
use crate::protocol::frame::{self, Frame, Ignored, Payload};
use crate::protocol::request::{self, Asked};
use crate::protocol::requests::Known;
use crate::protocol::{Fault, ForwardRequest, Outgoing, RequestId, Response, Text, headers};

impl<H> Session<H> {
    pub(super) fn on_text(&mut self, now: Instant, text: &Text, hold: Option<H>) {
        let Link::Connected(connection) = &self.link else {
            return;
        };
        let open = connection.version().is_some();
        self.totals.received_bytes = self.totals.received_bytes.saturating_add(text.len() as u64);
        let frame = frame::decode(text);
        let received = &mut self.totals.received;
        match &frame {
            Frame::Connected(_) => received.connected.add(text.len()),
            Frame::Request { .. } => received.request.add(text.len()),
            Frame::Ack { .. } => received.ack.add(text.len()),
            Frame::Ignored(_) => received.ignored.add(text.len()),
        }
        match frame {
            Frame::Connected(hello) if !open => self.on_hello(now, hello),
            // PROTOCOL §2.1: the server sends `connected` before any request frames
            Frame::Request { .. } | Frame::Ack { .. } if !open => self.ignore(Ignored::BeforeConnected),
            Frame::Request { id, payload } => self.on_request(now, &id, payload.as_ref(), text, hold),
            Frame::Ack { id } => self.on_ack(now, &id),
            // a second `connected` on one connection says nothing new
            Frame::Connected(_) => {}
            Frame::Ignored(why) => self.ignore(why),
        }
    }

    fn on_hello(&mut self, now: Instant, hello: Hello) {
        let version = match (hello, self.settings.protocol) {
            // PROTOCOL 0.1.2 §2.1: the frame of version 1 names no version
            (Hello::V1, ProtocolChoice::Auto | ProtocolChoice::V1) => Version::V1,
            (Hello::V2, ProtocolChoice::Auto | ProtocolChoice::V2) => Version::V2,
            // PROTOCOL §2.1: versions are not negotiated; not retried without user intervention
            (Hello::V1, ProtocolChoice::V2) => return self.refuse_version(now, "1"),
            (Hello::V2, ProtocolChoice::V1) => return self.refuse_version(now, "2"),
            (Hello::Other(seen), ProtocolChoice::Auto | ProtocolChoice::V1 | ProtocolChoice::V2) => {
                return self.refuse_version(now, &seen);
            }
        };
        if version == Version::V1 {
            // what a version 2 relay has not acknowledged cannot be delivered to a version 1 relay
            self.abandon_requests();
        }
        self.version = Some(version);
        self.on_connection(|connection| connection.open(now, version));
        self.totals.connections += 1;
        // PROTOCOL §2.1: the client should surface this to the user
        self.actions.push_back(Action::Report(Event::Connected(version)));
        // PROTOCOL §2.5: after every reconnect, send again those not acked yet
        let held: Vec<Outgoing> = self.requests.held_frames().collect();
        for frame in held {
            self.totals.resent_responses += 1;
            self.send_response(frame);
        }
    }

    fn refuse_version(&mut self, now: Instant, seen: &str) {
        let reason = StopReason::UnsupportedVersion { seen: seen.to_owned() };
        self.close(now, 1000, "unsupported protocol version", AfterClose::Stop(reason));
    }

    fn on_ack(&mut self, now: Instant, id: &str) {
        // PROTOCOL §2.2: an ack is never itself acknowledged
        if let Some((id, answered)) = self.requests.acknowledge(id) {
            self.answered.insert(&id);
            let waited = now.saturating_duration_since(answered);
            self.actions
                .push_back(Action::Report(Event::Acknowledged { id, waited }));
        }
    }

    fn on_request(&mut self, now: Instant, id: &str, payload: Option<&Payload<'_>>, text: &Text, hold: Option<H>) {
        let id = RequestId::from(id);
        // PROTOCOL 0.1.2 §2.2: two message types, and an ack is none of them
        if self.version == Some(Version::V2) {
            // PROTOCOL §2.2: acks every request frame as soon as it receives it, before forwarding it
            self.send_ack(&id);
        }
        match self.requests.find(id.as_str()) {
            // PROTOCOL §2.5: a request the client is still handling is acked and ignored
            Some(Known::Unanswered) => self.totals.duplicate_requests += 1,
            // PROTOCOL §2.5: one it has already answered is acked, and the response sent again
            Some(Known::Held(frame)) => {
                self.totals.duplicate_requests += 1;
                self.totals.resent_responses += 1;
                self.send_response(frame);
            }
            // PROTOCOL §2.5: never forward the same request to the adapter twice
            None if self.answered.contains(id.as_str()) => self.totals.duplicate_requests += 1,
            None => self.on_new_request(now, id, payload, text, hold),
        }
    }

    fn on_new_request(
        &mut self,
        now: Instant,
        id: RequestId,
        payload: Option<&Payload<'_>>,
        text: &Text,
        hold: Option<H>,
    ) {
        self.totals.requests += 1;
        // PROTOCOL §2.5: counted from when it receives the request
        let deadline = now + self.settings.request_timeout;
        match self.admit(now, &id, payload, text, hold) {
            Ok((asked, hold)) => {
                self.admission.on_admitted(now);
                let Asked {
                    method,
                    path,
                    headers,
                    body,
                } = asked;
                let request = ForwardRequest {
                    id,
                    method,
                    path,
                    headers,
                    body,
                    received: now,
                    deadline,
                    hold: Some(hold),
                };
                // PROTOCOL §2.3: immediately dispatch it to the local adapter
                if self.requests.queued() == 0 && self.requests.forwarding() < self.settings.max_in_flight {
                    self.requests.begin(request.id.clone(), deadline);
                    self.actions.push_back(Action::Forward(request));
                } else {
                    self.requests.enqueue(request);
                }
            }
            Err(fault) => {
                self.refuse(now, id, deadline, &fault, payload);
            }
        }
    }

    /// Checks that a new request may be forwarded and that there is room for it.
    fn admit(
        &self,
        now: Instant,
        id: &RequestId,
        payload: Option<&Payload<'_>>,
        text: &Text,
        hold: Option<H>,
    ) -> Result<(Asked, H), Fault> {
        // PROTOCOL §2.6: while stopping, a request frame is answered at once with 503, without reaching the adapter
        if self.drain.is_some() {
            return Err(Fault::Draining);
        }
        self.admission.check_pause(now)?;
        let asked = request::check(id, payload, text, &self.settings.paths)?;
        let unanswered = self.requests.queued() + self.requests.forwarding();
        self.admission.check_budget(now, unanswered)?;
        let hold = hold.ok_or(Fault::Overloaded("max_held_bytes reached"))?;
        if self.requests.queued() >= self.settings.max_queued
            && self.requests.forwarding() >= self.settings.max_in_flight
        {
            return Err(Fault::Overloaded("max_in_flight and max_queued reached"));
        }
        Ok((asked, hold))
    }

    fn refuse(&mut self, now: Instant, id: RequestId, deadline: Instant, fault: &Fault, payload: Option<&Payload<'_>>) {
        let response = Response::from_fault(&id, fault);
        self.count(&response);
        if let Fault::NotAdmitted { limit, .. } = fault {
            *self.totals.not_admitted.entry(limit.name().to_owned()).or_default() += 1;
        }
        self.actions.push_back(Action::Report(Event::Refused {
            id: id.clone(),
            code: fault.code(),
            status: fault.status(),
            path: payload.and_then(|payload| request::named_path(payload.path)),
            trace: headers::trace(payload.and_then(|payload| payload.headers)),
        }));
        self.send_response(response.frame.clone());
        if self.version == Some(Version::V1) {
            self.answered.insert(&id);
        } else {
            self.requests.hold_refusal(now, id, deadline, response.frame);
        }
    }
}
