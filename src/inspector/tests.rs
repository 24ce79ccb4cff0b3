//! Promises of the recorder: what is remembered, how much of it, and that nothing secret is.

use std::thread;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};

use super::slots::{PLACES, Slot};
use super::view::Seen;
use super::*;
use crate::config;
use crate::usage::Usage;

const ON: config::Inspector = config::Inspector { bodies: None };
const BODIES: config::Inspector = config::Inspector { bodies: Some(300) };

fn begin(recorder: &Recorder, id: &str) -> Option<Ticket> {
    begin_with(recorder, id, &HeaderMap::new(), b"{}")
}

fn begin_with(recorder: &Recorder, id: &str, headers: &HeaderMap, body: &[u8]) -> Option<Ticket> {
    recorder.begin(&Asked {
        id,
        path: "/v1/responses",
        headers,
        body,
        waited: Duration::from_millis(5),
    })
}

fn finish(recorder: &Recorder, ticket: Option<Ticket>, id: &str) {
    let outcome = Outcome {
        status: Some(200),
        model: Some("demo"),
        usage: Usage {
            input: Some(3),
            output: Some(4),
            ..Usage::default()
        },
        took: Duration::from_millis(70),
        ..Outcome::default()
    };
    recorder.finish(ticket.unwrap(), id, "/v1/responses", &outcome);
}

fn only(recorder: &Recorder) -> Seen {
    let mut seen = recorder.seen("eu");
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

#[test]
fn a_request_is_followed_from_its_beginning_to_its_ack() {
    let recorder = Recorder::new(Some(&ON));
    let ticket = begin(&recorder, "r-1");
    let seen = only(&recorder);
    assert_eq!((seen.over, seen.status, seen.forward_seconds), (false, None, None));
    assert_eq!((seen.relay.as_str(), seen.id.as_str()), ("eu", "r-1"));
    assert_eq!(
        (seen.path.as_deref(), seen.queue_seconds),
        (Some("/v1/responses"), 0.005)
    );
    finish(&recorder, ticket, "r-1");
    let seen = only(&recorder);
    assert_eq!(
        (seen.over, seen.status, seen.forward_seconds),
        (true, Some(200), Some(0.07))
    );
    assert_eq!((seen.input_tokens, seen.output_tokens), (Some(3), Some(4)));
    assert_eq!(
        (seen.model.as_deref(), seen.fault, seen.ack_seconds),
        (Some("demo"), None, None)
    );
    recorder.acknowledged("r-1", Duration::from_millis(2));
    assert_eq!(only(&recorder).ack_seconds, Some(0.002));
    recorder.acknowledged("somebody else's", Duration::from_millis(9));
    assert_eq!(only(&recorder).ack_seconds, Some(0.002));
}

#[test]
fn so_many_are_remembered_and_a_long_one_is_still_told_at_its_end() {
    let recorder = Recorder::new(Some(&ON));
    let long = begin(&recorder, "long");
    for n in 0..3 * PLACES {
        let id = format!("r-{n}");
        let ticket = begin(&recorder, &id);
        finish(&recorder, ticket, &id);
    }
    let seen = recorder.seen("eu");
    assert_eq!(seen.len() as u64, PLACES);
    assert!(!seen.iter().any(|seen| seen.id == "long"));
    recorder.acknowledged("r-0", Duration::ZERO);
    finish(&recorder, long, "long");
    let seen = recorder.seen("eu");
    assert_eq!(seen.len() as u64, PLACES);
    let long = seen.iter().find(|seen| seen.id == "long").unwrap();
    assert_eq!((long.status, long.queue_seconds), (Some(200), 0.005));
    assert!(
        seen.iter().all(|seen| seen.ack_seconds.is_none()),
        "an ack went to another request"
    );
}

#[test]
fn threads_do_not_mix_up_each_others_requests() {
    let recorder = Recorder::new(Some(&ON));
    thread::scope(|scope| {
        for thread in 0..4 {
            let recorder = &recorder;
            scope.spawn(move || {
                for n in 0..1000 {
                    let id = format!("{thread}-{n}");
                    let ticket = begin(recorder, &id);
                    finish(recorder, ticket, &id);
                    recorder.acknowledged(&id, Duration::from_secs(thread));
                }
            });
        }
        for _ in 0..100 {
            assert!(recorder.seen("eu").len() as u64 <= PLACES);
        }
    });
    let seen = recorder.seen("eu");
    assert_eq!(seen.len() as u64, PLACES);
    for seen in seen {
        let thread: f64 = seen.id.split('-').next().unwrap().parse().unwrap();
        assert!(seen.ack_seconds.is_none_or(|after| after == thread), "{seen:?}");
    }
}

#[test]
fn what_never_reached_the_model_is_told_with_its_fault() {
    let recorder = Recorder::new(Some(&ON));
    recorder.refused("r-1", Some("/v1/<script>"), 404, "path_not_allowed");
    let seen = only(&recorder);
    assert_eq!(
        (seen.status, seen.fault, seen.over),
        (Some(404), Some("path_not_allowed"), true)
    );
    assert_eq!(seen.path.as_deref(), Some("/v1/<script>"));
    // at the model, and in the queue
    let recorder = Recorder::new(Some(&ON));
    let ticket = begin(&recorder, "r-1");
    recorder.timed_out("r-1", Duration::from_secs(600));
    let seen = only(&recorder);
    assert_eq!(
        (seen.status, seen.fault, seen.over),
        (Some(503), Some("adapter_timeout"), true)
    );
    // whoever waits for the model is told last, and has no answer to tell of
    let given_up = Outcome {
        fault: Some("adapter_timeout"),
        took: Duration::from_secs(600),
        ..Outcome::default()
    };
    recorder.finish(ticket.unwrap(), "r-1", "/v1/responses", &given_up);
    let seen = only(&recorder);
    assert_eq!(
        (seen.status, seen.fault, seen.forward_seconds),
        (Some(503), Some("adapter_timeout"), Some(600.0))
    );
    recorder.timed_out("r-2", Duration::from_secs(600));
    let seen = recorder.seen("eu");
    let queued = seen.iter().find(|seen| seen.id == "r-2").unwrap();
    assert_eq!((queued.fault, queued.queue_seconds), (Some("adapter_timeout"), 600.0));
    recorder.expired("r-2");
    assert!(
        recorder
            .seen("eu")
            .iter()
            .all(|seen| seen.ack_expired == (seen.id == "r-2"))
    );
}

#[test]
fn of_a_refused_path_no_query_is_kept() {
    for (path, shown) in [
        ("/v1/models?api_key=canary", "/v1/models"),
        ("/v1/models#canary", "/v1/models"),
    ] {
        let recorder = Recorder::new(Some(&ON));
        recorder.refused("r-1", Some(path), 404, "path_not_allowed");
        assert_eq!(only(&recorder).path.as_deref(), Some(shown));
    }
}

#[test]
fn a_request_takes_400_bytes_at_most() {
    assert!(size_of::<std::sync::Mutex<Slot>>() <= 400, "{}", size_of::<Slot>());
}

#[test]
fn a_peers_text_takes_no_more_than_its_place() {
    let recorder = Recorder::new(Some(&ON));
    let (id, path) = ("é".repeat(1000), "/".repeat(1000));
    recorder.refused(&id, Some(&path), 404, "path_not_allowed");
    let seen = only(&recorder);
    assert_eq!(seen.id, format!("{}…", "é".repeat(32)));
    assert_eq!(seen.path, Some(format!("{}…", "/".repeat(96))));
    recorder.acknowledged(&id, Duration::ZERO);
    assert_eq!(
        only(&recorder).ack_seconds,
        Some(0.0),
        "the whole id counts, not what is kept of it"
    );
    recorder.trouble("closed", &"x".repeat(100_000));
    for _ in 0..100 {
        recorder.trouble("closed", "again");
    }
    let troubles = recorder.troubles("eu");
    assert_eq!((troubles.len(), troubles[0].message.as_str()), (32, "again"));
}

#[test]
fn what_is_switched_off_remembers_nothing() {
    let recorder = Recorder::default();
    assert!(begin(&recorder, "r-1").is_none());
    recorder.refused("r-1", None, 404, "path_not_allowed");
    recorder.timed_out("r-1", Duration::ZERO);
    recorder.acknowledged("r-1", Duration::ZERO);
    recorder.trouble("closed", "by the relay");
    assert_eq!((recorder.seen("eu"), recorder.troubles("eu")), (vec![], vec![]));
    // on, and off again with a request under way
    recorder.set(Some(&ON));
    let ticket = begin(&recorder, "r-2");
    recorder.set(None);
    finish(&recorder, ticket, "r-2");
    assert_eq!(recorder.seen("eu"), vec![]);
}

#[test]
fn no_content_is_kept_unless_asked_for() {
    let recorder = Recorder::new(Some(&ON));
    let ticket = begin_with(&recorder, "r-1", &HeaderMap::new(), br#"{"messages":"canary"}"#);
    finish(&recorder, ticket, "r-1");
    assert!(!only(&recorder).content && !recorder.keeps_content());
    assert_eq!(recorder.content(1), None);
}

fn kept(recorder: &Recorder, id: &str, body: &[u8], frame: &str) -> Content {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
    headers.insert(AUTHORIZATION, "Bearer canary".parse().unwrap());
    headers.insert(COOKIE, "canary=1".parse().unwrap());
    headers.insert("x-custom", "canary".parse().unwrap());
    let ticket = begin_with(recorder, id, &headers, body).unwrap();
    let outcome = Outcome {
        frame: Some(frame),
        ..Outcome::default()
    };
    recorder.finish(ticket, id, "/v1/responses", &outcome);
    let seen = recorder.seen("eu");
    let seen = seen.iter().find(|seen| seen.id == id).unwrap();
    assert!(seen.content);
    let number = seen.key.split_once('-').unwrap().1.parse().unwrap();
    recorder.content(number).unwrap()
}

#[test]
fn kept_content_has_the_names_of_headers_and_no_secret() {
    let recorder = Recorder::new(Some(&BODIES));
    let frame = r#"{"type":"response","request_id":"r","payload":{"status":200,"headers":{"content-type":"application/json","set-cookie":"canary"},"body":{"body":1,"access_token":"canary"}}}"#;
    let body = br#"{"tools":[{"type":"mcp","authorization":"canary"}],"input":"hello"}"#;
    let content = kept(&recorder, "r-1", body, frame);
    assert_eq!(
        content.request.body,
        r#"{"tools":[{"type":"mcp","authorization":"[hidden]"}],"input":"hello"}"#
    );
    assert_eq!(content.request.body_bytes, body.len());
    let header = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(
        content.request.headers,
        [
            header("content-type", Some("application/json")),
            header("authorization", None),
            header("cookie", None),
            header("x-custom", None),
        ]
    );
    let answer = content.answer.unwrap();
    assert_eq!(answer.body, r#"{"body":1,"access_token":"[hidden]"}"#);
    assert_eq!(
        answer.headers,
        [
            header("content-type", Some("application/json")),
            header("set-cookie", None)
        ]
    );
}

#[test]
fn kept_content_is_bounded_and_forgotten_when_it_is_not_wanted_any_more() {
    let recorder = Recorder::new(Some(&BODIES));
    let body = format!("\"{}\"", "é".repeat(1000));
    let frame = format!(r#"{{"payload":{{"headers":{{}},"body":{body}}}}}"#);
    for n in 0..40 {
        let content = kept(&recorder, &format!("r-{n}"), body.as_bytes(), &frame);
        assert_eq!(content.request.body_bytes, 2002);
        assert!(content.request.body.len() <= 310 && content.answer.unwrap().body.len() <= 310);
    }
    let is_kept = |number: &u64| recorder.content(*number).is_some();
    assert_eq!(
        (1..=40).filter(is_kept).collect::<Vec<_>>(),
        (9..=40).collect::<Vec<_>>()
    );
    recorder.set(Some(&ON));
    assert_eq!((1..=40).filter(is_kept).count(), 0);
}
