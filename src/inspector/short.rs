//! A peer's text in a place of fixed size.

/// Text of at most `N` bytes (and no more than 255), cut where it was longer. Nothing of it is on the heap.
#[derive(Clone, Copy)]
pub(super) struct Short<const N: usize> {
    bytes: [u8; N],
    length: u8,
    cut: bool,
}

impl<const N: usize> Short<N> {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; N],
        length: 0,
        cut: false,
    };

    pub(super) fn of(text: &str) -> Self {
        let mut short = Self::EMPTY;
        let end = text.floor_char_boundary(N.min(255));
        if let (Some(to), Some(from)) = (short.bytes.get_mut(..end), text.as_bytes().get(..end)) {
            to.copy_from_slice(from);
            short.length = u8::try_from(end).unwrap_or(0);
        }
        short.cut = end < text.len();
        short
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The text, with an ellipsis where it was cut.
    pub(super) fn shown(&self) -> String {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if self.cut {
            text.push('…');
        }
        text
    }
}
