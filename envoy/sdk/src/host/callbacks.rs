//! Envoy's functions as the module sees them: C functions that hand owned values to [`super::Envoy`].
//!
//! All of them rely on the module keeping the contract of the ABI: pointers it passes are readable, and writable where the function
//! answers through them, for the length of the call.

use super::{Envoy, Handle, MetricChange, MetricKind, envoy, stream};
use crate::abi::{Buffer, EnvoyPtr};
use crate::buffer::EnvoyBuffer;
use crate::callbacks::Callbacks;

/// Every function, of all releases.
pub(super) static TABLE: Callbacks = Callbacks {
    log,
    log_enabled,
    get_concurrency,
    is_validation_mode,
    bootstrap_extension_config_scheduler_new: scheduler_new,
    bootstrap_extension_config_scheduler_commit: scheduler_commit,
    bootstrap_extension_config_scheduler_delete: scheduler_delete,
    bootstrap_extension_config_signal_init_complete: signal_init_complete,
    bootstrap_extension_config_define_counter: define_counter,
    bootstrap_extension_config_define_gauge: define_gauge,
    bootstrap_extension_config_define_histogram: define_histogram,
    bootstrap_extension_config_increment_counter: increment_counter,
    bootstrap_extension_config_set_gauge: set_gauge,
    bootstrap_extension_config_increment_gauge: increment_gauge,
    bootstrap_extension_config_decrement_gauge: decrement_gauge,
    bootstrap_extension_config_record_histogram_value: record_histogram,
    bootstrap_extension_get_counter_value: get_counter_value,
    bootstrap_extension_get_gauge_value: get_gauge_value,
    bootstrap_extension_timer_new: timer_new,
    bootstrap_extension_timer_enable: timer_enable,
    bootstrap_extension_timer_disable: timer_disable,
    bootstrap_extension_timer_enabled: timer_enabled,
    bootstrap_extension_timer_delete: timer_delete,
    bootstrap_extension_register_admin_handler: register_admin_handler,
    bootstrap_extension_remove_admin_handler: remove_admin_handler,
    bootstrap_extension_admin_set_response: admin_set_response,
    bootstrap_extension_file_watcher_add_watch: file_watcher_add_watch,
    http_filter_config_define_counter: define_counter,
    http_filter_config_define_gauge: define_gauge,
    http_filter_config_define_histogram: define_histogram,
    http_filter_increment_counter: increment_counter,
    http_filter_set_gauge: set_gauge,
    http_filter_increment_gauge: increment_gauge,
    http_filter_decrement_gauge: decrement_gauge,
    http_filter_record_histogram_value: record_histogram,
    http_get_header: stream::get_header,
    http_get_headers_size: stream::get_headers_size,
    http_get_headers: stream::get_headers,
    http_set_header: stream::set_header,
    http_add_header: stream::add_header,
    http_send_response: stream::send_response,
    http_get_body_size: stream::get_body_size,
    http_get_body_chunks_size: stream::get_body_chunks_size,
    http_get_body_chunks: stream::get_body_chunks,
    http_append_body: stream::append_body,
    http_drain_body: stream::drain_body,
    http_received_buffered_request_body: stream::received_buffered_request_body,
    http_received_buffered_response_body: stream::received_buffered_response_body,
    http_get_buffer_limit: stream::get_buffer_limit,
    http_set_dynamic_metadata_string: stream::set_metadata_string,
    http_set_dynamic_metadata_number: stream::set_metadata_number,
    http_set_dynamic_metadata_bool: stream::set_metadata_bool,
    http_set_filter_state_bytes: stream::set_filter_state,
    http_get_filter_state_bytes: stream::get_filter_state,
    http_filter_get_attribute_string: stream::get_attribute_string,
    http_filter_get_attribute_int: stream::get_attribute_int,
    http_filter_scheduler_new: scheduler_new,
    http_filter_scheduler_commit: scheduler_commit,
    http_filter_scheduler_delete: scheduler_delete,
    http_filter_continue_decoding: stream::continue_decoding,
    http_filter_continue_encoding: stream::continue_encoding,
    http_filter_get_worker_index: stream::get_worker_index,
    http_add_custom_flag: stream::add_custom_flag,
    get_most_specific_route_config: stream::get_most_specific_route_config,
    get_log_level: Some(get_log_level),
    log_v2: Some(log_v2),
    http_set_dynamic_metadata_struct: Some(stream::set_metadata_struct),
};

pub(super) fn ask<T: Default>(question: impl FnOnce(&dyn Envoy) -> T) -> T {
    envoy().map(|envoy| question(&*envoy)).unwrap_or_default()
}

pub(super) fn handle(pointer: EnvoyPtr) -> Handle {
    Handle(pointer.addr())
}

pub(super) fn pointer(handle: Handle) -> EnvoyPtr {
    std::ptr::without_provenance_mut(handle.0)
}

/// # Safety
///
/// The buffer is readable.
pub(super) unsafe fn bytes(buffer: Buffer) -> Vec<u8> {
    // SAFETY: the caller vouches for the buffer, which is copied at once.
    unsafe { EnvoyBuffer::from_raw(buffer) }.as_slice().to_vec()
}

/// # Safety
///
/// The buffer is readable.
pub(super) unsafe fn text(buffer: Buffer) -> String {
    // SAFETY: as the caller's.
    String::from_utf8_lossy(&unsafe { bytes(buffer) }).into_owned()
}

/// # Safety
///
/// `array` holds `len` readable items.
pub(super) unsafe fn items<'a, T>(array: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for the array.
    unsafe { std::slice::from_raw_parts(array, len) }
}

/// Answers through an out pointer.
///
/// # Safety
///
/// `out` is writable.
pub(super) unsafe fn give<T>(out: *mut T, value: Option<T>) -> bool {
    let Some(value) = value else { return false };
    // SAFETY: the caller vouches for the pointer.
    unsafe { out.write(value) };
    true
}

unsafe extern "C" fn log(level: u32, message: Buffer) {
    // SAFETY: the module's contract.
    let message = unsafe { text(message) };
    ask(|envoy| envoy.log(level, message, None));
}

unsafe extern "C" fn log_v2(level: u32, message: Buffer, file: Buffer, line: u32) {
    // SAFETY: the module's contract.
    let message = unsafe { text(message) };
    // SAFETY: the module's contract.
    let file = unsafe { text(file) };
    ask(|envoy| envoy.log(level, message, Some((file, line))));
}

unsafe extern "C" fn log_enabled(level: u32) -> bool {
    ask(|envoy| envoy.log_enabled(level))
}

unsafe extern "C" fn get_log_level() -> u32 {
    ask(|envoy| (0..=6).find(|level| envoy.log_enabled(*level)).unwrap_or(6))
}

unsafe extern "C" fn get_concurrency() -> u32 {
    ask(|envoy| envoy.concurrency())
}

unsafe extern "C" fn is_validation_mode() -> bool {
    ask(|envoy| envoy.is_validation_mode())
}

unsafe extern "C" fn scheduler_new(owner: EnvoyPtr) -> EnvoyPtr {
    pointer(ask(|envoy| envoy.new_scheduler(handle(owner))))
}

unsafe extern "C" fn scheduler_commit(scheduler: EnvoyPtr, event: u64) {
    ask(|envoy| envoy.commit(handle(scheduler), event));
}

unsafe extern "C" fn scheduler_delete(scheduler: EnvoyPtr) {
    ask(|envoy| envoy.delete_scheduler(handle(scheduler)));
}

unsafe extern "C" fn signal_init_complete(config: EnvoyPtr) {
    ask(|envoy| envoy.signal_init_complete(handle(config)));
}

macro_rules! metric_callbacks {
    (define $($name:ident: $kind:ident;)+) => {
        $(unsafe extern "C" fn $name(config: EnvoyPtr, name: Buffer, labels: *const Buffer, len: usize, id: *mut usize) -> u32 {
            // SAFETY: the module's contract.
            let name = unsafe { text(name) };
            // SAFETY: the module's contract.
            let labels = unsafe { items(labels, len) };
            // SAFETY: the module's contract.
            let labels = labels.iter().map(|label| unsafe { text(*label) }).collect();
            let answer = ask(|envoy| Some(envoy.define_metric(handle(config), MetricKind::$kind, name, labels)));
            match answer {
                Some(Ok(new)) => {
                    // SAFETY: the module's contract.
                    unsafe { give(id, Some(new)) };
                    0
                }
                Some(Err(why)) => why,
                None => 3,
            }
        })+
    };
    (change $($name:ident: $kind:ident $change:ident;)+) => {
        $(unsafe extern "C" fn $name(owner: EnvoyPtr, id: usize, labels: *const Buffer, len: usize, value: u64) -> u32 {
            // SAFETY: the module's contract.
            let labels = unsafe { items(labels, len) };
            // SAFETY: the module's contract.
            let labels = labels.iter().map(|label| unsafe { text(*label) }).collect();
            ask(|envoy| envoy.change_metric(handle(owner), MetricKind::$kind, MetricChange::$change, id, labels, value))
        })+
    };
}

metric_callbacks! { define
    define_counter: Counter;
    define_gauge: Gauge;
    define_histogram: Histogram;
}

metric_callbacks! { change
    increment_counter: Counter Increment;
    increment_gauge: Gauge Increment;
    decrement_gauge: Gauge Decrement;
    set_gauge: Gauge Set;
    record_histogram: Histogram Record;
}

unsafe extern "C" fn get_counter_value(_: EnvoyPtr, name: Buffer, value: *mut u64) -> bool {
    // SAFETY: the module's contract.
    let name = unsafe { text(name) };
    // SAFETY: the module's contract.
    unsafe { give(value, ask(|envoy| envoy.stat(MetricKind::Counter, &name))) }
}

unsafe extern "C" fn get_gauge_value(_: EnvoyPtr, name: Buffer, value: *mut u64) -> bool {
    // SAFETY: the module's contract.
    let name = unsafe { text(name) };
    // SAFETY: the module's contract.
    unsafe { give(value, ask(|envoy| envoy.stat(MetricKind::Gauge, &name))) }
}

unsafe extern "C" fn timer_new(config: EnvoyPtr) -> EnvoyPtr {
    pointer(ask(|envoy| envoy.new_timer(handle(config))))
}

unsafe extern "C" fn timer_enable(timer: EnvoyPtr, milliseconds: u64) {
    ask(|envoy| envoy.enable_timer(handle(timer), milliseconds));
}

unsafe extern "C" fn timer_disable(timer: EnvoyPtr) {
    ask(|envoy| envoy.disable_timer(handle(timer)));
}

unsafe extern "C" fn timer_enabled(timer: EnvoyPtr) -> bool {
    ask(|envoy| envoy.timer_enabled(handle(timer)))
}

unsafe extern "C" fn timer_delete(timer: EnvoyPtr) {
    ask(|envoy| envoy.delete_timer(handle(timer)));
}

unsafe extern "C" fn register_admin_handler(
    config: EnvoyPtr,
    path: Buffer,
    help: Buffer,
    removable: bool,
    mutates: bool,
) -> bool {
    // SAFETY: the module's contract.
    let path = unsafe { text(path) };
    // SAFETY: the module's contract.
    let help = unsafe { text(help) };
    ask(|envoy| envoy.register_admin_handler(handle(config), path, help, removable, mutates))
}

unsafe extern "C" fn remove_admin_handler(config: EnvoyPtr, path: Buffer) -> bool {
    // SAFETY: the module's contract.
    let path = unsafe { text(path) };
    ask(|envoy| envoy.remove_admin_handler(handle(config), &path))
}

unsafe extern "C" fn admin_set_response(config: EnvoyPtr, body: Buffer) {
    // SAFETY: the module's contract.
    let body = unsafe { bytes(body) };
    ask(|envoy| envoy.admin_set_response(handle(config), body));
}

unsafe extern "C" fn file_watcher_add_watch(config: EnvoyPtr, path: Buffer, events: u32) -> bool {
    // SAFETY: the module's contract.
    let path = unsafe { text(path) };
    ask(|envoy| envoy.add_file_watch(handle(config), path, events))
}
