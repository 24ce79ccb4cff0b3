//! Promises of `envoy/realtime.yaml` on real Envoy, in front of a provider that speaks TLS: sessions pass to the byte, with the
//! provider's key and not the client's, and each is told of from its start to its end.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bytes;
mod credentials;
mod endings;
mod frames;
mod provider;
mod sessions;

use std::net::SocketAddr;

use e2e::model::{Model, ModelOptions};
use e2e::world::site::DEADLINE;
use e2e::world::{Certificates, Echo, Gateway, Scratch};
use futures_util::{SinkExt, StreamExt};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// The provider's key, and the one that a client of the gateway has.
const PROVIDERS_KEY: &str = "canary-providers-key-61";
const CLIENTS_KEY: &str = "canary-clients-key-62";

/// The shipped file, on the way to a test.
struct Plan {
    scratch: Scratch,
    certificates: Certificates,
    edits: Vec<(String, String)>,
    variables: Vec<(String, String)>,
}

/// A gateway in front of a provider that is `P`.
struct Site<P> {
    gateway: Gateway,
    provider: P,
    scratch: Scratch,
}

impl Plan {
    fn new() -> Self {
        let scratch = Scratch::new().unwrap();
        let certificates = Certificates::make(&scratch).unwrap();
        let ca = certificates.ca.to_str().unwrap().to_owned();
        let plan = Self {
            scratch,
            certificates,
            edits: Vec::new(),
            variables: vec![("PROVIDER_API_KEY".to_owned(), PROVIDERS_KEY.to_owned())],
        };
        plan.edit("api.openai.com", "localhost")
            .edit("/etc/ssl/certs/ca-certificates.crt", &ca)
    }

    fn edit(mut self, from: &str, to: &str) -> Self {
        self.edits.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Without the variable that has the provider's key.
    fn without_key(mut self) -> Self {
        self.variables.clear();
        self
    }

    /// With this variable in Envoy's environment.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A model that demands the provider's key over TLS.
    async fn model(&self) -> Model {
        let options = ModelOptions {
            key: Some(PROVIDERS_KEY.to_owned()),
            tls: Some(self.certificates.server.clone()),
            ..ModelOptions::default()
        };
        Model::start_with(options).await.unwrap()
    }

    async fn start_model(self) -> Site<Model> {
        let model = self.model().await;
        let address = model.address();
        self.start(model, address).await
    }

    async fn start_echo(self) -> Site<Echo> {
        let echo = Echo::start(&self.certificates.server).await.unwrap();
        let address = echo.address();
        self.start(echo, address).await
    }

    async fn start<P>(self, provider: P, address: SocketAddr) -> Site<P> {
        let plan = self.edit("port_value: 443 ", &format!("port_value: {} ", address.port()));
        let edits: Vec<_> = plan.edits.iter().map(|(from, to)| (&**from, &**to)).collect();
        let gateway = Gateway::start_with("realtime.yaml", address, &edits, &plan.variables);
        Site {
            gateway: gateway.await.unwrap(),
            provider,
            scratch: plan.scratch,
        }
    }
}

impl<P> Site<P> {
    /// Asks for a WebSocket, as a client with a key of its own does.
    async fn ask(&self, id: &str, target: &str, more: &[(&'static str, &str)]) -> Result<Socket, Error> {
        let mut request = format!("ws://{}{target}", self.gateway.address).into_client_request()?;
        let authorization = format!("Bearer {CLIENTS_KEY}");
        let own = [
            ("x-request-id", id),
            ("authorization", &authorization),
            ("x-api-key", CLIENTS_KEY),
        ];
        for (name, value) in own.iter().chain(more) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let socket = TcpStream::connect(self.gateway.address).await?;
        socket.set_nodelay(true)?;
        let (socket, answer) = timeout(DEADLINE, client_async(request, socket)).await.unwrap()?;
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        Ok(socket)
    }

    async fn dial(&self, id: &str, target: &str) -> Socket {
        self.ask(id, target, &[]).await.unwrap()
    }

    /// The answer to an upgrade that is refused.
    async fn refused(&self, id: &str, target: &str, more: &[(&'static str, &str)]) -> Response<Option<Vec<u8>>> {
        match self.ask(id, target, more).await {
            Err(Error::Http(answer)) => *answer,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was agreed upon"),
        }
    }

    /// The line about a session's start or end in Envoy's log.
    async fn line(&mut self, what: &str, id: &str) -> String {
        let process = self.gateway.envoy.process();
        // a line of a session ends with its request id
        let all = timeout(DEADLINE, async {
            loop {
                let output = process.output();
                let mut lines = output.lines();
                let found = lines.find(|line| line.contains(what) && line.ends_with(&format!("request_id={id}")));
                if let Some(line) = found {
                    return line.to_owned();
                }
                process.line(what, DEADLINE).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let line = all.await.unwrap_or_else(|_| panic!("no line `{what}` of {id}"));
        line[line.find(what).unwrap()..].to_owned()
    }

    /// Waits until a statistic of the filter has this value.
    async fn shows(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let series = format!("envoy_spectral_bridge_gen_ai_{name}{labels}");
        self.gateway.envoy.series_becomes(&series, value).await.unwrap();
    }

    /// Whether this Envoy tells a module why a stream ended.
    async fn envoy_tells(&self) -> bool {
        let info = self.gateway.envoy.admin("/server_info").await.unwrap().text();
        !info.contains("/1.38.")
    }
}

type Socket = WebSocketStream<TcpStream>;

/// Says `event` and hears everything up to the event `last`.
async fn turn(socket: &mut Socket, event: Value, last: &str) {
    socket.send(Message::text(event.to_string())).await.unwrap();
    loop {
        let message = timeout(DEADLINE, socket.next()).await.unwrap();
        if let Message::Text(text) = message.unwrap().unwrap()
            && serde_json::from_str::<Value>(&text).unwrap()["type"] == last
        {
            return;
        }
    }
}

/// One answered question of the Responses API.
async fn answered(socket: &mut Socket, model: &str, said: &str) {
    let create = json!({"type": "response.create", "model": model, "input": said});
    turn(socket, create, "response.completed").await;
}

/// Hears everything until the end, and whether that was in order.
async fn heard_to_the_end(socket: &mut Socket) -> bool {
    loop {
        match timeout(DEADLINE, socket.next()).await.expect("the session ends") {
            None => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
}
