//! A platform that asks for more than it is good for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// Asks for `count` completions of the demo model's `behaviour`, and acknowledges no answer.
#[derive(Clone, Copy)]
pub struct Flood {
    pub count: usize,
    pub behaviour: &'static str,
    /// Bytes of each request that say nothing.
    pub padding: usize,
    /// Whether it reads what it is answered.
    pub reads: bool,
}

/// A running flood.
pub struct Flooding {
    pub address: SocketAddr,
    sent: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Flood {
    pub async fn start(self) -> Flooding {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            let (mut sink, mut stream) = socket.split();
            let hello = Message::text(r#"{"type":"connected","protocol":2}"#);
            sink.send(hello).await.unwrap();
            let asks = async {
                for n in 0..self.count {
                    if sink.send(Message::text(self.request(n))).await.is_err() {
                        return;
                    }
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                std::future::pending::<()>().await;
            };
            if self.reads {
                let reads = async { while stream.next().await.is_some() {} };
                tokio::join!(asks, reads);
            } else {
                asks.await;
            }
        });
        Flooding { address, sent, task }
    }

    fn request(self, n: usize) -> String {
        let Self { behaviour, padding, .. } = self;
        let padding = "x".repeat(padding);
        format!(
            r#"{{"type":"request","request_id":"flood-{n}","payload":{{"method":"POST","path":"/v1/chat/completions","headers":{{}},"body":{{"model":"{behaviour}","messages":[],"padding":"{padding}"}}}}}}"#
        )
    }
}

impl Flooding {
    /// Requests that were written.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// For `relays[].url`, with what plain text needs.
    pub fn url(&self) -> String {
        format!("ws://{}/connect\n          insecure: true", self.address)
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.task.abort();
    }
}
