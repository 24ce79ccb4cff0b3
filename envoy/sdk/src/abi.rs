//! The plain data of the interface: memory layouts and numbers, with the names that Envoy gives them.
//!
//! Everything here is a fact of Envoy's dynamic module ABI on 64-bit targets, checked against 1.38.3, 1.39.3 and 1.40.0. Enum types
//! keep the official spelling so that code written against this crate reads like code written against Envoy's own SDK. Types that no
//! caller needs are absent.
#![allow(non_camel_case_types, reason = "the official SDK's type names")]

use std::ffi::c_void;

/// A pointer to an object of Envoy's; opaque here, never dereferenced.
pub(crate) type EnvoyPtr = *mut c_void;
/// A pointer to an object of the module's, as Envoy keeps it.
pub(crate) type ModulePtr = *const c_void;
/// What Envoy passes to the shutdown hook for the module to call once.
pub(crate) type EventCb = unsafe extern "C" fn(context: EnvoyPtr);

/// Borrowed bytes; the layout of both the module's and Envoy's buffer. Null with length 0 is empty.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
}

impl Buffer {
    pub(crate) const EMPTY: Self = Self {
        ptr: std::ptr::null(),
        len: 0,
    };

    /// Points at `bytes`, which must outlive the call that receives the result.
    pub(crate) const fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }
}

/// A borrowed header; the layout of both the module's and Envoy's header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) key_ptr: *const u8,
    pub(crate) key_len: usize,
    pub(crate) value_ptr: *const u8,
    pub(crate) value_len: usize,
}

impl Header {
    pub(crate) const EMPTY: Self = Self {
        key_ptr: std::ptr::null(),
        key_len: 0,
        value_ptr: std::ptr::null(),
        value_len: 0,
    };

    /// Points at `key` and `value`, which must outlive the call that receives the result.
    pub(crate) const fn of(key: &[u8], value: &[u8]) -> Self {
        Self {
            key_ptr: key.as_ptr(),
            key_len: key.len(),
            value_ptr: value.as_ptr(),
            value_len: value.len(),
        }
    }

    pub(crate) const fn key(&self) -> Buffer {
        Buffer {
            ptr: self.key_ptr,
            len: self.key_len,
        }
    }

    pub(crate) const fn value(&self) -> Buffer {
        Buffer {
            ptr: self.value_ptr,
            len: self.value_len,
        }
    }
}

/// Declares an enum of the ABI: 32 bits wide, with the numbers Envoy uses.
macro_rules! abi_enum {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$vdoc])* $variant = $value),+ }
    };
}

abi_enum! {
    /// Which header map of a stream.
    pub(crate) HeaderType { Request = 0, Response = 2 }
}
abi_enum! {
    /// Which body of a stream: the chunk that the running hook received, or what was buffered before.
    pub(crate) BodyType { ReceivedRequest = 0, BufferedRequest = 1, ReceivedResponse = 2, BufferedResponse = 3 }
}
abi_enum! {
    /// The levels of Envoy's log.
    pub(crate) LogLevel { Trace = 0, Debug = 1, Info = 2, Warn = 3, Error = 4 }
}
abi_enum! {
    /// Why a metric could not be defined or changed.
    pub envoy_dynamic_module_type_metrics_result {
        /// It could.
        Success = 0,
        /// No metric has this id.
        MetricNotFound = 1,
        /// The number of labels differs from the definition's.
        InvalidLabels = 2,
        /// Metrics are defined while a configuration is created, not later.
        Frozen = 3,
    }
}
abi_enum! {
    /// What Envoy does after the request header hook.
    pub envoy_dynamic_module_type_on_http_filter_request_headers_status {
        /// Go on to the next filter.
        Continue = 0,
        /// Hold the headers; body hooks still run.
        StopIteration = 1,
        /// Go on, but keep the stream open although it ended.
        ContinueAndDontEndStream = 2,
        /// Hold everything and buffer the body.
        StopAllIterationAndBuffer = 3,
        /// Hold everything and stop reading when the buffer is full.
        StopAllIterationAndWatermark = 4,
    }
}
abi_enum! {
    /// What Envoy does after the response header hook.
    pub envoy_dynamic_module_type_on_http_filter_response_headers_status {
        /// Go on to the next filter.
        Continue = 0,
        /// Hold the headers; body hooks still run.
        StopIteration = 1,
        /// Go on, but keep the stream open although it ended.
        ContinueAndDontEndStream = 2,
        /// Hold everything and buffer the body.
        StopAllIterationAndBuffer = 3,
        /// Hold everything and stop reading when the buffer is full.
        StopAllIterationAndWatermark = 4,
    }
}
abi_enum! {
    /// What Envoy does after the request body hook.
    pub envoy_dynamic_module_type_on_http_filter_request_body_status {
        /// Pass the chunk on.
        Continue = 0,
        /// Hold the chunk in the stream's buffer.
        StopIterationAndBuffer = 1,
        /// Hold the chunk and stop reading when the buffer is full.
        StopIterationAndWatermark = 2,
        /// Drop the chunk.
        StopIterationNoBuffer = 3,
    }
}
abi_enum! {
    /// What Envoy does after the response body hook.
    pub envoy_dynamic_module_type_on_http_filter_response_body_status {
        /// Pass the chunk on.
        Continue = 0,
        /// Hold the chunk in the stream's buffer.
        StopIterationAndBuffer = 1,
        /// Hold the chunk and stop reading when the buffer is full.
        StopIterationAndWatermark = 2,
        /// Drop the chunk.
        StopIterationNoBuffer = 3,
    }
}
abi_enum! {
    /// What Envoy does after the request trailer hook.
    pub envoy_dynamic_module_type_on_http_filter_request_trailers_status {
        /// Go on to the next filter.
        Continue = 0,
        /// Hold the trailers.
        StopIteration = 1,
    }
}
abi_enum! {
    /// What Envoy does after the response trailer hook.
    pub envoy_dynamic_module_type_on_http_filter_response_trailers_status {
        /// Go on to the next filter.
        Continue = 0,
        /// Hold the trailers.
        StopIteration = 1,
    }
}
abi_enum! {
    /// What Envoy does after the local reply hook.
    pub envoy_dynamic_module_type_on_http_filter_local_reply_status {
        /// Send the reply.
        Continue = 0,
        /// Reset the stream instead.
        ContinueAndResetStream = 1,
    }
}
abi_enum! {
    /// An attribute of a stream, as Envoy's attribute reference names it. Only attributes that a real Envoy was seen to answer.
    pub envoy_dynamic_module_type_attribute_id {
        /// `request.path`, text.
        RequestPath = 0,
        /// `request.url_path`, text.
        RequestUrlPath = 1,
        /// `request.host`, text.
        RequestHost = 2,
        /// `request.scheme`, text.
        RequestScheme = 3,
        /// `request.method`, text.
        RequestMethod = 4,
        /// `request.referer`, text.
        RequestReferer = 6,
        /// `request.useragent`, text.
        RequestUserAgent = 7,
        /// `request.id`, text.
        RequestId = 9,
        /// `request.protocol`, text.
        RequestProtocol = 10,
        /// `request.query`, text.
        RequestQuery = 11,
        /// `request.size`, a number, from 1.40.
        RequestSize = 13,
        /// `request.total_size`, a number, from 1.40.
        RequestTotalSize = 14,
        /// `response.code`, a number.
        ResponseCode = 15,
        /// `response.code_details`, text, from 1.39.
        ResponseCodeDetails = 16,
        /// `response.flags`, a number, from 1.39.
        ResponseFlags = 17,
        /// `response.grpc_status`, a number, from 1.40.
        ResponseGrpcStatus = 18,
        /// `response.size`, a number, from 1.39.
        ResponseSize = 21,
        /// `response.total_size`, a number, from 1.40.
        ResponseTotalSize = 22,
        /// `source.address`, text.
        SourceAddress = 24,
        /// `source.port`, a number.
        SourcePort = 25,
        /// `destination.address`, text.
        DestinationAddress = 26,
        /// `destination.port`, a number.
        DestinationPort = 27,
        /// `connection.id`, a number.
        ConnectionId = 28,
        /// `upstream.address`, text.
        UpstreamAddress = 41,
        /// `upstream.port`, a number.
        UpstreamPort = 42,
        /// `upstream.local_address`, text, from 1.39.
        UpstreamLocalAddress = 51,
        /// `upstream.request_attempt_count`, a number, from 1.39.
        UpstreamRequestAttemptCount = 53,
        /// `xds.cluster_name`, text, from 1.40.
        XdsClusterName = 57,
        /// `xds.route_name`, text.
        XdsRouteName = 61,
        /// `xds.virtual_host_name`, text, from 1.40.
        XdsVirtualHostName = 63,
        /// `xds.filter_chain_name`, text, from 1.40.
        XdsFilterChainName = 66,
    }
}
