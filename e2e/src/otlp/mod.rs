//! An OTLP collector for tests: takes all three signals by gRPC and by HTTP/protobuf and keeps everything.
//!
//! Tests start a [`Sink`], name its addresses to whom they test, and ask it for what came, as plain values. It can
//! also fail as collectors do ([`Fault`]). Deliberately absent: OTLP's JSON form, which nothing here sends, and any
//! arithmetic beyond sums over series.

mod metrics;
mod serve;
mod spans;
mod value;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::HeaderMap;
use tokio::sync::watch;

pub use metrics::{Data, Point, Temporality};
pub use spans::{Log, Span};
pub use value::{Attributes, Scope};

use crate::failed::{Failed, Result};
use crate::listen::Server;
use crate::locked;

/// A running collector. Dropping it ends it as [`Sink::stop`] does.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    server: Arc<Server>,
    grpc: SocketAddr,
    http: SocketAddr,
}

/// What the collector does with what comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Takes it.
    #[default]
    None,
    /// Answers UNAVAILABLE, or 503.
    Unavailable,
    /// Answers INVALID_ARGUMENT, or 400: trying again is of no use.
    Refuse,
    /// Takes it after this long.
    Slow(Duration),
    /// Reads, and never answers.
    Silent,
}

/// One of the three signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Points.
    Metrics,
    /// Spans.
    Traces,
    /// Records.
    Logs,
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP/protobuf.
    Http,
}

/// A message that came, taken or not.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// By what.
    pub protocol: Protocol,
    /// What it carries.
    pub signal: Signal,
    /// Its request's headers.
    pub headers: HeaderMap,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Received>,
    changed: watch::Sender<()>,
    fault: watch::Sender<Fault>,
}

#[derive(Debug, Default)]
struct Received {
    arrivals: Vec<Arrival>,
    points: Vec<Point>,
    spans: Vec<Span>,
    logs: Vec<Log>,
}

impl Sink {
    /// Listens on two free loopback ports.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> io::Result<Self> {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_on(free, free).await
    }

    /// Listens for gRPC and for HTTP on these addresses.
    ///
    /// # Errors
    /// One of them cannot be bound.
    pub async fn start_on(grpc: SocketAddr, http: SocketAddr) -> io::Result<Self> {
        let mut sink = Self {
            shared: Arc::default(),
            server: Arc::default(),
            grpc,
            http,
        };
        sink.listen().await?;
        Ok(sink)
    }

    async fn listen(&mut self) -> io::Result<()> {
        self.grpc = serve::grpc(&self.shared, &self.server, self.grpc).await?;
        self.http = serve::http(&self.shared, &self.server, self.http).await?;
        Ok(())
    }

    /// `http://127.0.0.1:PORT` of the gRPC side.
    #[must_use]
    pub fn grpc(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// `http://127.0.0.1:PORT` of the HTTP side, without a signal's path.
    #[must_use]
    pub fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The address that speaks `protocol`.
    #[must_use]
    pub fn endpoint(&self, protocol: Protocol) -> String {
        match protocol {
            Protocol::Grpc => self.grpc(),
            Protocol::Http => self.http(),
        }
    }

    /// Fails this way from now on; who waits under an earlier fault is answered anew.
    pub fn fail(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Ends abruptly: both ports refuse connections, open ones are dropped. What came stays.
    pub async fn stop(&self) {
        self.server.kill().await;
    }

    /// Listens again on the same ports, after [`Sink::stop`].
    ///
    /// # Errors
    /// A port cannot be bound again.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.server = Arc::default();
        self.listen().await
    }

    /// Every message that came, in order, taken or not.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        locked(&self.shared.received).arrivals.clone()
    }

    /// Every point that was taken, in order.
    #[must_use]
    pub fn metrics(&self) -> Vec<Point> {
        locked(&self.shared.received).points.clone()
    }

    /// Every span that was taken, in order.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        locked(&self.shared.received).spans.clone()
    }

    /// Every log record that was taken, in order.
    #[must_use]
    pub fn logs(&self) -> Vec<Log> {
        locked(&self.shared.received).logs.clone()
    }

    /// Of every series of the metric `name` with these attributes, the newest point.
    #[must_use]
    pub fn latest(&self, name: &str, with: &[(&str, &str)]) -> Vec<Point> {
        let received = locked(&self.shared.received);
        let mut newest: Vec<&Point> = Vec::new();
        for point in received.points.iter().filter(|point| point.name == name) {
            if !value::has(&point.attributes, with) {
                continue;
            }
            match newest.iter_mut().find(|other| other.same_series(point)) {
                Some(other) if other.time <= point.time => *other = point,
                Some(_) => {}
                None => newest.push(point),
            }
        }
        newest.into_iter().cloned().collect()
    }

    /// What all series of the metric `name` with these attributes come to: the newest of each where they are
    /// cumulative, every point where they are deltas.
    #[must_use]
    pub fn total(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        self.added(name, with, Point::value)
    }

    /// How many values the histograms of the metric `name` with these attributes hold, as [`Sink::total`] adds up.
    #[must_use]
    pub fn count(&self, name: &str, with: &[(&str, &str)]) -> u64 {
        self.added(name, with, Point::count)
    }

    fn added<T: std::iter::Sum>(&self, name: &str, with: &[(&str, &str)], of: impl Fn(&Point) -> T) -> T {
        let cumulative = self.latest(name, with).into_iter();
        let cumulative = cumulative.filter(|point| point.temporality() != Some(Temporality::Delta));
        let received = locked(&self.shared.received);
        let deltas = received.points.iter().filter(|point| {
            point.name == name && value::has(&point.attributes, with) && point.temporality() == Some(Temporality::Delta)
        });
        let cumulative: Vec<_> = cumulative.collect();
        cumulative.iter().chain(deltas).map(of).sum()
    }

    /// Waits until `look` finds something in what came.
    ///
    /// # Errors
    /// It found nothing within `deadline`; `what` says what was awaited.
    pub async fn wait<T>(&self, what: &str, deadline: Duration, look: impl Fn(&Self) -> Option<T>) -> Result<T> {
        let mut changed = self.shared.changed.subscribe();
        let search = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = look(self) {
                    return found;
                }
                // the sender is held by `self`
                drop(changed.changed().await);
            }
        };
        let found = tokio::time::timeout(deadline, search).await;
        found.map_err(|_| Failed::new(format!("{what}: not so within {deadline:?}; {}", self.summary())))
    }

    /// Waits until the metric `name` with these attributes comes to `value`.
    ///
    /// # Errors
    /// It came to something else within `deadline`.
    pub async fn comes_to(&self, name: &str, with: &[(&str, &str)], value: f64, deadline: Duration) -> Result<()> {
        let reached = self.wait(name, deadline, |sink| (sink.total(name, with) == value).then_some(()));
        reached.await.map_err(|late| {
            let seen = self.total(name, with);
            late.during(&format!("{value} expected, {seen} seen"))
        })
    }

    /// What came, for who reads a failed test.
    #[must_use]
    pub fn summary(&self) -> String {
        let received = locked(&self.shared.received);
        let mut names: Vec<_> = received.points.iter().map(|point| point.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        format!(
            "{} messages, {} spans, {} log records, points of {names:?}",
            received.arrivals.len(),
            received.spans.len(),
            received.logs.len()
        )
    }
}

impl Shared {
    /// Notes a message and waits as the fault says; gives the fault that refuses it, if one does.
    fn arrived(&self, arrival: Arrival) -> impl Future<Output = Option<Fault>> + Send + 'static {
        locked(&self.received).arrivals.push(arrival);
        self.changed.send_replace(());
        let mut fault = self.fault.subscribe();
        async move {
            loop {
                let now = *fault.borrow_and_update();
                match now {
                    Fault::None => return None,
                    Fault::Unavailable | Fault::Refuse => return Some(now),
                    Fault::Slow(delay) => {
                        tokio::time::sleep(delay).await;
                        return None;
                    }
                    Fault::Silent => {
                        if fault.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    }
                }
            }
        }
    }

    fn keep(&self, add: impl FnOnce(&mut Received)) {
        add(&mut locked(&self.received));
        self.changed.send_replace(());
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}
