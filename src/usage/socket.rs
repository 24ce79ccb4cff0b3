//! The tap on an upgraded connection: the Responses API over a WebSocket, and Realtime.
//!
//! Driven by the HTTP filter `usage` with the raw bytes of both directions. What is said about each response goes to
//! `turns`, which pairs and counts them. Deliberately absent: decompressing messages; the filter can keep compression
//! from being agreed upon.

use std::time::Instant;

use super::Operation;
use super::answer::{Looks, Reading};
use super::request::Asking;
use super::scanner::Scanner;
use super::table::Table;
use super::turns::{Turn, Turns};
use super::websocket::{Frames, Piece};

/// One connection.
#[derive(Debug)]
pub struct SocketTap {
    client: Side<Asking>,
    server: Side<Reading>,
    turns: Turns,
    close: Option<Close>,
}

/// How a connection was closed in order: the first close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Its code; 1005 if it had none.
    pub code: u16,
    /// Who sent it.
    pub by: Peer,
}

/// A side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Who asked for it.
    Client,
    /// Who agreed to it.
    Server,
}

/// One direction.
#[derive(Debug)]
struct Side<T: Table> {
    frames: Frames,
    scanner: Scanner<T::Place>,
    /// The message under way.
    table: T,
}

/// What a side said.
enum Said<'a, T> {
    Message(&'a mut T),
    Compressed,
    Close(u16),
}

impl SocketTap {
    /// Taps a connection for `operation`.
    #[must_use]
    pub fn new(operation: Operation) -> Self {
        Self {
            client: Side::new(Asking::default()),
            server: Side::new(Reading::looking(Looks::Socket)),
            turns: Turns::new(operation),
            close: None,
        }
    }

    /// The model that the connection's URL names.
    pub fn set_model(&mut self, model: &str) {
        self.turns.set_model(model);
    }

    /// Reads what the client sends.
    pub fn from_client(&mut self, bytes: &[u8], now: Instant) {
        let (turns, close) = (&mut self.turns, &mut self.close);
        self.client.push(bytes, |said| match said {
            Said::Message(asking) => turns.asked(std::mem::take(asking), now),
            Said::Compressed => turns.compressed(now),
            Said::Close(code) => *close = close.or(Some(Close { code, by: Peer::Client })),
        });
    }

    /// Reads what the server sends.
    pub fn from_server(&mut self, bytes: &[u8], now: Instant) {
        let (turns, close) = (&mut self.turns, &mut self.close);
        self.server.push(bytes, |said| match said {
            Said::Message(reading) => {
                reading.settle();
                turns.said(reading, now);
                *reading = Reading::looking(Looks::Socket);
            }
            Said::Compressed => turns.compressed(now),
            Said::Close(code) => *close = close.or(Some(Close { code, by: Peer::Server })),
        });
    }

    /// A response that is over, the oldest first.
    pub fn next_turn(&mut self) -> Option<Turn> {
        self.turns.next()
    }

    /// The first close frame.
    #[must_use]
    pub fn close(&self) -> Option<Close> {
        self.close
    }

    /// The connection ended: what is not over comes out as it is.
    pub fn finish(&mut self, now: Instant) {
        let broken = self.client.frames.broken || self.server.frames.broken;
        self.turns.finish(broken, now);
    }
}

impl<T: Table> Side<T> {
    fn new(table: T) -> Self {
        Self {
            frames: Frames::default(),
            scanner: Scanner::default(),
            table,
        }
    }

    fn push(&mut self, mut bytes: &[u8], mut say: impl FnMut(Said<'_, T>)) {
        while let Some(piece) = self.frames.next(&mut bytes) {
            match piece {
                Piece::Data(payload, None) => self.scanner.push(payload, &mut self.table),
                Piece::Data(payload, Some(mask)) => {
                    mask.remove(payload, |clear| self.scanner.push(clear, &mut self.table));
                }
                Piece::End { compressed: true } => say(Said::Compressed),
                Piece::End { compressed: false } => {
                    self.scanner.end(&mut self.table);
                    say(Said::Message(&mut self.table));
                }
                Piece::Close(code) => say(Said::Close(code)),
            }
        }
    }
}
