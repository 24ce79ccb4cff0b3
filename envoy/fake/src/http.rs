//! HTTP filter configurations and streams as Envoy drives them.

use crate::state::{State, StreamState};
use envoy_proxy_dynamic_modules_rust_sdk::abi::{BodyType, HeaderType};
use envoy_proxy_dynamic_modules_rust_sdk::host::{self, Handle, HttpFilter, MetadataValue, Response};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A filter configuration. Its drop is the removal of the listener.
pub struct HttpConfig {
    config: host::HttpConfig,
    state: Arc<State>,
    handle: Handle,
}

impl HttpConfig {
    pub(crate) fn new(state: Arc<State>, name: Option<&[u8]>, config: Option<&[u8]>) -> Option<Self> {
        let handle = state.new_owner();
        let config = host::HttpConfig::new(handle, name, config)?;
        state.freeze(handle);
        Some(Self { config, state, handle })
    }

    /// Opens a stream on worker 0; `None` when the module fails, which closes the stream.
    pub fn stream(&self) -> Option<Stream> {
        self.stream_with(|_| {})
    }

    /// Opens a stream that `prepare` gave headers, attributes or a route.
    pub fn stream_with(&self, prepare: impl FnOnce(&mut StreamState)) -> Option<Stream> {
        let handle = self.state.new_owner();
        let mut stream = StreamState {
            config: self.handle,
            ..StreamState::default()
        };
        prepare(&mut stream);
        self.state.lock().streams.insert(handle, stream);
        let filter = Rc::new(self.config.stream(handle)?);
        FILTERS.with_borrow_mut(|filters| filters.insert(handle, Rc::clone(&filter)));
        Some(Stream {
            filter,
            state: Arc::clone(&self.state),
            handle,
        })
    }
}

/// One stream. Its drop destroys the filter; [`complete`](Self::complete) ends it in order.
pub struct Stream {
    filter: Rc<HttpFilter>,
    state: Arc<State>,
    handle: Handle,
}

impl Stream {
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    /// Reads or changes what the host knows about the stream.
    pub fn with<T>(&self, look: impl FnOnce(&mut StreamState) -> T) -> T {
        look(self.state.lock().streams.entry(self.handle).or_default())
    }

    /// Request headers arrive; returns the status, as all of these do.
    pub fn request_headers(&self, headers: &[(&str, &str)], end: bool) -> u32 {
        self.with(|stream| stream.set_headers(HeaderType::Request, headers));
        self.filter.request_headers(end)
    }

    /// A piece of the request body arrives, in these chunks.
    pub fn request_body(&self, chunks: &[&[u8]], end: bool) -> u32 {
        self.with(|stream| stream.set_body(BodyType::ReceivedRequest, chunks));
        self.filter.request_body(end)
    }

    /// Request trailers arrive.
    pub fn request_trailers(&self) -> u32 {
        self.filter.request_trailers()
    }

    /// Response headers arrive.
    pub fn response_headers(&self, headers: &[(&str, &str)], end: bool) -> u32 {
        self.with(|stream| stream.set_headers(HeaderType::Response, headers));
        self.filter.response_headers(end)
    }

    /// A piece of the response body arrives, in these chunks.
    pub fn response_body(&self, chunks: &[&[u8]], end: bool) -> u32 {
        self.with(|stream| stream.set_body(BodyType::ReceivedResponse, chunks));
        self.filter.response_body(end)
    }

    /// Response trailers arrive.
    pub fn response_trailers(&self) -> u32 {
        self.filter.response_trailers()
    }

    /// Somebody answers in the upstream's place.
    pub fn local_reply(&self, code: u32, details: &str) -> u32 {
        self.filter.local_reply(code, details.as_bytes(), false)
    }

    /// Brings an event, as if it had been committed.
    pub fn scheduled(&self, event: u64) {
        self.filter.scheduled(event);
    }

    /// The client is slow, then it has caught up.
    pub fn watermarks(&self) {
        self.filter.above_high_watermark();
        self.filter.below_low_watermark();
    }

    /// The stream ends: the last hook, then the filter is destroyed.
    pub fn complete(&self) {
        self.filter.stream_complete();
        self.filter.destroy();
    }

    /// The responses that the filter sent.
    pub fn responses(&self) -> Vec<Response> {
        self.with(|stream| stream.responses.clone())
    }

    /// A value of the dynamic metadata.
    pub fn metadata(&self, namespace: &str, key: &str) -> Option<MetadataValue> {
        self.with(|stream| stream.metadata.get(&(namespace.to_owned(), key.to_owned())).cloned())
    }

    /// The values of a header.
    pub fn header(&self, kind: HeaderType, key: &str) -> Vec<String> {
        self.with(|stream| stream.header(kind, key))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        FILTERS.with_borrow_mut(|filters| filters.remove(&self.handle));
        self.filter.destroy();
        self.state.forget(self.handle);
    }
}

/// What Envoy does with a response that a filter sends: the local reply hook, from within; perhaps the end of the stream.
pub(crate) fn reply_from_within(handle: Handle, response: &Response, ends_stream: bool) {
    let Some(filter) = FILTERS.with_borrow(|filters| filters.get(&handle).cloned()) else {
        return;
    };
    filter.local_reply(response.status, response.details.as_bytes(), false);
    if ends_stream {
        filter.stream_complete();
        filter.destroy();
    }
}

thread_local! {
    /// The filters of this thread's streams, since a filter can be called from within its own hooks.
    static FILTERS: RefCell<HashMap<Handle, Rc<HttpFilter>>> = RefCell::new(HashMap::new());
}
