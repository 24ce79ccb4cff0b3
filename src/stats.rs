//! The relays' figures in Envoy's statistics, for those who watch Envoy and not OpenTelemetry.
//!
//! Defined by the bootstrap extension, which updates them from a snapshot once a second on Envoy's main thread, and once
//! more when everything is drained. Under the `metrics_namespace` of the extension's configuration. Deliberately absent:
//! the filter host, which has no timer, and what single requests were like (the filter `usage` tells that).

mod chat;

use std::collections::{BTreeMap, HashMap};

use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_metrics_result as MetricsResult;
use envoy_proxy_dynamic_modules_rust_sdk::{EnvoyBootstrapExtensionConfig, EnvoyCounterVecId, EnvoyGaugeVecId};

use crate::status::snapshot::{ProcessSnapshot, RelaySnapshot, RelayState, Totals};

/// The defined statistics, and what they were last told.
#[derive(Debug)]
pub struct RelayStats {
    gauges: Vec<(EnvoyGaugeVecId, Level)>,
    counters: Vec<(EnvoyCounterVecId, Counts)>,
    /// What each relay's gauges were last told, by its name.
    levels: HashMap<String, Vec<u64>>,
    /// What each client's counts came to, by its relay's name and URL: two of one name count on their own.
    totals: HashMap<(String, String), Totals>,
    chat: chat::ChatStats,
}

type Level = fn(&RelaySnapshot) -> u64;

#[derive(Debug, Clone, Copy)]
enum Counts {
    /// One number.
    Whole(fn(&Totals) -> u64),
    /// One for each value of a label.
    By(&'static str, fn(&Totals) -> BTreeMap<String, u64>),
}

impl RelayStats {
    /// Defines them, while the extension's configuration is made.
    ///
    /// # Errors
    /// Envoy takes no definitions now.
    pub fn define(envoy: &mut dyn EnvoyBootstrapExtensionConfig) -> Result<Self, MetricsResult> {
        let mut gauges = Vec::new();
        for (name, level) in GAUGES {
            gauges.push((envoy.define_gauge_vec(name, &["relay"])?, level));
        }
        let mut counters = Vec::new();
        for (name, counts) in COUNTERS {
            let id = match counts {
                Counts::Whole(_) => envoy.define_counter_vec(name, &["relay"])?,
                Counts::By(label, _) => envoy.define_counter_vec(name, &["relay", label])?,
            };
            counters.push((id, counts));
        }
        Ok(Self {
            gauges,
            counters,
            levels: HashMap::new(),
            totals: HashMap::new(),
            chat: chat::ChatStats::define(envoy)?,
        })
    }

    /// Tells Envoy what has changed since the last time, and nothing else: Envoy 1.38 leaks a little with each change.
    pub fn update(&mut self, envoy: &dyn EnvoyBootstrapExtensionConfig, process: &ProcessSnapshot) {
        self.chat.update(envoy, &process.chat);
        let relays = shown_by(process, |relay| relay.name.as_str());
        self.forget(envoy, &relays);
        for (name, relay) in relays {
            let before = self.levels.remove(name).unwrap_or_default();
            let levels = self.tell_levels(envoy, name, relay, &before);
            self.levels.insert(name.to_owned(), levels);
        }
        let before = std::mem::take(&mut self.totals);
        for (key, relay) in shown_by(process, |relay| (relay.name.clone(), relay.url.clone())) {
            let known = before.get(&key).cloned().unwrap_or_default();
            self.tell_totals(envoy, &key.0, &relay.totals, &known);
            self.totals.insert(key, relay.totals.clone());
        }
    }

    /// A relay that is gone has nothing connected and nothing in flight; its counts stay.
    fn forget(&mut self, envoy: &dyn EnvoyBootstrapExtensionConfig, relays: &BTreeMap<&str, &RelaySnapshot>) {
        let gauges = &self.gauges;
        self.levels.retain(|name, _| {
            let stays = relays.contains_key(name.as_str());
            for (gauge, _) in gauges.iter().filter(|_| !stays) {
                refused(envoy.set_gauge_vec(*gauge, &[name], 0));
            }
            stays
        });
    }

    fn tell_levels(
        &self,
        envoy: &dyn EnvoyBootstrapExtensionConfig,
        name: &str,
        relay: &RelaySnapshot,
        before: &[u64],
    ) -> Vec<u64> {
        let levels: Vec<u64> = self.gauges.iter().map(|(_, level)| level(relay)).collect();
        for (index, ((gauge, _), level)) in self.gauges.iter().zip(&levels).enumerate() {
            if before.get(index) != Some(level) {
                refused(envoy.set_gauge_vec(*gauge, &[name], *level));
            }
        }
        levels
    }

    /// A relay's counts begin anew with its client: what is lower than before adds nothing.
    fn tell_totals(&self, envoy: &dyn EnvoyBootstrapExtensionConfig, name: &str, now: &Totals, before: &Totals) {
        let add = |counter, labels: &[&str], more| {
            if more > 0 {
                refused(envoy.increment_counter_vec(counter, labels, more));
            }
        };
        for (counter, counts) in &self.counters {
            match counts {
                Counts::Whole(total) => add(*counter, &[name], total(now).saturating_sub(total(before))),
                Counts::By(_, totals) => {
                    let before = totals(before);
                    for (label, total) in totals(now) {
                        let known = before.get(&label).copied().unwrap_or_default();
                        add(*counter, &[name, &label], total.saturating_sub(known));
                    }
                }
            }
        }
    }
}

/// One snapshot for each key: of two clients, while one takes over from the other, the one that is connected.
fn shown_by<'p, K: Ord>(
    process: &'p ProcessSnapshot,
    key: impl Fn(&'p RelaySnapshot) -> K,
) -> BTreeMap<K, &'p RelaySnapshot> {
    let mut relays = BTreeMap::new();
    for relay in &process.relays {
        let shown = relays.entry(key(relay)).or_insert(relay);
        if shown.state != RelayState::Connected {
            *shown = relay;
        }
    }
    relays
}

fn refused(result: Result<(), MetricsResult>) {
    if let Err(error) = result {
        tracing::debug!("a statistic cannot be changed: {error:?}");
    }
}

const GAUGES: [(&str, Level); 8] = [
    ("relay_connected", |relay| {
        u64::from(relay.state == RelayState::Connected)
    }),
    ("relay_stopped", |relay| u64::from(relay.state == RelayState::Stopped)),
    ("relay_waiting_for_lock", |relay| {
        u64::from(relay.state == RelayState::WaitingForLock)
    }),
    ("relay_requests_in_flight", |relay| relay.in_flight),
    ("relay_requests_queued", |relay| relay.queued),
    ("relay_held_responses", |relay| relay.held_responses),
    ("relay_held_bytes", |relay| relay.held_bytes),
    ("relay_paused", |relay| u64::from(relay.paused.is_some())),
];

const COUNTERS: [(&str, Counts); 15] = [
    ("relay_requests_total", Counts::Whole(|totals| totals.requests)),
    (
        "relay_duplicate_requests_total",
        Counts::Whole(|totals| totals.duplicate_requests),
    ),
    ("relay_responses_total", Counts::By("class", classes)),
    ("relay_faults_total", Counts::By("code", |totals| totals.faults.clone())),
    (
        "relay_budget_refused_total",
        Counts::By("budget", |totals| totals.not_admitted.clone()),
    ),
    (
        "relay_resent_responses_total",
        Counts::Whole(|totals| totals.resent_responses),
    ),
    (
        "relay_expired_responses_total",
        Counts::Whole(|totals| totals.expired_responses),
    ),
    ("relay_connections_total", Counts::Whole(|totals| totals.connections)),
    ("relay_disconnects_total", Counts::Whole(|totals| totals.disconnects)),
    ("relay_replaced_total", Counts::Whole(|totals| totals.replaced)),
    (
        "relay_reconnects_total",
        Counts::By("reason", |totals| totals.reconnects.clone()),
    ),
    (
        "relay_received_bytes_total",
        Counts::Whole(|totals| totals.received_bytes),
    ),
    ("relay_sent_bytes_total", Counts::Whole(|totals| totals.sent_bytes)),
    ("relay_tokens_total", Counts::By("token_type", tokens)),
    (
        "relay_usage_missing_total",
        Counts::By("reason", |totals| totals.usage_missing.clone()),
    ),
];

/// `2xx` and so on: a model may invent any status, and each label value is memory for good.
fn classes(totals: &Totals) -> BTreeMap<String, u64> {
    let mut classes = BTreeMap::new();
    for (status, count) in &totals.responses {
        *classes.entry(format!("{}xx", status / 100)).or_default() += count;
    }
    classes
}

fn tokens(totals: &Totals) -> BTreeMap<String, u64> {
    let named = [("input", totals.input_tokens), ("output", totals.output_tokens)];
    named.map(|(name, count)| (name.to_owned(), count)).into()
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
