//! The hooks that Envoy calls for an HTTP filter. Envoy refuses a configuration when one of the demanded ones is missing.
//!
//! Each goes through the guard. The pointers that Envoy passes back are those that the `new` hooks returned; Envoy never uses one after
//! its destroy hook. Configurations are made and destroyed on the main thread, everything of a stream happens on its worker.

use super::envoy::{EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, RouteConfig};
use super::filter::{self, Answers, Filter, notify_filter, with_filter};
use super::traits::{HttpFilterConfig, PanicPolicy};
use crate::abi::{
    Buffer, EnvoyPtr, Header, LogLevel, ModulePtr,
    envoy_dynamic_module_type_on_http_filter_local_reply_status as LocalReplyStatus,
    envoy_dynamic_module_type_on_http_filter_request_body_status as RequestBodyStatus,
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_request_trailers_status as RequestTrailersStatus,
    envoy_dynamic_module_type_on_http_filter_response_body_status as ResponseBodyStatus,
    envoy_dynamic_module_type_on_http_filter_response_headers_status as ResponseHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_response_trailers_status as ResponseTrailersStatus,
};
use crate::buffer::EnvoyBuffer;
use crate::callbacks::callbacks;
use crate::entry::{checked_name, factories, learn_process_facts};
use crate::guard::{guard, run};
use crate::log;
use std::ptr::null;

/// The object behind Envoy's pointer to the module's configuration.
struct Config {
    user: Box<dyn HttpFilterConfig<EnvoyHttpFilterImpl>>,
    on_panic: PanicPolicy,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy_config: EnvoyPtr,
    name: Buffer,
    config: Buffer,
) -> ModulePtr {
    // SAFETY: Envoy's text, valid until this hook returns.
    let name = unsafe { EnvoyBuffer::from_raw(name) };
    // SAFETY: as above.
    let config = unsafe { EnvoyBuffer::from_raw(config) };
    let body = || {
        let config = new_config(envoy_config, name.as_slice(), config.as_slice());
        config.map_or(null(), |config| Box::into_raw(Box::new(config)).cast_const().cast())
    };
    guard("http_filter_config_new", body, null)
}

fn new_config(envoy_config: EnvoyPtr, name: &[u8], config: &[u8]) -> Option<Config> {
    let envoy = callbacks()?;
    learn_process_facts();
    let name = checked_name("HTTP filter", name)?;
    let Some(factory) = factories().http else {
        log::write(LogLevel::Error, "this module offers no HTTP filter", file!(), line!());
        return None;
    };
    let user = factory(&mut EnvoyHttpFilterConfigImpl::new(envoy, envoy_config), name, config)?;
    let on_panic = user.panic_policy();
    Some(Config { user, on_panic })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: ModulePtr) {
    let body = || {
        if !config.is_null() {
            // SAFETY: the box of `config_new`; Envoy gives it back once.
            drop(unsafe { Box::from_raw(config.cast_mut().cast::<Config>()) });
        }
    };
    guard("http_filter_config_destroy", body, || ());
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    name: Buffer,
    config: Buffer,
) -> ModulePtr {
    // SAFETY: Envoy's text, valid until this hook returns.
    let name = unsafe { EnvoyBuffer::from_raw(name) };
    // SAFETY: as above.
    let config = unsafe { EnvoyBuffer::from_raw(config) };
    let body = || {
        let config = new_route_config(name.as_slice(), config.as_slice());
        config.map_or(null(), |config| Box::into_raw(Box::new(config)).cast_const().cast())
    };
    guard("http_filter_per_route_config_new", body, null)
}

fn new_route_config(name: &[u8], config: &[u8]) -> Option<RouteConfig> {
    let name = checked_name("per-route configuration", name)?;
    let Some(factory) = factories().http_per_route else {
        log::write(
            LogLevel::Error,
            "this module takes no per-route configuration",
            file!(),
            line!(),
        );
        return None;
    };
    factory(name, config).map(RouteConfig::from)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(config: ModulePtr) {
    let body = || {
        if !config.is_null() {
            // SAFETY: the box of `per_route_config_new`, whose content may be dropped on any thread; Envoy gives it back once.
            drop(unsafe { Box::from_raw(config.cast_mut().cast::<RouteConfig>()) });
        }
    };
    guard("http_filter_per_route_config_destroy", body, || ());
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(config: ModulePtr, filter: EnvoyPtr) -> ModulePtr {
    let hook = "http_filter_new";
    let body = || {
        let Some(envoy) = callbacks() else { return null() };
        // SAFETY: null or the box of `config_new`, not destroyed yet.
        let Some(config) = (unsafe { config.cast::<Config>().as_ref() }) else {
            return null();
        };
        let user = run(hook, || {
            config
                .user
                .new_http_filter(&mut EnvoyHttpFilterImpl::new(envoy, filter))
        });
        match (user, config.on_panic) {
            (None, PanicPolicy::FailRequest) => null(),
            (user, on_panic) => Filter::into_raw(user, on_panic),
        }
    };
    guard(hook, body, null)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: ModulePtr) {
    // SAFETY: what `new` returned; Envoy gives it back once.
    guard("http_filter_destroy", || unsafe { filter::destroy(filter) }, || ());
}

/// The hooks that answer a status: what the filter says, or one of the two written-down answers.
macro_rules! status_hooks {
    ($($name:ident, $hook:literal, $method:ident($($arg:ident: $ty:ty)?) -> $status:ident, pass $pass:ident, fail $fail:ident;)+) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(raw: EnvoyPtr, filter: ModulePtr $(, $arg: $ty)?) -> u32 {
            let answers = Answers { pass: $status::$pass, fail: $status::$fail };
            // SAFETY: both from Envoy, see the module's doc.
            let answer = unsafe { with_filter($hook, raw, filter, answers, |user, envoy| user.$method(envoy $(, $arg)?)) };
            answer as u32
        })+
    };
}

status_hooks! {
    envoy_dynamic_module_on_http_filter_request_headers, "http_filter_request_headers",
        on_request_headers(end: bool) -> RequestHeadersStatus, pass Continue, fail StopIteration;
    envoy_dynamic_module_on_http_filter_request_body, "http_filter_request_body",
        on_request_body(end: bool) -> RequestBodyStatus, pass Continue, fail StopIterationNoBuffer;
    envoy_dynamic_module_on_http_filter_request_trailers, "http_filter_request_trailers",
        on_request_trailers() -> RequestTrailersStatus, pass Continue, fail StopIteration;
    envoy_dynamic_module_on_http_filter_response_headers, "http_filter_response_headers",
        on_response_headers(end: bool) -> ResponseHeadersStatus, pass Continue, fail StopIteration;
    envoy_dynamic_module_on_http_filter_response_body, "http_filter_response_body",
        on_response_body(end: bool) -> ResponseBodyStatus, pass Continue, fail StopIterationNoBuffer;
    envoy_dynamic_module_on_http_filter_response_trailers, "http_filter_response_trailers",
        on_response_trailers() -> ResponseTrailersStatus, pass Continue, fail StopIteration;
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(raw: EnvoyPtr, filter: ModulePtr, event: u64) {
    let answers = Answers { pass: (), fail: () };
    let hook = "http_filter_scheduled";
    // SAFETY: both from Envoy, see the module's doc.
    unsafe {
        with_filter(hook, raw, filter, answers, |user, envoy| {
            user.on_scheduled(envoy, event)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_local_reply(
    raw: EnvoyPtr,
    filter: ModulePtr,
    code: u32,
    details: Buffer,
    reset_imminent: bool,
) -> u32 {
    // SAFETY: Envoy's text, valid until this hook returns.
    let details = unsafe { EnvoyBuffer::from_raw(details) };
    let mut answer = LocalReplyStatus::Continue;
    let call = |user: &mut dyn super::HttpFilter<EnvoyHttpFilterImpl>, envoy: &mut EnvoyHttpFilterImpl| {
        answer = user.on_local_reply(envoy, code, details, reset_imminent);
    };
    // A reply is on its way already, so a panic cannot ask for another.
    // SAFETY: both from Envoy, see the module's doc.
    unsafe { notify_filter("http_filter_local_reply", raw, filter, call) };
    answer as u32
}

/// The hooks that answer nothing and come too late to fail the stream.
macro_rules! notify_hooks {
    ($($name:ident, $hook:literal, $method:ident;)+) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(raw: EnvoyPtr, filter: ModulePtr) {
            // SAFETY: both from Envoy, see the module's doc.
            unsafe { notify_filter($hook, raw, filter, |user, envoy| user.$method(envoy)) }
        })+
    };
}

notify_hooks! {
    envoy_dynamic_module_on_http_filter_stream_complete, "http_filter_stream_complete", on_stream_complete;
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark,
        "http_filter_downstream_above_write_buffer_high_watermark", on_downstream_above_write_buffer_high_watermark;
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark,
        "http_filter_downstream_below_write_buffer_low_watermark", on_downstream_below_write_buffer_low_watermark;
}

/// The hooks of what this crate never asks for. Envoy demands that they exist.
macro_rules! unused_hooks {
    ($($name:ident($($ty:ty),*);)+) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($(_: $ty),*) {})+
    };
}

unused_hooks! {
    envoy_dynamic_module_on_http_filter_http_callout_done(EnvoyPtr, ModulePtr, u64, u32, *const Header, usize, *const Buffer, usize);
    envoy_dynamic_module_on_http_filter_http_stream_headers(EnvoyPtr, ModulePtr, u64, *const Header, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_data(EnvoyPtr, ModulePtr, u64, *const Buffer, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_trailers(EnvoyPtr, ModulePtr, u64, *const Header, usize);
    envoy_dynamic_module_on_http_filter_http_stream_complete(EnvoyPtr, ModulePtr, u64);
    envoy_dynamic_module_on_http_filter_http_stream_reset(EnvoyPtr, ModulePtr, u64, u32);
}
