//! A test host that plays Envoy's side of the dynamic module ABI.
//!
//! A test makes a [`FakeEnvoy`] of a release, loads a module's parts into it, and calls hooks the way Envoy would; the host records what the
//! module does: logs, metrics, headers, metadata, admin pages, events, completions. It is a dev-dependency only, and safe Rust on top of
//! the SDK's `host` module.
//!
//! Deliberately absent: threads, clocks and sockets. Nothing happens unless the test asks for it: an event that was committed waits for
//! [`FakeEnvoy::run_events`], a timer for [`Bootstrap::fire_timers`].
#![forbid(unsafe_code)]

mod bootstrap;
mod http;
mod state;

pub use bootstrap::Bootstrap;
pub use http::{HttpConfig, Stream};
pub use state::{AdminHandler, LogLine, StreamState};

use envoy_proxy_dynamic_modules_rust_sdk::host::{self, Handle, MetricKind};
use envoy_proxy_dynamic_modules_rust_sdk::{EnvoyRelease, Factories, ProgramInitFunction};
use state::State;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One Envoy process. While it lives no other one of the same test program does.
pub struct FakeEnvoy {
    state: Arc<State>,
    _alone: MutexGuard<'static, ()>,
}

impl FakeEnvoy {
    /// An Envoy with the functions of `release`, log level info, two workers.
    pub fn new(release: EnvoyRelease) -> Self {
        Self::lacking(release, &[])
    }

    /// An Envoy that misses functions which `release` should have. Full symbol names.
    pub fn lacking(release: EnvoyRelease, missing: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let state = Arc::new(State::default());
        host::install(
            state.clone(),
            release,
            missing.iter().map(|name| (*name).to_owned()).collect(),
        );
        Self { state, _alone: alone }
    }

    /// Loads a module that is given as its parts; returns the version it reports, `None` when it refuses.
    pub fn load(&self, init: ProgramInitFunction, factories: Factories) -> Option<&'static str> {
        host::load(init, factories)
    }

    /// Loads a module through its entry point `envoy_dynamic_module_on_program_init`.
    pub fn load_entry(&self, entry: extern "C" fn() -> *const c_char) -> Option<&'static str> {
        host::program_init(entry)
    }

    /// Makes a bootstrap extension; `None` when the module refuses its configuration.
    pub fn bootstrap(&self, name: &str, config: &[u8]) -> Option<Bootstrap> {
        self.bootstrap_raw(Some(name.as_bytes()), Some(config))
    }

    /// As [`bootstrap`](Self::bootstrap), with any bytes; `None` is passed as null.
    pub fn bootstrap_raw(&self, name: Option<&[u8]>, config: Option<&[u8]>) -> Option<Bootstrap> {
        Bootstrap::new(Arc::clone(&self.state), name, config)
    }

    /// Makes an HTTP filter configuration; `None` when the module refuses it.
    pub fn http(&self, name: &str, config: &[u8]) -> Option<HttpConfig> {
        self.http_raw(Some(name.as_bytes()), Some(config))
    }

    /// As [`http`](Self::http), with any bytes; `None` is passed as null.
    pub fn http_raw(&self, name: Option<&[u8]>, config: Option<&[u8]>) -> Option<HttpConfig> {
        HttpConfig::new(Arc::clone(&self.state), name, config)
    }

    /// Makes a per-route configuration; `None` when the module refuses it.
    pub fn route(&self, name: &str, config: &[u8]) -> Option<Arc<host::RouteConfig>> {
        host::RouteConfig::new(name.as_bytes(), config).map(Arc::new)
    }

    /// Plays `--mode validate`.
    pub fn set_validation_mode(&self, on: bool) {
        self.state.lock().validation_mode = on;
    }

    /// Sets the log's level, 0 (trace) to 4 (error), or 6 (off).
    pub fn set_log_level(&self, level: u32) {
        self.state.lock().log_level = level;
    }

    /// What was logged.
    pub fn logs(&self) -> Vec<LogLine> {
        self.state.lock().logs.clone()
    }

    /// Whether a line of at least `level` contains `text`.
    pub fn logged(&self, level: u32, text: &str) -> bool {
        self.logs()
            .iter()
            .any(|line| line.level >= level && line.message.contains(text))
    }

    /// The value of a metric under its label values: of a counter or gauge, or the sum that a histogram got.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<u64> {
        self.state.lock().metric(name, labels)
    }

    /// Every metric that was defined: its name and its labels.
    pub fn metrics(&self) -> Vec<(String, Vec<String>)> {
        self.state.lock().defined()
    }

    /// Sets a counter or gauge of the server that a module can ask for.
    pub fn set_stat(&self, kind: MetricKind, name: &str, value: u64) {
        self.state.lock().stats.insert((kind, name.to_owned()), value);
    }

    /// The admin pages that are registered.
    pub fn admin_handlers(&self) -> Vec<AdminHandler> {
        self.state.lock().admin_handlers.clone()
    }

    /// The paths and event masks that are watched.
    pub fn file_watches(&self) -> Vec<(String, u32)> {
        self.state.lock().file_watches.clone()
    }

    /// How many schedulers the module holds.
    pub fn schedulers(&self) -> usize {
        self.state.lock().schedulers.len()
    }

    /// Events that were committed and wait for [`run_events`](Self::run_events).
    pub fn pending_events(&self) -> Vec<u64> {
        self.state.lock().events.iter().map(|(_, event)| *event).collect()
    }

    /// Brings the events committed so far to `bootstrap`; those of others, also of others that are gone, stay.
    pub fn run_events(&self, bootstrap: &Bootstrap) -> usize {
        let events = self.take_events(bootstrap.handle());
        events.iter().for_each(|event| bootstrap.scheduled(*event));
        events.len()
    }

    /// As [`run_events`](Self::run_events), for a stream.
    pub fn run_stream_events(&self, stream: &Stream) -> usize {
        let events = self.take_events(stream.handle());
        events.iter().for_each(|event| stream.scheduled(*event));
        events.len()
    }

    fn take_events(&self, owner: Handle) -> Vec<u64> {
        let mut state = self.state.lock();
        let (mine, others): (Vec<_>, Vec<_>) = state.events.drain(..).partition(|(to, _)| *to == owner);
        state.events.extend(others);
        mine.into_iter().map(|(_, event)| event).collect()
    }
}

static ALONE: Mutex<()> = Mutex::new(());
