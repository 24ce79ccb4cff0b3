//! The metrics that are read when they are collected: the relays' and the chats' figures from the status, and
//! telemetry's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use tokio::sync::watch;

use super::names::{self, Kind, Metric};
use super::outlet::Outlet;
use super::{Origin, Source};
use crate::protocol::Fault;
use crate::protocol::Limit;
use crate::status::snapshot::{ChatSnapshot, ProcessSnapshot, RelaySnapshot, RelayState, Traffic};

/// Tells points of one relay to the sink: a value, and the attribute that it has besides the relay's name.
type Observe = fn(&RelaySnapshot, &mut Sink<'_>);
type ObserveChat = fn(&ChatSnapshot, &mut Sink<'_>);
type Count = fn(&Outlet) -> u64;
type Sink<'a> = dyn FnMut(u64, &[KeyValue]) + 'a;

/// Registers all of them.
pub(super) fn observe(meter: &Meter, source: &Arc<dyn Source>, outlets: &[Arc<Outlet>], stop: watch::Receiver<bool>) {
    let shared = Arc::new(Shared {
        stop,
        source: Arc::clone(source),
        last: Mutex::default(),
    });
    for (reader, (metric, observe)) in RELAYS.iter().enumerate() {
        let shared = Arc::clone(&shared);
        register(meter, metric, move |sink| {
            for relays in shared.snapshot(reader).relays.chunk_by(|a, b| a.name == b.name) {
                for (attributes, value) in summed(relays, *observe) {
                    sink(value, &attributes);
                }
            }
        });
    }
    for (reader, (metric, observe)) in CHATS.iter().enumerate() {
        let shared = Arc::clone(&shared);
        register(meter, metric, move |sink| {
            for chat in &shared.snapshot(RELAYS.len() + reader).chat {
                let path = KeyValue::new(names::CHAT_PATH, chat.path.clone());
                observe(chat, &mut |value, more| {
                    let attributes: Vec<_> = more.iter().chain([&path]).cloned().collect();
                    sink(value, &attributes);
                });
            }
        });
    }
    for (metric, count) in &EXPORTS {
        let (outlets, count) = (outlets.to_vec(), *count);
        register(meter, metric, move |sink| {
            for outlet in &outlets {
                sink(count(outlet), &[KeyValue::new(names::SIGNAL, outlet.signal.name())]);
            }
        });
    }
}

/// One snapshot for all instruments of a collection.
#[derive(Debug)]
struct Shared {
    stop: watch::Receiver<bool>,
    source: Arc<dyn Source>,
    last: Mutex<(Arc<ProcessSnapshot>, Vec<usize>)>,
}

impl Shared {
    /// The snapshot of this collection: a reader that comes back begins the next one.
    fn snapshot(&self, reader: usize) -> Arc<ProcessSnapshot> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, readers) = &mut *last;
        // whoever ends telemetry may hold what the source needs
        if *self.stop.borrow() {
            return Arc::default();
        }
        if readers.is_empty() || readers.contains(&reader) {
            let mut process = self.source.snapshot();
            process.relays.sort_by(|a, b| a.name.cmp(&b.name));
            *snapshot = Arc::new(process);
            readers.clear();
        }
        readers.push(reader);
        Arc::clone(snapshot)
    }
}

/// The points of all clients of one name: of two points with equal attributes the SDK would keep one.
fn summed(relays: &[RelaySnapshot], observe: Observe) -> Vec<(Vec<KeyValue>, u64)> {
    let mut points: Vec<(Vec<KeyValue>, u64)> = Vec::new();
    for relay in relays {
        let labels: Vec<_> = relay.labels.clone().into_iter().collect();
        let own = Origin::new(&relay.name, &labels);
        observe(relay, &mut |value, more| {
            let attributes: Vec<_> = more.iter().chain(own.all()).cloned().collect();
            match points.iter_mut().find(|(known, _)| *known == attributes) {
                Some((_, sum)) => *sum = sum.saturating_add(value),
                None => points.push((attributes, value)),
            }
        });
    }
    points
}

fn register(meter: &Meter, metric: &Metric, points: impl Fn(&mut Sink<'_>) + Send + Sync + 'static) {
    match metric.kind {
        Kind::Counter => drop(
            meter
                .u64_observable_counter(metric.name)
                .with_unit(metric.unit)
                .with_description(metric.description)
                .with_callback(move |observer| {
                    points(&mut |value, attributes| observer.observe(value, attributes));
                })
                .build(),
        ),
        Kind::UpDownCounter => drop(
            meter
                .i64_observable_up_down_counter(metric.name)
                .with_unit(metric.unit)
                .with_description(metric.description)
                .with_callback(move |observer| {
                    points(&mut |value, attributes| {
                        observer.observe(i64::try_from(value).unwrap_or(i64::MAX), attributes);
                    });
                })
                .build(),
        ),
        // a distribution is recorded as things happen
        Kind::Histogram => {}
    }
}

static RELAYS: &[(Metric, Observe)] = &[
    (names::RELAY_CONNECTED, |relay, sink| {
        sink(u64::from(relay.state == RelayState::Connected), &[]);
    }),
    (names::RELAY_STATE, states),
    (names::IN_FLIGHT, |relay, sink| sink(relay.in_flight, &[])),
    (names::QUEUED, |relay, sink| sink(relay.queued, &[])),
    (names::HELD_RESPONSES, |relay, sink| sink(relay.held_responses, &[])),
    (names::HELD_BYTES, |relay, sink| sink(relay.held_bytes, &[])),
    (names::HELD_LIMIT, |relay, sink| sink(relay.max_held_bytes, &[])),
    (names::REQUESTS, |relay, sink| sink(relay.totals.requests, &[])),
    (names::DUPLICATE_REQUESTS, |relay, sink| {
        sink(relay.totals.duplicate_requests, &[]);
    }),
    (names::RESPONSES, |relay, sink| {
        for (status, count) in &relay.totals.responses {
            sink(*count, &[KeyValue::new(names::STATUS_CODE, i64::from(*status))]);
        }
    }),
    (names::FAULTS, |relay, sink| {
        // also those that never happened: an increase from nothing at all is none to Prometheus
        for code in Fault::CODES {
            let count = relay.totals.faults.get(code).copied().unwrap_or_default();
            sink(count, &[KeyValue::new(names::ERROR_TYPE, code)]);
        }
    }),
    (names::RESENT_RESPONSES, |relay, sink| {
        sink(relay.totals.resent_responses, &[]);
    }),
    (names::EXPIRED_RESPONSES, |relay, sink| {
        sink(relay.totals.expired_responses, &[]);
    }),
    (names::FRAMES, |relay, sink| {
        traffic(relay, |traffic| traffic.frames, sink);
    }),
    (names::IO, |relay, sink| traffic(relay, |traffic| traffic.bytes, sink)),
    (names::CONNECTIONS, |relay, sink| sink(relay.totals.connections, &[])),
    (names::DISCONNECTS, |relay, sink| sink(relay.totals.disconnects, &[])),
    (names::REPLACED, |relay, sink| sink(relay.totals.replaced, &[])),
    (names::RECONNECTS, |relay, sink| {
        for (reason, count) in &relay.totals.reconnects {
            sink(*count, &[KeyValue::new(names::RECONNECT_REASON, reason.clone())]);
        }
    }),
    (names::PAUSED, |relay, sink| {
        sink(u64::from(relay.paused.is_some()), &[])
    }),
    (names::NOT_ADMITTED, |relay, sink| {
        for (budget, count) in &relay.totals.not_admitted {
            sink(*count, &[KeyValue::new(names::BUDGET, budget.clone())]);
        }
    }),
    (names::REQUESTS_LEFT, |relay, sink| {
        let budget = &relay.budget;
        left(Limit::RequestsPerMinute, budget.requests_left, sink);
        left(Limit::MaxConcurrent, budget.concurrent_left, sink);
    }),
    (names::TOKENS_LEFT, |relay, sink| {
        left(Limit::TokensPerDay, relay.budget.tokens_left, sink);
    }),
];

static CHATS: [(Metric, ObserveChat); 5] = [
    (names::CHAT_SESSIONS, |chat, sink| sink(chat.sessions, &[])),
    (names::CHAT_TURNS_RUNNING, |chat, sink| sink(chat.turns, &[])),
    (names::CHAT_TURNS, |chat, sink| {
        by(&chat.totals.ended_turns, names::CHAT_OUTCOME, sink);
    }),
    (names::CHAT_REFUSED_MESSAGES, |chat, sink| {
        by(&chat.totals.refused_messages, names::ERROR_TYPE, sink);
    }),
    (names::CHAT_REFUSED, |chat, sink| {
        by(&chat.totals.refused, names::ERROR_TYPE, sink);
    }),
];

fn by(counts: &BTreeMap<String, u64>, attribute: &'static str, sink: &mut Sink<'_>) {
    for (label, count) in counts {
        sink(*count, &[KeyValue::new(attribute, label.clone())]);
    }
}

static EXPORTS: [(Metric, Count); 3] = [
    (names::EXPORTED_BATCHES, Outlet::batches),
    (names::EXPORT_FAILURES, Outlet::failures),
    (names::DROPPED, Outlet::dropped),
];

/// A budget that is not set has no point.
fn left(budget: Limit, left: Option<u64>, sink: &mut Sink<'_>) {
    if let Some(left) = left {
        sink(left, &[KeyValue::new(names::BUDGET, budget.name())]);
    }
}

fn states(relay: &RelaySnapshot, sink: &mut Sink<'_>) {
    for (state, name) in STATES {
        let value = u64::from(relay.state == state);
        sink(value, &[KeyValue::new(names::RELAY_STATE_NAME, name)]);
    }
}

fn traffic(relay: &RelaySnapshot, count: fn(&Traffic) -> u64, sink: &mut Sink<'_>) {
    let (received, sent) = (&relay.totals.received, &relay.totals.sent);
    for (direction, kind, traffic) in [
        ("receive", "connected", &received.connected),
        ("receive", "request", &received.request),
        ("receive", "ack", &received.ack),
        ("receive", "ignored", &received.ignored),
        ("transmit", "ack", &sent.ack),
        ("transmit", "response", &sent.response),
    ] {
        let attributes = [
            KeyValue::new(names::IO_DIRECTION, direction),
            KeyValue::new(names::FRAME_TYPE, kind),
        ];
        sink(count(traffic), &attributes);
    }
}

/// As the status spells them.
const STATES: [(RelayState, &str); 8] = [
    (RelayState::WaitingForListener, "waiting_for_listener"),
    (RelayState::WaitingForLock, "waiting_for_lock"),
    (RelayState::Connecting, "connecting"),
    (RelayState::Connected, "connected"),
    (RelayState::BackingOff, "backing_off"),
    (RelayState::Stopped, "stopped"),
    (RelayState::Draining, "draining"),
    (RelayState::Drained, "drained"),
];
