//! The functions of Envoy that a module may call, resolved by name when the module is loaded.
//!
//! One macro lists each of them with its ABI name and signature. What all supported releases export is `required`; what came later is
//! `optional` with the release that brought it. Nothing is imported at link time: an import that one release lacks would make the
//! dynamic loader refuse the whole module there, and the crate would not link into a plain binary or a unit test. [`crate::start`]
//! drives this module once per load; only functions that this crate calls are declared.

use crate::abi::{Buffer, EnvoyPtr, Header, ModulePtr};
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{PoisonError, RwLock};

/// The Envoy releases that are told apart, by what they export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EnvoyRelease {
    /// Envoy 1.38, the oldest supported.
    V1_38,
    /// Envoy 1.39.
    V1_39,
    /// Envoy 1.40 and newer.
    V1_40,
}

/// One function of Envoy's that this crate can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The symbol that Envoy exports.
    pub symbol: &'static CStr,
    /// The first release that exports it.
    pub since: EnvoyRelease,
}

impl Callback {
    /// Whether a module refuses to load without it.
    pub fn is_required(&self) -> bool {
        self.since == EnvoyRelease::V1_38
    }

    /// The symbol as text.
    pub fn name(&self) -> &'static str {
        self.symbol.to_str().unwrap_or_default()
    }
}

macro_rules! symbol {
    ($name:ident) => {
        match CStr::from_bytes_with_nul(concat!("envoy_dynamic_module_callback_", stringify!($name), "\0").as_bytes()) {
            Ok(symbol) => symbol,
            Err(_) => c"",
        }
    };
}

macro_rules! callbacks {
    (
        required { $($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)+ }
        optional { $($since:ident $oname:ident($($oarg:ident: $oty:ty),*) $(-> $oret:ty)?;)+ }
    ) => {
        /// The resolved functions. A field is `Option` when not every supported release exports the function.
        #[derive(Debug)]
        pub(crate) struct Callbacks {
            $(pub(crate) $name: unsafe extern "C" fn($($arg: $ty),*) $(-> $ret)?,)+
            $(pub(crate) $oname: Option<unsafe extern "C" fn($($oarg: $oty),*) $(-> $oret)?>,)+
        }

        pub(crate) static LIST: &[Callback] = &[
            $(Callback { symbol: symbol!($name), since: EnvoyRelease::V1_38 },)+
            $(Callback { symbol: symbol!($oname), since: EnvoyRelease::$since },)+
        ];

        impl Callbacks {
            /// Looks every function up, or says which required ones are missing.
            ///
            /// # Safety
            ///
            /// What `lookup` returns for a name is null or a function with the signature listed here, for the life of the process.
            pub(crate) unsafe fn resolve(lookup: Lookup) -> Result<Self, Vec<&'static str>> {
                let missing: Vec<_> = required_callbacks().zip(LIST).filter(|(_, callback)| lookup(callback.symbol).is_null()).map(|(name, _)| name).collect();
                if !missing.is_empty() {
                    return Err(missing);
                }
                Ok(Self {
                    $($name: {
                        let function = lookup(symbol!($name));
                        // SAFETY: not null (checked above); the caller vouches for the signature.
                        unsafe { std::mem::transmute::<*const c_void, unsafe extern "C" fn($($arg: $ty),*) $(-> $ret)?>(function) }
                    },)+
                    $($oname: {
                        let function = lookup(symbol!($oname));
                        // SAFETY: a null pointer is `None` of a function pointer; the caller vouches for the signature.
                        unsafe { std::mem::transmute::<*const c_void, Option<unsafe extern "C" fn($($oarg: $oty),*) $(-> $oret)?>>(function) }
                    },)+
                })
            }

            /// The address of each function, for a test host that answers look-ups from a table of its own.
            pub(crate) fn address(&self, symbol: &CStr) -> *const c_void {
                $(if symbol == symbol!($name) { return self.$name as *const c_void; })+
                $(if symbol == symbol!($oname) { return self.$oname.map_or(std::ptr::null(), |function| function as *const c_void); })+
                std::ptr::null()
            }
        }
    };
}

callbacks! {
    required {
        // Any thread.
        log(level: u32, message: Buffer);
        log_enabled(level: u32) -> bool;
        // Main thread.
        get_concurrency() -> u32;
        is_validation_mode() -> bool;
        // Bootstrap extension: main thread, except for the scheduler's commit and delete.
        bootstrap_extension_config_scheduler_new(config: EnvoyPtr) -> EnvoyPtr;
        bootstrap_extension_config_scheduler_commit(scheduler: EnvoyPtr, event: u64);
        bootstrap_extension_config_scheduler_delete(scheduler: EnvoyPtr);
        bootstrap_extension_config_signal_init_complete(config: EnvoyPtr);
        bootstrap_extension_config_define_counter(config: EnvoyPtr, name: Buffer, labels: *const Buffer, labels_len: usize, id: *mut usize) -> u32;
        bootstrap_extension_config_define_gauge(config: EnvoyPtr, name: Buffer, labels: *const Buffer, labels_len: usize, id: *mut usize) -> u32;
        bootstrap_extension_config_define_histogram(config: EnvoyPtr, name: Buffer, labels: *const Buffer, labels_len: usize, id: *mut usize) -> u32;
        bootstrap_extension_config_increment_counter(config: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        bootstrap_extension_config_set_gauge(config: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        bootstrap_extension_config_increment_gauge(config: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        bootstrap_extension_config_decrement_gauge(config: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        bootstrap_extension_config_record_histogram_value(config: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        bootstrap_extension_get_counter_value(extension: EnvoyPtr, name: Buffer, value: *mut u64) -> bool;
        bootstrap_extension_get_gauge_value(extension: EnvoyPtr, name: Buffer, value: *mut u64) -> bool;
        bootstrap_extension_timer_new(config: EnvoyPtr) -> EnvoyPtr;
        bootstrap_extension_timer_enable(timer: EnvoyPtr, milliseconds: u64);
        bootstrap_extension_timer_disable(timer: EnvoyPtr);
        bootstrap_extension_timer_enabled(timer: EnvoyPtr) -> bool;
        bootstrap_extension_timer_delete(timer: EnvoyPtr);
        bootstrap_extension_register_admin_handler(config: EnvoyPtr, path: Buffer, help: Buffer, removable: bool, mutates: bool) -> bool;
        bootstrap_extension_remove_admin_handler(config: EnvoyPtr, path: Buffer) -> bool;
        bootstrap_extension_admin_set_response(config: EnvoyPtr, body: Buffer);
        bootstrap_extension_file_watcher_add_watch(config: EnvoyPtr, path: Buffer, events: u32) -> bool;
        // HTTP filter configuration: main thread.
        http_filter_config_define_counter(config: EnvoyPtr, name: Buffer, labels: *const Buffer, labels_len: usize, id: *mut usize) -> u32;
        http_filter_config_define_gauge(config: EnvoyPtr, name: Buffer, labels: *const Buffer, labels_len: usize, id: *mut usize) -> u32;
        http_filter_config_define_histogram(config: EnvoyPtr, name: Buffer, labels: *const Buffer, labels_len: usize, id: *mut usize) -> u32;
        // HTTP filter: the stream's worker inside a hook, except for the scheduler's commit and delete.
        http_filter_increment_counter(filter: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        http_filter_set_gauge(filter: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        http_filter_increment_gauge(filter: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        http_filter_decrement_gauge(filter: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        http_filter_record_histogram_value(filter: EnvoyPtr, id: usize, labels: *const Buffer, labels_len: usize, value: u64) -> u32;
        http_get_header(filter: EnvoyPtr, kind: u32, key: Buffer, value: *mut Buffer, index: usize, count: *mut usize) -> bool;
        http_get_headers_size(filter: EnvoyPtr, kind: u32) -> usize;
        http_get_headers(filter: EnvoyPtr, kind: u32, headers: *mut Header) -> bool;
        http_set_header(filter: EnvoyPtr, kind: u32, key: Buffer, value: Buffer) -> bool;
        http_add_header(filter: EnvoyPtr, kind: u32, key: Buffer, value: Buffer) -> bool;
        http_send_response(filter: EnvoyPtr, status: u32, headers: *const Header, headers_len: usize, body: Buffer, details: Buffer);
        http_get_body_size(filter: EnvoyPtr, kind: u32) -> usize;
        http_get_body_chunks_size(filter: EnvoyPtr, kind: u32) -> usize;
        http_get_body_chunks(filter: EnvoyPtr, kind: u32, chunks: *mut Buffer) -> bool;
        http_append_body(filter: EnvoyPtr, kind: u32, data: Buffer) -> bool;
        http_drain_body(filter: EnvoyPtr, kind: u32, bytes: usize) -> bool;
        http_received_buffered_request_body(filter: EnvoyPtr) -> bool;
        http_received_buffered_response_body(filter: EnvoyPtr) -> bool;
        http_get_buffer_limit(filter: EnvoyPtr) -> u64;
        http_set_dynamic_metadata_string(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: Buffer);
        http_set_dynamic_metadata_number(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: f64);
        http_set_dynamic_metadata_bool(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: bool);
        http_set_filter_state_bytes(filter: EnvoyPtr, key: Buffer, value: Buffer) -> bool;
        http_get_filter_state_bytes(filter: EnvoyPtr, key: Buffer, value: *mut Buffer) -> bool;
        http_filter_get_attribute_string(filter: EnvoyPtr, id: u32, value: *mut Buffer) -> bool;
        http_filter_get_attribute_int(filter: EnvoyPtr, id: u32, value: *mut u64) -> bool;
        http_filter_scheduler_new(filter: EnvoyPtr) -> EnvoyPtr;
        http_filter_scheduler_commit(scheduler: EnvoyPtr, event: u64);
        http_filter_scheduler_delete(scheduler: EnvoyPtr);
        http_filter_continue_decoding(filter: EnvoyPtr);
        http_filter_continue_encoding(filter: EnvoyPtr);
        http_filter_get_worker_index(filter: EnvoyPtr) -> u32;
        http_add_custom_flag(filter: EnvoyPtr, flag: Buffer);
        get_most_specific_route_config(filter: EnvoyPtr) -> ModulePtr;
    }
    optional {
        // Never called: its presence tells 1.39 from 1.38.
        V1_39 get_log_level() -> u32;
        V1_40 log_v2(level: u32, message: Buffer, file: Buffer, line: u32);
        V1_40 http_set_dynamic_metadata_struct(filter: EnvoyPtr, namespace: Buffer, value: Buffer);
    }
}

impl Callbacks {
    /// The release that these functions belong to.
    pub(crate) fn release(&self) -> EnvoyRelease {
        match (self.log_v2.is_some(), self.get_log_level.is_some()) {
            (true, _) => EnvoyRelease::V1_40,
            (false, true) => EnvoyRelease::V1_39,
            (false, false) => EnvoyRelease::V1_38,
        }
    }

    /// The version string that this release accepts without a warning.
    pub(crate) fn abi_version(&self) -> &'static CStr {
        if self.release() >= EnvoyRelease::V1_40 {
            ABI_V0_2_0
        } else {
            ABI_V0_1_0
        }
    }
}

/// Answers the address of the function with this name, or null.
pub type Lookup = fn(&CStr) -> *const c_void;

/// Every function of Envoy's that this crate can call.
pub fn all_callbacks() -> &'static [Callback] {
    LIST
}

/// The symbols that an Envoy must export for a module to load: those that all supported releases have.
pub fn required_callbacks() -> impl Iterator<Item = &'static str> {
    LIST.iter()
        .filter(|callback| callback.is_required())
        .map(Callback::name)
}

/// The release of the Envoy that loaded this module, told by what it exports. `None` outside Envoy.
pub fn envoy_release() -> Option<EnvoyRelease> {
    callbacks().map(Callbacks::release)
}

/// Makes `lookup` the source of Envoy's functions in place of the process's own symbols, from the next load on; for test hosts.
///
/// # Safety
///
/// What `lookup` returns for a name is null or a function with the signature that this crate lists for it, for the life of the process.
#[doc(hidden)]
pub unsafe fn install(lookup: Lookup) {
    *LOOKUP.write().unwrap_or_else(PoisonError::into_inner) = Some(lookup);
    TABLE.store(std::ptr::null_mut(), Ordering::Release);
}

/// Whether a test host plays Envoy.
pub(crate) fn is_test_host() -> bool {
    LOOKUP.read().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// The functions in force, or `None` outside Envoy.
pub(crate) fn callbacks() -> Option<&'static Callbacks> {
    // SAFETY: null, or a table that was leaked on purpose, so it is valid and unchanged for the life of the process.
    unsafe { TABLE.load(Ordering::Acquire).as_ref() }
}

/// Resolves against the process that loaded the module, unless that was done before.
pub(crate) fn resolve_process() -> Result<&'static Callbacks, Vec<&'static str>> {
    if let Some(table) = callbacks() {
        return Ok(table);
    }
    let lookup = LOOKUP
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .unwrap_or(process_symbol);
    // SAFETY: Envoy keeps name and signature of a released function for ever (its compatibility policy), and is never unloaded; a test host
    // made the same promise to `install`.
    let table = unsafe { Callbacks::resolve(lookup) }?;
    let table: &'static mut Callbacks = Box::leak(Box::new(table));
    TABLE.store(table, Ordering::Release);
    Ok(table)
}

fn process_symbol(name: &CStr) -> *const c_void {
    // RTLD_DEFAULT; glibc and musl define it as null, the BSD family as -2.
    let everywhere = if cfg!(target_vendor = "apple") {
        std::ptr::without_provenance_mut(usize::MAX - 1)
    } else {
        std::ptr::null_mut()
    };
    // SAFETY: the name ends with NUL, the handle is the documented pseudo handle.
    unsafe { dlsym(everywhere, name.as_ptr()) }
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

pub(crate) static ABI_V0_1_0: &CStr = c"v0.1.0";
pub(crate) static ABI_V0_2_0: &CStr = c"v0.2.0";

/// Points at a leaked table. Written when the module is loaded; under a test host that may happen again, and holders of the former keep theirs.
static TABLE: AtomicPtr<Callbacks> = AtomicPtr::new(std::ptr::null_mut());

/// What a test host answers look-ups with.
static LOOKUP: RwLock<Option<Lookup>> = RwLock::new(None);
