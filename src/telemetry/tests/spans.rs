//! Whose child a span is, whose parent, and which are kept.

use opentelemetry_proto::tonic::trace::v1::status;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// Begins and finishes a span with these headers; the headers afterwards and the spans that arrived.
async fn through(variables: &[(&str, &str)], mut headers: HeaderMap) -> (HeaderMap, Vec<OtlpSpan>) {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, variables);
    let span = telemetry.begin(&mut headers, SystemTime::now());
    telemetry.finish(span, &Chat::new("gpt-4o", 17, 5).exchange());
    telemetry.shutdown(GENEROUS).await;
    (headers, spans_of(&collector.exports()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_is_the_platforms_child_and_the_parent_of_what_follows() {
    let (after, spans) = through(
        &[],
        headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
            ("baggage", "k=v"),
        ]),
    )
    .await;
    let span = &spans[0];
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(span.trace_state, "a=1,b=2");
    let own = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
    let expected = headers(&[("traceparent", &own), ("tracestate", "a=1,b=2"), ("baggage", "k=v")]);
    assert_eq!(after, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_one_valid_parent_a_trace_begins() {
    let other = "00-11111111111111111111111111111111-2222222222222222-01";
    for given in [
        headers(&[]),
        headers(&[("traceparent", PARENT), ("traceparent", other), ("tracestate", "a=1")]),
        headers(&[("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")]),
        headers(&[("traceparent", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01")]),
        headers(&[("traceparent", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]),
        headers(&[(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        )]),
        headers(&[("traceparent", "junk"), ("tracestate", "a=1")]),
        headers(&[("traceparent", "00-4bf92f3577b34da6-00f067aa0ba902b7-01")]),
        headers(&[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-b7-01")]),
        headers(&[("traceparent", "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]),
        headers(&[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1")]),
        headers(&[("traceparent", "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]),
    ] {
        let (after, spans) = through(&[], given.clone()).await;
        let span = &spans[0];
        assert_eq!(span.parent_span_id.len(), 0, "{given:?}");
        assert!(
            !["4bf92f3577b34da6a3ce929d0e0e4736"].contains(&hex(&span.trace_id).as_str()),
            "{given:?}"
        );
        let own = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        assert_eq!(after, headers(&[("traceparent", &own)]), "{given:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_has_a_span_and_an_event() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, &[]);
    telemetry.refused(&Refusal {
        relay: "eu",
        request_id: "req-1",
        code: "path_not_allowed",
        status: 404,
        trace: &headers(&[("traceparent", PARENT)]),
    });
    telemetry.shutdown(GENEROUS).await;
    let exports = collector.exports();
    let (spans, events) = (spans_of(&exports), events_of(&exports));
    let mut expected = expect(&[
        ("error.type", r#""path_not_allowed""#),
        ("http.response.status_code", "404"),
        ("spectral_bridge.relay.name", r#""eu""#),
        ("spectral_bridge.request.id", r#""req-1""#),
    ]);
    let span = &spans[0];
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(span.status.as_ref().unwrap().code(), status::StatusCode::Error);
    assert_eq!(
        (&*span.name, attributes(&span.attributes)),
        ("request", expected.clone())
    );
    let event = &events[0];
    assert_eq!(event.event_name, "spectral_bridge.request.refused");
    assert_eq!((&event.trace_id, &event.span_id), (&span.trace_id, &span.span_id));
    expected.extend(expect(&[("spectral_bridge.request.duration", "0.0")]));
    assert_eq!(attributes(&event.attributes), expected);
    let metrics = metrics_of(&exports);
    assert!(points(&metrics, "gen_ai.client.operation.duration", &[]).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_of_a_later_version_or_with_more_flags_is_a_parent() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    for given in [format!("00-{id}-03"), format!("01-{id}-01-more"), format!("cc-{id}-01")] {
        let (_, spans) = through(&[], headers(&[("traceparent", &given)])).await;
        assert_eq!(hex(&spans[0].parent_span_id), "00f067aa0ba902b7", "{given}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_platform_does_not_sample_is_passed_on_unsampled_and_not_exported() {
    let unsampled = PARENT.replace("-01", "-00");
    let (after, spans) = through(&[], headers(&[("traceparent", &unsampled)])).await;
    assert_eq!(spans.len(), 0);
    let own = after["traceparent"].to_str().unwrap();
    assert!(
        own.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && own.ends_with("-00"),
        "{own}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sampler_is_the_configured_one() {
    let with = |sampler, argument| [("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)];
    let unsampled = PARENT.replace("-01", "-00");
    for (sampler, argument, parent, kept) in [
        ("always_on", "", unsampled.as_str(), 1),
        ("always_off", "", PARENT, 0),
        ("traceidratio", "0", PARENT, 0),
        ("traceidratio", "1", unsampled.as_str(), 1),
        ("parentbased_always_off", "", "", 0),
        ("parentbased_always_off", "", PARENT, 1),
        ("parentbased_traceidratio", "0", PARENT, 1),
    ] {
        let given = if parent.is_empty() {
            headers(&[])
        } else {
            headers(&[("traceparent", parent)])
        };
        let (after, spans) = through(&with(sampler, argument), given).await;
        assert_eq!(spans.len(), kept, "{sampler} {argument} {parent}");
        let flags = if kept == 1 { "-01" } else { "-00" };
        assert!(
            after["traceparent"].to_str().unwrap().ends_with(flags),
            "{sampler} {argument} {parent}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_propagation_traces_are_not_joined() {
    let given = headers(&[("traceparent", PARENT)]);
    let (after, spans) = through(&[("OTEL_PROPAGATORS", "none")], given.clone()).await;
    assert_eq!(after, given);
    assert_eq!(spans[0].parent_span_id.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_that_is_given_up_ends_as_cancelled() {
    let collector = Collector::start("grpc").await;
    let telemetry = start_to(&collector, &[]);
    drop(telemetry.begin(&mut HeaderMap::new(), SystemTime::now()));
    telemetry.shutdown(GENEROUS).await;
    let span = &spans_of(&collector.exports())[0];
    assert_eq!(span.status.as_ref().unwrap().code(), status::StatusCode::Error);
    assert_eq!(
        attributes(&span.attributes),
        expect(&[("error.type", r#""cancelled""#)])
    );
}
