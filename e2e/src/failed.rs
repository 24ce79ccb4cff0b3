//! Why a wait or a step of the test world failed, in words for the person who reads the test's output.

use std::fmt;

/// A failure told in words. `Debug` prints them as they are, so that `unwrap` in a test stays readable.
#[derive(Clone, PartialEq, Eq)]
pub struct Failed(String);

/// What the test world's steps give.
pub type Result<T> = std::result::Result<T, Failed>;

impl Failed {
    /// A failure with this explanation.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// The same failure, with what was being done when it happened.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
