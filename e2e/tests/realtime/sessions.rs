//! What is told of sessions: lines in the log, statistics, metrics, the access log; also of five hundred at once.

use std::sync::Arc;

use e2e::otlp::{Protocol, Sink};
use e2e::world::site::exported_to;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;

fn closing(code: u16) -> Option<CloseFrame> {
    Some(CloseFrame {
        code: CloseCode::from(code),
        reason: "".into(),
    })
}

#[tokio::test]
async fn a_session_is_told_of_from_its_start_to_its_end() {
    let sink = Sink::start().await.unwrap();
    let mut plan = Plan::new();
    plan.variables.extend(exported_to(&sink.grpc(), Protocol::Grpc));
    let mut site = plan.start_model().await;

    let mut socket = site.dial("whole", "/v1/responses?secret=1").await;
    site.shows("sessions_active", &[], 1.0).await;
    sink.comes_to("spectral_bridge.session.active", &[], 1.0, DEADLINE)
        .await
        .unwrap();
    assert_eq!(
        site.line("session started", "whole").await,
        "session started path=/v1/responses request_id=whole"
    );
    for (number, model) in ["demo", "fragmented", "demo"].into_iter().enumerate() {
        answered(&mut socket, model, &vec!["word"; number + 3].join(" ")).await;
    }
    socket.close(closing(1000)).await.unwrap();
    assert!(heard_to_the_end(&mut socket).await);

    let books = site.provider.tokens();
    let line = site.gateway.logged("whole").await.unwrap();
    for (key, value) in [
        ("status", json!(101)),
        ("path", json!("/v1/responses")),
        ("turns", json!(3)),
        ("input_tokens", json!(books.input)),
        ("output_tokens", json!(books.output)),
        ("close_code", json!(1000)),
        ("closed_by", json!("client")),
        ("request_model", json!("demo")),
        ("usage_missing", Value::Null),
    ] {
        assert_eq!(line[key], value, "{key} of {line}");
    }
    let ended = site.line("session ended", "whole").await;
    let expected = format!(
        "session ended path=/v1/responses model=demo turns=3 input_tokens={} output_tokens={} duration_ms=",
        books.input, books.output
    );
    assert!(ended.starts_with(&expected), "{ended}");
    assert!(
        ended.ends_with(" close_code=1000 closed_by=client request_id=whole"),
        "{ended}"
    );

    site.shows("sessions_active", &[], 0.0).await;
    let of = [("operation", "chat"), ("model", "demo")];
    site.shows(
        "sessions_total",
        &[of[0], of[1], ("close", "normal"), ("closed_by", "client")],
        1.0,
    )
    .await;
    site.shows("session_duration_ms_count", &of, 1.0).await;
    let told = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "demo"),
        ("spectral_bridge.session.close", "normal"),
        ("spectral_bridge.session.closed_by", "client"),
    ];
    sink.comes_to("spectral_bridge.session.turns", &told, 3.0, DEADLINE)
        .await
        .unwrap();
    assert_eq!(sink.count("spectral_bridge.session.duration", &told), 1);
    sink.comes_to("spectral_bridge.session.active", &[], 0.0, DEADLINE)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_realtime_session_is_named_after_the_model_in_its_address() {
    let mut site = Plan::new().start_model().await;
    let mut socket = site.dial("voice", "/v1/realtime?model=voice").await;
    let started = site.line("session started", "voice").await;
    assert_eq!(
        started,
        "session started path=/v1/realtime model=voice request_id=voice"
    );
    for said in ["one two three", "four"] {
        let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": said}]});
        let item = json!({"type": "conversation.item.create", "item": item});
        turn(&mut socket, item, "conversation.item.added").await;
        turn(&mut socket, json!({"type": "response.create"}), "response.done").await;
    }
    socket.close(closing(4001)).await.unwrap();
    heard_to_the_end(&mut socket).await;
    let line = site.gateway.logged("voice").await.unwrap();
    let books = site.provider.tokens();
    assert_eq!(
        (&line["turns"], &line["close_code"]),
        (&json!(2), &json!(4001)),
        "{line}"
    );
    assert_eq!(line["total_tokens"], books.input + books.output, "{line}");
    let labels = [
        ("operation", "realtime_inference"),
        ("model", "voice"),
        ("close", "application"),
        ("closed_by", "client"),
    ];
    site.shows("sessions_total", &labels, 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_sessions_at_once_are_kept_apart_and_add_up() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    let site = Arc::new(Plan::new().start_model().await);
    let go_on = watch::Sender::new(false);
    let mut sessions = JoinSet::new();
    for number in 0..AT_ONCE {
        let (site, mut told) = (Arc::clone(&site), go_on.subscribe());
        sessions.spawn(async move {
            let mut socket = site.dial(&format!("many-{number}"), "/v1/responses").await;
            answered(&mut socket, "demo", &vec!["word"; number % 7 + 1].join(" ")).await;
            told.wait_for(|go_on| *go_on).await.unwrap();
            answered(&mut socket, "demo", "once more").await;
            socket.close(closing(1000)).await.unwrap();
            assert!(heard_to_the_end(&mut socket).await);
        });
    }
    site.shows("sessions_active", &[], AT_ONCE as f64).await;
    go_on.send_replace(true);
    while let Some(ended) = sessions.join_next().await {
        ended.unwrap();
    }
    site.shows("sessions_active", &[], 0.0).await;
    site.shows("streams_active", &[], 0.0).await;
    let of = [("operation", "chat"), ("model", "demo")];
    let total = [of[0], of[1], ("close", "normal"), ("closed_by", "client")];
    site.shows("sessions_total", &total, AT_ONCE as f64).await;
    let books = site.provider.tokens();
    site.shows(
        "tokens_total",
        &[of[0], of[1], ("token_type", "input")],
        books.input as f64,
    )
    .await;
    site.shows(
        "tokens_total",
        &[of[0], of[1], ("token_type", "output")],
        books.output as f64,
    )
    .await;
    site.shows(
        "requests_total",
        &[of[0], of[1], ("outcome", "ok")],
        2.0 * AT_ONCE as f64,
    )
    .await;
}

const AT_ONCE: usize = 500;
