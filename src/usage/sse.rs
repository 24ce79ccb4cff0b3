//! Server-sent events: finds the data in a stream that comes in any pieces.
//!
//! Hands on the bytes of `data:` lines as they pass and says where an event ends; nothing is kept but the name of a
//! line's field. Deliberately absent: ids, retries and event names, which say nothing about usage.

/// Splits a stream into the data of its events.
#[derive(Debug, Default)]
pub(crate) struct Sse {
    line: Line,
    /// The line before ended with CR: an LF that follows is a part of that end.
    after_cr: bool,
    name: [u8; NAME],
    /// Of the name, may exceed what is kept.
    name_len: usize,
    /// The event has data.
    has_data: bool,
    /// A byte order mark at the start of the stream, as far as it came.
    mark: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Name,
    /// After the colon of `data`: one space is no part of it.
    Space,
    Data,
    Other,
}

/// What is next in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes of the event's data.
    Data(&'a [u8]),
    /// An event with data is over.
    End,
    /// A line that is no event stream's.
    Strange,
}

impl Sse {
    /// The next piece of `bytes`, which then hold what is left; `None` once all are looked at.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.is_mark(byte) || (std::mem::take(&mut self.after_cr) && byte == b'\n') {
                *bytes = rest;
                continue;
            }
            let piece = match self.line {
                Line::Name => self.name(bytes),
                Line::Space => {
                    self.line = Line::Data;
                    *bytes = if byte == b' ' { rest } else { bytes };
                    None
                }
                Line::Data | Line::Other if is_end(byte) => {
                    self.end_line(byte);
                    *bytes = rest;
                    None
                }
                Line::Data => Some(Piece::Data(to_end(bytes))),
                Line::Other => {
                    to_end(bytes);
                    None
                }
            };
            if piece.is_some() {
                return piece;
            }
        }
        None
    }

    fn name<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        let end = bytes.iter().position(|byte| *byte == b':' || is_end(*byte));
        let (name, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        for byte in name {
            if let Some(kept) = self.name.get_mut(self.name_len) {
                *kept = *byte;
            }
            self.name_len = self.name_len.saturating_add(1);
        }
        *bytes = rest;
        let (&byte, rest) = rest.split_first()?;
        *bytes = rest;
        let (field, len) = (self.name.get(..self.name_len), self.name_len);
        let is_data = field == Some(b"data");
        self.line = if is_data { Line::Space } else { Line::Other };
        let strange = !matches!(field, Some(b"data" | b"event" | b"id" | b"retry" | b""));
        if byte != b':' {
            self.end_line(byte);
            if len == 0 {
                return std::mem::take(&mut self.has_data).then_some(Piece::End);
            }
        }
        if is_data && std::mem::replace(&mut self.has_data, true) {
            // Lines of one event are joined by a line feed.
            return Some(Piece::Data(b"\n"));
        }
        strange.then_some(Piece::Strange)
    }

    fn end_line(&mut self, byte: u8) {
        self.after_cr = byte == b'\r';
        self.line = Line::Name;
        self.name_len = 0;
    }

    /// Whether `byte` belongs to the byte order mark that a stream may begin with.
    fn is_mark(&mut self, byte: u8) -> bool {
        let is_next = BYTE_ORDER_MARK.get(self.mark) == Some(&byte);
        self.mark = if is_next { self.mark + 1 } else { BYTE_ORDER_MARK.len() };
        is_next
    }
}

/// The bytes up to the end of the line, taken off.
fn to_end<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    *bytes = rest;
    line
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// What a text may begin with.
pub(super) const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
/// The longest name of a field.
const NAME: usize = 5;
