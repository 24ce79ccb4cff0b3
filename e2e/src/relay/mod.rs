//! A relay server for tests, the demo and benchmarks, written from PROTOCOL §3.
//!
//! Reading order: `options`, `frames` (pure), `slot` (what outlives a connection), `wire` (one WebSocket), `connect`
//! (its handshake), `tls`, `http` (callers), `keys`, `journal` (what tests read). [`Relay`] is driven by tests in-process and
//! by the binary `relay`. Deliberately absent: our client's codec, and authentication of callers (PROTOCOL §3.5): the
//! internal address is for loopback only.

mod connect;
mod frames;
mod http;
mod journal;
mod keys;
mod options;
mod slot;
pub(crate) mod tls;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::service::service_fn;

pub use frames::Answer;
pub use journal::{Entry, Event, Journal};
pub use options::{DEFAULT_RELAY, Hello, MAX_FRAME_BYTES, Refusal, RelayOptions, TlsFiles, Version};
pub use slot::{Failure, Slot};

use self::http::Face;
use self::keys::Keys;
use crate::failed::{self, Failed};
use crate::listen::Server;
use crate::locked;

/// A running relay server. Dropping it ends it as [`Relay::kill`] does.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    public: SocketAddr,
    internal: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    options: Arc<RelayOptions>,
    journal: Arc<Journal>,
    keys: Keys,
    server: Mutex<Arc<Server>>,
}

impl Shared {
    fn server(&self) -> Arc<Server> {
        Arc::clone(&locked(&self.server))
    }

    fn log(&self, line: impl FnOnce() -> String) {
        if self.options.log {
            eprintln!("relay: {}", line());
        }
    }
}

impl Relay {
    /// Binds the addresses and serves.
    ///
    /// # Errors
    /// An address cannot be bound, or the TLS files cannot be used.
    pub async fn start(options: RelayOptions) -> io::Result<Self> {
        let options = Arc::new(options);
        let journal = Arc::new(Journal::new(options.journal));
        let keys = Keys::new(&options, &journal);
        let server = Mutex::new(Arc::new(Server::default()));
        let (public, internal) = (options.public, options.internal.unwrap_or(options.public));
        let mut relay = Self {
            shared: Arc::new(Shared {
                options,
                journal,
                keys,
                server,
            }),
            public,
            internal,
        };
        relay.listen().await?;
        Ok(relay)
    }

    async fn listen(&mut self) -> io::Result<()> {
        let server = self.shared.server();
        let tls = self.shared.options.tls.as_ref().map(tls::acceptor).transpose()?;
        let face = |face: Face| {
            let shared = Arc::clone(&self.shared);
            service_fn(move |request| http::serve(Arc::clone(&shared), face, request))
        };
        match self.shared.options.internal {
            None => {
                self.public = server.listen(self.public, tls, face(Face::Both)).await?;
                self.internal = self.public;
            }
            Some(_) => {
                self.public = server.listen(self.public, tls, face(Face::Public)).await?;
                self.internal = server.listen(self.internal, None, face(Face::Internal)).await?;
            }
        }
        Ok(())
    }

    /// Where clients connect.
    #[must_use]
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// Where callers send requests.
    #[must_use]
    pub fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// `ws://127.0.0.1:PORT/connect`, or `wss://localhost:…` with TLS.
    #[must_use]
    pub fn connect_url(&self) -> String {
        match self.shared.options.tls {
            None => format!("ws://{}/connect", self.public),
            Some(_) => format!("wss://localhost:{}/connect", self.public.port()),
        }
    }

    /// `http://127.0.0.1:PORT` and `path` on the callers' side.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        match (self.shared.options.internal, &self.shared.options.tls) {
            (None, Some(_)) => format!("https://localhost:{}{path}", self.internal.port()),
            (None, None) | (Some(_), _) => format!("http://{}{path}", self.internal),
        }
    }

    /// The record of everything said on `/connect`.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// The slot of the relay `id`.
    #[must_use]
    pub fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.shared.keys.slot(id)
    }

    /// Gives the relay `id` this key and no other; an open connection stays.
    pub fn set_key(&self, id: &str, key: &str) {
        self.shared.keys.set(id, key);
    }

    /// Waits until the client of [`DEFAULT_RELAY`] has made connection `number`, counted from 1.
    ///
    /// # Errors
    /// It was not there within `deadline`; the error holds the journal's view.
    pub async fn connected(&self, number: u64, deadline: Duration) -> failed::Result<()> {
        let slot = self
            .slot(DEFAULT_RELAY)
            .ok_or_else(|| Failed::new("this relay has no default slot"))?;
        slot.connected(number, deadline).await
    }

    /// Ends abruptly: every socket is dropped, everything in memory but keys and journal is forgotten.
    pub async fn kill(&self) {
        self.shared.server().kill().await;
        for slot in self.shared.keys.slots() {
            slot.reset();
        }
    }

    /// Stops as PROTOCOL §3.1 says: clients are closed with 1012, callers get their 503.
    pub async fn shutdown(&self) {
        for slot in self.shared.keys.slots() {
            slot.stop();
        }
        self.shared.server().drain(DRAIN).await;
        for slot in self.shared.keys.slots() {
            slot.reset();
        }
    }

    /// Serves again on the same addresses, after [`Relay::kill`] or [`Relay::shutdown`].
    ///
    /// # Errors
    /// An address cannot be bound again.
    pub async fn restart(&mut self) -> io::Result<()> {
        *locked(&self.shared.server) = Arc::new(Server::default());
        self.listen().await
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.server().abort();
    }
}

/// How long closing handshakes and last answers may take.
const DRAIN: Duration = Duration::from_secs(5);
