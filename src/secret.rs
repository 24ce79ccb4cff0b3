//! Secrets: read from where the configuration points, held in a type that cannot be printed.

use std::fmt;
use std::fs;

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
                reason: e.kind().to_string(),
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
