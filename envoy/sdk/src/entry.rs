//! Loading: what happens between `dlopen` and the first configuration.
//!
//! The macro [`declare_all_init_functions!`](crate::declare_all_init_functions) defines the entry point that Envoy calls; it comes here.
//! This module keeps the module's factories, and the two facts about the process that only Envoy's main thread may ask for.

use crate::abi::LogLevel;
use crate::bootstrap::{BootstrapExtensionConfig, EnvoyBootstrapExtensionConfig};
use crate::callbacks::{callbacks, required_callbacks, resolve_process};
use crate::guard::{report_panics, run};
use crate::http::{EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, HttpFilterConfig};
use crate::log;
use std::any::Any;
use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

/// Called once when the module is loaded, on Envoy's main thread; `false` refuses the load.
pub type ProgramInitFunction = fn() -> bool;

/// Makes the module's side of a bootstrap extension from its name and configuration; `None` stops Envoy's start.
pub type NewBootstrapExtensionConfigFunction =
    fn(&mut dyn EnvoyBootstrapExtensionConfig, name: &str, config: &[u8]) -> Option<Box<dyn BootstrapExtensionConfig>>;

/// Makes the module's side of an HTTP filter configuration from its name and configuration; `None` rejects it.
pub type NewHttpFilterConfigFunction<EC, EHF> =
    fn(envoy_filter_config: &mut EC, name: &str, config: &[u8]) -> Option<Box<dyn HttpFilterConfig<EHF>>>;

/// Makes a per-route configuration of an HTTP filter; `None` rejects it. Envoy may drop it on a worker thread.
pub type NewHttpFilterPerRouteConfigFunction = fn(name: &str, config: &[u8]) -> Option<Box<dyn Any + Send + Sync>>;

/// What a module offers to Envoy. Filled by [`declare_all_init_functions!`](crate::declare_all_init_functions).
#[derive(Clone, Copy, Debug, Default)]
pub struct Factories {
    pub(crate) bootstrap: Option<NewBootstrapExtensionConfigFunction>,
    pub(crate) http: Option<NewHttpFilterConfigFunction<EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl>>,
    pub(crate) http_per_route: Option<NewHttpFilterPerRouteConfigFunction>,
}

impl Factories {
    /// Nothing offered.
    pub const fn none() -> Self {
        Self {
            bootstrap: None,
            http: None,
            http_per_route: None,
        }
    }

    /// Offers bootstrap extensions.
    #[must_use]
    pub fn bootstrap(self, factory: NewBootstrapExtensionConfigFunction) -> Self {
        Self {
            bootstrap: Some(factory),
            ..self
        }
    }

    /// Offers HTTP filters.
    #[must_use]
    pub fn http(self, factory: NewHttpFilterConfigFunction<EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl>) -> Self {
        Self {
            http: Some(factory),
            ..self
        }
    }

    /// Offers per-route configurations of HTTP filters.
    #[must_use]
    pub fn http_per_route(self, factory: NewHttpFilterPerRouteConfigFunction) -> Self {
        Self {
            http_per_route: Some(factory),
            ..self
        }
    }
}

/// Answers Envoy's `program_init`: the version string of the interface, or null to refuse the load.
///
/// Refuses when Envoy lacks a function that this crate calls, when `init` says so, and when `init` panics.
pub fn start(init: ProgramInitFunction, factories: Factories) -> *const c_char {
    version(init, factories).map_or(std::ptr::null(), CStr::as_ptr)
}

fn version(init: ProgramInitFunction, factories: Factories) -> Option<&'static CStr> {
    let envoy = match resolve_process() {
        Ok(envoy) => envoy,
        Err(missing) => {
            // Envoy's log is one of the functions that may be missing.
            eprintln!("{}", refusal(&missing));
            return None;
        }
    };
    report_panics();
    *FACTORIES.write().unwrap_or_else(PoisonError::into_inner) = factories;
    run("program_init", init).unwrap_or(false).then(|| envoy.abi_version())
}

fn refusal(missing: &[&str]) -> String {
    let what = if missing.len() == required_callbacks().count() {
        "any function for modules".to_owned()
    } else {
        missing.join(", ")
    };
    format!("the module needs Envoy 1.38 or newer; this process does not export {what}")
}

/// The factories in force.
pub(crate) fn factories() -> Factories {
    *FACTORIES.read().unwrap_or_else(PoisonError::into_inner)
}

/// Whether Envoy only validates its configuration (`--mode validate`) and will serve nothing.
///
/// Answers from any thread; known from the first configuration's factory on, `false` before.
pub fn is_validation_mode() -> bool {
    VALIDATION_MODE.load(Ordering::Acquire)
}

/// The number of Envoy's worker threads (`--concurrency`).
///
/// Answers from any thread; known from the first configuration's factory on, 0 before.
pub fn get_server_concurrency() -> u32 {
    CONCURRENCY.load(Ordering::Acquire)
}

/// Asks Envoy for what only the main thread may ask for. Called by the hooks that create configurations.
pub(crate) fn learn_process_facts() {
    let Some(envoy) = callbacks() else { return };
    // SAFETY: Envoy creates configurations on its main thread, where this call is allowed.
    VALIDATION_MODE.store(unsafe { (envoy.is_validation_mode)() }, Ordering::Release);
    // SAFETY: as above.
    CONCURRENCY.store(unsafe { (envoy.get_concurrency)() }, Ordering::Release);
}

/// Checks a configuration's name, which Envoy passes as bytes.
pub(crate) fn checked_name<'a>(hook: &str, name: &'a [u8]) -> Option<&'a str> {
    let text = std::str::from_utf8(name).ok();
    if text.is_none() {
        log::write(
            LogLevel::Error,
            &format!("{hook}: the name in the configuration is not UTF-8"),
            file!(),
            line!(),
        );
    }
    text
}

static FACTORIES: RwLock<Factories> = RwLock::new(Factories::none());
static VALIDATION_MODE: AtomicBool = AtomicBool::new(false);
static CONCURRENCY: AtomicU32 = AtomicU32::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_is_missing() {
        let two = [
            "envoy_dynamic_module_callback_log",
            "envoy_dynamic_module_callback_http_get_header",
        ];
        assert!(
            refusal(&two)
                .ends_with("export envoy_dynamic_module_callback_log, envoy_dynamic_module_callback_http_get_header")
        );
        let all: Vec<_> = required_callbacks().collect();
        assert!(refusal(&all).ends_with("export any function for modules"));
    }

    #[test]
    fn a_process_that_is_not_envoy_is_refused() {
        assert!(start(|| true, Factories::none()).is_null());
    }
}
