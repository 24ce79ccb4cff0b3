//! Envoy's functions as the module sees them: C functions that hand owned values to [`super::Envoy`].
//!
//! All of them rely on the module keeping the contract of the ABI: pointers it passes are readable, and writable where the function
//! answers through them, for the length of the call.

use super::loan::{keep, lend};
use super::{Envoy, Handle, MetadataValue, MetricChange, MetricKind, Response, envoy};
use crate::abi::{BodyType, Buffer, EnvoyPtr, Header, HeaderType, ModulePtr};
use crate::buffer::EnvoyBuffer;
use crate::callbacks::Callbacks;
use std::ptr::null;
use std::sync::Arc;

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
    http_get_header: get_header,
    http_get_headers_size: get_headers_size,
    http_get_headers: get_headers,
    http_set_header: set_header,
    http_add_header: add_header,
    http_send_response: send_response,
    http_get_body_size: get_body_size,
    http_get_body_chunks_size: get_body_chunks_size,
    http_get_body_chunks: get_body_chunks,
    http_append_body: append_body,
    http_drain_body: drain_body,
    http_received_buffered_request_body: received_buffered_request_body,
    http_received_buffered_response_body: received_buffered_response_body,
    http_set_dynamic_metadata_string: set_metadata_string,
    http_set_dynamic_metadata_number: set_metadata_number,
    http_set_dynamic_metadata_bool: set_metadata_bool,
    http_set_filter_state_bytes: set_filter_state,
    http_get_filter_state_bytes: get_filter_state,
    http_filter_get_attribute_string: get_attribute_string,
    http_filter_get_attribute_int: get_attribute_int,
    http_filter_scheduler_new: scheduler_new,
    http_filter_scheduler_commit: scheduler_commit,
    http_filter_scheduler_delete: scheduler_delete,
    http_filter_continue_decoding: continue_decoding,
    http_filter_continue_encoding: continue_encoding,
    http_filter_get_worker_index: get_worker_index,
    http_add_custom_flag: add_custom_flag,
    get_most_specific_route_config,
    get_log_level: Some(get_log_level),
    log_v2: Some(log_v2),
    http_set_dynamic_metadata_struct: Some(set_metadata_struct),
};

fn ask<T: Default>(question: impl FnOnce(&dyn Envoy) -> T) -> T {
    envoy().map(|envoy| question(&*envoy)).unwrap_or_default()
}

fn handle(pointer: EnvoyPtr) -> Handle {
    Handle(pointer.addr())
}

fn pointer(handle: Handle) -> EnvoyPtr {
    std::ptr::without_provenance_mut(handle.0)
}

/// # Safety
///
/// The buffer is readable.
unsafe fn bytes(buffer: Buffer) -> Vec<u8> {
    // SAFETY: the caller vouches for the buffer, which is copied at once.
    unsafe { EnvoyBuffer::from_raw(buffer) }.as_slice().to_vec()
}

/// # Safety
///
/// The buffer is readable.
unsafe fn text(buffer: Buffer) -> String {
    // SAFETY: as the caller's.
    String::from_utf8_lossy(&unsafe { bytes(buffer) }).into_owned()
}

/// # Safety
///
/// `array` holds `len` readable items.
unsafe fn items<'a, T>(array: *const T, len: usize) -> &'a [T] {
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
unsafe fn give<T>(out: *mut T, value: Option<T>) -> bool {
    let Some(value) = value else { return false };
    // SAFETY: the caller vouches for the pointer.
    unsafe { out.write(value) };
    true
}

fn header_type(raw: u32) -> HeaderType {
    if raw == HeaderType::Request as u32 {
        HeaderType::Request
    } else {
        HeaderType::Response
    }
}

fn body_type(raw: u32) -> BodyType {
    let all = [
        BodyType::ReceivedRequest,
        BodyType::BufferedRequest,
        BodyType::ReceivedResponse,
    ];
    all.into_iter()
        .find(|kind| *kind as u32 == raw)
        .unwrap_or(BodyType::BufferedResponse)
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

unsafe extern "C" fn get_header(
    filter: EnvoyPtr,
    kind: u32,
    key: Buffer,
    value: *mut Buffer,
    index: usize,
    count: *mut usize,
) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    let headers = ask(|envoy| envoy.headers(handle(filter), header_type(kind)));
    let mut values: Vec<_> = headers
        .into_iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(&key))
        .map(|(_, value)| value)
        .collect();
    // SAFETY: the module's contract.
    unsafe { give(count, Some(values.len())) };
    let found = (index < values.len()).then(|| lend(values.swap_remove(index)));
    // SAFETY: the module's contract.
    unsafe { give(value, found) }
}

unsafe extern "C" fn get_headers_size(filter: EnvoyPtr, kind: u32) -> usize {
    ask(|envoy| envoy.headers(handle(filter), header_type(kind)).len())
}

unsafe extern "C" fn get_headers(filter: EnvoyPtr, kind: u32, out: *mut Header) -> bool {
    let headers = ask(|envoy| envoy.headers(handle(filter), header_type(kind)));
    for (index, (key, value)) in headers.into_iter().enumerate() {
        let (key, value) = (lend(key), lend(value));
        let header = Header {
            key_ptr: key.ptr,
            key_len: key.len,
            value_ptr: value.ptr,
            value_len: value.len,
        };
        // SAFETY: the module allocated what `get_headers_size` said.
        let place = unsafe { out.add(index) };
        // SAFETY: as above.
        unsafe { give(place, Some(header)) };
    }
    true
}

unsafe extern "C" fn set_header(filter: EnvoyPtr, kind: u32, key: Buffer, value: Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    // SAFETY: the module's contract.
    let value = (!value.ptr.is_null()).then(|| unsafe { bytes(value) });
    ask(|envoy| envoy.set_header(handle(filter), header_type(kind), key, value))
}

unsafe extern "C" fn add_header(filter: EnvoyPtr, kind: u32, key: Buffer, value: Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    // SAFETY: the module's contract.
    let value = unsafe { bytes(value) };
    ask(|envoy| envoy.add_header(handle(filter), header_type(kind), key, value))
}

unsafe extern "C" fn send_response(
    filter: EnvoyPtr,
    status: u32,
    headers: *const Header,
    len: usize,
    body: Buffer,
    details: Buffer,
) {
    // SAFETY: the module's contract.
    let headers = unsafe { items(headers, len) };
    // SAFETY: the module's contract.
    let key = |header: &Header| unsafe { text(header.key()) };
    // SAFETY: the module's contract.
    let value = |header: &Header| unsafe { bytes(header.value()) };
    let headers = headers.iter().map(|header| (key(header), value(header))).collect();
    // SAFETY: the module's contract.
    let body = unsafe { bytes(body) };
    // SAFETY: the module's contract.
    let details = unsafe { text(details) };
    ask(|envoy| {
        envoy.send_response(
            handle(filter),
            Response {
                status,
                headers,
                body,
                details,
            },
        )
    });
}

unsafe extern "C" fn get_body_size(filter: EnvoyPtr, kind: u32) -> usize {
    let body = ask(|envoy| envoy.body(handle(filter), body_type(kind)));
    body.unwrap_or_default().iter().map(Vec::len).sum()
}

unsafe extern "C" fn get_body_chunks_size(filter: EnvoyPtr, kind: u32) -> usize {
    ask(|envoy| envoy.body(handle(filter), body_type(kind))).map_or(0, |body| body.len())
}

unsafe extern "C" fn get_body_chunks(filter: EnvoyPtr, kind: u32, out: *mut Buffer) -> bool {
    let Some(body) = ask(|envoy| envoy.body(handle(filter), body_type(kind))) else {
        return false;
    };
    for (index, chunk) in body.into_iter().enumerate() {
        // SAFETY: the module allocated what `get_body_chunks_size` said.
        let place = unsafe { out.add(index) };
        // SAFETY: as above.
        unsafe { give(place, Some(lend(chunk))) };
    }
    true
}

unsafe extern "C" fn append_body(filter: EnvoyPtr, kind: u32, data: Buffer) -> bool {
    // SAFETY: the module's contract.
    let data = unsafe { bytes(data) };
    ask(|envoy| envoy.append_body(handle(filter), body_type(kind), data))
}

unsafe extern "C" fn drain_body(filter: EnvoyPtr, kind: u32, bytes: usize) -> bool {
    ask(|envoy| envoy.drain_body(handle(filter), body_type(kind), bytes))
}

unsafe extern "C" fn received_buffered_request_body(filter: EnvoyPtr) -> bool {
    ask(|envoy| envoy.received_buffered_body(handle(filter), false))
}

unsafe extern "C" fn received_buffered_response_body(filter: EnvoyPtr) -> bool {
    ask(|envoy| envoy.received_buffered_body(handle(filter), true))
}

/// # Safety
///
/// The buffers are readable.
unsafe fn set_metadata(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: MetadataValue) {
    // SAFETY: as the caller's.
    let namespace = unsafe { text(namespace) };
    // SAFETY: as the caller's.
    let key = unsafe { text(key) };
    ask(|envoy| envoy.set_metadata(handle(filter), namespace, key, value));
}

unsafe extern "C" fn set_metadata_string(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: Buffer) {
    // SAFETY: the module's contract.
    let value = MetadataValue::Text(unsafe { text(value) });
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, key, value) };
}

unsafe extern "C" fn set_metadata_number(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: f64) {
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, key, MetadataValue::Number(value)) };
}

unsafe extern "C" fn set_metadata_bool(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: bool) {
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, key, MetadataValue::Bool(value)) };
}

unsafe extern "C" fn set_metadata_struct(filter: EnvoyPtr, namespace: Buffer, value: Buffer) {
    // SAFETY: the module's contract.
    let value = MetadataValue::Struct(unsafe { bytes(value) });
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, Buffer::EMPTY, value) };
}

unsafe extern "C" fn set_filter_state(filter: EnvoyPtr, key: Buffer, value: Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    // SAFETY: the module's contract.
    let value = unsafe { bytes(value) };
    ask(|envoy| envoy.set_filter_state(handle(filter), key, value))
}

unsafe extern "C" fn get_filter_state(filter: EnvoyPtr, key: Buffer, value: *mut Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    let found = ask(|envoy| envoy.filter_state(handle(filter), &key)).map(lend);
    // SAFETY: the module's contract.
    unsafe { give(value, found) }
}

unsafe extern "C" fn get_attribute_string(filter: EnvoyPtr, id: u32, value: *mut Buffer) -> bool {
    let found = ask(|envoy| envoy.attribute_string(handle(filter), id)).map(lend);
    // SAFETY: the module's contract.
    unsafe { give(value, found) }
}

unsafe extern "C" fn get_attribute_int(filter: EnvoyPtr, id: u32, value: *mut u64) -> bool {
    // SAFETY: the module's contract.
    unsafe { give(value, ask(|envoy| envoy.attribute_int(handle(filter), id))) }
}

unsafe extern "C" fn continue_decoding(filter: EnvoyPtr) {
    ask(|envoy| envoy.continue_decoding(handle(filter)));
}

unsafe extern "C" fn continue_encoding(filter: EnvoyPtr) {
    ask(|envoy| envoy.continue_encoding(handle(filter)));
}

unsafe extern "C" fn get_worker_index(filter: EnvoyPtr) -> u32 {
    ask(|envoy| envoy.worker_index(handle(filter)))
}

unsafe extern "C" fn add_custom_flag(filter: EnvoyPtr, flag: Buffer) {
    // SAFETY: the module's contract.
    let flag = unsafe { text(flag) };
    ask(|envoy| envoy.add_custom_flag(handle(filter), flag));
}

unsafe extern "C" fn get_most_specific_route_config(filter: EnvoyPtr) -> ModulePtr {
    let Some(config) = ask(|envoy| envoy.route_config(handle(filter))) else {
        return null();
    };
    let ptr = config.as_ptr();
    keep(Box::new(Arc::clone(&config)));
    ptr
}
