//! The network between client and relay, misbehaving on demand: cuts, resets, silence, delay, a narrow line.
//!
//! A TCP proxy on loopback. It knows nothing of TLS or frames, so its cuts fall anywhere in them. What it decides comes
//! from a [`Seed`]: connection `n` of one seed always has the same [`Fate`]. Driven by tests and by the soak.
//! Deliberately absent: any meaning of the bytes, and what TCP rules out (reordering, corruption).

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::seed::Seed;
use crate::locked;

/// A running proxy. Dropping it drops its sockets.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// What happens to connections, from their first byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weather {
    /// How many bytes a connection carries in one direction before it is cut; `None` cuts none.
    pub cut_after: Option<RangeInclusive<u64>>,
    /// After this many cuts there are no more.
    pub most_cuts: u64,
    /// How long every byte travels.
    pub delay: Duration,
    /// Bytes per second in each direction.
    pub rate: Option<u64>,
}

/// When and how one connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The direction whose bytes count.
    pub direction: Direction,
    /// The last byte that arrives.
    pub position: u64,
    /// How.
    pub ending: Ending,
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToRelay,
    /// From the relay.
    ToClient,
}

/// How a connection is cut, towards both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// An orderly end of stream.
    Fin,
    /// A reset, which may also take what has arrived and was not read.
    Rst,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    seed: Seed,
    weather: Mutex<Weather>,
    orders: watch::Sender<Orders>,
    connections: AtomicU64,
    cuts: AtomicU64,
}

/// What tests ordered, for connections up to a number.
#[derive(Debug, Clone, Copy)]
struct Orders {
    paused: bool,
    silent_up_to: u64,
    cut_up_to: u64,
    ending: Ending,
}

impl Weather {
    /// Nothing happens.
    pub const CALM: Self = Self {
        cut_after: None,
        most_cuts: u64::MAX,
        delay: Duration::ZERO,
        rate: None,
    };
}

impl Fate {
    /// What `seed` has for connection `number`, if it is to be cut within `range` bytes.
    #[must_use]
    pub fn of(seed: Seed, number: u64, range: &RangeInclusive<u64>) -> Self {
        let own = seed.of(number);
        let odd = |which| own.draw(which) & 1 == 1;
        Self {
            direction: if odd(0) {
                Direction::ToRelay
            } else {
                Direction::ToClient
            },
            position: own.magnitude(1, range),
            ending: if odd(2) { Ending::Rst } else { Ending::Fin },
        }
    }
}

impl FaultProxy {
    /// Listens on `listen` (port 0 picks a free one) and passes everything on to `upstream`; calm at first.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(listen: SocketAddr, upstream: SocketAddr, seed: Seed) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            seed,
            weather: Mutex::new(Weather::CALM),
            orders: watch::Sender::new(Orders {
                paused: false,
                silent_up_to: 0,
                cut_up_to: 0,
                ending: Ending::Fin,
            }),
            connections: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// [`FaultProxy::start`] on a free port.
    ///
    /// # Errors
    /// There is none.
    pub async fn before(upstream: SocketAddr, seed: Seed) -> io::Result<Self> {
        Self::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), upstream, seed).await
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections cut so far.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Changes the weather for connections made from now on.
    pub fn set(&self, weather: Weather) {
        *locked(&self.shared.weather) = weather;
    }

    /// Carries nothing until [`FaultProxy::resume`], on no connection.
    pub fn pause(&self) {
        self.shared.orders.send_modify(|orders| orders.paused = true);
    }

    /// Carries again.
    pub fn resume(&self) {
        self.shared.orders.send_modify(|orders| orders.paused = false);
    }

    /// Carries nothing any more on the connections there are, and keeps their sockets open: a half-open link.
    pub fn silence(&self) {
        let number = self.connections();
        self.shared.orders.send_modify(|orders| orders.silent_up_to = number);
    }

    /// Cuts the connections there are.
    pub fn cut(&self, ending: Ending) {
        let number = self.connections();
        self.shared.orders.send_modify(|orders| {
            orders.cut_up_to = number;
            orders.ending = ending;
        });
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                connections.spawn(carry(Arc::clone(&shared), number, client));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, from its acceptance to its end.
async fn carry(shared: Arc<Shared>, number: u64, mut client: TcpStream) {
    // An upstream that is down ends the connection, as a load balancer would.
    let Ok(mut upstream) = TcpStream::connect(shared.upstream).await else {
        return;
    };
    // A socket that is already gone fails on its first read.
    drop((client.set_nodelay(true), upstream.set_nodelay(true)));
    let weather = locked(&shared.weather).clone();
    let fate = weather
        .cut_after
        .as_ref()
        .map(|range| Fate::of(shared.seed, number, range));
    let stop = {
        let (from_client, to_client) = client.split();
        let (from_relay, to_relay) = upstream.split();
        let lane = |direction| Lane {
            shared: &shared,
            number,
            weather: &weather,
            fate: fate.filter(|fate| fate.direction == direction),
        };
        let mut orders = shared.orders.subscribe();
        tokio::select! {
            carried = async {
                tokio::try_join!(
                    lane(Direction::ToRelay).carry(from_client, to_relay),
                    lane(Direction::ToClient).carry(from_relay, to_client),
                )
            } => carried.err(),
            ordered = orders.wait_for(|orders| orders.cut_up_to >= number) => {
                ordered.ok().map(|orders| Stop::Cut(orders.ending))
            }
        }
    };
    match stop {
        // Both ends said goodbye to each other.
        None => {}
        Some(Stop::Broken) => end(client, upstream, Ending::Rst).await,
        Some(Stop::Cut(ending)) => {
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            end(client, upstream, ending).await;
        }
    }
}

/// Why a connection stops being carried.
enum Stop {
    /// One of the ends failed.
    Broken,
    /// It is cut.
    Cut(Ending),
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// One direction of one connection.
struct Lane<'a> {
    shared: &'a Shared,
    number: u64,
    weather: &'a Weather,
    /// The connection's fate, when it is this direction whose bytes count.
    fate: Option<Fate>,
}

impl Lane<'_> {
    /// Carries bytes until `from` ends, and passes the end on.
    async fn carry(self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Stop> {
        let (queue, mut arrivals) = mpsc::channel::<(Instant, Bytes)>(PIECES);
        let take = async {
            let queue = queue;
            let mut piece = vec![0; self.piece()];
            loop {
                self.may_carry().await;
                let length = from.read(&mut piece).await?;
                let Some(read @ [_, ..]) = piece.get(..length) else {
                    return Ok(());
                };
                let due = Instant::now() + self.weather.delay;
                if queue.send((due, Bytes::copy_from_slice(read))).await.is_err() {
                    return Ok(());
                }
            }
        };
        let give = async {
            let mut carried = 0;
            while let Some((due, piece)) = arrivals.recv().await {
                if !self.weather.delay.is_zero() {
                    sleep_until(due).await;
                }
                self.may_carry().await;
                self.give(&mut to, &piece, &mut carried).await?;
            }
            to.shutdown().await?;
            Ok::<(), Stop>(())
        };
        tokio::try_join!(take, give).map(drop)
    }

    async fn give(&self, to: &mut WriteHalf<'_>, piece: &[u8], carried: &mut u64) -> Result<(), Stop> {
        let before = *carried;
        *carried += piece.len() as u64;
        if let Some(fate) = self.fate.filter(|fate| fate.position <= *carried && self.may_cut()) {
            let last = usize::try_from(fate.position.saturating_sub(before)).unwrap_or(usize::MAX);
            to.write_all(piece.get(..last).unwrap_or(piece)).await?;
            return Err(Stop::Cut(fate.ending));
        }
        to.write_all(piece).await?;
        if let Some(rate) = self.weather.rate {
            sleep(Duration::from_secs(1) * u32::try_from(piece.len()).unwrap_or(u32::MAX) / rate_divisor(rate)).await;
        }
        Ok(())
    }

    /// Pieces of a narrow line are small, so that it flows instead of jumping.
    fn piece(&self) -> usize {
        let flowing = self.weather.rate.map_or(u64::MAX, |rate| rate / 50);
        usize::try_from(flowing).unwrap_or(PIECE).clamp(1, PIECE)
    }

    async fn may_carry(&self) {
        let mut orders = self.shared.orders.subscribe();
        let free = |orders: &Orders| !orders.paused && orders.silent_up_to < self.number;
        // The sender lives as long as we do.
        drop(orders.wait_for(free).await);
    }

    fn may_cut(&self) -> bool {
        self.shared.cuts.load(Ordering::SeqCst) < self.weather.most_cuts
    }
}

fn rate_divisor(rate: u64) -> u32 {
    u32::try_from(rate).unwrap_or(u32::MAX).max(1)
}

async fn end(mut client: TcpStream, mut upstream: TcpStream, ending: Ending) {
    match ending {
        Ending::Rst => {
            // A socket that is already gone needs no reset.
            drop((client.set_zero_linger(), upstream.set_zero_linger()));
        }
        Ending::Fin => {
            drop(client.shutdown().await);
            drop(upstream.shutdown().await);
            // Closing with bytes unread would make it a reset.
            let rest = async { tokio::join!(discard(&mut client), discard(&mut upstream)) };
            drop(timeout(LINGER, rest).await);
        }
    }
}

async fn discard(socket: &mut TcpStream) {
    let mut scratch = [0; PIECE];
    while matches!(socket.read(&mut scratch).await, Ok(1..)) {}
}

/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// Pieces under way in one direction.
const PIECES: usize = 64;

/// How long an orderly end waits for the ends' own.
const LINGER: Duration = Duration::from_secs(1);
