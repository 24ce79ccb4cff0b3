//! Promises to those whose only way out is a proxy. Each holds for the test world's own proxy in every run, and for
//! `tinyproxy` and `squid` with `make test-proxy`.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use e2e::model::Model;
use e2e::relay::{Entry, Event, Relay};
use e2e::world::ProxyProgram::{Own, Squid, Tinyproxy};
use e2e::world::http::{Reply, post};
use e2e::world::site::{DEADLINE, KEY, Plan, Shipped, Site, chat};
use e2e::world::{IdleEnd, ProxyOptions, ProxyProgram, RunningProxy, free_address};
use hyper::StatusCode;
use tokio::task::JoinHandle;

const USER: &str = "user";
const PASSWORD: &str = "hunter2";
/// `user:hunter2` as a header carries it, without its end, which depends on what follows.
const PROOF: &str = "dXNlcjpodW50ZX";

macro_rules! promises {
    ($program:ident, $($promise:ident)*, $mark:meta) => {$(
        #[tokio::test]
        #[$mark]
        async fn $promise() {
            super::$promise(super::$program).await;
        }
    )*};
}

mod own {
    promises!(Own,
        the_environments_proxy_is_used_for_wss_and_for_ws
        credentials_are_accepted_and_refused_ones_are_told_and_never_shown
        keepalive_keeps_a_link_that_the_proxy_would_drop
        a_request_in_flight_survives_links_that_the_proxy_drops
        a_refused_tunnel_is_told_as_the_proxys_refusal
        a_proxy_that_speaks_tls_is_used,
        doc = "With the test world's proxy.");
}

mod tinyproxy {
    promises!(Tinyproxy,
        the_environments_proxy_is_used_for_wss_and_for_ws
        credentials_are_accepted_and_refused_ones_are_told_and_never_shown
        keepalive_keeps_a_link_that_the_proxy_would_drop
        a_request_in_flight_survives_links_that_the_proxy_drops
        a_refused_tunnel_is_told_as_the_proxys_refusal,
        ignore = "needs tinyproxy installed: make test-proxy");
}

mod squid {
    promises!(Squid,
        the_environments_proxy_is_used_for_wss_and_for_ws
        credentials_are_accepted_and_refused_ones_are_told_and_never_shown
        keepalive_keeps_a_link_that_the_proxy_would_drop
        a_request_in_flight_survives_links_that_the_proxy_drops
        a_refused_tunnel_is_told_as_the_proxys_refusal
        a_proxy_that_speaks_tls_is_used,
        ignore = "needs squid installed: make test-proxy");
}

fn with_credentials() -> ProxyOptions {
    ProxyOptions {
        credentials: Some(format!("{USER}:{PASSWORD}")),
        ..ProxyOptions::default()
    }
}

fn idle(after: Duration, end: IdleEnd) -> ProxyOptions {
    ProxyOptions {
        idle: Some((after, end)),
        ..ProxyOptions::default()
    }
}

/// A plan with these variables in Envoy's environment.
fn with_variables(mut plan: Plan, variables: &[(&str, String)]) -> Plan {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    plan.variables.extend(variables);
    plan
}

/// The plan's configuration with `proxy` for its proxy.
fn configured(plan: Plan, proxy: &str) -> Plan {
    plan.edit("# proxy: env", &format!("proxy: {proxy} #")).unwrap()
}

/// The plan's configuration with a `ws://` URL.
fn without_tls(plan: Plan) -> Plan {
    let plan = plan.edit("wss://localhost", "ws://localhost").unwrap();
    let plan = plan.edit("# insecure: false", "insecure: true #").unwrap();
    plan.edit("tls: {", "# tls: {").unwrap()
}

async fn start(program: ProxyProgram, plan: &Plan, options: ProxyOptions) -> RunningProxy {
    program.start(&plan.scratch, options).await.unwrap()
}

async fn crosses(relay: &Relay) {
    let reply = post(&relay.url("/v1/chat/completions"), chat("quick")).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

/// Sends a request that takes the model some seconds and waits until the model has it.
async fn in_flight(relay: &Relay, model: &Model) -> JoinHandle<Reply> {
    let url = relay.url("/v1/chat/completions");
    let sent = tokio::spawn(async move { post(&url, chat("delay-4s")).await.unwrap() });
    model.ledger().wait(1, DEADLINE).await.unwrap();
    sent
}

/// The message of the error `code`, once the site has it.
async fn told(site: &Site, code: &str) -> String {
    let status = site
        .relay_status_becomes("/last_error/code", code.into())
        .await
        .unwrap();
    status["last_error"]["message"].as_str().unwrap().to_owned()
}

async fn the_environments_proxy_is_used_for_wss_and_for_ws(program: ProxyProgram) {
    for (variable, tls) in [("HTTPS_PROXY", true), ("http_proxy", false)] {
        let plan = Plan::new(Shipped::Sidecar).unwrap();
        let plan = if tls { plan } else { without_tls(plan) };
        let proxy = start(program, &plan, with_credentials()).await;
        let url = format!("http://{USER}:{PASSWORD}@{}", proxy.address());
        let plan = with_variables(plan, &[(variable, url)]);
        let relay = plan
            .start_relay(|options| options.tls = options.tls.take().filter(|_| tls))
            .await
            .unwrap();
        let _model = plan.start_model().await.unwrap();
        let site = plan.start().await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        crosses(&relay).await;
        // It was the proxy that carried it: without the proxy nothing does.
        let address = proxy.address();
        drop(proxy);
        let message = told(&site, "proxy_connect").await;
        assert!(message.contains(&format!("the proxy {address}")), "{message}");
        assert!(!relay.slot("default").unwrap().is_connected());
    }
}

async fn credentials_are_accepted_and_refused_ones_are_told_and_never_shown(program: ProxyProgram) {
    let mut plan = Plan::new(Shipped::Sidecar).unwrap();
    plan.arguments = ["-l", "trace"].map(str::to_owned).to_vec();
    let proxy = start(program, &plan, with_credentials()).await;
    let wrong = "a-wrong-password";
    let password = plan.scratch.write("proxy-password", wrong).unwrap();
    let settings = format!(
        "{{ url: http://{}, username: {USER}, password: {{ file: {password:?} }} }}",
        proxy.address()
    );
    let plan = configured(plan, &settings);
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let mut site = plan.start().await.unwrap();
    let message = told(&site, "proxy_auth").await;
    assert!(
        message.contains("does not accept its user name and password (HTTP 40"),
        "{message}"
    );
    let line = site.envoy.process().line(&message, DEADLINE).await.unwrap();
    assert!(line.contains("relay=default") && line.contains("proxy_auth"), "{line}");
    site.plan
        .scratch
        .write("proxy-password", format!("{PASSWORD}\n"))
        .unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    crosses(&relay).await;
    let config = site.envoy.admin("/config_dump").await.unwrap().text();
    let said = site.envoy.process().output() + &site.status("/status").await.unwrap().text() + &config;
    for secret in [wrong, PASSWORD, PROOF, "dXNlcjphLXdyb25n", KEY] {
        assert!(!said.contains(secret), "{secret} shows");
    }
}

async fn keepalive_keeps_a_link_that_the_proxy_would_drop(program: ProxyProgram) {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let proxy = start(program, &plan, idle(Duration::from_secs(3), IdleEnd::Closed)).await;
    let plan = configured(plan, &format!("{{ url: http://{} }}", proxy.address()));
    let plan = plan
        .edit("# keepalive: { interval: 30s", "keepalive: { interval: 1s")
        .unwrap();
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let _site = plan.start().await.unwrap();
    let five_pings = |entries: &[Entry]| {
        let pings = entries.iter().filter(|entry| matches!(entry.event, Event::Pinged));
        (pings.count() >= 5).then_some(())
    };
    relay.journal().wait(DEADLINE, five_pings).await.unwrap();
    crosses(&relay).await;
    assert!(relay.journal().closes().is_empty(), "the link did not hold");
}

async fn a_request_in_flight_survives_links_that_the_proxy_drops(program: ProxyProgram) {
    survives(program, idle(Duration::from_secs(1), IdleEnd::Closed), "30s").await;
}

#[tokio::test]
async fn a_request_in_flight_survives_links_that_a_firewall_forgets() {
    survives(Own, idle(Duration::from_millis(500), IdleEnd::Forgotten), "1s").await;
}

async fn survives(program: ProxyProgram, options: ProxyOptions, interval: &str) {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let proxy = start(program, &plan, options).await;
    let plan = configured(plan, &format!("{{ url: http://{} }}", proxy.address()));
    let keepalive = format!("keepalive: {{ interval: {interval}, timeout: 1s }} #");
    let plan = plan.edit("# keepalive:", &keepalive).unwrap();
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let _site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let request = in_flight(&relay, &model).await;
    relay.connected(2, DEADLINE).await.unwrap();
    let reply = request.await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(model.ledger().count(), 1, "the model was asked again");
}

async fn a_refused_tunnel_is_told_as_the_proxys_refusal(program: ProxyProgram) {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let only_https = ProxyOptions {
        only_port: Some(443),
        ..ProxyOptions::default()
    };
    let proxy = start(program, &plan, only_https).await;
    let plan = configured(plan, &format!("{{ url: http://{} }}", proxy.address()));
    let relay = plan.relay;
    let site = plan.start().await.unwrap();
    let message = told(&site, "proxy_refused").await;
    let refused = format!(
        "the proxy {} refuses a tunnel to localhost:{} with HTTP 403 Forbidden",
        proxy.address(),
        relay.port()
    );
    assert!(
        message.contains(&refused) && message.contains("port 443 only"),
        "{message}"
    );
}

async fn a_proxy_that_speaks_tls_is_used(program: ProxyProgram) {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let options = ProxyOptions {
        tls: Some(plan.certificates.server.clone()),
        ..with_credentials()
    };
    let proxy = start(program, &plan, options).await;
    let password = plan.scratch.write("proxy-password", PASSWORD).unwrap();
    let settings = format!(
        "{{ url: https://localhost:{}, username: {USER}, password: {{ file: {password:?} }} }}",
        proxy.address().port()
    );
    let plan = configured(plan, &settings);
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    crosses(&relay).await;
    drop(proxy);
    told(&site, "proxy_connect").await;
}

#[tokio::test]
async fn a_host_in_no_proxy_and_a_relay_with_proxy_none_are_reached_without_the_proxy() {
    let nobody = format!("http://{}", free_address().unwrap());
    let exempt = [
        ("HTTPS_PROXY", nobody.clone()),
        ("NO_PROXY", ".example.com, localhost".to_owned()),
    ];
    let plans = [
        with_variables(Plan::new(Shipped::Sidecar).unwrap(), &exempt),
        with_variables(
            configured(Plan::new(Shipped::Sidecar).unwrap(), "none"),
            &[("HTTPS_PROXY", nobody)],
        ),
    ];
    for plan in plans {
        let relay = plan.start_relay(|_| {}).await.unwrap();
        let _model = plan.start_model().await.unwrap();
        let _site = plan.start().await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        crosses(&relay).await;
    }
}
