//! Promises of `envoy/budgets.yaml`: a platform uses as much of the model as its operator allows, and when; whoever has the
//! token stops it by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use e2e::model::{Behaviour, Gate, Model};
use e2e::relay::Relay;
use e2e::world::http::{Reply, post, send};
use e2e::world::site::{DEADLINE, Plan, Shipped, Site, chat};
use e2e::world::{Process, command, launcher, validate};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

const TOKEN: &str = "canary-status-token-91";
const SCHEDULE: [&str; 2] = [
    r#"- { days: [mon, tue, wed, thu, fri], from: "08:00", to: "20:00", utc_offset: "+01:00" }"#,
    r#"- { days: [fri], from: "22:00", to: "06:00", utc_offset: "+01:00" }"#,
];
const ALWAYS: &str = r#"- { from: "00:00", to: "24:00", utc_offset: "+01:00" }"#;

/// The shipped file with another schedule and these edits.
fn plan(schedule: &str, edits: &[(&str, &str)]) -> Plan {
    let mut plan = Plan::new(Shipped::Budgets).unwrap();
    plan = plan.edit(SCHEDULE[0], schedule).unwrap();
    plan = plan.edit(SCHEDULE[1], schedule).unwrap();
    for (from, to) in edits {
        plan = plan.edit(from, to).unwrap();
    }
    plan.variables
        .push(("SPECTRAL_BRIDGE_STATUS_TOKEN".into(), TOKEN.into()));
    plan
}

async fn start(plan: Plan) -> (Site, Relay, Model) {
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    site.relay_status_becomes("/state", "connected".into()).await.unwrap();
    (site, relay, model)
}

async fn ask(relay: &Relay) -> Reply {
    post(&relay.url("/v1/chat/completions"), chat("demo")).await.unwrap()
}

/// The status, the code and the seconds after which to ask again.
fn told(reply: &Reply) -> (u16, String, u64) {
    assert_eq!(reply.json()["error"]["type"], "relay_client_error", "{}", reply.text());
    let after = reply.headers["retry-after"].to_str().unwrap();
    (reply.status.as_u16(), reply.error_code(), after.parse().unwrap())
}

async fn refused_series(site: &Site, budget: &str, count: f64) {
    let series = format!("envoy_spectral_bridge_relay_budget_refused_total{{relay=\"default\",budget=\"{budget}\"}}");
    site.envoy.series_becomes(&series, count).await.unwrap();
}

async fn steer(site: &Site, path: &str, authorization: Option<&str>) -> Reply {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    send(Method::POST, &site.status_url(path), &headers, "").await.unwrap()
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn a_minute_has_so_many_requests_and_the_next_one_is_429_with_the_time_to_wait() {
    let (site, relay, model) = start(plan(ALWAYS, &[("requests_per_minute: 60", "requests_per_minute: 3")])).await;
    for _ in 0..3 {
        assert_eq!(ask(&relay).await.status, StatusCode::OK);
    }
    for _ in 0..2 {
        let (status, code, after) = told(&ask(&relay).await);
        assert_eq!((status, code.as_str()), (429, "over_budget"));
        assert!((1..=60).contains(&after), "{after}");
    }
    assert_eq!(model.ledger().count(), 3, "a refused request reached the model");
    let status = site
        .relay_status_becomes("/totals/not_admitted/requests_per_minute", 2.into())
        .await
        .unwrap();
    assert_eq!(status["totals"]["faults"]["over_budget"], 2);
    assert_eq!(status["budget"]["requests_left"], 0);
    assert_eq!(
        (&status["state"], &status["paused"]),
        (&json!("connected"), &Value::Null)
    );
    refused_series(&site, "requests_per_minute", 2.0).await;
}

#[tokio::test]
async fn a_day_has_so_many_tokens_as_the_model_really_reports_them() {
    let budget = 40;
    let (site, relay, model) = start(plan(ALWAYS, &[("tokens_per_day: 200000", "tokens_per_day: 40")])).await;
    let mut spent = 0;
    let refused = loop {
        let reply = ask(&relay).await;
        if reply.status != StatusCode::OK {
            break reply;
        }
        assert!(spent < budget, "admitted after {spent} tokens");
        let books = model.tokens();
        assert!(books.input + books.output > spent, "an answer without tokens");
        spent = books.input + books.output;
    };
    assert!(spent >= budget, "refused after {spent} tokens");
    let (status, code, after) = told(&refused);
    assert_eq!((status, code.as_str()), (429, "over_budget"));
    // until midnight by the schedule's clock, an hour ahead
    let midnight = 86_400 - (seconds_since_1970() + 3600) % 86_400;
    assert!(
        after.abs_diff(midnight) < 60 || after < 60,
        "{after}, {midnight} expected"
    );
    let status = site
        .relay_status_becomes("/totals/not_admitted/tokens_per_day", 1.into())
        .await
        .unwrap();
    assert_eq!(status["budget"]["tokens_left"], 0);
    // what the model refuses costs nothing, what it answers is counted once
    let totals = &status["totals"];
    let sum = totals["input_tokens"].as_u64().unwrap() + totals["output_tokens"].as_u64().unwrap();
    assert_eq!(sum, spent);
    refused_series(&site, "tokens_per_day", 1.0).await;
}

#[tokio::test]
async fn so_many_requests_at_once_and_one_more_when_one_is_answered() {
    let (site, relay, model) = start(plan(ALWAYS, &[("max_concurrent: 4", "max_concurrent: 2")])).await;
    let gate = Gate::default();
    let url = relay.url("/v1/chat/completions");
    let mut waiting = Vec::new();
    for n in 1..=2 {
        model.next(Behaviour::Behind(gate.clone()));
        let url = url.clone();
        waiting.push(tokio::spawn(async move { post(&url, chat("demo")).await.unwrap() }));
        model.ledger().wait(n, DEADLINE).await.unwrap();
    }
    assert_eq!(told(&ask(&relay).await), (429, "over_budget".to_owned(), 1));
    gate.open();
    for answered in waiting {
        assert_eq!(answered.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(ask(&relay).await.status, StatusCode::OK);
    assert_eq!(model.ledger().count(), 3);
    refused_series(&site, "max_concurrent", 1.0).await;
}

#[tokio::test]
async fn outside_its_schedule_a_relay_is_connected_and_answers_503_until_it_opens() {
    // in three days, so whenever this runs
    let unix = seconds_since_1970();
    let days = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
    let day = days[usize::try_from((unix / 86_400 + 3) % 7).unwrap()];
    let window = format!(r#"- {{ days: [{day}], from: "12:00", to: "13:00", utc_offset: "Z" }}"#);
    let opens = (unix / 86_400 + 3) * 86_400 + 43_200;
    let (mut site, relay, model) = start(plan(&window, &[])).await;
    let (status, code, after) = told(&ask(&relay).await);
    assert_eq!((status, code.as_str()), (503, "paused"));
    assert!((unix + after).abs_diff(opens) < 120, "{after}");
    assert_eq!(model.ledger().count(), 0);
    let status = site
        .relay_status_becomes("/totals/not_admitted/schedule", 1.into())
        .await
        .unwrap();
    assert_eq!(status["paused"]["by"], "schedule");
    let opens_in = status["paused"]["opens_in_seconds"].as_f64().unwrap();
    assert!((opens_in - after as f64).abs() < 60.0, "{status}");
    // by hand on top of it, and taken back: the schedule rules again
    let right = format!("Bearer {TOKEN}");
    assert_eq!(steer(&site, "/pause", Some(&right)).await.status, StatusCode::ACCEPTED);
    site.relay_status_becomes("/paused/by", "hand".into()).await.unwrap();
    assert_eq!(steer(&site, "/resume", Some(&right)).await.status, StatusCode::ACCEPTED);
    site.relay_status_becomes("/paused/by", "schedule".into())
        .await
        .unwrap();
    assert_eq!(told(&ask(&relay).await).0, 503);
    assert_eq!(site.status("/readyz").await.unwrap().status, StatusCode::OK);
    site.envoy
        .process()
        .line("paused: new requests", DEADLINE)
        .await
        .unwrap();
    refused_series(&site, "schedule", 2.0).await;
}

#[tokio::test]
async fn who_has_the_token_pauses_and_resumes_and_nobody_else() {
    let (mut site, mut relay, model) = start(plan(ALWAYS, &[])).await;
    for wrong in [None, Some("Bearer wrong"), Some("Bearer "), Some(TOKEN)] {
        for path in ["/pause", "/relays/default/pause", "/resume"] {
            assert_eq!(
                steer(&site, path, wrong).await.status,
                StatusCode::UNAUTHORIZED,
                "{path}"
            );
        }
    }
    assert_eq!(ask(&relay).await.status, StatusCode::OK);
    let gate = Gate::default();
    model.next(Behaviour::Behind(gate.clone()));
    let url = relay.url("/v1/chat/completions");
    let in_flight = tokio::spawn(async move { post(&url, chat("demo")).await.unwrap() });
    model.ledger().wait(2, DEADLINE).await.unwrap();

    let right = format!("Bearer {TOKEN}");
    let paused = steer(&site, "/relays/default/pause", Some(&right)).await;
    assert_eq!(
        (paused.status, paused.json()),
        (StatusCode::ACCEPTED, json!({"pausing": ["default"]}))
    );
    site.relay_status_becomes("/paused/by", "hand".into()).await.unwrap();
    let (status, code, _) = told(&ask(&relay).await);
    assert_eq!((status, code.as_str()), (503, "paused"));
    gate.open();
    assert_eq!(in_flight.await.unwrap().status, StatusCode::OK);
    site.envoy
        .series_becomes("envoy_spectral_bridge_relay_paused{relay=\"default\"}", 1.0)
        .await
        .unwrap();
    assert_eq!(site.status("/readyz").await.unwrap().status, StatusCode::OK);

    // it outlives the connection
    relay.kill().await;
    relay.restart().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    assert_eq!(told(&ask(&relay).await).0, 503);
    assert_eq!(
        steer(&site, "/relays/nobody/resume", Some(&right)).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(steer(&site, "/resume", Some(&right)).await.status, StatusCode::ACCEPTED);
    site.relay_status_becomes("/paused", Value::Null).await.unwrap();
    assert_eq!(ask(&relay).await.status, StatusCode::OK);
    assert_eq!(model.ledger().count(), 3);
    refused_series(&site, "hand", 2.0).await;

    for path in ["/config_dump", "/spectral_bridge"] {
        assert!(!site.envoy.admin(path).await.unwrap().text().contains(TOKEN), "{path}");
    }
    assert!(
        !site.envoy.process().output().contains(TOKEN),
        "the token is in the log"
    );
}

#[tokio::test]
async fn without_a_token_nobody_pauses_and_the_answer_says_how_to_get_one() {
    let token = "          token: { env: SPECTRAL_BRIDGE_STATUS_TOKEN }";
    let (site, relay, _model) = start(plan(ALWAYS, &[(token, "          # none")])).await;
    let denied = steer(&site, "/pause", Some(&format!("Bearer {TOKEN}"))).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    assert!(
        denied.text().contains("set status.token to {env: NAME}"),
        "{}",
        denied.text()
    );
    assert_eq!(ask(&relay).await.status, StatusCode::OK);
    for open in ["/healthz", "/readyz", "/status"] {
        assert_eq!(site.status(open).await.unwrap().status, StatusCode::OK, "{open}");
    }
}

/// Runs the launcher with this token; gives its exit code and what it said.
async fn spectral_bridge(arguments: &[&str], token: Option<&str>) -> (Option<i32>, String) {
    let mut command = command(launcher().unwrap());
    command.args(arguments).env_remove("SPECTRAL_BRIDGE_STATUS_TOKEN");
    if let Some(token) = token {
        command.env("SPECTRAL_BRIDGE_STATUS_TOKEN", token);
    }
    let mut process = Process::start(arguments[0], &mut command).unwrap();
    let code = process.exited(DEADLINE).await.unwrap().code();
    (code, process.output_to_end(DEADLINE).await)
}

#[tokio::test]
async fn the_command_line_pauses_resumes_and_shows_it() {
    let (site, relay, _model) = start(plan(ALWAYS, &[])).await;
    let url = site.status_url("");
    let address = url.strip_prefix("http://").unwrap();
    let (code, said) = spectral_bridge(&["pause", "--address", address], None).await;
    assert!(
        code == Some(1) && said.contains("SPECTRAL_BRIDGE_STATUS_TOKEN is not set"),
        "{said}"
    );
    let (code, said) = spectral_bridge(&["pause", "--address", address], Some("wrong")).await;
    assert!(code == Some(1) && said.contains("is not the token"), "{said}");
    let (code, said) = spectral_bridge(&["pause", "--address", address], Some(TOKEN)).await;
    assert!(code == Some(0) && said.contains("paused default"), "{said}");
    site.relay_status_becomes("/paused/by", "hand".into()).await.unwrap();
    assert_eq!(told(&ask(&relay).await).0, 503);
    let (code, said) = spectral_bridge(&["status", "--address", address], None).await;
    assert!(code == Some(0) && said.contains("paused   by hand for"), "{said}");
    assert!(
        said.contains("200000 tokens left today") && said.contains("1 refused by hand"),
        "{said}"
    );
    let (code, said) = spectral_bridge(&["resume", "--address", address, "--relay", "x"], Some(TOKEN)).await;
    assert!(code == Some(1) && said.contains("there are: default"), "{said}");
    let (code, said) = spectral_bridge(&["resume", "--address", address, "--relay", "default"], Some(TOKEN)).await;
    assert!(code == Some(0) && said.contains("resumed default"), "{said}");
    site.relay_status_becomes("/paused", Value::Null).await.unwrap();
    assert_eq!(ask(&relay).await.status, StatusCode::OK);
    let (code, _) = spectral_bridge(&["pause", "--address", "127.0.0.1:1"], Some(TOKEN)).await;
    assert_eq!(code, Some(2));
}

#[tokio::test]
async fn the_file_as_shipped_is_valid_and_each_mistake_in_it_is_named() {
    let shipped = Plan::new(Shipped::Budgets).unwrap();
    let said = validate(&shipped.write().unwrap(), &[], DEADLINE).await.unwrap();
    assert!(said.status.success(), "{}", said.output);
    assert!(
        said.output.contains("SPECTRAL_BRIDGE_STATUS_TOKEN is not set"),
        "{}",
        said.output
    );
    let token = "{ env: SPECTRAL_BRIDGE_STATUS_TOKEN }";
    let mistaken = plan(
        "- { days: [someday], from: 08:00, to: 25:00, utc_offset: +02:00 }",
        &[
            ("requests_per_minute: 60", "requests_per_minute: 0"),
            ("tokens_per_day: 200000", "tokens_a_day: 200000"),
            (token, "t0ken-inline"),
        ],
    );
    let said = validate(&mistaken.write().unwrap(), &[], DEADLINE).await.unwrap();
    assert!(!said.status.success());
    for mistake in [
        "relays[0].budget.requests_per_minute: 0",
        "did you mean tokens_per_day?",
        "relays[0].schedule[0].days[0]: \"someday\" is not a day",
        "relays[0].schedule[1].to: \"25:00\" is none",
        "status.token: a secret written into the configuration",
    ] {
        assert!(
            said.output.contains(mistake),
            "{mistake} is not told in:\n{}",
            said.output
        );
    }
    assert!(!said.output.contains("t0ken-inline"), "{}", said.output);
    assert!(
        !said.output.contains("from:") && !said.output.contains("utc_offset:"),
        "{}",
        said.output
    );
}
