//! A collector in the test's own process: OTLP by gRPC and by HTTP, written from the protocol and not with its crates.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    grpc: bool,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Export>>,
    /// What is answered instead of success.
    refuse_with: Option<StatusCode>,
}

/// One export as it arrived.
pub struct Export {
    pub path: String,
    pub headers: HeaderMap,
    pub compressed: bool,
    pub body: Bytes,
}

impl Collector {
    pub async fn start(protocol: &str) -> Self {
        Self::listen(protocol, None, None).await
    }

    pub async fn with_tls(protocol: &str, tls: Arc<rustls::ServerConfig>) -> Self {
        Self::listen(protocol, Some(tls), None).await
    }

    pub async fn refusing(protocol: &str, status: StatusCode) -> Self {
        Self::listen(protocol, None, Some(status)).await
    }

    async fn listen(protocol: &str, tls: Option<Arc<rustls::ServerConfig>>, refuse_with: Option<StatusCode>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            grpc: protocol == "grpc",
            seen: Arc::new(Seen {
                refuse_with,
                ..Seen::default()
            }),
        };
        let tls = tls.map(TlsAcceptor::from);
        tokio::spawn(accept(listener, tls, collector.grpc, Arc::clone(&collector.seen)));
        collector
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    pub fn protocol(&self) -> &'static str {
        if self.grpc { "grpc" } else { "http/protobuf" }
    }

    pub fn exports(&self) -> Vec<Export> {
        std::mem::take(&mut *self.seen.requests.lock().unwrap())
    }
}

impl Export {
    pub fn metrics(&self) -> Option<ExportMetricsServiceRequest> {
        self.read("metrics")
    }

    pub fn traces(&self) -> Option<ExportTraceServiceRequest> {
        self.read("trace")
    }

    pub fn logs(&self) -> Option<ExportLogsServiceRequest> {
        self.read("logs")
    }

    fn read<M: Message + Default>(&self, signal: &str) -> Option<M> {
        let is_it = self.path.contains(&format!(".{signal}.")) || self.path.contains(&format!("/v1/{signal}"));
        is_it.then(|| M::decode(self.body.clone()).unwrap())
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, grpc: bool, seen: Arc<Seen>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (tls, seen) = (tls.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            match tls {
                None => serve(tcp, grpc, seen).await,
                Some(tls) => {
                    if let Ok(tcp) = tls.accept(tcp).await {
                        serve(tcp, grpc, seen).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, grpc: bool, seen: Arc<Seen>) {
    let service = service_fn(move |request| answer(request, grpc, Arc::clone(&seen)));
    let stream = TokioIo::new(stream);
    // a client that goes away is no failure of the collector
    if grpc {
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(stream, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(stream, service)
            .await;
    }
}

async fn answer(
    request: Request<Incoming>,
    grpc: bool,
    seen: Arc<Seen>,
) -> Result<Response<BoxBody<Bytes, std::convert::Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (compressed, body) = if grpc {
        grpc_message(&body)
    } else {
        http_message(&head.headers, body)
    };
    seen.requests.lock().unwrap().push(Export {
        path: head.uri.path().to_owned(),
        headers: head.headers.clone(),
        compressed,
        body,
    });
    let secret = head.headers.get("x-api-key").cloned();
    Ok(match (seen.refuse_with, grpc) {
        (None, false) => Response::new(Full::default().boxed()),
        (Some(status), false) => {
            let repeated = secret.map(|secret| Bytes::copy_from_slice(secret.as_bytes()));
            let mut response = Response::new(Full::new(repeated.unwrap_or_default()).boxed());
            *response.status_mut() = status;
            response
        }
        (refused, true) => grpc_answer(refused.map(|_| "16").unwrap_or("0"), secret),
    })
}

/// An empty message, and the status in the trailers.
fn grpc_answer(
    status: &'static str,
    message: Option<HeaderValue>,
) -> Response<BoxBody<Bytes, std::convert::Infallible>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    if let Some(message) = message {
        trailers.insert("grpc-message", message);
    }
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

fn grpc_message(body: &Bytes) -> (bool, Bytes) {
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    assert_eq!(body.len(), 5 + length, "one message");
    let compressed = body[0] == 1;
    let body = body.slice(5..);
    (compressed, if compressed { unpacked(&body) } else { body })
}

fn http_message(headers: &HeaderMap, body: Bytes) -> (bool, Bytes) {
    match headers.get("content-encoding") {
        None => (false, body),
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            (true, unpacked(&body))
        }
    }
}

fn unpacked(body: &[u8]) -> Bytes {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut unpacked).unwrap();
    Bytes::from(unpacked)
}
