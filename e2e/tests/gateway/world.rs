//! The shipped file with a test's ports and tokens, and the three pools behind it.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use e2e::model::Model;
use e2e::world::http::{self, Reply};
use e2e::world::site::DEADLINE;
use e2e::world::{Gateway, Scratch, eventually, free_address};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

/// A gateway with its models.
pub struct World {
    pub gateway: Gateway,
    pub primary: Model,
    pub standby: Model,
    pub large: Model,
    status: SocketAddr,
    tokens: PathBuf,
    _scratch: Scratch,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(edits: &[(&str, &str)]) -> Self {
        let (primary, standby, large) = (Model::start().await, Model::start().await, Model::start().await);
        let (primary, standby, large) = (primary.unwrap(), standby.unwrap(), large.unwrap());
        let (scratch, status) = (Scratch::new().unwrap(), free_address().unwrap());
        let tokens = scratch.write("tokens", format!("ci:{TOKEN}\n")).unwrap();
        let port = |model: &Model| format!("port_value: {}", model.address().port());
        let (second, third) = (port(&standby), port(&large));
        let (path, address) = (tokens.display().to_string(), status.to_string());
        let mut all = vec![
            ("port_value: 8001", second.as_str()),
            ("port_value: 8002", third.as_str()),
            ("/run/spectral-bridge/tokens", path.as_str()),
            ("127.0.0.1:8841", address.as_str()),
        ];
        all.extend(edits);
        let gateway = Gateway::start("gateway.yaml", primary.address(), &all).await.unwrap();
        Self {
            gateway,
            primary,
            standby,
            large,
            status,
            tokens,
            _scratch: scratch,
        }
    }

    /// Sends a request with the token.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let authorization = format!("Bearer {TOKEN}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend(headers);
        self.send_bare(method, path, &all, body).await
    }

    /// Sends a request with nothing but these headers.
    pub async fn send_bare(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let url = self.gateway.url(path);
        http::send(method, &url, headers, body).await.unwrap()
    }

    /// `POST` of JSON with the token.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, &[JSON], body.to_string()).await
    }

    /// Replaces the file with the tokens, as an editor or Kubernetes would.
    pub fn write_tokens(&self, text: &str) {
        let new = self.tokens.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.tokens).unwrap();
    }

    pub fn remove_tokens(&self) {
        std::fs::remove_file(&self.tokens).unwrap();
    }

    /// Waits until a request with `token` is answered with `status`.
    pub async fn becomes(&self, token: &str, status: StatusCode) {
        let authorization = format!("Bearer {token}");
        let what = format!("a request is answered {status}");
        eventually(&what, DEADLINE, || async {
            let headers = [("authorization", authorization.as_str())];
            let reply = self.send_bare(Method::GET, "/v1/models", &headers, "").await;
            (reply.status == status).then_some(())
        })
        .await
        .unwrap();
    }

    /// What the access log says of the request that was answered so.
    pub async fn logged(&mut self, reply: &Reply) -> Value {
        let id = reply.headers["x-request-id"].to_str().unwrap().to_owned();
        self.gateway.logged(&id).await.unwrap()
    }

    /// The module's status.
    pub async fn status(&self) -> Value {
        self.get_status("/status").await.json()
    }

    /// A page of the status server.
    pub async fn get_status(&self, path: &str) -> Reply {
        let url = format!("http://{}{path}", self.status);
        http::get(&url).await.unwrap()
    }

    /// `POST` to the status server.
    pub async fn post_status(&self, path: &str) -> Reply {
        let url = format!("http://{}{path}", self.status);
        http::post(&url, "").await.unwrap()
    }

    /// Waits until the status has `value` at the JSON pointer `at`; gives that status.
    pub async fn status_becomes(&self, at: &str, value: Value) -> Value {
        let what = format!("{at} is {value}");
        eventually(&what, DEADLINE, || async {
            let status = self.status().await;
            (status.pointer(at) == Some(&value)).then_some(status)
        })
        .await
        .unwrap()
    }

    /// How many requests the models have seen.
    pub fn seen(&self) -> [usize; 3] {
        [&self.primary, &self.standby, &self.large].map(|model| model.ledger().count())
    }
}

/// A chat completion request for this model.
pub fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello there"}]})
}

/// An error of the gateway's own, in OpenAI's shape.
#[track_caller]
pub fn assert_openai_error(reply: &Reply, status: StatusCode, kind: &str, code: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], "application/json");
    let body = reply.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("{}", reply.text()));
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let mut members: Vec<_> = error.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["code", "message", "param", "type"]);
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!(code)), "{body}");
    assert_eq!(error["param"], Value::Null);
}

pub const JSON: (&str, &str) = ("content-type", "application/json");
pub const TOKEN: &str = "0123456789abcdef-secret-token";
