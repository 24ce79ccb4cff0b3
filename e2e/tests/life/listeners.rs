//! Listeners that come, change and go (LDS), with the client hosted by their HTTP filter.

use e2e::relay::{Event, Relay, RelayOptions};
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, KEY, Plan, Shipped, Site, chat};
use e2e::world::{Envoy, Listeners, eventually};
use hyper::StatusCode;

use super::{
    THREADS, ask, assert_nothing_twice, connections, connections_of_one, exits_with_0, in_flight, plan,
    threads_are_gone,
};

/// Streams on a listener that went are cut after this; nothing here may take as long.
const DRAIN_TIME: [&str; 2] = ["--drain-time-s", "3"];

/// What a listener in use looks like in the statistics.
const DRAINING: &str = "listener_manager.total_listeners_draining";

/// A site whose listeners are delivered, connected.
async fn delivered(mut plan: Plan, relay: &Relay) -> (Site, Listeners) {
    let listeners = Listeners::taken_from(&mut plan).unwrap();
    let site = plan.start_with(&DRAIN_TIME).await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    (site, listeners)
}

async fn push(listeners: &mut Listeners, envoy: &Envoy, text: &str) -> bool {
    listeners.push(envoy, text, DEADLINE).await.unwrap()
}

#[tokio::test]
async fn a_push_that_changes_nothing_is_not_noticed() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let (site, mut listeners) = delivered(plan, &relay).await;
    let request = in_flight(&relay, &model, "1s").await;
    let text = listeners.shipped().to_owned();
    assert!(push(&mut listeners, &site.envoy, &text).await);
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(
        site.envoy.stat("listener_manager.listener_modified").await.unwrap(),
        Some(0)
    );
    assert_eq!(connections_of_one(&relay), 1);
    assert_nothing_twice(&model);
}

#[tokio::test]
async fn a_push_beside_the_client_keeps_connection_and_requests() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let (site, mut listeners) = delivered(plan, &relay).await;
    let request = in_flight(&relay, &model, "2s").await;
    let text = listeners
        .edited("stat_prefix: adapter", "stat_prefix: renamed")
        .unwrap();
    assert!(push(&mut listeners, &site.envoy, &text).await);
    // through the hand-over from the old listener to the new one, and until the old one is gone
    let mut asked = 0;
    while asked < 20 || site.envoy.stat(DRAINING).await.unwrap() != Some(0) {
        let reply = ask(&relay, "quick").await;
        assert_eq!(reply.status, StatusCode::OK, "request {asked}: {}", reply.text());
        asked += 1;
    }
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(connections_of_one(&relay), 1);
    assert_nothing_twice(&model);
}

#[tokio::test]
async fn a_request_that_begins_late_in_a_drain_is_not_cut_with_the_old_listener() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let (site, mut listeners) = delivered(plan, &relay).await;
    // connections to spare, all to the first listener, of which the last lasts almost to the end of the drain
    let mut early = Vec::new();
    for delay in ["200ms", "200ms", "200ms", "2500ms"] {
        early.push(in_flight(&relay, &model, delay).await);
    }
    let text = listeners
        .edited("stat_prefix: adapter", "stat_prefix: renamed")
        .unwrap();
    assert!(push(&mut listeners, &site.envoy, &text).await);
    for request in early {
        assert_eq!(request.await.unwrap().status, StatusCode::OK);
    }
    let late = in_flight(&relay, &model, "1500ms").await;
    site.envoy.stat_becomes(DRAINING, 0, DEADLINE).await.unwrap();
    assert!(!late.is_finished(), "it outlives the old listener");
    let reply = late.await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_nothing_twice(&model);
}

#[tokio::test]
async fn a_changed_configuration_takes_over_without_losing_what_is_in_flight() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let (site, mut listeners) = delivered(plan, &relay).await;
    let key = site.plan.scratch.write("model-key", "sk-of-the-model").unwrap();
    let request = in_flight(&relay, &model, "2s").await;
    let headers = format!("headers: {{ authorization: {{ file: {key:?}, prefix: \"Bearer \" }} }} #");
    let text = listeners
        .edited(
            "# paths: [/v1/chat/completions, /v1/responses]",
            "paths: [/v1/responses]",
        )
        .unwrap()
        .replace("# headers: ", &headers);
    assert!(push(&mut listeners, &site.envoy, &text).await);
    let refused = eventually("the new paths rule", DEADLINE, || async {
        let reply = ask(&relay, "quick").await;
        (reply.status == StatusCode::NOT_FOUND).then_some(reply)
    });
    assert_eq!(refused.await.unwrap().error_code(), "path_not_allowed");
    let body = r#"{"model":"quick","input":"hello"}"#;
    let answer = post(&relay.url("/v1/responses"), body).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let asked = model.ledger().last().unwrap();
    assert_eq!(asked.header("authorization"), Some("Bearer sk-of-the-model"));
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(connections_of_one(&relay), 1);

    // what concerns the connection itself needs a new one, and the request survives that, too
    let shipped = listeners
        .edited("# keepalive: { interval: 30s, ", "keepalive: { interval: 20s, ")
        .unwrap();
    let request = {
        let url = relay.url("/v1/responses");
        let body = r#"{"model":"delay-2s","input":"hello"}"#;
        let before = model.ledger().count();
        let sent = tokio::spawn(async move { post(&url, body).await.unwrap() });
        model.ledger().wait(before + 1, DEADLINE).await.unwrap();
        sent
    };
    assert!(push(&mut listeners, &site.envoy, &shipped).await);
    relay.connected(2, DEADLINE).await.unwrap();
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    site.envoy.stat_becomes(DRAINING, 0, DEADLINE).await.unwrap();
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(
        (connections_of_one(&relay), relay.journal().closes()),
        (2, vec![Some(1000)])
    );
    assert_nothing_twice(&model);
}

#[tokio::test]
async fn a_refused_push_is_explained_and_the_old_configuration_goes_on() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let (mut site, mut listeners) = delivered(plan, &relay).await;
    let request = in_flight(&relay, &model, "1s").await;
    let text = listeners.edited("# max_in_flight: 512", "max_inflight: 512 #").unwrap();
    assert!(!push(&mut listeners, &site.envoy, &text).await);
    site.envoy
        .process()
        .line("relays[0].max_inflight", DEADLINE)
        .await
        .unwrap();
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(connections_of_one(&relay), 1);
}

#[tokio::test]
async fn a_removed_listener_ends_the_client_when_it_is_drained_and_its_return_starts_another() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let (mut site, mut listeners) = delivered(plan, &relay).await;
    let text = listeners.shipped().to_owned();
    let request = in_flight(&relay, &model, "1s").await;
    assert!(push(&mut listeners, &site.envoy, "").await);
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    let closed = relay.journal().wait(DEADLINE, |entries| {
        entries.iter().find_map(|entry| match entry.event {
            Event::Closed(code) => Some(code),
            _ => None,
        })
    });
    assert_eq!(closed.await.unwrap(), Some(1001));
    threads_are_gone(&site.envoy).await;

    assert!(push(&mut listeners, &site.envoy, &text).await);
    relay.connected(2, DEADLINE).await.unwrap();
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert!(site.envoy.threads(THREADS).unwrap() > 0);
    assert_eq!(connections_of_one(&relay), 2);
    site.envoy.process().terminate().unwrap();
    exits_with_0(&mut site.envoy).await;
}

#[tokio::test]
async fn a_listener_that_returns_before_it_is_drained_keeps_the_connection() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    let (site, mut listeners) = delivered(plan, &relay).await;
    let text = listeners.shipped().to_owned();
    let request = in_flight(&relay, &model, "2s").await;
    assert!(push(&mut listeners, &site.envoy, "").await);
    assert!(push(&mut listeners, &site.envoy, &text).await);
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    site.envoy.stat_becomes(DRAINING, 0, DEADLINE).await.unwrap();
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(connections_of_one(&relay), 1);
    assert_nothing_twice(&model);
}

#[tokio::test]
async fn both_hosts_with_one_key_are_one_client() {
    let (plan, relay, model) = plan(Shipped::MeshFilter).await;
    // the same configuration once more, as the bootstrap extension
    let (_, filter) = plan.text.split_once("              dynamic_module_config:").unwrap();
    let (filter, _) = filter
        .split_once("          - name: envoy.filters.http.router")
        .unwrap();
    let extension = format!("              dynamic_module_config:{filter}")
        .replace("filter_name: relay", "extension_name: relay")
        .replace("filter_config:", "extension_config:");
    let extension: String = extension
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("          ").unwrap_or(line)))
        .collect();
    let bootstrap = format!(
        "bootstrap_extensions:\n- name: envoy.bootstrap.dynamic_modules\n  typed_config:\n    \"@type\": \
         type.googleapis.com/envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension\n{extension}\n"
    );
    let plan = plan
        .edit("static_resources:\n", &format!("{bootstrap}static_resources:\n"))
        .unwrap();
    let (mut site, mut listeners) = delivered(plan, &relay).await;
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(
        site.status("/status").await.unwrap().json()["relays"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // one host goes, the other keeps the client
    assert!(push(&mut listeners, &site.envoy, "").await);
    site.envoy.stat_becomes(DRAINING, 0, DEADLINE).await.unwrap();
    let text = listeners.shipped().to_owned();
    assert!(push(&mut listeners, &site.envoy, &text).await);
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    assert_eq!(connections_of_one(&relay), 1);
    assert_nothing_twice(&model);
    site.envoy.process().terminate().unwrap();
    exits_with_0(&mut site.envoy).await;
    assert_eq!(relay.journal().closes(), [Some(1001)]);
}

#[tokio::test]
async fn several_relays_come_and_go_each_with_one_connection() {
    let plan = Plan::new(Shipped::MeshFilter).unwrap();
    let second = "test-key-of-the-second";
    let keys = |options: &mut RelayOptions| {
        options.keys = vec![("default".into(), KEY.into()), ("second".into(), second.into())];
    };
    let relay = plan.start_relay(keys).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let key = plan.scratch.write("second-key", second).unwrap();
    let (url, ca) = (
        format!("wss://localhost:{}/connect", plan.relay.port()),
        plan.scratch.path().join("ca.pem"),
    );
    let (mut site, mut listeners) = delivered(plan, &relay).await;
    let entry =
        format!("- {{ name: second, url: \"{url}\", api_key: {{ file: {key:?} }}, tls: {{ ca_file: {ca:?} }} }}");
    let indent = " ".repeat(16);
    let both = listeners
        .edited(
            &format!("{indent}forward:"),
            &format!("{indent}{entry}\n{indent}forward:"),
        )
        .unwrap();

    let request = in_flight(&relay, &model, "2s").await;
    assert!(push(&mut listeners, &site.envoy, &both).await);
    relay.slot("second").unwrap().connected(1, DEADLINE).await.unwrap();
    let url = relay.url("/relays/second/v1/chat/completions");
    assert_eq!(post(&url, chat("quick")).await.unwrap().status, StatusCode::OK);
    assert_eq!(
        model.ledger().last().unwrap().header("x-spectral-bridge-relay"),
        Some("second")
    );
    assert_eq!(request.await.unwrap().status, StatusCode::OK);

    let one = listeners.shipped().to_owned();
    assert!(push(&mut listeners, &site.envoy, &one).await);
    relay.slot("second").unwrap().disconnected(DEADLINE).await.unwrap();
    assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
    let seen = connections(&relay);
    assert_eq!((seen["default"], seen["second"]), (1, 1));
    assert_nothing_twice(&model);
    site.envoy.process().terminate().unwrap();
    exits_with_0(&mut site.envoy).await;
}
