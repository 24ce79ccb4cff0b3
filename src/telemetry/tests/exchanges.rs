//! One exchange, in all three signals.

use opentelemetry_proto::tonic::trace::v1::{span, status};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_leaves_as_metrics_a_span_and_an_event_by_either_protocol() {
    for protocol in BOTH {
        let collector = Collector::start(protocol).await;
        let telemetry = start_to(&collector, &[("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=models")]);
        let mut headers = HeaderMap::new();
        let span = telemetry.begin(&mut headers, SystemTime::now());
        telemetry.finish(span, &Chat::new("gpt-4o", 17, 5).exchange());
        telemetry.shutdown(GENEROUS).await;

        let exports = collector.exports();
        let mut resources = resource_of(&exports);
        assert_eq!(resources.len(), 3, "{protocol}: each signal once");
        resources.dedup_by(|a, b| attributes(&a.attributes) == attributes(&b.attributes));
        let resource = attributes(&resources[0].attributes);
        assert_eq!(resources.len(), 1, "{protocol}: all by the same one");
        assert_eq!(resource["service.name"], r#""spectral-bridge""#);
        assert_eq!(resource["service.namespace"], r#""models""#);

        let metrics = metrics_of(&exports);
        let tokens = points(&metrics, "gen_ai.client.token.usage", &[]);
        let common = [
            ("gen_ai.operation.name", r#""chat""#),
            ("gen_ai.provider.name", r#""openai""#),
            ("gen_ai.request.model", r#""gpt-4o""#),
            ("gen_ai.response.model", r#""gpt-4o""#),
        ];
        let mut input = expect(&common);
        input.insert("gen_ai.token.type".to_owned(), r#""input""#.to_owned());
        let mut output = expect(&common);
        output.insert("gen_ai.token.type".to_owned(), r#""output""#.to_owned());
        assert_eq!(
            tokens,
            [(input, "1 of 17".to_owned()), (output, "1 of 5".to_owned())],
            "{protocol}"
        );
        let duration = points(&metrics, "gen_ai.client.operation.duration", &[]);
        assert_eq!(duration, [(expect(&common), "1 of 1.5".to_owned())]);

        let (spans, events) = (spans_of(&exports), events_of(&exports));
        assert_eq!((spans.len(), events.len()), (1, 1), "{protocol}");
        assert_eq!(spans[0].name, "chat gpt-4o");
        assert_eq!(spans[0].kind(), span::SpanKind::Client);
        assert_eq!(
            spans[0].end_time_unix_nano - spans[0].start_time_unix_nano,
            1_500_000_000
        );
        assert_eq!(
            spans[0].status.clone().unwrap_or_default().code(),
            status::StatusCode::Unset
        );
        assert_eq!(events[0].event_name, "gen_ai.client.inference.operation.details");
        assert_eq!(events[0].severity_text, "INFO");
        assert_eq!(
            (&events[0].trace_id, &events[0].span_id),
            (&spans[0].trace_id, &spans[0].span_id)
        );
        let told = attributes(&spans[0].attributes);
        assert_eq!(told["gen_ai.usage.input_tokens"], "17");
        assert_eq!(told["spectral_bridge.relay.name"], r#""eu""#);
        let mut logged = attributes(&events[0].attributes);
        assert_eq!(logged.remove("spectral_bridge.request.duration").unwrap(), "1.5");
        assert_eq!(logged, told, "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_says_with_types_what_was_asked_and_answered() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, &[("OTEL_METRICS_EXPORTER", "none")]);
    let mut chat = Chat::new("gpt-4o", 17, 5);
    chat.request = Request {
        stream: Some(true),
        max_tokens: Some(100),
        choice_count: Some(2),
        seed: Some(-7),
        temperature: Some(0.5),
        top_p: Some(1.0),
        frequency_penalty: Some(-0.5),
        presence_penalty: Some(0.25),
        service_tier: Some("flex".into()),
        reasoning_effort: Some("low".into()),
        previous_response_id: Some("resp_0".into()),
        ..chat.request
    };
    chat.answer.id = Some("chatcmpl-1".into());
    chat.answer.model = Some("gpt-4o-2024".into());
    chat.answer.finish_reasons = vec!["stop".into(), "length".into()];
    chat.answer.service_tier = Some("default".into());
    chat.answer.system_fingerprint = Some("fp_1".into());
    chat.answer.usage.cache_read = Some(0);
    chat.answer.usage.cache_write = Some(u64::MAX);
    chat.answer.usage.reasoning = Some(2);
    chat.answer.usage.audio_input = Some(3);
    let exchange = Exchange {
        time_to_first_token: Some(Duration::from_millis(250)),
        server: Some(("model.local", 8000)),
        ..chat.exchange()
    };
    let span = telemetry.begin(&mut HeaderMap::new(), SystemTime::now());
    telemetry.finish(span, &exchange);
    telemetry.shutdown(GENEROUS).await;
    let spans = spans_of(&collector.exports());
    assert_eq!(
        attributes(&spans[0].attributes),
        expect(&[
            ("gen_ai.operation.name", r#""chat""#),
            ("gen_ai.provider.name", r#""openai""#),
            ("gen_ai.request.model", r#""gpt-4o""#),
            ("gen_ai.request.stream", "true"),
            ("gen_ai.request.max_tokens", "100"),
            ("gen_ai.request.choice.count", "2"),
            ("gen_ai.request.seed", "-7"),
            ("gen_ai.request.temperature", "0.5"),
            ("gen_ai.request.top_p", "1.0"),
            ("gen_ai.request.frequency_penalty", "-0.5"),
            ("gen_ai.request.presence_penalty", "0.25"),
            ("gen_ai.request.reasoning.level", r#""low""#),
            ("gen_ai.request.previous_response.id", r#""resp_0""#),
            ("openai.request.service_tier", r#""flex""#),
            ("server.address", r#""model.local""#),
            ("server.port", "8000"),
            ("gen_ai.response.id", r#""chatcmpl-1""#),
            ("gen_ai.response.model", r#""gpt-4o-2024""#),
            ("gen_ai.response.finish_reasons", r#"["stop", "length"]"#),
            ("gen_ai.response.time_to_first_chunk", "0.25"),
            ("openai.response.service_tier", r#""default""#),
            ("openai.response.system_fingerprint", r#""fp_1""#),
            ("gen_ai.usage.input_tokens", "17"),
            ("gen_ai.usage.output_tokens", "5"),
            ("gen_ai.usage.cache_read.input_tokens", "0"),
            ("gen_ai.usage.cache_creation.input_tokens", "9223372036854775807"),
            ("gen_ai.usage.reasoning.output_tokens", "2"),
            ("gen_ai.usage.audio.input_tokens", "3"),
            ("http.response.status_code", "200"),
            ("spectral_bridge.relay.name", r#""eu""#),
            ("spectral_bridge.request.id", r#""req-1""#),
        ])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_an_error_everywhere_and_has_no_tokens() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, &[]);
    let mut chat = Chat::new("x", 0, 0);
    chat.request = Request::default();
    let exchange = Exchange {
        answer: None,
        status: Some(503),
        error: Some("adapter_timeout"),
        ..chat.exchange()
    };
    let span = telemetry.begin(&mut HeaderMap::new(), SystemTime::now());
    telemetry.finish(span, &exchange);
    telemetry.shutdown(GENEROUS).await;
    let exports = collector.exports();
    let metrics = metrics_of(&exports);
    let common = ["gen_ai.operation.name", "gen_ai.provider.name"];
    assert_eq!(
        points(&metrics, "gen_ai.client.operation.duration", &common),
        [(expect(&[("error.type", r#""adapter_timeout""#)]), "1 of 1.5".to_owned())]
    );
    assert_eq!(points(&metrics, "gen_ai.client.token.usage", &[]), []);
    let span = &spans_of(&exports)[0];
    assert_eq!(span.name, "chat");
    let status = span.status.clone().unwrap();
    assert_eq!(
        (status.code(), status.message.as_str()),
        (status::StatusCode::Error, "adapter_timeout")
    );
    let told = attributes(&span.attributes);
    assert_eq!(told["error.type"], r#""adapter_timeout""#);
    assert_eq!(told["http.response.status_code"], "503");
    assert_eq!(events_of(&exports)[0].severity_text, "ERROR");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_the_filter_saw_has_no_span() {
    let collector = Collector::start("http/protobuf").await;
    let telemetry = start_to(&collector, &[]);
    let chat = Chat::new("gpt-4o", 1, 2);
    let exchange = Exchange {
        via: Via::Filter,
        ..chat.exchange()
    };
    telemetry.finish(Span::default(), &exchange);
    telemetry.shutdown(GENEROUS).await;
    let exports = collector.exports();
    assert_eq!(spans_of(&exports).len(), 0);
    let event = &events_of(&exports)[0];
    assert_eq!(event.trace_id.len(), 0);
    assert!(!attributes(&event.attributes).contains_key("spectral_bridge.relay.name"));
    assert_eq!(points(&metrics_of(&exports), "gen_ai.client.token.usage", &[]).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peers_text_has_a_bound() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, &[]);
    let mut chat = Chat::new(&"m".repeat(1000), 1, 2);
    chat.answer.id = Some("\u{e4}".repeat(200).into());
    chat.answer.finish_reasons = vec!["stop".into(); 1000];
    let span = telemetry.begin(&mut HeaderMap::new(), SystemTime::now());
    telemetry.finish(span, &chat.exchange());
    telemetry.shutdown(GENEROUS).await;
    let span = &spans_of(&collector.exports())[0];
    assert_eq!(span.name, "chat other");
    let told = attributes(&span.attributes);
    assert_eq!(told["gen_ai.request.model"], format!("{:?}", "m".repeat(256)));
    assert_eq!(told["gen_ai.response.id"], format!("{:?}", "\u{e4}".repeat(128)));
    assert_eq!(told["gen_ai.response.finish_reasons"].matches("stop").count(), 32);
}

#[tokio::test]
async fn each_request_is_a_line_of_json_in_the_log_if_asked_for() {
    let lines = Lines::default();
    let _here = lines.capture();
    let settings = config::Telemetry {
        request_log: true,
        ..config::Telemetry::default()
    };
    let telemetry = start_with(&settings, &[], Arc::new(Figures::default()));
    assert!(telemetry.wants_requests(), "although nothing is exported");
    let chat = Chat::new("gpt-4o", 17, 5);
    telemetry.finish(Span::default(), &chat.exchange());
    let error = Some("503");
    telemetry.finish(
        Span::default(),
        &Exchange {
            error,
            ..chat.exchange()
        },
    );
    let told: Vec<_> = lines.all();
    let json = |line: &str, level: &str| -> serde_json::Value {
        serde_json::from_str(line.strip_prefix(level).unwrap().strip_prefix(" message=").unwrap()).unwrap()
    };
    assert_eq!(told.len(), 2, "{told:?}");
    let first = json(&told[0], "INFO");
    assert_eq!(first["gen_ai.usage.input_tokens"], 17);
    assert_eq!(first["spectral_bridge.request.id"], "req-1");
    assert_eq!(first["trace_id"], serde_json::Value::Null);
    assert_eq!(json(&told[1], "ERROR")["error.type"], "503");
}

#[tokio::test]
async fn mistakes_in_variables_are_warnings() {
    let lines = Lines::default();
    let _here = lines.capture();
    let telemetry = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
    ]);
    assert!(!telemetry.wants_requests());
    let said = lines.all();
    assert_eq!(said.len(), 4, "{said:?}");
    let allowed = "allowed: a URL such as http://collector:4318; traces are not exported";
    assert!(
        said.iter()
            .any(|line| line.starts_with("WARN") && line.contains(allowed)),
        "{said:?}"
    );
    let quoted = r#"OTEL_RESOURCE_ATTRIBUTES is "nonsense""#;
    assert!(said.iter().any(|line| line.contains(quoted)), "{said:?}");
}
