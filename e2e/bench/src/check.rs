//! What makes a run void: an answer with another status, length or id than expected, an unknown or second one, or one in
//! [`EVERY`] that is not the model's byte for byte.

use std::collections::HashMap;
use std::time::Instant;

use e2e::failed::{Failed, Result};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model;

/// One answer in so many is compared byte for byte.
pub const EVERY: u64 = 256;

/// Digits of an id, so that every frame of a run has the same length.
const ID_DIGITS: usize = 16;

/// What waits for its answer.
#[derive(Debug, Default)]
pub struct Outstanding {
    asked: HashMap<u64, Instant>,
    acked: usize,
    next: u64,
}

impl Outstanding {
    /// Nothing yet, on a connection on which so many were asked before.
    pub fn after(asked: u64) -> Self {
        Self {
            next: asked,
            ..Self::default()
        }
    }

    /// Another request, asked for at `at`; gives its id.
    pub fn ask(&mut self, at: Instant) -> String {
        self.next += 1;
        self.asked.insert(self.next, at);
        format!("{:0ID_DIGITS$x}", self.next)
    }

    /// How many are unanswered.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// A receipt came.
    ///
    /// # Errors
    /// Nothing with this id was ever asked.
    pub fn acked(&mut self, id: &str) -> Result<()> {
        let number = number(id)?;
        if number > self.next {
            return Err(Failed::new(format!("a receipt for {id:?}, which was never sent")));
        }
        self.acked += 1;
        Ok(())
    }

    /// Receipts so far.
    pub fn receipts(&self) -> usize {
        self.acked
    }

    /// The answer for `id` came; gives when it was asked for.
    ///
    /// # Errors
    /// It is unknown, or was answered before.
    pub fn answered(&mut self, id: &str) -> Result<Instant> {
        let unknown = || Failed::new(format!("an answer for {id:?}, which is unknown or was answered before"));
        self.asked.remove(&number(id)?).ok_or_else(unknown)
    }
}

fn number(id: &str) -> Result<u64> {
    Ok(u64::from_str_radix(id, 16)?)
}

/// Compares response frames of one size. The first is read as JSON; the others must be the same text around the id and
/// the body, which costs the load generator next to nothing.
#[derive(Debug)]
pub struct Answers {
    bytes: usize,
    known: Option<Known>,
    seen: u64,
}

#[derive(Debug)]
struct Known {
    frame: String,
    id_at: usize,
    body_at: usize,
}

#[derive(Deserialize)]
struct Frame<'a> {
    request_id: &'a str,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    status: u16,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Answers {
    /// For answers whose body was made by the model with this size.
    pub fn of(bytes: usize) -> Self {
        Self {
            bytes,
            known: None,
            seen: 0,
        }
    }

    /// Checks a response frame; gives its id.
    ///
    /// # Errors
    /// It is not as it should be.
    pub fn check<'a>(&mut self, text: &'a str) -> Result<&'a str> {
        self.seen += 1;
        if let Some(known) = &self.known
            && let Some(id) = known.id_in(text, self.seen.is_multiple_of(EVERY))
        {
            return Ok(id);
        }
        let frame: Frame<'a> = serde_json::from_str(text)?;
        if frame.payload.status != 200 {
            let body = frame.payload.body.get();
            let start: String = body.chars().take(300).collect();
            return Err(Failed::new(format!("status {}: {start}", frame.payload.status)));
        }
        let (expected, body) = (model::body(self.bytes), frame.payload.body.get());
        // the reference client reads the body and writes it again, with other spaces
        if body != expected && serde_json::from_str::<Value>(body)? != serde_json::from_str::<Value>(&expected)? {
            return Err(Failed::new(format!(
                "the body has {} bytes and is not the model's, which has {}",
                body.len(),
                expected.len()
            )));
        }
        let at = |part: &str| (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        self.known = Some(Known {
            frame: text.to_owned(),
            id_at: at(frame.request_id),
            body_at: at(body),
        });
        Ok(frame.request_id)
    }
}

impl Known {
    /// The id, if `text` differs from the known frame in nothing else. The body is compared if `whole`.
    fn id_in<'a>(&self, text: &'a str, whole: bool) -> Option<&'a str> {
        if text.len() != self.frame.len() {
            return None;
        }
        let (text_bytes, known) = (text.as_bytes(), self.frame.as_bytes());
        let end = if whole { known.len() } else { self.body_at };
        let same = |from: usize, to: usize| from >= to || text_bytes.get(from..to) == known.get(from..to);
        let after = self.id_at + ID_DIGITS;
        (same(0, self.id_at.min(end)) && same(after, end) && same(self.id_at.min(end), self.id_at))
            .then(|| text.get(self.id_at..after))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: &str, body: &str) -> String {
        format!(r#"{{"type":"response","request_id":"{id}","payload":{{"status":200,"headers":{{}},"body":{body}}}}}"#)
    }

    #[test]
    fn answers_are_known_by_their_first_and_others_void_the_run() {
        let mut answers = Answers::of(1024);
        let body = model::body(1024);
        assert_eq!(body.len(), 1024);
        assert_eq!(
            answers.check(&frame("0000000000000001", &body)).unwrap(),
            "0000000000000001"
        );
        assert_eq!(
            answers.check(&frame("00000000000000ab", &body)).unwrap(),
            "00000000000000ab"
        );
        assert!(
            answers
                .known
                .as_ref()
                .unwrap()
                .id_in(&frame("00000000000000ac", &body), true)
                .is_some()
        );
        let shorter = model::body(1023);
        assert!(answers.check(&frame("0000000000000002", &shorter)).is_err());
        let status = frame("0000000000000003", &body).replace("200", "503");
        assert!(answers.check(&status).is_err());
        let other = body.replace("quick", "quack");
        assert!(
            answers
                .known
                .as_ref()
                .unwrap()
                .id_in(&frame("00000000000000ac", &other), true)
                .is_none()
        );
    }

    #[test]
    fn the_reference_may_space_its_json_differently() {
        let spaced = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&model::body(1024)).unwrap()).unwrap();
        assert!(Answers::of(1024).check(&frame("0000000000000001", &spaced)).is_ok());
    }

    #[test]
    fn a_second_answer_is_an_error() {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(Instant::now());
        assert!(outstanding.answered(&id).is_ok());
        assert!(outstanding.answered(&id).is_err());
        assert!(outstanding.acked("ffff").is_err());
    }
}
