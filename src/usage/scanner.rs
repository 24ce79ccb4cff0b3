//! Walks a table over JSON that comes in any pieces.
//!
//! A state machine that keeps a key, one short value and the stack of places that it is in; all other values are
//! skipped as they pass, so its memory has a bound whatever comes. It agrees with `whole` on all JSON. Of what is not
//! JSON it takes what stands before the mistake, and nothing until the next document. Deliberately absent: a full
//! check of the grammar, which nobody asks of a bystander.

use super::scalar::{MAX_ATOM, Scalar, Text, plain, quoted};
use super::table::{Container, Table};

/// Reads one document after the other.
#[derive(Debug)]
pub(super) struct Scanner<P> {
    state: State,
    /// The place of the value that comes or is being read; `None` if it is not wanted.
    place: Option<P>,
    stack: Vec<(P, Container)>,
    /// Open brackets of a container that is skipped.
    depth: u64,
    /// Within a skipped string, after a backslash.
    escaped: bool,
    text: Text,
    atom: Atom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of a document was seen.
    Before,
    Value,
    /// After `[`: a value or `]`.
    FirstElement,
    /// After `{`: a key or `}`.
    FirstKey,
    Key,
    InKey,
    Colon,
    /// After a value in a container.
    Next,
    InText,
    InAtom,
    SkippedText,
    SkippedAtom,
    Skipped,
    TextInSkipped,
    /// The document is whole.
    Done,
    /// It is not JSON.
    Broken,
}

/// How a document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There was nothing but white space.
    Empty,
    Whole,
    /// Before its end, or it is no JSON.
    Broken,
}

impl<P> Default for Scanner<P> {
    fn default() -> Self {
        Self {
            state: State::Before,
            place: None,
            stack: Vec::new(),
            depth: 0,
            escaped: false,
            text: Text::default(),
            atom: Atom::default(),
        }
    }
}

impl<P: Copy> Scanner<P> {
    /// Reads on.
    pub fn push<T: Table<Place = P>>(&mut self, mut bytes: &[u8], table: &mut T) {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = match self.state {
                State::InText => self.text(bytes, table),
                State::InKey => self.key(bytes, table),
                State::SkippedText => self.skip_text(bytes, State::Next),
                State::TextInSkipped => self.skip_text(bytes, State::Skipped),
                State::Skipped => self.skip(bytes),
                State::InAtom | State::SkippedAtom => self.atom(bytes, table),
                State::Broken => return,
                State::Before
                | State::Value
                | State::FirstElement
                | State::Key
                | State::FirstKey
                | State::Colon
                | State::Next
                | State::Done
                    if byte.is_ascii_whitespace() =>
                {
                    rest
                }
                State::Before => {
                    self.place = Some(T::ROOT);
                    self.value(byte, rest, table)
                }
                State::FirstElement if byte == b']' => self.close(b']', rest, table),
                State::Value | State::FirstElement => self.value(byte, rest, table),
                State::FirstKey if byte == b'}' => self.close(b'}', rest, table),
                State::Key | State::FirstKey if byte == b'"' => self.begin_key(rest, table),
                State::Colon if byte == b':' => {
                    self.state = State::Value;
                    rest
                }
                State::Next => self.next(byte, rest, table),
                State::Key | State::FirstKey | State::Colon | State::Done => {
                    self.state = State::Broken;
                    rest
                }
            }
        }
    }

    /// The document ends here; the next one may begin.
    pub fn end<T: Table<Place = P>>(&mut self, table: &mut T) -> Ended {
        // Within a container a number may go on.
        if matches!(self.state, State::InAtom | State::SkippedAtom) && self.stack.is_empty() {
            self.end_atom(table);
        }
        let ended = match self.state {
            State::Before => Ended::Empty,
            State::Done => Ended::Whole,
            State::Value
            | State::FirstElement
            | State::FirstKey
            | State::Key
            | State::InKey
            | State::Colon
            | State::Next
            | State::InText
            | State::InAtom
            | State::SkippedText
            | State::SkippedAtom
            | State::Skipped
            | State::TextInSkipped
            | State::Broken => Ended::Broken,
        };
        self.state = State::Before;
        self.stack.clear();
        (self.depth, self.escaped) = (0, false);
        ended
    }

    /// A value, as far as it can be read at once.
    fn value<'a, T: Table<Place = P>>(&mut self, first: u8, rest: &'a [u8], table: &mut T) -> &'a [u8] {
        match (first, self.place) {
            (b'"', None) => {
                self.state = State::SkippedText;
                return self.skip_text(rest, State::Next);
            }
            (b'"', Some(place)) => {
                if let Some((text, rest)) = plain(rest) {
                    table.scalar(place, Scalar::Text(text));
                    self.after();
                    return rest;
                }
                self.text.clear();
                self.state = State::InText;
            }
            (b'{', _) => self.begin(Container::Object, table),
            (b'[', _) => self.begin(Container::Array, table),
            (b'-' | b'0'..=b'9' | b'a'..=b'z', place) => {
                self.atom.begin(first);
                self.state = if place.is_some() {
                    State::InAtom
                } else {
                    State::SkippedAtom
                };
            }
            _ => self.state = State::Broken,
        }
        rest
    }

    fn begin<T: Table<Place = P>>(&mut self, container: Container, table: &mut T) {
        match self.place.filter(|place| !T::is_leaf(*place)) {
            Some(place) => {
                table.begin(place, container);
                self.stack.push((place, container));
                self.place = table.element(place).filter(|_| container == Container::Array);
                self.state = match container {
                    Container::Object => State::FirstKey,
                    Container::Array => State::FirstElement,
                };
            }
            None => (self.state, self.depth) = (State::Skipped, 1),
        }
    }

    /// What follows a value.
    fn next<'a, T: Table<Place = P>>(&mut self, byte: u8, rest: &'a [u8], table: &mut T) -> &'a [u8] {
        match (byte, self.stack.last()) {
            (b',', Some((_, Container::Object))) => self.state = State::Key,
            (b',', Some((place, Container::Array))) => {
                self.place = table.element(*place);
                self.state = State::Value;
            }
            _ => return self.close(byte, rest, table),
        }
        rest
    }

    fn close<'a, T: Table<Place = P>>(&mut self, byte: u8, rest: &'a [u8], table: &mut T) -> &'a [u8] {
        match (byte, self.stack.pop()) {
            (b'}', Some((place, Container::Object))) | (b']', Some((place, Container::Array))) => {
                table.end(place);
                self.after();
            }
            _ => self.state = State::Broken,
        }
        rest
    }

    /// A value ended.
    fn after(&mut self) {
        self.state = match self.stack.is_empty() {
            true => State::Done,
            false => State::Next,
        };
    }

    fn text<'a, T: Table<Place = P>>(&mut self, bytes: &'a [u8], table: &mut T) -> &'a [u8] {
        let rest = self.text.take(bytes);
        let Some((_, rest)) = rest.split_first() else {
            return rest;
        };
        if let Some(place) = self.place {
            table.scalar(place, Scalar::Text(self.text.finish()));
        }
        self.after();
        rest
    }

    fn begin_key<'a, T: Table<Place = P>>(&mut self, bytes: &'a [u8], table: &mut T) -> &'a [u8] {
        if let Some((key, rest)) = quoted(bytes) {
            self.place = self.stack.last().and_then(|(place, _)| table.member(*place, key));
            self.state = State::Colon;
            return rest;
        }
        self.text.clear();
        self.state = State::InKey;
        bytes
    }

    fn key<'a, T: Table<Place = P>>(&mut self, bytes: &'a [u8], table: &mut T) -> &'a [u8] {
        let rest = self.text.take(bytes);
        let Some((_, rest)) = rest.split_first() else {
            return rest;
        };
        let key = self.text.finish_bytes();
        self.place = self.stack.last().and_then(|(place, _)| table.member(*place, key));
        self.state = State::Colon;
        rest
    }

    fn skip_text<'a>(&mut self, mut bytes: &'a [u8], then: State) -> &'a [u8] {
        if std::mem::take(&mut self.escaped) {
            bytes = bytes.get(1..).unwrap_or_default();
        }
        while let Some(at) = memchr::memchr2(b'"', b'\\', bytes) {
            let (found, rest) = (bytes.get(at), bytes.get(at + 1..).unwrap_or_default());
            if found == Some(&b'"') {
                self.state = then;
                if then == State::Next {
                    self.after();
                }
                return rest;
            }
            self.escaped = rest.is_empty();
            bytes = rest.get(1..).unwrap_or_default();
        }
        &[]
    }

    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => self.state = State::TextInSkipped,
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    continue;
                }
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth > 0 {
                        continue;
                    }
                    self.after();
                }
                _ => continue,
            }
            return bytes.get(at + 1..).unwrap_or_default();
        }
        &[]
    }

    fn atom<'a, T: Table<Place = P>>(&mut self, bytes: &'a [u8], table: &mut T) -> &'a [u8] {
        let is_atom = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let end = bytes.iter().position(|byte| !is_atom(byte));
        let (atom, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if self.state == State::InAtom {
            self.atom.push(atom);
        }
        if end.is_some() {
            self.end_atom(table);
        }
        rest
    }

    fn end_atom<T: Table<Place = P>>(&mut self, table: &mut T) {
        let wanted = self.place.filter(|_| self.state == State::InAtom);
        self.after();
        let Some(place) = wanted else { return };
        match Scalar::atom(self.atom.as_str()) {
            Some(Scalar::Number(_) | Scalar::Bool(_)) if !T::is_leaf(place) => {}
            Some(scalar) => table.scalar(place, scalar),
            None if self.stack.is_empty() => self.state = State::Broken,
            None => {}
        }
    }
}

/// A number or literal, as long as it is short enough to be wanted.
#[derive(Debug, Default)]
struct Atom {
    bytes: [u8; MAX_ATOM],
    len: usize,
}

impl Atom {
    fn begin(&mut self, byte: u8) {
        self.len = 0;
        self.push(&[byte]);
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }

    /// Empty if it was too long.
    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::answer::{Looks, Reading};

    #[test]
    fn whatever_is_nested_little_is_kept() {
        let long = "x".repeat(100_000);
        let keys = [
            "response",
            "choices",
            "delta",
            "content",
            "usage",
            "candidates",
            "parts",
            "error",
            "session",
        ];
        let mut most = 0;
        for outer in keys {
            for inner in keys {
                let open = format!("{{\"{outer}\":[{{\"{inner}\":{{\"{long}\":[[{{\"{inner}\":\"{long}\",\"{outer}\":");
                let (mut scanner, mut reading) = (Scanner::default(), Reading::looking(Looks::Socket));
                for _ in 0..20 {
                    scanner.push(open.as_bytes(), &mut reading);
                    most = most.max(scanner.stack.len());
                }
                scanner.push(long.as_bytes(), &mut reading);
                assert!(scanner.text.finish_bytes().len() <= 256);
            }
        }
        assert!((3..=6).contains(&most), "{most} places deep");
    }
}
