//! A session that is connected and has requests outstanding, with its shell's part played: nothing waits, nothing is
//! lost, what is sent is counted.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hint::black_box;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use spectral_bridge::config::{Budget, Keepalive, ProtocolChoice};
use spectral_bridge::protocol::answer::{AdapterAnswer, Policy};
use spectral_bridge::protocol::{Action, ForwardRequest, Input, RequestId, Response, Session, Settings, Text};

/// The client of one relay.
#[derive(Debug)]
pub struct Client {
    session: Session<()>,
    now: Instant,
    /// The oldest first.
    at_adapter: VecDeque<ForwardRequest<()>>,
    outstanding: usize,
    /// Requests that came so far.
    received: usize,
    body: String,
    sent_bytes: usize,
}

/// What the relay says in one request's life.
#[derive(Debug)]
pub struct Life {
    request: Text,
    ack: Text,
}

impl Client {
    /// Connected, with `outstanding` requests whose bodies have at least `size` bytes. At most [`AT_ADAPTER`] of them
    /// are at the adapter.
    ///
    /// # Panics
    /// The session does not take them.
    #[must_use]
    pub fn new(outstanding: usize, size: usize) -> Self {
        let mut client = Self {
            session: Session::new(settings(), RandomState::new()),
            now: Instant::now(),
            at_adapter: VecDeque::new(),
            outstanding,
            received: 0,
            body: crate::bodies::request(size),
            sent_bytes: 0,
        };
        client.happen(Input::ListenerReady);
        client.happen(Input::Dialled);
        client.hear(Text::from_static(r#"{"type":"connected","protocol":2}"#));
        for _ in 0..outstanding {
            let request = client.request();
            client.hear(request);
        }
        client.check();
        client
    }

    /// What the relay will say during the next `count` lives.
    #[must_use]
    pub fn prepare(&mut self, count: usize) -> Vec<Life> {
        let life = |client: &mut Self| Life {
            ack: ack_frame(&id(client.received - client.outstanding)),
            request: client.request(),
        };
        (0..count).map(|_| life(self)).collect()
    }

    /// One more request comes and is acked; the oldest is answered; its answer is acked.
    pub fn live(&mut self, life: Life, answer: impl FnOnce(&RequestId) -> Response) {
        self.hear(life.request);
        if let Some(ForwardRequest { id, .. }) = self.at_adapter.pop_front() {
            let response = answer(&id);
            let hold = Some(());
            self.happen(Input::Forwarded { id, response, hold });
        }
        self.hear(life.ack);
    }

    /// That all is as it should be between two lives.
    ///
    /// # Panics
    /// It is not.
    pub fn check(&self) {
        let requests = self.session.requests();
        let unanswered = requests.queued() + requests.forwarding();
        assert_eq!((unanswered, requests.held()), (self.outstanding, 0));
        assert_eq!(self.session.totals().duplicate_requests, 0);
    }

    /// Bytes of a request's frame.
    #[must_use]
    pub fn request_bytes(&self) -> usize {
        request_frame(&id(0), &self.body).len()
    }

    fn request(&mut self) -> Text {
        self.received += 1;
        request_frame(&id(self.received - 1), &self.body)
    }

    fn hear(&mut self, text: Text) {
        self.happen(Input::Text { text, hold: Some(()) });
    }

    fn happen(&mut self, input: Input<()>) {
        self.now += BETWEEN;
        self.session.handle(self.now, input);
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Forward(request) => self.at_adapter.push_back(request),
                Action::Send(text) => self.sent_bytes += text.len(),
                Action::Dial
                | Action::Ping(_)
                | Action::Close { .. }
                | Action::Abort
                | Action::Cancel(_)
                | Action::Report(_)
                | Action::Finish => drop(black_box(action)),
            }
        }
        black_box(self.session.deadline());
    }
}

/// A request frame as a relay writes it.
#[must_use]
pub fn request_frame(id: &str, body: &str) -> Text {
    format!(
        r#"{{"type":"request","request_id":"{id}","payload":{{"method":"POST","path":"/v1/chat/completions","headers":{{"content-type":"application/json","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},"body":{body}}}}}"#
    )
    .into()
}

/// The frame for what the adapter answered.
#[must_use]
pub fn response(id: &RequestId, body: &str) -> Response {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let policy = Policy::Passthrough(&[]);
    let mut answer = AdapterAnswer::begin(id, 200, &headers, &policy, body.len());
    answer.push(body.as_bytes());
    answer.response(usize::MAX)
}

/// As long as a UUID.
fn id(number: usize) -> String {
    format!("{number:036x}")
}

fn ack_frame(id: &str) -> Text {
    format!(r#"{{"type":"ack","request_id":"{id}"}}"#).into()
}

fn settings() -> Settings {
    let long = Duration::from_secs(365 * 24 * 3600);
    Settings {
        protocol: ProtocolChoice::Auto,
        keepalive: Keepalive {
            interval: long,
            timeout: long,
        },
        request_timeout: long,
        max_in_flight: AT_ADAPTER,
        max_queued: 16_384,
        paths: vec!["/v1/chat/completions".into(), "/v1/responses".into()],
        budget: Budget::default(),
        schedule: None,
    }
}

/// Requests at the adapter at the same time; below the fewest outstanding, so that all numbers of them take one road.
pub const AT_ADAPTER: usize = 64;
/// The clock's step from one event to the next.
const BETWEEN: Duration = Duration::from_micros(10);
