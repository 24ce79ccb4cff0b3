//! A session with a hand-turned clock, inputs as one-word methods, actions as short lines.
//!
//! Plays the shell's part of the contract: it keeps what is at the adapter, and with it that request's share of the
//! byte budget, until the answer or the cancel.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{Action, DialFailure, Disconnect, Event, Input, Session, Settings};
use crate::config::{Budget, Keepalive, ProtocolChoice};
use crate::protocol::answer::{AdapterAnswer, Policy};
use crate::protocol::{CloseFrame, ForwardRequest, RequestId, Response, Text, Version};

/// A share of the byte budget: counted while it lives.
#[derive(Debug)]
pub(super) struct Hold(Rc<Cell<usize>>);

impl Hold {
    pub(super) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A session, its clock, and what its shell would hold.
pub(super) struct Script {
    pub(super) session: Session<Hold>,
    pub(super) settings: Settings,
    epoch: Instant,
    now: Instant,
    holds: Rc<Cell<usize>>,
    at_adapter: BTreeMap<String, ForwardRequest<Hold>>,
    done: Vec<String>,
}

/// Told of most responses in most scripts, where no clock is turned.
const ACKNOWLEDGED_AT_ONCE: &str = "(acknowledged after 0)";

impl Script {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A session that waits for its listener, with `change`d settings.
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the start")]
    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            protocol: ProtocolChoice::Auto,
            keepalive: Keepalive {
                interval: Duration::from_secs(30),
                timeout: Duration::from_secs(10),
            },
            request_timeout: Duration::from_secs(600),
            max_in_flight: 512,
            max_queued: 16_384,
            paths: vec!["/v1/chat/completions".into(), "/v1/responses".into()],
            budget: Budget::default(),
            schedule: None,
        };
        change(&mut settings);
        let epoch = Instant::now();
        Self {
            session: Session::new(settings.clone(), RandomState::new()),
            settings,
            epoch,
            now: epoch,
            holds: Rc::default(),
            at_adapter: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    /// Sets the clock. Nothing passes by itself.
    pub(super) fn at(&mut self, seconds: u64) -> &mut Self {
        self.at_millis(seconds * 1000)
    }

    pub(super) fn at_millis(&mut self, millis: u64) -> &mut Self {
        let to = self.epoch + Duration::from_millis(millis);
        assert!(to >= self.now, "a clock does not go back");
        self.now = to;
        self
    }

    /// Gives every deadline its due until `seconds`, as the shell's timer would, and sets the clock there.
    pub(super) fn pass_until(&mut self, seconds: u64) -> &mut Self {
        let to = self.epoch + Duration::from_secs(seconds);
        while let Some(due) = self.session.deadline().filter(|due| *due <= to) {
            let before = self.done.len();
            self.now = self.now.max(due);
            self.deadline();
            assert!(
                self.done.len() > before || self.session.deadline() != Some(due),
                "a deadline that passes for ever"
            );
        }
        self.now = to;
        self
    }

    /// The same on a connection that stays: every ping is written and answered at once.
    pub(super) fn stay_until(&mut self, seconds: u64) -> &mut Self {
        let to = self.epoch + Duration::from_secs(seconds);
        while let Some(due) = self.session.deadline().filter(|due| *due <= to) {
            self.now = self.now.max(due);
            self.deadline();
            if let Some(number) = self.done.last().and_then(|line| line.strip_prefix("ping ")) {
                let number = number.parse().unwrap();
                self.done.pop();
                self.ping_written().pong(number);
            }
        }
        self.now = to;
        self
    }

    /// What was done since the last look.
    #[track_caller]
    pub(super) fn expect<const N: usize>(&mut self, lines: [&str; N]) -> &mut Self {
        assert_eq!(self.seen(), lines);
        self
    }

    /// The same, whatever people were told.
    #[track_caller]
    pub(super) fn expect_done<const N: usize>(&mut self, lines: [&str; N]) -> &mut Self {
        let mut seen = self.seen();
        seen.retain(|line| !line.starts_with('('));
        assert_eq!(seen, lines);
        self
    }

    pub(super) fn seen(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }

    /// Shares of the byte budget that are out.
    pub(super) fn holds(&self) -> usize {
        self.holds.get()
    }

    /// The next deadline, in milliseconds from the start.
    pub(super) fn deadline_at(&self) -> Option<u128> {
        self.session.deadline().map(|due| self.millis(due))
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn millis(&self, instant: Instant) -> u128 {
        instant.duration_since(self.epoch).as_millis()
    }

    /// Ids that the adapter is working on.
    pub(super) fn at_adapter(&self) -> Vec<String> {
        self.at_adapter.keys().cloned().collect()
    }

    pub(super) fn take_forwarded(&mut self, id: &str) -> ForwardRequest<Hold> {
        self.at_adapter.remove(id).unwrap()
    }

    pub(super) fn input(&mut self, input: Input<Hold>) -> &mut Self {
        self.session.handle(self.now, input);
        while let Some(action) = self.session.next_action() {
            let line = line(&action);
            match action {
                Action::Forward(request) => drop(self.at_adapter.insert(request.id.as_str().to_owned(), request)),
                Action::Cancel(id) => drop(self.at_adapter.remove(id.as_str())),
                Action::Dial
                | Action::Send(_)
                | Action::Ping(_)
                | Action::Close { .. }
                | Action::Abort
                | Action::Report(_)
                | Action::Finish => {}
            }
            if line != ACKNOWLEDGED_AT_ONCE {
                self.done.push(line);
            }
        }
        self
    }

    pub(super) fn listener_ready(&mut self) -> &mut Self {
        self.input(Input::ListenerReady)
    }

    pub(super) fn dialled(&mut self) -> &mut Self {
        self.input(Input::Dialled)
    }

    pub(super) fn dial_failed(&mut self, status: Option<u16>) -> &mut Self {
        self.input(Input::DialFailed(DialFailure {
            status,
            code: "dial_failed",
            message: "no route to the relay".into(),
        }))
    }

    /// A text message that the byte budget has room for.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let hold = Some(Hold::new(&self.holds));
        self.input(Input::Text {
            text: Text::from(text),
            hold,
        })
    }

    pub(super) fn hello_v1(&mut self) -> &mut Self {
        self.text(r#"{"type":"connected"}"#)
    }

    pub(super) fn hello_v2(&mut self) -> &mut Self {
        self.text(r#"{"type":"connected","protocol":2}"#)
    }

    pub(super) fn request(&mut self, id: &str) -> &mut Self {
        self.text(&request(id))
    }

    /// A request frame for which the byte budget has no room.
    pub(super) fn request_without_room(&mut self, id: &str) -> &mut Self {
        self.input(Input::Text {
            text: request(id).into(),
            hold: None,
        })
    }

    pub(super) fn ack(&mut self, id: &str) -> &mut Self {
        self.text(&format!(r#"{{"type":"ack","request_id":"{id}"}}"#))
    }

    /// The adapter answers with status 200.
    pub(super) fn answer(&mut self, id: &str) -> &mut Self {
        let hold = Hold::new(&self.holds);
        self.answer_with(id, Some(hold))
    }

    /// An answer for which the byte budget has no room.
    pub(super) fn answer_without_room(&mut self, id: &str) -> &mut Self {
        self.answer_with(id, None)
    }

    /// The adapter answers with status 200 and reports these tokens.
    pub(super) fn answer_using(&mut self, id: &str, input: u64, output: u64) -> &mut Self {
        drop(self.at_adapter.remove(id));
        let body = format!(r#"{{"usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}}}"#);
        let id = RequestId::from(id);
        let (headers, policy) = (http::HeaderMap::new(), Policy::Passthrough(&[]));
        let mut answer = AdapterAnswer::begin(&id, 200, &headers, &policy, body.len());
        answer.push(body.as_bytes());
        let response = answer.response(1 << 24);
        let hold = Some(Hold::new(&self.holds));
        self.input(Input::Forwarded { id, response, hold })
    }

    fn answer_with(&mut self, id: &str, hold: Option<Hold>) -> &mut Self {
        drop(self.at_adapter.remove(id));
        let frame = format!(
            r#"{{"type":"response","request_id":"{id}","payload":{{"status":200,"headers":{{}},"body":{{}}}}}}"#
        );
        self.input(Input::Forwarded {
            id: RequestId::from(id),
            response: Response {
                status: 200,
                frame: frame.into(),
                fault: None,
                answer: None,
            },
            hold,
        })
    }

    pub(super) fn ping_written(&mut self) -> &mut Self {
        self.input(Input::PingWritten)
    }

    pub(super) fn pong(&mut self, number: u64) -> &mut Self {
        self.input(Input::Pong(Some(number)))
    }

    /// The relay sends a close frame.
    pub(super) fn closed(&mut self, code: u16) -> &mut Self {
        let reason = String::new();
        self.input(Input::Disconnected(Disconnect::Closed(CloseFrame { code, reason })))
    }

    /// The stream ends without a close frame.
    pub(super) fn broken(&mut self) -> &mut Self {
        self.input(Input::Disconnected(Disconnect::Broken {
            code: "broken",
            message: "connection reset".into(),
        }))
    }

    pub(super) fn drain(&mut self, grace: u64) -> &mut Self {
        self.input(Input::DrainAsked {
            grace: Duration::from_secs(grace),
        })
    }

    /// The wall clock, in seconds since 1970.
    pub(super) fn clock(&mut self, seconds: u64) -> &mut Self {
        self.input(Input::ClockRead {
            since_1970: Duration::from_secs(seconds),
        })
    }

    pub(super) fn pause(&mut self) -> &mut Self {
        self.input(Input::PauseAsked)
    }

    pub(super) fn resume(&mut self) -> &mut Self {
        self.input(Input::ResumeAsked)
    }

    pub(super) fn reconnect_asked(&mut self) -> &mut Self {
        self.input(Input::ReconnectAsked)
    }

    pub(super) fn settings_changed(&mut self, redial: bool) -> &mut Self {
        let settings = self.settings.clone();
        self.input(Input::SettingsChanged { settings, redial })
    }

    pub(super) fn deadline(&mut self) -> &mut Self {
        self.input(Input::DeadlinePassed)
    }

    /// From a lost connection to the next one's `connected` frame, whatever the backoff.
    pub(super) fn reconnected_v2(&mut self) -> &mut Self {
        self.broken();
        if self.session.retry_at().is_some() {
            self.due();
        }
        self.dialled().hello_v2()
    }

    /// Turns the clock to the next deadline and lets it pass.
    pub(super) fn due(&mut self) -> &mut Self {
        self.now = self.session.deadline().map_or(self.now, |due| due.max(self.now));
        self.deadline()
    }

    /// Forgets what was done so far.
    pub(super) fn skip(&mut self) -> &mut Self {
        self.done.clear();
        self
    }
}

/// Connected at second 0, nothing left to look at.
pub(super) fn connected_v2() -> Script {
    connected_v2_with(|_| {})
}

pub(super) fn connected_v2_with(change: impl FnOnce(&mut Settings)) -> Script {
    let mut script = Script::with(change);
    script.listener_ready().dialled().hello_v2().skip();
    script
}

pub(super) fn connected_v1() -> Script {
    let mut script = Script::new();
    script.listener_ready().dialled().hello_v1().skip();
    script
}

pub(super) fn request(id: &str) -> String {
    format!(r#"{{"type":"request","request_id":"{id}","payload":{{"method":"POST","headers":{{}},"body":{{}}}}}}"#)
}

/// An action in a few words; what people are told stands in parentheses.
fn line(action: &Action<Hold>) -> String {
    match action {
        Action::Dial => "dial".into(),
        Action::Send(text) => sent(text),
        Action::Ping(number) => format!("ping {number}"),
        Action::Close { code, .. } => format!("close {code}"),
        Action::Abort => "abort".into(),
        Action::Forward(request) => format!("forward {}", request.id.as_str()),
        Action::Cancel(id) => format!("cancel {}", id.as_str()),
        Action::Report(event) => format!("({})", told(event)),
        Action::Finish => "finish".into(),
    }
}

/// Read as any JSON reader would, not by our own codec.
fn sent(text: &str) -> String {
    let frame: Value = serde_json::from_str(text).unwrap();
    let (kind, id) = (frame["type"].as_str().unwrap(), frame["request_id"].as_str().unwrap());
    let payload = &frame["payload"];
    match (payload["status"].as_u64(), payload["body"]["error"]["code"].as_str()) {
        (Some(status), Some(code)) => format!("{kind} {id} {status} {code}"),
        (Some(status), None) => format!("{kind} {id} {status}"),
        (None, _) => format!("{kind} {id}"),
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Connected(Version::V1) => "connected v1".into(),
        Event::Connected(Version::V2) => "connected v2".into(),
        Event::Disconnected { why, retry_in } => format!("{}, retry in {}", why.code(), retry_in.as_secs()),
        Event::Stopped(reason) => format!("stopped {}", reason.code()),
        Event::Refused { id, code, .. } => format!("refused {} {code}", id.as_str()),
        Event::Faulted { id, code } => format!("faulted {} {code}", id.as_str()),
        Event::TimedOut { id } => format!("timed out {}", id.as_str()),
        Event::Acknowledged { waited, .. } => format!("acknowledged after {}", waited.as_secs()),
        Event::ResponseExpired { id } => format!("expired {}", id.as_str()),
        Event::FrameIgnored(why) => format!("ignored {}", why.code()),
        Event::Paused(by) => format!("paused by {}", by.name()),
        Event::Resumed(by) => format!("resumed by {}", by.name()),
        Event::DrainStarted { in_flight, held, .. } => format!("draining {in_flight} in flight, {held} held"),
        Event::DrainEnded {
            unfinished,
            unacknowledged,
        } => format!("drained, {unfinished} unfinished, {unacknowledged} unacknowledged"),
    }
}
