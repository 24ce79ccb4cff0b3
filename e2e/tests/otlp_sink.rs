//! The collector of the tests: what is sent to it by either protocol is what it tells, and it fails as told.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::time::Duration;

use e2e::otlp::{Data, Fault, Protocol, Signal, Sink, Temporality};
use e2e::world::http::{self, Reply};
use e2e::world::site::DEADLINE;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::json;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request};

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn service(name: &str) -> Option<Resource> {
    Some(Resource {
        attributes: vec![text("service.name", name)],
        ..Resource::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "hand".to_owned(),
        version: "1".to_owned(),
        ..InstrumentationScope::default()
    })
}

/// One metric of the service `of`.
fn metrics(of: &str, name: &str, data: metric::Data) -> ExportMetricsServiceRequest {
    let metric = Metric {
        name: name.to_owned(),
        unit: "{token}".to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: service(of),
            scope_metrics: vec![ScopeMetrics {
                scope: scope(),
                metrics: vec![metric],
                schema_url: "https://example.com/1".to_owned(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// A sum with one point.
fn sum(value: i64, time: u64, kind: &str, temporality: i32) -> metric::Data {
    metric::Data::Sum(Sum {
        data_points: vec![NumberDataPoint {
            attributes: vec![text("kind", kind)],
            start_time_unix_nano: 1,
            time_unix_nano: time,
            value: Some(number_data_point::Value::AsInt(value)),
            ..NumberDataPoint::default()
        }],
        aggregation_temporality: temporality,
        is_monotonic: true,
    })
}

async fn grpc(sink: &Sink) -> MetricsServiceClient<Channel> {
    MetricsServiceClient::connect(sink.grpc()).await.unwrap()
}

async fn post(sink: &Sink, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let content_type = [("content-type", "application/x-protobuf")];
    let headers: Vec<_> = content_type.into_iter().chain(headers.iter().copied()).collect();
    http::send(Method::POST, &format!("{}{path}", sink.http()), &headers, body)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_histogram_is_told_with_everything_that_was_said_about_it_anywhere() {
    let sink = Sink::start().await.unwrap();
    let histogram = metric::Data::Histogram(Histogram {
        data_points: vec![HistogramDataPoint {
            attributes: vec![
                text("model", "m"),
                pair("port", Value::IntValue(1)),
                pair("share", Value::DoubleValue(1.0)),
            ],
            start_time_unix_nano: 7,
            time_unix_nano: 9,
            count: 3,
            sum: Some(12.5),
            bucket_counts: vec![1, 2, 0],
            explicit_bounds: vec![1.0, 4.0],
            min: Some(0.5),
            max: Some(8.0),
            ..HistogramDataPoint::default()
        }],
        aggregation_temporality: 2,
    });
    let message = metrics("a", "tokens", histogram);
    let mut client = grpc(&sink).await.send_compressed(CompressionEncoding::Gzip);
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-tenant", "t-1".parse().unwrap());
    client.export(request).await.unwrap();
    let [point] = &sink.metrics()[..] else {
        panic!("one point expected: {}", sink.summary())
    };
    assert_eq!((point.name.as_str(), point.unit.as_str()), ("tokens", "{token}"));
    assert_eq!((point.start, point.time), (7, 9));
    assert_eq!(json!(point.attributes), json!({"model": "m", "port": 1, "share": 1.0}));
    assert_eq!(json!(point.resource), json!({"service.name": "a"}));
    assert_eq!(
        (
            point.scope.name.as_str(),
            point.scope.version.as_str(),
            point.scope.schema_url.as_str()
        ),
        ("hand", "1", "https://example.com/1")
    );
    assert_eq!(
        point.data,
        Data::Histogram {
            temporality: Temporality::Cumulative,
            count: 3,
            sum: Some(12.5),
            range: Some((0.5, 8.0)),
            bounds: vec![1.0, 4.0],
            buckets: vec![1, 2, 0],
        }
    );
    let arrival = &sink.arrivals()[0];
    assert_eq!((arrival.protocol, arrival.signal), (Protocol::Grpc, Signal::Metrics));
    assert_eq!(arrival.headers["x-tenant"], "t-1");
    assert_eq!(arrival.headers["grpc-encoding"], "gzip");
}

#[tokio::test]
async fn spans_and_logs_come_by_either_protocol() {
    let sink = Sink::start().await.unwrap();
    let spans = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: service("a"),
            scope_spans: vec![ScopeSpans {
                scope: scope(),
                spans: vec![Span {
                    trace_id: vec![0xab; 16],
                    span_id: vec![1; 8],
                    parent_span_id: vec![2; 8],
                    name: "chat m".to_owned(),
                    kind: 3,
                    attributes: vec![pair(
                        "reasons",
                        Value::ArrayValue(ArrayValue {
                            values: vec![AnyValue {
                                value: Some(Value::StringValue("stop".to_owned())),
                            }],
                        }),
                    )],
                    status: Some(Status {
                        message: "broken".to_owned(),
                        code: 2,
                    }),
                    ..Span::default()
                }],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    let logs = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: service("a"),
            scope_logs: vec![ScopeLogs {
                scope: scope(),
                log_records: vec![LogRecord {
                    severity_number: 13,
                    event_name: "done".to_owned(),
                    body: Some(AnyValue {
                        value: Some(Value::BytesValue(vec![0xff])),
                    }),
                    trace_id: vec![0xab; 16],
                    ..LogRecord::default()
                }],
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    let channel = Channel::from_shared(sink.grpc()).unwrap().connect().await.unwrap();
    TraceServiceClient::new(channel.clone())
        .export(spans.clone())
        .await
        .unwrap();
    LogsServiceClient::new(channel).export(logs.clone()).await.unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&spans.encode_to_vec()).unwrap();
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(
        post(&sink, "/v1/traces", &gzip, packed.finish().unwrap()).await.status,
        200
    );
    assert_eq!(post(&sink, "/v1/logs", &[], logs.encode_to_vec()).await.status, 200);
    assert_eq!(sink.spans().len(), 2);
    assert_eq!(sink.spans()[0], sink.spans()[1]);
    let span = &sink.spans()[0];
    assert_eq!(span.trace_id, "abababababababababababababababab");
    assert_eq!(
        (span.span_id.as_str(), span.parent_span_id.as_str()),
        ("0101010101010101", "0202020202020202")
    );
    assert_eq!(
        (span.name.as_str(), span.kind, span.status, span.message.as_str()),
        ("chat m", "client", "error", "broken")
    );
    assert_eq!(json!(span.attributes), json!({"reasons": ["stop"]}));
    assert_eq!(sink.logs()[0], sink.logs()[1]);
    let log = &sink.logs()[0];
    assert_eq!(
        (log.severity, log.event.as_str(), &log.body),
        (13, "done", &json!({"bytes": "ff"}))
    );
    assert_eq!(log.trace_id, span.trace_id);
}

#[tokio::test]
async fn the_newest_point_of_each_series_counts_and_deltas_add_up() {
    let sink = Sink::start().await.unwrap();
    let mut client = grpc(&sink).await;
    for (of, value, time, kind, temporality) in [
        ("a", 5, 1, "in", 2),
        ("a", 9, 3, "in", 2),
        ("a", 7, 2, "in", 2), // late
        ("b", 100, 1, "in", 2),
        ("a", 30, 1, "out", 2),
        ("c", 1, 1, "delta", 1),
        ("c", 2, 2, "delta", 1),
    ] {
        client
            .export(metrics(of, "n", sum(value, time, kind, temporality)))
            .await
            .unwrap();
    }
    assert_eq!(sink.latest("n", &[("kind", "in")]).len(), 2, "one for each process");
    for (with, total) in [
        (&[("kind", "in")][..], 109.0),
        (&[("kind", "out")], 30.0),
        (&[("kind", "delta")], 3.0),
        (&[("kind", "none")], 0.0),
        (&[], 142.0),
    ] {
        assert_eq!(sink.total("n", with), total, "{with:?}");
    }
    let gauge = metric::Data::Gauge(Gauge {
        data_points: vec![NumberDataPoint {
            time_unix_nano: 1,
            ..NumberDataPoint::default()
        }],
    });
    client.export(metrics("a", "g", gauge)).await.unwrap();
    assert_eq!(sink.latest("g", &[])[0].data, Data::Gauge(json!(null)));
}

#[tokio::test]
async fn waiting_ends_when_something_comes_or_says_what_came_instead() {
    let sink = Sink::start().await.unwrap();
    let mut client = grpc(&sink).await;
    let later = tokio::spawn(async move {
        client.export(metrics("a", "n", sum(1, 1, "in", 2))).await.unwrap();
        client.export(metrics("a", "n", sum(4, 2, "in", 2))).await.unwrap();
    });
    sink.comes_to("n", &[("kind", "in")], 4.0, DEADLINE).await.unwrap();
    later.await.unwrap();
    let late = sink.comes_to("n", &[], 5.0, Duration::from_millis(20)).await;
    let late = format!("{:?}", late.unwrap_err());
    assert!(
        late.contains("5 expected, 4 seen") && late.contains("2 messages"),
        "{late}"
    );
}

#[tokio::test]
async fn it_fails_as_told_by_both_protocols_and_keeps_nothing_then() {
    let sink = Sink::start().await.unwrap();
    let message = || metrics("a", "n", sum(1, 1, "in", 2));
    for (fault, code, status) in [
        (Fault::Unavailable, Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (Fault::Refuse, Code::InvalidArgument, StatusCode::BAD_REQUEST),
    ] {
        sink.fail(fault);
        let refused = grpc(&sink).await.export(message()).await.unwrap_err();
        assert_eq!(refused.code(), code);
        assert_eq!(
            post(&sink, "/v1/metrics", &[], message().encode_to_vec()).await.status,
            status
        );
    }
    sink.fail(Fault::Silent);
    let mut client = grpc(&sink).await;
    let waiting = tokio::spawn(async move { client.export(message()).await });
    sink.wait("the message came", DEADLINE, |sink| {
        (sink.arrivals().len() == 5).then_some(())
    })
    .await
    .unwrap();
    assert!(sink.metrics().is_empty() && !waiting.is_finished());
    sink.fail(Fault::Slow(Duration::from_millis(1)));
    waiting.await.unwrap().unwrap();
    assert_eq!(sink.metrics().len(), 1);
}

#[tokio::test]
async fn a_stopped_collector_refuses_connections_and_returns_on_its_ports() {
    let mut sink = Sink::start().await.unwrap();
    let (by_grpc, by_http) = (sink.grpc(), sink.http());
    grpc(&sink)
        .await
        .export(metrics("a", "n", sum(1, 1, "in", 2)))
        .await
        .unwrap();
    sink.stop().await;
    assert!(MetricsServiceClient::connect(by_grpc.clone()).await.is_err());
    assert!(http::get(&by_http).await.is_err());
    sink.restart().await.unwrap();
    assert_eq!((sink.grpc(), sink.http()), (by_grpc, by_http));
    grpc(&sink)
        .await
        .export(metrics("a", "n", sum(1, 1, "in", 2)))
        .await
        .unwrap();
    assert_eq!(sink.metrics().len(), 2, "what came before stays");
}

#[tokio::test]
async fn what_is_no_otlp_is_told_so() {
    let sink = Sink::start().await.unwrap();
    for (path, body, status) in [("/v1/metrics", &b"\xff\xff"[..], 400), ("/v1/other", b"", 404)] {
        assert_eq!(post(&sink, path, &[], body.to_vec()).await.status, status, "{path}");
    }
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(post(&sink, "/v1/logs", &gzip, b"no gzip".to_vec()).await.status, 400);
    let json = http::post(&format!("{}/v1/logs", sink.http()), "{}").await.unwrap();
    assert_eq!(json.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
