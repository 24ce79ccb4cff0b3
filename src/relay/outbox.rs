//! What waits to be handed to the WebSocket.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::protocol::Outgoing;

/// Messages in the order in which they are sent.
///
/// A large one goes out as fragments of [`FRAGMENT`] (RFC 6455 §5.4): what is masked and written at once fits into the
/// processor's cache, and a ping need not wait behind 16 MiB.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: VecDeque<Waiting>,
    /// What is left of a message that was begun.
    rest: Option<Rest>,
    small_bytes: usize,
}

#[derive(Debug)]
enum Waiting {
    Frame(Outgoing),
    Control(Message),
}

#[derive(Debug)]
struct Rest {
    bytes: Bytes,
    /// What it is tied to stays until all of it is written.
    _frame: Outgoing,
}

impl Outbox {
    /// Adds a frame.
    pub fn push(&mut self, frame: Outgoing) {
        self.small_bytes += small_bytes(&frame);
        self.messages.push_back(Waiting::Frame(frame));
    }

    /// Adds a control message behind everything else.
    pub fn push_control(&mut self, message: Message) {
        self.messages.push_back(Waiting::Control(message));
    }

    /// Adds a ping, which overtakes everything, also the rest of a message that was begun.
    pub fn push_ping(&mut self, payload: Bytes) {
        self.messages.push_front(Waiting::Control(Message::Ping(payload)));
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.rest.is_none()
    }

    /// Bytes of the small frames that wait, and what else they occupy.
    pub fn small_bytes(&self) -> usize {
        self.small_bytes
    }

    /// The next message, or part of one.
    pub fn pop(&mut self) -> Option<Message> {
        if let Some(Waiting::Control(Message::Ping(_))) = self.messages.front() {
            return self.pop_whole();
        }
        match self.rest.take() {
            Some(rest) => Some(self.part(rest, OpCode::Data(Data::Continue))),
            None => self.pop_whole(),
        }
    }

    fn pop_whole(&mut self) -> Option<Message> {
        let frame = match self.messages.pop_front()? {
            Waiting::Control(message) => return Some(message),
            Waiting::Frame(frame) => frame,
        };
        self.small_bytes -= small_bytes(&frame);
        if frame.len() <= FRAGMENT {
            return Some(Message::Text(frame.into()));
        }
        let rest = Rest {
            bytes: frame.bytes(),
            _frame: frame,
        };
        Some(self.part(rest, OpCode::Data(Data::Text)))
    }

    fn part(&mut self, mut rest: Rest, opcode: OpCode) -> Message {
        let part = rest.bytes.split_to(rest.bytes.len().min(FRAGMENT));
        let is_final = rest.bytes.is_empty();
        if !is_final {
            self.rest = Some(rest);
        }
        Message::Frame(Frame::message(part, opcode, is_final))
    }
}

/// What a frame counts towards [`Outbox::small_bytes`].
fn small_bytes(frame: &Outgoing) -> usize {
    if frame.len() <= SMALL {
        frame.len() + MESSAGE_BYTES
    } else {
        0
    }
}

/// The most that is handed over at once.
pub(super) const FRAGMENT: usize = 128 * 1024;

/// What a waiting frame occupies besides its text.
pub(super) const MESSAGE_BYTES: usize = 64;

/// Acks and refusals are below: an id of 8 KiB may be written in six times as many bytes.
pub(super) const SMALL: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(message: Option<Message>) -> (OpCode, bool, usize) {
        match message {
            Some(Message::Frame(frame)) => (frame.header().opcode, frame.header().is_final, frame.payload().len()),
            other => panic!("{other:?}"),
        }
    }

    // RFC 6455 §5.4: control frames may be injected in the middle of a fragmented message
    #[test]
    fn a_large_frame_goes_in_parts_between_which_only_a_ping_comes() {
        let mut outbox = Outbox::default();
        outbox.push(Outgoing::from("x".repeat(2 * FRAGMENT + 1)));
        outbox.push(Outgoing::from("next".to_owned()));
        assert_eq!(part(outbox.pop()), (OpCode::Data(Data::Text), false, FRAGMENT));
        outbox.push_control(Message::Close(None));
        outbox.push_ping(Bytes::from_static(b"1"));
        assert!(matches!(outbox.pop(), Some(Message::Ping(_))));
        assert_eq!(part(outbox.pop()), (OpCode::Data(Data::Continue), false, FRAGMENT));
        assert!(!outbox.is_empty());
        assert_eq!(part(outbox.pop()), (OpCode::Data(Data::Continue), true, 1));
        assert_eq!(outbox.pop(), Some(Message::text("next")));
        assert!(!outbox.is_empty());
        assert_eq!(outbox.pop(), Some(Message::Close(None)));
        assert!(outbox.is_empty() && outbox.pop().is_none());
    }

    #[test]
    fn only_small_frames_count_as_small_and_until_they_are_handed_over() {
        let mut outbox = Outbox::default();
        for len in [10, SMALL, SMALL + 1] {
            outbox.push(Outgoing::from("x".repeat(len)));
        }
        assert_eq!(outbox.small_bytes(), 10 + SMALL + 2 * MESSAGE_BYTES);
        while outbox.pop().is_some() {}
        assert_eq!(outbox.small_bytes(), 0);
    }

    #[test]
    fn what_a_frame_is_tied_to_stays_until_its_last_part_is_handed_over() {
        let owner = std::sync::Arc::new(());
        let mut outbox = Outbox::default();
        outbox.push(Outgoing::from("x".repeat(FRAGMENT + 1)).tied_to(std::sync::Arc::clone(&owner)));
        drop(outbox.pop());
        assert_eq!(std::sync::Arc::strong_count(&owner), 2);
        drop(outbox.pop());
        assert_eq!(std::sync::Arc::strong_count(&owner), 1);
    }
}
