//! Answers that the adapter did not give.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::Limit;

/// Why this client answers a request itself. Evaluators tell a tunnel fault from a model's refusal by
/// `error.type` = `relay_client_error` and by [`Fault::code`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 400: the request frame's payload is not what `PROTOCOL §2.2` says.
    InvalidRequestFrame(Cow<'static, str>),
    /// 400: more headers than Envoy would take.
    HeadersTooLarge(Cow<'static, str>),
    /// 404: a path the configuration does not allow (`PROTOCOL §2.2`).
    PathNotAllowed,
    /// 405: a method that the path does not have.
    MethodNotAllowed {
        /// The one that it has.
        allow: &'static str,
    },
    /// 429: Envoy refused the request for its rate or token budget.
    OverBudget,
    /// 429 when a budget of this relay is spent, 503 while it is paused.
    NotAdmitted {
        /// Which budget, or what paused it.
        limit: Limit,
        /// Seconds until it makes sense to ask again.
        retry_after: u64,
    },
    /// 502: the adapter answered what cannot be relayed.
    AdapterInvalidResponse(Cow<'static, str>),
    /// 502: the answer does not fit one frame (`PROTOCOL §2.2`).
    ResponseTooLarge {
        /// The frame limit in bytes.
        limit: usize,
    },
    /// 503: the adapter could not be reached, or its answer broke off.
    AdapterUnavailable(Cow<'static, str>),
    /// 503: no complete answer within the request timeout.
    AdapterTimeout,
    /// 503: a bound of this client is reached.
    Overloaded(&'static str),
    /// 503: this client is shutting down (`PROTOCOL §2.6`).
    Draining,
}

impl Fault {
    /// Whatever [`Fault::code`] may say.
    pub const CODES: [&str; 12] = [
        "invalid_request_frame",
        "headers_too_large",
        "path_not_allowed",
        "method_not_allowed",
        "over_budget",
        "adapter_invalid_response",
        "response_too_large",
        "adapter_unavailable",
        "adapter_timeout",
        "overloaded",
        "draining",
        "paused",
    ];

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidRequestFrame(_) | Self::HeadersTooLarge(_) => 400,
            Self::PathNotAllowed => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::OverBudget => 429,
            Self::NotAdmitted { limit, .. } => {
                if limit.is_pause() {
                    503
                } else {
                    429
                }
            }
            Self::AdapterInvalidResponse(_) | Self::ResponseTooLarge { .. } => 502,
            Self::AdapterUnavailable(_) | Self::AdapterTimeout | Self::Overloaded(_) | Self::Draining => 503,
        }
    }

    /// `error.code`: short, bounded, a metric label.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequestFrame(_) => "invalid_request_frame",
            Self::HeadersTooLarge(_) => "headers_too_large",
            Self::PathNotAllowed => "path_not_allowed",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::OverBudget => "over_budget",
            Self::NotAdmitted { limit, .. } => {
                if limit.is_pause() {
                    "paused"
                } else {
                    "over_budget"
                }
            }
            Self::AdapterInvalidResponse(_) => "adapter_invalid_response",
            Self::ResponseTooLarge { .. } => "response_too_large",
            Self::AdapterUnavailable(_) => "adapter_unavailable",
            Self::AdapterTimeout => "adapter_timeout",
            Self::Overloaded(_) => "overloaded",
            Self::Draining => "draining",
        }
    }

    /// The answer's header `retry-after`, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NotAdmitted { retry_after, .. } => Some(*retry_after),
            Self::InvalidRequestFrame(_)
            | Self::HeadersTooLarge(_)
            | Self::PathNotAllowed
            | Self::MethodNotAllowed { .. }
            | Self::OverBudget
            | Self::AdapterInvalidResponse(_)
            | Self::ResponseTooLarge { .. }
            | Self::AdapterUnavailable(_)
            | Self::AdapterTimeout
            | Self::Overloaded(_)
            | Self::Draining => None,
        }
    }

    /// The JSON body of the answer: the error shape of `PROTOCOL §1`, with type and code.
    #[must_use]
    pub fn body(&self) -> String {
        let message = self.to_string();
        let error = ErrorBody {
            message: &message,
            kind: ERROR_TYPE,
            code: self.code(),
        };
        serde_json::to_string(&Envelope { error }).unwrap_or_else(|_| String::from(r#"{"error":{}}"#))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidRequestFrame(what) => write!(f, "invalid request frame: {what}"),
            Self::HeadersTooLarge(what) => write!(f, "request headers too large: {what}"),
            Self::PathNotAllowed => f.write_str("path not allowed through this relay client"),
            Self::MethodNotAllowed { allow } => write!(f, "method not allowed for this path, allow: {allow}"),
            Self::OverBudget => f.write_str("over the rate or token budget set in front of the adapter"),
            Self::NotAdmitted { limit, retry_after } => not_admitted(f, *limit, *retry_after),
            Self::AdapterInvalidResponse(what) => write!(f, "invalid response from the adapter: {what}"),
            Self::ResponseTooLarge { limit } => {
                write!(f, "response too large to relay, a frame holds at most {limit} bytes")
            }
            Self::AdapterUnavailable(what) => write!(f, "adapter unavailable: {what}"),
            Self::AdapterTimeout => f.write_str("no complete answer from the adapter within the request timeout"),
            Self::Overloaded(what) => write!(f, "relay client overloaded: {what}"),
            Self::Draining => f.write_str("relay client is shutting down"),
        }
    }
}

fn not_admitted(f: &mut fmt::Formatter<'_>, limit: Limit, seconds: u64) -> fmt::Result {
    match limit {
        Limit::RequestsPerMinute | Limit::TokensPerDay | Limit::MaxConcurrent => {
            write!(f, "over this relay's budget {}, try again in {seconds} s", limit.name())
        }
        Limit::Schedule => write!(f, "this relay is paused by its schedule, which opens in {seconds} s"),
        Limit::Hand => f.write_str("this relay is paused by its operator"),
    }
}

impl std::error::Error for Fault {}

/// `error.type` of every answer that the adapter did not give.
pub const ERROR_TYPE: &str = "relay_client_error";

#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_are_listed() {
        let all = [
            Fault::InvalidRequestFrame("".into()),
            Fault::HeadersTooLarge("".into()),
            Fault::PathNotAllowed,
            Fault::MethodNotAllowed { allow: "POST" },
            Fault::OverBudget,
            Fault::AdapterInvalidResponse("".into()),
            Fault::ResponseTooLarge { limit: 0 },
            Fault::AdapterUnavailable("".into()),
            Fault::AdapterTimeout,
            Fault::Overloaded(""),
            Fault::Draining,
            Fault::NotAdmitted {
                limit: Limit::Hand,
                retry_after: 1,
            },
        ];
        assert_eq!(all.map(|fault| fault.code()), Fault::CODES);
    }

    // PROTOCOL §2.2: an error response rather than leaving the request unanswered
    #[test]
    fn a_fault_says_what_happened_in_the_error_shape() {
        assert_eq!(
            Fault::AdapterUnavailable("connection \"refused\"".into()).body(),
            r#"{"error":{"message":"adapter unavailable: connection \"refused\"","type":"relay_client_error","code":"adapter_unavailable"}}"#
        );
    }
}
