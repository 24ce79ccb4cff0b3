//! The two faces of the collector: gRPC on HTTP/2, and protobuf in the body of a POST on HTTP/1.1.

use std::convert::Infallible;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::Service as _;
use tonic::{Code, Status};

use super::{Arrival, Fault, Protocol, Shared, Signal, metrics, spans};
use crate::listen::Server;

/// The gRPC services, each for one signal.
#[derive(Debug, Clone)]
struct Services(Arc<Shared>);

/// Serves gRPC on `address`.
pub(super) async fn grpc(shared: &Arc<Shared>, server: &Arc<Server>, address: SocketAddr) -> io::Result<SocketAddr> {
    let services = Services(Arc::clone(shared));
    let service = service_fn(move |request| route(services.clone(), request));
    server.listen_http2(address, service).await
}

/// Serves HTTP/protobuf on `address`.
pub(super) async fn http(shared: &Arc<Shared>, server: &Arc<Server>, address: SocketAddr) -> io::Result<SocketAddr> {
    let shared = Arc::clone(shared);
    let service = service_fn(move |request| post(Arc::clone(&shared), request));
    server.listen(address, None, service).await
}

async fn route(services: Services, request: Request<Incoming>) -> Result<Response<tonic::body::Body>, Infallible> {
    let path = request.uri().path().rsplit_once('/').map_or("", |(service, _)| service);
    match path {
        "/opentelemetry.proto.collector.metrics.v1.MetricsService" => {
            let mut service = MetricsServiceServer::new(services).accept_compressed(Gzip);
            service.call(request).await
        }
        "/opentelemetry.proto.collector.trace.v1.TraceService" => {
            let mut service = TraceServiceServer::new(services).accept_compressed(Gzip);
            service.call(request).await
        }
        "/opentelemetry.proto.collector.logs.v1.LogsService" => {
            let mut service = LogsServiceServer::new(services).accept_compressed(Gzip);
            service.call(request).await
        }
        _ => Ok(Status::new(Code::Unimplemented, "no such service").into_http()),
    }
}

impl Services {
    async fn admit<T>(&self, signal: Signal, request: tonic::Request<T>) -> Result<T, Status> {
        let (headers, _, message) = request.into_parts();
        let arrival = Arrival {
            protocol: Protocol::Grpc,
            signal,
            headers: headers.into_headers(),
        };
        match self.0.arrived(arrival).await {
            None => Ok(message),
            Some(Fault::Refuse) => Err(Status::invalid_argument("refused as the test says")),
            Some(_) => Err(Status::unavailable("unavailable as the test says")),
        }
    }
}

#[tonic::async_trait]
impl MetricsService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let message = self.admit(Signal::Metrics, request).await?;
        self.0.take_metrics(&message);
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let message = self.admit(Signal::Traces, request).await?;
        self.0.take_traces(&message);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        let message = self.admit(Signal::Logs, request).await?;
        self.0.take_logs(&message);
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

async fn post(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let signal = match head.uri.path() {
        "/v1/metrics" => Signal::Metrics,
        "/v1/traces" => Signal::Traces,
        "/v1/logs" => Signal::Logs,
        _ => return Ok(told(StatusCode::NOT_FOUND, "no such signal")),
    };
    if head.method != Method::POST {
        return Ok(told(StatusCode::METHOD_NOT_ALLOWED, "POST it"));
    }
    if head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(b"application/x-protobuf") {
        return Ok(told(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "application/x-protobuf is understood",
        ));
    }
    let Some(body) = unpacked(&head.headers, body) else {
        return Ok(told(StatusCode::BAD_REQUEST, "the content-encoding is not as it says"));
    };
    let arrival = Arrival {
        protocol: Protocol::Http,
        signal,
        headers: head.headers,
    };
    match shared.arrived(arrival).await {
        None => {}
        Some(Fault::Refuse) => return Ok(told(StatusCode::BAD_REQUEST, "refused as the test says")),
        Some(_) => return Ok(told(StatusCode::SERVICE_UNAVAILABLE, "unavailable as the test says")),
    }
    Ok(match shared.take(signal, &body) {
        Ok(answer) => protobuf(answer),
        Err(error) => told(StatusCode::BAD_REQUEST, &error.to_string()),
    })
}

impl Shared {
    fn take(&self, signal: Signal, body: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
        Ok(match signal {
            Signal::Metrics => {
                self.take_metrics(&ExportMetricsServiceRequest::decode(body)?);
                ExportMetricsServiceResponse::default().encode_to_vec()
            }
            Signal::Traces => {
                self.take_traces(&ExportTraceServiceRequest::decode(body)?);
                ExportTraceServiceResponse::default().encode_to_vec()
            }
            Signal::Logs => {
                self.take_logs(&ExportLogsServiceRequest::decode(body)?);
                ExportLogsServiceResponse::default().encode_to_vec()
            }
        })
    }

    fn take_metrics(&self, message: &ExportMetricsServiceRequest) {
        self.keep(|received| received.points.extend(metrics::points(message)));
    }

    fn take_traces(&self, message: &ExportTraceServiceRequest) {
        self.keep(|received| received.spans.extend(spans::spans(message)));
    }

    fn take_logs(&self, message: &ExportLogsServiceRequest) {
        self.keep(|received| received.logs.extend(spans::logs(message)));
    }
}

fn unpacked(headers: &HeaderMap, body: Bytes) -> Option<Bytes> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Some(body),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(body.as_ref()).read_to_end(&mut plain).ok()?;
            Some(plain.into())
        }
        Some(_) => None,
    }
}

fn protobuf(answer: Vec<u8>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::from(answer));
    let content_type = HeaderValue::from_static("application/x-protobuf");
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

fn told(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::from(why.to_owned()));
    *reply.status_mut() = status;
    reply
}
