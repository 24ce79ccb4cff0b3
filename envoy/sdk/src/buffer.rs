//! Views of memory that Envoy owns, tied to the borrow they were obtained under.
//!
//! The names are the official SDK's. In-place writing through [`EnvoyMutBuffer`] is deliberately absent: nobody here needs it.

use crate::abi::Buffer;

/// Bytes that Envoy owns, valid while the object they were read from is borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvoyBuffer<'a>(&'a [u8]);

impl<'a> EnvoyBuffer<'a> {
    /// A buffer over text of the program's own, for tests.
    pub const fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// The bytes. They are not text until checked.
    pub const fn as_slice(&self) -> &'a [u8] {
        self.0
    }

    /// # Safety
    ///
    /// `raw` is empty, or its memory stays readable and unchanged for `'a`.
    pub(crate) unsafe fn from_raw(raw: Buffer) -> Self {
        if raw.ptr.is_null() || raw.len == 0 {
            return Self(&[]);
        }
        // SAFETY: not null; the caller promises the memory and its lifetime.
        Self(unsafe { std::slice::from_raw_parts(raw.ptr, raw.len) })
    }
}

impl AsRef<[u8]> for EnvoyBuffer<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

/// One chunk of a body, valid while the filter it was read from is borrowed. Read only here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvoyMutBuffer<'a>(pub(crate) EnvoyBuffer<'a>);

impl EnvoyMutBuffer<'_> {
    /// The bytes of the chunk.
    pub const fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl AsRef<[u8]> for EnvoyMutBuffer<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}
