//! Reads an answer's bytes, already decoded: an event stream, JSON, or JSON by the line.
//!
//! Fed by `coding`. It keeps no bytes but the first few of an event, to know `[DONE]`.

use std::io::{self, Write};

use super::Operation;
use super::answer::{Looks, Reading};
use super::answer_places::Place;
use super::scanner::{Ended, Scanner};
use super::sse::{BYTE_ORDER_MARK, Piece, Sse};

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Reader {
    /// What it says.
    pub reading: Reading,
    framing: Framing,
    scanner: Scanner<Place>,
    /// A document was read to its end.
    whole: bool,
    /// Something was no document.
    strange: bool,
    seen: u64,
}

#[derive(Debug)]
enum Framing {
    /// The first byte tells.
    Unknown {
        /// A byte order mark, as far as it came.
        mark: usize,
    },
    Events {
        sse: Sse,
        head: Head,
    },
    /// One document.
    Json,
    /// One on each line.
    Lines,
    /// Nothing that could be read.
    Other,
}

impl Framing {
    fn of(content_type: Option<&[u8]>) -> Self {
        let kind = content_type.unwrap_or_default().split(|byte| *byte == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match kind.as_slice() {
            b"text/event-stream" => Self::events(),
            b"application/x-ndjson"
            | b"application/ndjson"
            | b"application/jsonl"
            | b"application/x-jsonlines"
            | b"application/stream+json" => Self::Lines,
            other
                if [&b"audio/"[..], b"image/", b"video/"]
                    .iter()
                    .any(|media| other.starts_with(media)) =>
            {
                Self::Other
            }
            _ => Self::Unknown { mark: 0 },
        }
    }

    fn events() -> Self {
        Self::Events {
            sse: Sse::default(),
            head: Head::default(),
        }
    }
}

impl Reader {
    /// For an answer of this `content-type`; without one that is known, the first byte tells.
    pub fn new(operation: Operation, content_type: Option<&[u8]>) -> Self {
        let looks = match operation {
            Operation::Embeddings | Operation::FetchResponse => Looks::Whole,
            Operation::Chat | Operation::TextCompletion | Operation::GenerateContent | Operation::RealtimeInference => {
                Looks::Stream
            }
        };
        Self {
            reading: Reading::looking(looks),
            framing: Framing::of(content_type),
            scanner: Scanner::default(),
            whole: false,
            strange: false,
            seen: 0,
        }
    }

    /// Whether the answer comes piece by piece.
    pub fn is_stream(&self) -> bool {
        match self.framing {
            Framing::Events { .. } | Framing::Lines => true,
            Framing::Json | Framing::Unknown { .. } | Framing::Other => self.reading.listed,
        }
    }

    /// Whether there were bytes, and nothing that could be read in them.
    pub fn is_unreadable(&self) -> bool {
        !self.whole && self.strange
    }

    /// Reads on.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if let Framing::Unknown { mark } = &mut self.framing {
            while let Some((byte, rest)) = bytes.split_first()
                && (byte.is_ascii_whitespace() || BYTE_ORDER_MARK.get(*mark) == Some(byte))
            {
                *mark += usize::from(!byte.is_ascii_whitespace());
                bytes = rest;
            }
            self.framing = match bytes.first() {
                None => return,
                Some(b'{' | b'[') => Framing::Json,
                // `data`, `event`, `id`, `retry`, or a comment
                Some(b'd' | b'e' | b'i' | b'r' | b':') => Framing::events(),
                Some(_) => Framing::Other,
            };
        }
        match &mut self.framing {
            Framing::Unknown { .. } => {}
            Framing::Events { .. } => self.events(bytes),
            Framing::Json => self.scanner.push(bytes, &mut self.reading),
            Framing::Lines => self.lines(bytes),
            Framing::Other => self.strange |= !bytes.is_empty(),
        }
    }

    /// There will be no more bytes.
    pub fn end(&mut self) {
        self.end_document();
    }

    fn events(&mut self, mut bytes: &[u8]) {
        loop {
            let Framing::Events { sse, head } = &mut self.framing else {
                return;
            };
            match sse.next(&mut bytes) {
                None => return,
                Some(Piece::Data(data)) => {
                    head.push(data);
                    self.scanner.push(data, &mut self.reading);
                }
                Some(Piece::End) => self.end_document(),
                Some(Piece::Strange) => self.strange = true,
            }
        }
    }

    fn lines(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.scanner.push(line, &mut self.reading);
            self.end_document();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.scanner.push(bytes, &mut self.reading);
    }

    fn end_document(&mut self) {
        let is_done = match &mut self.framing {
            Framing::Events { head, .. } => std::mem::take(head).bytes == DONE,
            Framing::Unknown { .. } | Framing::Json | Framing::Lines | Framing::Other => false,
        };
        match self.scanner.end(&mut self.reading) {
            Ended::Whole => self.whole = true,
            Ended::Broken => self.strange |= !is_done,
            Ended::Empty => {}
        }
    }
}

/// The first bytes of an event's data.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; DONE.len()],
    len: usize,
}

impl Head {
    fn push(&mut self, data: &[u8]) {
        let room = self.bytes.iter_mut().skip(self.len);
        self.len += room.zip(data).map(|(kept, byte)| *kept = *byte).count();
    }
}

/// What a decoder writes to: never in vain, so that none writes for ever.
impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > MAX_DECODED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The data of the last event of OpenAI's streams.
const DONE: [u8; 6] = *b"[DONE]";
/// What may come out of an encoded answer: a small one could otherwise keep a thread busy for long.
const MAX_DECODED: u64 = 256 * 1024 * 1024;
