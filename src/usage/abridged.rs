//! JSON without the insides of its long strings, made while the JSON is read.
//!
//! An answer of megabytes is an image or a sound in one string. What is left here is JSON exactly if the whole is, and
//! says the same about itself, so the grammar need not be checked byte for byte over all of it once more.
#![deny(clippy::disallowed_methods)]

/// Takes JSON in pieces and keeps what [`super::read_json`] looks at.
#[derive(Debug)]
pub struct Abridged {
    kept: String,
    seen: usize,
    within: Within,
}

#[derive(Debug, Clone, Copy)]
enum Within {
    /// No string.
    Nothing,
    Text {
        /// Bytes of it that were seen.
        seen: usize,
        /// Digits of an escape that must be kept.
        digits: usize,
    },
    /// After a backslash, in a string of which so many bytes were seen.
    Escape(usize),
}

impl Default for Abridged {
    fn default() -> Self {
        Self {
            kept: String::with_capacity(2 * MOST),
            seen: 0,
            within: Within::Nothing,
        }
    }
}

impl Abridged {
    /// Takes more.
    pub fn push(&mut self, whole: &str) {
        self.seen += whole.len();
        let (mut piece, mut is_plain) = (whole, None);
        while !piece.is_empty() {
            piece = match self.within {
                Within::Nothing => self.outside(piece),
                Within::Text { seen, digits: 0 } if seen >= MOST => {
                    let is_plain = *is_plain.get_or_insert_with(|| !has_control(whole));
                    self.deep_within(piece, seen, is_plain)
                }
                Within::Text { seen, digits } => self.text(piece, seen, digits),
                Within::Escape(seen) => self.escape(piece, seen),
            };
        }
    }

    /// What was kept.
    #[must_use]
    pub fn kept(&self) -> &str {
        &self.kept
    }

    /// Whether so much was left out that making it was worth while.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.kept.len() < self.seen / 4
    }

    fn outside<'a>(&mut self, piece: &'a str) -> &'a str {
        let Some(quote) = memchr::memchr(b'"', piece.as_bytes()) else {
            return self.keep(piece, piece.len());
        };
        self.within = Within::Text { seen: 0, digits: 0 };
        self.keep(piece, quote + 1)
    }

    fn text<'a>(&mut self, piece: &'a str, seen: usize, digits: usize) -> &'a str {
        let end = memchr::memchr2(b'"', b'\\', piece.as_bytes()).unwrap_or(piece.len());
        let (plain, rest) = piece.split_at_checked(end).unwrap_or((piece, ""));
        let left_out = self.keep(plain, plain.floor_char_boundary(MOST.saturating_sub(seen).max(digits)));
        if has_control(left_out) {
            self.kept.push(NO_JSON);
        }
        let seen = seen + plain.len();
        self.within = match rest.as_bytes().first() {
            Some(b'"') => Within::Nothing,
            Some(_) => Within::Escape(seen),
            None => Within::Text {
                seen,
                digits: digits.saturating_sub(plain.len()),
            },
        };
        self.keep(rest, rest.len().min(1))
    }

    /// Of a text of which enough was kept: leaves out all that is JSON up to its end. `is_plain` says that there is no
    /// control character.
    fn deep_within<'a>(&mut self, piece: &'a str, seen: usize, is_plain: bool) -> &'a str {
        let bytes = piece.as_bytes();
        let mut end = 0;
        let found = loop {
            let rest = bytes.get(end..).unwrap_or_default();
            let Some(at) = memchr::memchr2(b'"', b'\\', rest) else {
                end = bytes.len();
                break None;
            };
            end += at;
            match rest.get(at..).unwrap_or_default() {
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => end += 2,
                [b'\\', b'u', digits @ ..] if digits.iter().take(4).filter(|d| d.is_ascii_hexdigit()).count() == 4 => {
                    end += 6
                }
                found => break found.first(),
            }
        };
        let (left_out, rest) = piece.split_at_checked(end).unwrap_or((piece, ""));
        if !is_plain && has_control(left_out) {
            self.kept.push(NO_JSON);
        }
        let seen = seen + end;
        self.within = match found {
            Some(b'"') => Within::Nothing,
            // wrong, or not whole yet
            Some(_) => Within::Escape(seen),
            None => Within::Text { seen, digits: 0 },
        };
        self.keep(rest, rest.len().min(1))
    }

    fn escape<'a>(&mut self, piece: &'a str, seen: usize) -> &'a str {
        let is_unicode = piece.starts_with('u');
        self.within = Within::Text {
            seen,
            digits: if is_unicode { 4 } else { 0 },
        };
        self.keep(piece, piece.chars().next().map_or(0, char::len_utf8))
    }

    /// Returns what follows.
    fn keep<'a>(&mut self, piece: &'a str, bytes: usize) -> &'a str {
        let (kept, rest) = piece.split_at_checked(bytes).unwrap_or((piece, ""));
        self.kept.push_str(kept);
        rest
    }
}

fn has_control(text: &str) -> bool {
    // the smallest of all, which needs no branch per byte
    text.bytes().fold(u8::MAX, |least, byte| least.min(byte)) < b' '
}

/// What is kept of a control character in a string, which is no JSON.
const NO_JSON: char = '\u{1}';

/// Bytes kept of a string: enough for all that is read of one, also if it is written in escapes.
const MOST: usize = 16 * super::scalar::MAX_TEXT;

#[cfg(test)]
mod tests {
    use super::super::{NotJson, read_json};
    use super::*;

    fn abridged(text: &str, piece: usize) -> Abridged {
        let mut abridged = Abridged::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.ceil_char_boundary(piece));
            abridged.push(piece);
            rest = left;
        }
        abridged
    }

    #[test]
    fn the_insides_of_long_strings_are_left_out() {
        let image = "iVBORw0KGgo".repeat(100_000);
        let body = format!(r#"{{"created":1,"data":[{{"b64_json":"{image}"}}],"usage":{{"input_tokens":3}}}}"#);
        let abridged = abridged(&body, 100_000);
        assert!(abridged.is_short() && abridged.kept().len() < MOST + 100);
        assert!(abridged.kept().ends_with(r#""}],"usage":{"input_tokens":3}}"#));
        assert_eq!(read_json(abridged.kept()), read_json(&body));
    }

    #[test]
    fn what_is_not_json_is_none_either() {
        let long = "é".repeat(MOST);
        let wrong = [
            format!("[\"{long}\u{1}{long}\"]"),
            format!("[\"{long}\\x{long}\"]"),
            format!("[\"{long}\\u12{long}\"]"),
            format!("[\"{long}\\u123é{long}\"]"),
            format!("[\"{long}\\é{long}\"]"),
            format!("[\"{long}\\\"]"),
            format!("[\"{long}"),
            format!("[\"{long}\" \"\"]"),
            format!("{{\"{long}\"}}"),
            format!("[\"{long}\",\n\"{long}\n\"]"),
            format!("[\"{long}\\n\\u00e9\u{1f}\"]"),
            format!("[\"{long}\\n\\u00e\"]"),
            format!("[\"{long}\\n\\"),
        ];
        for text in wrong {
            for piece in [1, 3, 1000, text.len()] {
                let end: String = text.chars().rev().take(20).collect();
                assert_eq!(read_json(abridged(&text, piece).kept()), Err(NotJson), "{end}, {piece}");
            }
        }
    }

    #[test]
    fn escapes_stay_what_they_were() {
        let long = "x".repeat(2 * MOST);
        let texts = [
            format!(r#"["{long}\u00e9{long}\ud83d{long}\ude00{long}\"{long}\\"]"#),
            format!(r#"{{"{long}\u0041":"\\\\","model":"{long}\n","a":["{long}"]}}"#),
            format!(
                r#"{{"model":"{}","usage":{{"prompt_tokens":1}}}}"#,
                r"\u0061".repeat(2000)
            ),
        ];
        for text in texts {
            for piece in [1, 2, 7, MOST, text.len()] {
                let kept = abridged(&text, piece);
                assert!(kept.kept().len() < text.len() || !text.contains(&long), "{piece}");
                assert_eq!(read_json(kept.kept()), read_json(&text));
                assert!(read_json(&text).is_ok());
            }
        }
    }

    #[test]
    fn short_strings_stay_whole() {
        let text =
            r#"{"id":"x","choices":[{"message":{"content":"caf\u00e9 \"now\""}}], "n":[1.5,-2e9,null]}"#.repeat(50);
        for piece in [1, 5, 64, text.len()] {
            let kept = abridged(&text, piece);
            assert_eq!((kept.kept(), kept.is_short()), (text.as_str(), false));
        }
    }
}
