//! Single values as JSON writes them: text without its escapes, numbers, the literals.
//!
//! Both engines deliver what they find as a [`Scalar`], made by the same code. Deliberately absent: values without a
//! bound; text is cut at [`MAX_TEXT`] bytes, a number of more than [`MAX_ATOM`] bytes is none.

/// A value that is no object and no array.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it is written.
    Number(&'a str),
    /// Text, cut at [`MAX_TEXT`] bytes.
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// What is written without quotes; `None` if it is no JSON.
    pub fn atom(text: &'a str) -> Option<Self> {
        match text {
            "null" => Some(Self::Null),
            "true" => Some(Self::Bool(true)),
            "false" => Some(Self::Bool(false)),
            _ => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let number = text.len() <= MAX_ATOM && digits.starts_with(|c: char| c.is_ascii_digit());
                number.then_some(Self::Number(text))
            }
        }
    }

    /// A count: whole, also when written as a float, and not negative. Beyond 64 bits it is the largest.
    pub fn count(self) -> Option<u64> {
        let number = self.number()?;
        if number.bytes().all(|digit| digit.is_ascii_digit()) {
            return Some(number.parse().unwrap_or(u64::MAX));
        }
        let float: f64 = number.parse().ok()?;
        // A cast of a float saturates.
        (!number.starts_with('-') && (float.is_infinite() || float.fract() == 0.0)).then_some(float as u64)
    }

    /// A whole number of 64 bits.
    pub fn integer(self) -> Option<i64> {
        self.number()?.parse().ok()
    }

    /// Any finite number.
    pub fn float(self) -> Option<f64> {
        self.number()?.parse().ok().filter(|float: &f64| float.is_finite())
    }

    /// A number as it is written.
    pub fn number(self) -> Option<&'a str> {
        match self {
            Self::Number(number) => Some(number),
            Self::Null | Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

/// Collects the text between two quotes, in any pieces, and resolves its escapes.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    escape: Escape,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    None,
    Backslash,
    Unicode {
        left: u8,
        value: u16,
    },
}

impl Text {
    /// Begins anew.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.escape = Escape::None;
        self.high = None;
    }

    /// Takes `bytes` up to the closing quote; what is left begins with that quote, and is empty if there was none.
    pub fn take<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        loop {
            while !matches!(self.escape, Escape::None)
                && let Some((&byte, rest)) = bytes.split_first()
            {
                self.escaped(byte);
                bytes = rest;
            }
            let end = memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
            let (plain, rest) = bytes.split_at(end);
            self.add(plain);
            match rest.split_first() {
                Some((b'\\', rest)) => (self.escape, bytes) = (Escape::Backslash, rest),
                Some(_) | None => return rest,
            }
        }
    }

    /// The whole, cut at [`MAX_TEXT`] bytes, whether it is UTF-8 or not.
    pub fn finish_bytes(&mut self) -> &[u8] {
        self.lone();
        &self.bytes
    }

    /// The whole, cut at [`MAX_TEXT`] bytes. What is not UTF-8 is replaced.
    pub fn finish(&mut self) -> &str {
        self.lone();
        if let Err(error) = std::str::from_utf8(&self.bytes) {
            if error.error_len().is_none() && self.bytes.len() >= MAX_TEXT {
                self.bytes.truncate(error.valid_up_to());
            } else {
                self.bytes = cut(&String::from_utf8_lossy(&self.bytes)).into();
            }
        }
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    fn add(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.lone();
        self.put(bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = MAX_TEXT.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// A surrogate without its other half.
    fn lone(&mut self) {
        if self.high.take().is_some() {
            self.put_char(char::REPLACEMENT_CHARACTER);
        }
    }

    fn put_char(&mut self, char: char) {
        self.put(char.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn escaped(&mut self, byte: u8) {
        match self.escape {
            Escape::Unicode { left, value } => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .and_then(|digit| u16::try_from(digit).ok());
                let value = value << 4 | digit.unwrap_or(0);
                if left > 1 {
                    let left = left - 1;
                    self.escape = Escape::Unicode { left, value };
                } else {
                    self.escape = Escape::None;
                    self.unit(value);
                }
            }
            Escape::Backslash if byte == b'u' => self.escape = Escape::Unicode { left: 4, value: 0 },
            Escape::Backslash | Escape::None => {
                self.escape = Escape::None;
                let byte = match byte {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                };
                self.add(&[byte]);
            }
        }
    }

    /// One unit of UTF-16.
    fn unit(&mut self, unit: u16) {
        if let (Some(high), 0xDC00..=0xDFFF) = (self.high, unit) {
            self.high = None;
            let code = 0x1_0000 + (u32::from(high & 0x3FF) << 10) + u32::from(unit & 0x3FF);
            return self.put_char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.lone();
        if (0xD800..0xDC00).contains(&unit) {
            self.high = Some(unit);
        } else {
            self.put_char(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
}

/// What stands before the closing quote, cut as [`Text`] would cut it, and what follows it; `None` if there is no quote,
/// or an escape before it, or it is not UTF-8.
pub(super) fn plain(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (text, rest) = quoted(bytes)?;
    let kept = text.get(..MAX_TEXT).unwrap_or(text);
    match std::str::from_utf8(kept) {
        Ok(text) => Some((text, rest)),
        Err(error) if error.error_len().is_none() && kept.len() < text.len() => {
            let kept = kept.get(..error.valid_up_to())?;
            Some((std::str::from_utf8(kept).ok()?, rest))
        }
        Err(_) => None,
    }
}

/// What stands before the closing quote and what follows it; `None` if there is no quote, or an escape before it.
pub(super) fn quoted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(memchr::memchr2(b'"', b'\\', bytes)?)?;
    Some((text, rest.strip_prefix(b"\"")?))
}

/// `text`, cut as [`Text`] would cut it.
pub(super) fn cut(text: &str) -> &str {
    if text.len() <= MAX_TEXT {
        return text;
    }
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

/// Longer text is cut: names of models, ids.
pub(super) const MAX_TEXT: usize = 256;
/// A longer number is none.
pub(super) const MAX_ATOM: usize = 32;
