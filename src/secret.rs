//! Secrets: read from where the configuration points, held in a type that cannot be printed.

use std::fmt;
use std::fs;
use std::io;

use sha2::{Digest, Sha256};

use crate::config::SecretSource;

/// A secret value. `Debug` and `Display` never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a secret could not be read. Never contains any part of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretError {
    /// The environment variable is not set, empty, or not UTF-8.
    Env(String),
    /// The file could not be read, is empty, or is not UTF-8.
    File {
        /// The file's path.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// The value has characters that no HTTP header can carry.
    NotVisibleAscii {
        /// Where it was read from.
        source: String,
    },
}

impl Secret {
    /// Reads `source` now; surrounding white space is not part of a secret.
    ///
    /// # Errors
    /// The source is absent, empty, or holds what an HTTP header cannot carry.
    pub fn read(source: &SecretSource) -> Result<Self, SecretError> {
        let raw = match source {
            SecretSource::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?,
            SecretSource::File(path) => fs::read_to_string(path).map_err(|e| SecretError::File {
                path: path.display().to_string(),
                reason: reason(&e),
            })?,
        };
        let value = raw.trim();
        if value.is_empty() {
            return Err(match source {
                SecretSource::Env(name) => SecretError::Env(name.clone()),
                SecretSource::File(path) => SecretError::File {
                    path: path.display().to_string(),
                    reason: "the file is empty".into(),
                },
            });
        }
        if !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(SecretError::NotVisibleAscii {
                source: describe(source),
            });
        }
        Ok(Self(value.to_owned()))
    }

    /// The value, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `text` repeats this value, or a telling part of it: a close reason is cut to 123 bytes.
    #[must_use]
    pub fn shows_in(&self, text: &str) -> bool {
        let telling = self.0.len().min(TELLING);
        let mut parts = self.0.as_bytes().windows(telling);
        parts.any(|part| text.as_bytes().windows(telling).any(|seen| seen == part))
    }

    /// Whether this is the value, in a time that does not depend on where they differ.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
        let differing = self
            .fingerprint()
            .iter()
            .zip(other)
            .fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }

    /// A one-way name for this value: SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

/// Where a secret comes from, for messages: `environment variable X` or `file /x`.
#[must_use]
pub fn describe(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("environment variable {name}"),
        SecretSource::File(path) => format!("file {}", path.display()),
    }
}

/// In words that say what to look for; never the error's own, which might quote the path a second time.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::InvalidData => "the file is not text".to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name} is not set or empty"),
            Self::File { path, reason } => write!(f, "file {path}: {reason}"),
            Self::NotVisibleAscii { source } => {
                write!(
                    f,
                    "{source} holds characters other than visible ASCII, which no HTTP header can carry"
                )
            }
        }
    }
}

impl std::error::Error for SecretError {}

/// Characters of a secret in a row that are no accident.
const TELLING: usize = 12;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Reads `content` as a secret file named after the test.
    fn read(name: &str, content: &[u8]) -> Result<Secret, SecretError> {
        let path = std::env::temp_dir().join(format!("spectral-bridge-secret-{}-{name}", std::process::id()));
        fs::write(&path, content).unwrap();
        let secret = Secret::read(&SecretSource::File(path.clone()));
        fs::remove_file(path).unwrap();
        secret
    }

    #[test]
    fn white_space_around_a_secret_is_not_part_of_it() {
        assert_eq!(read("spaces", b" \tsk-1 2\r\n\n").unwrap().expose(), "sk-1 2");
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused_without_showing_it() {
        for (name, content) in [
            ("line", "sk\nhunter2"),
            ("null", "sk\0hunter2"),
            ("umlaut", "hunter2\u{fc}"),
        ] {
            let error = read(name, content.as_bytes()).unwrap_err();
            assert!(matches!(error, SecretError::NotVisibleAscii { .. }), "{name}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        assert!(matches!(read("binary", &[0xff, 0xfe]), Err(SecretError::File { .. })));
    }

    #[test]
    fn a_text_that_repeats_a_secret_or_a_telling_part_of_it_is_noticed() {
        let secret = read("telling", b"sk-0123456789abcdef").unwrap();
        assert!(secret.shows_in("no such key: sk-0123456789abcdef!"));
        assert!(secret.shows_in("no such key: sk-0123456789"), "cut");
        assert!(!secret.shows_in("no such key: sk-") && !secret.shows_in(""));
        assert!(read("short", b"pw").unwrap().shows_in("is it pw?"));
    }

    #[test]
    fn an_empty_or_absent_source_is_named() {
        let error = read("empty", b" \n").unwrap_err();
        assert!(error.to_string().ends_with("-empty: the file is empty"), "{error}");
        let absent = SecretSource::File(PathBuf::from("/nonexistent/key"));
        assert_eq!(
            Secret::read(&absent).unwrap_err().to_string(),
            "file /nonexistent/key: there is no such file"
        );
        let binary = read("binary", b"\xff\xfe").unwrap_err();
        assert!(
            binary.to_string().ends_with("-binary: the file is not text"),
            "{binary}"
        );
        let unset = SecretSource::Env("SPECTRAL_BRIDGE_TEST_NEVER_SET".to_owned());
        let error = Secret::read(&unset).unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable SPECTRAL_BRIDGE_TEST_NEVER_SET is not set or empty"
        );
    }

    #[test]
    fn a_secret_cannot_be_printed_and_has_a_fingerprint() {
        let (one, two) = (read("one", b"hunter2").unwrap(), read("two", b"hunter3").unwrap());
        assert_eq!(format!("{one:?}"), "Secret(***)");
        assert_eq!(one.fingerprint(), read("again", b"hunter2\n").unwrap().fingerprint());
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert!(one.is("hunter2"));
        for other in ["", "hunter", "hunter22", "hunter3", "Hunter2"] {
            assert!(!one.is(other), "{other}");
        }
    }
}
