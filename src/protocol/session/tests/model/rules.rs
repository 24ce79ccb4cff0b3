//! Books of our own, kept by the words of `PROTOCOL §2`, against which every action is checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::super::super::{Action, Disconnect, Event, Input, Session, Settings};
use super::super::harness::Hold;
use super::client::Heard;
use super::figures::Figures;
use super::net::Millis;
use super::schedule::Schedule;
use crate::config::{Budget, ProtocolChoice};
use crate::protocol::{Outgoing, Version};

/// A request as it was first received.
struct Receipt {
    order: u64,
    until: Millis,
    version: Version,
    socket: Option<usize>,
    draining: bool,
}

/// A response that the relay has not acknowledged.
struct Owed {
    id: String,
    since: Millis,
    frame: Outgoing,
    /// Whether it occupies a share of the byte budget.
    share: bool,
    /// The last connection on which it was sent.
    sent_on: Option<usize>,
}

pub(super) struct Rules {
    /// The version of the open connection, between its `connected` frame and its end, and since when.
    pub(super) open: Option<(Version, Millis)>,
    received: BTreeMap<String, Receipt>,
    acked: BTreeSet<String>,
    forwarded: BTreeSet<String>,
    last_forwarded: u64,
    owed: Vec<Owed>,
    /// What a reconnect must send first, in this order.
    resends: VecDeque<Outgoing>,
    refused: Option<String>,
    /// A request that came for the first time, and what it was refused with.
    new: Option<Option<&'static str>>,
    /// When requests were admitted.
    admitted: Vec<Millis>,
    budget: Budget,
    pub(super) paused: bool,
    /// What the batch must begin with.
    ack_due: Option<String>,
    may_ack: bool,
    /// What a repeated request must be answered with once more.
    again_due: Option<Outgoing>,
    /// Responses that the relay acknowledged.
    pub(super) delivered: BTreeSet<String>,
    /// Requests and responses whose time was over.
    pub(super) expired: BTreeSet<String>,
    pub(super) schedule: Schedule,
    pub(super) stopped: bool,
    pub(super) listening: bool,
    pub(super) drained_by: Option<Millis>,
    drained: bool,
    pub(super) figures: Figures,
}

impl Rules {
    pub(super) fn new(protocol: ProtocolChoice, budget: Budget) -> Self {
        Self {
            open: None,
            received: BTreeMap::new(),
            acked: BTreeSet::new(),
            forwarded: BTreeSet::new(),
            last_forwarded: 0,
            owed: Vec::new(),
            resends: VecDeque::new(),
            refused: None,
            new: None,
            admitted: Vec::new(),
            budget,
            paused: false,
            ack_due: None,
            may_ack: false,
            again_due: None,
            delivered: BTreeSet::new(),
            expired: BTreeSet::new(),
            schedule: Schedule::new(protocol),
            stopped: false,
            listening: false,
            drained_by: None,
            drained: false,
            figures: Figures::default(),
        }
    }

    /// Since when the response to `id` waits for its ack.
    pub(super) fn owes_since(&self, id: &str) -> Option<Millis> {
        self.owed.iter().find(|owed| owed.id == id).map(|owed| owed.since)
    }

    /// The adapter's answer: held until the relay acks it.
    pub(super) fn owe(&mut self, since: Millis, id: &str, frame: Outgoing, share: bool) {
        let id = id.to_owned();
        self.owed.push(Owed {
            id,
            since,
            frame,
            share,
            sent_on: None,
        });
    }

    /// A text frame is about to be handled.
    pub(super) fn before(&mut self, now: Millis, socket: Option<usize>, timeout: Millis, heard: &Heard<'_>) {
        let Some((version, _)) = self.open else { return };
        match heard {
            Heard::Request(id) => {
                // PROTOCOL §2.2: acks every request frame as soon as it receives it; version 1 knows no acks
                self.ack_due = (version == Version::V2).then(|| (*id).to_owned());
                // PROTOCOL §2.5: one it has already answered is acked, and the response sent again
                let owed = self.owed.iter().find(|owed| owed.id == *id);
                self.again_due = owed.map(|owed| owed.frame.clone());
                let receipt = Receipt {
                    order: self.received.len() as u64 + 1,
                    until: now + timeout,
                    version,
                    socket,
                    draining: self.drained_by.is_some(),
                };
                if self.received.contains_key(*id) {
                    self.figures.add("requests repeated", 1);
                } else {
                    self.new = Some(None);
                    self.received.insert((*id).to_owned(), receipt);
                }
            }
            Heard::Ack(id) => {
                if let Some(at) = self.owed.iter().position(|owed| owed.id == *id) {
                    self.delivered.insert(self.owed.remove(at).id);
                }
            }
            Heard::Other => {}
        }
    }

    pub(super) fn begin(&mut self, input: &Input<Hold>) {
        if matches!(input, Input::Disconnected(_)) {
            self.open = None;
        }
        self.may_ack = self.ack_due.is_some();
    }

    pub(super) fn check(&mut self, now: Millis, socket: Option<usize>, action: &Action<Hold>) {
        if let Some(id) = self.ack_due.take() {
            let Action::Send(text) = action else {
                panic!("{action:?} before the ack of {id}")
            };
            assert_eq!(kind_and_id(text), ("ack".to_owned(), id), "first the ack");
        }
        match action {
            Action::Dial => {
                (self.open, self.stopped) = (None, false);
                self.schedule.dialled(now);
            }
            Action::Send(text) => self.check_send(now, socket, text),
            Action::Forward(request) => self.check_forward(socket, request.id.as_str()),
            Action::Report(event) => self.check_report(now, event),
            Action::Close { .. } | Action::Abort => self.open = None,
            Action::Ping(_) => assert!(self.open.is_some(), "a ping on no connection"),
            Action::Cancel(_) | Action::Finish => {}
        }
    }

    fn check_send(&mut self, now: Millis, socket: Option<usize>, text: &Outgoing) {
        let (version, _) = self
            .open
            .expect("nothing is sent before the connected frame or after the close");
        let (kind, id) = kind_and_id(text);
        if kind == "ack" {
            assert_eq!(version, Version::V2, "an ack to a relay of version 1");
            assert!(
                std::mem::take(&mut self.may_ack),
                "an ack of {id} that nobody asked for"
            );
            self.acked.insert(id);
            return;
        }
        assert_eq!(kind, "response");
        let receipt = self.received.get(&id).expect("a response to what was asked");
        assert!(!self.expired.contains(&id), "{id} is answered after its time");
        let refused = self.refused.take_if(|refused| *refused == id).is_some();
        if refused && version == Version::V2 {
            self.owe(now, &id, text.clone(), false);
        } else if version == Version::V1 {
            // PROTOCOL 0.1.2 §2.5: what was in flight at a disconnect is not answered later
            assert_eq!(receipt.socket, socket, "{id} came on an earlier connection");
        } else if !self.owed.iter().any(|owed| owed.id == id) {
            assert!(receipt.until <= now, "{id} is answered again after it was done with");
        }
        self.check_owed(socket, &id, text);
    }

    /// A response that is owed goes out once on each connection, and once more when its request comes again.
    fn check_owed(&mut self, socket: Option<usize>, id: &str, text: &Outgoing) {
        let next = self.resends.pop_front();
        self.figures.add("responses resent", u64::from(next.is_some()));
        // PROTOCOL §2.5: after every reconnect sends again those not acked yet, here in the order they were given
        assert!(
            next.is_none_or(|next| next == *text),
            "not the response whose turn it is"
        );
        if let Some(owed) = self.owed.iter_mut().find(|owed| owed.id == id) {
            assert_eq!(owed.frame, *text, "another response than before");
            let asked_again = self.again_due.take().is_some();
            assert!(
                asked_again || owed.sent_on != socket,
                "{id} is sent again for no reason"
            );
            owed.sent_on = socket;
        }
    }

    fn check_forward(&mut self, socket: Option<usize>, id: &str) {
        let receipt = self.received.get(id).expect("only what was asked is forwarded");
        // PROTOCOL §2.5: the client must never forward the same request to the adapter twice
        assert!(self.forwarded.insert(id.to_owned()), "{id} is forwarded twice");
        match receipt.version {
            // PROTOCOL 0.1.2 §2.5: requests in flight at a disconnect are the relay's to time out
            Version::V1 => {
                let served = self.open.is_some() && receipt.socket == socket;
                assert!(served, "{id} is forwarded although its answer can go nowhere");
            }
            // PROTOCOL §2.2: acks every request frame before forwarding it
            Version::V2 => assert!(self.acked.contains(id), "{id} is forwarded before its ack"),
        }
        assert!(receipt.order > self.last_forwarded, "{id} overtook another");
        // PROTOCOL §2.6: a request frame received from now on is answered at once, without reaching the adapter
        assert!(!receipt.draining, "{id} came while draining");
        self.last_forwarded = receipt.order;
        self.figures.add("forwarded", 1);
    }

    fn check_report(&mut self, now: Millis, event: &Event) {
        match event {
            Event::Connected(version) => {
                self.figures.add("connections", 1);
                self.open = Some((*version, now));
                self.schedule.connected(now, *version);
                if *version == Version::V1 {
                    self.owed.clear();
                }
                self.resends = self.owed.iter().map(|owed| owed.frame.clone()).collect();
            }
            Event::Disconnected { why, retry_in } => self.check_disconnected(now, why, *retry_in),
            Event::Stopped(_) => {
                (self.open, self.stopped) = (None, true);
                self.figures.add("stopped", 1);
            }
            Event::Refused { id, code, .. } => {
                self.figures.add("refused", 1);
                self.new = self.new.map(|_| Some(*code));
                self.refused = Some(id.as_str().to_owned());
            }
            Event::Faulted { .. } => self.figures.add("faulted", 1),
            Event::TimedOut { id } => {
                self.figures.add("timed out", 1);
                self.check_expired(now, id.as_str());
            }
            Event::ResponseExpired { id } => {
                self.figures.add("responses expired", 1);
                self.check_expired(now, id.as_str());
                let at = self.owed.iter().position(|owed| owed.id == id.as_str());
                drop(self.owed.remove(at.expect("only what is held expires")));
            }
            Event::Acknowledged { .. } | Event::FrameIgnored(_) | Event::DrainStarted { .. } => {}
            Event::Paused(_) | Event::Resumed(_) => self.figures.add("pauses", 1),
            Event::DrainEnded {
                unfinished,
                unacknowledged,
            } => self.check_drained(now, *unfinished, *unacknowledged),
        }
    }

    fn check_disconnected(&mut self, now: Millis, why: &Disconnect, retry_in: Duration) {
        self.open = None;
        // PROTOCOL §2.5: those it can't recover from by retrying
        let hopeless = match why {
            Disconnect::DialFailed(failure) => matches!(failure.status, Some(401 | 403)),
            why => matches!(why.close_code(), Some(4001 | 4002 | 1009)),
        };
        assert!(!hopeless, "{why:?} is tried again");
        let replaced = why.close_code() == Some(1000);
        self.figures.add("replaced", u64::from(replaced));
        self.figures
            .add("stale connections", u64::from(why.code() == "no_pong"));
        self.schedule
            .disconnected(now, replaced, retry_in.as_millis() as Millis);
    }

    /// `PROTOCOL §2.5`: a response may be dropped once the relay's timeout for it has passed.
    fn check_expired(&mut self, now: Millis, id: &str) {
        let until = self.received[id].until;
        assert!(now >= until, "{id} is dropped {} ms early", until - now);
        assert!(self.expired.insert(id.to_owned()), "{id} expires twice");
    }

    /// `PROTOCOL §2.6`: lets the requests in flight finish, up to a grace period, waiting for the acks.
    fn check_drained(&mut self, now: Millis, unfinished: usize, unacknowledged: usize) {
        let by = self.drained_by.expect("a drain that was asked for");
        let hopeless = self.stopped || !self.listening;
        assert!(
            now >= by || hopeless || (unfinished, unacknowledged) == (0, 0),
            "the drain ends {} ms early",
            by - now
        );
        assert_eq!(unacknowledged, self.owed.len());
        self.drained = true;
        self.owed.clear();
    }

    /// A new request passes unless the relay is paused or a budget is spent, and only duplicates pass uncounted.
    fn check_admission(&mut self, now: Millis, refused: Option<&'static str>) {
        let Budget {
            requests_per_minute: most,
            max_concurrent,
            ..
        } = self.budget;
        let minute = self.admitted.iter().filter(|at| **at + 60_000 > now).count();
        let full = most.is_some_and(|most| minute >= most);
        match refused {
            None => {
                assert!(!self.paused, "a request is admitted while paused");
                assert!(!full, "request {} of a minute is admitted", minute + 1);
                self.admitted.push(now);
            }
            Some("paused") => {
                assert!(self.paused, "refused as paused for no reason");
                self.figures.add("refused while paused", 1);
            }
            Some("over_budget") => {
                assert!(full || max_concurrent.is_some(), "{minute} in a minute are refused");
                self.figures.add("refused over budget", 1);
            }
            Some(_) => {}
        }
    }

    /// After everything that one input came to.
    pub(super) fn end(
        &mut self,
        now: Millis,
        session: &Session<Hold>,
        settings: &Settings,
        at_adapter: usize,
        holds: usize,
    ) {
        assert_eq!(self.ack_due, None, "a request was not acked");
        assert_eq!(self.again_due, None, "a response was not sent again");
        assert!(self.resends.is_empty(), "held and not sent again: {:?}", self.resends);
        if let Some(refused) = self.new.take() {
            self.check_admission(now, refused);
        }
        let requests = session.requests();
        assert_eq!(requests.held(), self.owed.len(), "responses held at {now} ms");
        assert_eq!(requests.forwarding(), at_adapter, "requests at the adapter at {now} ms");
        assert!(at_adapter <= settings.max_in_flight, "{at_adapter} at the adapter");
        assert!(requests.queued() <= settings.max_queued, "{} queued", requests.queued());
        let over = self.drained || self.drained_by.is_none();
        assert!(over || !requests.is_empty(), "nothing is pending and the drain goes on");
        let room = at_adapter < settings.max_in_flight;
        assert!(
            requests.queued() == 0 || !room,
            "a request waits although the adapter has room"
        );
        let shares = self.owed.iter().filter(|owed| owed.share).count();
        assert_eq!(
            holds,
            at_adapter + requests.queued() + shares,
            "shares of the byte budget"
        );
    }
}

/// Read as any JSON reader would, not by our own codec.
fn kind_and_id(text: &Outgoing) -> (String, String) {
    let frame: Value = serde_json::from_str(text).expect("JSON");
    let field = |name: &str| frame[name].as_str().expect("a string").to_owned();
    (field("type"), field("request_id"))
}
