//! The HTTP filter's hooks against the fake Envoy.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

use envoy_fake::{FakeEnvoy, Stream, StreamState};
use envoy_proxy_dynamic_modules_rust_sdk::abi::{
    BodyType, HeaderType, envoy_dynamic_module_type_attribute_id as Attribute,
    envoy_dynamic_module_type_on_http_filter_local_reply_status as LocalReplyStatus,
    envoy_dynamic_module_type_on_http_filter_request_body_status as RequestBodyStatus,
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_request_trailers_status as RequestTrailersStatus,
    envoy_dynamic_module_type_on_http_filter_response_body_status as ResponseBodyStatus,
    envoy_dynamic_module_type_on_http_filter_response_headers_status as ResponseHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_response_trailers_status as ResponseTrailersStatus,
};
use envoy_proxy_dynamic_modules_rust_sdk::host::MetadataValue;
use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyBuffer, EnvoyCounterVecId, EnvoyHttpFilter, EnvoyHttpFilterConfig, EnvoyHttpFilterScheduler, EnvoyRelease,
    Factories, HttpFilter, HttpFilterConfig, PanicPolicy,
};
use std::any::Any;
use std::sync::Mutex;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
static SCHEDULER: Mutex<Option<Box<dyn EnvoyHttpFilterScheduler>>> = Mutex::new(None);

fn saw(what: impl Into<String>) {
    SEEN.lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .push(what.into());
}

fn seen() -> Vec<String> {
    std::mem::take(&mut SEEN.lock().unwrap_or_else(|poison| poison.into_inner()))
}

fn text(buffer: Option<EnvoyBuffer<'_>>) -> String {
    buffer.map_or("none".to_owned(), |buffer| {
        String::from_utf8_lossy(buffer.as_slice()).into_owned()
    })
}

/// The filter's name chooses the panic policy, its configuration what it does.
#[derive(Clone)]
struct Module {
    watches: bool,
    config: String,
    requests: EnvoyCounterVecId,
}

fn factory<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    envoy: &mut EC,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    let config = String::from_utf8_lossy(config).into_owned();
    assert_ne!(config, "panic in config_new", "as asked");
    let requests = envoy.define_counter_vec("requests", &["class"]).ok()?;
    (config != "refuse").then(|| {
        Box::new(Module {
            watches: name == "tap",
            config,
            requests,
        }) as _
    })
}

fn route_factory(_: &str, config: &[u8]) -> Option<Box<dyn Any + Send + Sync>> {
    assert_ne!(config, b"panic", "as asked");
    (config != b"refuse").then(|| Box::new(String::from_utf8_lossy(config).into_owned()) as _)
}

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for Module {
    fn new_http_filter(&self, _: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        self.enter("new");
        Box::new(self.clone())
    }

    fn panic_policy(&self) -> PanicPolicy {
        if self.watches {
            PanicPolicy::PassThrough
        } else {
            PanicPolicy::FailRequest
        }
    }
}

impl Module {
    fn enter(&self, hook: &str) {
        saw(hook);
        assert!(self.config != format!("panic in {hook}"), "as asked");
    }

    fn look_at_headers<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF) {
        saw(text(envoy.get_request_header_value(":path")));
        saw(text(envoy.get_request_header_value("absent")));
        saw(format!(
            "{:?}",
            envoy
                .get_request_header_values("x-many")
                .iter()
                .map(|v| text(Some(*v)))
                .collect::<Vec<_>>()
        ));
        let all = envoy.get_request_headers();
        saw(all
            .iter()
            .map(|(key, value)| format!("{}={}", text(Some(*key)), text(Some(*value))))
            .collect::<Vec<_>>()
            .join("&"));
        assert!(envoy.set_request_header("x-set", b"new") && envoy.add_request_header("x-many", b"three"));
        assert!(envoy.remove_request_header("x-gone") && envoy.set_request_header("x-emptied", b""));
    }

    fn write<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF) {
        envoy.set_dynamic_metadata_string("ns", "text", "value");
        envoy.set_dynamic_metadata_number("ns", "number", 1.5);
        envoy.set_dynamic_metadata_bool("ns", "bool", true);
        saw(format!("struct {}", envoy.set_dynamic_metadata_struct("ns", b"\x0a")));
        assert!(envoy.set_filter_state_bytes(b"key", b"state"));
        saw(text(envoy.get_filter_state_bytes(b"key")));
        envoy.add_custom_flag("FLG");
    }

    fn ask<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF) {
        saw(format!(
            "route {:?}",
            envoy
                .get_most_specific_route_config()
                .and_then(|c| c.downcast::<String>().ok())
        ));
        saw(format!("worker {}", envoy.get_worker_index()));
        saw(format!("limit {}", envoy.get_buffer_limit()));
        for id in [
            Attribute::RequestPath,
            Attribute::ResponseCodeDetails,
            Attribute::XdsClusterName,
        ] {
            saw(text(envoy.get_attribute_string(id)));
        }
        for id in [
            Attribute::ResponseCode,
            Attribute::ResponseSize,
            Attribute::RequestSize,
            Attribute::RequestPath,
        ] {
            saw(format!("{:?}", envoy.get_attribute_int(id)));
        }
    }
}

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Module {
    fn on_request_headers(&mut self, envoy: &mut EHF, _: bool) -> RequestHeadersStatus {
        self.enter("request_headers");
        match self.config.as_str() {
            "headers" => self.look_at_headers(envoy),
            "write" => self.write(envoy),
            "ask" => self.ask(envoy),
            "schedule" => {
                *SCHEDULER.lock().unwrap() = Some(Box::new(envoy.new_scheduler()));
                return RequestHeadersStatus::StopAllIterationAndWatermark;
            }
            "reply" | "reply and look" | "reply, then panic" => {
                envoy.send_response(403, &[("x-a", b"1"), ("x-a", b"\xff")], Some(b"no"), Some("denied"));
                saw(format!("after reply {}", self.config));
                assert_ne!(self.config, "reply, then panic", "as asked");
                return RequestHeadersStatus::StopIteration;
            }
            _ => {}
        }
        RequestHeadersStatus::Continue
    }

    fn on_request_body(&mut self, envoy: &mut EHF, end: bool) -> RequestBodyStatus {
        self.enter("request_body");
        if self.config == "body" {
            let chunks = envoy.get_received_request_body();
            let lengths = chunks.map(|chunks| chunks.iter().map(|chunk| chunk.as_slice().len()).collect::<Vec<_>>());
            saw(format!(
                "{lengths:?} of {} end {end}",
                envoy.get_received_request_body_size()
            ));
            saw(format!(
                "{:?} {}",
                envoy.get_buffered_request_body().is_some(),
                envoy.received_buffered_request_body()
            ));
            if end {
                assert!(envoy.drain_received_request_body(2) && envoy.append_received_request_body(b"tail"));
                return RequestBodyStatus::StopIterationAndBuffer;
            }
        }
        RequestBodyStatus::Continue
    }

    fn on_request_trailers(&mut self, _: &mut EHF) -> RequestTrailersStatus {
        self.enter("request_trailers");
        RequestTrailersStatus::Continue
    }

    fn on_response_headers(&mut self, envoy: &mut EHF, _: bool) -> ResponseHeadersStatus {
        self.enter("response_headers");
        saw(text(envoy.get_response_header_value(":status")));
        envoy.set_response_header("x-seen", b"yes");
        ResponseHeadersStatus::Continue
    }

    fn on_response_body(&mut self, envoy: &mut EHF, _: bool) -> ResponseBodyStatus {
        self.enter("response_body");
        let chunks = envoy.get_received_response_body().unwrap_or_default();
        saw(chunks
            .iter()
            .map(|chunk| String::from_utf8_lossy(chunk.as_slice()).into_owned())
            .collect::<Vec<_>>()
            .join("|"));
        ResponseBodyStatus::Continue
    }

    fn on_response_trailers(&mut self, _: &mut EHF) -> ResponseTrailersStatus {
        self.enter("response_trailers");
        ResponseTrailersStatus::Continue
    }

    fn on_stream_complete(&mut self, envoy: &mut EHF) {
        self.enter("stream_complete");
        assert_eq!(envoy.increment_counter_vec(self.requests, &["ok"], 1), Ok(()));
        assert!(envoy.increment_counter_vec(self.requests, &["ok"; 40], 1).is_err());
    }

    fn on_scheduled(&mut self, envoy: &mut EHF, event_id: u64) {
        self.enter("scheduled");
        saw(format!("event {event_id}"));
        envoy.continue_decoding();
    }

    fn on_downstream_above_write_buffer_high_watermark(&mut self, _: &mut EHF) {
        self.enter("above_write_buffer_high_watermark");
    }

    fn on_downstream_below_write_buffer_low_watermark(&mut self, _: &mut EHF) {
        self.enter("below_write_buffer_low_watermark");
    }

    fn on_local_reply(&mut self, _: &mut EHF, code: u32, details: EnvoyBuffer<'_>, _: bool) -> LocalReplyStatus {
        self.enter("local_reply");
        saw(format!("{code} {}", text(Some(details))));
        LocalReplyStatus::ContinueAndResetStream
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        saw("dropped");
    }
}

fn envoy_of(release: EnvoyRelease) -> FakeEnvoy {
    let envoy = FakeEnvoy::new(release);
    seen();
    assert!(
        envoy
            .load(|| true, Factories::none().http(factory).http_per_route(route_factory))
            .is_some()
    );
    envoy
}

/// Gives a stream of a filter to a test, on Envoy 1.40.
fn on_stream(name: &str, config: &str, test: impl FnOnce(&FakeEnvoy, &Stream)) {
    let envoy = envoy_of(EnvoyRelease::V1_40);
    let filters = envoy.http(name, config.as_bytes()).unwrap();
    let stream = filters.stream().unwrap();
    seen();
    test(&envoy, &stream);
    assert!(
        config.contains("panic") || !envoy.logged(4, "panic"),
        "an assertion in a hook failed"
    );
}

#[test]
fn headers_are_read_and_changed() {
    on_stream("filter", "headers", |_, stream| {
        let headers = [
            (":path", "/x"),
            ("x-many", "one"),
            ("x-many", "two"),
            ("x-gone", "1"),
            ("x-emptied", "1"),
            ("x-nil", ""),
        ];
        stream.request_headers(&headers, true);
        let all = ":path=/x&x-many=one&x-many=two&x-gone=1&x-emptied=1&x-nil=";
        assert_eq!(seen(), ["request_headers", "/x", "none", r#"["one", "two"]"#, all]);
        assert_eq!(stream.header(HeaderType::Request, "x-set"), ["new"]);
        assert_eq!(stream.header(HeaderType::Request, "x-many"), ["one", "two", "three"]);
        assert!(stream.header(HeaderType::Request, "x-gone").is_empty());
        assert!(stream.header(HeaderType::Request, "x-emptied").is_empty());
    });
}

#[test]
fn an_absent_header_map_is_empty() {
    on_stream("filter", "headers", |_, stream| {
        stream.request_headers(&[], true);
        assert_eq!(seen(), ["request_headers", "none", "none", "[]", ""]);
    });
}

#[test]
fn a_body_comes_in_chunks() {
    on_stream("filter", "body", |_, stream| {
        assert_eq!(
            stream.request_body(&[b"abc", b"", b"de"], false),
            RequestBodyStatus::Continue as u32
        );
        assert_eq!(stream.request_body(&[], false), RequestBodyStatus::Continue as u32);
        stream.with(|state| state.set_body(BodyType::BufferedRequest, &[b"before"]));
        stream.with(|state| state.received_buffered = [true, false]);
        assert_eq!(
            stream.request_body(&[b"xyz"], true),
            RequestBodyStatus::StopIterationAndBuffer as u32
        );
        let expected = [
            ["request_body", "Some([3, 0, 2]) of 5 end false", "false false"],
            ["request_body", "Some([]) of 0 end false", "false false"],
            ["request_body", "Some([3]) of 3 end true", "true true"],
        ];
        assert_eq!(seen(), expected.concat());
        assert_eq!(stream.with(|state| state.body(BodyType::ReceivedRequest)), b"ztail");
    });
}

#[test]
fn the_response_is_seen_and_changed() {
    on_stream("filter", "", |envoy, stream| {
        stream.response_headers(&[(":status", "200")], false);
        stream.response_body(&[b"he", b"llo"], true);
        stream.response_trailers();
        stream.complete();
        let expected = [
            "response_headers",
            "200",
            "response_body",
            "he|llo",
            "response_trailers",
            "stream_complete",
            "dropped",
        ];
        assert_eq!(seen(), expected);
        assert_eq!(stream.header(HeaderType::Response, "x-seen"), ["yes"]);
        assert_eq!(envoy.metric("requests", &["ok"]), Some(1));
    });
}

#[test]
fn metadata_state_and_flags_are_written() {
    for (release, structs) in [(EnvoyRelease::V1_39, false), (EnvoyRelease::V1_40, true)] {
        let envoy = envoy_of(release);
        let filters = envoy.http("filter", b"write").unwrap();
        let stream = filters.stream().unwrap();
        stream.request_headers(&[], true);
        assert_eq!(
            seen(),
            ["new", "request_headers", &format!("struct {structs}"), "state"]
        );
        assert_eq!(stream.metadata("ns", "text"), Some(MetadataValue::Text("value".into())));
        assert_eq!(stream.metadata("ns", "number"), Some(MetadataValue::Number(1.5)));
        assert_eq!(stream.metadata("ns", "bool"), Some(MetadataValue::Bool(true)));
        assert_eq!(stream.metadata("ns", "").is_some(), structs);
        assert_eq!(stream.with(|state| state.flags.clone()), ["FLG"]);
    }
}

#[test]
fn an_attribute_is_asked_for_only_where_the_release_knows_it() {
    let everything = |state: &mut StreamState| {
        state.worker = 3;
        state.buffer_limit = 9;
        state.attribute_strings = [0, 16, 57].map(|id| (id, format!("text {id}").into_bytes())).into();
        state.attribute_ints = [15, 21, 13, 0].map(|id| (id, u64::from(id))).into();
    };
    let cases = [
        (
            EnvoyRelease::V1_38,
            vec![0, 15],
            ["text 0", "none", "none", "Some(15)", "None", "None", "None"],
        ),
        (
            EnvoyRelease::V1_39,
            vec![0, 16, 15, 21],
            ["text 0", "text 16", "none", "Some(15)", "Some(21)", "None", "None"],
        ),
        (
            EnvoyRelease::V1_40,
            vec![0, 16, 57, 15, 21, 13],
            [
                "text 0", "text 16", "text 57", "Some(15)", "Some(21)", "Some(13)", "None",
            ],
        ),
    ];
    for (release, asked, answers) in cases {
        let envoy = envoy_of(release);
        let filters = envoy.http("filter", b"ask").unwrap();
        let stream = filters.stream_with(everything).unwrap();
        stream.request_headers(&[], true);
        assert_eq!(
            seen()[2..],
            [&["route None", "worker 3", "limit 9"][..], &answers[..]].concat(),
            "{release:?}"
        );
        assert_eq!(
            stream.with(|state| state.asked_attributes.clone()),
            asked,
            "{release:?}"
        );
    }
}

#[test]
fn a_route_brings_its_configuration() {
    let envoy = envoy_of(EnvoyRelease::V1_40);
    let filters = envoy.http("filter", b"ask").unwrap();
    let route = envoy.route("filter", b"special");
    let stream = filters.stream_with(|state| state.route = route).unwrap();
    stream.request_headers(&[], true);
    assert!(seen().contains(&r#"route Some("special")"#.to_owned()));
    assert!(envoy.route("filter", b"refuse").is_none());
    assert!(envoy.route("filter", b"panic").is_none());
    assert!(envoy.logged(4, "http_filter_per_route_config_new was caught"));
}

#[test]
fn a_refused_configuration_is_null() {
    let envoy = envoy_of(EnvoyRelease::V1_40);
    assert!(envoy.http("filter", b"refuse").is_none());
    assert!(envoy.http("filter", b"panic in config_new").is_none());
    assert!(envoy.http_raw(Some(b"\xff"), None).is_none());
    assert!(envoy.http_raw(None, None).is_some());
}

#[test]
fn a_filter_that_decides_fails_its_stream_when_it_panics() {
    type Call = fn(&Stream) -> u32;
    let hooks: [(&str, Call, u32); 7] = [
        (
            "request_headers",
            |s| s.request_headers(&[], false),
            RequestHeadersStatus::StopIteration as u32,
        ),
        (
            "request_body",
            |s| s.request_body(&[b"x"], false),
            RequestBodyStatus::StopIterationNoBuffer as u32,
        ),
        (
            "request_trailers",
            |s| s.request_trailers(),
            RequestTrailersStatus::StopIteration as u32,
        ),
        (
            "response_headers",
            |s| s.response_headers(&[], false),
            ResponseHeadersStatus::StopIteration as u32,
        ),
        (
            "response_body",
            |s| s.response_body(&[b"x"], false),
            ResponseBodyStatus::StopIterationNoBuffer as u32,
        ),
        (
            "response_trailers",
            |s| s.response_trailers(),
            ResponseTrailersStatus::StopIteration as u32,
        ),
        (
            "scheduled",
            |s| {
                s.scheduled(1);
                0
            },
            0,
        ),
    ];
    for (hook, call, answer) in hooks {
        on_stream("filter", &format!("panic in {hook}"), |envoy, stream| {
            assert_eq!(call(stream), answer, "{hook}");
            let replies: Vec<_> = stream
                .responses()
                .iter()
                .map(|reply| (reply.status, reply.details.clone()))
                .collect();
            assert_eq!(replies, [(500, "module_panic".to_owned())], "{hook}");
            assert!(envoy.logged(4, &format!("panic in the Envoy hook http_filter_{hook} was caught")));
            assert_eq!(seen(), [hook, "dropped"], "the broken filter is gone");
            assert_eq!(stream.response_body(&[], true), 0, "{hook}: what follows passes");
            stream.complete();
            assert!(seen().is_empty(), "{hook}");
        });
    }
}

#[test]
fn a_filter_that_watches_lets_its_stream_go_on_when_it_panics() {
    type Call = fn(&Stream) -> u32;
    let hooks: [(&str, Call); 6] = [
        ("request_headers", |s| s.request_headers(&[], false)),
        ("request_body", |s| s.request_body(&[b"x"], false)),
        ("request_trailers", |s| s.request_trailers()),
        ("response_headers", |s| s.response_headers(&[], false)),
        ("response_body", |s| s.response_body(&[b"x"], false)),
        ("response_trailers", |s| s.response_trailers()),
    ];
    for (hook, call) in hooks {
        on_stream("tap", &format!("panic in {hook}"), |_, stream| {
            assert_eq!(call(stream), 0, "{hook}");
            assert!(stream.responses().is_empty(), "{hook}");
        });
    }
}

#[test]
fn the_hooks_that_come_too_late_to_answer_survive_their_panic() {
    type Call = fn(&Stream);
    let hooks: [(&str, Call); 4] = [
        ("stream_complete", |s| s.complete()),
        ("above_write_buffer_high_watermark", |s| s.watermarks()),
        ("below_write_buffer_low_watermark", |s| s.watermarks()),
        ("local_reply", |s| {
            assert_eq!(s.local_reply(503, "x"), LocalReplyStatus::Continue as u32)
        }),
    ];
    for (hook, call) in hooks {
        on_stream("filter", &format!("panic in {hook}"), |envoy, stream| {
            call(stream);
            assert!(stream.responses().is_empty(), "{hook}");
            assert!(envoy.logged(4, &format!("{hook} was caught")), "{hook}");
        });
    }
}

#[test]
fn a_panic_while_a_filter_is_made_closes_the_stream_or_passes() {
    let envoy = envoy_of(EnvoyRelease::V1_40);
    let decides = envoy.http("filter", b"panic in new").unwrap();
    assert!(decides.stream().is_none());
    let watches = envoy.http("tap", b"panic in new").unwrap();
    let stream = watches.stream().unwrap();
    assert_eq!(stream.request_headers(&[], true), RequestHeadersStatus::Continue as u32);
}

#[test]
fn a_reply_carries_everything_and_does_not_enter_the_filter_twice() {
    on_stream("filter", "reply", |_, stream| {
        assert_eq!(
            stream.request_headers(&[], true),
            RequestHeadersStatus::StopIteration as u32
        );
        assert_eq!(
            seen(),
            ["request_headers", "after reply reply"],
            "its own local reply is not told to it"
        );
        let [reply] = &stream.responses()[..] else {
            panic!("one reply")
        };
        assert_eq!(
            (reply.status, reply.body.as_slice(), reply.details.as_str()),
            (403, &b"no"[..], "denied")
        );
        assert_eq!(
            reply.headers,
            [("x-a".to_owned(), b"1".to_vec()), ("x-a".to_owned(), b"\xff".to_vec())]
        );
    });
    on_stream("filter", "", |_, stream| {
        assert_eq!(
            stream.local_reply(503, "no route"),
            LocalReplyStatus::ContinueAndResetStream as u32
        );
        assert_eq!(seen(), ["local_reply", "503 no route"]);
    });
}

#[test]
fn a_reply_that_ends_the_stream_does_not_pull_the_filter_from_under_its_hook() {
    on_stream("filter", "reply and look", |_, stream| {
        stream.with(|state| state.response_ends_stream = true);
        stream.request_headers(&[], true);
        assert_eq!(seen(), ["request_headers", "after reply reply and look", "dropped"]);
        assert_eq!(stream.response_body(&[], true), 0, "the filter is gone");
    });
}

#[test]
fn a_panic_after_the_end_of_the_stream_answers_nothing() {
    on_stream("filter", "reply, then panic", |envoy, stream| {
        stream.with(|state| state.response_ends_stream = true);
        assert_eq!(stream.request_headers(&[], true), RequestHeadersStatus::Continue as u32);
        assert_eq!(stream.responses().len(), 1, "Envoy's filter is gone already");
        assert!(envoy.logged(4, "http_filter_request_headers was caught"));
    });
}

#[test]
fn an_event_crosses_threads_and_after_the_stream_it_does_nothing() {
    on_stream("filter", "schedule", |envoy, stream| {
        let status = stream.request_headers(&[], true);
        assert_eq!(status, RequestHeadersStatus::StopAllIterationAndWatermark as u32);
        let scheduler = SCHEDULER.lock().unwrap().take().unwrap();
        let scheduler = std::thread::spawn(move || {
            scheduler.commit(9);
            scheduler
        });
        let scheduler = scheduler.join().unwrap();
        assert_eq!(envoy.run_stream_events(stream), 1);
        assert!(seen().contains(&"event 9".to_owned()));
        assert_eq!(stream.with(|state| state.continued_decoding), 1);
        stream.complete();
        scheduler.commit(10);
        envoy.run_stream_events(stream);
        assert!(!seen().contains(&"event 10".to_owned()));
        drop(scheduler);
        assert_eq!(envoy.schedulers(), 0);
    });
}

#[test]
fn metrics_with_too_many_labels_are_refused_not_cut() {
    on_stream("filter", "", |envoy, stream| {
        stream.complete();
        assert_eq!(envoy.metric("requests", &["ok"]), Some(1));
        assert!(!envoy.logged(4, "panic"), "the assertions in the hook held");
    });
}
