//! A simple reference relay, written from `PROTOCOL §3` and `PROTOCOL 0.1.2 §3.1`: one key, callers, connections.
//!
//! Reads and writes frames as JSON values, not by our codec.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::net::{Frame, Happening, Millis, Net, Side};
use crate::protocol::Version;

/// What a caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The client's answer, with its status.
    Answered(u16),
    /// 503 of the relay's own: no client, or it said goodbye, or the relay stops.
    Unavailable,
    /// 504
    TimedOut,
    /// The relay died and the caller's connection with it.
    Died,
}

struct Pending {
    order: u64,
    acked: bool,
}

pub(super) struct Relay {
    pub(super) version: Version,
    pub(super) up: bool,
    pub(super) timeout: Millis,
    /// The key is refused: in the handshake with this status, or by 4001 when it is 0.
    pub(super) refuses: Option<u16>,
    /// The next connection is accepted and hears nothing.
    pub(super) silent: bool,
    /// Whether frames that a client sent before it saw our close frame are still read.
    pub(super) reads_on: bool,
    pub(super) current: Option<usize>,
    /// Every caller and what it got.
    pub(super) calls: BTreeMap<String, Option<Outcome>>,
    newest: usize,
    /// When the current connection was made.
    pub(super) since: Millis,
    seen: bool,
    open: BTreeSet<usize>,
    closing: BTreeSet<usize>,
    pending: BTreeMap<String, Pending>,
    /// Not sent yet: the client was here and is not.
    away: Vec<String>,
    asked: u64,
    sent: u64,
    life: u64,
}

impl Relay {
    pub(super) fn new(version: Version, timeout: Millis, reads_on: bool) -> Self {
        Self {
            version,
            up: true,
            timeout,
            refuses: None,
            silent: false,
            reads_on,
            current: None,
            calls: BTreeMap::new(),
            newest: 0,
            since: 0,
            seen: false,
            open: BTreeSet::new(),
            closing: BTreeSet::new(),
            pending: BTreeMap::new(),
            away: Vec::new(),
            asked: 0,
            sent: 0,
            life: 0,
        }
    }

    /// A caller asks. Returns the request's id.
    pub(super) fn ask(&mut self, net: &mut Net) -> String {
        self.asked += 1;
        // opaque, and not shy
        let id = format!(
            "{}-{}{}",
            self.life,
            self.asked,
            ["", "\"é", "\\ 🦀"][(self.asked % 3) as usize]
        );
        self.calls.insert(id.clone(), None);
        match (self.up, self.current) {
            (false, _) => self.give(&id, Outcome::Died),
            (true, Some(_)) => self.send(net, &id),
            // PROTOCOL §3.1: wait briefly for a client that was connected
            (true, None) if self.seen && self.version == Version::V2 => {
                self.away.push(id.clone());
                net.after(RECONNECT_WAIT, Happening::WaitedFor(id.clone()));
            }
            (true, None) => self.give(&id, Outcome::Unavailable),
        }
        id
    }

    fn send(&mut self, net: &mut Net, id: &str) {
        let Some(current) = self.current else { return };
        self.sent += 1;
        let pending = Pending {
            order: self.sent,
            acked: false,
        };
        self.pending.insert(id.to_owned(), pending);
        net.after(self.timeout, Happening::TimedOut(id.to_owned()));
        net.send(current, Side::Client, Frame::Text(request(self.version, id)));
    }

    /// A handshake with the right key gets here. `named` says whether it names version 2.
    pub(super) fn connect(&mut self, net: &mut Net, socket: usize, named: bool) {
        if !self.up {
            net.send(socket, Side::Client, Frame::Refused(502));
            return;
        }
        if let Some(status @ 1..) = self.refuses {
            net.send(socket, Side::Client, Frame::Refused(status));
            return;
        }
        net.send(socket, Side::Client, Frame::Upgraded);
        self.open.insert(socket);
        // PROTOCOL §3.1: a version that is not spoken is accepted and closed with 4002; an invalid key is 4001
        if self.version == Version::V2 && !named {
            return self.close(net, socket, 4002);
        }
        if self.refuses.is_some() {
            return self.close(net, socket, 4001);
        }
        if !std::mem::take(&mut self.silent) {
            self.attach(net, socket);
        }
    }

    fn attach(&mut self, net: &mut Net, socket: usize) {
        // PROTOCOL §3.1: accept the newer connection, close the older one cleanly
        if let Some(older) = self.current {
            self.close(net, older, 1000);
        }
        (self.current, self.newest, self.since, self.seen) = (Some(socket), socket, net.now, true);
        let connected = match self.version {
            Version::V1 => json!({"type": "connected"}),
            Version::V2 => json!({"type": "connected", "protocol": 2}),
        };
        net.send(socket, Side::Client, Frame::Text(connected.to_string()));
        if self.version == Version::V2 {
            // PROTOCOL §2.5: keeps each request the client hasn't acked, and sends it again
            let mut again: Vec<_> = self.pending.iter().filter(|(_, pending)| !pending.acked).collect();
            again.sort_by_key(|(_, pending)| pending.order);
            for (id, _) in again {
                net.send(socket, Side::Client, Frame::Text(request(self.version, id)));
            }
        }
        for id in std::mem::take(&mut self.away) {
            self.send(net, &id);
        }
    }

    /// A frame of any client.
    pub(super) fn heard(&mut self, net: &mut Net, socket: usize, frame: Frame) {
        let open = self.open.contains(&socket);
        let read = open || self.reads_on && self.closing.contains(&socket);
        if !read {
            return;
        }
        match frame {
            Frame::Text(text) => self.heard_text(net, &text),
            Frame::Ping(number) if open => net.send(socket, Side::Client, Frame::Pong(number)),
            Frame::Close(code) => self.closed(net, socket, code),
            Frame::Ping(_)
            | Frame::Pong(_)
            | Frame::Upgraded
            | Frame::Refused(_)
            | Frame::TooLarge
            | Frame::NotUtf8 => {}
        }
    }

    fn heard_text(&mut self, net: &mut Net, text: &str) {
        let frame: Value = serde_json::from_str(text).expect("the client sends JSON");
        let id = frame["request_id"].as_str().expect("the client names a request");
        assert!(
            self.life_of(id) <= self.life && self.calls.contains_key(id),
            "no such request: {id}"
        );
        match (frame["type"].as_str(), self.version) {
            (Some("ack"), Version::V2) => {
                if let Some(pending) = self.pending.get_mut(id) {
                    pending.acked = true;
                }
            }
            (Some("response"), version) => {
                let status = answered(id, &frame["payload"]);
                // PROTOCOL §2.2: acks every response frame, including one for a request it no longer tracks, on the
                // current connection
                if let (Version::V2, Some(current)) = (version, self.current) {
                    let ack = json!({"type": "ack", "request_id": id}).to_string();
                    net.send(current, Side::Client, Frame::Text(ack));
                }
                if self.pending.remove(id).is_some() {
                    self.give(id, Outcome::Answered(status));
                }
            }
            (kind, version) => panic!("a client of {version:?} sent {kind:?}"),
        }
    }

    fn closed(&mut self, net: &mut Net, socket: usize, code: u16) {
        if self.open.contains(&socket) {
            net.send(socket, Side::Client, Frame::Close(code));
        }
        // PROTOCOL §2.6: a 1001 fails what is pending, unless a newer connection has replaced that one
        if code == 1001 && self.version == Version::V2 && self.newest == socket {
            for id in std::mem::take(&mut self.pending).into_keys() {
                self.give(&id, Outcome::Unavailable);
            }
        }
        self.broke(socket);
    }

    /// A socket is gone.
    pub(super) fn broke(&mut self, socket: usize) {
        self.open.remove(&socket);
        self.closing.remove(&socket);
        if self.current == Some(socket) {
            self.current = None;
        }
    }

    /// Closes one connection.
    pub(super) fn close(&mut self, net: &mut Net, socket: usize, code: u16) {
        if self.open.remove(&socket) {
            net.note(|| format!("the relay closes socket {socket} with {code}"));
            net.send(socket, Side::Client, Frame::Close(code));
            self.closing.insert(socket);
        }
        if self.current == Some(socket) {
            self.current = None;
        }
    }

    /// PROTOCOL §3.1: closes every connection with 1012 and fails the pending requests straight away.
    pub(super) fn shut_down(&mut self, net: &mut Net) {
        for socket in self.open.clone() {
            self.close(net, socket, 1012);
        }
        self.end(Outcome::Unavailable);
    }

    /// Dies without a word.
    pub(super) fn crash(&mut self, net: &mut Net) {
        for socket in self.open.union(&self.closing).copied().collect::<Vec<_>>() {
            let told = net.random.chance(80).then(|| net.random.between(0, 500));
            net.leave(socket, Side::Relay, told);
        }
        self.end(Outcome::Died);
    }

    fn end(&mut self, outcome: Outcome) {
        let (pending, away) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.away));
        for id in pending.into_keys().chain(away) {
            self.give(&id, outcome);
        }
        // the next process knows nothing of this one's sockets
        self.open.clear();
        self.closing.clear();
        (self.up, self.current, self.seen) = (false, None, false);
        self.life += 1;
    }

    /// Whether `id` was still pending: its caller now has a 504.
    pub(super) fn timed_out(&mut self, id: &str) -> bool {
        let pending = self.pending.remove(id).is_some();
        if pending {
            self.give(id, Outcome::TimedOut);
        }
        pending
    }

    pub(super) fn waited(&mut self, id: &str) {
        if let Some(at) = self.away.iter().position(|waiting| waiting == id) {
            self.away.remove(at);
            self.give(id, Outcome::Unavailable);
        }
    }

    /// Sends a request once more, whatever became of it: what no conforming relay does.
    pub(super) fn repeat(&mut self, net: &mut Net) {
        let nth = net.random.below(self.calls.len().max(1) as u64) as usize;
        if let (Some(current), Some(id)) = (self.current, self.calls.keys().nth(nth)) {
            net.send(current, Side::Client, Frame::Text(request(self.version, id)));
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len() + self.away.len()
    }

    /// Exactly one outcome for each caller.
    fn give(&mut self, id: &str, outcome: Outcome) {
        let before = self.calls.insert(id.to_owned(), Some(outcome));
        assert_eq!(before, Some(None), "{id} was answered twice, now with {outcome:?}");
    }

    fn life_of(&self, id: &str) -> u64 {
        id.split('-')
            .next()
            .and_then(|life| life.parse().ok())
            .expect("an id of ours")
    }
}

fn request(version: Version, id: &str) -> String {
    let body = json!({"asked": id});
    let payload = match version {
        Version::V1 => json!({"method": "POST", "headers": {}, "body": body}),
        Version::V2 => json!({"method": "POST", "path": "/v1/responses", "headers": {}, "body": body}),
    };
    json!({"type": "request", "request_id": id, "payload": payload}).to_string()
}

/// The status of an answer that is the adapter's for this very request, or the client's own fault.
fn answered(id: &str, payload: &Value) -> u16 {
    let own = payload["body"]["error"]["type"] == "relay_client_error";
    assert!(own || payload["body"]["answered"] == id, "{id} got {payload}");
    payload["status"]
        .as_u64()
        .and_then(|status| status.try_into().ok())
        .expect("a status")
}

/// `PROTOCOL §3.1`: wait briefly; the reference waits up to 10 seconds.
const RECONNECT_WAIT: Millis = 10_000;
