//! Forwarding: puts a request to Envoy's local listener, once, and brings back the response frame.
//!
//! Driven by `relay::driver`, one task per request; dropping the task's future closes its connection, which makes Envoy
//! reset the request to the adapter. The deadline is the session's, which cancels the task. Deliberately absent: retries
//! (Envoy retries what never reached the adapter), redirects, decompression.

pub mod budget;
mod connect;
pub(crate) mod envoy_reply;
pub(crate) mod pool;
#[cfg(test)]
pub(crate) mod scripted;
mod secrets;
#[cfg(test)]
mod tests;
mod unix;
mod watch;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};

pub use budget::{Budget, ENTRY_BYTES, Hold};
pub use connect::accepts;
pub use secrets::HeaderSecrets;

use crate::config::{self, ResponsePolicy};
use crate::inspector::Recorder;
use crate::protocol::answer::{AdapterAnswer, Policy, is_refused_by_headers};
use crate::protocol::text_only::Known;
use crate::protocol::{Fault, ForwardRequest, RequestId, Response};
use crate::telemetry::{Origin, Telemetry};
use crate::usage;
use pool::Pool;
use watch::Watch;

/// Puts requests to one local listener on behalf of one relay.
#[derive(Debug)]
pub struct Forwarder {
    pool: Pool,
    authority: HeaderValue,
    relay: HeaderValue,
    origin: Origin,
    secrets: Arc<HeaderSecrets>,
    telemetry: Telemetry,
    recorder: Recorder,
    response_policy: ResponsePolicy,
    response_headers: Vec<HeaderName>,
    max_frame_bytes: usize,
    budget: Budget,
}

/// A forwarded request's end.
#[derive(Debug)]
pub struct Forwarded {
    /// The request.
    pub id: RequestId,
    /// The frame to send.
    pub response: Response,
    /// The answer's share of the byte budget.
    pub hold: Option<Hold>,
}

impl Forwarder {
    /// A forwarder for `relay`'s requests, which tells `telemetry` of each.
    #[must_use]
    pub fn new(
        relay: &config::Relay,
        forward: &config::Forward,
        secrets: Arc<HeaderSecrets>,
        budget: Budget,
        telemetry: Telemetry,
    ) -> Self {
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"));
        Self {
            pool: Pool::new(forward.to.clone(), relay.max_in_flight),
            authority: header(&forward.authority),
            relay: header(&relay.name),
            origin: Origin::new(&relay.name, &relay.labels),
            secrets,
            telemetry,
            recorder: Recorder::default(),
            response_policy: relay.response_policy,
            response_headers: relay.response_headers.clone(),
            max_frame_bytes: relay.max_frame_bytes,
            budget,
        }
    }

    /// Tells `recorder` of each request, too.
    #[must_use]
    pub fn recording(self, recorder: Recorder) -> Self {
        Self { recorder, ..self }
    }

    /// Who remembers the last requests.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Puts `request` to the adapter and waits for its whole answer.
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up: its connection is closed.
    pub async fn forward(&self, mut request: ForwardRequest<Hold>) -> Forwarded {
        let id = request.id.clone();
        let watch = Watch::begin(&self.telemetry, &self.origin, &self.recorder, &mut request);
        let (response, hold) = match self.ask(request).await {
            Ok((mut response, hold)) => {
                let (frame, hold) = hold.tied_to(response.frame);
                response.frame = frame;
                (response, Some(hold))
            }
            Err(fault) => {
                let response = Response::from_fault(&id, &fault);
                let hold = self.budget.try_hold(response.frame.len() + ENTRY_BYTES);
                (response, hold)
            }
        };
        watch.finish(&response);
        Forwarded { id, response, hold }
    }

    async fn ask(&self, request: ForwardRequest<Hold>) -> Result<(Response, Hold), Fault> {
        let ForwardRequest {
            id,
            method,
            path,
            headers,
            body,
            received: _,
            deadline,
            hold: request_hold,
        } = request;
        let model = self.model_asked_for(&body);
        let request = self.request(method, &path, headers, body)?;
        let mut exchange = self.pool.send(request).await?;
        // the request is written: what it occupied is free again
        drop(request_hold);
        let made_by_envoy = !exchange.response.headers().contains_key(UPSTREAM_SERVICE_TIME);
        let (status, headers) = (exchange.response.status().as_u16(), exchange.response.headers().clone());
        if !made_by_envoy && let Some(fault) = is_refused_by_headers(status, &headers) {
            return Err(fault);
        }
        let mut hold = self.budget.hold(deadline);
        let policy = self.policy(&id, &path, model.as_deref());
        let begin = |expected| AdapterAnswer::begin(&id, status, &headers, &policy, expected);
        let answer = self.read(exchange.response.body_mut(), &mut hold, begin).await?;
        exchange.finish();
        if made_by_envoy {
            return Err(self.envoys_own(status, answer.body()));
        }
        let response = answer.response(self.max_frame_bytes);
        let occupied = response.frame.len() + ENTRY_BYTES;
        hold.grow(occupied.saturating_sub(hold.bytes())).await?;
        Ok((response, hold))
    }

    fn policy<'a>(&'a self, id: &'a RequestId, path: &'a str, model: Option<&'a str>) -> Policy<'a> {
        match self.response_policy {
            ResponsePolicy::Passthrough => Policy::Passthrough(&self.response_headers),
            ResponsePolicy::TextOnly => Policy::TextOnly(Known {
                path,
                id: id.as_str(),
                model,
                created: seconds_since_1970(),
            }),
        }
    }

    /// The fault for an answer of Envoy's own. Its text names the cause; a filter or a server may have put it there, so it
    /// leaves the network no more than an answer's.
    fn envoys_own(&self, status: u16, body: &[u8]) -> Fault {
        match self.response_policy {
            ResponsePolicy::Passthrough => envoy_reply::fault(status, body),
            ResponsePolicy::TextOnly => {
                let full = envoy_reply::fault(status, body);
                tracing::warn!(
                    code = full.code(),
                    "response_policy text_only withholds from the relay: {full}"
                );
                envoy_reply::fault(status, b"")
            }
        }
    }

    /// What a reduced answer says of the model: the name that its caller gave, not the one that the model server gives.
    fn model_asked_for(&self, body: &[u8]) -> Option<Box<str>> {
        match self.response_policy {
            ResponsePolicy::Passthrough => None,
            ResponsePolicy::TextOnly => usage::read_request(std::str::from_utf8(body).ok()?).model,
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        headers.insert(HOST, self.authority.clone());
        if method != Method::GET {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        headers.insert(X_SPECTRAL_BRIDGE_RELAY, self.relay.clone());
        self.secrets.apply(&mut headers)?;
        let uri: Uri = path.parse().map_err(|_| Fault::PathNotAllowed)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // PROTOCOL §2.2: forwards the request to the adapter under that path
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Reads a whole body within the frame limit and the byte budget. `begin` is told how long it says it is.
    async fn read<'a>(
        &self,
        body: &mut Incoming,
        hold: &mut Hold,
        begin: impl FnOnce(usize) -> AdapterAnswer<'a>,
    ) -> Result<AdapterAnswer<'a>, Fault> {
        let too_large = Fault::ResponseTooLarge {
            limit: self.max_frame_bytes,
        };
        let expected = usize::try_from(body.size_hint().exact().unwrap_or(0)).unwrap_or(usize::MAX);
        if expected > self.max_frame_bytes {
            return Err(too_large);
        }
        hold.grow(expected).await?;
        let mut answer = begin(expected);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Fault::AdapterUnavailable("its answer broke off".into()))?;
            let Ok(data) = frame.into_data() else { continue };
            let read = answer.body_len() + data.len();
            if read > self.max_frame_bytes {
                return Err(too_large);
            }
            hold.grow(read.saturating_sub(hold.bytes())).await?;
            answer.push(&data);
        }
        Ok(answer)
    }
}

fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Present on every response that came from upstream, absent on those that Envoy made itself.
pub(crate) const UPSTREAM_SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// The relay's configured name, for routes and logs; a relay cannot set it.
const X_SPECTRAL_BRIDGE_RELAY: HeaderName = HeaderName::from_static("x-spectral-bridge-relay");
