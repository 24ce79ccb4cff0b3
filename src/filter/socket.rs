//! A stream that became a WebSocket: each turn on it is an exchange of its own, and the stream's metadata are their sum.

use std::time::Instant;

use super::head::Head;
use super::session::Session;
use super::stats::CUT_SHORT;
use crate::telemetry::{self, Via};
use crate::usage::{Close, Missing, Peer, SocketTap, Turn, Usage};

/// A WebSocket, or a stream that asks to become one.
#[derive(Debug)]
pub(super) struct Socket {
    head: Head,
    tap: SocketTap,
    /// Once the upgrade is agreed upon.
    pub(super) session: Option<Session>,
    /// What the turns so far add up to.
    pub(super) sum: Sum,
}

/// Several turns together; of what cannot be added the latest.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) usage: Usage,
    pub(super) request_model: Option<Box<str>>,
    pub(super) response_model: Option<Box<str>>,
    pub(super) finish_reasons: Vec<Box<str>>,
    pub(super) missing: Option<Missing>,
    pub(super) turns: u64,
}

impl Socket {
    pub(super) fn new(head: Head) -> Self {
        let mut tap = SocketTap::new(head.operation);
        if let Some(model) = &head.model {
            tap.set_model(model);
        }
        Self {
            sum: Sum {
                request_model: head.model.clone(),
                ..Sum::default()
            },
            tap,
            session: None,
            head,
        }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// The stream stays plain HTTP.
    pub(super) fn refused(self) -> Head {
        self.head
    }

    pub(super) fn client_says(&mut self, bytes: &[u8]) {
        self.tap.from_client(bytes, Instant::now());
    }

    pub(super) fn server_says(&mut self, bytes: &[u8]) {
        self.tap.from_server(bytes, Instant::now());
    }

    /// The upgrade is agreed upon.
    pub(super) fn begin_session(&mut self) {
        self.session = Some(Session::begin());
    }

    /// A side will say no more.
    pub(super) fn side_ended(&mut self, side: Peer) {
        if let Some(session) = &mut self.session {
            session.side_ended(side);
        }
    }

    /// The first close frame.
    pub(super) fn close(&self) -> Option<Close> {
        self.tap.close()
    }

    /// The end of the socket; turns that it broke off follow.
    pub(super) fn end(&mut self) {
        self.tap.finish(Instant::now());
    }

    /// The next turn that is over.
    pub(super) fn next_turn(&mut self) -> Option<Turn> {
        let turn = self.tap.next_turn()?;
        self.sum.add(&turn);
        Some(turn)
    }

    /// What is told about a turn.
    pub(super) fn told<'a>(&'a self, turn: &'a Turn) -> telemetry::Exchange<'a> {
        let since = |at: Instant| at.saturating_duration_since(turn.started);
        let failed = turn.answer.error.as_ref().map(|_| super::stats::FAILED);
        telemetry::Exchange {
            via: Via::Filter,
            operation: self.head.operation,
            request: &turn.request,
            answer: Some(&turn.answer),
            status: None,
            error: if turn.complete { failed } else { Some(CUT_SHORT) },
            missing: turn.missing,
            request_id: self.head.request_id.as_deref(),
            duration: since(turn.ended),
            time_to_first_token: turn.first_output.map(since),
            server: self.head.server.as_ref().map(|(host, port)| (&**host, *port)),
        }
    }
}

impl Sum {
    /// The model that was asked for last, else the one that answered.
    pub(super) fn model(&self) -> Option<&str> {
        self.request_model.as_deref().or(self.response_model.as_deref())
    }

    fn add(&mut self, turn: &Turn) {
        self.turns += 1;
        self.usage = together(&self.usage, &turn.answer.usage);
        if turn.request.model.is_some() {
            self.request_model.clone_from(&turn.request.model);
        }
        if turn.answer.model.is_some() {
            self.response_model.clone_from(&turn.answer.model);
        }
        if !turn.answer.finish_reasons.is_empty() {
            self.finish_reasons.clone_from(&turn.answer.finish_reasons);
        }
        self.missing = turn.missing.or(self.missing);
    }
}

/// Tokens of two turns: absent only where both are.
fn together(a: &Usage, b: &Usage) -> Usage {
    let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or_default().saturating_add(b.unwrap_or_default())),
    };
    Usage {
        input: add(a.input, b.input),
        output: add(a.output, b.output),
        cache_read: add(a.cache_read, b.cache_read),
        cache_write: add(a.cache_write, b.cache_write),
        reasoning: add(a.reasoning, b.reasoning),
        text_input: add(a.text_input, b.text_input),
        image_input: add(a.image_input, b.image_input),
        audio_input: add(a.audio_input, b.audio_input),
        text_output: add(a.text_output, b.text_output),
        image_output: add(a.image_output, b.image_output),
        audio_output: add(a.audio_output, b.audio_output),
    }
}
