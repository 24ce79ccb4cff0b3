//! The correlation token of a request.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// A request's id: assigned by the relay, opaque, echoed unchanged (`PROTOCOL §2.2`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id as the relay wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header value and log field: itself when it is visible ASCII of at most 256 bytes, else
    /// `sha256-` and the hash of it.
    #[must_use]
    pub fn printable(&self) -> String {
        if self.0.len() <= MAX_PRINTABLE && !self.0.is_empty() && self.0.bytes().all(|b| b.is_ascii_graphic()) {
            return self.0.to_string();
        }
        let digest = Sha256::digest(self.0.as_bytes());
        digest.iter().fold(String::from("sha256-"), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        })
    }
}

impl From<&str> for RequestId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl Borrow<str> for RequestId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.printable())
    }
}

const MAX_PRINTABLE: usize = 256;

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn a_plain_id_prints_as_itself() {
        assert_eq!(RequestId::from("9f1c-22").printable(), "9f1c-22");
    }

    #[test]
    fn an_id_that_no_header_can_carry_prints_as_its_hash() {
        for odd in ["", "a b", "a\r\nx: y", "schlüssel", &"x".repeat(257)] {
            let printed = RequestId::from(odd).printable();
            assert!(
                printed.starts_with("sha256-") && printed.len() == 7 + 64,
                "{odd:?} printed as {printed}"
            );
        }
        assert_ne!(RequestId::from("a b").printable(), RequestId::from("a c").printable());
    }
}
