//! The filter `usage` on the test host: what it tells, when, and that it leaves streams alone. In a process of its own, since
//! whoever watches tickets does so for the whole process.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use envoy_fake::{FakeEnvoy, HttpConfig, Stream};
use envoy_proxy_dynamic_modules_rust_sdk::abi::{
    BodyType, HeaderType, envoy_dynamic_module_type_attribute_id as AttributeId,
};
use envoy_proxy_dynamic_modules_rust_sdk::host::MetadataValue;
use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, EnvoyRelease, Factories, HttpFilterConfig, init_logging,
};
use spectral_bridge::filter::{NAME, NAMESPACE, configure};
use spectral_bridge::relayed;

type Filter = Box<dyn HttpFilterConfig<EnvoyHttpFilterImpl>>;

fn new_filter(envoy: &mut EnvoyHttpFilterConfigImpl, _: &str, config: &[u8]) -> Option<Filter> {
    configure(envoy, config)
}

fn envoy() -> FakeEnvoy {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_38);
    envoy.load(init_logging, Factories::none().http(new_filter)).unwrap();
    envoy
}

const JSON: (&str, &str) = ("content-type", "application/json");
const EVENTS: (&str, &str) = ("content-type", "text/event-stream");
const ASK: [(&str, &str); 3] = [(":method", "POST"), (":path", "/v1/chat/completions"), JSON];
const QUESTION: &[u8] = br#"{"model":"m","messages":[]}"#;
const ANSWER: &[u8] = br#"{"model":"m-1","choices":[{"finish_reason":"stop"}],
    "usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}"#;

/// A stream whose question was asked, with these headers besides.
fn asked(config: &HttpConfig, more: &[(&str, &str)]) -> Stream {
    let stream = config.stream().unwrap();
    let headers: Vec<_> = ASK.iter().chain(more).copied().collect();
    assert_eq!(stream.request_headers(&headers, false), CONTINUE);
    let (first, second) = QUESTION.split_at(9);
    assert_eq!(stream.request_body(&[first], false), CONTINUE);
    assert_eq!(stream.request_body(&[second], true), CONTINUE);
    stream
}

fn number(stream: &Stream, key: &str) -> Option<f64> {
    match stream.metadata(NAMESPACE, key) {
        Some(MetadataValue::Number(number)) => Some(number),
        Some(other) => panic!("{key} is {other:?}"),
        None => None,
    }
}

fn text(stream: &Stream, key: &str) -> Option<String> {
    match stream.metadata(NAMESPACE, key) {
        Some(MetadataValue::Text(text)) => Some(text),
        Some(other) => panic!("{key} is {other:?}"),
        None => None,
    }
}

const CONTINUE: u32 = 0;

#[test]
fn tokens_are_told_as_soon_as_they_are_seen_and_counted_at_the_end() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let stream = asked(&config, &[]);
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(1));
    assert_eq!(stream.response_headers(&[(":status", "200"), JSON], false), CONTINUE);
    let (first, second) = ANSWER.split_at(70);
    assert_eq!(stream.response_body(&[first], false), CONTINUE);
    assert_eq!(number(&stream, "input_tokens"), None);
    assert_eq!(stream.response_body(&[second], false), CONTINUE);
    assert_eq!(number(&stream, "total_tokens"), Some(7.0));
    assert_eq!(stream.response_body(&[], true), CONTINUE);
    assert_eq!(envoy.metric("gen_ai_tokens_total", &["chat", "m", "input"]), None);
    stream.complete();

    for (key, value) in [("input_tokens", 3.0), ("output_tokens", 4.0), ("cached_tokens", 2.0)] {
        assert_eq!(number(&stream, key), Some(value), "{key}");
    }
    assert_eq!(
        number(&stream, "reasoning_tokens"),
        None,
        "what is not known is not set"
    );
    for (key, value) in [
        ("operation", "chat"),
        ("provider", "openai"),
        ("request_model", "m"),
        ("response_model", "m-1"),
        ("finish_reasons", "stop"),
    ] {
        assert_eq!(text(&stream, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(stream.metadata(NAMESPACE, "stream"), Some(MetadataValue::Bool(false)));
    assert_eq!(text(&stream, "usage_missing"), None);
    for (name, labels, value) in [
        ("gen_ai_tokens_total", &["chat", "m", "input"][..], 3),
        ("gen_ai_tokens_total", &["chat", "m", "output"], 4),
        ("gen_ai_token_details_total", &["chat", "m", "cache_read"], 2),
        ("gen_ai_requests_total", &["chat", "m", "ok"], 1),
        ("gen_ai_streams_active", &[], 0),
    ] {
        assert_eq!(envoy.metric(name, labels), Some(value), "{name} {labels:?}");
    }
}

#[test]
fn a_relayed_request_gets_its_metadata_only_and_loses_its_ticket() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"{}").unwrap();
    let ticket = relayed::ticket().unwrap();
    let header = ticket.header();
    for (value, relayed) in [(header.to_str().unwrap(), true), ("forged", false)] {
        let stream = asked(&config, &[("x-spectral-bridge-ticket", value)]);
        let left = stream.header(HeaderType::Request, "x-spectral-bridge-ticket");
        assert_eq!(left, Vec::<String>::new());
        stream.response_headers(&[(":status", "200"), JSON], false);
        stream.response_body(&[ANSWER], true);
        stream.complete();
        assert_eq!(number(&stream, "input_tokens"), Some(3.0));
        let counted = envoy.metric("gen_ai_requests_total", &["chat", "m", "ok"]);
        assert_eq!(counted, (!relayed).then_some(1));
    }
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(0));
}

#[test]
fn a_ticket_is_taken_off_a_stream_that_is_not_watched_too() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let stream = config.stream().unwrap();
    stream.request_headers(
        &[(":method", "GET"), (":path", "/"), ("x-spectral-bridge-ticket", "1")],
        true,
    );
    assert_eq!(
        stream.header(HeaderType::Request, "x-spectral-bridge-ticket"),
        Vec::<String>::new()
    );
    stream.complete();
    assert_eq!(stream.with(|stream| stream.metadata.len()), 0);
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), None);
}

#[test]
fn a_stream_that_breaks_off_says_so_unless_everything_was_said() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let begun = b"data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    let said = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    for (pieces, missing, outcome, flags) in [
        (&[&begun[..]][..], Some("cut_short"), "cut_short", &["SBUC"][..]),
        (&[&begun[..], &said[..]], None, "ok", &[]),
    ] {
        let stream = asked(&config, &[]);
        stream.response_headers(&[(":status", "200"), EVENTS], false);
        stream.response_body(pieces, false);
        stream.complete();
        assert_eq!(text(&stream, "usage_missing").as_deref(), missing);
        assert_eq!(envoy.metric("gen_ai_requests_total", &["chat", "m", outcome]), Some(1));
        assert_eq!(stream.with(|stream| stream.flags.clone()), flags);
        assert!(number(&stream, "time_to_first_token_ms").is_some());
    }
}

#[test]
fn an_error_misses_no_usage() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    for (status, outcome) in [("429", "client_error"), ("503", "server_error")] {
        let stream = asked(&config, &[]);
        stream.response_headers(&[(":status", status), JSON], false);
        stream.response_body(&[br#"{"error":{"type":"overloaded"}}"#], true);
        stream.complete();
        assert_eq!(text(&stream, "usage_missing"), None);
        assert_eq!(envoy.metric("gen_ai_requests_total", &["chat", "m", outcome]), Some(1));
        assert_eq!(
            envoy.metric("gen_ai_usage_missing_total", &["chat", "m", "absent"]),
            None
        );
    }
}

#[test]
fn a_stored_response_uses_no_tokens_again() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let stream = config.stream().unwrap();
    stream.request_headers(&[(":method", "GET"), (":path", "/v1/responses/resp_1")], true);
    stream.response_headers(&[(":status", "200"), JSON], false);
    stream.response_body(
        &[br#"{"model":"m","usage":{"input_tokens":3,"output_tokens":4}}"#],
        true,
    );
    stream.complete();
    assert_eq!(number(&stream, "total_tokens"), None);
    assert_eq!(
        envoy.metric("gen_ai_requests_total", &["fetch_response", "m", "ok"]),
        Some(1)
    );
    assert_eq!(
        envoy.metric("gen_ai_tokens_total", &["fetch_response", "m", "input"]),
        None
    );
}

#[test]
fn a_stream_without_a_last_hook_leaves_the_gauge_with_the_next_one() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    drop(asked(&config, &[]));
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(1));
    let stream = asked(&config, &[]);
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(1));
    stream.complete();
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(0));
}

#[test]
fn an_upgrade_loses_its_offer_to_compress_and_a_refused_one_is_plain_http() {
    let envoy = envoy();
    let config = envoy.http(NAME, b"").unwrap();
    let stream = config.stream().unwrap();
    let upgrade = [
        (":method", "GET"),
        (":path", "/v1/responses"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    stream.request_headers(&upgrade, false);
    assert_eq!(
        stream.header(HeaderType::Request, "sec-websocket-extensions"),
        Vec::<String>::new()
    );
    stream.response_headers(&[(":status", "403")], true);
    stream.complete();
    assert_eq!(
        envoy.metric("gen_ai_requests_total", &["chat", "unknown", "client_error"]),
        Some(1)
    );
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(0));
    // the same path without an upgrade is nobody's question
    let stream = config.stream().unwrap();
    stream.request_headers(&[(":method", "GET"), (":path", "/v1/responses")], true);
    stream.complete();
    assert_eq!(stream.with(|stream| stream.metadata.len()), 0);
}

#[test]
fn mistakes_are_told_and_validation_starts_nothing() {
    let envoy = envoy();
    assert!(envoy.http(NAME, br#"{"modles":[]}"#).is_none());
    assert!(envoy.logged(4, "modles: unknown key, did you mean models?"));
    envoy.set_validation_mode(true);
    let config = envoy.http(NAME, br#"{"models":["m"]}"#).unwrap();
    assert!(relayed::ticket().is_none(), "nobody watches");
    drop(asked(&config, &[]));
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), None);
}

#[test]
fn a_request_is_held_only_to_be_made_to_ask() {
    let envoy = envoy();
    let config = envoy
        .http(NAME, br#"{"include_usage":true,"max_request_bytes":1024}"#)
        .unwrap();
    let ask = |headers: &[(&str, &str)]| {
        let stream = config.stream().unwrap();
        let status = stream.request_headers(headers, false);
        (stream, status)
    };
    let long = [ASK[0], ASK[1], ASK[2], ("content-length", "1025")];
    let packed = [ASK[0], ASK[1], ASK[2], ("content-encoding", "gzip")];
    let waiting = [ASK[0], ASK[1], ASK[2], ("expect", "100-continue")];
    let other = [ASK[0], (":path", "/v1/responses"), JSON];
    for headers in [&long[..], &packed, &waiting, &other, &ASK[..2]] {
        assert_eq!(ask(headers).1, CONTINUE, "{headers:?}");
    }

    let (stream, status) = ask(&[
        ASK[0],
        ASK[1],
        ASK[2],
        ("content-length", "15"),
        ("accept-encoding", "gzip"),
    ]);
    assert_eq!(status, STOP);
    let body = [&b"{\"stream\""[..], b":true}"];
    assert_eq!(stream.request_body(&body[..1], false), STOP_AND_BUFFER);
    stream.with(|stream| stream.set_body(BodyType::BufferedRequest, &body[..1]));
    assert_eq!(stream.request_body(&body[1..], true), CONTINUE);
    let (buffered, received) = stream.with(|stream| {
        (
            stream.body(BodyType::BufferedRequest),
            stream.body(BodyType::ReceivedRequest),
        )
    });
    let asking = br#"{"stream_options":{"include_usage":true},"stream":true}"#;
    assert_eq!((buffered.len(), received.as_slice()), (0, &asking[..]));
    assert_eq!(
        stream.header(HeaderType::Request, "content-length"),
        [asking.len().to_string()]
    );
    assert_eq!(
        stream.header(HeaderType::Request, "accept-encoding"),
        Vec::<String>::new()
    );

    stream.response_headers(&[(":status", "200"), EVENTS], false);
    let usage = b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n";
    for (piece, passes) in [
        (&b"data: 1\n\nda"[..], &b"data: 1\n\n"[..]),
        (b"ta: 2\n\n", b"data: 2\n\n"),
        (usage, b""),
        (b"\n:", b""),
    ] {
        assert_eq!(stream.response_body(&[piece], false), CONTINUE);
        assert_eq!(stream.with(|stream| stream.body(BodyType::ReceivedResponse)), passes);
    }
    stream.response_body(&[], true);
    assert_eq!(stream.with(|stream| stream.body(BodyType::ReceivedResponse)), b":");
    assert_eq!(number(&stream, "input_tokens"), Some(1.0));
    assert_eq!(envoy.metric("gen_ai_include_usage_total", &["added"]), Some(1));
}

#[test]
fn a_request_is_not_held_beyond_what_envoy_buffers() {
    let envoy = envoy();
    let config = envoy.http(NAME, br#"{"include_usage":true}"#).unwrap();
    let ask = |more: &[(&str, &str)]| {
        let stream = config.stream_with(|stream| stream.buffer_limit = 16).unwrap();
        let headers: Vec<_> = ASK.iter().chain(more).copied().collect();
        let status = stream.request_headers(&headers, false);
        (stream, status)
    };
    assert_eq!(ask(&[("content-length", "17")]).1, CONTINUE);
    let (stream, status) = ask(&[]);
    assert_eq!(status, STOP);
    assert_eq!(stream.request_body(&[&[b' '; 17]], false), CONTINUE);
    assert_eq!(envoy.metric("gen_ai_include_usage_total", &["too_large"]), Some(1));
}

#[test]
fn what_is_held_of_an_event_passes_before_trailers() {
    let envoy = envoy();
    let config = envoy.http(NAME, br#"{"include_usage":true}"#).unwrap();
    let stream = config.stream().unwrap();
    stream.request_headers(&ASK, false);
    stream.request_body(&[b"{\"stream\":true}"], true);
    stream.response_headers(&[(":status", "200"), EVENTS], false);
    stream.response_body(&[b"data: 1\n\ndata: [DONE]\n"], false);
    assert_eq!(stream.response_trailers(), CONTINUE);
    let passed = stream.with(|stream| stream.body(BodyType::BufferedResponse));
    assert_eq!(passed, b"data: [DONE]\n");
}

/// A stream that ends with these details in Envoy's log.
fn ended(config: &HttpConfig, more: &[(&str, &str)], details: &str) -> Stream {
    let stream = asked(config, more);
    let attribute = AttributeId::ResponseCodeDetails as u32;
    stream.with(|stream| stream.attribute_strings.insert(attribute, details.into()));
    stream.complete();
    stream
}

#[test]
fn a_client_that_resets_its_stream_has_left_too() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_40);
    envoy.load(init_logging, Factories::none().http(new_filter)).unwrap();
    let config = envoy.http(NAME, b"").unwrap();
    for (details, outcome, count) in [
        ("downstream_remote_disconnect", "cancelled", 1),
        ("http2.remote_reset", "cancelled", 2),
        ("http3.remote_reset", "cancelled", 3),
        ("upstream_reset_after_response_started{remote_reset}", "cut_short", 1),
    ] {
        ended(&config, &[], details);
        let counted = envoy.metric("gen_ai_requests_total", &["chat", "m", outcome]);
        assert_eq!(counted, Some(count), "{details}");
    }
}

#[test]
fn a_request_that_envoy_redirects_is_counted_by_who_answers_it() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_40);
    envoy.load(init_logging, Factories::none().http(new_filter)).unwrap();
    let config = envoy.http(NAME, b"").unwrap();
    ended(&config, &[], "internal_redirect");
    assert_eq!(envoy.metric("gen_ai_requests_total", &["chat", "m", "cut_short"]), None);
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(0));

    let ticket = relayed::ticket().unwrap();
    let ticket = ticket.header();
    let ticket = ticket.to_str().unwrap();
    let name = "x-spectral-bridge-ticket";
    let first = ended(&config, &[(name, ticket)], "internal_redirect");
    assert_eq!(first.header(HeaderType::Request, name), [ticket]);
    ended(&config, &[(name, ticket)], "via_upstream");
    assert_eq!(envoy.metric("gen_ai_requests_total", &["chat", "m", "cut_short"]), None);
    assert_eq!(envoy.metric("gen_ai_streams_active", &[]), Some(0));
}

const STOP: u32 = 1;
const STOP_AND_BUFFER: u32 = 1;
