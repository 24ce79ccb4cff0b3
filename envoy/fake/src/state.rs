//! What the host knows: its answers to the module, and the record of what the module did.

use crate::http::reply_from_within;
use envoy_proxy_dynamic_modules_rust_sdk::abi::{BodyType, HeaderType};
use envoy_proxy_dynamic_modules_rust_sdk::host::{
    Envoy, Handle, MetadataValue, MetricChange, MetricKind, Response, RouteConfig,
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 0 (trace) to 4 (error).
    pub level: u32,
    /// The text.
    pub message: String,
    /// File and line, which releases before 1.40 are not told.
    pub place: Option<(String, u32)>,
}

/// A registered admin page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminHandler {
    /// The exact path.
    pub path: String,
    /// The text on the admin's front page.
    pub help: String,
    /// Whether it may be withdrawn.
    pub removable: bool,
    /// Whether it needs POST.
    pub mutates: bool,
}

/// What the host knows about a stream. Tests fill it before a hook and read it afterwards.
#[derive(Default)]
pub struct StreamState {
    pub(crate) config: Handle,
    pub(crate) headers: [Vec<(Vec<u8>, Vec<u8>)>; 2],
    pub(crate) bodies: HashMap<BodyType, Vec<Vec<u8>>>,
    /// Whether the received request and response bodies were buffered before.
    pub received_buffered: [bool; 2],
    /// How much of a body is buffered at most; 0 is no limit.
    pub buffer_limit: u64,
    /// Dynamic metadata by namespace and key; a whole struct has an empty key.
    pub metadata: BTreeMap<(String, String), MetadataValue>,
    /// Filter state.
    pub filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Text attributes by id.
    pub attribute_strings: HashMap<u32, Vec<u8>>,
    /// Number attributes by id.
    pub attribute_ints: HashMap<u32, u64>,
    /// The ids of attributes that were asked for.
    pub asked_attributes: Vec<u32>,
    /// Responses that the filter sent.
    pub responses: Vec<Response>,
    /// Whether a response of the filter ends the stream at once, from within the hook.
    pub response_ends_stream: bool,
    /// How often the request was let go on.
    pub continued_decoding: usize,
    /// How often the response was let go on.
    pub continued_encoding: usize,
    /// The worker.
    pub worker: u32,
    /// Custom flags.
    pub flags: Vec<String>,
    /// The configuration of the stream's route.
    pub route: Option<Arc<RouteConfig>>,
}

impl StreamState {
    /// Replaces a header map.
    pub fn set_headers(&mut self, kind: HeaderType, headers: &[(&str, &str)]) {
        *self.map(kind) = headers
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
    }

    /// Replaces a body.
    pub fn set_body(&mut self, kind: BodyType, chunks: &[&[u8]]) {
        self.bodies
            .insert(kind, chunks.iter().map(|chunk| chunk.to_vec()).collect());
    }

    /// A body in one piece.
    pub fn body(&self, kind: BodyType) -> Vec<u8> {
        self.bodies.get(&kind).map(|chunks| chunks.concat()).unwrap_or_default()
    }

    /// The values of a header.
    pub fn header(&mut self, kind: HeaderType, key: &str) -> Vec<String> {
        let named = |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(key.as_bytes());
        self.map(kind)
            .iter()
            .filter(named)
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    fn map(&mut self, kind: HeaderType) -> &mut Vec<(Vec<u8>, Vec<u8>)> {
        let [request, response] = &mut self.headers;
        match kind {
            HeaderType::Request => request,
            HeaderType::Response => response,
        }
    }
}

struct Metric {
    config: Handle,
    kind: MetricKind,
    name: String,
    labels: Vec<String>,
    values: BTreeMap<Vec<String>, u64>,
}

/// The record, behind one lock that is never held while a hook runs.
pub(crate) struct Record {
    pub(crate) logs: Vec<LogLine>,
    pub(crate) log_level: u32,
    pub(crate) validation_mode: bool,
    metrics: Vec<Metric>,
    pub(crate) stats: HashMap<(MetricKind, String), u64>,
    pub(crate) schedulers: HashMap<Handle, Handle>,
    pub(crate) events: VecDeque<(Handle, u64)>,
    owners: HashSet<Handle>,
    frozen: HashSet<Handle>,
    pub(crate) init_completions: Vec<Handle>,
    pub(crate) shutdown_completions: Vec<Handle>,
    timers: BTreeMap<Handle, (Handle, Option<u64>)>,
    pub(crate) admin_handlers: Vec<AdminHandler>,
    pub(crate) admin_response: Vec<u8>,
    pub(crate) file_watches: Vec<(String, u32)>,
    pub(crate) streams: HashMap<Handle, StreamState>,
}

impl Record {
    pub(crate) fn defined(&self) -> Vec<(String, Vec<String>)> {
        let metrics = self.metrics.iter();
        metrics
            .map(|metric| (metric.name.clone(), metric.labels.clone()))
            .collect()
    }

    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> Option<u64> {
        let metric = self.metrics.iter().rev().find(|metric| metric.name == name)?;
        metric
            .values
            .iter()
            .find(|(values, _)| *values == labels)
            .map(|(_, value)| *value)
    }
}

/// The host that the module sees.
pub(crate) struct State {
    record: Mutex<Record>,
}

impl Default for State {
    fn default() -> Self {
        let record = Record {
            logs: Vec::new(),
            log_level: 2,
            validation_mode: false,
            metrics: Vec::new(),
            stats: HashMap::new(),
            schedulers: HashMap::new(),
            events: VecDeque::new(),
            owners: HashSet::new(),
            frozen: HashSet::new(),
            init_completions: Vec::new(),
            shutdown_completions: Vec::new(),
            timers: BTreeMap::new(),
            admin_handlers: Vec::new(),
            admin_response: Vec::new(),
            file_watches: Vec::new(),
            streams: HashMap::new(),
        };
        Self {
            record: Mutex::new(record),
        }
    }
}

impl State {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new_handle(&self) -> Handle {
        /// One count for all: what an Envoy that has ended left behind must not be taken for the next one's.
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Handle(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A configuration or a stream, which can have schedulers.
    pub(crate) fn new_owner(&self) -> Handle {
        let handle = self.new_handle();
        self.lock().owners.insert(handle);
        handle
    }

    /// The configuration exists: no more metrics can be defined. (1.38 alone lets a bootstrap extension define them later too.)
    pub(crate) fn freeze(&self, config: Handle) {
        self.lock().frozen.insert(config);
    }

    pub(crate) fn forget(&self, owner: Handle) {
        let mut record = self.lock();
        record.owners.remove(&owner);
        record.events.retain(|(to, _)| *to != owner);
    }

    pub(crate) fn timers_of(&self, config: Handle) -> Vec<(Handle, Option<u64>)> {
        let record = self.lock();
        record
            .timers
            .iter()
            .filter(|(_, (of, _))| *of == config)
            .map(|(timer, (_, delay))| (*timer, *delay))
            .collect()
    }

    pub(crate) fn stop_timer(&self, timer: Handle) {
        if let Some((_, delay)) = self.lock().timers.get_mut(&timer) {
            *delay = None;
        }
    }

    fn stream<T>(&self, stream: Handle, look: impl FnOnce(&mut StreamState) -> T) -> T {
        look(self.lock().streams.entry(stream).or_default())
    }
}

impl Envoy for State {
    fn log(&self, level: u32, message: String, place: Option<(String, u32)>) {
        self.lock().logs.push(LogLine { level, message, place });
    }

    fn log_enabled(&self, level: u32) -> bool {
        level >= self.lock().log_level
    }

    fn concurrency(&self) -> u32 {
        2
    }

    fn is_validation_mode(&self) -> bool {
        self.lock().validation_mode
    }

    fn define_metric(&self, config: Handle, kind: MetricKind, name: String, labels: Vec<String>) -> Result<usize, u32> {
        let mut record = self.lock();
        if record.frozen.contains(&config) {
            return Err(FROZEN);
        }
        record.metrics.push(Metric {
            config,
            kind,
            name,
            labels,
            values: BTreeMap::new(),
        });
        // Ids start at 1 for each kind.
        Ok(record
            .metrics
            .iter()
            .filter(|metric| metric.config == config && metric.kind == kind)
            .count())
    }

    fn change_metric(
        &self,
        owner: Handle,
        kind: MetricKind,
        change: MetricChange,
        id: usize,
        labels: Vec<String>,
        value: u64,
    ) -> u32 {
        let mut record = self.lock();
        let config = record.streams.get(&owner).map_or(owner, |stream| stream.config);
        let mut known = record
            .metrics
            .iter_mut()
            .filter(|metric| metric.config == config && metric.kind == kind);
        let Some(metric) = id.checked_sub(1).and_then(|index| known.nth(index)) else {
            return METRIC_NOT_FOUND;
        };
        if metric.labels.len() != labels.len() {
            return INVALID_LABELS;
        }
        let current = metric.values.entry(labels).or_default();
        *current = match change {
            MetricChange::Increment | MetricChange::Record => current.saturating_add(value),
            MetricChange::Decrement => current.saturating_sub(value),
            MetricChange::Set => value,
        };
        0
    }

    fn stat(&self, kind: MetricKind, name: &str) -> Option<u64> {
        self.lock().stats.get(&(kind, name.to_owned())).copied()
    }

    fn new_scheduler(&self, owner: Handle) -> Handle {
        let scheduler = self.new_handle();
        self.lock().schedulers.insert(scheduler, owner);
        scheduler
    }

    fn commit(&self, scheduler: Handle, event: u64) {
        let mut record = self.lock();
        let owner = record.schedulers.get(&scheduler).copied();
        if let Some(owner) = owner.filter(|owner| record.owners.contains(owner)) {
            record.events.push_back((owner, event));
        }
    }

    fn delete_scheduler(&self, scheduler: Handle) {
        self.lock().schedulers.remove(&scheduler);
    }

    fn signal_init_complete(&self, config: Handle) {
        self.lock().init_completions.push(config);
    }

    fn complete_shutdown(&self, context: Handle) {
        self.lock().shutdown_completions.push(context);
    }

    fn new_timer(&self, config: Handle) -> Handle {
        let timer = self.new_handle();
        self.lock().timers.insert(timer, (config, None));
        timer
    }

    fn enable_timer(&self, timer: Handle, milliseconds: u64) {
        if let Some((_, delay)) = self.lock().timers.get_mut(&timer) {
            *delay = Some(milliseconds);
        }
    }

    fn disable_timer(&self, timer: Handle) {
        self.stop_timer(timer);
    }

    fn timer_enabled(&self, timer: Handle) -> bool {
        self.lock().timers.get(&timer).is_some_and(|(_, delay)| delay.is_some())
    }

    fn delete_timer(&self, timer: Handle) {
        self.lock().timers.remove(&timer);
    }

    fn register_admin_handler(&self, _: Handle, path: String, help: String, removable: bool, mutates: bool) -> bool {
        let mut record = self.lock();
        if record.admin_handlers.iter().any(|handler| handler.path == path) {
            return false;
        }
        record.admin_handlers.push(AdminHandler {
            path,
            help,
            removable,
            mutates,
        });
        true
    }

    fn remove_admin_handler(&self, _: Handle, path: &str) -> bool {
        let mut record = self.lock();
        let before = record.admin_handlers.len();
        record
            .admin_handlers
            .retain(|handler| handler.path != path || !handler.removable);
        record.admin_handlers.len() < before
    }

    fn admin_set_response(&self, _: Handle, body: Vec<u8>) {
        self.lock().admin_response = body;
    }

    fn add_file_watch(&self, _: Handle, path: String, events: u32) -> bool {
        let exists = std::path::Path::new(&path).exists();
        if exists {
            self.lock().file_watches.push((path, events));
        }
        exists
    }

    fn headers(&self, stream: Handle, kind: HeaderType) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.stream(stream, |stream| stream.map(kind).clone())
    }

    fn set_header(&self, stream: Handle, kind: HeaderType, key: Vec<u8>, value: Option<Vec<u8>>) -> bool {
        self.stream(stream, |stream| {
            let headers = stream.map(kind);
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case(&key));
            // Envoy up to 1.40 takes an empty value for a removal too.
            headers.extend(value.filter(|value| !value.is_empty()).map(|value| (key, value)));
            true
        })
    }

    fn add_header(&self, stream: Handle, kind: HeaderType, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.stream(stream, |stream| stream.map(kind).push((key, value)));
        true
    }

    fn send_response(&self, handle: Handle, response: Response) {
        let ends_stream = self.stream(handle, |stream| {
            stream.responses.push(response.clone());
            stream.response_ends_stream
        });
        reply_from_within(handle, &response, ends_stream);
    }

    fn body(&self, stream: Handle, kind: BodyType) -> Option<Vec<Vec<u8>>> {
        self.stream(stream, |stream| stream.bodies.get(&kind).cloned())
    }

    fn append_body(&self, stream: Handle, kind: BodyType, data: Vec<u8>) -> bool {
        self.stream(stream, |stream| {
            // what is not buffered yet is begun, in a hook for trailers too
            if matches!(kind, BodyType::BufferedRequest | BodyType::BufferedResponse) {
                stream.bodies.entry(kind).or_default();
            }
            stream.bodies.get_mut(&kind).map(|body| body.push(data)).is_some()
        })
    }

    fn drain_body(&self, stream: Handle, kind: BodyType, bytes: usize) -> bool {
        self.stream(stream, |stream| {
            let Some(chunks) = stream.bodies.get_mut(&kind) else {
                return false;
            };
            let rest: Vec<u8> = chunks.concat().into_iter().skip(bytes).collect();
            *chunks = if rest.is_empty() { Vec::new() } else { vec![rest] };
            true
        })
    }

    fn received_buffered_body(&self, stream: Handle, response: bool) -> bool {
        self.stream(stream, |stream| {
            let [of_request, of_response] = stream.received_buffered;
            if response { of_response } else { of_request }
        })
    }

    fn set_metadata(&self, stream: Handle, namespace: String, key: String, value: MetadataValue) {
        self.stream(stream, |stream| stream.metadata.insert((namespace, key), value));
    }

    fn filter_state(&self, stream: Handle, key: &[u8]) -> Option<Vec<u8>> {
        self.stream(stream, |stream| stream.filter_state.get(key).cloned())
    }

    fn set_filter_state(&self, stream: Handle, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.stream(stream, |stream| stream.filter_state.insert(key, value));
        true
    }

    fn attribute_string(&self, stream: Handle, id: u32) -> Option<Vec<u8>> {
        self.stream(stream, |stream| {
            stream.asked_attributes.push(id);
            stream.attribute_strings.get(&id).cloned()
        })
    }

    fn attribute_int(&self, stream: Handle, id: u32) -> Option<u64> {
        self.stream(stream, |stream| {
            stream.asked_attributes.push(id);
            stream.attribute_ints.get(&id).copied()
        })
    }

    fn continue_decoding(&self, stream: Handle) {
        self.stream(stream, |stream| stream.continued_decoding += 1);
    }

    fn continue_encoding(&self, stream: Handle) {
        self.stream(stream, |stream| stream.continued_encoding += 1);
    }

    fn buffer_limit(&self, stream: Handle) -> u64 {
        self.stream(stream, |stream| stream.buffer_limit)
    }

    fn worker_index(&self, stream: Handle) -> u32 {
        self.stream(stream, |stream| stream.worker)
    }

    fn add_custom_flag(&self, stream: Handle, flag: String) {
        self.stream(stream, |stream| stream.flags.push(flag));
    }

    fn route_config(&self, stream: Handle) -> Option<Arc<RouteConfig>> {
        self.stream(stream, |stream| stream.route.clone())
    }
}

const METRIC_NOT_FOUND: u32 = 1;
const INVALID_LABELS: u32 = 2;
const FROZEN: u32 = 3;
