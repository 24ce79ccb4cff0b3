//! Safe Rust traits over the part of Envoy's dynamic module ABI that spectral-bridge calls.
//!
//! The official SDK of the same name lives in Envoy's repository and no registry carries it. This crate has its names for traits, methods
//! and the init macro wherever both do the same thing; its README says where they differ and how to move. It is the only crate of
//! the project with `unsafe` code.
//!
//! Who drives what: Envoy loads the module and calls the entry point that [`declare_all_init_functions!`] defines; that resolves
//! Envoy's functions (`callbacks`) and keeps the module's factories (`entry`). Envoy then calls the exported hooks (`bootstrap`,
//! `http`), each of which goes through the panic barrier (`guard`). `log` is Envoy's log for `tracing`. `host` is the other side of the
//! ABI, for tests.
//!
//! # Example
//!
//! ```
//! #![forbid(unsafe_code)]
//! use envoy_proxy_dynamic_modules_rust_sdk::*;
//!
//! declare_all_init_functions!(init, bootstrap: new_bootstrap, http: new_http);
//!
//! fn init() -> bool {
//!     init_logging()
//! }
//!
//! fn new_bootstrap(
//!     envoy: &mut dyn EnvoyBootstrapExtensionConfig,
//!     name: &str,
//!     config: &[u8],
//! ) -> Option<Box<dyn BootstrapExtensionConfig>> {
//!     tracing::info!(name, bytes = config.len(), "configured");
//!     envoy.signal_init_complete();
//!     (name == "relay").then(|| Box::new(Relay) as _)
//! }
//!
//! struct Relay;
//!
//! impl BootstrapExtensionConfig for Relay {
//!     fn new_bootstrap_extension(&self, _: &mut dyn EnvoyBootstrapExtension) -> Box<dyn BootstrapExtension> {
//!         Box::new(Relay)
//!     }
//! }
//!
//! impl BootstrapExtension for Relay {
//!     fn on_shutdown(&mut self, _: &mut dyn EnvoyBootstrapExtension, completion: CompletionCallback) {
//!         std::thread::spawn(move || completion.done());
//!     }
//! }
//!
//! fn new_http<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
//!     envoy: &mut EC,
//!     name: &str,
//!     _config: &[u8],
//! ) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
//!     let requests = envoy.define_counter("requests").ok()?;
//!     (name == "count").then(|| Box::new(Count { requests }) as _)
//! }
//!
//! #[derive(Clone, Copy)]
//! struct Count {
//!     requests: EnvoyCounterId,
//! }
//!
//! impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for Count {
//!     fn new_http_filter(&self, _: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
//!         Box::new(*self)
//!     }
//! }
//!
//! impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Count {
//!     fn on_stream_complete(&mut self, envoy: &mut EHF) {
//!         let _ = envoy.increment_counter(self.requests, 1);
//!     }
//! }
//! # fn main() {}
//! ```
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]

pub mod abi;
mod bootstrap;
mod buffer;
mod callbacks;
mod entry;
mod guard;
#[doc(hidden)]
pub mod host;
mod http;
mod log;
mod metrics;

pub use bootstrap::{
    BootstrapExtension, BootstrapExtensionConfig, CompletionCallback, EnvoyBootstrapExtension,
    EnvoyBootstrapExtensionConfig, EnvoyBootstrapExtensionConfigScheduler, EnvoyBootstrapExtensionTimer,
    FILE_WATCHER_EVENT_MODIFIED, FILE_WATCHER_EVENT_MOVED_TO,
};
pub use buffer::{EnvoyBuffer, EnvoyMutBuffer};
#[doc(hidden)]
pub use callbacks::install;
pub use callbacks::{Callback, EnvoyRelease, Lookup, all_callbacks, envoy_release, required_callbacks};
pub use entry::{
    Factories, NewBootstrapExtensionConfigFunction, NewHttpFilterConfigFunction, NewHttpFilterPerRouteConfigFunction,
    ProgramInitFunction, get_server_concurrency, is_validation_mode, start,
};
pub use http::{
    EnvoyHttpFilter, EnvoyHttpFilterConfig, EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, EnvoyHttpFilterScheduler,
    HttpFilter, HttpFilterConfig, PanicPolicy,
};
pub use log::{envoy_log_layer, init_logging};
pub use metrics::{
    EnvoyCounterId, EnvoyCounterVecId, EnvoyGaugeId, EnvoyGaugeVecId, EnvoyHistogramId, EnvoyHistogramVecId,
};

/// Defines the entry point that Envoy calls after it loaded the module.
///
/// The first argument is a [`ProgramInitFunction`]; then the factories that the module has, in any order: `bootstrap:` takes a
/// [`NewBootstrapExtensionConfigFunction`], `http:` a [`NewHttpFilterConfigFunction`], `http_per_route:` a
/// [`NewHttpFilterPerRouteConfigFunction`].
///
/// Use it once, in the crate that becomes the shared object. A crate with `#![forbid(unsafe_code)]` may use it: the compiler does not hold a
/// crate to that lint for what a macro of another crate produces (seen on Rust 1.95; the tests of the fake Envoy would not build otherwise).
/// The other hooks are exported by this crate, need no declaration, and stay exported through link-time optimisation.
#[macro_export]
macro_rules! declare_all_init_functions {
    ($init:expr $(, $kind:ident : $factory:expr)* $(,)?) => {
        /// The entry point that Envoy calls after it loaded the module.
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const ::core::ffi::c_char {
            $crate::start($init, $crate::Factories::none()$(.$kind($factory))*)
        }
    };
}
