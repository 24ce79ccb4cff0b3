//! A bootstrap extension as Envoy drives it.

use crate::state::State;
use envoy_proxy_dynamic_modules_rust_sdk::host::{BootstrapConfig, BootstrapExtension, Handle};
use std::sync::Arc;

/// A configured extension. Its drop is Envoy's exit: the extension is destroyed, then its configuration.
pub struct Bootstrap {
    // Dropped in this order.
    extension: BootstrapExtension,
    config: BootstrapConfig,
    gone: Gone,
    shutdown: Handle,
}

/// Tells the host that a configuration is gone, after it is.
struct Gone {
    state: Arc<State>,
    handle: Handle,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.state.forget(self.handle);
    }
}

impl Bootstrap {
    pub(crate) fn new(state: Arc<State>, name: Option<&[u8]>, config: Option<&[u8]>) -> Option<Self> {
        let gone = Gone {
            handle: state.new_owner(),
            state,
        };
        let config = BootstrapConfig::new(gone.handle, name, config)?;
        gone.state.freeze(gone.handle);
        let extension = config.extension(gone.state.new_handle());
        Some(Self {
            extension,
            config,
            shutdown: gone.state.new_handle(),
            gone,
        })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.gone.handle
    }

    /// Whether the module made its extension.
    pub fn has_extension(&self) -> bool {
        self.extension.exists()
    }

    /// How often the module said that its initialisation is complete.
    pub fn init_completions(&self) -> usize {
        self.gone
            .state
            .lock()
            .init_completions
            .iter()
            .filter(|config| **config == self.gone.handle)
            .count()
    }

    /// The server is ready.
    pub fn server_initialized(&self) {
        self.extension.server_initialized();
    }

    /// A worker is ready.
    pub fn worker_thread_initialized(&self) {
        self.extension.worker_thread_initialized();
    }

    /// A graceful drain begins.
    pub fn drain_started(&self) {
        self.extension.drain_started();
    }

    /// Envoy wants to exit; [`shutdown_completions`](Self::shutdown_completions) tells when it may.
    pub fn shutdown(&self) {
        self.extension.shutdown(self.shutdown);
    }

    /// How often the shutdown was completed.
    pub fn shutdown_completions(&self) -> usize {
        self.gone
            .state
            .lock()
            .shutdown_completions
            .iter()
            .filter(|context| **context == self.shutdown)
            .count()
    }

    /// Brings an event, as if it had been committed.
    pub fn scheduled(&self, event: u64) {
        self.config.scheduled(event);
    }

    /// Asks for an admin page, whether it is registered or not. Returns status and body.
    pub fn admin(&self, method: &str, path: &str, body: &[u8]) -> (u32, String) {
        self.admin_raw(method.as_bytes(), path.as_bytes(), Some(body))
    }

    /// As [`admin`](Self::admin), with any bytes; `None` is passed as null.
    pub fn admin_raw(&self, method: &[u8], path: &[u8], body: Option<&[u8]>) -> (u32, String) {
        self.gone.state.lock().admin_response.clear();
        let status = self.config.admin_request(method, path, body);
        let body = std::mem::take(&mut self.gone.state.lock().admin_response);
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// A watched file changes.
    pub fn file_changed(&self, path: &[u8], events: u32) {
        self.config.file_changed(path, events);
    }

    /// The delays of the timers that run, in milliseconds.
    pub fn running_timers(&self) -> Vec<u64> {
        self.gone
            .state
            .timers_of(self.gone.handle)
            .into_iter()
            .filter_map(|(_, delay)| delay)
            .collect()
    }

    /// How many timers exist.
    pub fn timers(&self) -> usize {
        self.gone.state.timers_of(self.gone.handle).len()
    }

    /// Lets every running timer run out, once.
    pub fn fire_timers(&self) {
        for (timer, delay) in self.gone.state.timers_of(self.gone.handle) {
            if delay.is_some() {
                self.gone.state.stop_timer(timer);
                self.config.timer_fired(timer);
            }
        }
    }
}
