//! Accepts the clients, each known by its key.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use e2e::failed::{Failed, Result};
use futures_util::SinkExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::peer::Peer;
use crate::websocket;

/// The relay.
#[derive(Debug, Clone)]
pub struct Relay {
    address: SocketAddr,
    peers: Rc<RefCell<HashMap<String, Peer>>>,
    came: Rc<Notify>,
}

impl Relay {
    /// Listens on a port of loopback.
    ///
    /// # Errors
    /// There is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let relay = Self {
            address: listener.local_addr()?,
            peers: Rc::default(),
            came: Rc::default(),
        };
        let accepting = relay.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let relay = accepting.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = relay.accept(stream).await {
                        eprintln!("bench: a client could not connect: {error:?}");
                    }
                });
            }
        });
        Ok(relay)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("ws://{}/connect", self.address)
    }

    /// The client with this key, once it is connected.
    ///
    /// # Errors
    /// It was not within the time that any client needs.
    pub async fn peer(&self, key: &str) -> Result<Peer> {
        let wait = async {
            loop {
                let came = self.came.notified();
                if let Some(peer) = self.peers.borrow().get(key).filter(|peer| peer.is_connected()) {
                    return peer.clone();
                }
                came.await;
            }
        };
        let late = || Failed::new(format!("{key} did not connect within {PATIENCE:?}"));
        tokio::time::timeout(PATIENCE, wait).await.map_err(|_| late())
    }

    async fn accept(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut key = String::new();
        // the library's signature
        #[expect(clippy::result_large_err)]
        let callback = |request: &Request, response: Response| -> std::result::Result<Response, ErrorResponse> {
            let bearer = request
                .headers()
                .get("authorization")
                .and_then(|value| value.to_str().ok());
            key = bearer
                .and_then(|value| value.strip_prefix("Bearer "))
                .unwrap_or_default()
                .to_owned();
            Ok(response)
        };
        let config = Some(websocket::config());
        let mut socket = tokio_tungstenite::accept_hdr_async_with_config(stream, callback, config).await?;
        socket
            .send(Message::Text(r#"{"type":"connected","protocol":2}"#.into()))
            .await?;
        self.peers.borrow_mut().insert(key, Peer::spawn(socket));
        self.came.notify_waiters();
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
