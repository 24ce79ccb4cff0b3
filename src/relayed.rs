//! Tells relayed requests apart from others inside this process, so that each is counted once.
//!
//! The forwarder puts a ticket on a request that the HTTP filter `usage` may see on Envoy's listener; the filter takes it
//! off again. A ticket is random, known to this process alone, and good for one request: a header that anyone could
//! send would let anyone go uncounted.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use http::{HeaderName, HeaderValue};

/// Carries the ticket from the forwarder to the filter.
pub const X_SPECTRAL_BRIDGE_TICKET: HeaderName = HeaderName::from_static("x-spectral-bridge-ticket");

/// A relayed request under way. Dropping it makes its ticket worthless.
#[derive(Debug)]
pub struct Ticket(u128);

/// Someone who looks at tickets, until it is dropped.
#[derive(Debug)]
pub struct Watcher(());

/// Announces that tickets are looked at from now on.
#[must_use]
pub fn watch() -> Watcher {
    WATCHERS.fetch_add(1, Ordering::Relaxed);
    Watcher(())
}

/// A ticket for one request; `None` while nobody looks at tickets.
#[must_use]
pub fn ticket() -> Option<Ticket> {
    if WATCHERS.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let number = ISSUED.fetch_add(1, Ordering::Relaxed);
    let [high, low] = KEYS.each_ref().map(|key| key.hash_one(number));
    let ticket = u128::from(high) << 64 | u128::from(low);
    valid().insert(ticket, true);
    Some(Ticket(ticket))
}

/// Whether `header` is the ticket of a relayed request of this process, not taken before.
#[must_use]
pub fn take(header: &[u8]) -> bool {
    let Some(ticket) = number(header) else { return false };
    valid().get_mut(&ticket).is_some_and(std::mem::take)
}

/// Makes a ticket that was taken good again: Envoy begins its request anew.
pub fn give_back(header: &[u8]) {
    if let Some(ticket) = number(header)
        && let Some(free) = valid().get_mut(&ticket)
    {
        *free = true;
    }
}

fn number(header: &[u8]) -> Option<u128> {
    u128::from_str_radix(std::str::from_utf8(header).ok()?, 16).ok()
}

impl Ticket {
    /// The header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&format!("{:032x}", self.0)).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        valid().remove(&self.0);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        WATCHERS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn valid() -> MutexGuard<'static, HashMap<u128, bool>> {
    VALID.lock().unwrap_or_else(PoisonError::into_inner)
}

static WATCHERS: AtomicUsize = AtomicUsize::new(0);
static ISSUED: AtomicU64 = AtomicU64::new(0);
/// The tickets of the requests under way, and whether each can be taken.
static VALID: LazyLock<Mutex<HashMap<u128, bool>>> = LazyLock::new(Mutex::default);
/// Keyed hashes of a counter: whoever lacks the keys cannot guess the next ticket.
static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_only_while_its_request_is_under_way() {
        assert!(ticket().is_none());
        let watcher = watch();
        let (first, second) = (ticket().unwrap(), ticket().unwrap());
        assert_ne!(first.header(), second.header());
        assert!(take(first.header().as_bytes()));
        assert!(!take(first.header().as_bytes()));
        give_back(first.header().as_bytes());
        assert!(take(first.header().as_bytes()));
        let late = second.header();
        drop(second);
        assert!(!take(late.as_bytes()));
        give_back(late.as_bytes());
        assert!(!take(late.as_bytes()));
        for guess in [&b""[..], b"0", b"-", b"\xff", b"1ffffffffffffffffffffffffffffffff0"] {
            assert!(!take(guess));
        }
        drop(watcher);
        assert!(ticket().is_none());
    }
}
