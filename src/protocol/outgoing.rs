//! A frame to the relay.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::Text;

/// The text of a frame to the relay, cheap to clone, with what must live as long as a copy of it waits anywhere.
#[derive(Clone)]
pub struct Outgoing {
    text: Text,
    _tied: Option<Arc<dyn Send + Sync>>,
}

impl Outgoing {
    /// Keeps `owner` until the last clone is dropped.
    #[must_use]
    pub fn tied_to(self, owner: impl Send + Sync + 'static) -> Self {
        Self {
            _tied: Some(Arc::new(owner)),
            ..self
        }
    }

    /// The text's bytes, apart from what it is tied to.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.text.clone().into()
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self {
            text: text.into(),
            _tied: None,
        }
    }
}

impl From<Outgoing> for Text {
    fn from(frame: Outgoing) -> Self {
        frame.text
    }
}

impl Deref for Outgoing {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Outgoing {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Outgoing {}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text.as_str(), f)
    }
}

impl fmt::Display for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
