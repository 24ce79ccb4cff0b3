//! Calling a module's hooks: its objects as safe handles.
//!
//! A handle is not `Send`, since hooks run on the thread that Envoy made the object on. Dropping it is the destroy hook.

use super::loan::in_hook;
use super::{Handle, envoy};
use crate::abi::{Buffer, EnvoyPtr, ModulePtr};
use crate::bootstrap::hooks as bootstrap;
use crate::callbacks::{ABI_V0_1_0, ABI_V0_2_0};
use crate::entry::{Factories, ProgramInitFunction, start};
use crate::http::hooks as http;
use std::cell::Cell;
use std::ffi::c_char;
use std::ptr::null;

/// Loads a module that is given as its parts. Returns the version that it reports, `None` when it refuses.
pub fn load(init: ProgramInitFunction, factories: Factories) -> Option<&'static str> {
    version(start(init, factories))
}

/// Loads a module through the entry point that its macro defined.
pub fn program_init(entry: extern "C" fn() -> *const c_char) -> Option<&'static str> {
    version(entry())
}

/// Compares instead of reading, so that no entry point can make this unsound.
fn version(answer: *const c_char) -> Option<&'static str> {
    let known = [ABI_V0_1_0, ABI_V0_2_0]
        .into_iter()
        .find(|version| version.as_ptr() == answer)?;
    known.to_str().ok()
}

/// An object of the module's. Null after its destroy hook.
#[derive(Debug)]
struct Object {
    ptr: Cell<ModulePtr>,
    /// How many of its hooks are on the stack.
    busy: Cell<usize>,
    destroy: unsafe extern "C" fn(ModulePtr),
}

impl Object {
    fn new(ptr: ModulePtr, destroy: unsafe extern "C" fn(ModulePtr)) -> Self {
        Self {
            ptr: Cell::new(ptr),
            busy: Cell::new(0),
            destroy,
        }
    }

    fn hook<T>(&self, call: impl FnOnce(ModulePtr) -> T) -> T {
        self.busy.set(self.busy.get() + 1);
        let answer = in_hook(|| call(self.ptr.get()));
        self.busy.set(self.busy.get() - 1);
        answer
    }

    /// Ends the object; not from within one of its own hooks, unless it can bear that.
    fn destroy(&self, bears_it: bool) {
        if self.busy.get() == 0 || bears_it {
            let ptr = self.ptr.replace(null());
            // SAFETY: the module's own pointer, given back once since it is null from now on, and with no hook of it running that minds.
            in_hook(|| unsafe { (self.destroy)(ptr) });
        }
    }
}

/// The module's side of a bootstrap extension's configuration.
#[derive(Debug)]
pub struct BootstrapConfig {
    object: Object,
    envoy: EnvoyPtr,
}

impl BootstrapConfig {
    /// `None` when the module refuses. A text that is `None` is passed as null.
    pub fn new(envoy: Handle, name: Option<&[u8]>, config: Option<&[u8]>) -> Option<Self> {
        let (envoy, name, config) = (pointer(envoy), buffer(name), buffer(config));
        // SAFETY: the texts outlive the call; the host's own functions answer for `envoy`.
        let ptr = in_hook(|| unsafe {
            bootstrap::envoy_dynamic_module_on_bootstrap_extension_config_new(envoy, name, config)
        });
        let destroy = bootstrap::envoy_dynamic_module_on_bootstrap_extension_config_destroy;
        (!ptr.is_null()).then(|| Self {
            object: Object::new(ptr, destroy),
            envoy,
        })
    }

    /// Makes the extension; its module side is null when the module failed.
    pub fn extension(&self, envoy: Handle) -> BootstrapExtension {
        let envoy = pointer(envoy);
        // SAFETY: the module's own pointer.
        let new = |config| unsafe { bootstrap::envoy_dynamic_module_on_bootstrap_extension_new(config, envoy) };
        let destroy = bootstrap::envoy_dynamic_module_on_bootstrap_extension_destroy;
        BootstrapExtension {
            object: Object::new(self.object.hook(new), destroy),
            envoy,
        }
    }

    /// An event arrives.
    pub fn scheduled(&self, event: u64) {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_config_scheduled;
        // SAFETY: the module's own pointer.
        self.object.hook(|config| unsafe { hook(self.envoy, config, event) });
    }

    /// A timer runs out.
    pub fn timer_fired(&self, timer: Handle) {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_timer_fired;
        // SAFETY: the module's own pointer; the host's own functions answer for the timer.
        self.object
            .hook(|config| unsafe { hook(self.envoy, config, pointer(timer)) });
    }

    /// A watched file changes.
    pub fn file_changed(&self, path: &[u8], events: u32) {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_file_changed;
        // SAFETY: the module's own pointer; the path outlives the call.
        self.object
            .hook(|config| unsafe { hook(self.envoy, config, buffer(Some(path)), events) });
    }

    /// Someone asks for an admin page. Returns the status.
    pub fn admin_request(&self, method: &[u8], path: &[u8], body: Option<&[u8]>) -> u32 {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_admin_request;
        let (method, path, body) = (buffer(Some(method)), buffer(Some(path)), buffer(body));
        // SAFETY: the module's own pointer; the texts outlive the call.
        self.object
            .hook(|config| unsafe { hook(self.envoy, config, method, path, body) })
    }
}

impl Drop for BootstrapConfig {
    fn drop(&mut self) {
        self.object.destroy(false);
    }
}

/// The module's side of a bootstrap extension.
#[derive(Debug)]
pub struct BootstrapExtension {
    object: Object,
    envoy: EnvoyPtr,
}

impl BootstrapExtension {
    /// Whether the module made one.
    pub fn exists(&self) -> bool {
        !self.object.ptr.get().is_null()
    }

    /// The server is ready to serve.
    pub fn server_initialized(&self) {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_server_initialized;
        // SAFETY: the module's own pointer.
        self.object.hook(|extension| unsafe { hook(self.envoy, extension) });
    }

    /// A worker is ready.
    pub fn worker_thread_initialized(&self) {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_worker_thread_initialized;
        // SAFETY: the module's own pointer.
        self.object.hook(|extension| unsafe { hook(self.envoy, extension) });
    }

    /// A drain begins.
    pub fn drain_started(&self) {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_drain_started;
        // SAFETY: the module's own pointer.
        self.object.hook(|extension| unsafe { hook(self.envoy, extension) });
    }

    /// Envoy wants to exit; [`super::Envoy::complete_shutdown`] gets `context`.
    pub fn shutdown(&self, context: Handle) {
        let hook = bootstrap::envoy_dynamic_module_on_bootstrap_extension_shutdown;
        let context = pointer(context);
        // SAFETY: the module's own pointer; the completion may be called from anywhere.
        self.object
            .hook(|extension| unsafe { hook(self.envoy, extension, complete_shutdown, context) });
    }
}

impl Drop for BootstrapExtension {
    fn drop(&mut self) {
        self.object.destroy(false);
    }
}

unsafe extern "C" fn complete_shutdown(context: EnvoyPtr) {
    if let Some(envoy) = envoy() {
        envoy.complete_shutdown(Handle(context.addr()));
    }
}

/// The module's side of an HTTP filter configuration.
#[derive(Debug)]
pub struct HttpConfig(Object);

impl HttpConfig {
    /// `None` when the module refuses. A text that is `None` is passed as null.
    pub fn new(envoy: Handle, name: Option<&[u8]>, config: Option<&[u8]>) -> Option<Self> {
        let (envoy, name, config) = (pointer(envoy), buffer(name), buffer(config));
        // SAFETY: the texts outlive the call; the host's own functions answer for `envoy`.
        let ptr = in_hook(|| unsafe { http::envoy_dynamic_module_on_http_filter_config_new(envoy, name, config) });
        let destroy = http::envoy_dynamic_module_on_http_filter_config_destroy;
        (!ptr.is_null()).then(|| Self(Object::new(ptr, destroy)))
    }

    /// Makes the filter of a stream; `None` when the module fails.
    pub fn stream(&self, envoy: Handle) -> Option<HttpFilter> {
        let envoy = pointer(envoy);
        // SAFETY: the module's own pointer; the host's own functions answer for `envoy`.
        let ptr = self
            .0
            .hook(|config| unsafe { http::envoy_dynamic_module_on_http_filter_new(config, envoy) });
        let destroy = http::envoy_dynamic_module_on_http_filter_destroy;
        (!ptr.is_null()).then(|| HttpFilter {
            object: Object::new(ptr, destroy),
            envoy,
        })
    }
}

impl Drop for HttpConfig {
    fn drop(&mut self) {
        self.0.destroy(false);
    }
}

/// The module's side of a stream.
#[derive(Debug)]
pub struct HttpFilter {
    object: Object,
    envoy: EnvoyPtr,
}

/// One method per hook.
macro_rules! filter_hooks {
    ($($(#[$doc:meta])* $method:ident($($arg:ident: $ty:ty)?) $(-> $ret:ty)?, $hook:ident;)+) => {
        $($(#[$doc])*
        pub fn $method(&self $(, $arg: $ty)?) $(-> $ret)? {
            // SAFETY: the module's own pointer; the host's own functions answer for `envoy`.
            self.object.hook(|filter| unsafe { http::$hook(self.envoy, filter $(, $arg)?) })
        })+
    };
}

impl HttpFilter {
    filter_hooks! {
        /// Request headers arrive; returns the status, as all of these do.
        request_headers(end: bool) -> u32, envoy_dynamic_module_on_http_filter_request_headers;
        /// A piece of the request body arrives.
        request_body(end: bool) -> u32, envoy_dynamic_module_on_http_filter_request_body;
        /// Request trailers arrive.
        request_trailers() -> u32, envoy_dynamic_module_on_http_filter_request_trailers;
        /// Response headers arrive.
        response_headers(end: bool) -> u32, envoy_dynamic_module_on_http_filter_response_headers;
        /// A piece of the response body arrives.
        response_body(end: bool) -> u32, envoy_dynamic_module_on_http_filter_response_body;
        /// Response trailers arrive.
        response_trailers() -> u32, envoy_dynamic_module_on_http_filter_response_trailers;
        /// An event arrives.
        scheduled(event: u64), envoy_dynamic_module_on_http_filter_scheduled;
        /// The stream is over.
        stream_complete(), envoy_dynamic_module_on_http_filter_stream_complete;
        /// The client is slow.
        above_high_watermark(), envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark;
        /// The client has caught up.
        below_low_watermark(), envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark;
    }

    /// Somebody answers in the upstream's place.
    pub fn local_reply(&self, code: u32, details: &[u8], reset_imminent: bool) -> u32 {
        let hook = http::envoy_dynamic_module_on_http_filter_local_reply;
        let details = buffer(Some(details));
        // SAFETY: the module's own pointer; the text outlives the call.
        self.object
            .hook(|filter| unsafe { hook(self.envoy, filter, code, details, reset_imminent) })
    }

    /// The destroy hook, which Envoy may call while another hook of the same filter is on the stack. Later hooks get null.
    pub fn destroy(&self) {
        self.object.destroy(true);
    }
}

impl Drop for HttpFilter {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// The module's side of a per-route configuration. Read by all workers, dropped on any thread.
#[derive(Debug)]
pub struct RouteConfig(ModulePtr);

// SAFETY: the module promises a content that may be shared and dropped on any thread.
unsafe impl Send for RouteConfig {}
// SAFETY: as above.
unsafe impl Sync for RouteConfig {}

impl RouteConfig {
    /// `None` when the module refuses.
    pub fn new(name: &[u8], config: &[u8]) -> Option<Self> {
        let (name, config) = (buffer(Some(name)), buffer(Some(config)));
        // SAFETY: the texts outlive the call.
        let ptr = in_hook(|| unsafe { http::envoy_dynamic_module_on_http_filter_per_route_config_new(name, config) });
        (!ptr.is_null()).then_some(Self(ptr))
    }

    pub(super) fn as_ptr(&self) -> ModulePtr {
        self.0
    }
}

impl Drop for RouteConfig {
    fn drop(&mut self) {
        // SAFETY: the module's own pointer, given back once; hooks that were lent it keep this object alive.
        in_hook(|| unsafe { http::envoy_dynamic_module_on_http_filter_per_route_config_destroy(self.0) });
    }
}

fn pointer(handle: Handle) -> EnvoyPtr {
    std::ptr::without_provenance_mut(handle.0)
}

fn buffer(bytes: Option<&[u8]>) -> Buffer {
    bytes.map_or(Buffer::EMPTY, Buffer::of)
}
