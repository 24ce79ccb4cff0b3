//! The barrier at the C boundary: a panic in a hook becomes that hook's written-down answer.
//!
//! A panic that reached `extern "C"` would abort Envoy. Every exported hook runs its body through [`guard`]. The panic itself is
//! reported by the panic hook that [`report_panics`] installs, in one line without a backtrace: symbolising one takes a tenth of a
//! second, on a thread that serves requests.

use crate::abi::LogLevel;
use crate::{callbacks, log};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Runs a hook's body; after a panic, logs which hook it was and gives `answer()`.
pub(crate) fn guard<T>(hook: &'static str, body: impl FnOnce() -> T, answer: impl FnOnce() -> T) -> T {
    match run(hook, body) {
        Some(value) => value,
        None => answer(),
    }
}

/// Runs a hook's body; after a panic, logs which hook it was and returns `None`.
pub(crate) fn run<T>(hook: &'static str, body: impl FnOnce() -> T) -> Option<T> {
    let _inside = Inside::enter();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => Some(value),
        Err(payload) => {
            discard(payload);
            log::write(
                LogLevel::Error,
                &format!("panic in the Envoy hook {hook} was caught"),
                file!(),
                line!(),
            );
            None
        }
    }
}

/// Drops a panic payload, whose own destructor may panic in turn.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Makes every panic of this module one line in Envoy's log.
///
/// In a process whose Envoy is a test host, panics outside of hooks still go to the former hook: they are failing tests.
pub(crate) fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let former = take_hook();
        set_hook(Box::new(move |info| {
            if callbacks::is_test_host() && !Inside::is_inside() {
                former(info);
            } else {
                report(info);
            }
        }));
    });
}

fn report(info: &PanicHookInfo<'_>) {
    let what = info.payload_as_str().unwrap_or("panic payload is not text");
    let (file, line) = info
        .location()
        .map_or(("unknown", 0), |place| (place.file(), place.line()));
    log::write(
        LogLevel::Error,
        &format!("panicked at {file}:{line}: {what}"),
        file,
        line,
    );
}

/// Marks the thread as being inside a hook.
struct Inside(());

impl Inside {
    fn enter() -> Self {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
        Self(())
    }

    fn is_inside() -> bool {
        DEPTH.try_with(|depth| depth.get() > 0).unwrap_or(false)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get().saturating_sub(1)));
    }
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}
