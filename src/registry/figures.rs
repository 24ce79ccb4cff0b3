//! The figures that outlive their owners, for telemetry's last word.

use std::sync::{Mutex, PoisonError, Weak};

use super::Registry;
use crate::status::server::Control;
use crate::status::snapshot::{ChatSnapshot, ProcessSnapshot, RelaySnapshot};
use crate::telemetry::Source;

/// The relays' and chats' figures for telemetry: as they are, and once they are released, as they were at their end.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) registry: Weak<Registry>,
    pub(super) last: Mutex<(Vec<RelaySnapshot>, Vec<ChatSnapshot>)>,
}

impl Figures {
    pub(super) fn keep(&self, relays: Vec<RelaySnapshot>, chats: Vec<ChatSnapshot>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (relays, chats);
    }
}

impl Source for Figures {
    fn snapshot(&self) -> ProcessSnapshot {
        let mut snapshot = self.registry.upgrade().map(|r| r.snapshot()).unwrap_or_default();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.relays.extend(last.0.iter().cloned());
        snapshot.chat.extend(last.1.iter().cloned());
        snapshot
    }
}
