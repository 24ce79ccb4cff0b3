//! The tap on one HTTP exchange: reads usage from the bytes that pass, in whatever pieces they come.
//!
//! Driven by the HTTP filter `usage` on any listener. A bystander: it keeps no bodies, and in doubt it stops looking
//! and says why.

use super::coding::Coding;
use super::reader::Reader;
use super::request::{Asking, Place};
use super::scanner::Scanner;
use super::{Answer, Missing, Operation, Request};

/// One answer.
#[derive(Debug)]
pub struct Tap {
    coding: Coding,
    /// Decoding failed.
    failed: bool,
    /// Whether it ended, and whole.
    ended: Option<bool>,
    had_output: bool,
}

/// What was new in some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// The first generated output of a stream.
    pub first_output: bool,
    /// A figure.
    pub usage: bool,
}

impl Tap {
    /// Taps the answer to `operation`; the others are its headers' values.
    #[must_use]
    pub fn new(operation: Operation, content_type: Option<&[u8]>, content_encoding: Option<&[u8]>) -> Self {
        Self {
            coding: Coding::new(content_encoding, Reader::new(operation, content_type)),
            failed: false,
            ended: None,
            had_output: false,
        }
    }

    /// Reads the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) -> News {
        if !self.is_looking() {
            return News::default();
        }
        self.failed = self.coding.push(bytes).is_err();
        self.news()
    }

    /// Whether there is a point in reading on: no longer once decoding failed, or the body ended.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        !self.failed && self.ended.is_none()
    }

    /// The body ended: `complete`, or broken off.
    pub fn finish(&mut self, complete: bool) {
        if self.ended.is_none() {
            self.ended = Some(complete);
            let reader = self.coding.reader_mut();
            reader.end();
            reader.reading.settle();
        }
    }

    /// What the answer says, as far as it came.
    #[must_use]
    pub fn answer(&self) -> &Answer {
        &self.coding.reader().reading.answer
    }

    /// Why the tokens are not known, once it is finished.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        let complete = self.ended?;
        let reader = self.coding.reader();
        let missing = reader.reading.missing()?;
        Some(match missing {
            _ if self.failed => Missing::Encoding,
            _ if !complete => Missing::CutShort,
            _ if reader.is_unreadable() => Missing::Unreadable,
            missing => missing,
        })
    }

    /// Whether the answer is a stream of output.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.coding.reader().is_stream()
    }

    fn news(&mut self) -> News {
        let reader = self.coding.reader_mut();
        let has_output = reader.reading.output && reader.is_stream();
        let first_output = has_output && !self.had_output;
        self.had_output |= has_output;
        News {
            first_output,
            usage: reader.reading.settle(),
        }
    }
}

/// One request's body.
#[derive(Debug, Default)]
pub struct RequestTap {
    scanner: Scanner<Place>,
    asking: Asking,
}

impl RequestTap {
    /// Taps a request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.scanner.push(bytes, &mut self.asking);
    }

    /// What the request asks for.
    #[must_use]
    pub fn finish(mut self) -> Request {
        self.scanner.end(&mut self.asking);
        self.asking.request
    }
}
