//! OTLP over HTTP/1.1 by hyper: what `opentelemetry-otlp` asks of an HTTP client.
//!
//! Driven from the SDK's export threads through [`super::outlet`], which lends them the runtime and bounds the time.
//! Deliberately absent: redirects, which would carry the headers' secrets elsewhere.

use std::error::Error;
use std::pin::Pin;

use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

use super::connect::Connector;
use super::outlet::{Cause, LastCause};

#[derive(Debug)]
pub(super) struct OtlpClient {
    client: Client<Connector, Full<Bytes>>,
    cause: LastCause,
}

impl OtlpClient {
    pub(super) fn new(connector: Connector, cause: LastCause) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        Self { client, cause }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new)).await;
        let (head, body) = answer.map_err(|error| self.failed(&error))?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.failed(error.as_ref()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// Where the connector has not said more.
    fn failed(&self, error: &(dyn Error + 'static)) -> HttpError {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        self.cause.put_if_none(Cause::new("network", message.clone()));
        message.into()
    }
}

impl HttpClient for OtlpClient {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}

/// An answer has counts and perhaps a sentence in it.
const MAX_ANSWER: usize = 64 * 1024;
