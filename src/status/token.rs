//! The token of those who pause and resume relays: where it is read from, and whether a request shows it.
//!
//! Loopback alone is no protection on a host that others use as well: everybody there may read the status and ask for a
//! drain, as a preStop hook does, but not take a relay off and on while nobody notices. The newest configuration that names a token decides. Deliberately absent: the token itself, which is read
//! at every use, so that a file may be replaced.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::SecretSource;
use crate::secret::{Secret, SecretError};

/// Where the token comes from; shared by the registry, which sets it, and the server, which asks.
#[derive(Debug, Clone, Default)]
pub struct Token(Arc<Mutex<Option<SecretSource>>>);

/// Why a request may not steer anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    /// 403: no configuration names a token.
    NotConfigured,
    /// 503: the one that is named cannot be read.
    Unreadable(SecretError),
    /// 401: the request shows none, or another.
    Wrong,
}

impl Token {
    /// From now on it is read from here.
    pub fn set(&self, source: Option<SecretSource>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// Where it is read from.
    #[must_use]
    pub fn source(&self) -> Option<SecretSource> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the request with these headers shows the token.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let source = self.source().ok_or(Denied::NotConfigured)?;
        // a file system may hang
        let read = tokio::task::spawn_blocking(move || Secret::read(&source));
        // a failed join is a panic: nothing was read
        let token = read.await.map_err(|_| Denied::NotConfigured)?;
        let token = token.map_err(Denied::Unreadable)?;
        if shown(headers).is_some_and(|shown| token.is(shown)) {
            Ok(())
        } else {
            Err(Denied::Wrong)
        }
    }
}

/// What stands behind `Bearer` in the only `authorization` header.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (only, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => f.write_str(
                "pausing and resuming need a token: set status.token to {env: NAME} or {file: PATH} and send it as authorization: Bearer",
            ),
            Self::Unreadable(error) => write!(f, "status.token cannot be read: {error}"),
            Self::Wrong => f.write_str("this needs the header authorization: Bearer with the token that status.token names"),
        }
    }
}
