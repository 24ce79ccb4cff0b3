//! Every request from its receipt until its response is acknowledged: waiting, at the adapter, or held.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::limits::{MAX_HELD_REFUSAL_BYTES, MAX_HELD_REFUSALS};
use super::waiting::Waiting;
use super::{ForwardRequest, Outgoing, RequestId};

/// The requests that this client is responsible for, each in exactly one stage.
///
/// `H` is the share of the byte budget that a request or its response occupies; dropping it gives it back.
#[derive(Debug)]
pub struct Requests<H> {
    entries: HashMap<RequestId, Entry<H>>,
    /// By deadline, then receipt.
    by_deadline: BTreeMap<(Instant, u64), RequestId>,
    /// By receipt.
    waiting: BTreeMap<u64, RequestId>,
    /// Held responses in the order in which they were given.
    held: BTreeMap<u64, RequestId>,
    forwarding: usize,
    held_refusals: usize,
    held_refusal_bytes: usize,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<H> {
    /// And the place in the order of receipt.
    deadline: (Instant, u64),
    stage: Stage<H>,
}

#[derive(Debug)]
enum Stage<H> {
    Queued(Box<Waiting<H>>),
    Forwarding,
    Held {
        order: u64,
        answered: Instant,
        frame: Outgoing,
        refusal: bool,
        _hold: Option<H>,
    },
}

/// Where a known request is.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// Waiting or at the adapter.
    Unanswered,
    /// Answered; the response awaits its ack.
    Held(Outgoing),
}

/// A request whose time is over.
#[derive(Debug, PartialEq, Eq)]
pub enum Expired {
    /// Not answered yet.
    Unanswered {
        /// The request.
        id: RequestId,
        /// Whether it is at the adapter.
        forwarding: bool,
    },
    /// Answered; its response was never acknowledged and is now dropped.
    Held(RequestId),
}

impl<H> Requests<H> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: HashMap::new(),
            by_deadline: BTreeMap::new(),
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
            forwarding: 0,
            held_refusals: 0,
            held_refusal_bytes: 0,
            sequence: 0,
        }
    }

    /// Where `id` is, if it is known.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Known> {
        self.entries.get(id).map(|entry| match &entry.stage {
            Stage::Queued(_) | Stage::Forwarding => Known::Unanswered,
            Stage::Held { frame, .. } => Known::Held(frame.clone()),
        })
    }

    /// Adds a request that waits for its turn.
    pub fn enqueue(&mut self, request: ForwardRequest<H>) {
        let id = request.id.clone();
        let deadline = request.deadline;
        let order = self.insert(id.clone(), deadline, Stage::Queued(Box::new(request.into())));
        self.waiting.insert(order, id);
    }

    /// Adds a request that goes to the adapter at once.
    pub fn begin(&mut self, id: RequestId, deadline: Instant) {
        self.insert(id, deadline, Stage::Forwarding);
        self.forwarding += 1;
    }

    /// Takes the request that has waited longest, which is then at the adapter.
    pub fn dispatch(&mut self) -> Option<ForwardRequest<H>> {
        let (_, id) = self.waiting.pop_first()?;
        let entry = self.entries.get_mut(&id)?;
        match std::mem::replace(&mut entry.stage, Stage::Forwarding) {
            Stage::Queued(request) => {
                self.forwarding += 1;
                Some((*request).into())
            }
            // only what is queued waits
            other @ (Stage::Forwarding | Stage::Held { .. }) => {
                entry.stage = other;
                None
            }
        }
    }

    /// Whether `id` is at the adapter.
    #[must_use]
    pub fn is_forwarding(&self, id: &RequestId) -> bool {
        self.entries
            .get(id)
            .is_some_and(|entry| matches!(entry.stage, Stage::Forwarding))
    }

    /// Holds the response of a request that was at the adapter, until its deadline. One without a share of the byte
    /// budget is bounded like a refusal: `false` when there is no room for it, and the request is then forgotten.
    pub fn hold_answer(&mut self, now: Instant, id: &RequestId, frame: Outgoing, hold: Option<H>) -> bool {
        let refusal = hold.is_none();
        if refusal && !self.has_room_for_refusal(&frame) {
            self.remove(id);
            return false;
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        if refusal {
            self.held_refusals += 1;
            self.held_refusal_bytes += frame.len();
        }
        self.sequence += 1;
        let order = self.sequence;
        let stage = Stage::Held {
            order,
            answered: now,
            frame,
            refusal,
            _hold: hold,
        };
        let before = std::mem::replace(&mut entry.stage, stage);
        let receipt = entry.deadline.1;
        self.held.insert(order, id.clone());
        self.left(receipt, &before);
        true
    }

    /// Holds the response of a request that never reached the adapter, if there is room for it.
    pub fn hold_refusal(&mut self, now: Instant, id: RequestId, deadline: Instant, frame: Outgoing) {
        if !self.has_room_for_refusal(&frame) {
            return;
        }
        self.sequence += 1;
        let order = self.sequence;
        self.held.insert(order, id.clone());
        self.held_refusals += 1;
        self.held_refusal_bytes += frame.len();
        self.insert(
            id,
            deadline,
            Stage::Held {
                order,
                answered: now,
                frame,
                refusal: true,
                _hold: None,
            },
        );
    }

    fn has_room_for_refusal(&self, frame: &Outgoing) -> bool {
        let bytes = self.held_refusal_bytes.saturating_add(frame.len());
        self.held_refusals < MAX_HELD_REFUSALS && bytes <= MAX_HELD_REFUSAL_BYTES
    }

    /// Forgets `id`. Returns whether it was at the adapter.
    pub fn remove(&mut self, id: &RequestId) -> Option<bool> {
        let entry = self.entries.remove(id)?;
        self.by_deadline.remove(&entry.deadline);
        self.left(entry.deadline.1, &entry.stage);
        Some(matches!(entry.stage, Stage::Forwarding))
    }

    /// Forgets `id` if its response is held: the relay has it. Returns the id and when it was answered.
    pub fn acknowledge(&mut self, id: &str) -> Option<(RequestId, Instant)> {
        let (id, entry) = self.entries.get_key_value(id)?;
        let Stage::Held { answered, .. } = entry.stage else {
            return None;
        };
        let id = id.clone();
        self.remove(&id);
        Some((id, answered))
    }

    /// Removes one request whose deadline is not after `now`.
    pub fn expire(&mut self, now: Instant) -> Option<Expired> {
        let (&(deadline, _), id) = self.by_deadline.first_key_value()?;
        if deadline > now {
            return None;
        }
        let id = id.clone();
        let held = matches!(self.entries.get(&id)?.stage, Stage::Held { .. });
        let forwarding = self.remove(&id)?;
        Some(if held {
            Expired::Held(id)
        } else {
            Expired::Unanswered { id, forwarding }
        })
    }

    /// Forgets everything. Returns every id and whether it was at the adapter, in the order of their deadlines.
    pub fn clear(&mut self) -> Vec<(RequestId, bool)> {
        let ids: Vec<RequestId> = self.by_deadline.values().cloned().collect();
        ids.into_iter()
            .filter_map(|id| {
                let forwarding = self.remove(&id)?;
                Some((id, forwarding))
            })
            .collect()
    }

    /// The held responses, in the order in which they were given.
    pub fn held_frames(&self) -> impl Iterator<Item = Outgoing> + '_ {
        self.held.values().filter_map(|id| match &self.entries.get(id)?.stage {
            Stage::Held { frame, .. } => Some(frame.clone()),
            Stage::Queued(_) | Stage::Forwarding => None,
        })
    }

    /// The next deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.by_deadline.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Requests that wait for their turn.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    /// Requests at the adapter.
    #[must_use]
    pub fn forwarding(&self) -> usize {
        self.forwarding
    }

    /// Responses that await their ack.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Held responses that have no share of the byte budget: refusals, and answers that found no room in it.
    #[must_use]
    pub fn held_refusals(&self) -> usize {
        self.held_refusals
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the place of `id` in the order of receipt.
    fn insert(&mut self, id: RequestId, deadline: Instant, stage: Stage<H>) -> u64 {
        self.sequence += 1;
        let receipt = self.sequence;
        let deadline = (deadline, receipt);
        self.by_deadline.insert(deadline, id.clone());
        self.entries.insert(id, Entry { deadline, stage });
        receipt
    }

    fn left(&mut self, receipt: u64, stage: &Stage<H>) {
        match stage {
            Stage::Queued(_) => drop(self.waiting.remove(&receipt)),
            Stage::Forwarding => self.forwarding -= 1,
            Stage::Held {
                order, refusal, frame, ..
            } => {
                self.held.remove(order);
                if *refusal {
                    self.held_refusals -= 1;
                    self.held_refusal_bytes -= frame.len();
                }
            }
        }
    }
}

impl<H> Default for Requests<H> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn enqueue(requests: &mut Requests<()>, id: &str, deadline: Instant) {
        requests.enqueue(ForwardRequest {
            id: id.into(),
            method: http::Method::POST,
            path: "/".into(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            received: deadline,
            deadline,
            hold: None,
        });
    }

    fn dispatched(requests: &mut Requests<()>) -> Option<String> {
        requests.dispatch().map(|request| request.id.as_str().to_owned())
    }

    #[test]
    fn requests_are_dispatched_in_the_order_of_receipt_whatever_their_deadlines() {
        let (mut requests, now) = (Requests::new(), start());
        enqueue(&mut requests, "a", now + Duration::from_secs(9));
        enqueue(&mut requests, "b", now);
        enqueue(&mut requests, "c", now + Duration::from_secs(5));
        assert_eq!(dispatched(&mut requests).as_deref(), Some("a"));
        // one that timed out while it waited leaves no gap
        assert_eq!(
            requests.expire(now),
            Some(Expired::Unanswered {
                id: "b".into(),
                forwarding: false
            })
        );
        assert_eq!(requests.queued(), 1);
        assert_eq!(dispatched(&mut requests).as_deref(), Some("c"));
        assert_eq!(dispatched(&mut requests), None);
        assert_eq!((requests.queued(), requests.forwarding()), (0, 2));
    }

    // PROTOCOL §2.5: keeps each response until the server acks it
    #[test]
    fn only_a_held_response_can_be_acknowledged() {
        let (mut requests, now) = (Requests::new(), start());
        enqueue(&mut requests, "a", now);
        assert_eq!(requests.acknowledge("a"), None);
        dispatched(&mut requests);
        assert_eq!(requests.acknowledge("a"), None);
        requests.hold_answer(now, &"a".into(), "frame".to_owned().into(), None);
        assert_eq!(requests.find("a"), Some(Known::Held("frame".to_owned().into())));
        assert_eq!(requests.acknowledge("a"), Some(("a".into(), now)));
        assert_eq!(requests.find("a"), None);
        assert!(requests.is_empty() && requests.deadline().is_none());
    }

    #[test]
    fn clearing_names_every_request_and_says_which_are_at_the_adapter() {
        let (mut requests, now) = (Requests::new(), start());
        for id in ["held", "forwarded", "waiting"] {
            enqueue(&mut requests, id, now);
        }
        dispatched(&mut requests);
        dispatched(&mut requests);
        requests.hold_answer(now, &"held".into(), "frame".to_owned().into(), None);
        requests.hold_refusal(now, "refused".into(), now, "frame".to_owned().into());
        assert_eq!(
            requests.clear(),
            [
                ("held", false),
                ("forwarded", true),
                ("waiting", false),
                ("refused", false)
            ]
            .map(|(id, forwarding)| (RequestId::from(id), forwarding))
        );
        assert!(requests.is_empty() && requests.held_frames().next().is_none());
        assert_eq!((requests.queued(), requests.forwarding()), (0, 0));
        assert_eq!((requests.held(), requests.held_refusals()), (0, 0));
    }
}
