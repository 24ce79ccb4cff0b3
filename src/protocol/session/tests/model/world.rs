//! One run: a client, a relay, callers, an adapter and everything that goes wrong between them, by one seed.

use super::client::Client;
use super::figures::Figures;
use super::net::{Happening, Millis, Net, Side, USUAL_LATENCY};
use super::plan::Plan;
use super::random::Random;
use super::relay::{Outcome, Relay};
use crate::config::ProtocolChoice;
use crate::protocol::Version;
use crate::status::snapshot::RelayState;

struct World {
    net: Net,
    plan: Plan,
    client: Client,
    relay: Relay,
    healed: bool,
    person_expected: bool,
    probes: Vec<String>,
    steps: u64,
    restarts: u64,
}

/// Plays `seed` to its end.
pub(super) fn run(seed: u64, traced: bool) -> Figures {
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random);
    let mut net = Net::new(random, traced);
    net.note(|| format!("{plan:#?}"));
    prepare(&mut net, &plan);
    let mut world = World {
        client: Client::new(plan.settings.clone(), plan.tight),
        relay: Relay::new(plan.version, plan.relay_timeout, plan.reads_on),
        net,
        plan,
        healed: false,
        person_expected: false,
        probes: Vec::new(),
        steps: 0,
        restarts: 0,
    };
    while world.step() {}
    world.check_end();
    world.figures()
}

fn prepare(net: &mut Net, plan: &Plan) {
    let listening = net.random.below(3_000);
    net.after(listening, Happening::ListenerReady);
    for _ in 0..plan.requests {
        let at = net.random.below(plan.healed_at + 10_000);
        net.after(at, Happening::Asked);
    }
    if let Some((at, _)) = plan.drain {
        net.after(at, Happening::DrainAsked);
    }
    net.after(plan.fault_every, Happening::Fault);
    net.after(plan.healed_at, Happening::Healed);
    // by then every backoff, every timeout and every person has had time enough
    let settled = plan.healed_at + plan.timeout() + 200_000;
    for n in 0..PROBES {
        net.after(settled + 1_000 * n, Happening::Asked);
    }
    let end = settled + plan.relay_timeout.max(plan.timeout()) + 30_000;
    net.after(end, Happening::DrainAsked);
    net.after(end + 30_000, Happening::End);
}

impl World {
    /// Plays whatever comes next; `false` at the end.
    fn step(&mut self) -> bool {
        self.steps += 1;
        assert!(self.steps < MAX_STEPS, "no end in sight at {} ms", self.net.now);
        let due = if self.client.finished {
            Millis::MAX
        } else {
            self.client.due_at()
        };
        if due <= self.net.next_at() {
            assert!(due >= self.net.now, "a deadline {} ms in the past", self.net.now - due);
            self.net.now = due;
            self.net.note(|| "the session's deadline".to_owned());
            self.client.wake(&mut self.net);
        } else {
            let Some(happening) = self.net.next() else { return false };
            self.net.note(|| format!("{happening:?}"));
            if happening == Happening::End {
                return false;
            }
            self.play(happening);
        }
        if !self.person_expected && self.client.session.state() == RelayState::Stopped {
            self.person_expected = true;
            let delay = self.net.random.between(1_000, 20_000);
            self.net.after(delay, Happening::PersonComes);
        }
        true
    }

    fn play(&mut self, happening: Happening) {
        let net = &mut self.net;
        match happening {
            Happening::Arrived(socket, at) => {
                let Some(frame) = net.arrived(socket, at) else { return };
                net.note(|| format!("  the {at:?} gets {frame:?}"));
                match at {
                    Side::Client => self.client.heard(net, socket, frame),
                    Side::Relay => self.relay.heard(net, socket, frame),
                }
            }
            Happening::Broke(socket, Side::Client) => self.client.broke(net, socket),
            Happening::Broke(socket, Side::Relay) | Happening::ThiefLeaves(socket) => self.relay.broke(socket),
            Happening::DialArrived(socket) => {
                let named = self.plan.settings.protocol != ProtocolChoice::V1;
                if net.is_whole(socket) {
                    self.relay.connect(net, socket, named);
                }
            }
            Happening::DialTimedOut(socket) => self.client.dial_timed_out(net, socket),
            Happening::PingWritten(socket) => self.client.ping_written(net, socket),
            Happening::AdapterAnswers(id) => self.client.adapter_answers(net, &id),
            Happening::LateAnswer(id) => self.client.late_answer(net, &id),
            Happening::Asked => self.ask(),
            Happening::WaitedFor(id) => self.relay.waited(&id),
            Happening::TimedOut(id) => self.time_out(&id),
            Happening::ListenerReady => self.client.listener_ready(net),
            Happening::RelayUp => self.relay.up = true,
            Happening::PersonComes => self.person_comes(),
            Happening::Fault => self.fault(),
            Happening::Healed => self.heal(),
            Happening::DrainAsked => {
                let grace = self.plan.drain.map_or(8_000, |(_, grace)| grace);
                self.client.drain(net, grace);
            }
            Happening::End => {}
        }
    }

    fn ask(&mut self) {
        let settled = self.healed && self.net.now >= self.plan.healed_at + self.plan.timeout() + 200_000;
        if settled {
            self.client.healthy = true;
        }
        let id = self.relay.ask(&mut self.net);
        self.net.note(|| format!("  a caller asks {id}"));
        if settled {
            self.probes.push(id);
        }
    }

    /// The relay's timeout fails a request; nothing that the client did wrong may be the reason.
    fn time_out(&mut self, id: &str) {
        if !self.relay.timed_out(id) {
            return;
        }
        let rules = &self.client.rules;
        assert!(
            !rules.delivered.contains(id),
            "{id} was acked to the client and its caller got nothing"
        );
        if self.relay.version == Version::V1 || self.client.finished {
            return;
        }
        assert!(
            !self.plan.patient() || !rules.expired.contains(id),
            "{id} was dropped by the client before its caller was"
        );
        if let (Some((Version::V2, open)), Some(socket), Some(given)) =
            (rules.open, self.client.socket, rules.owes_since(id))
        {
            let sound = self.relay.current == Some(socket) && self.net.is_whole(socket);
            let late = self.net.now - open.max(given) < SLOWEST_LATENCY;
            assert!(late || !sound, "{id} is held although the connection is sound");
        }
    }

    fn person_comes(&mut self) {
        self.person_expected = false;
        self.relay.refuses = None;
        self.client.person_acts(&mut self.net);
    }

    fn heal(&mut self) {
        self.healed = true;
        self.net.latency = USUAL_LATENCY;
        (self.relay.refuses, self.relay.silent) = (None, false);
        let wrong = match self.plan.settings.protocol {
            ProtocolChoice::Auto => None,
            ProtocolChoice::V1 => (self.relay.version != Version::V1).then_some(Version::V1),
            ProtocolChoice::V2 => (self.relay.version != Version::V2).then_some(Version::V2),
        };
        if let Some(version) = wrong {
            self.relay.shut_down(&mut self.net);
            self.relay.version = version;
        }
        self.relay.up = true;
        self.client.pause(&mut self.net, false);
    }

    fn fault(&mut self) {
        if self.healed {
            return;
        }
        let pause = 1 + self.net.random.below(2 * self.plan.fault_every);
        self.net.after(pause, Happening::Fault);
        let net = &mut self.net;
        let relays = self.relay.current;
        match net.random.below(100) {
            0..40 => self.break_path(),
            40..46 => net.latency = net.random.pick(&[USUAL_LATENCY, USUAL_LATENCY, 2_000, SLOWEST_LATENCY]),
            46..51 => self.restart_relay(true),
            51..56 => self.restart_relay(false),
            56..66 => self.client.adapter_restarts(net),
            66..72 => {
                // PROTOCOL §2.5: 4003 only after long enough
                if let Some(socket) = relays.filter(|_| net.now - self.relay.since > 61_000) {
                    self.relay.close(net, socket, 4003);
                }
            }
            72..78 => self.thief(),
            78..84 => self.rubbish(),
            84..86 => self.refuse_key(),
            86..90 => self.relay.silent = true,
            90..93 => {
                let redial = net.random.chance(50);
                self.client.settings_change(net, redial);
            }
            93..95 => {
                let pause = !self.client.rules.paused;
                self.client.pause(net, pause);
            }
            _ if self.plan.sloppy => self.relay.repeat(net),
            _ => self.break_path(),
        }
    }

    fn break_path(&mut self) {
        let Some(socket) = self.client.socket else { return };
        let net = &mut self.net;
        let soon = net.random.below(50);
        let (client, relay) = match net.random.below(10) {
            0..6 => (Some(soon), Some(net.random.below(2_000))),
            6..8 => (Some(soon), None),
            8 => (None, Some(soon)),
            _ => (None, None),
        };
        net.cut(socket, client, relay);
    }

    fn restart_relay(&mut self, graceful: bool) {
        if !self.relay.up {
            return;
        }
        self.restarts += 1;
        if graceful {
            self.relay.shut_down(&mut self.net);
        } else {
            self.relay.crash(&mut self.net);
        }
        if self.net.random.chance(20) {
            self.relay.version = self.net.random.pick(&[Version::V1, Version::V2]);
        }
        let down = self.net.random.pick(&[0, 300, 1_000, 8_000]);
        self.net.after(down, Happening::RelayUp);
    }

    /// Another client with the same key, which PROTOCOL §2.5 forbids: it takes the slot and answers nothing.
    fn thief(&mut self) {
        let socket = self.net.open();
        self.relay.connect(&mut self.net, socket, true);
        let stays = self.net.random.pick(&[0, 500, 5_000]);
        self.net.after(stays, Happening::ThiefLeaves(socket));
    }

    fn rubbish(&mut self) {
        use super::net::Frame;
        let Some(socket) = self.relay.current else { return };
        let net = &mut self.net;
        let text = |text: &str| Frame::Text(text.to_owned());
        let frame = match net.random.below(20) {
            0 => Frame::TooLarge,
            1..4 => Frame::NotUtf8,
            4..7 => text("no JSON"),
            7..10 => text("[1]"),
            10..13 => text(r#"{"type":"later","request_id":"0-1"}"#),
            13..16 => text(r#"{"type":"ack","request_id":"nobody's"}"#),
            _ => Frame::Pong(1),
        };
        net.send(socket, Side::Client, frame);
    }

    fn refuse_key(&mut self) {
        let by = self.net.random.pick(&[0, 401, 403]);
        self.relay.refuses = Some(by);
        if let Some(socket) = self.relay.current.filter(|_| by == 0) {
            self.relay.close(&mut self.net, socket, 4001);
        }
    }

    fn check_end(&self) {
        let session = &self.client.session;
        assert!(self.client.finished, "the drain does not end: {:?}", session.state());
        assert_eq!(session.state(), RelayState::Drained);
        assert!(
            session.requests().is_empty() && self.client.adapter.is_empty(),
            "requests are left"
        );
        assert_eq!((self.client.holds(), session.deadline()), (0, None));
        assert_eq!(self.relay.pending(), 0, "callers are left");
        for (id, outcome) in &self.relay.calls {
            assert!(outcome.is_some(), "nobody told the caller of {id}");
        }
        if self.plan.drain.is_none() {
            for id in &self.probes {
                let outcome = self.relay.calls[id];
                assert_eq!(outcome, Some(Outcome::Answered(200)), "{id}, when all was well again");
            }
        }
    }

    fn figures(self) -> Figures {
        let mut figures = self.client.rules.figures;
        for (name, figure) in [
            ("steps", self.steps),
            ("cuts", self.net.cuts),
            ("frames lost", self.net.lost_frames),
            ("relay restarts", self.restarts),
        ] {
            figures.add(name, figure);
        }
        for outcome in self.relay.calls.values().flatten() {
            let name = match outcome {
                Outcome::Answered(_) => "callers answered",
                Outcome::Unavailable => "callers told 503 by the relay",
                Outcome::TimedOut => "callers told 504",
                Outcome::Died => "callers whose relay was down",
            };
            figures.add(name, 1);
        }
        figures
    }
}

/// Requests that are asked once everything is well again.
const PROBES: u64 = 4;

/// A frame that takes longer than a pong may.
const SLOWEST_LATENCY: Millis = 15_000;

/// More than any run needs by far.
const MAX_STEPS: u64 = 100_000;
