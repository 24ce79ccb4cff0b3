//! Envoy's log behind `tracing`.
#![forbid(unsafe_code)]

use envoy_fake::{FakeEnvoy, LogLine};
use envoy_proxy_dynamic_modules_rust_sdk::{EnvoyRelease, Factories, init_logging};
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

fn envoy(release: EnvoyRelease) -> FakeEnvoy {
    let envoy = FakeEnvoy::new(release);
    assert!(
        envoy.load(init_logging, Factories::none()).is_some(),
        "the log can be installed, again and again"
    );
    envoy
}

/// Counts how often it was formatted.
#[derive(Clone, Default)]
struct Costly(Rc<Cell<usize>>);

impl fmt::Display for Costly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.set(self.0.get() + 1);
        f.write_str("formatted")
    }
}

#[test]
fn the_level_is_asked_before_anything_is_formatted() {
    let envoy = envoy(EnvoyRelease::V1_40);
    let costly = Costly::default();
    for level in [2, 6, 1] {
        envoy.set_log_level(level);
        tracing::debug!(value = %costly, "said");
    }
    assert_eq!(costly.0.get(), 1, "once, for the level that is on");
    assert_eq!(envoy.logs().len(), 1);
}

#[test]
fn an_event_is_its_message_and_its_fields() {
    let envoy = envoy(EnvoyRelease::V1_40);
    tracing::warn!(relay = "default", attempt = 3, cause = %"no route", empty = "", quoted = "a b", "not connected");
    tracing::info!(only = true);
    let messages: Vec<_> = envoy.logs().into_iter().map(|line| line.message).collect();
    assert_eq!(
        messages,
        [
            r#"not connected relay=default attempt=3 cause=no route empty="" quoted="a b""#,
            "only=true"
        ]
    );
}

#[test]
fn the_levels_are_envoys() {
    let envoy = envoy(EnvoyRelease::V1_38);
    envoy.set_log_level(0);
    tracing::trace!("t");
    tracing::debug!("d");
    tracing::info!("i");
    tracing::warn!("w");
    tracing::error!("e");
    let levels: Vec<_> = envoy
        .logs()
        .into_iter()
        .map(|line| (line.level, line.message))
        .collect();
    assert_eq!(
        levels,
        [(0, "t"), (1, "d"), (2, "i"), (3, "w"), (4, "e")].map(|(n, m)| (n, m.to_owned()))
    );
}

#[test]
fn file_and_line_are_told_from_1_40_on() {
    for (release, told) in [(EnvoyRelease::V1_39, false), (EnvoyRelease::V1_40, true)] {
        let envoy = envoy(release);
        tracing::info!("here");
        let [LogLine { place, .. }] = &envoy.logs()[..] else {
            panic!("one line")
        };
        assert_eq!(place.is_some(), told);
        assert!(
            place
                .as_ref()
                .is_none_or(|(file, line)| file.ends_with("logging.rs") && *line > 0)
        );
    }
}

#[test]
fn a_field_cannot_break_the_line() {
    let envoy = envoy(EnvoyRelease::V1_40);
    tracing::info!(peer = "x\nfake line", shown = %"y\r\n\u{1b}[31mz", "two\nlines of our own");
    let [LogLine { message, .. }] = &envoy.logs()[..] else {
        panic!("one line")
    };
    assert_eq!(
        message,
        "two\nlines of our own peer=\"x\\nfake line\" shown=y\\r\\n\\u{1b}[31mz"
    );
}

#[test]
fn a_value_that_logs_while_it_is_formatted_does_no_harm() {
    struct Talks;
    impl fmt::Display for Talks {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            tracing::info!("inner");
            f.write_str("outer value")
        }
    }
    let envoy = envoy(EnvoyRelease::V1_40);
    tracing::info!(value = %Talks, "outer");
    assert!(
        envoy
            .logs()
            .iter()
            .any(|line| line.message == "outer value=outer value")
    );
}

#[test]
fn any_thread_may_log() {
    let envoy = envoy(EnvoyRelease::V1_40);
    let threads: Vec<_> = (0..4)
        .map(|n| std::thread::spawn(move || tracing::info!(n, "from a thread")))
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(envoy.logs().len(), 4);
}
