//! The relays' statistics on the test host.

use std::sync::Mutex;

use envoy_fake::{Bootstrap, FakeEnvoy};
use envoy_proxy_dynamic_modules_rust_sdk::{
    BootstrapExtension, BootstrapExtensionConfig, EnvoyBootstrapExtension, EnvoyRelease, Factories,
};

use super::*;
use crate::status::snapshot::{ChatSnapshot, PauseSnapshot};

/// What the next update shows.
static SHOWN: Mutex<Vec<RelaySnapshot>> = Mutex::new(Vec::new());
static CHATS: Mutex<Vec<ChatSnapshot>> = Mutex::new(Vec::new());

struct Host(Mutex<RelayStats>);

struct Nothing;

impl BootstrapExtension for Nothing {}

impl BootstrapExtensionConfig for Host {
    fn new_bootstrap_extension(&self, _: &mut dyn EnvoyBootstrapExtension) -> Box<dyn BootstrapExtension> {
        Box::new(Nothing)
    }

    fn on_scheduled(&self, envoy: &mut dyn EnvoyBootstrapExtensionConfig, _: u64) {
        let process = ProcessSnapshot {
            relays: SHOWN.lock().unwrap().clone(),
            chat: CHATS.lock().unwrap().clone(),
            ..ProcessSnapshot::default()
        };
        self.0.lock().unwrap().update(envoy, &process);
    }
}

fn new_host(
    envoy: &mut dyn EnvoyBootstrapExtensionConfig,
    _: &str,
    _: &[u8],
) -> Option<Box<dyn BootstrapExtensionConfig>> {
    Some(Box::new(Host(Mutex::new(RelayStats::define(envoy).ok()?))))
}

fn show(bootstrap: &Bootstrap, relays: &[&RelaySnapshot]) {
    *SHOWN.lock().unwrap() = relays.iter().map(|relay| (*relay).clone()).collect();
    bootstrap.scheduled(0);
}

#[test]
fn statistics_follow_the_snapshots() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_38);
    envoy.load(|| true, Factories::none().bootstrap(new_host)).unwrap();
    let bootstrap = envoy.bootstrap("stats", b"").unwrap();
    let mut relay = RelaySnapshot {
        name: "eu".to_owned(),
        state: RelayState::Connected,
        in_flight: 3,
        ..RelaySnapshot::default()
    };
    relay.totals.requests = 5;
    relay.totals.input_tokens = 70;
    relay.totals.responses = [(200, 3), (204, 1), (503, 1)].into();
    relay.totals.faults = [("adapter_timeout".to_owned(), 1)].into();
    relay.totals.not_admitted = [("tokens_per_day".to_owned(), 4)].into();
    relay.paused = Some(PauseSnapshot::default());
    show(&bootstrap, &[&relay]);
    show(&bootstrap, &[&relay]);
    for (name, labels, value) in [
        ("relay_connected", &["eu"][..], Some(1)),
        ("relay_waiting_for_lock", &["eu"], Some(0)),
        ("relay_requests_in_flight", &["eu"], Some(3)),
        ("relay_requests_total", &["eu"], Some(5)),
        ("relay_responses_total", &["eu", "2xx"], Some(4)),
        ("relay_responses_total", &["eu", "5xx"], Some(1)),
        ("relay_faults_total", &["eu", "adapter_timeout"], Some(1)),
        ("relay_tokens_total", &["eu", "input"], Some(70)),
        ("relay_budget_refused_total", &["eu", "tokens_per_day"], Some(4)),
        ("relay_paused", &["eu"], Some(1)),
        // what has not happened has no series
        ("relay_tokens_total", &["eu", "output"], None),
        ("relay_replaced_total", &["eu"], None),
    ] {
        assert_eq!(envoy.metric(name, labels), value, "{name} {labels:?}");
    }

    relay.totals.requests = 7;
    relay.state = RelayState::BackingOff;
    relay.totals.reconnects = [("closed_1006".to_owned(), 1)].into();
    show(&bootstrap, &[&relay]);
    assert_eq!(envoy.metric("relay_requests_total", &["eu"]), Some(7));
    assert_eq!(envoy.metric("relay_connected", &["eu"]), Some(0));
    assert_eq!(envoy.metric("relay_reconnects_total", &["eu", "closed_1006"]), Some(1));

    // the client was replaced by another that counts from zero
    relay.totals = Totals::default();
    show(&bootstrap, &[&relay]);
    relay.totals.requests = 2;
    show(&bootstrap, &[&relay]);
    assert_eq!(envoy.metric("relay_requests_total", &["eu"]), Some(9));

    // it is gone: its gauges say so, its counts stay
    show(&bootstrap, &[]);
    assert_eq!(envoy.metric("relay_requests_in_flight", &["eu"]), Some(0));
    assert_eq!(envoy.metric("relay_requests_total", &["eu"]), Some(9));
}

#[test]
fn two_clients_of_one_name_show_as_one() {
    let relay = |state, requests| RelaySnapshot {
        name: "eu".to_owned(),
        state,
        totals: Totals {
            requests,
            ..Totals::default()
        },
        ..RelaySnapshot::default()
    };
    for relays in [
        vec![relay(RelayState::Draining, 9), relay(RelayState::Connected, 1)],
        vec![relay(RelayState::Connected, 1), relay(RelayState::Draining, 9)],
    ] {
        let process = ProcessSnapshot {
            relays,
            ..ProcessSnapshot::default()
        };
        assert_eq!(shown_by(&process, |relay| relay.name.as_str())["eu"].totals.requests, 1);
    }
}

#[test]
fn two_clients_of_one_name_add_up_whichever_shows() {
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_38);
    envoy.load(|| true, Factories::none().bootstrap(new_host)).unwrap();
    let bootstrap = envoy.bootstrap("stats", b"").unwrap();
    let relay = |url: &str, state, requests| RelaySnapshot {
        name: "us".to_owned(),
        url: url.to_owned(),
        state,
        totals: Totals {
            requests,
            ..Totals::default()
        },
        ..RelaySnapshot::default()
    };
    let new = relay("wss://new", RelayState::Connected, 7);
    for state in [RelayState::Connected, RelayState::BackingOff, RelayState::Connected] {
        show(&bootstrap, &[&relay("wss://old", state, 100), &new]);
    }
    assert_eq!(envoy.metric("relay_requests_total", &["us"]), Some(107));
    show(&bootstrap, &[&new]);
    assert_eq!(envoy.metric("relay_requests_total", &["us"]), Some(107));
}

#[test]
fn chats_have_statistics_by_their_path() {
    let mut chat = ChatSnapshot {
        path: "/chat".to_owned(),
        sessions: 2,
        turns: 1,
        ..ChatSnapshot::default()
    };
    chat.totals.ended_turns = [("done".to_owned(), 5)].into();
    chat.totals.input_tokens = 70;
    let envoy = FakeEnvoy::new(EnvoyRelease::V1_38);
    envoy.load(|| true, Factories::none().bootstrap(new_host)).unwrap();
    let bootstrap = envoy.bootstrap("stats", b"").unwrap();
    let show = |chats: &[&ChatSnapshot]| {
        *CHATS.lock().unwrap() = chats.iter().map(|chat| (*chat).clone()).collect();
        bootstrap.scheduled(0);
    };
    show(&[&chat]);
    chat.totals.ended_turns = [("done".to_owned(), 6), ("cancelled".to_owned(), 1)].into();
    show(&[&chat]);
    for (name, labels, value) in [
        ("chat_sessions", &["/chat"][..], Some(2)),
        ("chat_turns_running", &["/chat"], Some(1)),
        ("chat_turns_total", &["/chat", "done"], Some(6)),
        ("chat_turns_total", &["/chat", "cancelled"], Some(1)),
        ("chat_tokens_total", &["/chat", "input"], Some(70)),
        ("chat_tokens_total", &["/chat", "output"], None),
    ] {
        assert_eq!(envoy.metric(name, labels), value, "{name} {labels:?}");
    }
    show(&[]);
    assert_eq!(envoy.metric("chat_sessions", &["/chat"]), Some(0));
    assert_eq!(envoy.metric("chat_turns_total", &["/chat", "done"]), Some(6));
}
