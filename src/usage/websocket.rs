//! WebSocket frames of one direction, in bytes that come in any pieces.
//!
//! Reads headers and hands on payloads as they pass, still masked. Driven by `socket`, once for each side. Deliberately
//! absent: extensions. A message with a reserved bit is compressed, as far as anyone uses them, and is passed over.

/// Splits a side's bytes into the payloads of its messages.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    header_len: usize,
    /// The frame whose payload comes, and how much of it is left.
    frame: Option<(Frame, u64)>,
    /// The message that is not at its end, and whether it is compressed.
    message: Option<bool>,
    close: [u8; 2],
    /// Of a close frame's payload, may exceed what is kept.
    close_len: u64,
    /// Nothing more is read: the side closed, or it broke the protocol.
    over: bool,
    /// It broke the protocol.
    pub broken: bool,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    /// The last one of its message.
    last: bool,
    mask: Option<Mask>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Close,
    /// Ping or pong.
    Other,
}

/// What a payload was made unreadable with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mask {
    key: [u8; 4],
    /// Where in the key the payload is.
    at: usize,
}

/// What is next in a side's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// Bytes of a message.
    Data(&'a [u8], Option<Mask>),
    /// A message is over.
    End {
        /// It could not be read.
        compressed: bool,
    },
    /// The side closes, with this code.
    Close(u16),
}

impl Frames {
    /// The next piece of `bytes`, which then hold what is left; `None` once all are looked at.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        while !self.over {
            let Some((frame, left)) = self.frame.take() else {
                self.header(bytes)?;
                continue;
            };
            if left == 0 {
                if let Some(end) = self.end(frame) {
                    return Some(end);
                }
                continue;
            }
            let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at(len);
            *bytes = rest;
            self.frame = Some((frame.after(len), left.saturating_sub(len as u64)));
            if payload.is_empty() {
                return None;
            }
            match frame.kind {
                Kind::Data if self.message == Some(false) => return Some(Piece::Data(payload, frame.mask)),
                Kind::Close => self.close(payload, frame.mask),
                Kind::Data | Kind::Other => {}
            }
        }
        None
    }

    /// Reads a header; `None` when it is not whole yet.
    fn header(&mut self, bytes: &mut &[u8]) -> Option<()> {
        while self.header_len < self.header_needed() {
            let (byte, rest) = bytes.split_first()?;
            *self.header.get_mut(self.header_len)? = *byte;
            self.header_len += 1;
            *bytes = rest;
        }
        self.header_len = 0;
        let [first, second, ref extended @ ..] = self.header;
        let (length, key) = match second & 0x7F {
            126 => (extended.first_chunk().map(|len| u16::from_be_bytes(*len).into()), 2),
            127 => (extended.first_chunk().map(|len| u64::from_be_bytes(*len)), 8),
            length => (Some(length.into()), 0),
        };
        let key = extended.get(key..).and_then(|rest| rest.first_chunk());
        let mask = key.filter(|_| second & 0x80 != 0).map(|key| Mask { key: *key, at: 0 });
        let length = length.filter(|length| *length <= i64::MAX.unsigned_abs());
        match length.and_then(|length| Some((self.frame(first, length, mask)?, length))) {
            Some(frame) => self.frame = Some(frame),
            None => (self.over, self.broken) = (true, true),
        }
        Some(())
    }

    fn header_needed(&self) -> usize {
        let second = self.header.get(1).filter(|_| self.header_len > 1);
        second.map_or(2, |second| {
            let extended = match second & 0x7F {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            2 + extended + if second & 0x80 == 0 { 0 } else { 4 }
        })
    }

    /// The frame that begins; `None` if it may not begin here.
    fn frame(&mut self, first: u8, length: u64, mask: Option<Mask>) -> Option<Frame> {
        let (last, compressed, reserved) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x30 != 0);
        let kind = match (first & 0x0F, self.message) {
            _ if reserved => return None,
            (0, Some(_)) if !compressed => Kind::Data,
            (1 | 2, None) => {
                self.message = Some(compressed);
                Kind::Data
            }
            (8..=10, _) if compressed || !last || length > MAX_CONTROL => return None,
            (8, _) => {
                self.close_len = 0;
                Kind::Close
            }
            (9 | 10, _) => Kind::Other,
            _ => return None,
        };
        Some(Frame { kind, last, mask })
    }

    fn end(&mut self, frame: Frame) -> Option<Piece<'static>> {
        match frame.kind {
            Kind::Data if frame.last => {
                let compressed = self.message.take() == Some(true);
                Some(Piece::End { compressed })
            }
            Kind::Close => {
                self.over = true;
                let code = u16::from_be_bytes(self.close);
                Some(Piece::Close(if self.close_len < 2 { NO_CODE } else { code }))
            }
            Kind::Data | Kind::Other => None,
        }
    }

    fn close(&mut self, payload: &[u8], mask: Option<Mask>) {
        let mut key = mask.map(|mask| mask.rotated()).unwrap_or_default().into_iter().cycle();
        for byte in payload {
            let byte = byte ^ key.next().unwrap_or(0);
            match self.close_len {
                0 => self.close[0] = byte,
                1 => self.close[1] = byte,
                _ => return,
            }
            self.close_len += 1;
        }
    }
}

impl Frame {
    /// The same, `len` bytes later.
    fn after(mut self, len: usize) -> Self {
        if let Some(mask) = &mut self.mask {
            mask.at = (mask.at + len % 4) % 4;
        }
        self
    }
}

impl Mask {
    /// Gives `payload` as it was before it was masked, piece by piece.
    pub fn remove(self, payload: &[u8], mut take: impl FnMut(&[u8])) {
        let key = self.rotated();
        let [a, b, c, d] = key;
        let twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let mut clear = [0; CHUNK];
        for masked in payload.chunks(CHUNK) {
            let clear = clear.get_mut(..masked.len()).unwrap_or_default();
            clear.copy_from_slice(masked);
            // Eight at once, or it would be the slowest part of all.
            let (eights, rest) = clear.as_chunks_mut();
            for eight in eights {
                *eight = (u64::from_ne_bytes(*eight) ^ twice).to_ne_bytes();
            }
            for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
                *byte ^= key;
            }
            take(clear);
        }
    }

    /// The key as it is met by the next byte.
    fn rotated(self) -> [u8; 4] {
        let mut key = self.key;
        key.rotate_left(self.at);
        key
    }
}

const HEADER: usize = 14;
/// RFC 6455 §5.5: control frames are short.
const MAX_CONTROL: u64 = 125;
/// RFC 6455 §7.1.5: the close frame has no code.
const NO_CODE: u16 = 1005;
/// A multiple of the key's length.
const CHUNK: usize = 4096;
