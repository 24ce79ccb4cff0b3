//! Envoy's side of the HTTP filter traits: thin calls into the resolved functions.

use super::traits::{EnvoyHttpFilter, EnvoyHttpFilterConfig, EnvoyHttpFilterScheduler};
use crate::abi::{
    BodyType, Buffer, EnvoyPtr, Header, HeaderType, envoy_dynamic_module_type_attribute_id as AttributeId,
    envoy_dynamic_module_type_metrics_result as MetricsResult,
};
use crate::buffer::{EnvoyBuffer, EnvoyMutBuffer};
use crate::callbacks::{Callbacks, EnvoyRelease};
use crate::metrics::{
    self, EnvoyCounterId, EnvoyCounterVecId, EnvoyGaugeId, EnvoyGaugeVecId, EnvoyHistogramId, EnvoyHistogramVecId,
    define_methods, update_methods,
};
use std::any::Any;
use std::sync::Arc;

/// What Envoy keeps as a route's configuration of this module: a pointer to this, in a box.
pub(super) type RouteConfig = Arc<dyn Any + Send + Sync>;

/// The filter configuration that is lent to the factory.
#[derive(Debug)]
pub struct EnvoyHttpFilterConfigImpl {
    envoy: &'static Callbacks,
    raw: EnvoyPtr,
}

impl EnvoyHttpFilterConfigImpl {
    /// For the hook that creates a configuration, with what Envoy passed to it.
    pub(super) const fn new(envoy: &'static Callbacks, raw: EnvoyPtr) -> Self {
        Self { envoy, raw }
    }
}

impl metrics::Owner for EnvoyHttpFilterConfigImpl {
    fn owner(&self) -> (&'static Callbacks, EnvoyPtr) {
        (self.envoy, self.raw)
    }
}

impl EnvoyHttpFilterConfig for EnvoyHttpFilterConfigImpl {
    define_methods! {
        define_counter, define_counter_vec, http_filter_config_define_counter: EnvoyCounterId, EnvoyCounterVecId;
        define_gauge, define_gauge_vec, http_filter_config_define_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        define_histogram, define_histogram_vec, http_filter_config_define_histogram: EnvoyHistogramId, EnvoyHistogramVecId;
    }
}

/// The stream that is lent to each hook.
///
/// It is made for one call of a hook and cannot leave it: it has no public constructor, is passed by reference, and is not `Send`. That is
/// what makes its calls sound: inside a hook Envoy's filter object is alive, and the thread is the stream's worker.
#[derive(Debug)]
pub struct EnvoyHttpFilterImpl {
    envoy: &'static Callbacks,
    raw: EnvoyPtr,
}

/// Calls one of Envoy's functions with the stream as its first argument.
macro_rules! call {
    ($self:ident.$callback:ident($($argument:expr),*)) => {{
        let (function, filter) = ($self.envoy.$callback, $self.raw);
        // SAFETY: the type's doc: Envoy's filter is alive and this is its thread. Every pointer argument outlives the call, which keeps none.
        unsafe { function(filter, $($argument),*) }
    }};
}

impl EnvoyHttpFilterImpl {
    /// For a hook of a stream, with what Envoy passed to it.
    pub(super) const fn new(envoy: &'static Callbacks, raw: EnvoyPtr) -> Self {
        Self { envoy, raw }
    }

    fn header(&self, kind: HeaderType, key: &str, index: usize, count: &mut usize) -> Option<EnvoyBuffer<'_>> {
        let mut value = Buffer::EMPTY;
        let key = Buffer::of(key.as_bytes());
        // SAFETY: the header lives until it is changed, which takes `&mut self`, or the hook returns, which ends `self`.
        call!(self.http_get_header(kind as u32, key, &raw mut value, index, count))
            .then(|| unsafe { EnvoyBuffer::from_raw(value) })
    }

    fn header_values(&self, kind: HeaderType, key: &str) -> Vec<EnvoyBuffer<'_>> {
        let mut count = 0;
        let Some(first) = self.header(kind, key, 0, &mut count) else {
            return Vec::new();
        };
        let mut values = vec![first];
        values.extend((1..count).map_while(|index| self.header(kind, key, index, &mut 0)));
        values
    }

    fn headers(&self, kind: HeaderType) -> Vec<(EnvoyBuffer<'_>, EnvoyBuffer<'_>)> {
        let mut headers = vec![Header::EMPTY; call!(self.http_get_headers_size(kind as u32))];
        if !call!(self.http_get_headers(kind as u32, headers.as_mut_ptr())) {
            return Vec::new();
        }
        // SAFETY: as for `header`.
        let view = |bytes| unsafe { EnvoyBuffer::from_raw(bytes) };
        headers
            .iter()
            .map(|header| (view(header.key()), view(header.value())))
            .collect()
    }

    fn set_header(&mut self, kind: HeaderType, key: &str, value: Buffer) -> bool {
        call!(self.http_set_header(kind as u32, Buffer::of(key.as_bytes()), value))
    }

    fn add_header(&mut self, kind: HeaderType, key: &str, value: &[u8]) -> bool {
        call!(self.http_add_header(kind as u32, Buffer::of(key.as_bytes()), Buffer::of(value)))
    }

    fn body(&mut self, kind: BodyType) -> Option<Vec<EnvoyMutBuffer<'_>>> {
        let mut chunks = vec![Buffer::EMPTY; call!(self.http_get_body_chunks_size(kind as u32))];
        if !call!(self.http_get_body_chunks(kind as u32, chunks.as_mut_ptr())) {
            return None;
        }
        // SAFETY: the chunks live until the body is changed, which takes `&mut self`, or the hook returns, which ends `self`.
        let view = |chunk| EnvoyMutBuffer(unsafe { EnvoyBuffer::from_raw(chunk) });
        Some(chunks.into_iter().map(view).collect())
    }

    fn knows(&self, id: AttributeId, kind: AttributeKind) -> bool {
        let (id_kind, since) = attribute(id);
        id_kind == kind && self.envoy.release() >= since
    }
}

/// One method per header map.
macro_rules! header_methods {
    ($($kind:ident: $value:ident, $values:ident, $all:ident, $set:ident, $add:ident, $remove:ident;)+) => {
        $(fn $value<'a>(&'a self, key: &str) -> Option<EnvoyBuffer<'a>> {
            self.header(HeaderType::$kind, key, 0, &mut 0)
        }

        fn $values<'a>(&'a self, key: &str) -> Vec<EnvoyBuffer<'a>> {
            self.header_values(HeaderType::$kind, key)
        }

        fn $all<'a>(&'a self) -> Vec<(EnvoyBuffer<'a>, EnvoyBuffer<'a>)> {
            self.headers(HeaderType::$kind)
        }

        fn $set(&mut self, key: &str, value: &[u8]) -> bool {
            self.set_header(HeaderType::$kind, key, Buffer::of(value))
        }

        fn $add(&mut self, key: &str, value: &[u8]) -> bool {
            self.add_header(HeaderType::$kind, key, value)
        }

        fn $remove(&mut self, key: &str) -> bool {
            self.set_header(HeaderType::$kind, key, Buffer::EMPTY)
        })+
    };
}

/// One method per body.
macro_rules! body_methods {
    ($($kind:ident: $get:ident, $size:ident, $drain:ident, $append:ident;)+) => {
        $(fn $get<'a>(&'a mut self) -> Option<Vec<EnvoyMutBuffer<'a>>> {
            self.body(BodyType::$kind)
        }

        fn $size(&mut self) -> usize {
            call!(self.http_get_body_size(BodyType::$kind as u32))
        }

        fn $drain(&mut self, number_of_bytes: usize) -> bool {
            call!(self.http_drain_body(BodyType::$kind as u32, number_of_bytes))
        }

        fn $append(&mut self, data: &[u8]) -> bool {
            call!(self.http_append_body(BodyType::$kind as u32, Buffer::of(data)))
        })+
    };
}

impl metrics::Owner for EnvoyHttpFilterImpl {
    fn owner(&self) -> (&'static Callbacks, EnvoyPtr) {
        (self.envoy, self.raw)
    }
}

impl EnvoyHttpFilter for EnvoyHttpFilterImpl {
    header_methods! {
        Request: get_request_header_value, get_request_header_values, get_request_headers, set_request_header, add_request_header, remove_request_header;
        Response: get_response_header_value, get_response_header_values, get_response_headers, set_response_header, add_response_header, remove_response_header;
    }

    body_methods! {
        ReceivedRequest: get_received_request_body, get_received_request_body_size, drain_received_request_body, append_received_request_body;
        BufferedRequest: get_buffered_request_body, get_buffered_request_body_size, drain_buffered_request_body, append_buffered_request_body;
        ReceivedResponse: get_received_response_body, get_received_response_body_size, drain_received_response_body, append_received_response_body;
        BufferedResponse: get_buffered_response_body, get_buffered_response_body_size, drain_buffered_response_body, append_buffered_response_body;
    }

    update_methods! {
        increment_counter, increment_counter_vec, http_filter_increment_counter: EnvoyCounterId, EnvoyCounterVecId;
        set_gauge, set_gauge_vec, http_filter_set_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        increase_gauge, increase_gauge_vec, http_filter_increment_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        decrease_gauge, decrease_gauge_vec, http_filter_decrement_gauge: EnvoyGaugeId, EnvoyGaugeVecId;
        record_histogram_value, record_histogram_value_vec, http_filter_record_histogram_value: EnvoyHistogramId, EnvoyHistogramVecId;
    }

    fn received_buffered_request_body(&mut self) -> bool {
        call!(self.http_received_buffered_request_body())
    }

    fn received_buffered_response_body(&mut self) -> bool {
        call!(self.http_received_buffered_response_body())
    }

    fn get_buffer_limit(&self) -> u64 {
        call!(self.http_get_buffer_limit())
    }

    fn send_response(&mut self, status: u32, headers: &[(&str, &[u8])], body: Option<&[u8]>, details: Option<&str>) {
        let headers: Vec<Header> = headers
            .iter()
            .map(|(key, value)| Header::of(key.as_bytes(), value))
            .collect();
        let body = body.map_or(Buffer::EMPTY, Buffer::of);
        let details = details.map_or(Buffer::EMPTY, |details| Buffer::of(details.as_bytes()));
        call!(self.http_send_response(status, headers.as_ptr(), headers.len(), body, details));
    }

    fn set_dynamic_metadata_string(&mut self, namespace: &str, key: &str, value: &str) {
        let (namespace, key) = (Buffer::of(namespace.as_bytes()), Buffer::of(key.as_bytes()));
        call!(self.http_set_dynamic_metadata_string(namespace, key, Buffer::of(value.as_bytes())));
    }

    fn set_dynamic_metadata_number(&mut self, namespace: &str, key: &str, value: f64) {
        let (namespace, key) = (Buffer::of(namespace.as_bytes()), Buffer::of(key.as_bytes()));
        call!(self.http_set_dynamic_metadata_number(namespace, key, value));
    }

    fn set_dynamic_metadata_bool(&mut self, namespace: &str, key: &str, value: bool) {
        let (namespace, key) = (Buffer::of(namespace.as_bytes()), Buffer::of(key.as_bytes()));
        call!(self.http_set_dynamic_metadata_bool(namespace, key, value));
    }

    fn set_dynamic_metadata_struct(&mut self, namespace: &str, serialized_struct: &[u8]) -> bool {
        let Some(set) = self.envoy.http_set_dynamic_metadata_struct else {
            return false;
        };
        let (namespace, value) = (Buffer::of(namespace.as_bytes()), Buffer::of(serialized_struct));
        // SAFETY: as in `call!`.
        unsafe { set(self.raw, namespace, value) };
        true
    }

    fn get_filter_state_bytes<'a>(&'a self, key: &[u8]) -> Option<EnvoyBuffer<'a>> {
        let mut value = Buffer::EMPTY;
        // SAFETY: the value lives until it is replaced, which takes `&mut self`, or the hook returns, which ends `self`.
        call!(self.http_get_filter_state_bytes(Buffer::of(key), &raw mut value))
            .then(|| unsafe { EnvoyBuffer::from_raw(value) })
    }

    fn set_filter_state_bytes(&mut self, key: &[u8], value: &[u8]) -> bool {
        call!(self.http_set_filter_state_bytes(Buffer::of(key), Buffer::of(value)))
    }

    fn get_attribute_string<'a>(&'a self, id: AttributeId) -> Option<EnvoyBuffer<'a>> {
        if !self.knows(id, AttributeKind::Text) {
            return None;
        }
        let mut value = Buffer::EMPTY;
        // SAFETY: Envoy answers with a view of the stream's own data, which lives until the hook returns.
        call!(self.http_filter_get_attribute_string(id as u32, &raw mut value))
            .then(|| unsafe { EnvoyBuffer::from_raw(value) })
    }

    fn get_attribute_int(&self, id: AttributeId) -> Option<i64> {
        if !self.knows(id, AttributeKind::Number) {
            return None;
        }
        let mut value = 0;
        call!(self.http_filter_get_attribute_int(id as u32, &raw mut value))
            .then(|| i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn add_custom_flag(&mut self, flag: &str) {
        call!(self.http_add_custom_flag(Buffer::of(flag.as_bytes())));
    }

    fn get_most_specific_route_config(&self) -> Option<RouteConfig> {
        let config = call!(self.get_most_specific_route_config());
        // SAFETY: null, or the box that `per_route_config_new` returned; the route keeps it alive during the hook.
        unsafe { config.cast::<RouteConfig>().as_ref() }.cloned()
    }

    fn get_worker_index(&self) -> u32 {
        call!(self.http_filter_get_worker_index())
    }

    fn continue_decoding(&mut self) {
        call!(self.http_filter_continue_decoding());
    }

    fn continue_encoding(&mut self) {
        call!(self.http_filter_continue_encoding());
    }

    fn new_scheduler(&self) -> impl EnvoyHttpFilterScheduler + 'static {
        Scheduler {
            envoy: self.envoy,
            raw: call!(self.http_filter_scheduler_new()),
        }
    }
}

struct Scheduler {
    envoy: &'static Callbacks,
    raw: EnvoyPtr,
}

// SAFETY: Envoy documents commit and delete for any thread; the handle refers to the filter weakly.
unsafe impl Send for Scheduler {}
// SAFETY: as above; commit may run concurrently with itself.
unsafe impl Sync for Scheduler {}

impl EnvoyHttpFilterScheduler for Scheduler {
    fn commit(&self, event_id: u64) {
        // SAFETY: the handle is alive until our drop.
        unsafe { (self.envoy.http_filter_scheduler_commit)(self.raw, event_id) }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: we own the handle, and nothing can use it afterwards.
        unsafe { (self.envoy.http_filter_scheduler_delete)(self.raw) }
    }
}

#[derive(PartialEq, Eq)]
enum AttributeKind {
    Text,
    Number,
}

/// What an attribute is, and the first release that answers it: Envoy 1.38 logs an error for each question it cannot answer.
const fn attribute(id: AttributeId) -> (AttributeKind, EnvoyRelease) {
    use AttributeId as Id;
    use AttributeKind::{Number, Text};
    use EnvoyRelease::{V1_38, V1_39, V1_40};
    match id {
        Id::RequestPath | Id::RequestUrlPath | Id::RequestHost | Id::RequestScheme | Id::RequestMethod => (Text, V1_38),
        Id::RequestReferer | Id::RequestUserAgent | Id::RequestId | Id::RequestProtocol => (Text, V1_38),
        Id::RequestQuery | Id::SourceAddress | Id::DestinationAddress | Id::UpstreamAddress => (Text, V1_38),
        Id::XdsRouteName => (Text, V1_38),
        Id::ResponseCode | Id::SourcePort | Id::DestinationPort | Id::ConnectionId | Id::UpstreamPort => {
            (Number, V1_38)
        }
        Id::ResponseCodeDetails | Id::UpstreamLocalAddress => (Text, V1_39),
        Id::ResponseFlags | Id::ResponseSize | Id::UpstreamRequestAttemptCount => (Number, V1_39),
        Id::XdsClusterName | Id::XdsVirtualHostName | Id::XdsFilterChainName => (Text, V1_40),
        Id::RequestSize | Id::RequestTotalSize | Id::ResponseGrpcStatus | Id::ResponseTotalSize => (Number, V1_40),
    }
}
