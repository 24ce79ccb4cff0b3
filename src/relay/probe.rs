//! An attempt to reach a relay, step by step and in sight: what `spectral-bridge doctor` tells apart.
//!
//! Each step is the one that [`super::dial`] takes, with its deadline, so a failure here is the driver's failure.
//! Deliberately absent: the order's meaning (what a failure is called, and what to do about it) and frames.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::connect;
use super::dial::{Attempt, DIAL_TIMEOUT, Prepared, RelaySocket, handshake_request};
use super::error::{DialError, Peer, Step};
use super::proxy::Variables;
use super::stream::RelayStream;
use super::tls::TlsClient;
use super::tunnel;
use crate::config::Relay;
use crate::secret::Secret;

/// One attempt, its files and variables read, nothing opened yet.
pub struct Probe<'a> {
    attempt: Attempt<'a>,
    prepared: Prepared,
}

/// The proxy that an attempt goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyFacts {
    /// Where it listens.
    pub peer: Peer,
    /// Whether TLS is spoken to it.
    pub tls: bool,
    /// Whether it is shown credentials.
    pub credentials: bool,
}

impl<'a> Probe<'a> {
    /// Reads what the attempt needs; all steps share the driver's time for one attempt, which begins now.
    ///
    /// # Errors
    /// A file, a secret or a variable cannot be used.
    pub async fn prepare(relay: &'a Relay) -> Result<Self, DialError> {
        let attempt = Attempt::new(relay, DIAL_TIMEOUT, Variables::read());
        let prepared = attempt.within(&attempt.peer, Step::Prepare, attempt.prepare()).await?;
        Ok(Self { attempt, prepared })
    }

    /// The proxy, if there is one.
    #[must_use]
    pub fn proxy(&self) -> Option<ProxyFacts> {
        let (route, _) = self.prepared.proxy.as_ref()?;
        Some(ProxyFacts {
            peer: route.peer.clone(),
            tls: route.tls,
            credentials: route.authorization.is_some(),
        })
    }

    /// The other end of the first TCP connection: the proxy, else the relay.
    #[must_use]
    pub fn first_hop(&self) -> &Peer {
        match &self.prepared.proxy {
            Some((route, _)) => &route.peer,
            None => &self.attempt.peer,
        }
    }

    /// The addresses of the first hop.
    ///
    /// # Errors
    /// Its name does not resolve.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, DialError> {
        let peer = self.first_hop();
        self.attempt.within(peer, Step::Resolve, connect::resolve(peer)).await
    }

    /// A TCP connection to the first hop.
    ///
    /// # Errors
    /// No address accepts one.
    pub async fn connect(&self, addresses: Vec<SocketAddr>) -> Result<RelayStream, DialError> {
        let peer = self.first_hop();
        let connecting = connect::connect(peer, addresses);
        self.attempt
            .within(peer, Step::Connect, connecting)
            .await
            .map(RelayStream::tcp)
    }

    /// The tunnel through the proxy; without one, the stream as it is.
    ///
    /// # Errors
    /// The proxy does not open one.
    pub async fn tunnel(&self, stream: RelayStream) -> Result<RelayStream, DialError> {
        let Some((route, tls)) = &self.prepared.proxy else {
            return Ok(stream);
        };
        let stream = self.attempt.tls(&route.peer, tls.as_ref(), stream).await?;
        let target = self.attempt.peer.authority();
        let opening = tunnel::open(stream, &route.peer, &target, route.authorization.as_ref());
        self.attempt.within(&route.peer, Step::Tunnel, opening).await
    }

    /// TLS with the relay; without `wss://`, the stream as it is.
    ///
    /// # Errors
    /// There is no TLS, or not one that can be trusted.
    pub async fn secure(&self, stream: RelayStream) -> Result<RelayStream, DialError> {
        let tls = self.prepared.tls.as_ref();
        self.attempt.tls(&self.attempt.peer, tls, stream).await
    }

    /// The WebSocket handshake, showing `key`, and naming protocol version 2 when `send_version`.
    ///
    /// # Errors
    /// The relay refuses it, or is none.
    pub async fn handshake(
        &self,
        stream: RelayStream,
        key: &Secret,
        send_version: bool,
    ) -> Result<RelaySocket, DialError> {
        let request = handshake_request(&self.attempt.relay.url, key, send_version)?;
        let handshake = self.attempt.handshake(request, stream);
        self.attempt
            .within(&self.attempt.peer, Step::Handshake, handshake)
            .await
    }
}

/// Whom an HTTP server's certificate is verified against.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    /// No TLS.
    Plain,
    /// The platform's.
    Platform,
    /// Those of a PEM file.
    File(&'a Path),
}

/// A connection to a server that is no relay, made as one to a relay is.
///
/// # Errors
/// As an attempt's; the peer in them is called a relay.
pub async fn open(host: &str, port: u16, roots: Roots<'_>, limit: Duration) -> Result<RelayStream, DialError> {
    let peer = Peer::relay(host, port);
    let within = |step| DialError::Timeout {
        peer: peer.clone(),
        step,
        limit,
    };
    let opening = async {
        let addresses = connect::resolve(&peer).await?;
        connect::connect(&peer, addresses).await.map(RelayStream::tcp)
    };
    let stream = timeout(limit, opening).await.map_err(|_| within(Step::Connect))??;
    let ca_file = match roots {
        Roots::Plain => return Ok(stream),
        Roots::Platform => None,
        Roots::File(path) => Some(path.to_owned()),
    };
    let name = host.to_owned();
    let reading = tokio::task::spawn_blocking(move || TlsClient::for_server(ca_file.as_deref(), &name));
    let tls = reading.await.map_err(|e| DialError::Local {
        code: "internal",
        reason: format!("reading the files it needs failed: {e}"),
    })??;
    let securing = tls.connect(&peer, stream);
    timeout(limit, securing).await.map_err(|_| within(Step::Tls))?
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
