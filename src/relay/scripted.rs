//! What tests play the relay with: a WebSocket server on loopback that does only what the test says, when it says it.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::testing::{Scratch, relay};
use crate::config::{Relay, SecretSource};
use crate::forward::scripted::within;

/// A relay's address; each connection is served by hand.
pub(crate) struct ScriptedRelay {
    listener: TcpListener,
    port: u16,
}

/// One client's connection.
pub(crate) struct Caller {
    pub(crate) ws: WebSocketStream<TcpStream>,
    /// The same socket, for looking without waiting.
    waiting: std::net::TcpStream,
    /// The handshake's `authorization`.
    pub(crate) authorization: String,
    /// The handshake's `spectral-bridge-protocol`.
    pub(crate) version: Option<String>,
}

impl ScriptedRelay {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// A client's configuration for this relay, its key in a file of `dir`.
    pub(crate) fn config(&self, dir: &Scratch) -> Relay {
        let mut relay = relay("127.0.0.1", self.port, false);
        relay.api_key = SecretSource::File(dir.file("api-key", "sk-1"));
        relay.paths = vec!["/v1/chat/completions".to_owned()];
        relay
    }

    /// The next connection, its handshake done.
    pub(crate) async fn accept(&self) -> Caller {
        let (tcp, _) = within(self.listener.accept()).await.unwrap();
        // frames without an answer in between must not wait for each other
        tcp.set_nodelay(true).unwrap();
        let tcp = tcp.into_std().unwrap();
        let waiting = tcp.try_clone().unwrap();
        let tcp = TcpStream::from_std(tcp).unwrap();
        let (mut authorization, mut version) = (String::new(), None);
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let look = |request: &Request, response: Response| {
            let header = |name| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
            authorization = header("authorization").unwrap_or_default();
            version = header("spectral-bridge-protocol");
            Ok(response)
        };
        let ws = within(accept_hdr_async(tcp, look)).await.unwrap();
        Caller {
            ws,
            waiting,
            authorization,
            version,
        }
    }

    /// The next connection, which is told that it is connected (`PROTOCOL §2.1`).
    pub(crate) async fn connect(&self) -> Caller {
        let mut caller = self.accept().await;
        caller.say(&json!({ "type": "connected", "protocol": 2 })).await;
        caller
    }

    /// The next connection, whose handshake is refused with this status line.
    pub(crate) async fn refuse(&self, status: &str) {
        let (mut tcp, _) = within(self.listener.accept()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(tcp.read_u8()).await.unwrap());
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        tcp.write_all(answer.as_bytes()).await.unwrap();
        let _ = within(tcp.read_u8()).await;
    }

    /// Nobody dials while `work` goes on.
    pub(crate) async fn is_left_alone_while<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            _ = self.listener.accept() => panic!("the client dialled"),
            done = work => done,
        }
    }
}

impl Caller {
    /// Something that was not heard yet has already arrived.
    pub(crate) fn has_arrived(&self) -> bool {
        self.waiting.peek(&mut [0]).is_ok_and(|n| n == 1)
    }

    pub(crate) async fn send(&mut self, message: Message) {
        within(self.ws.send(message)).await.unwrap();
    }

    pub(crate) async fn say(&mut self, frame: &Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    /// A chat completion with this id, and with the id as its body.
    pub(crate) async fn request(&mut self, id: &str) {
        self.say(&request(id)).await;
    }

    pub(crate) async fn ack(&mut self, id: &str) {
        self.say(&json!({ "type": "ack", "request_id": id })).await;
    }

    /// The client's next frame.
    pub(crate) async fn heard(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no frame: {other:?}"),
        }
    }

    /// The client's next message other than a ping.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            let message = within(self.ws.next()).await.expect("the connection ended").unwrap();
            if !message.is_ping() {
                return message;
            }
        }
    }

    /// The next frame is the ack of this request (`PROTOCOL §2.2`).
    pub(crate) async fn hears_ack(&mut self, id: &str) {
        assert_eq!(self.heard().await, json!({ "type": "ack", "request_id": id }));
    }

    /// The next frame is this request's response; gives status and body.
    pub(crate) async fn hears_response(&mut self, id: &str) -> (u64, Value) {
        let mut frame = self.heard().await;
        assert_eq!(
            (&frame["type"], &frame["request_id"]),
            (&json!("response"), &json!(id)),
            "{frame}"
        );
        let payload = frame["payload"].take();
        (payload["status"].as_u64().unwrap(), payload["body"].clone())
    }

    /// The next message is a close frame, which is answered; gives its code.
    pub(crate) async fn hears_close(&mut self) -> u16 {
        let code = match self.message().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("no close frame with a code: {other:?}"),
        };
        // the answer goes out with the next read
        let _ = within(self.ws.next()).await;
        code
    }

    /// Closes with this code.
    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "because".into(),
        };
        within(self.ws.close(Some(frame))).await.unwrap();
        while let Some(Ok(_)) = within(self.ws.next()).await {}
    }
}

/// A request frame for a chat completion with this id, and with the id in its body.
pub(crate) fn request(id: &str) -> Value {
    let payload = json!({ "headers": { "accept-encoding": "gzip", "traceparent": "00-ab" }, "body": { "id": id } });
    json!({ "type": "request", "request_id": id, "payload": payload })
}
