use super::*;
use crate::telemetry::settings::Settings;
use crate::telemetry::tests::Lines;

fn outlet(room: usize) -> (Arc<Outlet>, watch::Sender<bool>) {
    outlet_to(
        room,
        &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
        ],
    )
}

fn outlet_to(room: usize, variables: &[(&str, &str)]) -> (Arc<Outlet>, watch::Sender<bool>) {
    let settings = Settings::read(&variables.iter().copied().collect(), &mut Vec::new());
    let stop = watch::Sender::new(false);
    let to = settings.traces.unwrap().to;
    let outlet = Outlet::new(Signal::Traces, &to, room, &Handle::current(), stop.subscribe());
    (outlet, stop)
}

async fn refused() -> OTelSdkResult {
    Err(OTelSdkError::InternalFailure(
        "HTTP export failed with status code: 401".to_owned(),
    ))
}

#[tokio::test]
async fn lost_batches_are_said_ever_more_rarely_and_the_last_one_is_kept() {
    let lines = Lines::default();
    let _here = lines.capture();
    let (outlet, _stop) = outlet(10);
    for _ in 0..10 {
        outlet.export(1, refused()).await.unwrap_err();
    }
    outlet.export(1, async { Ok(()) }).await.unwrap();
    let said = lines.all();
    let counts: Vec<_> = said.iter().map(|line| line.contains("failures=")).collect();
    assert_eq!(counts, [true; 4], "1, 2, 4, 8: {said:?}");
    assert!(said[3].contains("WARN") && said[3].contains("failures=8") && said[3].contains("status code: 401"));
    assert!(said[3].contains("http://c:4317"), "{said:?}");
    let snapshot = outlet.snapshot();
    assert_eq!((snapshot.batches, snapshot.failures, snapshot.dropped), (1, 10, 0));
    assert_eq!(snapshot.last_error.unwrap().code, "http_status");
}

#[tokio::test]
async fn a_cause_that_repeats_a_secret_is_not_shown() {
    let lines = Lines::default();
    let _here = lines.capture();
    let (outlet, _stop) = outlet(10);
    let cause = outlet.cause();
    let export = async {
        cause.put(Cause::new("network", "who is Bearer hunter2?".to_owned()));
        refused().await
    };
    outlet.export(0, export).await.unwrap_err();
    let error = outlet.snapshot().last_error.unwrap();
    assert_eq!(error.code, "network");
    assert!(!error.message.contains("hunter2") && !lines.all().concat().contains("hunter2"));
}

#[tokio::test]
async fn a_cause_is_shown_whatever_ordinary_headers_say() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-scope-orgid=1,x-empty=,x-dataset=status",
        ),
    ];
    let (outlet, _stop) = outlet_to(10, &variables);
    outlet.export(0, refused()).await.unwrap_err();
    let error = outlet.snapshot().last_error.unwrap();
    assert_eq!(error.message, "HTTP export failed with status code: 401");
}

#[tokio::test]
async fn what_follows_a_question_mark_in_an_endpoint_is_not_shown() {
    let lines = Lines::default();
    let _here = lines.capture();
    let variables = [
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://c/v1/traces?api-key=hunter2",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let (outlet, _stop) = outlet_to(10, &variables);
    outlet.export(0, refused()).await.unwrap_err();
    assert_eq!(outlet.snapshot().endpoint, "https://c:443/v1/traces");
    assert!(!lines.all().concat().contains("hunter2"), "{:?}", lines.all());
    assert_eq!(outlet.to.endpoint.url(), "https://c:443/v1/traces?api-key=hunter2");
}

#[tokio::test]
async fn what_waits_has_a_bound_and_what_is_exported_makes_room() {
    let lines = Lines::default();
    let _here = lines.capture();
    let (outlet, _stop) = outlet(2);
    assert_eq!([0; 4].map(|_| outlet.admit()), [true, true, false, false]);
    assert_eq!(
        (outlet.dropped(), lines.all().len()),
        (2, 1),
        "counted each time, said once"
    );
    outlet.export(2, async { Ok(()) }).await.unwrap();
    assert_eq!([0; 3].map(|_| outlet.admit()), [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn an_export_ends_with_its_time_or_when_telemetry_ends() {
    let (outlet, stop) = outlet(1);
    let late = outlet.export(0, std::future::pending()).await;
    assert!(matches!(late, Err(OTelSdkError::Timeout(limit)) if limit.as_secs() == 10));
    stop.send_replace(true);
    let ended = outlet.export(0, std::future::pending()).await;
    assert!(matches!(ended, Err(OTelSdkError::AlreadyShutdown)));
    assert_eq!(outlet.snapshot().last_error.unwrap().code, "shutdown");
}
