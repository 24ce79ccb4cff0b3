//! What a client hears: `delta`, `done`, `error`. Pure.
#![deny(clippy::disallowed_methods)]

use std::borrow::Cow;

use super::ask::Id;
use super::members::Writer;
use crate::protocol::Fault;

/// Why a message has no answer, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// As HTTP would say it.
    pub status: u16,
    /// Short; the model's own words where it is the model's.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// The member that is wrong.
    pub param: Option<String>,
    /// Who says so.
    pub origin: Origin,
}

/// Who says that something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// This module, or Envoy: the model has not.
    Bridge,
    /// The model.
    Model,
}

impl Failure {
    /// A failure of this side.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            param: None,
            origin: Origin::Bridge,
        }
    }

    /// The message to the client.
    pub fn json(&self, id: Option<&Id>) -> String {
        let mut error = begin("error", id);
        error.raw("status", &self.status.to_string());
        error.text("code", &self.code);
        error.text("message", &self.message);
        if let Some(param) = &self.param {
            error.text("param", param);
        }
        error.text("origin", self.origin.name());
        error.finish()
    }

    /// For counting: short and from a bounded set, unlike a model's words.
    pub fn label(&self) -> String {
        match self.origin {
            Origin::Bridge => self.code.clone().into_owned(),
            Origin::Model => self.status.to_string(),
        }
    }
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        Self::new(fault.status(), fault.code(), fault.to_string())
    }
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Model => "model",
        }
    }
}

/// Begins a message of this type.
pub(super) fn begin(kind: &str, id: Option<&Id>) -> Writer {
    let mut message = Writer::new();
    message.text("type", kind);
    if let Some(id) = id {
        message.raw("id", id.json());
    }
    message
}

/// The end of a turn that the client gave up.
pub(super) fn cancelled(id: Option<&Id>) -> String {
    let mut done = begin("done", id);
    done.raw("usage", "null");
    done.text("finish_reason", CANCELLED);
    done.finish()
}

/// `finish_reason` of a turn that the client gave up, and what telemetry calls it.
pub(super) const CANCELLED: &str = "cancelled";
