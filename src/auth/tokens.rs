//! The tokens that are let in: read from a file's text, asked for a token. Pure.
//!
//! What is kept of a token is its SHA-256; the text it was read from is the caller's. A look-up compares the digest of what was
//! given with every one that is kept, each in constant time, so that its duration tells nothing of a token.
#![deny(clippy::disallowed_methods)]

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Everybody who is let in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Entry>);

#[derive(PartialEq, Eq)]
struct Entry {
    digest: [u8; 32],
    name: Option<Box<str>>,
}

/// Whoever showed a token that is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller<'a> {
    /// The name that stands before the token in the file.
    pub name: Option<&'a str>,
}

/// Something about one line of the file; never a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remark {
    /// From 1.
    pub line: usize,
    /// What is the matter.
    pub what: What,
}

/// What is the matter with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is neither a token nor a name and a token: it lets nobody in.
    NotUnderstood,
    /// The same token stands on a line before: that one counts.
    Repeated,
    /// The file has more tokens than are read: it lets nobody in.
    TooMany,
    /// It is so short that it can be guessed.
    Short,
}

impl Tokens {
    /// Reads the text of a file: on each line a token, `name token` or `name:token`; `#` begins a comment.
    #[must_use]
    pub fn parse(text: &[u8]) -> (Self, Vec<Remark>) {
        let mut tokens = Self::default();
        let mut remarks = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let mut remark = |what| remarks.push(Remark { line: index + 1, what });
            match Line::read(line) {
                Line::Empty => {}
                Line::Strange => remark(What::NotUnderstood),
                Line::Token { .. } if tokens.0.len() >= MAX_TOKENS => remark(What::TooMany),
                Line::Token { name, token } => {
                    let digest = Sha256::digest(token).into();
                    if tokens.0.iter().any(|entry| entry.digest == digest) {
                        remark(What::Repeated);
                        continue;
                    }
                    if token.len() < SHORT {
                        remark(What::Short);
                    }
                    let name = name.map(Box::from);
                    tokens.0.push(Entry { digest, name });
                }
            }
        }
        (tokens, remarks)
    }

    /// Whose token this is; `None` when it is nobody's.
    #[must_use]
    pub fn find(&self, token: &[u8]) -> Option<Caller<'_>> {
        let given: [u8; 32] = Sha256::digest(token).into();
        let mut place = u32::MAX;
        for (index, entry) in (0..).zip(&self.0) {
            place.conditional_assign(&index, entry.digest.ct_eq(&given));
        }
        let entry = self.0.get(usize::try_from(place).ok()?)?;
        Some(Caller {
            name: entry.name.as_deref(),
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

enum Line<'a> {
    Empty,
    Token { name: Option<&'a str>, token: &'a str },
    Strange,
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Self {
        let Ok(line) = std::str::from_utf8(line) else {
            return Self::Strange;
        };
        let mut words = line.split_ascii_whitespace().take_while(|word| !word.starts_with('#'));
        let (name, token) = match (words.next(), words.next(), words.next()) {
            (None, _, _) => return Self::Empty,
            (Some(word), None, _) => match word.split_once(':') {
                Some((name, token)) => (Some(name), token),
                None => (None, word),
            },
            (Some(name), Some(token), None) => (Some(name.strip_suffix(':').unwrap_or(name)), token),
            (Some(_), Some(_), Some(_)) => return Self::Strange,
        };
        if is_token(token.as_bytes()) && name.is_none_or(is_name) {
            Self::Token { name, token }
        } else {
            Self::Strange
        }
    }
}

/// The `b64token` of RFC 6750.
pub(super) fn is_token(token: &[u8]) -> bool {
    let end = token.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    end > 0 && token.len() <= MAX_TOKEN && token.iter().take(end).all(plain)
}

/// What may stand in a header, in metadata and in a log.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@/".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({:?})", self.name)
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::NotUnderstood => {
                "neither a token (letters, digits and - . _ ~ + /) nor a name and a token; it lets nobody in"
            }
            What::Repeated => "a token that stands on a line before, which is the one that counts",
            What::TooMany => "one token more than the 1000 that are read; it lets nobody in",
            What::Short => "a token of fewer than 16 characters, which can be guessed",
        };
        write!(f, "line {}: {what}", self.line)
    }
}

/// Each request is compared with each: a thousand take some 60 µs in a build for tests.
const MAX_TOKENS: usize = 1000;
/// Longer ones are no bearer tokens that anyone types into a file.
const MAX_TOKEN: usize = 1024;
const MAX_NAME: usize = 64;
/// 16 characters drawn from 64 are 96 bits.
const SHORT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(text: &str) -> Vec<(usize, What)> {
        let (_, remarks) = Tokens::parse(text.as_bytes());
        remarks.iter().map(|remark| (remark.line, remark.what)).collect()
    }

    #[test]
    fn each_way_to_write_a_line_lets_its_token_in() {
        let text = "# callers\n\n0123456789abcdef-plain\nci 0123456789abcdef-space\n  ops:0123456789abcdef-colon==\t# of ops\r\n\
                    team/a@x: 0123456789abcdef-both # note";
        let (tokens, remarks) = Tokens::parse(text.as_bytes());
        assert_eq!((tokens.len(), remarks), (4, vec![]));
        for (token, name) in [
            ("0123456789abcdef-plain", None),
            ("0123456789abcdef-space", Some("ci")),
            ("0123456789abcdef-colon==", Some("ops")),
            ("0123456789abcdef-both", Some("team/a@x")),
        ] {
            assert_eq!(tokens.find(token.as_bytes()), Some(Caller { name }), "{token}");
        }
        for wrong in [
            "",
            "ci",
            "0123456789abcdef-plai",
            "0123456789abcdef-plain ",
            "0123456789ABCDEF-plain",
            "#",
        ] {
            assert_eq!(tokens.find(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_name_may_have_several_tokens_and_a_token_has_one_name() {
        let (tokens, remarks) =
            Tokens::parse(b"ci:0123456789abcdef-1\nci:0123456789abcdef-2\nops:0123456789abcdef-1\n");
        assert_eq!(tokens.len(), 2);
        assert_eq!(tokens.find(b"0123456789abcdef-1"), Some(Caller { name: Some("ci") }));
        assert_eq!(
            remarks,
            [Remark {
                line: 3,
                what: What::Repeated
            }]
        );
    }

    #[test]
    fn a_line_that_is_not_understood_lets_nobody_in_and_is_not_shown() {
        let text = "a b hunter2\n: hunter2hunter2hunter2\nn\u{fc}me hunter2hunter2hunter2\n\
                    name hunter2,hunter2hunter2\n==\nhunter2hunter2\u{1}\nhunter2hunter2hunter2";
        let (tokens, remarks) = Tokens::parse(text.as_bytes());
        assert_eq!(tokens.len(), 1, "{remarks:?}");
        assert_eq!(remarks.len(), 6, "{remarks:?}");
        let shown = format!("{remarks:?} {tokens:?} {}", remarks[0]);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(whats("\u{feff}"), [(1, What::NotUnderstood)]);
        assert_eq!(
            Tokens::parse(b"\xff\n").1,
            [Remark {
                line: 1,
                what: What::NotUnderstood
            }]
        );
    }

    #[test]
    fn what_is_weak_or_too_much_is_told() {
        assert_eq!(whats("secret\n"), [(1, What::Short)]);
        let many: String = (0..1002).map(|n| format!("0123456789abcdef-{n}\n")).collect();
        assert_eq!(whats(&many), [(1001, What::TooMany), (1002, What::TooMany)]);
        assert_eq!(whats(&"a".repeat(1025)), [(1, What::NotUnderstood)]);
    }
}
