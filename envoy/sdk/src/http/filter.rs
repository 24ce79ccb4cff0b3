//! The object behind Envoy's pointer to the module's filter, and the one way into it.

use super::envoy::EnvoyHttpFilterImpl;
use super::traits::{EnvoyHttpFilter, HttpFilter, PanicPolicy};
use crate::abi::{EnvoyPtr, ModulePtr};
use crate::callbacks::callbacks;
use crate::guard::{guard, run};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub(super) type UserFilter = Box<dyn HttpFilter<EnvoyHttpFilterImpl>>;

/// One stream's filter. Lives on the stream's worker.
///
/// Envoy holds one count of the `Rc`, every running hook another: a reply from within a hook can end the stream and destroy the filter
/// while its own method is still on the stack.
pub(super) struct Filter {
    /// `None` after a panic. Borrowed while a hook runs, so that a hook called from within it cannot alias the filter.
    user: RefCell<Option<UserFilter>>,
    on_panic: PanicPolicy,
    destroyed: Cell<bool>,
}

impl Filter {
    /// Hands a filter to Envoy; [`destroy`] takes it back.
    pub(super) fn into_raw(user: Option<UserFilter>, on_panic: PanicPolicy) -> ModulePtr {
        Rc::into_raw(Rc::new(Self {
            user: RefCell::new(user),
            on_panic,
            destroyed: Cell::new(false),
        }))
        .cast()
    }

    /// Runs `call` on the filter. `None`: there is no filter to run, or it is running already. `Some(None)`: it panicked.
    fn enter<T>(&self, hook: &'static str, call: impl FnOnce(&mut UserFilter) -> T) -> Option<Option<T>> {
        let mut slot = self.user.try_borrow_mut().ok()?;
        let filter = slot.as_mut()?;
        let answer = run(hook, || call(filter));
        if answer.is_none() {
            let broken = slot.take();
            run(hook, || drop(broken));
        }
        Some(answer)
    }
}

/// The answers of one hook that are not the filter's.
#[derive(Clone, Copy)]
pub(super) struct Answers<T> {
    /// When the filter is not asked, or watches only: the stream goes on.
    pub(super) pass: T,
    /// When the filter panicked and decides: the stream is held, and answered 500 by the guard.
    pub(super) fail: T,
}

/// Runs one hook of a stream.
///
/// # Safety
///
/// `module` is null or what [`Filter::into_raw`] returned and [`destroy`] has not got yet; `raw` is Envoy's counterpart, alive during the call.
pub(super) unsafe fn with_filter<T: Copy>(
    hook: &'static str,
    raw: EnvoyPtr,
    module: ModulePtr,
    answers: Answers<T>,
    call: impl FnOnce(&mut dyn HttpFilter<EnvoyHttpFilterImpl>, &mut EnvoyHttpFilterImpl) -> T,
) -> T {
    let body = || {
        let Some(envoy) = callbacks() else { return answers.pass };
        // SAFETY: the caller vouches for the pointer.
        let Some(filter) = (unsafe { share(module) }) else {
            return answers.pass;
        };
        match filter.enter(hook, |user| {
            call(&mut **user, &mut EnvoyHttpFilterImpl::new(envoy, raw))
        }) {
            None => answers.pass,
            Some(Some(answer)) => answer,
            Some(None) if filter.on_panic == PanicPolicy::PassThrough || filter.destroyed.get() => answers.pass,
            Some(None) => {
                let headers: [(&str, &[u8]); 1] = [("content-type", b"text/plain")];
                let body: &[u8] = b"internal error in a module\n";
                EnvoyHttpFilterImpl::new(envoy, raw).send_response(500, &headers, Some(body), Some("module_panic"));
                answers.fail
            }
        }
    };
    guard(hook, body, || answers.pass)
}

/// Runs one hook of a stream that answers nothing and cannot fail the stream.
///
/// # Safety
///
/// As for [`with_filter`].
pub(super) unsafe fn notify_filter(
    hook: &'static str,
    raw: EnvoyPtr,
    module: ModulePtr,
    call: impl FnOnce(&mut dyn HttpFilter<EnvoyHttpFilterImpl>, &mut EnvoyHttpFilterImpl),
) {
    let body = || {
        let Some(envoy) = callbacks() else { return };
        // SAFETY: the caller vouches for the pointer.
        let Some(filter) = (unsafe { share(module) }) else {
            return;
        };
        filter.enter(hook, |user| {
            call(&mut **user, &mut EnvoyHttpFilterImpl::new(envoy, raw))
        });
    };
    guard(hook, body, || ());
}

/// Takes Envoy's count of the filter back.
///
/// # Safety
///
/// `module` is null or what [`Filter::into_raw`] returned, given back for the first time.
pub(super) unsafe fn destroy(module: ModulePtr) {
    if module.is_null() {
        return;
    }
    // SAFETY: the count that `into_raw` gave to Envoy, which gives it back once.
    let filter = unsafe { Rc::from_raw(module.cast::<Filter>()) };
    filter.destroyed.set(true);
}

/// One more count of the filter, for the length of a hook.
///
/// # Safety
///
/// As for [`with_filter`].
unsafe fn share(module: ModulePtr) -> Option<Rc<Filter>> {
    if module.is_null() {
        return None;
    }
    // SAFETY: Envoy still holds its count; the filter never leaves this thread.
    unsafe { Rc::increment_strong_count(module.cast::<Filter>()) };
    // SAFETY: the count just added.
    Some(unsafe { Rc::from_raw(module.cast::<Filter>()) })
}
