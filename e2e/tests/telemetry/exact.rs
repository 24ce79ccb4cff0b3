//! What one request leaves behind, to the attribute.

use std::time::{SystemTime, UNIX_EPOCH};

use e2e::otlp::{Attributes, Data, Protocol, Temporality};
use e2e::world::http::{post, send};
use e2e::world::site::DEADLINE;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{DURATION, MISSING, TOKENS, Watched, eight};

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// What every point about an exchange says.
fn common(model: &str) -> Value {
    json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model, "gen_ai.response.model": model,
    })
}

fn and(mut attributes: Value, name: &str, value: impl Into<Value>) -> Value {
    attributes[name] = value.into();
    attributes
}

fn without(attributes: &Attributes, names: &[&str]) -> Value {
    let kept = attributes.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test]
async fn tokens_and_time_of_a_request_come_by_either_protocol_with_unit_buckets_and_attributes() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let began = now();
        let watched = Watched::start(protocol).await;
        assert_eq!(watched.ask("m-1").await.status, StatusCode::OK);
        for (kind, tokens) in [("input", 8.0), ("output", 10.0)] {
            let point = watched.counted(TOKENS, &[("gen_ai.token.type", kind)], 1).await;
            assert_eq!(point.unit, "{token}");
            assert_eq!(json!(point.attributes), and(common("m-1"), "gen_ai.token.type", kind));
            assert!(began < point.start && point.start < point.time, "{began} {point:?}");
            let Data::Histogram {
                temporality,
                count,
                sum,
                range,
                bounds,
                buckets,
            } = point.data
            else {
                panic!("{point:?}")
            };
            assert_eq!(
                (temporality, count, sum, range),
                (Temporality::Cumulative, 1, Some(tokens), Some((tokens, tokens)))
            );
            let powers: Vec<_> = (0..14).map(|power| 4_f64.powi(power)).collect();
            assert_eq!(bounds, powers);
            let mut expected = [0; 15];
            expected[2] = 1; // above 4, up to 16
            assert_eq!(buckets, expected);
        }
        let time = watched.counted(DURATION, &[], 1).await;
        assert_eq!(time.unit, "s");
        assert_eq!(json!(time.attributes), common("m-1"));
        assert!(time.value() > 0.0 && watched.sink.latest(MISSING, &[]).is_empty());
        assert_eq!(
            (time.scope.name.as_str(), time.resource["service.name"].clone()),
            ("spectral_bridge", json!("spectral-bridge"))
        );
        assert!(!time.resource["service.instance.id"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_span_is_the_platforms_child_and_the_parent_of_what_the_model_sees() {
    let watched = Watched::start(Protocol::Grpc).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", parent),
        ("tracestate", "vendor=7"),
    ];
    let url = watched.relay.url("/v1/chat/completions");
    let body = json!({
        "model": "m-1", "temperature": 0.5, "max_tokens": 100, "n": 1, "seed": -7,
        "messages": [{"role": "user", "content": "a secret of two words"}],
    });
    let reply = send(Method::POST, &url, &headers, body.to_string()).await.unwrap();
    let seen = watched.model.ledger().last().unwrap();
    let span = watched
        .sink
        .wait("a span", DEADLINE, |sink| sink.spans().pop())
        .await
        .unwrap();
    assert_eq!(
        (span.trace_id.as_str(), span.parent_span_id.as_str()),
        ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    );
    assert_eq!(
        (span.trace_state.as_str(), seen.header("tracestate")),
        ("vendor=7", Some("vendor=7"))
    );
    let passed_on = format!("00-{}-{}-01", span.trace_id, span.span_id);
    assert_eq!(seen.header("traceparent"), Some(passed_on.as_str()));
    assert_eq!(
        (span.name.as_str(), span.kind, span.status),
        ("chat m-1", "client", "unset")
    );
    assert!(span.start < span.end);
    let mut expected = common("m-1");
    for (name, value) in [
        ("gen_ai.request.temperature", json!(0.5)),
        ("gen_ai.request.max_tokens", json!(100)),
        ("gen_ai.request.seed", json!(-7)),
        ("gen_ai.response.id", reply.json()["id"].clone()),
        ("gen_ai.response.finish_reasons", json!(["stop"])),
        ("gen_ai.usage.input_tokens", json!(5)),
        ("gen_ai.usage.output_tokens", json!(7)),
        ("gen_ai.usage.cache_read.input_tokens", json!(2)),
        ("gen_ai.usage.reasoning.output_tokens", json!(2)),
        ("gen_ai.usage.audio.input_tokens", json!(0)),
        ("gen_ai.usage.audio.output_tokens", json!(0)),
        ("openai.response.service_tier", json!("default")),
        ("openai.response.system_fingerprint", json!("fp_demo")),
        ("http.response.status_code", json!(200)),
        ("spectral_bridge.relay.name", json!("default")),
        ("spectral_bridge.request.id", json!(seen.relayed_id())),
    ] {
        expected[name] = value;
    }
    assert_eq!(json!(span.attributes), expected);
    let log = watched
        .sink
        .wait("a log event", DEADLINE, |sink| sink.logs().pop())
        .await
        .unwrap();
    assert_eq!((&log.trace_id, &log.span_id), (&span.trace_id, &span.span_id));
    assert_eq!(
        (log.event.as_str(), log.severity, &log.body),
        ("gen_ai.client.inference.operation.details", 9, &Value::Null)
    );
    assert_eq!(
        without(&log.attributes, &["spectral_bridge.request.duration"]),
        expected
    );
    let told = format!("{span:?}{log:?}");
    assert!(
        !told.contains("secret") && !told.contains("You said"),
        "content was told: {told}"
    );
}

#[tokio::test]
async fn the_relays_own_figures_add_up() {
    let watched = Watched::start(Protocol::Grpc).await;
    for _ in 0..3 {
        watched.ask("m-1").await;
    }
    let relay = ("spectral_bridge.relay.name", "default");
    let frame = |direction, kind| {
        [
            relay,
            ("network.io.direction", direction),
            ("spectral_bridge.frame.type", kind),
        ]
    };
    let sink = &watched.sink;
    for (name, with, value) in [
        ("spectral_bridge.relay.requests", &[relay][..], 3.0),
        (
            "spectral_bridge.relay.responses",
            &[relay, ("http.response.status_code", "200")],
            3.0,
        ),
        ("spectral_bridge.relay.connected", &[relay], 1.0),
        (
            "spectral_bridge.relay.state",
            &[relay, ("spectral_bridge.relay.state", "connected")],
            1.0,
        ),
        ("spectral_bridge.relay.state", &[relay], 1.0),
        ("spectral_bridge.relay.connections", &[relay], 1.0),
        ("spectral_bridge.relay.frames", &frame("receive", "request"), 3.0),
        ("spectral_bridge.relay.frames", &frame("receive", "ack"), 3.0),
        ("spectral_bridge.relay.frames", &frame("transmit", "ack"), 3.0),
        ("spectral_bridge.relay.frames", &frame("transmit", "response"), 3.0),
        ("spectral_bridge.relay.responses.held", &[relay], 0.0),
        ("spectral_bridge.relay.requests.in_flight", &[relay], 0.0),
    ] {
        sink.comes_to(name, with, value, DEADLINE).await.unwrap();
    }
    for stage in ["queue", "forward", "ack"] {
        let with = [relay, ("spectral_bridge.request.stage", stage)];
        watched
            .counted("spectral_bridge.relay.request.duration", &with, 3)
            .await;
    }
    let status = watched.site.relay_status().await.unwrap();
    let bytes = sink.total("spectral_bridge.relay.io", &[("network.io.direction", "receive")]);
    assert_eq!(Some(bytes), status["totals"]["received_bytes"].as_f64());
    let connected = &sink.latest("spectral_bridge.relay.connected", &[])[0].data;
    assert_eq!(
        *connected,
        Data::Sum {
            value: json!(1),
            monotonic: false,
            temporality: Temporality::Cumulative
        }
    );
}

#[tokio::test]
async fn what_failed_and_what_told_no_tokens_is_counted_with_its_reason() {
    let watched = Watched::start(Protocol::Grpc).await;
    for (model, status) in [
        ("no-usage", 200),
        ("null-usage", 200),
        ("status-500", 500),
        ("nan", 502),
        ("close-after-request", 503),
    ] {
        assert_eq!(watched.ask(model).await.status.as_u16(), status, "{model}");
    }
    let reason = |reason| [("spectral_bridge.usage.missing.reason", reason)];
    for (name, with, value) in [
        (MISSING, &reason("absent")[..], 1.0),
        (MISSING, &reason("null"), 1.0),
        (MISSING, &[], 2.0),
        (
            "spectral_bridge.relay.faults",
            &[("error.type", "adapter_invalid_response")],
            1.0,
        ),
        (
            "spectral_bridge.relay.faults",
            &[("error.type", "adapter_unavailable")],
            1.0,
        ),
        ("spectral_bridge.relay.faults", &[], 2.0),
    ] {
        watched.sink.comes_to(name, with, value, DEADLINE).await.unwrap();
    }
    for error in ["500", "adapter_invalid_response", "adapter_unavailable"] {
        watched.counted(DURATION, &[("error.type", error)], 1).await;
    }
    assert!(watched.sink.latest(TOKENS, &[]).is_empty(), "nothing told any tokens");
    let failed = |sink: &e2e::otlp::Sink| {
        let spans: Vec<_> = sink.spans().into_iter().filter(|span| span.status == "error").collect();
        (spans.len() == 3).then_some(spans)
    };
    let spans = watched.sink.wait("three failed spans", DEADLINE, failed).await.unwrap();
    for span in spans {
        assert!(span.attributes.contains_key("error.type"), "{span:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_joins_its_callers_trace_and_has_an_event() {
    let watched = Watched::start(Protocol::Grpc).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("content-type", "application/json"), ("traceparent", &*parent)];
    let url = watched.relay.url("/relays/default/v1/files");
    let reply = send(Method::POST, &url, &headers, "{}").await.unwrap();
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    let told = |sink: &e2e::otlp::Sink| {
        let span = sink.spans().into_iter().next()?;
        let event = sink.logs().into_iter().next()?;
        Some((span, event))
    };
    let (span, event) = watched.sink.wait("a span and an event", DEADLINE, told).await.unwrap();
    assert_eq!((&*span.trace_id, &*span.parent_span_id), (trace, "00f067aa0ba902b7"));
    assert_eq!((&*span.name, span.status), ("request", "error"));
    assert_eq!(span.attributes["error.type"], "path_not_allowed");
    assert_eq!((&event.trace_id, &event.span_id), (&span.trace_id, &span.span_id));
    assert!(watched.sink.latest(DURATION, &[]).is_empty(), "no model was asked");
}

#[tokio::test]
async fn an_answer_that_is_sent_again_is_counted_once() {
    let watched = Watched::start(Protocol::Grpc).await;
    let slot = watched.relay.slot(e2e::relay::DEFAULT_RELAY).unwrap();
    slot.withhold_acks(true);
    let url = watched.relay.url("/v1/chat/completions");
    let asked = tokio::spawn(async move { post(&url, eight("m-1")).await.unwrap() });
    assert_eq!(asked.await.unwrap().status, StatusCode::OK);
    slot.cut();
    slot.withhold_acks(false);
    let sink = &watched.sink;
    sink.comes_to("spectral_bridge.relay.responses.resent", &[], 1.0, DEADLINE)
        .await
        .unwrap();
    sink.comes_to("spectral_bridge.relay.responses.held", &[], 0.0, DEADLINE)
        .await
        .unwrap();
    watched.counted(TOKENS, &[("gen_ai.token.type", "input")], 1).await;
    sink.comes_to("spectral_bridge.relay.responses", &[], 1.0, DEADLINE)
        .await
        .unwrap();
    sink.comes_to("spectral_bridge.relay.reconnects", &[], 1.0, DEADLINE)
        .await
        .unwrap();
    assert_eq!(sink.spans().len(), 1);
}
