//! A rate limit service in small, as Envoy's `ratelimit` filter asks one: budgets by descriptor, kept for good.
//!
//! It speaks gRPC (`envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`) on hyper's HTTP/2; the few fields of the
//! messages that matter stand in [`wire`]. As in Envoy's reference service, a question about 0 hits spends nothing, and what is spent
//! late, when a stream is over, is spent even beyond the budget. Deliberately absent: windows of time, which would make
//! tests wait.

mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};

use crate::failed::Result;
use crate::listen::Server;
use crate::locked;
use crate::world::eventually;
use wire::{Answer, Question};

/// The running service. Dropping it ends it.
#[derive(Debug)]
pub struct RateLimit {
    shared: Arc<Shared>,
    server: Arc<Server>,
    address: SocketAddr,
}

/// What was asked about one descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `key=value` of its entries, joined by `,`.
    pub descriptor: String,
    /// How much is to be spent.
    pub hits: u64,
    /// Whether the budget allows it.
    pub allowed: bool,
}

#[derive(Debug)]
struct Shared {
    budget: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spent: BTreeMap<String, u64>,
    asked: Vec<Asked>,
}

impl RateLimit {
    /// Starts a service that gives every descriptor this budget.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(budget: u64) -> Result<Self> {
        let shared = Arc::new(Shared {
            budget,
            state: Mutex::default(),
        });
        let server = Arc::new(Server::default());
        let service = {
            let shared = Arc::clone(&shared);
            service_fn(move |request| answer(Arc::clone(&shared), request))
        };
        let address = server.listen_http2((Ipv4Addr::LOCALHOST, 0).into(), service).await?;
        Ok(Self {
            shared,
            server,
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every descriptor it was asked about, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.shared.state).asked.clone()
    }

    /// What was spent under a descriptor.
    #[must_use]
    pub fn spent(&self, descriptor: &str) -> u64 {
        locked(&self.shared.state)
            .spent
            .get(descriptor)
            .copied()
            .unwrap_or_default()
    }

    /// Waits until this much was spent under a descriptor.
    ///
    /// # Errors
    /// It was another amount after `deadline`.
    pub async fn spends(&self, descriptor: &str, amount: u64, deadline: Duration) -> Result<()> {
        let spent = eventually("the budget is spent", deadline, || async {
            (self.spent(descriptor) == amount).then_some(())
        });
        spent
            .await
            .map_err(|late| late.during(&format!("{amount} of {descriptor}, asked were {:?}", self.asked())))
    }
}

impl Drop for RateLimit {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn decide(&self, question: &Question) -> Answer {
        let mut state = locked(&self.state);
        let mut allowed = true;
        for descriptor in &question.descriptors {
            let name = descriptor.name();
            let hits = descriptor.hits.unwrap_or_else(|| u64::from(question.hits.max(1)));
            let spent = state.spent.entry(name.clone()).or_default();
            *spent += hits;
            let within = *spent <= self.budget;
            allowed &= within;
            state.asked.push(Asked {
                descriptor: name,
                hits,
                allowed: within,
            });
        }
        Answer::new(allowed)
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<GrpcBody>> {
    let known = request.uri().path() == "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let question = known.then(|| wire::message(&body)).flatten();
    let mut frames = Vec::new();
    let mut status = UNIMPLEMENTED;
    if let Some(question) = question {
        frames.push(Ok(Frame::data(wire::framed(&shared.decide(&question)))));
        status = OK;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status));
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    Ok(response)
}

type GrpcBody = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<io::Result<Frame<Bytes>>>>>;

const OK: &str = "0";
const UNIMPLEMENTED: &str = "12";
