//! How many bytes of requests and answers may be held at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::{Fault, Outgoing};

/// `max_held_bytes` of one relay, shared by its connection and its forwarding tasks.
///
/// An answer that finds no room waits. So that answers which each hold a part cannot wait for each other for ever, one
/// at a time may go over the budget; the bound is therefore `max_held_bytes` and one frame. Not counted: what is read of
/// a large answer besides, a quarter of it at most, until it is whole.
#[derive(Debug, Clone)]
pub struct Budget {
    bytes: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    max: usize,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Budget,
    deadline: Instant,
    permit: Option<OwnedSemaphorePermit>,
    overdraft: Option<(OwnedSemaphorePermit, usize)>,
}

impl Budget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(max)),
            overdraft: Arc::new(Semaphore::new(1)),
            max,
        }
    }

    /// Bytes held now, overdraft not counted.
    #[must_use]
    pub fn used(&self) -> usize {
        self.max.saturating_sub(self.bytes.available_permits())
    }

    /// A share of `bytes` bytes, if there is room now.
    #[must_use]
    pub fn try_hold(&self, bytes: usize) -> Option<Hold> {
        let permit = self
            .bytes
            .clone()
            .try_acquire_many_owned(u32::try_from(bytes).ok()?)
            .ok()?;
        Some(Hold {
            budget: self.clone(),
            deadline: Instant::now(),
            permit: Some(permit),
            overdraft: None,
        })
    }

    /// An empty share that grows until shortly before `deadline`.
    #[must_use]
    pub fn hold(&self, deadline: Instant) -> Hold {
        Hold {
            budget: self.clone(),
            deadline,
            permit: None,
            overdraft: None,
        }
    }
}

impl Hold {
    /// Bytes in this share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let overdraft = self.overdraft.as_ref().map_or(0, |(_, bytes)| *bytes);
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) + overdraft
    }

    /// Adds `bytes`, waiting for room.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] when no room came in time for an answer to be of use.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        if let Some((_, over)) = &mut self.overdraft {
            *over += bytes;
            return Ok(());
        }
        let full = Fault::Overloaded("max_held_bytes reached");
        let wanted = u32::try_from(bytes).map_err(|_| full.clone())?;
        let until = tokio::time::Instant::from_std(self.deadline.checked_sub(MARGIN).unwrap_or(self.deadline));
        let room = async {
            tokio::select! {
                biased;
                permit = self.budget.bytes.clone().acquire_many_owned(wanted) => permit.map(Room::Within),
                permit = self.budget.overdraft.clone().acquire_owned() => permit.map(Room::Over),
            }
        };
        match tokio::time::timeout_at(until, room).await {
            Ok(Ok(Room::Within(permit))) => match &mut self.permit {
                Some(held) => held.merge(permit),
                None => self.permit = Some(permit),
            },
            Ok(Ok(Room::Over(permit))) => self.overdraft = Some((permit, bytes)),
            Ok(Err(_)) | Err(_) => return Err(full),
        }
        Ok(())
    }
}

impl Hold {
    /// Ties this share to `frame`, for as long as a copy of it waits anywhere: a relay may acknowledge a response that
    /// is not even written yet. What comes back beside it is the share of the tables' entry, [`ENTRY_BYTES`].
    #[must_use]
    pub fn tied_to(mut self, frame: Outgoing) -> (Outgoing, Self) {
        let entry = self.permit.as_mut().and_then(|permit| permit.split(ENTRY_BYTES));
        let rest = Self {
            budget: self.budget.clone(),
            deadline: self.deadline,
            permit: entry,
            overdraft: None,
        };
        (frame.tied_to(self), rest)
    }
}

enum Room {
    Within(OwnedSemaphorePermit),
    Over(OwnedSemaphorePermit),
}

/// What a response occupies besides its frame: its id and its places in the session's tables.
pub const ENTRY_BYTES: usize = 1024;

/// An answer that finds no room is refused this long before its deadline, so that the refusal still arrives in time.
const MARGIN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shares_are_given_back_when_dropped() {
        let budget = Budget::new(100);
        let share = budget.try_hold(60).unwrap();
        assert_eq!((budget.used(), share.bytes()), (60, 60));
        assert!(budget.try_hold(41).is_none());
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_at_a_time_may_go_over_and_the_next_waits_until_its_deadline() {
        let budget = Budget::new(100);
        let soon = Instant::now() + Duration::from_secs(10);
        let _full = budget.try_hold(100).unwrap();
        let mut over = budget.hold(soon);
        over.grow(50).await.unwrap();
        over.grow(50).await.unwrap();
        assert_eq!(over.bytes(), 100);
        let mut next = budget.hold(soon);
        assert_eq!(next.grow(1).await.unwrap_err().code(), "overloaded");
        drop(over);
        next.grow(1).await.unwrap();
    }
}
