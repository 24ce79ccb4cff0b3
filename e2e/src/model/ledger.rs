//! What the model was asked and what it answered, in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Method};
use tokio::sync::watch;

use crate::failed::{self, Failed};
use crate::locked;

/// One request and, where it is a single piece, its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request's method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All headers as they came.
    pub headers: HeaderMap,
    /// The request's body to the byte.
    pub body: Bytes,
    /// The answer's body to the byte; absent for streams and for answers cut short.
    pub answer: Option<Bytes>,
}

/// All exchanges since the start.
#[derive(Debug)]
pub struct Ledger {
    exchanges: Mutex<Vec<Exchange>>,
    count: watch::Sender<usize>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    enabled: bool,
}

/// A request that is being worked on, until it is dropped.
pub(super) struct AtWork<'a>(&'a Ledger);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Exchange {
    pub(super) fn of(head: &Parts, body: Bytes) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
            headers: head.headers.clone(),
            body,
            answer: None,
        }
    }

    /// A request header, when it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The id that the relay client gives every relayed request.
    #[must_use]
    pub fn relayed_id(&self) -> Option<&str> {
        self.header("x-spectral-bridge-request-id")
    }
}

impl Ledger {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            exchanges: Mutex::default(),
            count: watch::Sender::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            enabled,
        }
    }

    /// Counts a request as being worked on.
    pub(super) fn at_work(&self) -> AtWork<'_> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        AtWork(self)
    }

    /// The most requests that were worked on at the same time.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }

    /// Notes a request and gives its place.
    pub(super) fn asked(&self, exchange: impl FnOnce() -> Exchange) -> usize {
        let mut exchanges = locked(&self.exchanges);
        if self.enabled {
            exchanges.push(exchange());
        }
        // Counted under the same lock, so that a place in the count is one in the list.
        let mut place = 0;
        self.count.send_modify(|count| {
            place = *count;
            *count += 1;
        });
        place
    }

    pub(super) fn answered(&self, place: usize, answer: &Bytes) {
        if let Some(exchange) = locked(&self.exchanges).get_mut(place) {
            exchange.answer = Some(answer.clone());
        }
    }

    /// How many requests came.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Everything so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        locked(&self.exchanges).clone()
    }

    /// The latest exchange.
    #[must_use]
    pub fn last(&self) -> Option<Exchange> {
        locked(&self.exchanges).last().cloned()
    }

    /// Waits until `count` requests came.
    ///
    /// # Errors
    /// Fewer came within `deadline`.
    pub async fn wait(&self, count: usize, deadline: Duration) -> failed::Result<()> {
        let mut seen = self.count.subscribe();
        let reached = tokio::time::timeout(deadline, seen.wait_for(|seen| *seen >= count))
            .await
            .is_ok();
        let few = || {
            Failed::new(format!(
                "the model saw {} of {count} requests within {deadline:?}",
                self.count()
            ))
        };
        reached.then_some(()).ok_or_else(few)
    }
}
