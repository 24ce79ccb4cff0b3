//! Any bytes as a sequence of things that happen to a session, with the promises of PROTOCOL §2 checked after each.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use spectral_bridge::config::{Budget, Config, Keepalive, ProtocolChoice, Schedule};
use spectral_bridge::protocol::frame::{self, Frame};
use spectral_bridge::protocol::{
    Action, CloseFrame, DialFailure, Disconnect, ForwardRequest, Input, RequestId, Response, Session, Settings, Version,
};
use spectral_bridge::status::snapshot::RelayState;

/// Whatever happens in whatever order: nothing reaches the adapter twice, everything is acked and answered once, the
/// limits hold, and the same inputs give the same actions.
pub fn session(data: &[u8]) {
    let start = Instant::now();
    let one = World::new(start).live(data);
    let other = World::new(start).live(data);
    assert_eq!(one, other, "the same inputs gave other actions");
}

/// A share of the byte budget.
#[derive(Debug)]
struct Hold(Rc<Cell<usize>>);

impl Hold {
    fn take(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A session and everything that its shell and the relay would know.
struct World {
    session: Session<Hold>,
    now: Instant,
    holds: Rc<Cell<usize>>,
    at_adapter: BTreeMap<String, ForwardRequest<Hold>>,
    forwarded: BTreeSet<String>,
    asked: BTreeSet<String>,
    /// The frame that answered an id: it never changes.
    answers: BTreeMap<String, String>,
    finished: bool,
    log: Vec<String>,
}

impl World {
    fn new(now: Instant) -> Self {
        Self {
            session: Session::new(settings(), RandomState::new()),
            now,
            holds: Rc::default(),
            at_adapter: BTreeMap::new(),
            forwarded: BTreeSet::new(),
            asked: BTreeSet::new(),
            answers: BTreeMap::new(),
            finished: false,
            log: Vec::new(),
        }
    }

    fn live(mut self, data: &[u8]) -> Vec<String> {
        let mut script = data.iter().copied();
        while let Some(code) = script.next() {
            if self.finished {
                break;
            }
            match self.input(code, &mut script) {
                Some(input) => self.happen(input),
                None => self.let_time_pass(u64::from(script.next().unwrap_or(0))),
            }
        }
        let World {
            session,
            at_adapter,
            holds,
            log,
            ..
        } = self;
        drop((session, at_adapter));
        assert_eq!(holds.get(), 0, "the byte budget leaks");
        log
    }

    /// The input that `code` stands for; `None` for the passing of time.
    fn input(&mut self, code: u8, script: &mut impl Iterator<Item = u8>) -> Option<Input<Hold>> {
        let mut byte = || script.next().unwrap_or(0);
        if let Some(input) = gate(code, &mut byte) {
            return Some(input);
        }
        Some(match code % 24 {
            0 => Input::ListenerReady,
            1 => Input::Dialled,
            2 => Input::DialFailed(DialFailure {
                status: [None, Some(401), Some(403), Some(502)][usize::from(byte() % 4)],
                code: "dial",
                message: "no road".to_owned(),
            }),
            3 => self.text(HELLO_V2),
            4 => self.text(HELLO_V1),
            5..=8 => {
                let text = request(byte());
                self.text(&text)
            }
            9 => Input::Text {
                text: request(byte()).into(),
                hold: None,
            },
            10 | 11 => {
                let text = format!(r#"{{"type":"ack","request_id":"{}"}}"#, byte() % IDS);
                self.text(&text)
            }
            12 => {
                let length = usize::from(byte());
                let raw: Vec<u8> = script.take(length).collect();
                match String::from_utf8(raw) {
                    Ok(text) => self.text(&text),
                    Err(_) => Input::NotUtf8,
                }
            }
            13 => Input::TooLarge,
            14 => Input::PingWritten,
            15 => Input::Pong(Some(u64::from(byte()))),
            16 => Input::Disconnected(disconnect(byte())),
            17..=19 => self.answer(byte())?,
            20 => Input::DrainAsked {
                grace: Duration::from_millis(u64::from(byte()) * 100),
            },
            21 => Input::ReconnectAsked,
            22 => Input::SettingsChanged {
                settings: settings(),
                redial: byte() % 2 == 1,
            },
            _ => return None,
        })
    }

    fn text(&self, text: &str) -> Input<Hold> {
        Input::Text {
            text: text.into(),
            hold: Some(Hold::take(&self.holds)),
        }
    }

    /// The adapter answers one of the requests that it has.
    fn answer(&mut self, which: u8) -> Option<Input<Hold>> {
        let id = self
            .at_adapter
            .keys()
            .nth(usize::from(which) % self.at_adapter.len().max(1))?
            .clone();
        drop(self.at_adapter.remove(&id));
        let quoted = serde_json::to_string(&id).expect("a string is JSON");
        let frame = format!(
            r#"{{"type":"response","request_id":{quoted},"payload":{{"status":200,"headers":{{}},"body":{{}}}}}}"#
        );
        let response = Response {
            status: 200,
            frame: frame.into(),
            fault: None,
            answer: None,
        };
        let hold = (which < 128).then(|| Hold::take(&self.holds));
        Some(Input::Forwarded {
            id: RequestId::from(id.as_str()),
            response,
            hold,
        })
    }

    fn let_time_pass(&mut self, tenths: u64) {
        let until = self.now + Duration::from_millis(tenths * 100);
        let mut idle = 0;
        while let Some(due) = self.session.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let before = self.log.len();
            self.happen(Input::DeadlinePassed);
            idle = if self.log.len() > before { 0 } else { idle + 1 };
            assert!(idle < 100, "a deadline that passes for ever");
            if self.finished {
                return;
            }
        }
        self.now = until;
    }

    fn happen(&mut self, input: Input<Hold>) {
        // While draining the state does not tell whether there is a connection.
        let connected = self.session.state() == RelayState::Connected;
        let maybe = connected || self.session.state() == RelayState::Draining;
        let version_2 = self.session.version() == Some(Version::V2);
        let asked = match &input {
            Input::Text { text, .. } => asked_id(text),
            _ => None,
        };
        self.session.handle(self.now, input);
        let mut acks = Vec::new();
        while let Some(action) = self.session.next_action() {
            assert!(!self.finished, "an action after the end");
            self.log.push(format!("{action:?}"));
            self.act(action, asked.as_deref(), &mut acks);
        }
        if let Some(id) = asked {
            // PROTOCOL §2.2: every request frame is acked, once, and nothing else is.
            let expected = usize::from(connected && version_2);
            let allowed = usize::from(maybe && version_2);
            assert!((expected..=allowed).contains(&acks.len()), "{id:?} acked as {acks:?}");
            assert!(acks.iter().all(|ack| *ack == id), "{id:?} acked as {acks:?}");
        } else {
            assert!(acks.is_empty(), "acked {acks:?} without a request");
        }
        self.check();
    }

    fn act(&mut self, action: Action<Hold>, asked: Option<&str>, acks: &mut Vec<String>) {
        match action {
            Action::Send(text) => self.sent(&text, asked, acks),
            Action::Forward(request) => {
                let id = request.id.as_str().to_owned();
                // PROTOCOL §2.5: never forward the same request twice.
                assert!(self.forwarded.insert(id.clone()), "{id:?} was forwarded twice");
                assert!(request.deadline > self.now, "forwarded after its time");
                assert!(!self.answers.contains_key(&id), "{id:?} was forwarded after its answer");
                self.at_adapter.insert(id, request);
            }
            Action::Cancel(id) => {
                let known = self.at_adapter.remove(id.as_str());
                assert!(known.is_some(), "{id:?} was cancelled but is not at the adapter");
            }
            Action::Close { code, .. } => assert!([1000, 1001, 1009].contains(&code), "closed with {code}"),
            Action::Finish => self.finished = true,
            Action::Dial | Action::Ping(_) | Action::Abort | Action::Report(_) => {}
        }
    }

    fn sent(&mut self, text: &str, asked: Option<&str>, acks: &mut Vec<String>) {
        let frame: Value = serde_json::from_str(text).expect("we send JSON");
        let id = frame["request_id"].as_str().expect("with an id").to_owned();
        match frame["type"].as_str() {
            Some("ack") => {
                self.asked.insert(id.clone());
                acks.push(id);
            }
            Some("response") => {
                let version_1 = self.session.version() == Some(Version::V1);
                assert!(version_1 || self.asked.contains(&id), "{id:?} answered before its ack");
                assert!(
                    asked.is_none() || acks.len() == 1 || version_1,
                    "answered before the ack"
                );
                let first = self.answers.entry(id.clone()).or_insert_with(|| text.to_string());
                assert_eq!(first, text, "{id:?} was answered twice, differently");
            }
            other => panic!("sent a frame of type {other:?}"),
        }
    }

    fn check(&self) {
        let requests = self.session.requests();
        assert!(requests.forwarding() <= MAX_IN_FLIGHT, "max_in_flight exceeded");
        assert!(
            requests.forwarding() + requests.queued() <= 9,
            "max_concurrent exceeded"
        );
        assert!(requests.queued() <= MAX_QUEUED, "max_queued exceeded");
        assert_eq!(requests.forwarding(), self.at_adapter.len(), "requests at the adapter");
        let most = requests.queued() + requests.held() + self.at_adapter.len();
        assert!(
            self.holds.get() <= most,
            "{} shares for {most} requests",
            self.holds.get()
        );
        if self.session.state() == RelayState::BackingOff {
            assert!(self.session.retry_at().is_some(), "backing off for ever");
        }
    }
}

/// Pauses by hand and a clock that jumps, across the schedule's hours and across days.
fn gate(code: u8, byte: &mut impl FnMut() -> u8) -> Option<Input<Hold>> {
    match code {
        251 => Some(Input::PauseAsked),
        252 => Some(Input::ResumeAsked),
        253 => Some(Input::ClockRead {
            since_1970: Duration::from_secs(u64::from(byte()) * 1800),
        }),
        254 => Some(Input::ClockRead {
            since_1970: Duration::MAX,
        }),
        _ => None,
    }
}

/// The id of a request frame.
fn asked_id(text: &str) -> Option<String> {
    match frame::decode(text) {
        Frame::Request { id, .. } => Some(id.into_owned()),
        Frame::Connected(_) | Frame::Ack { .. } | Frame::Ignored(_) => None,
    }
}

/// A few ids, so that they meet again; some requests are none.
fn request(choice: u8) -> String {
    let id = choice % IDS;
    let payload = match choice / IDS {
        0..=4 => r#"{"method":"POST","path":"/v1/responses","headers":{"a":"b"},"body":{"input":"x"}}"#,
        5 => r#"{"path":"/admin"}"#,
        6 => r#"{"method":"GET"}"#,
        _ => "7",
    };
    format!(r#"{{"type":"request","request_id":"{id}","payload":{payload}}}"#)
}

fn disconnect(choice: u8) -> Disconnect {
    let codes = [1000, 1001, 1005, 1009, 1012, 4001, 4002, 4003];
    match codes.get(usize::from(choice % 9)) {
        Some(&code) => Disconnect::Closed(CloseFrame {
            code,
            reason: String::new(),
        }),
        None => Disconnect::Broken {
            code: "eof",
            message: "gone".to_owned(),
        },
    }
}

/// Open on Thursdays and in the night to Monday, once somebody tells the time.
fn schedule() -> Option<Schedule> {
    let windows = r#"[{"days":["thu"],"from":"00:00","to":"12:00","utc_offset":"Z"},
        {"days":["sun"],"from":"22:00","to":"06:00","utc_offset":"-05:00"}]"#;
    let config = format!(r#"{{"relays":[{{"url":"wss://r/connect","api_key":{{"env":"K"}},"schedule":{windows}}}]}}"#);
    let config = Config::from_json(config.as_bytes()).expect("a configuration");
    config.relays.into_iter().find_map(|relay| relay.schedule)
}

fn settings() -> Settings {
    Settings {
        protocol: ProtocolChoice::Auto,
        keepalive: Keepalive {
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(1),
        },
        request_timeout: Duration::from_secs(20),
        max_in_flight: MAX_IN_FLIGHT,
        max_queued: MAX_QUEUED,
        paths: vec!["/v1/chat/completions".into(), "/v1/responses".into()],
        budget: Budget {
            requests_per_minute: Some(12),
            tokens_per_day: Some(1000),
            max_concurrent: Some(9),
        },
        schedule: schedule(),
    }
}

const HELLO_V1: &str = r#"{"type":"connected"}"#;
const HELLO_V2: &str = r#"{"type":"connected","protocol":2}"#;

/// Small, so that they are met often.
const MAX_IN_FLIGHT: usize = 2;
const MAX_QUEUED: usize = 3;
const IDS: u8 = 24;
