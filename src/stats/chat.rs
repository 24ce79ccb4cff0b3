//! The chat endpoints' figures in Envoy's statistics.

use std::collections::{BTreeMap, HashMap};

use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_metrics_result as MetricsResult;
use envoy_proxy_dynamic_modules_rust_sdk::{EnvoyBootstrapExtensionConfig, EnvoyCounterVecId, EnvoyGaugeVecId};

use super::refused;
use crate::status::snapshot::{ChatSnapshot, ChatTotals};

/// The defined statistics, and what they were last told, by the endpoint's path.
#[derive(Debug)]
pub(super) struct ChatStats {
    gauges: Vec<(EnvoyGaugeVecId, Level)>,
    counters: Vec<(EnvoyCounterVecId, Counts)>,
    told: HashMap<String, ChatSnapshot>,
}

type Level = fn(&ChatSnapshot) -> u64;
type Counts = fn(&ChatTotals) -> BTreeMap<String, u64>;

impl ChatStats {
    pub(super) fn define(envoy: &mut dyn EnvoyBootstrapExtensionConfig) -> Result<Self, MetricsResult> {
        let mut gauges = Vec::new();
        for (name, level) in GAUGES {
            gauges.push((envoy.define_gauge_vec(name, &["path"])?, level));
        }
        let mut counters = Vec::new();
        for (name, label, counts) in COUNTERS {
            counters.push((envoy.define_counter_vec(name, &["path", label])?, counts));
        }
        Ok(Self {
            gauges,
            counters,
            told: HashMap::new(),
        })
    }

    /// Tells Envoy what has changed; an endpoint that is gone has nothing open.
    pub(super) fn update(&mut self, envoy: &dyn EnvoyBootstrapExtensionConfig, chats: &[ChatSnapshot]) {
        let gone = |path: &String| !chats.iter().any(|chat| chat.path == *path);
        for path in self.told.keys().filter(|path| gone(path)).cloned().collect::<Vec<_>>() {
            self.tell(
                envoy,
                &ChatSnapshot {
                    path,
                    ..ChatSnapshot::default()
                },
            );
        }
        for chat in chats {
            self.tell(envoy, chat);
        }
    }

    fn tell(&mut self, envoy: &dyn EnvoyBootstrapExtensionConfig, chat: &ChatSnapshot) {
        let before = self.told.insert(chat.path.clone(), chat.clone()).unwrap_or_default();
        for (gauge, level) in &self.gauges {
            if level(&before) != level(chat) {
                refused(envoy.set_gauge_vec(*gauge, &[&chat.path], level(chat)));
            }
        }
        for (counter, counts) in &self.counters {
            let known = counts(&before.totals);
            for (label, total) in counts(&chat.totals) {
                let more = total.saturating_sub(known.get(&label).copied().unwrap_or_default());
                if more > 0 {
                    refused(envoy.increment_counter_vec(*counter, &[&chat.path, &label], more));
                }
            }
        }
    }
}

const GAUGES: [(&str, Level); 2] = [
    ("chat_sessions", |chat| chat.sessions),
    ("chat_turns_running", |chat| chat.turns),
];

const COUNTERS: [(&str, &str, Counts); 5] = [
    ("chat_sessions_total", "end", |totals| totals.ended_sessions.clone()),
    ("chat_refused_total", "code", |totals| totals.refused.clone()),
    ("chat_turns_total", "outcome", |totals| totals.ended_turns.clone()),
    ("chat_refused_messages_total", "code", |totals| {
        totals.refused_messages.clone()
    }),
    ("chat_tokens_total", "token_type", |totals| {
        let named = [("input", totals.input_tokens), ("output", totals.output_tokens)];
        named.map(|(name, count)| (name.to_owned(), count)).into()
    }),
];
