//! One request and its answer over HTTP: both bodies go through the tap as they pass.

use std::time::Duration;

use super::head::Head;
use super::stats::{CANCELLED, CUT_SHORT, FAILED};
use crate::telemetry::{self, Via};
use crate::usage::{Answer, Missing, Operation, Request, RequestTap, Tap, Usage};

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange {
    head: Head,
    asking: Option<RequestTap>,
    request: Request,
    status: Option<u16>,
    error: Option<Box<str>>,
    answering: Option<Tap>,
    /// The tokens that the stream's metadata show.
    shown: Usage,
    first_output: Option<Duration>,
    ended: Option<Duration>,
}

impl Exchange {
    pub(super) fn new(head: Head) -> Self {
        Self {
            asking: Some(RequestTap::new()),
            request: Request::default(),
            status: None,
            error: None,
            answering: None,
            shown: Usage::default(),
            first_output: None,
            ended: None,
            head,
        }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// A piece of the request's body.
    pub(super) fn asks(&mut self, bytes: &[u8]) {
        if let Some(tap) = &mut self.asking {
            tap.push(bytes);
        }
    }

    /// The request is whole, or as whole as it gets.
    pub(super) fn asked(&mut self) {
        if let Some(tap) = self.asking.take() {
            self.request = tap.finish();
            if self.request.model.is_none() {
                self.request.model.clone_from(&self.head.model);
            }
        }
    }

    /// The answer's head.
    pub(super) fn answers_with(&mut self, status: Option<u16>, content_type: Option<&[u8]>, encoding: Option<&[u8]>) {
        self.status = status;
        self.answering = Some(Tap::new(self.head.operation, content_type, encoding));
    }

    /// A piece of the answer's body; the tokens, when it told some that nobody has heard of yet.
    pub(super) fn answers(&mut self, bytes: &[u8]) -> Option<Usage> {
        let tap = self.answering.as_mut()?;
        let news = tap.push(bytes);
        if news.first_output && tap.is_stream() {
            self.first_output.get_or_insert_with(|| self.head.started.elapsed());
        }
        let usage = tap.answer().usage;
        if !news.usage || !self.counts_tokens() || self.shown == usage {
            return None;
        }
        self.shown = usage;
        Some(usage)
    }

    /// The tokens that the answer came to, unless they are what [`Exchange::answers`] gave last.
    pub(super) fn settled_tokens(&self) -> Option<Usage> {
        let usage = self.answer()?.usage;
        (self.counts_tokens() && self.shown != usage).then_some(usage)
    }

    /// The answer's last byte has come.
    pub(super) fn answered(&mut self) {
        self.ended.get_or_insert_with(|| self.head.started.elapsed());
    }

    /// The end, in order or not: `cancelled` when the client left. To be asked once.
    pub(super) fn end(&mut self, cancelled: bool) {
        self.asked();
        let complete = self.ended.is_some();
        if let Some(tap) = &mut self.answering {
            tap.finish(complete);
        }
        self.answered();
        let failed = self.status.filter(|status| *status >= 400);
        self.error = match failed {
            Some(status) => Some(status.to_string().into()),
            None if complete || self.said_all() => self
                .answer()
                .and_then(|answer| answer.error.as_ref())
                .map(|_| FAILED.into()),
            None if cancelled => Some(CANCELLED.into()),
            None => Some(CUT_SHORT.into()),
        };
    }

    /// What is told about it, after its end.
    pub(super) fn told(&self) -> telemetry::Exchange<'_> {
        let Head {
            operation,
            request_id,
            server,
            ..
        } = &self.head;
        telemetry::Exchange {
            via: Via::Filter,
            operation: *operation,
            request: &self.request,
            answer: self.answer(),
            status: self.status,
            error: self.error.as_deref(),
            missing: self.missing(),
            request_id: request_id.as_deref(),
            duration: self.ended.unwrap_or_else(|| self.head.started.elapsed()),
            time_to_first_token: self.first_output,
            server: server.as_ref().map(|(host, port)| (&**host, *port)),
        }
    }

    /// Whether the answer is a stream.
    pub(super) fn streams(&self) -> bool {
        self.answering.as_ref().is_some_and(Tap::is_stream)
    }

    /// Whether its tokens are its own: those of a stored response were counted when it was made.
    pub(super) fn counts_tokens(&self) -> bool {
        self.head.operation != Operation::FetchResponse
    }

    fn answer(&self) -> Option<&Answer> {
        self.answering.as_ref().map(Tap::answer)
    }

    fn missing(&self) -> Option<Missing> {
        let succeeded = self.status.is_some_and(|status| (200..300).contains(&status));
        let tap = self.answering.as_ref().filter(|_| succeeded && self.counts_tokens())?;
        tap.missing()
    }

    /// A client may leave, or an upstream hang up, right after the last words.
    fn said_all(&self) -> bool {
        self.streams()
            && self.missing().is_none()
            && self.answer().is_some_and(|answer| !answer.finish_reasons.is_empty())
    }
}
