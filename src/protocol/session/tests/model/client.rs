//! The session in a shell like the driver's, and an adapter behind it; every action is checked as it comes.
//!
//! The checks keep their own books, by the words of `PROTOCOL §2`, and compare them with what the session does.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::super::{Action, DialFailure, Disconnect, Event, Input, Session, Settings};
use super::super::harness::Hold;
use super::net::{Frame, Happening, Millis, Net, Side};
use super::rules::Rules;
use crate::protocol::answer::{AdapterAnswer, Policy};
use crate::protocol::{CloseFrame, Fault, ForwardRequest, RequestId, Response, Text, Version};
use crate::status::snapshot::RelayState;

pub(super) struct Client {
    pub(super) session: Session<Hold>,
    pub(super) settings: Settings,
    epoch: Instant,
    holds: Rc<Cell<usize>>,
    pub(super) socket: Option<usize>,
    dialling: bool,
    pub(super) adapter: BTreeMap<String, ForwardRequest<Hold>>,
    /// How often, of a hundred, the byte budget has no room.
    pub(super) tight: u64,
    /// Whether the adapter answers every request well and soon.
    pub(super) healthy: bool,
    pub(super) rules: Rules,
    pub(super) finished: bool,
}

impl Client {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the start")]
    pub(super) fn new(settings: Settings, tight: u64) -> Self {
        let (protocol, budget) = (settings.protocol, settings.budget);
        Self {
            session: Session::new(settings.clone(), RandomState::new()),
            settings,
            epoch: Instant::now(),
            holds: Rc::default(),
            socket: None,
            dialling: false,
            adapter: BTreeMap::new(),
            tight,
            healthy: false,
            rules: Rules::new(protocol, budget),
            finished: false,
        }
    }

    /// When the session wants to be woken; never in the past.
    pub(super) fn due_at(&self) -> Millis {
        let due = self.session.deadline();
        due.map_or(Millis::MAX, |due| due.duration_since(self.epoch).as_millis() as Millis)
    }

    pub(super) fn wake(&mut self, net: &mut Net) {
        let (due, before) = (self.session.deadline(), net.now);
        let acted = self.handle(net, Input::DeadlinePassed);
        assert!(
            acted > 0 || self.session.deadline() != due,
            "a deadline at {before} ms that passes for ever"
        );
    }

    pub(super) fn listener_ready(&mut self, net: &mut Net) {
        self.rules.listening = true;
        self.handle(net, Input::ListenerReady);
    }

    pub(super) fn drain(&mut self, net: &mut Net, grace: Millis) {
        let by = net.now + grace;
        self.rules.drained_by = Some(self.rules.drained_by.map_or(by, |before| before.min(by)));
        self.rules.schedule.drain();
        self.handle(
            net,
            Input::DrainAsked {
                grace: Duration::from_millis(grace),
            },
        );
    }

    /// Shares of the byte budget that are out.
    pub(super) fn holds(&self) -> usize {
        self.holds.get()
    }

    pub(super) fn person_acts(&mut self, net: &mut Net) {
        self.rules.schedule.wake(self.would_wake());
        self.handle(net, Input::ReconnectAsked);
    }

    pub(super) fn settings_change(&mut self, net: &mut Net, redial: bool) {
        self.rules.schedule.wake(self.would_wake());
        let settings = self.settings.clone();
        self.handle(net, Input::SettingsChanged { settings, redial });
    }

    pub(super) fn pause(&mut self, net: &mut Net, pause: bool) {
        self.rules.paused = pause;
        self.handle(net, if pause { Input::PauseAsked } else { Input::ResumeAsked });
    }

    /// Whether a person's act leads to an attempt at once, by the first row of the schedule.
    fn would_wake(&self) -> bool {
        matches!(self.session.state(), RelayState::Stopped | RelayState::BackingOff)
    }

    /// A frame of the relay on `socket`, which may be one that was left long ago.
    pub(super) fn heard(&mut self, net: &mut Net, socket: usize, frame: Frame) {
        if self.socket != Some(socket) {
            return;
        }
        match frame {
            Frame::Upgraded => {
                self.dialling = false;
                self.handle(net, Input::Dialled);
            }
            Frame::Refused(status) => self.dial_failed(net, Some(status)),
            Frame::Text(text) => self.heard_text(net, &text),
            Frame::TooLarge => {
                self.handle(net, Input::TooLarge);
            }
            Frame::NotUtf8 => {
                self.handle(net, Input::NotUtf8);
            }
            Frame::Pong(number) => {
                self.handle(net, Input::Pong(Some(number)));
            }
            Frame::Close(code) => {
                let told = net.random.chance(90).then(|| net.delay());
                net.leave(socket, Side::Client, told);
                let reason = String::new();
                self.lost(net, Disconnect::Closed(CloseFrame { code, reason }));
            }
            Frame::Ping(_) => {}
        }
    }

    /// The stream ends without a close frame.
    pub(super) fn broke(&mut self, net: &mut Net, socket: usize) {
        if self.socket == Some(socket) {
            if self.dialling {
                return self.dial_failed(net, None);
            }
            self.lost(
                net,
                Disconnect::Broken {
                    code: "broken",
                    message: "connection reset".into(),
                },
            );
        }
    }

    pub(super) fn dial_timed_out(&mut self, net: &mut Net, socket: usize) {
        if self.socket == Some(socket) && self.dialling {
            net.leave(socket, Side::Client, None);
            self.dial_failed(net, None);
        }
    }

    pub(super) fn ping_written(&mut self, net: &mut Net, socket: usize) {
        if self.socket == Some(socket) {
            self.handle(net, Input::PingWritten);
        }
    }

    /// The adapter answers `id`, if it is still asked to.
    pub(super) fn adapter_answers(&mut self, net: &mut Net, id: &str) {
        if !self.adapter.contains_key(id) {
            return;
        }
        let response = self.answer(net, id);
        let hold = self.share(net);
        self.forwarded(net, RequestId::from(id), response, hold);
    }

    /// An answer that was on its way when the request was cancelled: nobody wants it any more.
    pub(super) fn late_answer(&mut self, net: &mut Net, id: &str) {
        let response = self.answer(net, id);
        let hold = self.share(net);
        let id = RequestId::from(id);
        self.handle(net, Input::Forwarded { id, response, hold });
    }

    fn answer(&self, net: &mut Net, id: &str) -> Response {
        let id = RequestId::from(id);
        let status = if self.healthy {
            200
        } else {
            net.random.pick(&[200, 200, 200, 201, 400, 500, 503])
        };
        let body = json!({"answered": id.as_str()}).to_string();
        let (headers, policy) = (http::HeaderMap::new(), Policy::Passthrough(&[]));
        let mut answer = AdapterAnswer::begin(&id, status, &headers, &policy, body.len());
        answer.push(body.as_bytes());
        answer.response(1 << 24)
    }

    /// The adapter goes away with everything it works on.
    pub(super) fn adapter_restarts(&mut self, net: &mut Net) {
        for id in self.adapter.keys().cloned().collect::<Vec<_>>() {
            let id = RequestId::from(id.as_str());
            let response = Response::from_fault(&id, &Fault::AdapterUnavailable("gone".into()));
            self.forwarded(net, id, response, None);
        }
    }

    fn forwarded(&mut self, net: &mut Net, id: RequestId, response: Response, hold: Option<Hold>) {
        // its answer may come while an earlier one's makes the session cancel it
        if self.adapter.remove(id.as_str()).is_none() {
            return;
        }
        if self.session.version() == Some(Version::V2) {
            self.rules
                .owe(net.now, id.as_str(), response.frame.clone(), hold.is_some());
        }
        self.handle(net, Input::Forwarded { id, response, hold });
    }

    fn heard_text(&mut self, net: &mut Net, text: &str) {
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        let id = frame["request_id"].as_str();
        let heard = match (frame["type"].as_str(), id) {
            (Some("request"), Some(id)) => Heard::Request(id),
            (Some("ack"), Some(id)) => Heard::Ack(id),
            _ => Heard::Other,
        };
        let timeout = self.settings.request_timeout.as_millis() as Millis;
        self.rules.before(net.now, self.socket, timeout, &heard);
        let hold = self.share(net);
        let text = Text::from(text);
        self.handle(net, Input::Text { text, hold });
    }

    fn share(&self, net: &mut Net) -> Option<Hold> {
        let room = self.healthy || !net.random.chance(self.tight);
        room.then(|| Hold::new(&self.holds))
    }

    fn dial_failed(&mut self, net: &mut Net, status: Option<u16>) {
        (self.socket, self.dialling) = (None, false);
        self.handle(
            net,
            Input::DialFailed(DialFailure {
                status,
                code: "dial_failed",
                message: String::new(),
            }),
        );
    }

    fn lost(&mut self, net: &mut Net, why: Disconnect) {
        (self.socket, self.dialling) = (None, false);
        self.handle(net, Input::Disconnected(why));
    }

    /// Returns how many actions it came to.
    fn handle(&mut self, net: &mut Net, input: Input<Hold>) -> usize {
        let now = self.epoch + Duration::from_millis(net.now);
        self.rules.begin(&input);
        self.session.handle(now, input);
        let mut acted = 0;
        while let Some(action) = self.session.next_action() {
            acted += 1;
            self.rules.check(net.now, self.socket, &action);
            self.act(net, action);
        }
        self.rules.end(
            net.now,
            &self.session,
            &self.settings,
            self.adapter.len(),
            self.holds.get(),
        );
        acted
    }

    fn act(&mut self, net: &mut Net, action: Action<Hold>) {
        net.note(|| format!("    {action:?}"));
        match action {
            Action::Dial => {
                assert_eq!(self.socket, None, "a second connection at the same time");
                let socket = net.open();
                (self.socket, self.dialling) = (Some(socket), true);
                let delay = net.delay();
                net.after(delay, Happening::DialArrived(socket));
                net.after(DIAL_TIMEOUT, Happening::DialTimedOut(socket));
            }
            Action::Send(text) => self.send(net, Frame::Text(text.to_string())),
            Action::Ping(number) => {
                self.send(net, Frame::Ping(number));
                let delay = net.random.below(net.latency);
                net.after(delay, Happening::PingWritten(self.socket.expect("a socket")));
            }
            Action::Close { code, .. } => self.send(net, Frame::Close(code)),
            Action::Abort => {
                let told = net.random.chance(80).then(|| net.delay());
                if let Some(socket) = self.socket.take() {
                    net.leave(socket, Side::Client, told);
                }
                self.dialling = false;
            }
            Action::Forward(request) => self.forward(net, request),
            Action::Cancel(id) => self.cancel(net, &id),
            Action::Report(Event::Disconnected { .. } | Event::Stopped(_)) => self.dialling = false,
            Action::Report(_) => {}
            Action::Finish => {
                assert!(!self.finished, "finished twice");
                self.finished = true;
            }
        }
    }

    fn cancel(&mut self, net: &mut Net, id: &RequestId) {
        let was = self.adapter.remove(id.as_str());
        assert!(was.is_some(), "{id:?} is not at the adapter");
        if net.random.chance(50) {
            let delay = net.random.below(20);
            net.after(delay, Happening::LateAnswer(id.as_str().to_owned()));
        }
    }

    fn send(&mut self, net: &mut Net, frame: Frame) {
        let socket = self.socket.expect("something to send is sent on a connection");
        net.send(socket, Side::Relay, frame);
    }

    fn forward(&mut self, net: &mut Net, request: ForwardRequest<Hold>) {
        let id = request.id.as_str().to_owned();
        assert_eq!(request.body, json!({"asked": id}).to_string(), "another request's body");
        let takes = match net.random.below(100) {
            _ if self.healthy => Some(net.random.below(100)),
            0..80 => Some(net.random.between(1, 4_000)),
            80..94 => Some(net.random.between(5_000, 100_000)),
            94..97 => Some(0),
            _ => None,
        };
        if let Some(takes) = takes {
            net.after(takes, Happening::AdapterAnswers(id.clone()));
        }
        self.adapter.insert(id, request);
    }
}

/// What a text frame of the relay is.
pub(super) enum Heard<'a> {
    Request(&'a str),
    Ack(&'a str),
    Other,
}

/// The shell gives up an attempt after this.
const DIAL_TIMEOUT: Millis = 30_000;
