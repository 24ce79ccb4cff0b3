//! WebSocket sessions of the filter `usage` on the test host: what is told of them, by whom they were closed, and that a
//! lost one does not stay in the gauge.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use envoy_fake::{FakeEnvoy, HttpConfig, Stream};
use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_attribute_id as AttributeId;
use envoy_proxy_dynamic_modules_rust_sdk::host::MetadataValue;
use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, EnvoyRelease, Factories, HttpFilterConfig, init_logging,
};
use spectral_bridge::filter::{NAME, NAMESPACE, configure};

type Filter = Box<dyn HttpFilterConfig<EnvoyHttpFilterImpl>>;

fn new_filter(envoy: &mut EnvoyHttpFilterConfigImpl, _: &str, config: &[u8]) -> Option<Filter> {
    configure(envoy, config)
}

fn envoy() -> FakeEnvoy {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_40);
    envoy.load(init_logging, Factories::none().http(new_filter)).unwrap();
    envoy
}

/// An upgrade that is asked for.
fn asked(config: &HttpConfig, path: &str) -> Stream {
    let stream = config.stream().unwrap();
    let upgrade = [
        (":method", "GET"),
        (":path", path),
        ("upgrade", "websocket"),
        ("x-request-id", "id-1"),
    ];
    stream.request_headers(&upgrade, false);
    stream
}

/// A session that has begun.
fn session(config: &HttpConfig, path: &str) -> Stream {
    let stream = asked(config, path);
    stream.response_headers(&[(":status", "101")], false);
    stream
}

/// A short frame without a mask, which either side is read with.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, u8::try_from(payload.len()).unwrap()];
    assert!(payload.len() < 126);
    frame.extend(payload);
    frame
}

fn close(code: u16) -> Vec<u8> {
    frame(0x88, &code.to_be_bytes())
}

/// A question and its answer.
fn turn(stream: &Stream, id: &str) {
    stream.request_body(&[&frame(0x81, br#"{"type":"response.create","model":"m"}"#)], false);
    let answer = format!(
        r#"{{"type":"response.completed","response":{{"id":"{id}","usage":{{"input_tokens":3,"output_tokens":4}}}}}}"#
    );
    let (first, second) = answer.as_bytes().split_at(60);
    stream.response_body(&[&frame(0x01, first), &frame(0x89, b"?"), &frame(0x80, second)], false);
}

fn details(stream: &Stream, details: &str) {
    stream.with(|stream| {
        stream
            .attribute_strings
            .insert(AttributeId::ResponseCodeDetails as u32, details.into());
    });
}

/// `turns`, `close_code`, `closed_by`.
fn told(stream: &Stream) -> (Option<f64>, Option<f64>, Option<String>) {
    let number = |key| match stream.metadata(NAMESPACE, key) {
        Some(MetadataValue::Number(number)) => Some(number),
        Some(other) => panic!("{key} is {other:?}"),
        None => None,
    };
    let by = match stream.metadata(NAMESPACE, "closed_by") {
        Some(MetadataValue::Text(by)) => Some(by),
        Some(other) => panic!("closed_by is {other:?}"),
        None => None,
    };
    (number("turns"), number("close_code"), by)
}

/// The lines about sessions in the log.
fn lines(envoy: &FakeEnvoy) -> Vec<String> {
    let lines = envoy.logs().into_iter().map(|line| line.message);
    lines.filter(|line| line.starts_with("session ")).collect()
}

#[test]
fn a_session_is_told_with_its_turns_and_its_close_code() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let stream = session(&config, "/v1/responses?api_key=secret&model=m");
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), Some(1));
    assert_eq!(
        lines(&envoy),
        ["session started path=/v1/responses model=m request_id=id-1"]
    );
    turn(&stream, "r1");
    turn(&stream, "r2");
    stream.request_body(&[&close(1000)], false);
    stream.response_body(&[&close(1000)], true);
    assert_eq!(told(&stream), (None, None, None), "it is not over");
    stream.complete();
    assert_eq!(told(&stream), (Some(2.0), Some(1000.0), Some("client".to_owned())));
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), Some(0));
    let labels = ["chat", "m", "normal", "client"];
    assert_eq!(envoy.metric("gen_ai_sessions_total", &labels), Some(1));
    assert!(envoy.metric("gen_ai_session_duration_ms", &["chat", "m"]).is_some());
    let lines = lines(&envoy);
    let (before, after) = lines[1].split_once(" duration_ms=").unwrap();
    assert_eq!(
        before,
        "session ended path=/v1/responses model=m turns=2 input_tokens=6 output_tokens=8"
    );
    let (_, after) = after.split_once(' ').unwrap();
    assert_eq!(after, "close_code=1000 closed_by=client request_id=id-1");
}

#[test]
fn who_closed_is_told_by_the_first_close_frame_or_by_the_end_of_the_stream() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    // what the server sends last, whether its bytes end, Envoy's details; what is told
    for (last, ends, envoys, code, class, by) in [
        (close(4001), true, "via_upstream", 4001.0, "application", "server"),
        (frame(0x88, b""), true, "via_upstream", 1005.0, "no_code", "server"),
        (
            close(1011),
            false,
            "downstream_remote_disconnect",
            1011.0,
            "error",
            "server",
        ),
        (vec![0x81, 9, b'{'], true, "via_upstream", 1006.0, "abnormal", "server"),
        (
            Vec::new(),
            false,
            "upstream_reset_after_response_started{connection_termination}",
            1006.0,
            "abnormal",
            "server",
        ),
        (
            Vec::new(),
            false,
            "downstream_remote_disconnect",
            1006.0,
            "abnormal",
            "client",
        ),
        (Vec::new(), false, "stream_idle_timeout", 1006.0, "abnormal", "envoy"),
        (Vec::new(), false, "via_upstream", 1006.0, "abnormal", "unknown"),
        (Vec::new(), false, "", 1006.0, "abnormal", "unknown"),
    ] {
        let stream = session(&config, "/v1/realtime?model=voice");
        let labels = ["realtime_inference", "voice", class, by];
        let before = envoy.metric("gen_ai_sessions_total", &labels).unwrap_or(0);
        stream.response_body(&[&last], ends);
        details(&stream, envoys);
        stream.complete();
        assert_eq!(told(&stream), (Some(0.0), Some(code), Some(by.to_owned())), "{envoys}");
        assert_eq!(
            envoy.metric("gen_ai_sessions_total", &labels),
            Some(before + 1),
            "{labels:?}"
        );
    }
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), Some(0));
}

#[test]
fn an_upgrade_that_is_not_agreed_upon_is_no_session() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let refused = asked(&config, "/v1/responses");
    refused.response_headers(&[(":status", "401")], true);
    refused.complete();
    let given_up = asked(&config, "/v1/responses");
    given_up.complete();
    for stream in [refused, given_up] {
        assert_eq!(told(&stream), (None, None, None));
    }
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), None);
    assert_eq!(lines(&envoy), Vec::<String>::new());
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(0));
}

#[test]
fn a_session_without_a_last_hook_is_told_and_leaves_the_gauge_with_the_next_one() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let lost = session(&config, "/v1/responses");
    turn(&lost, "r1");
    drop(lost);
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), Some(1));
    let line = lines(&envoy).pop().unwrap();
    assert!(
        line.starts_with("session ended ") && line.contains(" turns=1 "),
        "{line}"
    );
    assert!(line.contains(" close_code=1006 closed_by=unknown "), "{line}");
    let next = session(&config, "/v1/responses");
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), Some(1));
    next.complete();
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), Some(0));
}

#[test]
fn the_lines_in_the_log_can_be_left_out_and_a_peers_text_cannot_forge_them() {
    let envoy = envoy();
    let quiet = envoy.http(NAME, br#"{"session_log":false}"#).unwrap();
    session(&quiet, "/v1/responses").complete();
    assert_eq!(lines(&envoy), Vec::<String>::new());
    assert_eq!(envoy.metric("gen_ai_sessions_active", &[]), Some(0));
    let config = envoy.http(NAME, b"{}").unwrap();
    let forging = format!("/v1/responses?model=m\u{a0}close_code=1{}", "x".repeat(300));
    session(&config, &forging).complete();
    for line in lines(&envoy) {
        assert!(line.contains(r#" model="m"#), "{line}");
        assert!(line.len() < 500, "{line}");
    }
}
