//! Where telemetry goes, by which road, and what happens when nobody is there.

use tokio::net::TcpListener;

use super::*;
use crate::relay::testing::{Ca, Scratch};

fn tell(telemetry: &Telemetry) {
    let span = telemetry.begin(&mut HeaderMap::new(), SystemTime::now());
    telemetry.finish(span, &Chat::new("gpt-4o", 17, 5).exchange());
    telemetry.stage("eu", Stage::Forward, Duration::from_millis(3));
}

async fn tell_and_end(telemetry: &Telemetry) {
    tell(telemetry);
    telemetry.shutdown(GENEROUS).await;
}

fn batches(telemetry: &Telemetry) -> Vec<(String, u64, u64)> {
    let exports = telemetry.snapshot().exports;
    exports
        .into_iter()
        .map(|(signal, seen)| (signal, seen.batches, seen.failures))
        .collect()
}

/// Each signal's last failure.
fn failures(telemetry: &Telemetry) -> Vec<(String, String)> {
    let exports = telemetry.snapshot().exports.into_values();
    exports
        .filter_map(|seen| seen.last_error)
        .map(|error| (error.code, error.message))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_compression_are_as_asked_for() {
    for protocol in BOTH {
        let collector = Collector::start(protocol).await;
        let telemetry = start_to(
            &collector,
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=se%20cret,x-tenant=a"),
                ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-tenant=b"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
            ],
        );
        tell_and_end(&telemetry).await;
        let exports = collector.exports();
        let seen: Vec<_> = exports
            .iter()
            .map(|export| {
                let header = |name| export.headers.get(name).map(|value| value.to_str().unwrap());
                let is_metrics = export.metrics().is_some();
                (
                    is_metrics,
                    export.logs().is_some(),
                    header("x-api-key"),
                    header("x-tenant"),
                    export.compressed,
                )
            })
            .collect();
        assert_eq!(seen.len(), 3, "{protocol}");
        for (metrics, logs, key, tenant, compressed) in seen {
            assert_eq!(key, (!logs).then_some("se cret"), "{protocol}");
            assert_eq!(tenant, Some(if logs { "b" } else { "a" }), "{protocol}");
            assert_eq!(compressed, !metrics, "{protocol}");
        }
        assert_eq!(
            batches(&telemetry),
            [
                ("logs".to_owned(), 1, 0),
                ("metrics".to_owned(), 1, 0),
                ("traces".to_owned(), 1, 0)
            ],
            "{protocol}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signals_own_endpoint_is_used_as_it_is() {
    let collector = Collector::start("http/protobuf").await;
    let (own, all) = (
        format!("{}/in/logs?x=1", collector.url()),
        format!("{}/otlp/", collector.url()),
    );
    let telemetry = start(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &all),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &own),
    ]);
    tell_and_end(&telemetry).await;
    let mut paths: Vec<_> = collector.exports().into_iter().map(|export| export.path).collect();
    paths.sort();
    assert_eq!(paths, ["/in/logs", "/otlp/v1/metrics", "/otlp/v1/traces"]);
    let exports = telemetry.snapshot().exports;
    assert_eq!(
        Some(&*exports["logs"].endpoint),
        own.strip_suffix("?x=1"),
        "a query may be secret"
    );
    assert_eq!(exports["logs"].protocol, "http/protobuf");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_signal_has_its_own_destination_and_none_switches_it_off() {
    let (metrics, logs) = (Collector::start("grpc").await, Collector::start("http/protobuf").await);
    let telemetry = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &metrics.url()),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &format!("{}/v1/logs", logs.url())),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ]);
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", PARENT.parse().unwrap());
    let before = headers.clone();
    let span = telemetry.begin(&mut headers, SystemTime::now());
    telemetry.finish(span, &Chat::new("gpt-4o", 17, 5).exchange());
    telemetry.shutdown(GENEROUS).await;
    assert_eq!(headers, before, "without traces the platform's stay the model's");
    let seen = metrics.exports();
    assert!(seen.len() == 1 && seen[0].metrics().is_some());
    let seen = logs.exports();
    assert!(seen.len() == 1 && seen[0].logs().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_asks_for_is_not_even_read() {
    let collector = Collector::start("grpc").await;
    let disabled = start_to(&collector, &[("OTEL_SDK_DISABLED", "true")]);
    for telemetry in [disabled, start(&[]), Telemetry::default()] {
        assert!(!telemetry.wants_requests());
        tell_and_end(&telemetry).await;
        assert_eq!(telemetry.snapshot(), TelemetrySnapshot::default());
    }
    assert_eq!(collector.exports().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_the_given_authority_and_shows_the_given_certificate() {
    let (ca, clients, scratch) = (Ca::new(), Ca::new(), Scratch::new());
    let client = clients.issue(&["client.test"], |_| {});
    let path = |name, content: &str| scratch.file(name, content).display().to_string();
    let trusted = path("ca.pem", &ca.pem);
    let certificate = path("client.pem", &client.cert_pem);
    let key = path("client.key", &client.key.serialize_pem());
    for protocol in BOTH {
        let collector = Collector::with_tls(protocol, ca.good().server(Some(&clients))).await;
        let known = [
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted.as_str()),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_str()),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.as_str()),
        ];
        let telemetry = start_to(&collector, &known);
        tell_and_end(&telemetry).await;
        assert_eq!(collector.exports().len(), 3, "{protocol}: {:?}", failures(&telemetry));

        let stranger = start_to(&collector, &known[..1]);
        tell_and_end(&stranger).await;
        assert_eq!(failures(&stranger).len(), 3, "{protocol}");

        let distrusting = start_to(&collector, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.as_str())]);
        tell_and_end(&distrusting).await;
        for (code, message) in failures(&distrusting) {
            assert_eq!(code, "tls", "{protocol}");
            assert!(
                message.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"),
                "{protocol}: {message}"
            );
        }
        assert_eq!(collector.exports().len(), 0, "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_cannot_be_read_are_named() {
    let (_listener, port) = listening().await;
    let telemetry = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://localhost:{port}")),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
    ]);
    tell_and_end(&telemetry).await;
    let [(code, message)] = &failures(&telemetry)[..] else {
        panic!("one signal")
    };
    assert_eq!(code, "tls");
    assert!(
        message.contains("OTEL_EXPORTER_OTLP_CERTIFICATE /nonexistent/ca.pem"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_counted_and_told_without_what_the_collector_wrote() {
    for (protocol, code, told) in [
        ("grpc", "grpc_status", "Unauthenticated"),
        ("http/protobuf", "http_status", "401"),
    ] {
        let collector = Collector::refusing(protocol, http::StatusCode::UNAUTHORIZED).await;
        let telemetry = start_to(&collector, &[("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hunter2")]);
        tell_and_end(&telemetry).await;
        let seen = failures(&telemetry);
        assert_eq!(seen.len(), 3, "{protocol}");
        for (seen_code, message) in &seen {
            assert_eq!(seen_code, code, "{protocol}: {message}");
            assert!(
                message.contains(told) && !message.contains("hunter2"),
                "{protocol}: {message}"
            );
        }
        let shown = serde_json::to_string(&telemetry.snapshot()).unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(
            batches(&telemetry)[2],
            ("traces".to_owned(), 0, 1),
            "{protocol}: not retried"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_costs_nothing_and_is_told() {
    let closed = {
        let (_listener, port) = listening().await;
        port
    };
    for protocol in BOTH {
        let telemetry = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://localhost:{closed}")),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        tell_and_end(&telemetry).await;
        let seen = failures(&telemetry);
        assert_eq!(seen.len(), 3, "{protocol}");
        for (code, message) in seen {
            assert_eq!(code, "connect", "{protocol}: {message}");
            assert!(message.contains("refused"), "{protocol}: {message}");
        }
    }
}

/// Something that accepts connections and says nothing.
async fn listening() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_collector_blocks_no_request_and_no_shutdown_and_what_does_not_fit_is_counted() {
    const ROOM: u64 = 8;
    const TOLD: u64 = 1000;
    for protocol in BOTH {
        let (_listener, port) = listening().await;
        let telemetry = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://localhost:{port}")),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "86400000"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "86400000"),
            ("OTEL_BLRP_EXPORT_TIMEOUT", "86400000"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "86400000"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", &ROOM.to_string()),
            ("OTEL_BLRP_MAX_QUEUE_SIZE", &ROOM.to_string()),
        ]);
        for _ in 0..TOLD {
            tell(&telemetry);
        }
        let exports = telemetry.snapshot().exports;
        for signal in ["traces", "logs"] {
            let kept = TOLD - exports[signal].dropped;
            // one batch under way, and a full queue
            assert!((ROOM..=2 * ROOM).contains(&kept), "{protocol} {signal}: {kept} kept");
        }
        // exports would wait for a day
        let ended = tokio::time::timeout(GENEROUS, telemetry.shutdown(Duration::from_millis(200))).await;
        ended.unwrap();
        telemetry.shutdown(GENEROUS).await;
        tell(&telemetry);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_export_ends_in_time_and_the_next_one_is_tried() {
    let (_listener, port) = listening().await;
    let telemetry = start(&[
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            &format!("http://localhost:{port}"),
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "50"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ]);
    let mut failed = 0;
    tokio::time::timeout(GENEROUS, async {
        while failed < 2 {
            tell(&telemetry);
            tokio::task::yield_now().await;
            failed = telemetry.snapshot().exports["traces"].failures;
        }
    })
    .await
    .unwrap();
    let [(code, _)] = &failures(&telemetry)[..] else {
        panic!("one signal")
    };
    assert_eq!(code, "timeout");
    telemetry.shutdown(GENEROUS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_that_is_dropped_without_a_word_holds_nobody_up() {
    let (_listener, port) = listening().await;
    let telemetry = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://localhost:{port}")),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "86400000"),
    ]);
    tell(&telemetry);
    let dropped = tokio::task::spawn_blocking(move || drop(telemetry));
    tokio::time::timeout(GENEROUS, dropped).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_speaks_with_its_own_words_through_the_same_exporters() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, &[]);
    let other = config::Telemetry {
        provider: "anthropic".to_owned(),
        ..config::Telemetry::default()
    };
    let filter = telemetry.with(&other);
    assert!(filter != telemetry && filter == telemetry.with(&other));
    assert!(telemetry == telemetry.with(&config::Telemetry::default()));
    filter.finish(Span::default(), &Chat::new("claude", 1, 2).exchange());
    telemetry.finish(Span::default(), &Chat::new("gpt-4o", 3, 4).exchange());
    telemetry.shutdown(GENEROUS).await;
    let metrics = metrics_of(&collector.exports());
    let common = ["gen_ai.operation.name", "gen_ai.response.model"];
    assert_eq!(
        points(&metrics, "gen_ai.client.operation.duration", &common),
        [
            (
                expect(&[
                    ("gen_ai.provider.name", r#""anthropic""#),
                    ("gen_ai.request.model", r#""claude""#)
                ]),
                "1 of 1.5".to_owned()
            ),
            (
                expect(&[
                    ("gen_ai.provider.name", r#""openai""#),
                    ("gen_ai.request.model", r#""gpt-4o""#)
                ]),
                "1 of 1.5".to_owned()
            ),
        ]
    );
}
