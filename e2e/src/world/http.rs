//! A tiny HTTP client: one connection, one request, the whole answer.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::failed::{Failed, Result};

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body to the byte.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `error.code` of a JSON body, empty when there is none.
    #[must_use]
    pub fn error_code(&self) -> String {
        self.json()
            .pointer("/error/code")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

/// `GET url`.
///
/// # Errors
/// There was no whole answer.
pub async fn get(url: &str) -> Result<Reply> {
    send(Method::GET, url, &[], Bytes::new()).await
}

/// `POST url` with a JSON body.
///
/// # Errors
/// There was no whole answer.
pub async fn post(url: &str, body: impl Into<Bytes>) -> Result<Reply> {
    send(Method::POST, url, &[("content-type", "application/json")], body).await
}

/// Sends a request to an `http://` URL.
///
/// # Errors
/// There was no whole answer.
pub async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Reply> {
    let uri: Uri = url.parse()?;
    exchange(method, &uri, headers, body.into())
        .await
        .map_err(|e| e.during(url))
}

async fn exchange(method: Method, uri: &Uri, headers: &[(&str, &str)], body: Bytes) -> Result<Reply> {
    let authority = uri.authority().ok_or_else(|| Failed::new("this URL names no host"))?;
    let address = match authority.port_u16() {
        Some(_) => authority.to_string(),
        None => format!("{authority}:80"),
    };
    let socket = TcpStream::connect(&address).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, authority.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body))?;
    // The connection's own task ends with the request: nothing is left behind.
    let driver = tokio::spawn(connection);
    let answer = async {
        let (head, body) = requests.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    let answer = answer.await;
    driver.abort();
    answer
}
