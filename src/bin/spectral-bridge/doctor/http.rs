//! One HTTP request to the model: the whole answer, bounded in time and size.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use spectral_bridge::relay::DialError;
use spectral_bridge::relay::probe::{Roots, open};
use tokio::time::timeout;

use crate::target::Target;

/// Whom to ask, and how.
#[derive(Debug)]
pub struct Asker<'a> {
    /// The model.
    pub target: &'a Target,
    /// PEM roots for https.
    pub roots: Option<&'a Path>,
    /// Set on every request, as Envoy's module does.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `content-type`, empty without one.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// No connection.
    Dial(Box<DialError>),
    /// The connection broke, or what came was no HTTP.
    Http(String),
    /// Nothing in time.
    Timeout(Duration),
}

impl Asker<'_> {
    /// Asks for `path` below the target's own.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn ask(&self, method: Method, path: &str, body: Bytes, limit: Duration) -> Result<Answer, NoAnswer> {
        let roots = match (self.target.tls, self.roots) {
            (false, _) => Roots::Plain,
            (true, None) => Roots::Platform,
            (true, Some(file)) => Roots::File(file),
        };
        let stream = open(&self.target.host, self.target.port, roots, CONNECT_DEADLINE).await;
        let stream = stream.map_err(|error| NoAnswer::Dial(Box::new(error)))?;
        let exchange = self.exchange(TokioIo::new(stream), method, path, body);
        match timeout(limit, exchange).await {
            Ok(answer) => answer.map_err(NoAnswer::Http),
            Err(_elapsed) => Err(NoAnswer::Timeout(limit)),
        }
    }

    async fn exchange<S>(&self, stream: S, method: Method, path: &str, body: Bytes) -> Result<Answer, String>
    where
        S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(chain)?;
        // ends by itself when the answer is complete and the sender dropped
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.target.base_path))
            .header(HOST, self.target.authority())
            .header(
                USER_AGENT,
                concat!("spectral-bridge-doctor/", env!("CARGO_PKG_VERSION")),
            )
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let (head, body) = sender.send_request(request).await.map_err(chain)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: head.status.as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: body.to_bytes(),
        })
    }
}

/// The error and what caused it.
fn chain(error: hyper::Error) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Envoy's own patience with the cluster `adapter`.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// An answer of one token is small; a list of models is not always.
const MAX_ANSWER: usize = 4 << 20;
