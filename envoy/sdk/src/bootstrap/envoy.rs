//! Envoy's side of the bootstrap traits: thin calls into the resolved functions.

use super::traits::{
    EnvoyBootstrapExtension, EnvoyBootstrapExtensionConfig, EnvoyBootstrapExtensionConfigScheduler,
    EnvoyBootstrapExtensionTimer,
};
use crate::abi::{Buffer, EnvoyPtr, LogLevel, envoy_dynamic_module_type_metrics_result as MetricsResult};
use crate::callbacks::Callbacks;
use crate::log;
use crate::metrics::{
    self, EnvoyCounterId, EnvoyCounterVecId, EnvoyGaugeId, EnvoyGaugeVecId, EnvoyHistogramId, EnvoyHistogramVecId,
    define_methods, update_methods,
};
use std::cell::{Cell, RefCell};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// What the configuration and its extension share; lives on the main thread, inside the objects that Envoy holds.
pub(crate) struct Shared {
    envoy: &'static Callbacks,
    config: EnvoyPtr,
    removable_admin_paths: RefCell<Vec<String>>,
    init_signalled: Cell<bool>,
    /// Envoy's extension object, from the extension's creation to its destruction.
    extension: Cell<Option<EnvoyPtr>>,
}

impl Shared {
    pub(crate) fn new(envoy: &'static Callbacks, config: EnvoyPtr) -> Self {
        Self {
            envoy,
            config,
            removable_admin_paths: RefCell::default(),
            init_signalled: Cell::new(false),
            extension: Cell::new(None),
        }
    }

    /// Withdraws every removable admin page that is still registered.
    pub(crate) fn remove_admin_handlers(&self) {
        for path in self.removable_admin_paths.take() {
            self.remove_admin_handler(&path);
        }
    }

    fn remove_admin_handler(&self, path: &str) -> bool {
        // SAFETY: main thread, inside a hook; Envoy's configuration object outlives its extension's hooks, the path the call.
        unsafe { (self.envoy.bootstrap_extension_remove_admin_handler)(self.config, Buffer::of(path.as_bytes())) }
    }

    /// Hands the body of an admin answer over; only inside the admin hook.
    pub(super) fn set_admin_response(&self, body: &str) {
        // SAFETY: called by the admin hook alone; Envoy copies the body before it returns.
        unsafe { (self.envoy.bootstrap_extension_admin_set_response)(self.config, Buffer::of(body.as_bytes())) }
    }

    pub(super) fn borrowed_timer(&self, raw: EnvoyPtr) -> BorrowedTimer {
        BorrowedTimer {
            envoy: self.envoy,
            raw,
            home: thread::current().id(),
        }
    }

    pub(super) fn extension(&self, raw: EnvoyPtr) -> EnvoyExtension {
        EnvoyExtension { envoy: self.envoy, raw }
    }

    /// Remembers Envoy's extension object, or that it is gone.
    pub(super) fn remember_extension(&self, raw: Option<EnvoyPtr>) {
        self.extension.set(raw);
    }

    fn remembered_extension(&self) -> Option<EnvoyExtension> {
        self.extension.get().map(|raw| self.extension(raw))
    }
}

/// Lent to a hook of the configuration.
pub(super) struct EnvoyConfig<'hook>(pub(super) &'hook Shared);

impl metrics::Owner for EnvoyConfig<'_> {
    fn owner(&self) -> (&'static Callbacks, EnvoyPtr) {
        (self.0.envoy, self.0.config)
    }
}

impl EnvoyBootstrapExtensionConfig for EnvoyConfig<'_> {
    define_methods! {
        define_counter, define_counter_vec, bootstrap_extension_config_define_counter: EnvoyCounterId, EnvoyCounterVecId;
        define_gauge, define_gauge_vec, bootstrap_extension_config_define_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        define_histogram, define_histogram_vec, bootstrap_extension_config_define_histogram: EnvoyHistogramId, EnvoyHistogramVecId;
    }

    update_methods! {
        increment_counter, increment_counter_vec, bootstrap_extension_config_increment_counter: EnvoyCounterId, EnvoyCounterVecId;
        set_gauge, set_gauge_vec, bootstrap_extension_config_set_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        increase_gauge, increase_gauge_vec, bootstrap_extension_config_increment_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        decrease_gauge, decrease_gauge_vec, bootstrap_extension_config_decrement_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        record_histogram_value, record_histogram_value_vec, bootstrap_extension_config_record_histogram_value: EnvoyHistogramId, EnvoyHistogramVecId;
    }

    fn new_scheduler(&self) -> Box<dyn EnvoyBootstrapExtensionConfigScheduler> {
        let envoy = self.0.envoy;
        // SAFETY: inside a hook on the main thread, so Envoy's configuration object is alive.
        let raw = unsafe { (envoy.bootstrap_extension_config_scheduler_new)(self.0.config) };
        Box::new(Scheduler { envoy, raw })
    }

    fn signal_init_complete(&self) {
        if !self.0.init_signalled.replace(true) {
            // SAFETY: inside a hook on the main thread, so Envoy's configuration object is alive.
            unsafe { (self.0.envoy.bootstrap_extension_config_signal_init_complete)(self.0.config) }
        }
    }

    fn get_counter_value(&self, name: &str) -> Option<u64> {
        self.0.remembered_extension()?.get_counter_value(name)
    }

    fn get_gauge_value(&self, name: &str) -> Option<u64> {
        self.0.remembered_extension()?.get_gauge_value(name)
    }

    fn new_timer(&self) -> Box<dyn EnvoyBootstrapExtensionTimer> {
        // SAFETY: inside a hook on the main thread, so Envoy's configuration object is alive.
        let raw = unsafe { (self.0.envoy.bootstrap_extension_timer_new)(self.0.config) };
        Box::new(OwnedTimer(self.0.borrowed_timer(raw)))
    }

    fn add_file_watch(&self, path: &str, events: u32) -> bool {
        let path = Buffer::of(path.as_bytes());
        // SAFETY: inside a hook on the main thread, so Envoy's configuration object is alive; the path outlives the call.
        unsafe { (self.0.envoy.bootstrap_extension_file_watcher_add_watch)(self.0.config, path, events) }
    }

    fn register_admin_handler(&self, path: &str, help_text: &str, removable: bool, mutates: bool) -> bool {
        let (raw_path, help) = (Buffer::of(path.as_bytes()), Buffer::of(help_text.as_bytes()));
        let register = self.0.envoy.bootstrap_extension_register_admin_handler;
        // SAFETY: inside a hook on the main thread, so Envoy's configuration object is alive; both texts outlive the call.
        let registered = unsafe { register(self.0.config, raw_path, help, removable, mutates) };
        if registered && removable {
            self.0.removable_admin_paths.borrow_mut().push(path.to_owned());
        }
        registered
    }

    fn remove_admin_handler(&self, path: &str) -> bool {
        self.0
            .removable_admin_paths
            .borrow_mut()
            .retain(|registered| registered != path);
        self.0.remove_admin_handler(path)
    }
}

/// Lent to a hook of the extension.
pub(super) struct EnvoyExtension {
    envoy: &'static Callbacks,
    raw: EnvoyPtr,
}

impl EnvoyBootstrapExtension for EnvoyExtension {
    fn get_counter_value(&self, name: &str) -> Option<u64> {
        let mut value = 0;
        let get = self.envoy.bootstrap_extension_get_counter_value;
        // SAFETY: inside a hook on the main thread, so Envoy's extension object is alive; name and value outlive the call.
        unsafe { get(self.raw, Buffer::of(name.as_bytes()), &raw mut value) }.then_some(value)
    }

    fn get_gauge_value(&self, name: &str) -> Option<u64> {
        let mut value = 0;
        let get = self.envoy.bootstrap_extension_get_gauge_value;
        // SAFETY: inside a hook on the main thread, so Envoy's extension object is alive; name and value outlive the call.
        unsafe { get(self.raw, Buffer::of(name.as_bytes()), &raw mut value) }.then_some(value)
    }
}

struct Scheduler {
    envoy: &'static Callbacks,
    raw: EnvoyPtr,
}

// SAFETY: Envoy documents commit and delete for any thread; the handle refers to the configuration weakly.
unsafe impl Send for Scheduler {}
// SAFETY: as above; commit may run concurrently with itself.
unsafe impl Sync for Scheduler {}

impl EnvoyBootstrapExtensionConfigScheduler for Scheduler {
    fn commit(&self, event_id: u64) {
        // SAFETY: the handle is alive until our drop.
        unsafe { (self.envoy.bootstrap_extension_config_scheduler_commit)(self.raw, event_id) }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: we own the handle, and nothing can use it afterwards.
        unsafe { (self.envoy.bootstrap_extension_config_scheduler_delete)(self.raw) }
    }
}

/// A timer that somebody else owns.
pub(super) struct BorrowedTimer {
    envoy: &'static Callbacks,
    raw: EnvoyPtr,
    home: ThreadId,
}

// SAFETY: every use of the pointer checks that it happens on the thread that made it.
unsafe impl Send for BorrowedTimer {}
// SAFETY: as above.
unsafe impl Sync for BorrowedTimer {}

impl BorrowedTimer {
    fn at_home(&self) -> bool {
        let at_home = thread::current().id() == self.home;
        if !at_home {
            log::write(
                LogLevel::Error,
                "a timer of the main thread was used on another thread",
                file!(),
                line!(),
            );
        }
        at_home
    }
}

impl EnvoyBootstrapExtensionTimer for BorrowedTimer {
    fn id(&self) -> usize {
        self.raw.addr()
    }

    fn enable(&self, delay: Duration) {
        if self.at_home() {
            let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            // SAFETY: main thread; the owner has not deleted the timer, or it would not be lent here.
            unsafe { (self.envoy.bootstrap_extension_timer_enable)(self.raw, milliseconds) }
        }
    }

    fn disable(&self) {
        if self.at_home() {
            // SAFETY: as for `enable`.
            unsafe { (self.envoy.bootstrap_extension_timer_disable)(self.raw) }
        }
    }

    fn enabled(&self) -> bool {
        // SAFETY: as for `enable`.
        self.at_home() && unsafe { (self.envoy.bootstrap_extension_timer_enabled)(self.raw) }
    }
}

struct OwnedTimer(BorrowedTimer);

impl EnvoyBootstrapExtensionTimer for OwnedTimer {
    fn id(&self) -> usize {
        self.0.id()
    }

    fn enable(&self, delay: Duration) {
        self.0.enable(delay);
    }

    fn disable(&self) {
        self.0.disable();
    }

    fn enabled(&self) -> bool {
        self.0.enabled()
    }
}

impl Drop for OwnedTimer {
    fn drop(&mut self) {
        if self.0.at_home() {
            // SAFETY: main thread; we own the timer, and nothing can use it afterwards.
            unsafe { (self.0.envoy.bootstrap_extension_timer_delete)(self.0.raw) }
        }
    }
}
