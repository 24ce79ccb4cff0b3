//! Memory that the host lends to the module for the length of a hook.

use crate::abi::Buffer;
use std::any::Any;
use std::cell::{Cell, RefCell};

/// Runs a hook; what was lent during the outermost one ends with it.
pub(super) fn in_hook<T>(hook: impl FnOnce() -> T) -> T {
    struct Depth;
    impl Drop for Depth {
        fn drop(&mut self) {
            if DEPTH.replace(DEPTH.get().saturating_sub(1)) == 1 {
                drop(LOANS.take());
            }
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _depth = Depth;
    hook()
}

/// Lends bytes. Empty ones are lent as null, the harshest thing that Envoy does.
pub(super) fn lend(bytes: Vec<u8>) -> Buffer {
    if bytes.is_empty() {
        return Buffer::EMPTY;
    }
    let bytes = bytes.into_boxed_slice();
    let view = Buffer::of(&bytes);
    keep(Box::new(bytes));
    view
}

/// Keeps an object alive until the outermost hook returns.
pub(super) fn keep(object: Box<dyn Any>) {
    LOANS.with_borrow_mut(|loans| loans.push(object));
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static LOANS: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}
