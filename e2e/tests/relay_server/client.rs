//! A client that does only what a test tells it to.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use e2e::relay::Relay;

use crate::{KEY, PATIENCE};

pub struct Client<S = TcpStream> {
    pub socket: WebSocketStream<S>,
}

impl Client {
    /// Connects with version 2 and the right key, and hears `connected`.
    pub async fn welcome(relay: &Relay) -> Self {
        Self::welcome_with(relay, KEY).await
    }

    pub async fn welcome_with(relay: &Relay, key: &str) -> Self {
        let authorization = format!("Bearer {key}");
        let mut client = Self::connect(
            relay,
            &[("authorization", &authorization), ("spectral-bridge-protocol", "2")],
        )
        .await
        .unwrap();
        assert_eq!(client.json().await, json!({"type": "connected", "protocol": 2}));
        client
    }

    pub async fn connect(relay: &Relay, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let socket = TcpStream::connect(relay.public()).await?;
        Client::connect_over(socket, relay, headers).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn connect_over(socket: S, relay: &Relay, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let mut request = relay.connect_url().into_client_request()?;
        for (name, value) in headers {
            let name: tokio_tungstenite::tungstenite::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        // No limits on this side: what is too large is the server's to say.
        let limits = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let (socket, _) = client_async_with_config(request, socket, Some(limits)).await?;
        Ok(Self { socket })
    }

    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        timeout(PATIENCE, self.socket.next())
            .await
            .expect("the relay says nothing")
    }

    /// The next text frame.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("a text frame was expected, not {other:?}"),
        }
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// The next frame, which must be a request; gives its id.
    pub async fn request(&mut self) -> String {
        let frame = self.json().await;
        assert_eq!(frame["type"], "request", "{frame}");
        frame["request_id"].as_str().unwrap().to_owned()
    }

    /// Code and reason of the close frame that comes next.
    pub async fn closed(&mut self) -> (u16, String) {
        match self.next().await {
            Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => (code.into(), reason.as_str().to_owned()),
            other => panic!("a close frame was expected, not {other:?}"),
        }
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        timeout(PATIENCE, self.socket.send(Message::text(text.into())))
            .await
            .unwrap()
            .unwrap();
    }

    pub async fn ack(&mut self, request_id: &str) {
        self.send(json!({"type": "ack", "request_id": request_id}).to_string())
            .await;
    }

    /// Sends a 200 response with `body` to the byte.
    pub async fn respond(&mut self, request_id: &str, body: &str) {
        let id = json!(request_id);
        let head = r#""status":200,"headers":{"content-type":"application/json"}"#;
        self.send(format!(
            r#"{{"type":"response","request_id":{id},"payload":{{{head},"body":{body}}}}}"#
        ))
        .await;
    }

    /// Expects the ack for a response.
    pub async fn acked(&mut self, request_id: &str) {
        assert_eq!(self.json().await, json!({"type": "ack", "request_id": request_id}));
    }

    pub async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.socket.send(Message::Close(Some(frame))).await.unwrap();
    }

    /// Shows that nothing was said before this: a ping's pong is the next thing to come.
    pub async fn hears_nothing(&mut self) {
        self.socket.send(Message::Ping("quiet?".into())).await.unwrap();
        match self.next().await {
            Some(Ok(Message::Pong(payload))) => assert_eq!(payload, "quiet?"),
            other => panic!("nothing was expected, not {other:?}"),
        }
    }
}

/// A duration for things that must run out in a test.
pub const SOON: Duration = Duration::from_millis(50);
