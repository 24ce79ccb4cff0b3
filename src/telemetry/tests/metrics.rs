//! Metrics: names by convention, temporality, aggregation, labels, and the relays' figures.

use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;

use super::*;
use crate::status::snapshot::{ChatSnapshot, PauseSnapshot, RelaySnapshot, RelayState};
use crate::telemetry::names::{Kind, METRICS};

async fn told(variables: &[(&str, &str)], tell: impl FnOnce(&Telemetry)) -> Vec<Metric> {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, variables);
    tell(&telemetry);
    telemetry.shutdown(GENEROUS).await;
    metrics_of(&collector.exports())
}

fn of_the_conventions(metrics: &[Metric]) -> Vec<&str> {
    let names = metrics.iter().map(|metric| metric.name.as_str());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("gen_ai.")).collect();
    names.sort_unstable();
    names
}

/// A stream with everything that a metric could want.
fn stream() -> Chat {
    let mut chat = Chat::new("gpt-4o", 100, 11);
    let usage = &mut chat.answer.usage;
    (usage.cache_read, usage.cache_write, usage.reasoning) = (Some(64), Some(0), Some(4));
    (usage.text_input, usage.audio_input, usage.image_input) = (Some(70), Some(20), Some(0));
    chat.answer.service_tier = Some("flex".into());
    chat.answer.system_fingerprint = Some("fp_1".into());
    chat
}

fn streamed(chat: &Chat) -> Exchange<'_> {
    Exchange {
        time_to_first_token: Some(Duration::from_millis(500)),
        ..chat.exchange()
    }
}

const COMMON: [&str; 4] = [
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
];

const RELEASED: [&str; 4] = [
    "gen_ai.client.operation.duration",
    "gen_ai.client.token.usage",
    "gen_ai.server.time_per_output_token",
    "gen_ai.server.time_to_first_token",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_released_names_are_the_default() {
    let metrics = told(&[], |telemetry| telemetry.finish(Span::default(), &streamed(&stream()))).await;
    assert_eq!(of_the_conventions(&metrics), RELEASED);
    let seen = |name| points(&metrics, name, &COMMON);
    let none = Attributes::new;
    assert_eq!(
        seen("gen_ai.server.time_to_first_token"),
        [(none(), "1 of 0.5".to_owned())]
    );
    assert_eq!(
        seen("gen_ai.server.time_per_output_token"),
        [(none(), "1 of 0.1".to_owned())]
    );
    assert_eq!(
        seen("gen_ai.client.operation.duration"),
        [(none(), "1 of 1.5".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unreleased_names_come_instead_or_besides_when_opted_in() {
    let opt_in = "OTEL_SEMCONV_STABILITY_OPT_IN";
    let tell = |telemetry: &Telemetry| telemetry.finish(Span::default(), &streamed(&stream()));
    let metrics = told(&[(opt_in, "gen_ai_latest_experimental")], tell).await;
    let mut latest = vec![
        "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens",
        "gen_ai.client.inference.usage.cache_read.input_tokens",
        "gen_ai.client.inference.usage.cache_write.input_tokens",
        "gen_ai.client.inference.usage.input_tokens",
        "gen_ai.client.inference.usage.output_tokens",
        "gen_ai.client.inference.usage.reasoning.output_tokens",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.server.time_per_output_token",
        "gen_ai.server.time_to_first_token",
    ];
    assert_eq!(of_the_conventions(&metrics), latest);
    let tier = ("openai.response.service_tier", r#""flex""#);
    let by = |modality| expect(&[("gen_ai.token.modality", modality), tier]);
    let seen = |name: &str| points(&metrics, &format!("gen_ai.client.inference.{name}"), &COMMON);
    assert_eq!(
        seen("usage.input_tokens"),
        [
            (by(r#""audio""#), "20".to_owned()),
            (by(r#""text""#), "70".to_owned()),
            (by(r#""unknown""#), "10".to_owned()),
        ]
    );
    assert_eq!(seen("usage.output_tokens"), [(by(r#""unknown""#), "11".to_owned())]);
    assert_eq!(
        seen("usage.cache_read.input_tokens"),
        [(by(r#""unknown""#), "64".to_owned())]
    );
    assert_eq!(
        seen("usage.cache_write.input_tokens"),
        [(by(r#""unknown""#), "0".to_owned())]
    );
    assert_eq!(
        seen("usage.reasoning.output_tokens"),
        [(by(r#""unknown""#), "4".to_owned())]
    );
    assert_eq!(
        seen("operation.input_tokens"),
        [(expect(&[tier]), "1 of 100".to_owned())]
    );
    assert_eq!(
        points(&metrics, "gen_ai.client.operation.time_to_first_chunk", &COMMON),
        [(expect(&[tier]), "1 of 0.5".to_owned())]
    );

    latest.extend(["gen_ai.client.token.usage"]);
    latest.sort_unstable();
    let both = told(&[(opt_in, "gen_ai_latest_experimental/dup")], tell).await;
    assert_eq!(of_the_conventions(&both), latest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_reported_is_not_recorded_and_zero_is() {
    for opt_in in ["", "gen_ai_latest_experimental/dup"] {
        let metrics = told(&[("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in)], |telemetry| {
            let mut chat = Chat::new("gpt-4o", 0, 5);
            chat.answer.usage.output = None;
            telemetry.finish(Span::default(), &chat.exchange());
        })
        .await;
        let input = expect(&[("gen_ai.token.type", r#""input""#)]);
        assert_eq!(
            points(&metrics, "gen_ai.client.token.usage", &COMMON),
            [(input, "1 of 0".to_owned())]
        );
        assert_eq!(points(&metrics, "gen_ai.client.inference.usage.output_tokens", &[]), []);
        if !opt_in.is_empty() {
            let unknown = expect(&[("gen_ai.token.modality", r#""unknown""#)]);
            let seen = points(&metrics, "gen_ai.client.inference.usage.input_tokens", &COMMON);
            assert_eq!(seen, [(unknown, "0".to_owned())]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetched_responses_tokens_were_counted_when_it_was_made() {
    let metrics = told(
        &[("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental/dup")],
        |telemetry| {
            let chat = stream();
            let operation = Operation::FetchResponse;
            telemetry.finish(
                Span::default(),
                &Exchange {
                    operation,
                    ..chat.exchange()
                },
            );
        },
    )
    .await;
    assert_eq!(of_the_conventions(&metrics), ["gen_ai.client.operation.duration"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_do_not_add_up_are_not_believed() {
    let metrics = told(
        &[("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")],
        |telemetry| {
            let mut chat = Chat::new("gpt-4o", 10, u64::MAX);
            chat.answer.usage.text_input = Some(11);
            (chat.answer.usage.text_output, chat.answer.usage.audio_output) = (Some(u64::MAX), Some(1));
            telemetry.finish(Span::default(), &chat.exchange());
        },
    )
    .await;
    let unknown = expect(&[("gen_ai.token.modality", r#""unknown""#)]);
    let seen = points(&metrics, "gen_ai.client.inference.usage.input_tokens", &COMMON);
    assert_eq!(seen, [(unknown, "10".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_usage_is_counted_by_reason_and_never_as_zero() {
    let metrics = told(&[], |telemetry| {
        let mut chat = Chat::new("gpt-4o", 0, 0);
        chat.answer.usage = crate::usage::Usage::default();
        for missing in [Missing::Null, Missing::CutShort, Missing::Null] {
            let missing = Some(missing);
            telemetry.finish(
                Span::default(),
                &Exchange {
                    missing,
                    ..chat.exchange()
                },
            );
        }
    })
    .await;
    let by = |reason| expect(&[("spectral_bridge.usage.missing.reason", reason)]);
    assert_eq!(
        points(&metrics, "spectral_bridge.usage.missing", &COMMON),
        [
            (by(r#""cut_short""#), "1".to_owned()),
            (by(r#""null""#), "2".to_owned())
        ]
    );
    assert_eq!(points(&metrics, "gen_ai.client.token.usage", &[]), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_and_errors_become_labels_only_up_to_a_bound() {
    let collector = Collector::start("grpc").await;
    let settings = config::Telemetry {
        models: vec!["gpt-4o".to_owned()],
        max_models: 2,
        ..config::Telemetry::default()
    };
    let url = collector.url();
    let source = Arc::new(Figures::default());
    let telemetry = start_with(&settings, &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &url)], source);
    for model in ["a", "b", "c", "gpt-4o", "evil\nmodel"] {
        telemetry.finish(Span::default(), &Chat::new(model, 1, 1).exchange());
    }
    for n in 0..150 {
        let error = format!("error-{n}");
        let exchange = Chat::new("gpt-4o", 1, 1);
        telemetry.finish(
            Span::default(),
            &Exchange {
                error: Some(&error),
                answer: None,
                ..exchange.exchange()
            },
        );
    }
    assert_eq!(telemetry.model_label("a"), "a");
    assert_eq!(telemetry.model_label("d"), "other");
    telemetry.shutdown(GENEROUS).await;
    let metrics = metrics_of(&collector.exports());
    let points = points(&metrics, "gen_ai.client.operation.duration", &[]);
    let values = |key: &str| -> std::collections::BTreeSet<_> {
        points
            .iter()
            .filter_map(|(attributes, _)| attributes.get(key).cloned())
            .collect()
    };
    let models = [r#""a""#, r#""b""#, r#""gpt-4o""#, r#""other""#].map(str::to_owned);
    assert_eq!(values("gen_ai.request.model"), models.clone().into());
    assert_eq!(values("gen_ai.response.model"), models.into());
    let errors = values("error.type");
    assert!(
        errors.len() == 101 && errors.contains(r#""_OTHER""#),
        "{}",
        errors.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_units_kinds_and_temporality_are_the_documented_ones() {
    let all = [("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental/dup")];
    let tell = |telemetry: &Telemetry| {
        telemetry.finish(Span::default(), &streamed(&stream()));
        telemetry.stage(&Origin::new("eu", &[]), Stage::Ack, Duration::from_millis(2));
        telemetry.session_started(Operation::Chat);
        telemetry.session_ended(&session());
    };
    let cumulative = told(&all, tell).await;
    check(
        &cumulative,
        AggregationTemporality::Cumulative,
        AggregationTemporality::Cumulative,
    );
    let delta = [all[0], ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")];
    check(
        &told(&delta, tell).await,
        AggregationTemporality::Delta,
        AggregationTemporality::Delta,
    );
    let low = [
        all[0],
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory"),
    ];
    check(
        &told(&low, tell).await,
        AggregationTemporality::Delta,
        AggregationTemporality::Cumulative,
    );
}

/// A session that a client closed.
fn session() -> Session<'static> {
    Session {
        operation: Operation::Chat,
        model: Some("gpt-4o"),
        close: "normal",
        closed_by: "client",
        turns: 3,
        duration: Duration::from_millis(2500),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_counted_while_they_are_open_and_measured_when_they_are_over() {
    let metrics = told(&[], |telemetry| {
        telemetry.session_started(Operation::Chat);
        telemetry.session_started(Operation::Chat);
        telemetry.session_started(Operation::RealtimeInference);
        telemetry.session_ended(&session());
        telemetry.session_ended(&Session {
            operation: Operation::RealtimeInference,
            model: None,
            turns: 0,
            ..session()
        });
    })
    .await;
    let of = |operation| expect(&[("gen_ai.operation.name", operation)]);
    assert_eq!(
        points(&metrics, "spectral_bridge.session.active", &[]),
        [
            (of(r#""chat""#), "1".to_owned()),
            (of(r#""realtime_inference""#), "0".to_owned())
        ]
    );
    let closed = [
        ("spectral_bridge.session.close", r#""normal""#),
        ("spectral_bridge.session.closed_by", r#""client""#),
    ];
    for (name, with_model, without) in [
        ("spectral_bridge.session.duration", "1 of 2.5", "1 of 2.5"),
        ("spectral_bridge.session.turns", "1 of 3", "1 of 0"),
    ] {
        let mut named = expect(&closed);
        named.insert("gen_ai.request.model".to_owned(), r#""gpt-4o""#.to_owned());
        assert_eq!(
            points(&metrics, name, &["gen_ai.operation.name"]),
            [(named, with_model.to_owned()), (expect(&closed), without.to_owned())]
        );
    }
}

fn check(metrics: &[Metric], recorded: AggregationTemporality, observed: AggregationTemporality) {
    for seen in metrics {
        let name = &seen.name;
        let documented = METRICS.iter().find(|metric| metric.name == name).unwrap();
        assert_eq!(seen.unit, documented.unit, "{name}");
        assert_eq!(seen.description, documented.description, "{name}");
        let allowed = |pairs: &[KeyValue]| {
            let known = |pair: &KeyValue| documented.attributes.contains(&pair.key.as_str());
            assert!(pairs.iter().all(known), "{name}: {pairs:?}");
        };
        match seen.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => {
                let is_counter = documented.kind == Kind::Counter;
                assert_eq!(sum.is_monotonic, is_counter, "{name}");
                let is_observed = name.starts_with("spectral_bridge.telemetry");
                if is_counter {
                    let expected = if is_observed { observed } else { recorded };
                    assert_eq!(sum.aggregation_temporality(), expected, "{name}");
                }
                sum.data_points.iter().for_each(|point| allowed(&point.attributes));
            }
            metric::Data::Histogram(histogram) => {
                assert_eq!(documented.kind, Kind::Histogram, "{name}");
                assert_eq!(histogram.aggregation_temporality(), recorded, "{name}");
                for point in &histogram.data_points {
                    assert_eq!(point.explicit_bounds, documented.buckets, "{name}");
                    allowed(&point.attributes);
                }
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histograms_are_exponential_when_asked_for() {
    let variable = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
    let metrics = told(&[(variable, "base2_exponential_bucket_histogram")], |telemetry| {
        telemetry.finish(Span::default(), &streamed(&stream()));
    })
    .await;
    let tokens = metric(&metrics, "gen_ai.client.token.usage");
    let Some(metric::Data::ExponentialHistogram(histogram)) = &tokens.data else {
        panic!("{tokens:?}");
    };
    let sums: Vec<_> = histogram.data_points.iter().filter_map(|point| point.sum).collect();
    assert_eq!(sums.iter().sum::<f64>(), 111.0);
    assert_eq!(tokens.unit, "{token}");
}

/// A relay with a different figure in each place.
fn busy() -> ProcessSnapshot {
    let mut relay = RelaySnapshot {
        name: "eu".to_owned(),
        state: RelayState::Connected,
        in_flight: 1,
        queued: 2,
        held_responses: 3,
        held_bytes: 4,
        max_held_bytes: 18,
        ..RelaySnapshot::default()
    };
    relay.paused = Some(PauseSnapshot::default());
    relay.budget.requests_left = Some(20);
    relay.budget.tokens_left = Some(21);
    let totals = &mut relay.totals;
    totals.requests = 5;
    totals.duplicate_requests = 6;
    totals.responses = [(200, 7), (503, 8)].into();
    totals.faults = [("adapter_timeout".to_owned(), 9)].into();
    totals.resent_responses = 10;
    totals.expired_responses = 11;
    totals.connections = 12;
    totals.disconnects = 13;
    totals.replaced = 14;
    totals.reconnects = [("connect".to_owned(), 15)].into();
    totals.not_admitted = [("max_concurrent".to_owned(), 18), ("hand".to_owned(), 19)].into();
    totals.received.request.add(16);
    totals.sent.response.add(17);
    let mut chat = ChatSnapshot {
        path: "/chat".to_owned(),
        sessions: 18,
        turns: 19,
        ..ChatSnapshot::default()
    };
    chat.totals.ended_turns = [("done".to_owned(), 20), ("503".to_owned(), 21)].into();
    chat.totals.refused_messages = [("invalid_json".to_owned(), 22)].into();
    chat.totals.refused = [("not_found".to_owned(), 23)].into();
    ProcessSnapshot {
        relays: vec![relay],
        chat: vec![chat],
        ..ProcessSnapshot::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relays_figures_are_those_of_the_status() {
    let collector = Collector::start("http/protobuf").await;
    let source = Arc::new(Figures(Mutex::new(busy())));
    let url = format!("{}/v1/metrics", collector.url());
    let variables = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let telemetry = start_with(&config::Telemetry::default(), &variables, source);
    telemetry.shutdown(GENEROUS).await;
    let metrics = metrics_of(&collector.exports());
    let seen = |name: &str| points(&metrics, &format!("spectral_bridge.relay.{name}"), &[]);
    let relay = ("spectral_bridge.relay.name", r#""eu""#);
    for (name, value) in [
        ("connected", 1),
        ("requests.in_flight", 1),
        ("requests.queued", 2),
        ("responses.held", 3),
        ("held", 4),
        ("held.limit", 18),
        ("requests", 5),
        ("requests.duplicate", 6),
        ("responses.resent", 10),
        ("responses.expired", 11),
        ("connections", 12),
        ("disconnects", 13),
        ("replaced", 14),
        ("paused", 1),
    ] {
        assert_eq!(seen(name), [(expect(&[relay]), value.to_string())], "{name}");
    }
    let by = |key, value, count: u64| (expect(&[relay, (key, value)]), count.to_string());
    let status = "http.response.status_code";
    assert_eq!(seen("responses"), [by(status, "200", 7), by(status, "503", 8)]);
    let (some, none): (Vec<_>, Vec<_>) = seen("faults").into_iter().partition(|(_, value)| value != "0");
    assert_eq!(some, [by("error.type", r#""adapter_timeout""#, 9)]);
    assert!(none.len() == 11 && none.contains(&by("error.type", r#""overloaded""#, 0)));
    assert_eq!(
        seen("reconnects"),
        [by("spectral_bridge.reconnect.reason", r#""connect""#, 15)]
    );
    let budget = "spectral_bridge.budget";
    let refused = [by(budget, r#""hand""#, 19), by(budget, r#""max_concurrent""#, 18)];
    assert_eq!(seen("budget.refused"), refused);
    // of those that are not set there is nothing left to tell
    assert_eq!(seen("budget.requests"), [by(budget, r#""requests_per_minute""#, 20)]);
    assert_eq!(seen("budget.tokens"), [by(budget, r#""tokens_per_day""#, 21)]);
    let states: Vec<_> = seen("state").into_iter().filter(|(_, value)| value == "1").collect();
    assert_eq!(states, [by("spectral_bridge.relay.state", r#""connected""#, 1)]);
    assert_eq!(seen("state").len(), 8);
    let traffic = |name, direction, kind| {
        let (direction, kind) = (format!("{direction:?}"), format!("{kind:?}"));
        let wanted = expect(&[
            relay,
            ("network.io.direction", &direction),
            ("spectral_bridge.frame.type", &kind),
        ]);
        let point = seen(name).into_iter().find(|(attributes, _)| *attributes == wanted);
        point.unwrap().1
    };
    assert_eq!(traffic("frames", "receive", "request"), "1");
    assert_eq!(traffic("io", "receive", "request"), "16");
    assert_eq!(traffic("io", "transmit", "response"), "17");
    assert_eq!(traffic("io", "transmit", "ack"), "0");
    let seen = |name: &str| points(&metrics, &format!("spectral_bridge.chat.{name}"), &[]);
    let path = ("spectral_bridge.chat.path", r#""/chat""#);
    let by = |key, value, count: u64| (expect(&[path, (key, value)]), count.to_string());
    assert_eq!(seen("sessions"), [(expect(&[path]), "18".to_owned())]);
    assert_eq!(seen("turns.running"), [(expect(&[path]), "19".to_owned())]);
    let outcome = "spectral_bridge.chat.outcome";
    assert_eq!(
        seen("turns"),
        [by(outcome, r#""503""#, 21), by(outcome, r#""done""#, 20)]
    );
    assert_eq!(seen("messages.refused"), [by("error.type", r#""invalid_json""#, 22)]);
    assert_eq!(seen("connections.refused"), [by("error.type", r#""not_found""#, 23)]);
}

/// For minutes after a push that changes a relay's key, its old client and its new one are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_of_one_name_are_added_up() {
    let collector = Collector::start("grpc").await;
    let mut process = busy();
    let mut older = process.relays[0].clone();
    older.state = RelayState::BackingOff;
    process.relays.push(older);
    let url = collector.url();
    let source = Arc::new(Figures(Mutex::new(process)));
    let telemetry = start_with(
        &config::Telemetry::default(),
        &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &url)],
        source,
    );
    telemetry.shutdown(GENEROUS).await;
    let metrics = metrics_of(&collector.exports());
    let values = |name: &str| -> Vec<_> {
        let points = points(&metrics, &format!("spectral_bridge.relay.{name}"), &[]);
        points.into_iter().map(|(_, value)| value).collect()
    };
    assert_eq!(values("connected"), ["1"]);
    assert_eq!(values("requests"), ["10"]);
    assert_eq!(values("responses"), ["14", "16"]);
    assert_eq!(values("state").iter().filter(|value| *value == "1").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relays_labels_are_on_all_that_is_told_of_it() {
    let collector = Collector::start("http/protobuf").await;
    let source = Arc::new(Figures(Mutex::new(busy())));
    let labels = [("team".to_owned(), "red".to_owned())].into();
    {
        let mut process = source.0.lock().unwrap();
        process.relays[0].labels = labels;
        process.chat.clear();
    }
    let url = collector.url();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let telemetry = start_with(&config::Telemetry::default(), &variables, source);
    let mut chat = Chat::new("gpt-4o", 17, 5);
    chat.origin = Origin::new("eu", &[("team".to_owned(), "red".to_owned())]);
    let span = telemetry.begin(&mut HeaderMap::new(), SystemTime::now());
    telemetry.finish(span, &chat.exchange());
    telemetry.stage(&chat.origin, Stage::Ack, Duration::from_millis(2));
    telemetry.shutdown(GENEROUS).await;
    let exports = collector.exports();
    let metrics = metrics_of(&exports);
    let label = ("spectral_bridge.relay.label.team", r#""red""#);
    let told: Vec<&Metric> = metrics
        .iter()
        .filter(|metric| !metric.name.starts_with("spectral_bridge.telemetry."))
        .collect();
    assert!(told.len() > 15, "{}", told.len());
    for metric in told {
        let points = points(&metrics, &metric.name, &[]);
        let labelled = |attributes: &Attributes| attributes.get(label.0).is_some_and(|value| value == label.1);
        assert!(
            !points.is_empty() && points.iter().all(|(attributes, _)| labelled(attributes)),
            "{}",
            metric.name
        );
    }
    let span = &spans_of(&exports)[0];
    assert_eq!(attributes(&span.attributes)[label.0], label.1);
    let event = &events_of(&exports)[0];
    assert_eq!(attributes(&event.attributes)[label.0], label.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_tell_of_exports() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(
        &collector,
        &[("OTEL_METRIC_EXPORT_INTERVAL", "10"), ("OTEL_BSP_SCHEDULE_DELAY", "1")],
    );
    let chat = Chat::new("gpt-4o", 1, 1);
    let span = telemetry.begin(&mut HeaderMap::new(), SystemTime::now());
    telemetry.finish(span, &chat.exchange());
    let arrived = async {
        while telemetry.snapshot().exports["traces"].batches == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GENEROUS, arrived).await.unwrap();
    telemetry.shutdown(GENEROUS).await;
    let metrics = metrics_of(&collector.exports());
    let traces = expect(&[("spectral_bridge.telemetry.signal", r#""traces""#)]);
    let seen = |name: &str| points(&metrics, &format!("spectral_bridge.telemetry.{name}"), &[]);
    assert!(seen("batches").contains(&(traces.clone(), "1".to_owned())));
    assert!(seen("failures").contains(&(traces.clone(), "0".to_owned())));
    assert!(seen("dropped").contains(&(traces, "0".to_owned())));
}

/// Whoever asks names the host: each value is memory for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_become_labels_only_up_to_a_bound() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, &[]);
    let chat = Chat::new("gpt-4o", 1, 1);
    for n in 0..150 {
        let host = format!("host-{n}");
        let exchange = Exchange {
            server: Some((&host, 443)),
            ..chat.exchange()
        };
        telemetry.finish(Span::default(), &exchange);
    }
    telemetry.shutdown(GENEROUS).await;
    let metrics = metrics_of(&collector.exports());
    let points = points(&metrics, "gen_ai.client.operation.duration", &[]);
    let hosts: std::collections::BTreeSet<_> = points
        .iter()
        .map(|(seen, _)| (seen.get("server.address").cloned(), seen.get("server.port").cloned()))
        .collect();
    assert_eq!(hosts.len(), 101, "{hosts:?}");
    assert!(hosts.contains(&(Some(r#""other""#.to_owned()), None)));
}
