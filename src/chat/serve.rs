//! The endpoint's task: listens, agrees to handshakes, and lets sessions run to their ends.

use std::convert::Infallible;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout_at};

use super::Shared;
use super::counts::OpenSession;
use super::handshake::{self, Asked};
use super::listen::Bound;
use super::members::Writer;
use super::session::{Caller, Drain, Session};
use super::turn::Adapter;
use crate::status::snapshot::ChatState;

/// Serves until a drain is over.
pub(super) async fn run(shared: Arc<Shared>, mut drain: Drain, finished: watch::Sender<bool>) {
    let mut connections = JoinSet::new();
    let sessions = drain.clone();
    tokio::select! {
        () = listen(&shared, &sessions, &mut connections) => {}
        _ = drain.wait_for(Option::is_some) => {}
    }
    shared.is(ChatState::Draining);
    let until = drain.borrow_and_update().unwrap_or_else(tokio::time::Instant::now) + FAREWELL;
    // what is left after this is aborted with the set
    let _ = timeout_at(until, async { while connections.join_next().await.is_some() {} }).await;
    drop(connections);
    shared.is(ChatState::Drained);
    finished.send_replace(true);
}

async fn listen(shared: &Arc<Shared>, drain: &Drain, connections: &mut JoinSet<()>) {
    let bound = bind(shared).await;
    shared.is(ChatState::Listening);
    let mut refresh = interval(SECRETS_POLL);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = bound.listener().accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(serving) = admit(shared, drain, connections.len(), stream) {
                        connections.spawn(serving);
                    }
                }
                // out of file descriptors, most likely: others must close theirs first
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            _ = refresh.tick() => {
                let adapter = shared.adapter();
                tokio::task::spawn_blocking(move || adapter.secrets.refresh());
            }
        }
    }
}

/// Binds, however often it takes: a hot restart's parent may still listen, or the directory be on its way.
async fn bind(shared: &Shared) -> Bound {
    let mut attempts: u32 = 0;
    loop {
        let path = shared.adapter().settings.listen.clone();
        let shown = path.display().to_string();
        let bound = tokio::task::spawn_blocking(move || Bound::bind(&path)).await;
        let error = match bound {
            Ok(Ok(bound)) => {
                tracing::info!("the chat endpoint listens on unix://{shown}");
                return bound;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "internal error".to_owned(),
        };
        attempts = attempts.saturating_add(1);
        if attempts.is_power_of_two() {
            tracing::warn!("the chat endpoint cannot listen on unix://{shown}: {error}; it keeps trying");
        }
        shared.failed("listen", format!("cannot listen on unix://{shown}: {error}"));
        sleep(RETRY).await;
    }
}

/// A connection that may be served: Envoy's, and one of not too many.
fn admit(
    shared: &Arc<Shared>,
    drain: &Drain,
    open: usize,
    stream: UnixStream,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    let adapter = shared.adapter();
    let own = i32::try_from(process::id()).ok();
    // whoever is not this very process has not passed its authentication
    if stream.peer_cred().ok().and_then(|peer| peer.pid()) != own {
        shared.counts.refused("not_envoy");
        return None;
    }
    if open >= adapter.settings.max_sessions.saturating_add(SPARE_CONNECTIONS) {
        shared.counts.refused("too_many_connections");
        return None;
    }
    Some(serve(Arc::clone(shared), adapter, drain.clone(), stream))
}

/// A handshake that was agreed to.
struct Agreed {
    upgraded: OnUpgrade,
    place: OpenSession,
    caller: Caller,
}

async fn serve(shared: Arc<Shared>, adapter: Arc<Adapter>, drain: Drain, stream: UnixStream) {
    let (agreed, mut agreement) = mpsc::channel(1);
    let service = service_fn(|request| {
        let mut answer = answer(&shared, &adapter, request, &agreed);
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // one that breaks off has said nothing
    let _ = connection.await;
    let Ok(Agreed {
        upgraded,
        place,
        caller,
    }) = agreement.try_recv()
    else {
        return;
    };
    if let Ok(io) = upgraded.await {
        let counts = Arc::clone(&shared.counts);
        let session = Session::new(TokioIo::new(io), adapter, counts, caller).await;
        session.run(drain).await;
    }
    drop(place);
}

fn answer(
    shared: &Shared,
    adapter: &Adapter,
    mut request: Request<Incoming>,
    agreed: &mpsc::Sender<Agreed>,
) -> Response<Full<Bytes>> {
    let settings = &adapter.settings;
    let (method, path) = (request.method(), request.uri().path());
    let refuse = |status: StatusCode, code: &str, why: &str| {
        shared.counts.refused(code);
        refusal(status, code, why)
    };
    match handshake::read(method, path, request.headers(), &settings.path) {
        Ok(Asked::Health) => Response::new(Full::from("ok\n")),
        Ok(Asked::WebSocket { accept }) => {
            let Some(place) = shared.counts.open(settings.max_sessions) else {
                let why = "as many chats are open as are served";
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "too_many_sessions", why);
            };
            let agreement = Agreed {
                upgraded: hyper::upgrade::on(&mut request),
                place,
                caller: Caller::new(request.headers()),
            };
            // the channel has room: a connection is upgraded once
            match agreed.try_send(agreement) {
                Ok(()) => handshake::switching(&accept),
                Err(_) => refuse(StatusCode::BAD_REQUEST, "bad_handshake", "upgraded twice"),
            }
        }
        Err((status, why)) => refuse(status, code(status), why),
    }
}

fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::UPGRADE_REQUIRED => "upgrade_required",
        _ => "bad_handshake",
    }
}

/// OpenAI's error shape.
fn refusal(status: StatusCode, code: &str, why: &str) -> Response<Full<Bytes>> {
    let mut error = Writer::new();
    error.text("message", why);
    error.text("type", "chat_endpoint_error");
    error.text("code", code);
    let mut body = Writer::new();
    body.raw("error", &error.finish());
    let mut response = Response::new(Full::from(body.finish() + "\n"));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// How long a connection may take to say its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections besides sessions: handshakes and health checks under way.
const SPARE_CONNECTIONS: usize = 64;

/// After a failed accept, so that a lasting shortage does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const RETRY: Duration = Duration::from_secs(1);

const SECRETS_POLL: Duration = Duration::from_secs(10);

/// What may follow a grace: last words and the close handshake.
const FAREWELL: Duration = Duration::from_secs(2);
