//! A model whose answers the test writes by hand, byte for byte, and which notices when nobody listens any more.

use std::net::SocketAddr;

use e2e::world::site::DEADLINE;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Listens as the model.
pub struct Puppet(TcpListener);

/// One request's connection.
pub struct Line {
    pub stream: BufReader<TcpStream>,
}

impl Puppet {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next connection, its first request read.
    pub async fn asked(&mut self) -> Line {
        let accepted = timeout(DEADLINE, self.0.accept()).await.unwrap();
        let mut stream = BufReader::new(accepted.unwrap().0);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        Line { stream }
    }
}

impl Line {
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The head of a stream.
    pub async fn begins(&mut self) {
        self.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
    }

    /// A piece of the body.
    pub async fn chunk(&mut self, text: &str) {
        self.write(format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    pub async fn says(&mut self, word: &str) {
        self.chunk(&event(word)).await;
    }

    /// The end of the answer.
    pub async fn ends(&mut self) {
        self.chunk("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
            .await;
        self.write("0\r\n\r\n").await;
    }

    /// Waits until the other side closes.
    pub async fn is_hung_up(&mut self) {
        let mut scratch = [0; 64];
        let read = timeout(DEADLINE, self.stream.read(&mut scratch)).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

/// An event of a stream that says `word`.
pub fn event(word: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": {"content": word}}]})
    )
}
