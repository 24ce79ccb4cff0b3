//! The endpoints of an adapter that a relay may be allowed to ask for, and how each is asked.
//!
//! The protocol has two; a configuration may allow the others, each matched exactly. Read by `config` for what `paths`
//! may name, and by [`super::request`] for each request frame.

use http::Method;

/// One endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Its path.
    pub path: &'static str,
    /// How it is asked.
    pub verb: Verb,
    /// Whether the protocol itself names it.
    pub of_protocol: bool,
    /// What of it a frame cannot carry, for who allows it; JSON is all that a frame carries.
    pub caveat: Option<&'static str>,
}

/// How an endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Without a body.
    Get,
    /// With a JSON body.
    Post,
}

impl Verb {
    /// As a request line and a frame's `method` spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }

    /// As a request has it.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
        }
    }
}

/// The endpoint at exactly this path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.path == path)
}

const fn posted(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        verb: Verb::Post,
        of_protocol: false,
        caveat: None,
    }
}

const fn of_protocol(path: &'static str) -> Endpoint {
    Endpoint {
        of_protocol: true,
        ..posted(path)
    }
}

const fn with_caveat(path: &'static str, caveat: &'static str) -> Endpoint {
    Endpoint {
        caveat: Some(caveat),
        ..posted(path)
    }
}

/// All of them.
pub const ENDPOINTS: [Endpoint; 9] = [
    // PROTOCOL §2.2: accepts only the protocol-defined endpoints
    of_protocol("/v1/chat/completions"),
    of_protocol("/v1/responses"),
    posted("/v1/completions"),
    posted("/v1/embeddings"),
    with_caveat(
        "/v1/audio/speech",
        "answers audio, which a frame cannot carry: such an answer becomes 502 adapter_invalid_response",
    ),
    with_caveat("/v1/audio/transcriptions", FORM),
    posted("/v1/images/generations"),
    with_caveat("/v1/images/edits", FORM),
    Endpoint {
        verb: Verb::Get,
        ..posted("/v1/models")
    },
];

const FORM: &str = "is asked with multipart/form-data by most clients, which a frame cannot carry: such a request is answered 400; the model must take JSON here";
