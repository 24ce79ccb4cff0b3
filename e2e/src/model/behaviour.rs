//! How the demo model misbehaves: chosen by a request's `model` name, or by a test.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::watch;

use crate::duration;

/// What the model does with a completion request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers; streams when asked to.
    Answer,
    /// Answers after this long (`delay-20s`).
    Delay(Duration),
    /// Answers once the gate is open.
    Behind(Gate),
    /// Streams with this long between events (`pace-50ms`).
    Pace(Duration),
    /// Answers JSON of exactly this many bytes (`bytes-15728640`).
    Sized(usize),
    /// Answers exactly this (`status-500`, `html-200`, `html-500`, `nan`).
    Exact(Exact),
    /// Answers an event stream though nobody asked (`sse`).
    EventStream,
    /// Compresses its answer whatever was asked (`gzip`); a stream event by event.
    Gzip,
    /// Tells its usage in another way than asked (`no-usage`, `null-usage`, `always-usage`, `continuous-usage`).
    Report(Reporting),
    /// Ends the lines of a stream with CR LF (`crlf`).
    CrLf,
    /// Sends WebSocket messages in fragments, with pings between these (`fragmented`).
    Fragmented,
    /// Answers without a `content-length` (`chunked`).
    Chunked,
    /// Reads the request and hangs up (`close-after-request`).
    CloseAfterRequest,
    /// Hangs up in the middle of its answer (`close-mid-answer`).
    CloseMidAnswer,
}

/// When an answer tells its usage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reporting {
    /// Whole answers and most streams: always; streams of completions: when `stream_options.include_usage` asks.
    #[default]
    AsAsked,
    /// Streams of completions, too, whoever asks.
    Always,
    /// Every chunk of a completion's stream tells the usage so far.
    Continuous,
    /// `usage: null`.
    Null,
    /// There is no such member.
    Never,
}

/// Keeps requests waiting until a test opens it. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Lets everything pass, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // The sender is held by `self`: the wait ends only by opening.
        drop(self.0.subscribe().wait_for(|open| *open).await);
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for Gate {}

/// An answer given to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exact {
    /// HTTP status.
    pub status: StatusCode,
    /// `content-type`.
    pub content_type: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Exact {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// An answer of any type.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

impl Behaviour {
    /// When an answer tells its usage under it.
    pub(super) fn reporting(&self) -> Reporting {
        if let Self::Report(reporting) = self {
            return *reporting;
        }
        Reporting::AsAsked
    }

    /// Reads a `model` name. Names that mean nothing special are models that simply answer.
    #[must_use]
    pub fn of_model(name: &str) -> Self {
        match name {
            "sse" => return Self::EventStream,
            "gzip" => return Self::Gzip,
            "no-usage" => return Self::Report(Reporting::Never),
            "null-usage" => return Self::Report(Reporting::Null),
            "always-usage" => return Self::Report(Reporting::Always),
            "continuous-usage" => return Self::Report(Reporting::Continuous),
            "crlf" => return Self::CrLf,
            "fragmented" => return Self::Fragmented,
            "chunked" => return Self::Chunked,
            "close-after-request" => return Self::CloseAfterRequest,
            "close-mid-answer" => return Self::CloseMidAnswer,
            "nan" => return Self::Exact(Exact::json(StatusCode::OK, r#"{"choices":[],"score":NaN}"#)),
            _ => {}
        }
        let Some((what, how)) = name.split_once('-') else {
            return Self::Answer;
        };
        let parsed = match what {
            "delay" => duration::parse(how).ok().map(Self::Delay),
            "pace" => duration::parse(how).ok().map(Self::Pace),
            "bytes" => how.parse().ok().map(Self::Sized),
            "status" => how.parse().ok().map(failing),
            "html" => how.parse().ok().map(html),
            _ => None,
        };
        parsed.unwrap_or(Self::Answer)
    }
}

fn failing(status: StatusCode) -> Behaviour {
    let body = format!(
        r#"{{"error":{{"message":"the model says {}","type":"server_error","param":null,"code":null}}}}"#,
        status.as_u16()
    );
    Behaviour::Exact(Exact::json(status, body))
}

fn html(status: StatusCode) -> Behaviour {
    let body = format!(
        "<!doctype html><title>{0}</title><h1>The model's proxy says {0}</h1>\n",
        status.as_u16()
    );
    Behaviour::Exact(Exact::new(status, "text/html; charset=utf-8", body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_model_names_are_read_and_others_simply_answer() {
        assert_eq!(
            Behaviour::of_model("delay-20s"),
            Behaviour::Delay(Duration::from_secs(20))
        );
        assert_eq!(Behaviour::of_model("bytes-15728640"), Behaviour::Sized(15_728_640));
        let Behaviour::Exact(exact) = Behaviour::of_model("html-500") else {
            panic!("html-500 is an exact answer")
        };
        assert_eq!(
            (exact.status.as_u16(), exact.content_type.as_str()),
            (500, "text/html; charset=utf-8")
        );
        for plain in ["demo", "gpt-4o", "bytes-many", "delay-", "status-9999"] {
            assert_eq!(Behaviour::of_model(plain), Behaviour::Answer, "{plain}");
        }
    }
}
