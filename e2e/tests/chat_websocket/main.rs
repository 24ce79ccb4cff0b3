//! Promises of `envoy/chat-websocket.yaml`: callers that only speak WebSocket talk to a model through Envoy.

mod flow;
mod gate;
mod life;
mod mistakes;
mod puppet;
mod telemetry;
mod turns;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use e2e::model::Model;
use e2e::world::site::DEADLINE;
use e2e::world::{Envoy, Scratch, eventually, free_address, http, render, workspace};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// What a test needs before Envoy starts.
struct Plan {
    scratch: Scratch,
    admin: SocketAddr,
    public: SocketAddr,
    status: SocketAddr,
    edits: Vec<(String, String)>,
    variables: Vec<(String, String)>,
}

/// A running Envoy on the shipped file.
struct Chat {
    envoy: Envoy,
    plan: Plan,
}

/// A client that is connected.
struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Plan {
    fn new() -> Self {
        let scratch = Scratch::new().unwrap();
        scratch
            .write("chat-users", format!("{USER}:{{SHA}}{DIGEST}\n"))
            .unwrap();
        let [admin, public, status] = [(); 3].map(|()| free_address().unwrap());
        Self {
            scratch,
            admin,
            public,
            status,
            edits: Vec::new(),
            variables: Vec::new(),
        }
    }

    fn edit(mut self, from: &str, to: &str) -> Self {
        self.edits.push((from.to_owned(), to.to_owned()));
        self
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path().join("chat.sock")
    }

    fn write(&self, model: SocketAddr) -> PathBuf {
        let mut edits = vec![(
            "/run/spectral-bridge".to_owned(),
            self.scratch.path().display().to_string(),
        )];
        for (shipped, own) in [(9901, self.admin), (10000, self.public), (8000, model)] {
            edits.push((format!("port_value: {shipped}"), format!("port_value: {}", own.port())));
        }
        edits.push(("127.0.0.1:8841".to_owned(), self.status.to_string()));
        edits.extend(self.edits.clone());
        let edits: Vec<_> = edits.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        let config = render(&workspace().join("envoy/chat-websocket.yaml"), &edits).unwrap();
        self.scratch.write("envoy.yaml", config).unwrap()
    }

    async fn start(self, model: SocketAddr) -> Chat {
        let config = self.write(model);
        let variables: Vec<_> = self.variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut envoy =
            Envoy::start_with(&config, self.admin, &variables, &["--file-flush-interval-msec", "20"]).unwrap();
        envoy.ready(DEADLINE).await.unwrap();
        Chat { envoy, plan: self }
    }

    /// Starts it and waits until clients are served.
    async fn serving(self, model: SocketAddr) -> Chat {
        let chat = self.start(model).await;
        chat.becomes("/state", json!("listening")).await;
        chat
    }
}

impl Chat {
    async fn with_model() -> (Self, Model) {
        let model = Model::start().await.unwrap();
        (Plan::new().serving(model.address()).await, model)
    }

    async fn dial(&self) -> Client {
        self.try_dial("/websockets/chat", Some(CREDENTIALS), &[]).await.unwrap()
    }

    async fn try_dial(
        &self,
        path: &str,
        credentials: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        let mut request = format!("ws://{}{path}", self.plan.public)
            .into_client_request()
            .unwrap();
        if let Some(credentials) = credentials {
            let basic = format!("Basic {credentials}").parse().unwrap();
            request.headers_mut().insert("authorization", basic);
        }
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.plan.public).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(e) => panic!("{e}"),
        }
    }

    /// The endpoint's part of `/status`.
    async fn status(&self) -> Value {
        let status = http::get(&format!("http://{}/status", self.plan.status)).await;
        let status = status.map(|reply| reply.json()).unwrap_or_default();
        status.pointer("/chat/0").cloned().unwrap_or_default()
    }

    /// Waits until the endpoint's status has `value` at the JSON pointer `at`.
    async fn becomes(&self, at: &str, value: Value) {
        let reached = eventually(at, DEADLINE, || async {
            (self.status().await.pointer(at) == Some(&value)).then_some(())
        });
        if reached.await.is_err() {
            panic!("{at} is not {value}: {}", self.status().await);
        }
    }
}

impl Client {
    async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next JSON message.
    async fn hears(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.socket.next()).await.unwrap();
            match message.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The answer up to its end: what was said, and the last message.
    async fn answer(&mut self) -> (String, Value) {
        let mut said = String::new();
        loop {
            let message = self.hears().await;
            if message["type"] != "delta" {
                return (said, message);
            }
            said.push_str(message["content"].as_str().unwrap_or_default());
        }
    }

    async fn turn(&mut self, message: Value) -> (String, Value) {
        self.say(message).await;
        self.answer().await
    }

    /// A turn that nothing is wrong with.
    async fn still_answers(&mut self) {
        let (said, done) = self.turn(ask("demo", "still there?")).await;
        assert_eq!(
            (said.as_str(), &done["type"]),
            ("You said: still there?", &json!("done"))
        );
    }

    /// The code with which the connection is closed.
    async fn hears_close(&mut self) -> Option<u16> {
        let closed = async {
            while let Some(message) = self.socket.next().await {
                match message {
                    Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
            None
        };
        tokio::time::timeout(DEADLINE, closed).await.unwrap()
    }
}

/// A message that asks for a turn.
fn ask(model: &str, said: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": said}]})
}

/// Asserts that `message` is an error with these, and gives it.
#[track_caller]
fn assert_error(message: &Value, status: u16, code: &str, origin: &str) {
    let told = (
        &message["type"],
        &message["status"],
        &message["code"],
        &message["origin"],
    );
    let expected = (&json!("error"), &json!(status), &json!(code), &json!(origin));
    assert_eq!(told, expected, "{message}");
    assert!(
        message["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{message}"
    );
}

/// Whether anything exists at `path`.
fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

const USER: &str = "alice";
/// SHA-1 of `open-sesame`.
const DIGEST: &str = "piGucRdTwGb7+i3S1svNik60+fw=";
/// `alice:open-sesame`.
const CREDENTIALS: &str = "YWxpY2U6b3Blbi1zZXNhbWU=";
