//! The virtual network: sockets made of two ordered streams, a clock, and what will happen when.
//!
//! It does to a connection what a real one can suffer: every frame takes its time, a break may fall into the middle of
//! a frame and loses that one and all later ones of its direction, and each end learns of it on its own, soon, late or
//! never. What no socket does is left out: within one stream nothing is lost before a break, repeated or reordered.

use std::collections::{BTreeMap, VecDeque};

use super::random::Random;

/// Milliseconds since the start of the run.
pub(super) type Millis = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Relay,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The handshake's answer.
    Upgraded,
    /// The handshake's refusal, with its HTTP status.
    Refused(u16),
    Text(String),
    /// A message above the client's limit.
    TooLarge,
    NotUtf8,
    Ping(u64),
    Pong(u64),
    Close(u16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    /// The stream's next frame gets to this side.
    Arrived(usize, Side),
    /// This side learns that the socket is gone.
    Broke(usize, Side),
    DialArrived(usize),
    DialTimedOut(usize),
    PingWritten(usize),
    AdapterAnswers(String),
    /// The answer of a request that was cancelled too late to stop it.
    LateAnswer(String),
    Asked,
    /// The relay waited long enough for its client to come back.
    WaitedFor(String),
    /// The relay waited long enough for an answer.
    TimedOut(String),
    ThiefLeaves(usize),
    ListenerReady,
    RelayUp,
    PersonComes,
    Fault,
    Healed,
    DrainAsked,
    End,
}

#[derive(Default)]
struct Stream {
    /// Under way, with the time of arrival.
    frames: VecDeque<(Millis, Frame)>,
    last_arrival: Millis,
    cut: bool,
}

#[derive(Default)]
struct Socket {
    to_client: Stream,
    to_relay: Stream,
}

pub(super) struct Net {
    pub(super) now: Millis,
    pub(super) random: Random,
    /// Longest time that a frame takes.
    pub(super) latency: Millis,
    /// Frames that a break swallowed.
    pub(super) lost_frames: u64,
    pub(super) cuts: u64,
    traced: bool,
    queue: BTreeMap<(Millis, u64), Happening>,
    sequence: u64,
    sockets: Vec<Socket>,
}

impl Net {
    pub(super) fn new(random: Random, traced: bool) -> Self {
        Self {
            now: 0,
            random,
            latency: USUAL_LATENCY,
            lost_frames: 0,
            cuts: 0,
            traced,
            queue: BTreeMap::new(),
            sequence: 0,
            sockets: Vec::new(),
        }
    }

    /// A line for whoever replays one seed.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>9.3} {}", self.now as f64 / 1000.0, line());
        }
    }

    pub(super) fn after(&mut self, delay: Millis, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    /// When something happens next.
    pub(super) fn next_at(&self) -> Millis {
        self.queue.first_key_value().map_or(Millis::MAX, |((at, _), _)| *at)
    }

    /// Turns the clock to it.
    pub(super) fn next(&mut self) -> Option<Happening> {
        let ((at, _), happening) = self.queue.pop_first()?;
        self.now = at;
        Some(happening)
    }

    pub(super) fn open(&mut self) -> usize {
        self.sockets.push(Socket::default());
        self.sockets.len() - 1
    }

    pub(super) fn is_whole(&self, socket: usize) -> bool {
        let Socket { to_client, to_relay } = &self.sockets[socket];
        !to_client.cut && !to_relay.cut
    }

    pub(super) fn delay(&mut self) -> Millis {
        self.random.between(1, self.latency)
    }

    pub(super) fn send(&mut self, socket: usize, to: Side, frame: Frame) {
        let delay = self.delay();
        let now = self.now;
        let stream = self.stream(socket, to);
        if stream.cut {
            self.lost_frames += 1;
            return;
        }
        let arrival = stream.last_arrival.max(now + delay);
        stream.last_arrival = arrival;
        stream.frames.push_back((arrival, frame));
        self.after(arrival - now, Happening::Arrived(socket, to));
    }

    /// The frame that is there by now, if a break has not swallowed it.
    pub(super) fn arrived(&mut self, socket: usize, at: Side) -> Option<Frame> {
        let now = self.now;
        let frames = &mut self.stream(socket, at).frames;
        if frames.front()?.0 > now {
            return None;
        }
        frames.pop_front().map(|(_, frame)| frame)
    }

    /// The path breaks; each side that is given a delay learns of it then, after what still gets through.
    pub(super) fn cut(&mut self, socket: usize, client_after: Option<Millis>, relay_after: Option<Millis>) {
        self.cuts += 1;
        self.note(|| format!("socket {socket} is cut, told {client_after:?} {relay_after:?}"));
        self.end(socket, Side::Client, client_after);
        self.end(socket, Side::Relay, relay_after);
    }

    /// `side` drops its end: it hears nothing any more, and the other side of what was under way only a part.
    pub(super) fn leave(&mut self, socket: usize, side: Side, told_after: Option<Millis>) {
        self.end(socket, side, None);
        self.stream(socket, side).frames.clear();
        self.end(socket, other(side), told_after);
    }

    /// Cuts the stream to `to` at any byte of what is under way.
    fn end(&mut self, socket: usize, to: Side, told_after: Option<Millis>) {
        let (mut lost, now) = (0, self.now);
        let under_way: usize = self
            .stream(socket, to)
            .frames
            .iter()
            .map(|(_, frame)| size(frame))
            .sum();
        let mut left = self.random.below(under_way as u64 + 1) as usize;
        let stream = self.stream(socket, to);
        if !stream.cut {
            stream.cut = true;
            let whole = stream.frames.iter().take_while(|(_, frame)| {
                let fits = size(frame) <= left;
                left = left.saturating_sub(size(frame));
                fits
            });
            let whole = whole.count();
            lost = stream.frames.len() - whole;
            stream.frames.truncate(whole);
        }
        let last = stream.frames.back().map_or(now, |(at, _)| *at);
        self.lost_frames += lost as u64;
        if let Some(delay) = told_after {
            self.after(last - now + delay, Happening::Broke(socket, to));
        }
    }

    fn stream(&mut self, socket: usize, to: Side) -> &mut Stream {
        let socket = &mut self.sockets[socket];
        match to {
            Side::Client => &mut socket.to_client,
            Side::Relay => &mut socket.to_relay,
        }
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Relay,
        Side::Relay => Side::Client,
    }
}

fn size(frame: &Frame) -> usize {
    match frame {
        Frame::Text(text) => text.len() + 4,
        Frame::TooLarge => 1 << 20,
        Frame::Upgraded | Frame::Refused(_) | Frame::NotUtf8 | Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) => 10,
    }
}

pub(super) const USUAL_LATENCY: Millis = 200;
