//! The mapping `api key → relay id → slot` (PROTOCOL §3.3), and what has to be unique or unguessable.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::default_provider;

use super::journal::Journal;
use super::options::RelayOptions;
use super::slot::Slot;

/// All keys and slots of a relay.
#[derive(Debug)]
pub(super) struct Keys {
    options: Arc<RelayOptions>,
    journal: Arc<Journal>,
    table: RwLock<Table>,
    /// Tells the ids of one relay's life from those of the next.
    life: String,
    requests: AtomicU64,
}

#[derive(Default)]
struct Table {
    ids: HashMap<String, String>,
    slots: HashMap<String, Arc<Slot>>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("slots", &self.slots.keys())
            .finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(options: &Arc<RelayOptions>, journal: &Arc<Journal>) -> Self {
        let keys = Self {
            options: Arc::clone(options),
            journal: Arc::clone(journal),
            table: RwLock::default(),
            life: random_hex(4),
            requests: AtomicU64::new(0),
        };
        for (id, key) in &options.keys {
            keys.set(id, key);
        }
        keys
    }

    /// Gives the relay `id` this key and no other; the relay is made when it is new.
    pub(super) fn set(&self, id: &str, key: &str) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.ids.retain(|_, known| known != id);
        table.ids.insert(key.to_owned(), id.to_owned());
        let slot = || Arc::new(Slot::new(id, Arc::clone(&self.options), Arc::clone(&self.journal)));
        table.slots.entry(id.to_owned()).or_insert_with(slot);
    }

    /// Makes the relay `id` and its key; `None` when it exists.
    pub(super) fn provision(&self, id: &str) -> Option<String> {
        if self.slot(id).is_some() {
            return None;
        }
        let key = format!("sb-{}", random_hex(24));
        self.set(id, &key);
        Some(key)
    }

    // PROTOCOL §2.5, §3.1: the same tunnel identity, the same connection slot, however often the client reconnects
    // PROTOCOL §3.3: each key maps to a relay ID
    /// The slot that `key` opens.
    pub(super) fn authenticate(&self, key: &str) -> Option<Arc<Slot>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.slots.get(table.ids.get(key)?).cloned()
    }

    /// The slot of the relay `id`.
    pub(super) fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .slots
            .get(id)
            .cloned()
    }

    /// All slots.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .slots
            .values()
            .cloned()
            .collect()
    }

    // PROTOCOL §2.2: the request id is assigned by the server
    /// An id no other request has.
    pub(super) fn next_request_id(&self) -> String {
        format!(
            "req-{}-{}",
            self.life,
            self.requests.fetch_add(1, Ordering::Relaxed) + 1
        )
    }
}

fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    // The operating system's randomness failing leaves nothing sensible to do for a test relay.
    #[allow(clippy::expect_used)]
    default_provider()
        .secure_random
        .fill(&mut random)
        .expect("the operating system gives random bytes");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
