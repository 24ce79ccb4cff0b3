//! A WebSocket session, from the agreed upgrade to the end of its stream: who ended it, how, and its lines in the log.
//!
//! The close frame tells, which may come from either side. Without one the connection broke off; then what Envoy says
//! about the end of the stream tells whose connection that was.

use std::sync::atomic::Ordering;
use std::time::Instant;

use envoy_proxy_dynamic_modules_rust_sdk::EnvoyHttpFilter;

use super::head::Head;
use super::socket::{Socket, Sum};
use super::stats::millis;
use super::stream::{UNKNOWN, client_left, details};
use super::{Shared, metadata};
use crate::telemetry;
use crate::usage::{Close, Peer};

/// A session under way.
#[derive(Debug)]
pub(super) struct Session {
    since: Instant,
    /// Whose bytes ended first.
    ended: Option<Peer>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) code: u16,
    pub(super) by: Closer,
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closer {
    Client,
    Server,
    /// A timeout of Envoy's, or its end.
    Envoy,
    /// Envoy 1.38 does not tell.
    Unknown,
}

impl Session {
    /// The upgrade is agreed upon.
    pub(super) fn begin() -> Self {
        Self {
            since: Instant::now(),
            ended: None,
        }
    }

    /// A side will send no more bytes.
    pub(super) fn side_ended(&mut self, side: Peer) {
        self.ended.get_or_insert(side);
    }

    /// How it ended, with the first close frame or without, and with Envoy's word on it.
    pub(super) fn closing(&self, close: Option<Close>, envoys: Closer) -> Closing {
        match (close, self.ended) {
            (Some(close), _) => Closing {
                code: close.code,
                by: Closer::from(close.by),
            },
            (None, ended) => Closing {
                code: NO_CLOSE_FRAME,
                by: ended.map_or(envoys, Closer::from),
            },
        }
    }

    /// What telemetry is told.
    pub(super) fn told<'a>(&self, head: &Head, sum: &'a Sum, closing: Closing) -> telemetry::Session<'a> {
        telemetry::Session {
            operation: head.operation,
            model: sum.model(),
            close: closing.class(),
            closed_by: closing.by.name(),
            turns: sum.turns,
            duration: self.since.elapsed(),
        }
    }
}

impl Closing {
    /// The class of the code: a label.
    pub(super) fn class(self) -> &'static str {
        match self.code {
            1000 => "normal",
            1001 => "going_away",
            1005 => "no_code",
            NO_CLOSE_FRAME => "abnormal",
            3000..=4999 => "application",
            _ => "error",
        }
    }
}

impl Closer {
    /// What Envoy's details about a stream say. Those of an answer that came stay when the connection is lost.
    fn of(details: &[u8]) -> Self {
        if details.is_empty() || details == b"via_upstream" {
            Self::Unknown
        } else if client_left(details) {
            Self::Client
        } else if details.starts_with(b"upstream_reset") {
            Self::Server
        } else {
            Self::Envoy
        }
    }

    /// Short and bounded, for labels.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Envoy => "envoy",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Peer> for Closer {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Client => Self::Client,
            Peer::Server => Self::Server,
        }
    }
}

impl Shared {
    /// A session begins.
    pub(super) fn begin_session<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, socket: &mut Socket) {
        socket.begin_session();
        let lost = self.lost_sessions.swap(0, Ordering::Relaxed);
        self.stats.begin_session(envoy, lost);
        let head = socket.head();
        self.telemetry.telemetry().session_started(head.operation);
        if self.settings.session_log {
            log_start(head, &socket.sum);
        }
    }

    /// Tells everyone about the session on a WebSocket that is over.
    pub(super) fn end_session<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF, socket: &Socket) {
        let Some(session) = &socket.session else { return };
        let closing = session.closing(socket.close(), Closer::of(details(envoy)));
        let told = self.tell_end(session, socket, closing);
        let model = told
            .model
            .map_or(UNKNOWN.into(), |model| self.telemetry.telemetry().model_label(model));
        self.stats.end_session(envoy, &told, &model);
        metadata::set_session(envoy, told.turns, closing);
    }

    /// The same without Envoy's last hook, after a panic: the gauge is mended with the next session.
    pub(super) fn lose_session(&self, socket: &Socket) {
        let Some(session) = &socket.session else { return };
        self.tell_end(session, socket, session.closing(socket.close(), Closer::Unknown));
        self.lost_sessions.fetch_add(1, Ordering::Relaxed);
    }

    fn tell_end<'a>(&self, session: &Session, socket: &'a Socket, closing: Closing) -> telemetry::Session<'a> {
        let (head, sum) = (socket.head(), &socket.sum);
        let told = session.told(head, sum, closing);
        self.telemetry.telemetry().session_ended(&told);
        if self.settings.session_log {
            log_end(head, sum, closing, &told);
        }
        told
    }
}

fn log_start(head: &Head, sum: &Sum) {
    tracing::info!(
        path = head.path.as_deref().map(short),
        model = sum.model().map(short),
        request_id = head.request_id.as_deref().map(short),
        "session started"
    );
}

fn log_end(head: &Head, sum: &Sum, closing: Closing, told: &telemetry::Session<'_>) {
    tracing::info!(
        path = head.path.as_deref().map(short),
        model = sum.model().map(short),
        turns = sum.turns,
        input_tokens = sum.usage.input,
        output_tokens = sum.usage.output,
        duration_ms = millis(told.duration),
        close_code = closing.code,
        closed_by = closing.by.name(),
        request_id = head.request_id.as_deref().map(short),
        "session ended"
    );
}

/// A peer's text of bounded length.
fn short(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}

/// RFC 6455 §7.1.5: the connection was closed without a close frame.
const NO_CLOSE_FRAME: u16 = 1006;

/// The longest text in a line, in bytes.
const MAX_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_close_frame_tells_and_without_one_whose_bytes_ended_first_then_envoy() {
        let mut session = Session::begin();
        let closing = |session: &Session, close, envoys| {
            let Closing { code, by } = session.closing(close, envoys);
            (code, by)
        };
        assert_eq!(closing(&session, None, Closer::Envoy), (1006, Closer::Envoy));
        session.side_ended(Peer::Server);
        session.side_ended(Peer::Client);
        assert_eq!(closing(&session, None, Closer::Client), (1006, Closer::Server));
        let close = Close {
            code: 4000,
            by: Peer::Client,
        };
        assert_eq!(closing(&session, Some(close), Closer::Envoy), (4000, Closer::Client));
    }

    #[test]
    fn any_code_has_a_class() {
        let class = |code| {
            let by = Closer::Unknown;
            Closing { code, by }.class()
        };
        for (codes, expected) in [
            (&[1000][..], "normal"),
            (&[1001], "going_away"),
            (&[1005], "no_code"),
            (&[1006], "abnormal"),
            (&[3000, 4001, 4999], "application"),
            (&[0, 999, 1002, 1009, 1011, 2999, 5000, u16::MAX], "error"),
        ] {
            for code in codes {
                assert_eq!(class(*code), expected, "{code}");
            }
        }
    }

    #[test]
    fn a_text_in_the_log_is_cut_between_letters() {
        assert_eq!(short("short"), "short");
        assert_eq!(short(&"é".repeat(200)).len(), 256);
        assert_eq!(short(&format!("a{}", "é".repeat(200))).len(), 255);
    }
}
