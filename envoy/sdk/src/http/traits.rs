//! The traits of both sides, with the names and signatures of the official SDK.

use crate::abi::{
    envoy_dynamic_module_type_attribute_id as AttributeId, envoy_dynamic_module_type_metrics_result as MetricsResult,
    envoy_dynamic_module_type_on_http_filter_local_reply_status as LocalReplyStatus,
    envoy_dynamic_module_type_on_http_filter_request_body_status as RequestBodyStatus,
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_request_trailers_status as RequestTrailersStatus,
    envoy_dynamic_module_type_on_http_filter_response_body_status as ResponseBodyStatus,
    envoy_dynamic_module_type_on_http_filter_response_headers_status as ResponseHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_response_trailers_status as ResponseTrailersStatus,
};
use crate::buffer::{EnvoyBuffer, EnvoyMutBuffer};
use crate::metrics::{
    EnvoyCounterId, EnvoyCounterVecId, EnvoyGaugeId, EnvoyGaugeVecId, EnvoyHistogramId, EnvoyHistogramVecId,
};
use std::any::Any;
use std::sync::Arc;

/// What becomes of a stream after a panic in its filter. An addition to the official SDK, which has `CatchUnwind` instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicPolicy {
    /// The stream is answered 500, or reset when its response has begun. For filters that decide.
    #[default]
    FailRequest,
    /// The stream goes on without the filter. For filters that only watch.
    PassThrough,
}

/// The module's side of a filter configuration. Dropped when Envoy drops its own.
pub trait HttpFilterConfig<EHF: EnvoyHttpFilter>: Send + Sync {
    /// Makes the filter of a new stream, on the stream's worker thread.
    fn new_http_filter(&self, envoy: &mut EHF) -> Box<dyn HttpFilter<EHF>>;

    /// What becomes of a stream whose filter panicked. Asked once, after the factory.
    fn panic_policy(&self) -> PanicPolicy {
        PanicPolicy::default()
    }
}

/// The module's side of one stream.
pub trait HttpFilter<EHF: EnvoyHttpFilter> {
    /// The request headers arrived.
    fn on_request_headers(&mut self, _envoy_filter: &mut EHF, _end_of_stream: bool) -> RequestHeadersStatus {
        RequestHeadersStatus::Continue
    }

    /// A piece of the request body arrived; the last one may be empty.
    fn on_request_body(&mut self, _envoy_filter: &mut EHF, _end_of_stream: bool) -> RequestBodyStatus {
        RequestBodyStatus::Continue
    }

    /// The request trailers arrived.
    fn on_request_trailers(&mut self, _envoy_filter: &mut EHF) -> RequestTrailersStatus {
        RequestTrailersStatus::Continue
    }

    /// The response headers arrived. Not called for a response of this filter's own.
    fn on_response_headers(&mut self, _envoy_filter: &mut EHF, _end_of_stream: bool) -> ResponseHeadersStatus {
        ResponseHeadersStatus::Continue
    }

    /// A piece of the response body arrived; the last one is often empty.
    fn on_response_body(&mut self, _envoy_filter: &mut EHF, _end_of_stream: bool) -> ResponseBodyStatus {
        ResponseBodyStatus::Continue
    }

    /// The response trailers arrived.
    fn on_response_trailers(&mut self, _envoy_filter: &mut EHF) -> ResponseTrailersStatus {
        ResponseTrailersStatus::Continue
    }

    /// The stream is over. The access log is written afterwards, so it sees metadata that is set here.
    fn on_stream_complete(&mut self, _envoy_filter: &mut EHF) {}

    /// An event committed through [`EnvoyHttpFilterScheduler::commit`] has reached the stream's worker.
    fn on_scheduled(&mut self, _envoy_filter: &mut EHF, _event_id: u64) {}

    /// The client reads slower than this filter writes.
    fn on_downstream_above_write_buffer_high_watermark(&mut self, _envoy_filter: &mut EHF) {}

    /// The client has caught up.
    fn on_downstream_below_write_buffer_low_watermark(&mut self, _envoy_filter: &mut EHF) {}

    /// Envoy or another filter answers in the upstream's place. Replies that this filter makes in a hook do not come here.
    fn on_local_reply(
        &mut self,
        _envoy_filter: &mut EHF,
        _response_code: u32,
        _details: EnvoyBuffer<'_>,
        _reset_imminent: bool,
    ) -> LocalReplyStatus {
        LocalReplyStatus::Continue
    }
}

/// Envoy's side of a filter configuration; lent to the factory, the only place where metrics can be defined.
pub trait EnvoyHttpFilterConfig {
    /// Defines a counter.
    fn define_counter(&mut self, name: &str) -> Result<EnvoyCounterId, MetricsResult>;
    /// Defines a counter with labels.
    fn define_counter_vec(&mut self, name: &str, labels: &[&str]) -> Result<EnvoyCounterVecId, MetricsResult>;
    /// Defines a gauge.
    fn define_gauge(&mut self, name: &str) -> Result<EnvoyGaugeId, MetricsResult>;
    /// Defines a gauge with labels.
    fn define_gauge_vec(&mut self, name: &str, labels: &[&str]) -> Result<EnvoyGaugeVecId, MetricsResult>;
    /// Defines a histogram.
    fn define_histogram(&mut self, name: &str) -> Result<EnvoyHistogramId, MetricsResult>;
    /// Defines a histogram with labels.
    fn define_histogram_vec(&mut self, name: &str, labels: &[&str]) -> Result<EnvoyHistogramVecId, MetricsResult>;
}

/// Envoy's side of one stream; lent to each hook. What a method returns borrows from it and so ends with the hook or the next change.
pub trait EnvoyHttpFilter {
    /// The first value of a request header.
    fn get_request_header_value<'a>(&'a self, key: &str) -> Option<EnvoyBuffer<'a>>;
    /// All values of a request header.
    fn get_request_header_values<'a>(&'a self, key: &str) -> Vec<EnvoyBuffer<'a>>;
    /// All request headers, in order, names in lower case.
    fn get_request_headers<'a>(&'a self) -> Vec<(EnvoyBuffer<'a>, EnvoyBuffer<'a>)>;
    /// Replaces all values of a request header. An empty value removes it, in every release up to 1.40.
    fn set_request_header(&mut self, key: &str, value: &[u8]) -> bool;
    /// Adds a value to a request header.
    fn add_request_header(&mut self, key: &str, value: &[u8]) -> bool;
    /// Removes a request header.
    fn remove_request_header(&mut self, key: &str) -> bool;

    /// The first value of a response header.
    fn get_response_header_value<'a>(&'a self, key: &str) -> Option<EnvoyBuffer<'a>>;
    /// All values of a response header.
    fn get_response_header_values<'a>(&'a self, key: &str) -> Vec<EnvoyBuffer<'a>>;
    /// All response headers, in order, names in lower case.
    fn get_response_headers<'a>(&'a self) -> Vec<(EnvoyBuffer<'a>, EnvoyBuffer<'a>)>;
    /// Replaces all values of a response header. An empty value removes it, in every release up to 1.40.
    fn set_response_header(&mut self, key: &str, value: &[u8]) -> bool;
    /// Adds a value to a response header.
    fn add_response_header(&mut self, key: &str, value: &[u8]) -> bool;
    /// Removes a response header.
    fn remove_response_header(&mut self, key: &str) -> bool;

    /// Answers the request in the upstream's place; the hook then stops the iteration. `details` shows in the access log.
    fn send_response(
        &mut self,
        status_code: u32,
        headers: &[(&str, &[u8])],
        body: Option<&[u8]>,
        details: Option<&str>,
    );

    /// The chunks of the request body that the running body hook received.
    fn get_received_request_body<'a>(&'a mut self) -> Option<Vec<EnvoyMutBuffer<'a>>>;
    /// The request body that was buffered before.
    fn get_buffered_request_body<'a>(&'a mut self) -> Option<Vec<EnvoyMutBuffer<'a>>>;
    /// Bytes in [`get_received_request_body`](Self::get_received_request_body).
    fn get_received_request_body_size(&mut self) -> usize;
    /// Bytes in [`get_buffered_request_body`](Self::get_buffered_request_body).
    fn get_buffered_request_body_size(&mut self) -> usize;
    /// Removes bytes from the front of the received request body. `content-length` is the caller's to mend, here and below.
    fn drain_received_request_body(&mut self, number_of_bytes: usize) -> bool;
    /// Removes bytes from the front of the buffered request body.
    fn drain_buffered_request_body(&mut self, number_of_bytes: usize) -> bool;
    /// Adds bytes to the received request body.
    fn append_received_request_body(&mut self, data: &[u8]) -> bool;
    /// Adds bytes to the buffered request body.
    fn append_buffered_request_body(&mut self, data: &[u8]) -> bool;
    /// Whether the received request body is the one that was buffered before.
    fn received_buffered_request_body(&mut self) -> bool;

    /// The chunks of the response body that the running body hook received.
    fn get_received_response_body<'a>(&'a mut self) -> Option<Vec<EnvoyMutBuffer<'a>>>;
    /// The response body that was buffered before.
    fn get_buffered_response_body<'a>(&'a mut self) -> Option<Vec<EnvoyMutBuffer<'a>>>;
    /// Bytes in [`get_received_response_body`](Self::get_received_response_body).
    fn get_received_response_body_size(&mut self) -> usize;
    /// Bytes in [`get_buffered_response_body`](Self::get_buffered_response_body).
    fn get_buffered_response_body_size(&mut self) -> usize;
    /// Removes bytes from the front of the received response body.
    fn drain_received_response_body(&mut self, number_of_bytes: usize) -> bool;
    /// Removes bytes from the front of the buffered response body.
    fn drain_buffered_response_body(&mut self, number_of_bytes: usize) -> bool;
    /// Adds bytes to the received response body.
    fn append_received_response_body(&mut self, data: &[u8]) -> bool;
    /// Adds bytes to the buffered response body.
    fn append_buffered_response_body(&mut self, data: &[u8]) -> bool;
    /// Whether the received response body is the one that was buffered before.
    fn received_buffered_response_body(&mut self) -> bool;
    /// How many bytes Envoy buffers for the stream before it refuses more (413); 0 is no limit.
    fn get_buffer_limit(&self) -> u64;

    /// Sets a text in the stream's dynamic metadata.
    fn set_dynamic_metadata_string(&mut self, namespace: &str, key: &str, value: &str);
    /// Sets a number in the stream's dynamic metadata.
    fn set_dynamic_metadata_number(&mut self, namespace: &str, key: &str, value: f64);
    /// Sets a truth value in the stream's dynamic metadata.
    fn set_dynamic_metadata_bool(&mut self, namespace: &str, key: &str, value: bool);
    /// Merges a serialized `google.protobuf.Struct` into the stream's dynamic metadata. False before 1.40, which cannot.
    fn set_dynamic_metadata_struct(&mut self, namespace: &str, serialized_struct: &[u8]) -> bool;

    /// A value of the stream's filter state.
    fn get_filter_state_bytes<'a>(&'a self, key: &[u8]) -> Option<EnvoyBuffer<'a>>;
    /// Sets a value of the stream's filter state; the access log reads it as `%FILTER_STATE(key:PLAIN)%`.
    fn set_filter_state_bytes(&mut self, key: &[u8], value: &[u8]) -> bool;

    /// A text attribute. `None` also when this Envoy does not know it.
    fn get_attribute_string<'a>(&'a self, attribute_id: AttributeId) -> Option<EnvoyBuffer<'a>>;
    /// A number attribute. `None` also when this Envoy does not know it.
    fn get_attribute_int(&self, attribute_id: AttributeId) -> Option<i64>;

    /// Adds a word to the access log's `%CUSTOM_FLAGS%`; without spaces.
    fn add_custom_flag(&mut self, flag: &str);
    /// The per-route configuration that holds for this stream.
    fn get_most_specific_route_config(&self) -> Option<Arc<dyn Any + Send + Sync>>;
    /// Which worker runs this stream, from 0.
    fn get_worker_index(&self) -> u32;
    /// Lets a held request go on, from a later hook.
    fn continue_decoding(&mut self);
    /// Lets a held response go on, from a later hook.
    fn continue_encoding(&mut self);
    /// A handle that brings an event to this stream's worker from any thread.
    fn new_scheduler(&self) -> impl EnvoyHttpFilterScheduler + 'static;

    /// Adds to a counter.
    fn increment_counter(&self, id: EnvoyCounterId, value: u64) -> Result<(), MetricsResult>;
    /// Adds to a counter with labels.
    fn increment_counter_vec(&self, id: EnvoyCounterVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Sets a gauge.
    fn set_gauge(&self, id: EnvoyGaugeId, value: u64) -> Result<(), MetricsResult>;
    /// Sets a gauge with labels.
    fn set_gauge_vec(&self, id: EnvoyGaugeVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Adds to a gauge.
    fn increase_gauge(&self, id: EnvoyGaugeId, value: u64) -> Result<(), MetricsResult>;
    /// Adds to a gauge with labels.
    fn increase_gauge_vec(&self, id: EnvoyGaugeVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Subtracts from a gauge.
    fn decrease_gauge(&self, id: EnvoyGaugeId, value: u64) -> Result<(), MetricsResult>;
    /// Subtracts from a gauge with labels.
    fn decrease_gauge_vec(&self, id: EnvoyGaugeVecId, labels: &[&str], value: u64) -> Result<(), MetricsResult>;
    /// Records a value; it shows after the next stats flush.
    fn record_histogram_value(&self, id: EnvoyHistogramId, value: u64) -> Result<(), MetricsResult>;
    /// Records a value with labels.
    fn record_histogram_value_vec(
        &self,
        id: EnvoyHistogramVecId,
        labels: &[&str],
        value: u64,
    ) -> Result<(), MetricsResult>;
}

/// Brings events to a stream's worker. After the stream is gone a commit does nothing.
pub trait EnvoyHttpFilterScheduler: Send + Sync {
    /// Has [`HttpFilter::on_scheduled`] called with `event_id`. Any thread; never blocks.
    fn commit(&self, event_id: u64);
}
