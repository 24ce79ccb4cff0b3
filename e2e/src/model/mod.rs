//! A small model for tests, the demo and benchmarks. It answers by the APIs that models are asked by ([`Api`]): OpenAI's
//! over HTTP and over WebSockets (speech, transcriptions and images, too), Anthropic's, Ollama's.
//!
//! It repeats what it was told, counts white-space separated words as tokens, writes down every request in its
//! [`Ledger`] and every token that it told anyone about in its [`Accounts`], and misbehaves on demand ([`Behaviour`]). Driven by tests in-process and by the binary `model`.
//! Deliberately absent: intelligence, and any knowledge of relays.

mod act;
mod answers;
mod behaviour;
mod ledger;
mod media;
mod question;
mod serve;
mod sockets;
mod tokens;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::service::service_fn;

pub use behaviour::{Behaviour, Exact, Gate, Reporting};
pub use ledger::{Exchange, Ledger};
pub use question::Api;
pub use tokens::{Account, Accounts, Tokens};

use crate::listen::Server;
use crate::locked;
use tokens::Books;

/// The model's settings.
#[derive(Debug, Clone)]
pub struct ModelOptions {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The bearer key it demands, if any.
    pub key: Option<String>,
    /// Whether requests are kept for assertions. Off where throughput is measured.
    pub ledger: bool,
    /// Whether readable lines go to stderr.
    pub log: bool,
}

/// A running model. Dropping it ends it as [`Model::stop`] does.
#[derive(Debug)]
pub struct Model {
    shared: Arc<Shared>,
    server: Arc<Server>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    options: ModelOptions,
    ledger: Ledger,
    books: Arc<Books>,
    script: Mutex<Script>,
}

/// What tests told the model to do.
#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Behaviour>,
    always: Option<Behaviour>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            key: None,
            ledger: true,
            log: false,
        }
    }
}

impl Model {
    /// Serves on a free loopback port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(ModelOptions::default()).await
    }

    /// Serves as `options` say.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start_with(options: ModelOptions) -> io::Result<Self> {
        let ledger = Ledger::new(options.ledger);
        let address = options.listen;
        let shared = Arc::new(Shared {
            options,
            ledger,
            books: Arc::default(),
            script: Mutex::default(),
        });
        let mut model = Self {
            shared,
            server: Arc::default(),
            address,
        };
        model.listen().await?;
        Ok(model)
    }

    async fn listen(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let server = Arc::clone(&self.server);
        let service = service_fn(move |request| serve::serve(Arc::clone(&shared), Arc::clone(&server), request));
        self.address = self.server.listen(self.address, None, service).await?;
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` and `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it was asked.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// All tokens that it told its callers about.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.accounts().values().map(|account| account.tokens).sum()
    }

    /// The same by API and by the model that requests named.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.shared.books.accounts()
    }

    /// Does this for every completion request, whatever `model` it names; `None` listens to the name again.
    pub fn always(&self, behaviour: Option<Behaviour>) {
        locked(&self.shared.script).always = behaviour;
    }

    /// Does this for the next completion request; calls queue up.
    pub fn next(&self, behaviour: Behaviour) {
        locked(&self.shared.script).next.push_back(behaviour);
    }

    /// Ends abruptly: the port refuses connections, open ones are dropped.
    pub async fn stop(&self) {
        self.server.kill().await;
    }

    /// Stops listening, and lets answers under way finish within `grace`.
    pub async fn drain(&self, grace: Duration) {
        self.server.drain(grace).await;
    }

    /// Serves again on the same port, after [`Model::stop`].
    ///
    /// # Errors
    /// The port cannot be bound again.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.server = Arc::default();
        self.listen().await
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn behaviour(&self, model: &str) -> Behaviour {
        let mut script = locked(&self.script);
        let told = script.next.pop_front().or_else(|| script.always.clone());
        told.unwrap_or_else(|| Behaviour::of_model(model))
    }
}
