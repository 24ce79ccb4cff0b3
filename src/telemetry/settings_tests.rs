use std::path::PathBuf;

use http::HeaderValue;

use super::*;

fn read(variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let mut mistakes = Vec::new();
    let settings = Settings::read(&variables.iter().copied().collect(), &mut mistakes);
    (settings, mistakes.iter().map(ToString::to_string).collect())
}

fn exported(variables: &[(&str, &str)]) -> Vec<String> {
    let (settings, _) = read(variables);
    let to = [
        settings.metrics.map(|metrics| metrics.to),
        settings.traces.map(|traces| traces.to),
        settings.logs.map(|logs| logs.to),
    ];
    to.into_iter().flatten().map(|to| to.endpoint.to_string()).collect()
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");

#[test]
fn nothing_leaves_unasked() {
    assert_eq!(exported(&[]), [""; 0]);
    assert_eq!(
        exported(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
        [""; 0]
    );
}

#[test]
fn an_endpoint_or_an_exporter_asks_and_none_or_disabled_refuses() {
    assert_eq!(exported(&[ENDPOINT]), ["http://c:4317"; 3]);
    assert_eq!(exported(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), [""; 0]);
    assert_eq!(exported(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")]).len(), 3);
    assert_eq!(
        exported(&[
            ENDPOINT,
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "otlp")
        ])
        .len(),
        2
    );
    assert_eq!(
        exported(&[
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l:1")
        ]),
        ["http://localhost:4317", "http://l:1"]
    );
    assert_eq!(
        exported(&[
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
        ]),
        ["http://localhost:4318/v1/metrics"]
    );
}

#[test]
fn an_unknown_exporter_or_protocol_or_endpoint_exports_nothing_of_that_signal_and_is_said() {
    let (settings, mistakes) = read(&[
        ENDPOINT,
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://me:hunter2@c"),
    ]);
    assert_eq!((settings.metrics, settings.traces, settings.logs), (None, None, None));
    assert_eq!(
        mistakes,
        [
            r#"OTEL_METRICS_EXPORTER is "prometheus", allowed: otlp or none"#,
            r#"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "http/json", allowed: grpc or http/protobuf; traces are not exported"#,
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT cannot be used (its value may be secret), allowed: \
             a URL without credentials in it; OTEL_EXPORTER_OTLP_HEADERS is for those; logs are not exported",
        ]
    );
}

#[test]
fn a_signals_own_variable_wins_over_the_one_for_all() {
    let (settings, mistakes) = read(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=x%20y"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "c=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "300"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "/cert.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
    ]);
    let (metrics, traces, logs) = (
        settings.metrics.unwrap().to,
        settings.traces.unwrap().to,
        settings.logs.unwrap().to,
    );
    let headers = |to: &Destination| -> Vec<_> {
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        to.headers
            .iter()
            .map(|(name, value)| format!("{name}={}", text(value)))
            .collect()
    };
    assert_eq!(headers(&metrics), ["a=1", "b=x y"]);
    assert_eq!(headers(&traces), ["c=2"]);
    assert_eq!((metrics.gzip, traces.gzip), (false, true));
    assert_eq!(metrics.timeout, Duration::from_secs(2));
    assert_eq!(logs.timeout, Duration::from_millis(300));
    assert_eq!(metrics.tls.ca, Some(PathBuf::from("/ca.pem")));
    assert_eq!(logs.tls.client, Some(("/cert.pem".into(), "/key.pem".into())));
    assert!(!format!("{metrics:?}").contains("x y"), "headers are secrets");
    // metrics and traces have a key without a certificate: said once
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].starts_with(r#"OTEL_EXPORTER_OTLP_CLIENT_KEY is "/key.pem""#));
}

#[test]
fn headers_that_cannot_be_sent_are_said_without_showing_them() {
    let (settings, mistakes) = read(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2,a=1,b c=hunter3,d=%0a"),
    ]);
    assert_eq!(settings.logs.unwrap().to.headers.len(), 1);
    assert_eq!(
        mistakes,
        [
            "OTEL_EXPORTER_OTLP_HEADERS cannot be used (its value may be secret), allowed: \
          name=value pairs, percent-encoded"
        ]
    );
}

#[test]
fn metrics_have_their_interval_temporality_and_aggregation() {
    let (settings, _) = read(&[ENDPOINT]);
    let metrics = settings.metrics.unwrap();
    assert_eq!(metrics.interval, Duration::from_secs(60));
    assert_eq!(
        (metrics.temporality, metrics.exponential),
        (Temporality::Cumulative, false)
    );
    assert_eq!(metrics.to.timeout, Duration::from_secs(10));
    let (settings, mistakes) = read(&[
        ENDPOINT,
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "700"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "BASE2_EXPONENTIAL_BUCKET_HISTOGRAM",
        ),
    ]);
    let metrics = settings.metrics.unwrap();
    assert_eq!(metrics.interval, Duration::from_secs(5));
    assert_eq!((metrics.temporality, metrics.exponential), (Temporality::Delta, true));
    assert_eq!(metrics.to.timeout, Duration::from_millis(700), "the shorter of two");
    assert_eq!(mistakes, [""; 0]);
}

#[test]
fn batches_and_samplers() {
    let (settings, mistakes) = read(&[
        ENDPOINT,
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "20"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ]);
    let traces = settings.traces.unwrap();
    let (queue, size, delay) = (100, 100, Duration::from_millis(250));
    assert_eq!(traces.batch, Batch { queue, size, delay });
    let (parent_based, ratio) = (true, 0.25);
    assert_eq!(traces.sampler, Sampler { parent_based, ratio });
    assert_eq!(settings.logs.unwrap().batch.size, 10);
    assert_eq!(
        mistakes,
        [r#"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE is "20", allowed: at most the queue's size, 10"#]
    );
}

#[test]
fn a_mistake_costs_the_setting_and_not_the_rest() {
    let (settings, mistakes) = read(&[
        ENDPOINT,
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_PROPAGATORS", "b3,tracecontext"),
        ("OTEL_SDK_DISABLED", "yes"),
    ]);
    assert_eq!(settings.metrics.unwrap().interval, Duration::from_secs(60));
    let traces = settings.traces.unwrap();
    assert_eq!(traces.batch.queue, 2048);
    assert_eq!((traces.sampler.parent_based, traces.sampler.ratio), (true, 1.0));
    assert!(!traces.to.gzip && traces.to.timeout == Duration::from_secs(10) && settings.trace_context);
    assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
    for part in [
        "\"soon\"",
        "\"0\"",
        "\"jaeger_remote\"",
        "\"zstd\"",
        "\"-1\"",
        "\"b3,tracecontext\"",
        "\"yes\"",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part}");
    }
}

#[test]
fn conventions_and_propagation_are_chosen() {
    let semconv = |text| read(&[("OTEL_SEMCONV_STABILITY_OPT_IN", text)]).0.semconv;
    assert_eq!(semconv(""), Semconv::Released);
    assert_eq!(semconv("http/dup,database"), Semconv::Released);
    assert_eq!(semconv("http, gen_ai_latest_experimental"), Semconv::Latest);
    assert_eq!(semconv("gen_ai_latest_experimental/dup"), Semconv::Both);
    let joins = |text| read(&[("OTEL_PROPAGATORS", text)]).0.trace_context;
    assert!(joins("") && joins("baggage,tracecontext"));
    assert!(!joins("none") && !joins("baggage"));
}
