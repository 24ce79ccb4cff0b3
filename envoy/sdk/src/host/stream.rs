//! Envoy's functions for one HTTP stream; the rest of [`super::callbacks`], whose contract they share.

use super::callbacks::{ask, bytes, give, handle, items, text};
use super::loan::{keep, lend};
use super::{MetadataValue, Response};
use crate::abi::{BodyType, Buffer, EnvoyPtr, Header, HeaderType, ModulePtr};
use std::ptr::null;
use std::sync::Arc;

pub(super) unsafe extern "C" fn get_header(
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

pub(super) unsafe extern "C" fn get_headers_size(filter: EnvoyPtr, kind: u32) -> usize {
    ask(|envoy| envoy.headers(handle(filter), header_type(kind)).len())
}

pub(super) unsafe extern "C" fn get_headers(filter: EnvoyPtr, kind: u32, out: *mut Header) -> bool {
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

pub(super) unsafe extern "C" fn set_header(filter: EnvoyPtr, kind: u32, key: Buffer, value: Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    // SAFETY: the module's contract.
    let value = (!value.ptr.is_null()).then(|| unsafe { bytes(value) });
    ask(|envoy| envoy.set_header(handle(filter), header_type(kind), key, value))
}

pub(super) unsafe extern "C" fn add_header(filter: EnvoyPtr, kind: u32, key: Buffer, value: Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    // SAFETY: the module's contract.
    let value = unsafe { bytes(value) };
    ask(|envoy| envoy.add_header(handle(filter), header_type(kind), key, value))
}

pub(super) unsafe extern "C" fn send_response(
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

pub(super) unsafe extern "C" fn get_body_size(filter: EnvoyPtr, kind: u32) -> usize {
    let body = ask(|envoy| envoy.body(handle(filter), body_type(kind)));
    body.unwrap_or_default().iter().map(Vec::len).sum()
}

pub(super) unsafe extern "C" fn get_body_chunks_size(filter: EnvoyPtr, kind: u32) -> usize {
    ask(|envoy| envoy.body(handle(filter), body_type(kind))).map_or(0, |body| body.len())
}

pub(super) unsafe extern "C" fn get_body_chunks(filter: EnvoyPtr, kind: u32, out: *mut Buffer) -> bool {
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

pub(super) unsafe extern "C" fn append_body(filter: EnvoyPtr, kind: u32, data: Buffer) -> bool {
    // SAFETY: the module's contract.
    let data = unsafe { bytes(data) };
    ask(|envoy| envoy.append_body(handle(filter), body_type(kind), data))
}

pub(super) unsafe extern "C" fn drain_body(filter: EnvoyPtr, kind: u32, bytes: usize) -> bool {
    ask(|envoy| envoy.drain_body(handle(filter), body_type(kind), bytes))
}

pub(super) unsafe extern "C" fn received_buffered_request_body(filter: EnvoyPtr) -> bool {
    ask(|envoy| envoy.received_buffered_body(handle(filter), false))
}

pub(super) unsafe extern "C" fn received_buffered_response_body(filter: EnvoyPtr) -> bool {
    ask(|envoy| envoy.received_buffered_body(handle(filter), true))
}

pub(super) unsafe extern "C" fn get_buffer_limit(filter: EnvoyPtr) -> u64 {
    ask(|envoy| envoy.buffer_limit(handle(filter)))
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

pub(super) unsafe extern "C" fn set_metadata_string(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: Buffer) {
    // SAFETY: the module's contract.
    let value = MetadataValue::Text(unsafe { text(value) });
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, key, value) };
}

pub(super) unsafe extern "C" fn set_metadata_number(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: f64) {
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, key, MetadataValue::Number(value)) };
}

pub(super) unsafe extern "C" fn set_metadata_bool(filter: EnvoyPtr, namespace: Buffer, key: Buffer, value: bool) {
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, key, MetadataValue::Bool(value)) };
}

pub(super) unsafe extern "C" fn set_metadata_struct(filter: EnvoyPtr, namespace: Buffer, value: Buffer) {
    // SAFETY: the module's contract.
    let value = MetadataValue::Struct(unsafe { bytes(value) });
    // SAFETY: the module's contract.
    unsafe { set_metadata(filter, namespace, Buffer::EMPTY, value) };
}

pub(super) unsafe extern "C" fn set_filter_state(filter: EnvoyPtr, key: Buffer, value: Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    // SAFETY: the module's contract.
    let value = unsafe { bytes(value) };
    ask(|envoy| envoy.set_filter_state(handle(filter), key, value))
}

pub(super) unsafe extern "C" fn get_filter_state(filter: EnvoyPtr, key: Buffer, value: *mut Buffer) -> bool {
    // SAFETY: the module's contract.
    let key = unsafe { bytes(key) };
    let found = ask(|envoy| envoy.filter_state(handle(filter), &key)).map(lend);
    // SAFETY: the module's contract.
    unsafe { give(value, found) }
}

pub(super) unsafe extern "C" fn get_attribute_string(filter: EnvoyPtr, id: u32, value: *mut Buffer) -> bool {
    let found = ask(|envoy| envoy.attribute_string(handle(filter), id)).map(lend);
    // SAFETY: the module's contract.
    unsafe { give(value, found) }
}

pub(super) unsafe extern "C" fn get_attribute_int(filter: EnvoyPtr, id: u32, value: *mut u64) -> bool {
    // SAFETY: the module's contract.
    unsafe { give(value, ask(|envoy| envoy.attribute_int(handle(filter), id))) }
}

pub(super) unsafe extern "C" fn continue_decoding(filter: EnvoyPtr) {
    ask(|envoy| envoy.continue_decoding(handle(filter)));
}

pub(super) unsafe extern "C" fn continue_encoding(filter: EnvoyPtr) {
    ask(|envoy| envoy.continue_encoding(handle(filter)));
}

pub(super) unsafe extern "C" fn get_worker_index(filter: EnvoyPtr) -> u32 {
    ask(|envoy| envoy.worker_index(handle(filter)))
}

pub(super) unsafe extern "C" fn add_custom_flag(filter: EnvoyPtr, flag: Buffer) {
    // SAFETY: the module's contract.
    let flag = unsafe { text(flag) };
    ask(|envoy| envoy.add_custom_flag(handle(filter), flag));
}

pub(super) unsafe extern "C" fn get_most_specific_route_config(filter: EnvoyPtr) -> ModulePtr {
    let Some(config) = ask(|envoy| envoy.route_config(handle(filter))) else {
        return null();
    };
    let ptr = config.as_ptr();
    keep(Box::new(Arc::clone(&config)));
    ptr
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
