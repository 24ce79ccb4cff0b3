//! The other side of the ABI, for test hosts: Envoy's functions and the calling of hooks, behind a safe surface.
//!
//! A test host implements [`Envoy`] in safe Rust and [`install`]s it; the module under test then finds Envoy's functions there.
//! [`BootstrapConfig`], [`BootstrapExtension`], [`HttpConfig`], [`HttpFilter`] and [`RouteConfig`] are the module's objects, and their
//! methods are its hooks. Memory that Envoy would lend to the module lives until the outermost hook returns, as it does in Envoy.
//!
//! Nothing of the module's side refers to this code, so the linker drops it from a shared object. It knows nothing about the
//! behaviour of Envoy: that is the test host's part.

mod callbacks;
mod hooks;
mod loan;
mod stream;

pub use hooks::{BootstrapConfig, BootstrapExtension, HttpConfig, HttpFilter, RouteConfig, load, program_init};

use crate::abi::{BodyType, HeaderType};
use crate::callbacks::{EnvoyRelease, LIST, Lookup};
use std::ffi::{CStr, c_void};
use std::sync::{Arc, PoisonError, RwLock};

/// An object of the host's, as the module sees it. 0 is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub usize);

/// A kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// A counter.
    Counter,
    /// A gauge.
    Gauge,
    /// A histogram.
    Histogram,
}

/// A change of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricChange {
    /// A counter or a gauge grows.
    Increment,
    /// A gauge shrinks.
    Decrement,
    /// A gauge is set.
    Set,
    /// A histogram gets a value.
    Record,
}

/// A value of dynamic metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A truth value.
    Bool(bool),
    /// A serialized `google.protobuf.Struct` for the whole namespace.
    Struct(Vec<u8>),
}

/// A response that a filter sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u32,
    /// The headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// What the access log shows as the reason.
    pub details: String,
}

/// Envoy as a test host plays it: one method per function that the module can call, with owned values instead of pointers.
///
/// Implementations must not panic: they are called through C.
#[expect(missing_docs, reason = "each method is the callback of the same name")]
pub trait Envoy: Send + Sync {
    fn log(&self, level: u32, message: String, place: Option<(String, u32)>);
    fn log_enabled(&self, level: u32) -> bool;
    fn concurrency(&self) -> u32;
    fn is_validation_mode(&self) -> bool;

    fn define_metric(&self, config: Handle, kind: MetricKind, name: String, labels: Vec<String>) -> Result<usize, u32>;
    fn change_metric(
        &self,
        owner: Handle,
        kind: MetricKind,
        change: MetricChange,
        id: usize,
        labels: Vec<String>,
        value: u64,
    ) -> u32;
    fn stat(&self, kind: MetricKind, name: &str) -> Option<u64>;

    fn new_scheduler(&self, owner: Handle) -> Handle;
    fn commit(&self, scheduler: Handle, event: u64);
    fn delete_scheduler(&self, scheduler: Handle);

    fn signal_init_complete(&self, config: Handle);
    fn complete_shutdown(&self, context: Handle);
    fn new_timer(&self, config: Handle) -> Handle;
    fn enable_timer(&self, timer: Handle, milliseconds: u64);
    fn disable_timer(&self, timer: Handle);
    fn timer_enabled(&self, timer: Handle) -> bool;
    fn delete_timer(&self, timer: Handle);
    fn register_admin_handler(
        &self,
        config: Handle,
        path: String,
        help: String,
        removable: bool,
        mutates: bool,
    ) -> bool;
    fn remove_admin_handler(&self, config: Handle, path: &str) -> bool;
    fn admin_set_response(&self, config: Handle, body: Vec<u8>);
    fn add_file_watch(&self, config: Handle, path: String, events: u32) -> bool;

    fn headers(&self, stream: Handle, kind: HeaderType) -> Vec<(Vec<u8>, Vec<u8>)>;
    fn set_header(&self, stream: Handle, kind: HeaderType, key: Vec<u8>, value: Option<Vec<u8>>) -> bool;
    fn add_header(&self, stream: Handle, kind: HeaderType, key: Vec<u8>, value: Vec<u8>) -> bool;
    fn send_response(&self, stream: Handle, response: Response);
    fn body(&self, stream: Handle, kind: BodyType) -> Option<Vec<Vec<u8>>>;
    fn append_body(&self, stream: Handle, kind: BodyType, data: Vec<u8>) -> bool;
    fn drain_body(&self, stream: Handle, kind: BodyType, bytes: usize) -> bool;
    fn received_buffered_body(&self, stream: Handle, response: bool) -> bool;
    fn buffer_limit(&self, stream: Handle) -> u64;
    fn set_metadata(&self, stream: Handle, namespace: String, key: String, value: MetadataValue);
    fn filter_state(&self, stream: Handle, key: &[u8]) -> Option<Vec<u8>>;
    fn set_filter_state(&self, stream: Handle, key: Vec<u8>, value: Vec<u8>) -> bool;
    fn attribute_string(&self, stream: Handle, id: u32) -> Option<Vec<u8>>;
    fn attribute_int(&self, stream: Handle, id: u32) -> Option<u64>;
    fn continue_decoding(&self, stream: Handle);
    fn continue_encoding(&self, stream: Handle);
    fn worker_index(&self, stream: Handle) -> u32;
    fn add_custom_flag(&self, stream: Handle, flag: String);
    fn route_config(&self, stream: Handle) -> Option<Arc<RouteConfig>>;
}

/// Makes `envoy` the Envoy that the next load of a module finds, with the functions of `release` except those in `missing`.
///
/// There is one Envoy per process: a test host keeps its tests from running at the same time.
pub fn install(envoy: Arc<dyn Envoy>, release: EnvoyRelease, missing: Vec<String>) {
    *HOST.write().unwrap_or_else(PoisonError::into_inner) = Some(Host {
        envoy,
        release,
        missing,
    });
    let lookup: Lookup = lookup;
    // SAFETY: `lookup` answers from a table whose type holds each function to the listed signature.
    unsafe { crate::callbacks::install(lookup) };
}

struct Host {
    envoy: Arc<dyn Envoy>,
    release: EnvoyRelease,
    missing: Vec<String>,
}

fn lookup(symbol: &CStr) -> *const c_void {
    let host = HOST.read().unwrap_or_else(PoisonError::into_inner);
    let exported = |host: &Host| {
        let since = LIST
            .iter()
            .find(|callback| callback.symbol == symbol)
            .map(|callback| callback.since);
        since.is_some_and(|since| since <= host.release)
            && !host.missing.iter().any(|name| name.as_bytes() == symbol.to_bytes())
    };
    if host.as_ref().is_some_and(exported) {
        callbacks::TABLE.address(symbol)
    } else {
        std::ptr::null()
    }
}

/// The Envoy in force.
fn envoy() -> Option<Arc<dyn Envoy>> {
    HOST.read()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .map(|host| Arc::clone(&host.envoy))
}

static HOST: RwLock<Option<Host>> = RwLock::new(None);
