//! The loopback status server: sockets, limits, and answers made from [`Control`].
//!
//! Whoever wires the module spawns it on the module's own runtime and stops it last, so that a drain can be watched to its
//! end. It serves one request per connection: probes are rare, and nothing idle is kept. Only pausing and resuming need a
//! token ([`Token`]). Deliberately absent: TLS, anything that is not loopback (the configuration refuses other addresses), and any computing of state (`snapshot`).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::inspect::{self, Inspector};
use super::routes::{self, Asked, Refusal};
use super::snapshot::ProcessSnapshot;
use super::token::{Denied, Token};
use crate::inspector::Recorder;

/// What the status server shows and steers.
pub trait Control: Send + Sync + 'static {
    /// The state of the whole process now.
    fn snapshot(&self) -> ProcessSnapshot;

    /// What remembers the last requests, with the relays' names, by name.
    fn recorders(&self) -> Vec<(String, Recorder)>;

    /// Begins to drain every relay; does nothing when that has begun already.
    fn drain(&self);

    /// Completes when every relay is drained.
    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Connects this relay now, even if it stopped for good; `false` when there is none of this name.
    fn reconnect(&self, name: &str) -> bool;

    /// Pauses or resumes this relay, or every one; the names of those that there are.
    fn pause(&self, name: Option<&str>, pause: bool) -> Vec<String>;
}

/// A running status server; dropping it ends it at once.
#[derive(Debug)]
pub struct StatusServer {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    address: watch::Receiver<Option<SocketAddr>>,
}

impl StatusServer {
    /// Starts on `handle`; binding is retried until it works, and said.
    #[must_use]
    pub fn spawn(
        handle: &Handle,
        listen: SocketAddr,
        control: Arc<dyn Control>,
        token: Token,
        inspector: Inspector,
    ) -> Self {
        let served = Served {
            control,
            token,
            inspector,
        };
        Self::spawn_with(handle, listen, served, LIMITS)
    }

    fn spawn_with(handle: &Handle, listen: SocketAddr, served: Served, limits: Limits) -> Self {
        let (bound, address) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let task = handle.spawn(run(listen, served, limits, bound, stopped));
        Self {
            task,
            stop: Some(stop),
            address,
        }
    }

    /// The address bound, once it is.
    #[must_use]
    pub fn local_addr(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.address.clone()
    }

    /// Stops accepting, lets answers being written go out, and ends.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // A failed join is a panic or an abort: either way the server is gone.
        let _ = (&mut self.task).await;
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What answers are made from.
#[derive(Clone)]
struct Served {
    control: Arc<dyn Control>,
    token: Token,
    inspector: Inspector,
}

/// What one client, or many, may cost.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    head: Duration,
    drain_wait: Duration,
    answer: Duration,
    farewell: Duration,
}

async fn run(
    listen: SocketAddr,
    served: Served,
    limits: Limits,
    bound: watch::Sender<Option<SocketAddr>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    let serving = async {
        let listener = bind(listen).await;
        if let Ok(address) = listener.local_addr() {
            tracing::info!("status server listens on http://{address}");
            bound.send_replace(Some(address));
        }
        accept(&listener, &served, limits, &mut connections).await;
    };
    tokio::select! {
        () = serving => {}
        () = served.inspector.sample(served.control.as_ref()) => {}
        _ = &mut stopped => {}
    }
    bound.send_replace(None);
    // Connections left after this are aborted with the set.
    let _ = timeout(limits.farewell, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// Binds, however often it takes: another process may still hold the port (a hot restart's parent).
async fn bind(listen: SocketAddr) -> TcpListener {
    let mut attempts: u32 = 0;
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => return listener,
            Err(error) => {
                attempts = attempts.saturating_add(1);
                // A port taken for days is said ever more rarely.
                if attempts.is_power_of_two() {
                    tracing::warn!("the status server cannot listen on {listen}: {error}; it keeps trying");
                }
                sleep(RETRY_FIRST.saturating_mul(attempts).min(RETRY_LAST)).await;
            }
        }
    }
}

async fn accept(listener: &TcpListener, served: &Served, limits: Limits, connections: &mut JoinSet<()>) {
    let free = Arc::new(Semaphore::new(limits.connections));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    // No place: the connection is closed unanswered.
                    if let Ok(place) = Arc::clone(&free).try_acquire_owned() {
                        let serving = serve(tcp, served.clone(), limits);
                        connections.spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                }
                // Out of file descriptors, most likely: others must close theirs first.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(tcp: TcpStream, served: Served, limits: Limits) {
    let answered = Arc::new(Notify::new());
    let tell = Arc::clone(&answered);
    let service = service_fn(move |request: Request<Incoming>| {
        let (served, tell) = (served.clone(), Arc::clone(&tell));
        async move {
            let answer = answer(&request, &served, limits.drain_wait).await;
            tell.notify_one();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), service);
    let unread = async {
        answered.notified().await;
        sleep(limits.answer).await;
    };
    // A client that breaks off or dawdles is its own business: nothing to report.
    tokio::select! {
        _ = timeout(limits.head + limits.drain_wait + limits.answer, connection) => {}
        () = unread => {}
    }
}

async fn answer(request: &Request<Incoming>, served: &Served, drain_wait: Duration) -> Response<Full<Bytes>> {
    let control = served.control.as_ref();
    match routes::read(request.method(), request.uri(), request.headers()) {
        Ok(Asked::Health) => text(StatusCode::OK, "ok\n".to_owned()),
        Ok(Asked::Ready) => readiness(&control.snapshot()),
        Ok(Asked::Status) => json_answer(StatusCode::OK, &control.snapshot()),
        Ok(Asked::Inspect(_)) if !served.inspector.is_on() => refuse(Refusal::NotFound),
        Ok(Asked::Inspect(asked)) => match allow(&asked, &served.token, request.headers()).await {
            Ok(()) => served.inspector.answer(&asked, control),
            Err(denied) => deny(&denied),
        },
        Ok(Asked::Drain { wait }) => drain(control, wait, drain_wait).await,
        Ok(Asked::Reconnect(name)) => reconnect(control, &name),
        Ok(Asked::Pause { name, pause }) => match served.token.check(request.headers()).await {
            Ok(()) => pause_or_resume(control, name.as_deref(), pause),
            Err(denied) => deny(&denied),
        },
        Err(refusal) => refuse(refusal),
    }
}

/// Prompts and answers are for whoever has the token, where there is one.
async fn allow(asked: &inspect::Asked, token: &Token, headers: &HeaderMap) -> Result<(), Denied> {
    match asked {
        inspect::Asked::Content { .. } if token.source().is_some() => token.check(headers).await,
        inspect::Asked::Content { .. }
        | inspect::Asked::Home
        | inspect::Asked::Page
        | inspect::Asked::Style
        | inspect::Asked::Script
        | inspect::Asked::Data { .. } => Ok(()),
    }
}

fn readiness(snapshot: &ProcessSnapshot) -> Response<Full<Bytes>> {
    let reasons = snapshot.why_not_ready();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, &json!({ "ready": reasons.is_empty(), "reasons": reasons }))
}

async fn drain(control: &dyn Control, wait: bool, limit: Duration) -> Response<Full<Bytes>> {
    control.drain();
    let drained = wait && timeout(limit, control.drained()).await.is_ok();
    let status = if drained { StatusCode::OK } else { StatusCode::ACCEPTED };
    json_answer(status, &json!({ "draining": !drained, "drained": drained }))
}

fn reconnect(control: &dyn Control, name: &str) -> Response<Full<Bytes>> {
    if control.reconnect(name) {
        return json_answer(StatusCode::ACCEPTED, &json!({ "reconnecting": name }));
    }
    no_such_relay(control)
}

fn pause_or_resume(control: &dyn Control, name: Option<&str>, pause: bool) -> Response<Full<Bytes>> {
    let names = control.pause(name, pause);
    if names.is_empty() && name.is_some() {
        return no_such_relay(control);
    }
    let done = if pause { "pausing" } else { "resuming" };
    json_answer(StatusCode::ACCEPTED, &json!({ done: names }))
}

fn deny(denied: &Denied) -> Response<Full<Bytes>> {
    let status = match denied {
        Denied::NotConfigured => StatusCode::FORBIDDEN,
        Denied::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Denied::Wrong => StatusCode::UNAUTHORIZED,
    };
    let mut response = text(status, format!("{denied}\n"));
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    response
}

fn no_such_relay(control: &dyn Control) -> Response<Full<Bytes>> {
    let mut names = String::new();
    for relay in control.snapshot().relays {
        let separator = if names.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(names, "{separator}{}", relay.name);
    }
    text(
        StatusCode::NOT_FOUND,
        format!("there is no relay of this name; there are: {names}\n"),
    )
}

fn refuse(refusal: Refusal) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::Forbidden(why) => text(StatusCode::FORBIDDEN, format!("{why}\n")),
        Refusal::BadQuery(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        Refusal::NotFound => text(StatusCode::NOT_FOUND, format!("not found; there are: {RESOURCES}\n")),
        Refusal::MethodNotAllowed { allow } => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("the method must be {allow}\n"));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
            response
        }
    }
}

fn json_answer(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(body) => response(status, "application/json", body + "\n"),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the answer cannot be written as JSON: {error}\n"),
        ),
    }
}

pub(super) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(5),
    // No preStop hook waits longer than the longest request may take.
    drain_wait: Duration::from_secs(600),
    answer: Duration::from_secs(10),
    farewell: Duration::from_secs(1),
};

/// Heads beyond this are refused with 431; a probe's has a few hundred bytes. The least that hyper takes.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Between the first and the second attempt to bind; each further one waits as much longer.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest wait between two attempts to bind.
const RETRY_LAST: Duration = Duration::from_secs(5);

/// After a failed accept, so that a lasting shortage does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const RESOURCES: &str = "GET /healthz, GET /readyz, GET /status, GET /inspector, POST /drain, POST /relays/{name}/reconnect, \
                         POST /pause, POST /resume, POST /relays/{name}/pause, POST /relays/{name}/resume";

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
