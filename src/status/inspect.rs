//! The inspector's answers: the page, and the JSON that it asks for again and again.
//!
//! Polling, not a stream: a viewer holds nothing between two answers, and one that is paused or gone costs nothing. An
//! answer has a bounded size; so many may be on their way at the same time, whoever comes then is answered 503 and asks
//! again; a viewer that does not read its answer is cut by the server's deadline. All of it runs beside the relays'
//! threads. The page gets no content but by [`content`], which needs the token where one is configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};

use super::server::{Control, response, text};
use crate::inspector::view::{View, since_1970};
use crate::inspector::{History, INTERVAL, PAGE, SCRIPT, STYLE};

/// The inspector of one status server, off until it is switched on. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Inspector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    on: AtomicBool,
    history: History,
    answers: Arc<Semaphore>,
}

/// What a viewer may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// `GET /`, which leads to the page.
    Home,
    /// `GET /inspector`.
    Page,
    /// Its style.
    Style,
    /// Its script.
    Script,
    /// What it shows.
    Data {
        /// Of this relay only.
        relay: Option<String>,
    },
    /// What was kept of one request.
    Content {
        /// Whose.
        recorder: u64,
        /// Which.
        number: u64,
    },
}

/// An answer that keeps its place until it is written, or given up.
struct Held {
    json: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

impl Default for Inspector {
    fn default() -> Self {
        Self(Arc::new(Inner {
            on: AtomicBool::new(false),
            history: History::default(),
            answers: Arc::new(Semaphore::new(ANSWERS)),
        }))
    }
}

impl Inspector {
    /// Switches it on or off.
    pub fn set(&self, on: bool) {
        self.0.on.store(on, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    /// Samples the status for the plots, for ever.
    pub(super) async fn sample(&self, control: &dyn Control) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.is_on() {
                self.0.history.sample(&control.snapshot());
            }
        }
    }

    /// Answers what needs no token.
    pub(super) fn answer(&self, asked: &Asked, control: &dyn Control) -> Response<Full<Bytes>> {
        let answer = match asked {
            Asked::Home => home(),
            Asked::Page => file("text/html; charset=utf-8", PAGE),
            Asked::Style => file("text/css; charset=utf-8", STYLE),
            Asked::Script => file("text/javascript; charset=utf-8", SCRIPT),
            Asked::Data { relay } => self.in_place(|| self.view(control, relay.as_deref())),
            Asked::Content { recorder, number } => self.content(control, *recorder, *number),
        };
        protected(answer)
    }

    fn view(&self, control: &dyn Control, relay: Option<&str>) -> View {
        let recorders = control.recorders();
        let wanted = || {
            let all = recorders.iter();
            all.filter(|(name, _)| relay.is_none_or(|relay| relay == name))
        };
        let mut requests: Vec<_> = wanted().flat_map(|(name, recorder)| recorder.seen(name)).collect();
        requests.sort_by(|a, b| b.received.total_cmp(&a.received));
        requests.truncate(REQUESTS);
        let mut troubles: Vec<_> = wanted().flat_map(|(name, recorder)| recorder.troubles(name)).collect();
        troubles.sort_by(|a, b| b.at.total_cmp(&a.at));
        troubles.truncate(TROUBLES);
        View {
            status: control.snapshot(),
            now: since_1970(SystemTime::now()),
            requests,
            troubles,
            rates: self.0.history.rates(),
            rates_interval: INTERVAL.as_secs_f64(),
            keeps_content: recorders.iter().any(|(_, recorder)| recorder.keeps_content()),
        }
    }

    fn content(&self, control: &dyn Control, recorder: u64, number: u64) -> Response<Full<Bytes>> {
        let recorders = control.recorders();
        if !recorders.iter().any(|(_, recorder)| recorder.keeps_content()) {
            let how = "no content is kept; status.inspector: { bodies: true } in the configuration keeps some\n";
            return text(StatusCode::FORBIDDEN, how.to_owned());
        }
        let mut own = recorders.iter().filter(|(_, own)| own.id() == recorder);
        match own.find_map(|(_, recorder)| recorder.content(number)) {
            Some(content) => self.in_place(|| content),
            None => text(
                StatusCode::NOT_FOUND,
                "this content is not kept, or not any more\n".to_owned(),
            ),
        }
    }

    /// Makes the answer if there is a place for it.
    fn in_place<T: Serialize>(&self, make: impl FnOnce() -> T) -> Response<Full<Bytes>> {
        let Ok(place) = Arc::clone(&self.0.answers).try_acquire_owned() else {
            let busy = format!("{ANSWERS} answers of the inspector are on their way; ask again\n");
            let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, busy);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return answer;
        };
        match serde_json::to_vec(&make()) {
            Ok(json) => {
                let held = Bytes::from_owner(Held { json, _place: place });
                response(StatusCode::OK, "application/json", held)
            }
            Err(error) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the answer cannot be written as JSON: {error}\n"),
            ),
        }
    }
}

fn home() -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::FOUND, "the inspector: /inspector\n".to_owned());
    answer
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/inspector"));
    answer
}

fn file(content_type: &'static str, content: &'static str) -> Response<Full<Bytes>> {
    response(StatusCode::OK, content_type, Bytes::from_static(content.as_bytes()))
}

/// Nothing from elsewhere runs in the page, nobody frames it, and no other page reads or embeds what it gets.
fn protected(mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    debug_assert!(answer.headers().contains_key(CONTENT_TYPE));
    let headers = answer.headers_mut();
    let rules = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in rules {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Answers on their way at the same time. Each takes moments, so many more viewers than this can watch.
const ANSWERS: usize = 8;

/// Requests in one answer, of all relays together.
const REQUESTS: usize = 200;

/// Troubles in one answer.
const TROUBLES: usize = 50;
