//! The traits of both sides, with the names and signatures of the official SDK.

use crate::abi::{EnvoyPtr, EventCb, envoy_dynamic_module_type_metrics_result as MetricsResult};
use crate::metrics::{
    EnvoyCounterId, EnvoyCounterVecId, EnvoyGaugeId, EnvoyGaugeVecId, EnvoyHistogramId, EnvoyHistogramVecId,
};
use std::time::Duration;

/// The module's side of the extension's configuration. Dropped when Envoy drops its own.
pub trait BootstrapExtensionConfig: Send + Sync {
    /// Makes the extension itself. Called right after the factory, also in `--mode validate`.
    fn new_bootstrap_extension(&self, envoy_extension: &mut dyn EnvoyBootstrapExtension)
    -> Box<dyn BootstrapExtension>;

    /// An event committed through [`EnvoyBootstrapExtensionConfigScheduler::commit`] has reached the main thread.
    fn on_scheduled(&self, _envoy_extension_config: &mut dyn EnvoyBootstrapExtensionConfig, _event_id: u64) {}

    /// A timer of [`EnvoyBootstrapExtensionConfig::new_timer`] ran out. It runs once; enable it again to repeat.
    fn on_timer_fired(
        &self,
        _envoy_extension_config: &mut dyn EnvoyBootstrapExtensionConfig,
        _timer: &dyn EnvoyBootstrapExtensionTimer,
    ) {
    }

    /// A watched path changed; `events` holds [`FILE_WATCHER_EVENT_MOVED_TO`] or [`FILE_WATCHER_EVENT_MODIFIED`].
    fn on_file_changed(
        &self,
        _envoy_extension_config: &mut dyn EnvoyBootstrapExtensionConfig,
        _path: &str,
        _events: u32,
    ) {
    }

    /// A request to a registered admin path; `path` includes the query. Returns the HTTP status and the body.
    ///
    /// After a panic the answer is 500.
    fn on_admin_request(
        &self,
        _envoy_extension_config: &mut dyn EnvoyBootstrapExtensionConfig,
        _method: &str,
        _path: &str,
        _body: &[u8],
    ) -> (u32, String) {
        (404, String::new())
    }
}

/// The module's side of the extension. Dropped when Envoy drops its own, before the configuration.
pub trait BootstrapExtension: Send + Sync {
    /// Clusters exist and the admin page is up; listeners of dynamic sources are not loaded yet. Not called in `--mode validate`.
    fn on_server_initialized(&mut self, _envoy_extension: &mut dyn EnvoyBootstrapExtension) {}

    /// Documented as once per worker; every release seen calls it once, on the main thread, before `on_server_initialized`.
    fn on_worker_thread_initialized(&mut self, _envoy_extension: &mut dyn EnvoyBootstrapExtension) {}

    /// A graceful drain was asked for, or a newer process takes over. Not called for SIGTERM.
    fn on_drain_started(&mut self, _envoy_extension: &mut dyn EnvoyBootstrapExtension) {}

    /// Envoy is about to exit and waits for `completion` without limit, while it still serves.
    ///
    /// The admin handlers of this extension are gone already (see [`EnvoyBootstrapExtensionConfig::register_admin_handler`]).
    /// After a panic the completion is still signalled, by the drop of `completion`.
    fn on_shutdown(&mut self, _envoy_extension: &mut dyn EnvoyBootstrapExtension, completion: CompletionCallback) {
        completion.done();
    }
}

/// Envoy's side of the configuration; main thread only, lent to a hook.
pub trait EnvoyBootstrapExtensionConfig {
    /// A handle that brings an event to the main thread from any thread.
    fn new_scheduler(&self) -> Box<dyn EnvoyBootstrapExtensionConfigScheduler>;

    /// Lets Envoy open its listeners: until this is called none opens. Only the first call of a configuration counts.
    fn signal_init_complete(&self);

    /// Defines a counter. Only in the factory; so for all metrics.
    fn define_counter(&mut self, name: &str) -> Result<EnvoyCounterId, MetricsResult>;
    /// Defines a counter with labels.
    fn define_counter_vec(&mut self, name: &str, labels: &[&str]) -> Result<EnvoyCounterVecId, MetricsResult>;
    /// Defines a gauge.
    fn define_gauge(&mut self, name: &str) -> Result<EnvoyGaugeId, MetricsResult>;
    /// Defines a gauge with labels.
    fn define_gauge_vec(&mut self, name: &str, labels: &[&str]) -> Result<EnvoyGaugeVecId, MetricsResult>;
    /// Defines a histogram.
    fn define_histogram(&mut self, name: &str) -> Result<EnvoyHistogramId, MetricsResult>;
    /// Defines a histogram with labels.
    fn define_histogram_vec(&mut self, name: &str, labels: &[&str]) -> Result<EnvoyHistogramVecId, MetricsResult>;

    /// Adds to a counter.
    fn increment_counter(&self, id: EnvoyCounterId, value: u64) -> Result<(), MetricsResult>;
    /// Adds to a counter with labels. Envoy 1.38 leaks 16 bytes with every change of a labelled metric of a bootstrap extension.
    fn increment_counter_vec(&self, id: EnvoyCounterVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Sets a gauge.
    fn set_gauge(&self, id: EnvoyGaugeId, value: u64) -> Result<(), MetricsResult>;
    /// Sets a gauge with labels; see [`increment_counter_vec`](Self::increment_counter_vec) for 1.38.
    fn set_gauge_vec(&self, id: EnvoyGaugeVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Adds to a gauge.
    fn increase_gauge(&self, id: EnvoyGaugeId, value: u64) -> Result<(), MetricsResult>;
    /// Adds to a gauge with labels; see [`increment_counter_vec`](Self::increment_counter_vec) for 1.38.
    fn increase_gauge_vec(&self, id: EnvoyGaugeVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Subtracts from a gauge.
    fn decrease_gauge(&self, id: EnvoyGaugeId, value: u64) -> Result<(), MetricsResult>;
    /// Subtracts from a gauge with labels; see [`increment_counter_vec`](Self::increment_counter_vec) for 1.38.
    fn decrease_gauge_vec(&self, id: EnvoyGaugeVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Records a value; it shows after the next stats flush.
    fn record_histogram_value(&self, id: EnvoyHistogramId, value: u64) -> Result<(), MetricsResult>;
    /// Records a value with labels; see [`increment_counter_vec`](Self::increment_counter_vec) for 1.38.
    fn record_histogram_value_vec(
        &self,
        id: EnvoyHistogramVecId,
        labels: &[&str],
        value: u64,
    ) -> Result<(), MetricsResult>;

    /// The value of a counter of the whole server, found by a scan over all stats. `None` also while there is no extension. An
    /// addition to the official SDK, which has it on the extension alone, where no timer comes by.
    fn get_counter_value(&self, name: &str) -> Option<u64>;
    /// The same of a gauge.
    fn get_gauge_value(&self, name: &str) -> Option<u64>;

    /// A timer of the main thread, not yet running. Its drop deletes it.
    fn new_timer(&self) -> Box<dyn EnvoyBootstrapExtensionTimer>;

    /// Watches a file, which must exist, for the events in the mask. The watch ends with the configuration.
    fn add_file_watch(&self, path: &str, events: u32) -> bool;

    /// Offers an admin page at exactly `path` (a query is allowed, a longer path is not), answered as `text/plain`.
    ///
    /// False when Envoy has no admin page or the path is taken. A handler of a page that changes the server is reached by POST only.
    /// A removable handler is removed before `on_shutdown`, since one that outlived it would keep this configuration alive.
    fn register_admin_handler(&self, path: &str, help_text: &str, removable: bool, mutates_server_state: bool) -> bool;

    /// Withdraws a removable admin page.
    fn remove_admin_handler(&self, path: &str) -> bool;
}

/// Envoy's side of the extension; main thread only, lent to a hook.
pub trait EnvoyBootstrapExtension {
    /// The value of a counter of the whole server, found by a scan over all stats.
    fn get_counter_value(&self, name: &str) -> Option<u64>;
    /// The value of a gauge of the whole server, found by a scan over all stats.
    fn get_gauge_value(&self, name: &str) -> Option<u64>;
}

/// Brings events to the main thread. After the configuration is gone a commit does nothing.
pub trait EnvoyBootstrapExtensionConfigScheduler: Send + Sync {
    /// Has [`BootstrapExtensionConfig::on_scheduled`] called with `event_id`. Any thread; never blocks.
    fn commit(&self, event_id: u64);
}

/// A timer of the main thread.
///
/// It may be stored anywhere, but works on the thread that made it: elsewhere its methods log an error and do nothing, and a drop leaks it.
pub trait EnvoyBootstrapExtensionTimer: Send + Sync {
    /// Tells timers apart; stable while the timer lives.
    fn id(&self) -> usize;
    /// Starts it, or starts it anew, in whole milliseconds.
    fn enable(&self, delay: Duration);
    /// Stops it.
    fn disable(&self);
    /// Whether it runs.
    fn enabled(&self) -> bool;
}

/// Envoy's wait at shutdown. Signals completion exactly once: by [`done`](Self::done), or when it is dropped. Any thread.
#[must_use = "dropping it lets Envoy exit"]
#[derive(Debug)]
pub struct CompletionCallback {
    callback: EventCb,
    context: EnvoyPtr,
}

// SAFETY: Envoy accepts the completion on any thread (seen on 1.38.3, 1.39.3 and 1.40.0), and there is one owner.
unsafe impl Send for CompletionCallback {}
// SAFETY: a shared reference offers nothing.
unsafe impl Sync for CompletionCallback {}

impl CompletionCallback {
    /// # Safety
    ///
    /// Both come from one call of the shutdown hook and were not used before.
    pub(crate) const unsafe fn new(callback: EventCb, context: EnvoyPtr) -> Self {
        Self { callback, context }
    }

    /// Lets Envoy exit.
    pub fn done(self) {
        drop(self);
    }
}

impl Drop for CompletionCallback {
    fn drop(&mut self) {
        // SAFETY: Envoy keeps the context until this one call; the owner is being dropped, so there is no second.
        unsafe { (self.callback)(self.context) }
    }
}

/// A file was moved over the watched path.
pub const FILE_WATCHER_EVENT_MOVED_TO: u32 = 1;
/// The watched file was written to.
pub const FILE_WATCHER_EVENT_MODIFIED: u32 = 2;
