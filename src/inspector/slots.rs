//! A ring of places for the last requests, written from several threads at once.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::short::Short;

/// What is remembered of one request.
#[derive(Clone)]
pub(super) struct Slot {
    /// Of the request, from 1; 0 while the place was never used.
    pub number: u64,
    /// Of its id, of which only the beginning is kept.
    hash: u64,
    pub received: SystemTime,
    pub id: Short<64>,
    pub path: Short<96>,
    pub model: Short<64>,
    pub queue: Duration,
    pub forward: Option<Duration>,
    pub ack: Ack,
    pub status: Option<u16>,
    pub fault: Option<&'static str>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub over: bool,
    pub has_content: bool,
}

/// Whether the relay acknowledged the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    /// Not, or not yet.
    Awaited,
    /// After this long.
    After(Duration),
    /// It was dropped before.
    Expired,
}

impl Slot {
    fn unused() -> Self {
        Self {
            number: 0,
            hash: 0,
            received: SystemTime::UNIX_EPOCH,
            id: Short::EMPTY,
            path: Short::EMPTY,
            model: Short::EMPTY,
            queue: Duration::ZERO,
            forward: None,
            ack: Ack::Awaited,
            status: None,
            fault: None,
            input_tokens: None,
            output_tokens: None,
            over: false,
            has_content: false,
        }
    }
}

/// The ring. Writers take the next place by an atomic number, then that place's lock; they meet only a reader who copies
/// that very place, or a writer [`PLACES`] requests later.
pub(super) struct Slots {
    last: AtomicU64,
    places: Box<[Mutex<Slot>]>,
    /// By the hash of a request's id, its number: where an ack finds its request. Two ids may share a cell; the later one
    /// has it, and the earlier one's ack is not shown.
    numbers: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            last: AtomicU64::new(0),
            places: (0..PLACES).map(|_| Mutex::new(Slot::unused())).collect(),
            numbers: (0..CELLS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Takes the oldest place for a request of this `id` and gives its number.
    pub(super) fn add(&self, id: &str, fill: impl FnOnce(&mut Slot)) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let hash = self.hasher.hash_one(id);
        if let Some(mut slot) = self.place(number) {
            *slot = Slot::unused();
            (slot.number, slot.hash, slot.id) = (number, hash, Short::of(id));
            fill(&mut slot);
        }
        if let Some(cell) = self.cell(hash) {
            cell.store(number, Ordering::Relaxed);
        }
        number
    }

    /// Changes the request of this `number`; `false` when its place has gone to another one.
    pub(super) fn change(&self, number: u64, change: impl FnOnce(&mut Slot)) -> bool {
        let slot = self.place(number).filter(|slot| slot.number == number);
        slot.map(|mut slot| change(&mut slot)).is_some()
    }

    /// Changes the request of this `id`; `false` when it is not known, or not any more.
    pub(super) fn change_by_id(&self, id: &str, change: impl FnOnce(&mut Slot)) -> bool {
        let hash = self.hasher.hash_one(id);
        let number = self.cell(hash).map_or(0, |cell| cell.load(Ordering::Relaxed));
        let slot = self.place(number);
        let slot = slot.filter(|slot| number > 0 && slot.number == number && slot.hash == hash);
        slot.map(|mut slot| change(&mut slot)).is_some()
    }

    /// Every request that is remembered, in no order.
    pub(super) fn all(&self) -> Vec<Slot> {
        let places = self.places.iter();
        let copies = places.map(|place| place.lock().unwrap_or_else(PoisonError::into_inner).clone());
        copies.filter(|slot| slot.number > 0).collect()
    }

    fn place(&self, number: u64) -> Option<MutexGuard<'_, Slot>> {
        let place = usize::try_from(number % PLACES).ok()?;
        let place = self.places.get(place)?;
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn cell(&self, hash: u64) -> Option<&AtomicU64> {
        self.numbers.get(usize::try_from(hash % CELLS).ok()?)
    }
}

/// Requests remembered for each relay.
pub(super) const PLACES: u64 = 200;

/// Many times the places, so that few ids share one.
const CELLS: u64 = 4096;
