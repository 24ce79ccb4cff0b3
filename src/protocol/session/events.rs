//! What goes into and comes out of a session.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

use super::Settings;
use crate::protocol::connection::{CloseFrame, Version};
use crate::protocol::frame::Ignored;
use crate::protocol::{ForwardRequest, Limit, Outgoing, RequestId, Response, Text};

/// What happened.
#[derive(Debug)]
pub enum Input<H> {
    /// The forward address accepts connections.
    ListenerReady,
    /// The WebSocket handshake succeeded.
    Dialled,
    /// It did not.
    DialFailed(DialFailure),
    /// A text message, or a binary one that is UTF-8. `hold` is its share of the byte budget, `None` when that is spent.
    Text {
        /// The payload.
        text: Text,
        /// Its share of the byte budget.
        hold: Option<H>,
    },
    /// A binary message that is not UTF-8.
    NotUtf8,
    /// A message above the frame limit.
    TooLarge,
    /// The last [`Action::Ping`] is on the wire.
    PingWritten,
    /// A pong; `None` when its payload is none of ours.
    Pong(Option<u64>),
    /// The connection ended, by a close frame or otherwise.
    Disconnected(Disconnect),
    /// A forwarded request has its response.
    Forwarded {
        /// The request.
        id: RequestId,
        /// The frame to send.
        response: Response,
        /// The response's share of the byte budget.
        hold: Option<H>,
    },
    /// Stop: finish what is in flight within `grace`, then close (`PROTOCOL §2.6`).
    DrainAsked {
        /// How long requests in flight may take.
        grace: Duration,
    },
    /// A person asks for a new attempt.
    ReconnectAsked,
    /// The configuration or the key changed.
    SettingsChanged {
        /// The new settings.
        settings: Settings,
        /// Whether an open connection must be made anew.
        redial: bool,
    },
    /// The wall clock shows this; told at the start, and now and then, since it may be set.
    ClockRead {
        /// Since 1970-01-01 00:00 UTC.
        since_1970: Duration,
    },
    /// A person asks that no new requests be admitted.
    PauseAsked,
    /// A person takes that back.
    ResumeAsked,
    /// The instant of [`super::Session::deadline`] has come.
    DeadlinePassed,
}

/// What to do.
#[derive(Debug)]
pub enum Action<H> {
    /// Make a connection; answer with [`Input::Dialled`] or [`Input::DialFailed`].
    Dial,
    /// Send a text message on the current connection.
    Send(Outgoing),
    /// Send a ping with this number as payload, before anything that waits to be sent.
    Ping(u64),
    /// Send a close frame after everything that waits to be sent.
    Close {
        /// Close code.
        code: u16,
        /// Reason.
        reason: &'static str,
    },
    /// Drop the socket, or stop dialling; no input may come from either any more, since the next one may be under way.
    Abort,
    /// Put a request to the adapter, once; answer with [`Input::Forwarded`].
    Forward(ForwardRequest<H>),
    /// Give up a forwarded request; its answer is no longer wanted.
    Cancel(RequestId),
    /// Tell people.
    Report(Event),
    /// The session is over.
    Finish,
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The `connected` frame arrived.
    Connected(Version),
    /// The connection, or the attempt to make one, failed; the next attempt is scheduled.
    Disconnected {
        /// Why.
        why: Disconnect,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// No further attempts until a person acts.
    Stopped(StopReason),
    /// A request was answered without asking the adapter.
    Refused {
        /// The request.
        id: RequestId,
        /// The fault's code.
        code: &'static str,
        /// The answer's.
        status: u16,
        /// The path that it names, as far as it can be told.
        path: Option<Box<str>>,
        /// `traceparent` and `tracestate`, as far as they can be read.
        trace: HeaderMap,
    },
    /// A forwarded request got no answer from the adapter that can be relayed.
    Faulted {
        /// The request.
        id: RequestId,
        /// The fault's code.
        code: &'static str,
    },
    /// No complete answer within the request timeout.
    TimedOut {
        /// The request.
        id: RequestId,
    },
    /// The relay acknowledged a response.
    Acknowledged {
        /// The request.
        id: RequestId,
        /// Since it was given.
        waited: Duration,
    },
    /// A response was dropped, never acknowledged.
    ResponseExpired {
        /// The request.
        id: RequestId,
    },
    /// A frame was ignored.
    FrameIgnored(Ignored),
    /// New requests are answered 503 from now on, by [`Limit::Hand`] or [`Limit::Schedule`].
    Paused(Limit),
    /// That is over.
    Resumed(Limit),
    /// A drain began.
    DrainStarted {
        /// Requests not answered yet.
        in_flight: usize,
        /// Responses not acknowledged yet.
        held: usize,
        /// How long they may take.
        grace: Duration,
    },
    /// The drain is over; the connection is being closed.
    DrainEnded {
        /// Requests that were given up.
        unfinished: usize,
        /// Responses that were never acknowledged.
        unacknowledged: usize,
    },
}

/// Why a connection could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFailure {
    /// The HTTP status that refused the handshake.
    pub status: Option<u16>,
    /// Short and bounded.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// It was never made.
    DialFailed(DialFailure),
    /// The relay sent a close frame.
    Closed(CloseFrame),
    /// The stream ended or failed without a close frame.
    Broken {
        /// Short and bounded.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The `connected` frame did not come in time.
    NoHello,
    /// A pong did not come in time.
    NoPong,
    /// The relay did not answer our close frame in time.
    NoCloseFrame,
}

/// Why no further attempts are made until a person acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// 4001, or HTTP 401 or 403 in the handshake.
    AuthenticationFailed {
        /// The handshake's status.
        status: Option<u16>,
    },
    /// 4002: the relay does not take our version.
    VersionRefused,
    /// The `connected` frame names a version that the configuration or this client does not take.
    UnsupportedVersion {
        /// As written by the relay.
        seen: String,
    },
    /// 1009, from either side.
    FrameTooLarge {
        /// Whether the relay's frame was too large for us, rather than ours for it.
        sent_by_us: bool,
    },
}

impl Disconnect {
    /// The close code, if there was a close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Closed(frame) => Some(frame.code),
            Self::DialFailed(_) | Self::Broken { .. } | Self::NoHello | Self::NoPong | Self::NoCloseFrame => None,
        }
    }

    /// Short and bounded, for status and labels.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::DialFailed(failure) => failure.code,
            Self::Closed(frame) => match frame.code {
                // PROTOCOL §3.1: the older connection of a key is closed cleanly when a newer one comes
                1000 => "replaced",
                1001 => "relay_going_away",
                1012 => "relay_restart",
                4003 => "rotation",
                _ => "closed",
            },
            Self::Broken { code, .. } => code,
            Self::NoHello => "no_connected_frame",
            Self::NoPong => "no_pong",
            Self::NoCloseFrame => "no_close_frame",
        }
    }
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DialFailed(failure) => f.write_str(&failure.message),
            Self::Closed(CloseFrame { code: 1000, .. }) => f.write_str(
                "replaced by a newer connection of the same key (close 1000): another client uses this key, and one process serves a key at a time",
            ),
            Self::Closed(CloseFrame { code, reason }) if reason.is_empty() => write!(f, "the relay closed the connection ({code})"),
            Self::Closed(CloseFrame { code, reason }) => write!(f, "the relay closed the connection ({code}, {reason:?})"),
            Self::Broken { message, .. } => f.write_str(message),
            Self::NoHello => f.write_str("the relay accepted the connection but sent no connected frame in time"),
            Self::NoPong => f.write_str("the relay did not answer a ping in time"),
            Self::NoCloseFrame => f.write_str("the relay did not answer the close frame in time"),
        }
    }
}

impl StopReason {
    /// Short and bounded, for status and labels.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::AuthenticationFailed { .. } => "authentication_failed",
            Self::VersionRefused | Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::FrameTooLarge { .. } => "frame_too_large",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthenticationFailed { status: Some(status) } => {
                write!(
                    f,
                    "authentication failed: the relay refused the API key (HTTP {status})"
                )
            }
            Self::AuthenticationFailed { status: None } => {
                f.write_str("authentication failed: the relay refused the API key (close 4001)")
            }
            Self::VersionRefused => f.write_str("the relay does not speak protocol version 2 (close 4002)"),
            Self::UnsupportedVersion { seen } => {
                write!(
                    f,
                    "the relay speaks protocol version {seen:?}, which is not what `protocol` allows (1, 2 or auto for both)"
                )
            }
            Self::FrameTooLarge { sent_by_us: true } => {
                f.write_str("the relay sent a frame larger than max_frame_bytes (closed with 1009)")
            }
            Self::FrameTooLarge { sent_by_us: false } => f.write_str(
                "the relay refused a frame as too large (close 1009); lower max_frame_bytes to the relay's limit",
            ),
        }
    }
}
