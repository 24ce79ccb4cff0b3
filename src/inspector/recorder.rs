//! What one relay's client tells the inspector.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::content::{self, Content, Contents, Side};
use super::short::Short;
use super::slots::{Ack, Slot, Slots};
use super::view::{self, Seen, Trouble};
use crate::config;
use crate::usage::Usage;

/// Remembers the last requests of one relay's client. Clones are the same recorder; the default one is off.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    id: OnceLock<u64>,
    /// [`OFF`], [`NO_CONTENT`], or the most bytes of a body that are kept.
    mode: AtomicUsize,
    /// Made when it is first needed: who switches the inspector off pays nothing.
    slots: OnceLock<Slots>,
    contents: Mutex<Contents>,
    troubles: Mutex<VecDeque<Trouble>>,
}

/// A request that goes to the adapter.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The relay's id.
    pub id: &'a str,
    /// The path.
    pub path: &'a str,
    /// Its headers, before any of the site's own are added.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
    /// How long it waited for its turn.
    pub waited: Duration,
}

/// A request under way.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    received: SystemTime,
    waited: Duration,
    asked: Option<Box<Side>>,
}

/// How a request ended.
#[derive(Debug, Default)]
pub struct Outcome<'a> {
    /// The status that its caller gets; absent when it gets no answer any more.
    pub status: Option<u16>,
    /// The code of an answer that the adapter did not give.
    pub fault: Option<&'static str>,
    /// The model that answered, or was asked.
    pub model: Option<&'a str>,
    /// Its tokens.
    pub usage: Usage,
    /// How long it was at the adapter.
    pub took: Duration,
    /// The response frame.
    pub frame: Option<&'a str>,
}

impl Recorder {
    /// A recorder that does as `settings` say.
    #[must_use]
    pub fn new(settings: Option<&config::Inspector>) -> Self {
        let recorder = Self::default();
        recorder.set(settings);
        recorder
    }

    /// From now on it does as `settings` say; what may not be kept any more is forgotten.
    pub fn set(&self, settings: Option<&config::Inspector>) {
        let mode = match settings {
            None => OFF,
            Some(config::Inspector { bodies: None }) => NO_CONTENT,
            Some(config::Inspector { bodies: Some(most) }) => (*most).max(NO_CONTENT + 1),
        };
        self.0.mode.store(mode, Ordering::Relaxed);
        if mode <= NO_CONTENT {
            self.contents().clear();
        }
    }

    /// A request goes to the adapter.
    #[must_use]
    pub fn begin(&self, asked: &Asked<'_>) -> Option<Ticket> {
        let slots = self.slots()?;
        let received = SystemTime::now() - asked.waited;
        let number = slots.add(asked.id, |slot| {
            slot.received = received;
            slot.path = Short::of(asked.path);
            slot.queue = asked.waited;
        });
        let side = |most| Box::new(content::request(asked.headers, asked.body, most));
        Some(Ticket {
            number,
            received,
            waited: asked.waited,
            asked: self.body_bytes().map(side),
        })
    }

    /// It is over. One that took so long that its place is gone takes a new one.
    pub fn finish(&self, ticket: Ticket, id: &str, path: &str, outcome: &Outcome<'_>) {
        let Some(slots) = self.slots() else { return };
        let kept = ticket.asked.zip(self.body_bytes());
        let end = |slot: &mut Slot| {
            // one whose time was over has been answered: that stays
            if !std::mem::replace(&mut slot.over, true) {
                (slot.status, slot.fault) = (outcome.status, outcome.fault);
            }
            slot.forward = Some(outcome.took);
            slot.model = outcome.model.map_or(Short::EMPTY, Short::of);
            (slot.input_tokens, slot.output_tokens) = (outcome.usage.input, outcome.usage.output);
            slot.has_content = kept.is_some();
        };
        let mut number = ticket.number;
        if !slots.change(number, end) {
            number = slots.add(id, |slot| {
                slot.received = ticket.received;
                slot.path = Short::of(path);
                slot.queue = ticket.waited;
                end(slot);
            });
        }
        if let Some((request, most)) = kept {
            let answer = outcome.frame.and_then(|frame| content::answer(frame, most));
            self.contents().keep(
                number,
                Content {
                    request: *request,
                    answer,
                },
            );
        }
    }

    /// A request was answered without asking the adapter.
    pub fn refused(&self, id: &str, path: Option<&str>, status: u16, code: &'static str) {
        let Some(slots) = self.slots() else { return };
        slots.add(id, |slot| {
            slot.received = SystemTime::now();
            slot.path = Short::of(path.map(without_query).unwrap_or_default());
            slot.over = true;
            (slot.status, slot.fault) = (Some(status), Some(code));
        });
    }

    /// A request's time, which was this long, was over before its answer: one at the adapter, or one that still waited for
    /// its turn and was never begun.
    pub fn timed_out(&self, id: &str, after: Duration) {
        let Some(slots) = self.slots() else { return };
        let end = |slot: &mut Slot| {
            slot.over = true;
            (slot.status, slot.fault) = (Some(503), Some("adapter_timeout"));
        };
        if !slots.change_by_id(id, end) {
            slots.add(id, |slot| {
                slot.received = SystemTime::now() - after;
                slot.queue = after;
                end(slot);
            });
        }
    }

    /// The relay acknowledged an answer so long after it was given.
    pub fn acknowledged(&self, id: &str, waited: Duration) {
        if let Some(slots) = self.slots() {
            slots.change_by_id(id, |slot| slot.ack = Ack::After(waited));
        }
    }

    /// An answer was dropped, never acknowledged.
    pub fn expired(&self, id: &str) {
        if let Some(slots) = self.slots() {
            slots.change_by_id(id, |slot| slot.ack = Ack::Expired);
        }
    }

    /// Something went wrong between this client and its relay.
    pub fn trouble(&self, code: &'static str, message: &str) {
        if self.slots().is_none() {
            return;
        }
        let mut troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.len() == TROUBLES {
            troubles.pop_front();
        }
        troubles.push_back(Trouble::now(code, message));
    }

    /// The last requests of the relay of this name, in no order.
    #[must_use]
    pub fn seen(&self, relay: &str) -> Vec<Seen> {
        let slots = self.slots().map(Slots::all).unwrap_or_default();
        let recorder = self.id();
        slots.iter().map(|slot| view::seen(relay, recorder, slot)).collect()
    }

    /// The last troubles of the relay of this name, the oldest first.
    #[must_use]
    pub fn troubles(&self, relay: &str) -> Vec<Trouble> {
        let troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let own = troubles.iter().cloned();
        own.map(|trouble| trouble.of(relay)).collect()
    }

    /// What was kept of the request with this number.
    #[must_use]
    pub fn content(&self, number: u64) -> Option<Content> {
        self.contents().find(number)
    }

    /// Whether content is kept.
    #[must_use]
    pub fn keeps_content(&self) -> bool {
        self.body_bytes().is_some()
    }

    /// Tells recorders apart, also those of relays that have one name.
    #[must_use]
    pub fn id(&self) -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        *self.0.id.get_or_init(|| LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn slots(&self) -> Option<&Slots> {
        (self.0.mode.load(Ordering::Relaxed) != OFF).then(|| self.0.slots.get_or_init(Slots::new))
    }

    fn body_bytes(&self) -> Option<usize> {
        let mode = self.0.mode.load(Ordering::Relaxed);
        (mode > NO_CONTENT).then_some(mode)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never what was recorded.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// A refused path is whatever the relay wrote, and a query is where keys are written.
fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

const OFF: usize = 0;
const NO_CONTENT: usize = 1;

/// Troubles remembered for each relay.
const TROUBLES: usize = 32;
