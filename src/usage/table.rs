//! What is read from JSON: a table of places, and who takes what stands there.
//!
//! A [`Table`] names the few places in a document that matter, each reached from its parent by a key; everything else
//! is skipped, so nothing that a user or a model wrote (content, tool arguments, metadata) is ever taken for a figure.
//! Two engines walk a table: `whole` over a text in one piece, `scanner` over any split of its bytes.

use super::scalar::Scalar;

/// Takes what stands at the places that it names.
pub(super) trait Table {
    /// A place in a document. The table has no cycles, so a document's depth bounds nothing here but itself.
    type Place: Copy;

    /// The whole document.
    const ROOT: Self::Place;

    /// Whether nothing but a [`Scalar`] is wanted there.
    fn is_leaf(place: Self::Place) -> bool;

    /// The member `key` of an object at `place`, if it is wanted. A key is bytes, since those are compared by a tree
    /// of choices, and text by one name after the other.
    fn member(&self, place: Self::Place, key: &[u8]) -> Option<Self::Place>;

    /// The elements of an array at `place`, if they are wanted.
    fn element(&self, place: Self::Place) -> Option<Self::Place>;

    /// An object or array begins at a `place` that is no leaf.
    fn begin(&mut self, place: Self::Place, container: Container);

    /// It ends.
    fn end(&mut self, place: Self::Place);

    /// A single value. At a place that is no leaf, only text and `null` are told.
    fn scalar(&mut self, place: Self::Place, scalar: Scalar<'_>);
}

/// What holds other values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
}
