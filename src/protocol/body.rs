//! A body that is put into its frame as it is read.

use super::response::TAIL;
use crate::usage::Abridged;

/// A frame up to a body that grows. That it is UTF-8, and where a large one's strings are, is found out piece by piece,
/// while each is in the processor's cache.
pub(super) struct Body {
    frame: String,
    /// Where the body begins in it.
    start: usize,
    /// The first bytes of a character that is not whole yet.
    begun: Begun,
    /// Of a large body.
    abridged: Option<Abridged>,
    /// The body instead, when it is not UTF-8.
    raw: Option<Vec<u8>>,
}

#[derive(Default)]
struct Begun {
    bytes: [u8; 4],
    len: usize,
}

/// A whole body in its frame.
pub(super) struct Whole {
    /// The frame up to and with the body.
    frame: String,
    start: usize,
    /// The body without the insides of its long strings, when that is much shorter.
    pub abridged: Option<Abridged>,
}

impl Whole {
    /// The body.
    pub fn body(&self) -> &str {
        self.frame.get(self.start..).unwrap_or_default()
    }

    /// The frame.
    pub fn finished(self) -> String {
        let mut frame = self.frame;
        frame.push_str(TAIL);
        // a body that did not say how long it is grew by doubling, and the frame may be held for long
        frame.shrink_to(frame.len() + frame.len() / 16);
        frame
    }
}

impl Body {
    /// A body that follows `head`.
    pub fn after(head: String) -> Self {
        Self {
            start: head.len(),
            frame: head,
            begun: Begun::default(),
            abridged: None,
            raw: None,
        }
    }

    /// More of the body.
    pub fn push(&mut self, mut piece: &[u8]) {
        while let Some(byte) = piece.first()
            && self.begun.len > 0
            && self.raw.is_none()
        {
            piece = piece.get(1..).unwrap_or_default();
            self.complete(*byte);
        }
        if let Some(raw) = &mut self.raw {
            return raw.extend_from_slice(piece);
        }
        let (whole, begun) = split_begun(piece);
        match std::str::from_utf8(whole) {
            Ok(text) => {
                self.push_text(text);
                begun.iter().for_each(|byte| self.begun.push(*byte));
            }
            Err(_) => self.give_up(piece),
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        let text = self.frame.len() - self.start;
        self.raw.as_ref().map_or(text + self.begun.len, Vec::len)
    }

    /// The bytes so far, without those of a character that is not whole.
    pub fn bytes(&self) -> &[u8] {
        let text = self.frame.as_bytes().get(self.start..).unwrap_or_default();
        self.raw.as_deref().unwrap_or(text)
    }

    /// The body is whole.
    ///
    /// # Errors
    /// The body, which is not UTF-8.
    pub fn finish(mut self) -> Result<Whole, Vec<u8>> {
        if self.begun.len > 0 {
            self.give_up(&[]);
        }
        match self.raw {
            Some(raw) => Err(raw),
            None => Ok(Whole {
                frame: self.frame,
                start: self.start,
                abridged: self.abridged.filter(Abridged::is_short),
            }),
        }
    }

    fn push_text(&mut self, text: &str) {
        self.frame.push_str(text);
        let body = self.frame.len() - self.start;
        match &mut self.abridged {
            // it was not worth while so far: no longer
            Some(abridged) if abridged.is_short() => abridged.push(text),
            Some(_) => {}
            None if body > LARGE => {
                let mut abridged = Abridged::default();
                abridged.push(self.frame.get(self.start..).unwrap_or_default());
                self.abridged = Some(abridged);
            }
            None => {}
        }
    }

    /// One more byte of a character that was begun.
    fn complete(&mut self, byte: u8) {
        self.begun.push(byte);
        let begun = std::mem::take(&mut self.begun);
        let bytes = begun.bytes.get(..begun.len).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(character) => self.push_text(character),
            Err(e) if e.error_len().is_none() => self.begun = begun,
            Err(_) => self.give_up(bytes),
        }
    }

    /// It is not UTF-8.
    fn give_up(&mut self, rest: &[u8]) {
        let mut raw = std::mem::take(&mut self.frame).into_bytes();
        raw.drain(..self.start);
        self.start = 0;
        let begun = std::mem::take(&mut self.begun);
        raw.extend_from_slice(begun.bytes.get(..begun.len).unwrap_or_default());
        raw.extend_from_slice(rest);
        self.raw = Some(raw);
        self.abridged = None;
    }
}

impl Begun {
    fn push(&mut self, byte: u8) {
        if let Some(room) = self.bytes.get_mut(self.len) {
            *room = byte;
            self.len += 1;
        }
    }
}

/// Parts a piece from the first bytes of a character at its end that goes on in the next one.
fn split_begun(piece: &[u8]) -> (&[u8], &[u8]) {
    let last = piece.iter().rev().take(3).position(|byte| !matches!(byte, 0x80..=0xbf));
    let begun = last.map_or(0, |back| {
        let wanted = match piece.iter().rev().nth(back) {
            Some(0xc0..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..) => 4,
            Some(_) | None => 1,
        };
        if back + 1 < wanted { back + 1 } else { 0 }
    });
    piece.split_at_checked(piece.len() - begun).unwrap_or((piece, &[]))
}

/// A larger body's strings are looked for: below, the whole check costs less than what it would save.
const LARGE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(bytes: &[u8], piece: usize) -> Body {
        let mut body = Body::after("head".to_owned());
        bytes.chunks(piece).for_each(|piece| body.push(piece));
        assert_eq!(body.len(), bytes.len());
        body
    }

    #[test]
    fn characters_may_come_in_any_pieces() {
        let text = "aé€😀z".repeat(30_000);
        for piece in [1, 2, 3, 4, 5, 1000, 100_000, text.len()] {
            let whole = pushed(text.as_bytes(), piece).finish().ok().unwrap();
            assert_eq!(whole.body(), text);
            assert!(whole.frame.starts_with("heada"));
        }
    }

    #[test]
    fn what_is_not_utf8_comes_back_whole() {
        let wrong: [&[u8]; 5] = [
            b"ab\xff",
            b"\xc3",
            b"\xe2\x82\x28cd",
            b"x\xf0\x9f\x98",
            b"\xed\xa0\x80rest",
        ];
        for bytes in wrong {
            for piece in 1..=bytes.len() {
                assert_eq!(pushed(bytes, piece).finish().err().as_deref(), Some(bytes), "{piece}");
            }
        }
    }

    #[test]
    fn only_a_large_body_with_long_strings_is_abridged() {
        let long = format!("[\"{}\"]", "x".repeat(2 * LARGE));
        let many = format!("[{}1]", "\"x\",".repeat(LARGE));
        let short = format!("[\"{}\"]", "x".repeat(LARGE / 2));
        for (text, is_abridged) in [(&long, true), (&many, false), (&short, false)] {
            for piece in [1000, LARGE, text.len()] {
                let whole = pushed(text.as_bytes(), piece).finish().ok().unwrap();
                assert_eq!(whole.abridged.is_some(), is_abridged, "{piece}");
            }
        }
    }
}
