//! Who is let in: the filter `auth`.

use e2e::world::site::DEADLINE;
use e2e::world::{Scratch, render, validate, workspace};
use futures_util::{SinkExt, StreamExt};
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::world::{JSON, TOKEN, World, assert_openai_error, chat};

#[tokio::test]
async fn whoever_has_no_token_gets_401() {
    let mut world = World::start().await;
    let right = format!("Bearer {TOKEN}");
    let longer = format!("Bearer {TOKEN}x");
    let basic = format!("Basic {TOKEN}");
    for (refused, given) in [
        ("missing", vec![]),
        ("malformed", vec![""]),
        ("malformed", vec![TOKEN]),
        ("malformed", vec![basic.as_str()]),
        ("malformed", vec!["Bearer "]),
        ("malformed", vec![right.as_str(), right.as_str()]),
        ("unknown", vec![longer.as_str()]),
        ("unknown", vec!["Bearer ci"]),
    ] {
        for path in ["/v1/chat/completions", "/v1/nothing"] {
            let mut headers = vec![JSON];
            headers.extend(given.iter().map(|value| ("authorization", *value)));
            let reply = world
                .send_bare(Method::POST, path, &headers, chat("demo").to_string())
                .await;
            assert_openai_error(
                &reply,
                StatusCode::UNAUTHORIZED,
                "invalid_request_error",
                "invalid_api_key",
            );
            assert_eq!(reply.headers["www-authenticate"], "Bearer");
            let line = world.logged(&reply).await;
            assert_eq!(
                (&line["refused"], &line["caller"]),
                (&json!(refused), &json!(null)),
                "{line}"
            );
        }
    }
    assert_eq!(world.seen(), [0, 0, 0]);
    let lower = [JSON, ("authorization", &right.replace("Bearer", "bearer"))];
    let reply = world
        .send_bare(Method::POST, "/v1/chat/completions", &lower, chat("demo").to_string())
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    for (result, count) in [
        ("missing", 2.0),
        ("malformed", 10.0),
        ("unknown", 4.0),
        ("allowed", 1.0),
    ] {
        let series = format!("envoy_spectral_bridge_auth_requests_total{{result=\"{result}\"}}");
        world.gateway.envoy.series_becomes(&series, count).await.unwrap();
    }
}

#[tokio::test]
async fn the_tokens_are_those_that_the_file_has_now() {
    const NEXT: &str = "fedcba9876543210-another-token";
    let mut world = World::start().await;
    world.becomes(TOKEN, StatusCode::OK).await;
    world.becomes(NEXT, StatusCode::UNAUTHORIZED).await;
    world.write_tokens(&format!("ci {TOKEN}\nops: {NEXT} # both for a while\n"));
    world.becomes(NEXT, StatusCode::OK).await;
    world.becomes(TOKEN, StatusCode::OK).await;
    world.write_tokens(&format!("{NEXT}\n"));
    world.becomes(TOKEN, StatusCode::UNAUTHORIZED).await;
    world.becomes(NEXT, StatusCode::OK).await;
    world.write_tokens(&format!("# {NEXT}\n"));
    world.becomes(NEXT, StatusCode::UNAUTHORIZED).await;
    let process = world.gateway.envoy.process();
    process
        .line("it holds no token; every request is refused", DEADLINE)
        .await
        .unwrap();
    world.write_tokens(&format!("a line with {NEXT}\n{NEXT}\n"));
    world.becomes(NEXT, StatusCode::OK).await;
    world.remove_tokens();
    world.becomes(NEXT, StatusCode::UNAUTHORIZED).await;
    let process = world.gateway.envoy.process();
    process
        .line("it cannot be read: entity not found", DEADLINE)
        .await
        .unwrap();
    process.line("line 1: neither a token", DEADLINE).await.unwrap();
    world.write_tokens(&format!("{TOKEN}\n"));
    world.becomes(TOKEN, StatusCode::OK).await;

    let config = world
        .gateway
        .envoy
        .admin("/config_dump?include_eds")
        .await
        .unwrap()
        .text();
    assert!(config.contains("tokens_file"));
    let metrics = world.gateway.envoy.admin("/stats").await.unwrap().text();
    let status = world.status().await.to_string();
    let log = world.gateway.envoy.process().output();
    for (place, text) in [
        ("config", config),
        ("metrics", metrics),
        ("status", status),
        ("log", log),
    ] {
        for secret in [TOKEN, NEXT] {
            assert!(!text.contains(secret), "a token stands in the {place}");
        }
    }
}

#[tokio::test]
async fn the_models_learn_the_callers_name_and_its_token_only_if_told_to() {
    let edits = [(
        "#   pass: false             #",
        "pass: true\n                  caller_header: x-caller #",
    )];
    let world = World::start_with(&edits).await;
    let reply = world
        .send(Method::GET, "/v1/models", &[("x-caller", "somebody else")], "")
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    let asked = world.primary.ledger().last().unwrap();
    let expected = format!("Bearer {TOKEN}");
    assert_eq!(asked.header("authorization"), Some(expected.as_str()));
    let callers: Vec<_> = asked.headers.get_all("x-caller").iter().collect();
    assert_eq!(callers, ["ci"], "nobody names himself");
    world.write_tokens(TOKEN);
    e2e::world::eventually("a caller without a name has none", DEADLINE, || async {
        world.send(Method::GET, "/v1/models", &[("x-caller", "ci")], "").await;
        let asked = world.primary.ledger().last()?;
        asked.header("x-caller").is_none().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_websocket_needs_a_token_like_any_request() {
    let edits = [
        (
            "stream_idle_timeout: 0s ",
            "upgrade_configs: [{ upgrade_type: websocket }]\n          stream_idle_timeout: 0s ",
        ),
        ("path: /v1/models,", "path: /v1/responses,"),
    ];
    let mut world = World::start_with(&edits).await;
    let right = format!("Bearer {TOKEN}");
    for (authorization, status) in [(None, 401), (Some("Bearer wrong"), 401), (Some(right.as_str()), 101)] {
        let url = format!("ws://{}/v1/responses", world.gateway.address);
        let mut request = url.into_client_request().unwrap();
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        let socket = TcpStream::connect(world.gateway.address).await.unwrap();
        match client_async(request, socket).await {
            Ok((mut socket, answer)) => {
                assert_eq!(answer.status().as_u16(), status);
                let ask = json!({"type": "response.create", "model": "demo", "input": "one two"});
                socket.send(Message::text(ask.to_string())).await.unwrap();
                socket.next().await.unwrap().unwrap();
                let asked = world.primary.ledger().last().unwrap();
                assert_eq!(asked.header("authorization"), None);
                world.status_becomes("/gateway/active_requests", json!(1)).await;
            }
            Err(Error::Http(answer)) => {
                assert_eq!(answer.status().as_u16(), status);
                assert_eq!(answer.headers()["www-authenticate"], "Bearer");
                assert_eq!(world.primary.ledger().count(), 0);
            }
            Err(error) => panic!("{error}"),
        }
    }
    let line = world
        .gateway
        .envoy
        .process()
        .line("\"status\":101", DEADLINE)
        .await
        .unwrap();
    assert!(line.contains("\"caller\":\"ci\""), "{line}");
}

/// What Envoy says of the shipped file with these edits.
async fn checked(edits: &[(&str, &str)]) -> (bool, String) {
    checked_file("envoy/gateway.yaml", edits).await
}

async fn checked_file(file: &str, edits: &[(&str, &str)]) -> (bool, String) {
    let scratch = Scratch::new().unwrap();
    let text = render(&workspace().join(file), edits).unwrap();
    let config = scratch.write("envoy.yaml", text).unwrap();
    let checked = validate(&config, &[], DEADLINE).await.unwrap();
    (checked.status.success(), checked.output)
}

#[tokio::test]
async fn every_mistake_in_the_configuration_is_told_at_once() {
    let (passes, output) = checked(&[]).await;
    assert!(passes, "{output}");
    assert!(
        output.contains("it cannot be read: entity not found"),
        "said, and no mistake: {output}"
    );
    let edits = [(
        "tokens_file: /run/spectral-bridge/tokens",
        "tokens_file: sk-hunter2\n                  tokens: [sk-hunter2]\n                  pass: 1",
    )];
    let (passes, output) = checked(&edits).await;
    assert!(!passes);
    for part in [
        "tokens: unknown key",
        "tokens_file: not an absolute path",
        "pass: a number; true or false",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    let edits = [
        ("stat_prefix: gateway   #", "stat_prefix: a b   #"),
        ("shutdown_grace: 120s", "shutdown_grace: 2 hours"),
    ];
    let (passes, output) = checked(&edits).await;
    assert!(!passes);
    for part in ["gateway.stat_prefix: \"a b\"", "gateway.shutdown_grace: \"2 hours\""] {
        assert!(output.contains(part), "{part}: {output}");
    }
    let nothing = [
        (
            "gateway:\n          stat_prefix: gateway   # of the connection manager below\n",
            "forward: {}\n",
        ),
        ("          shutdown_grace", "          # shutdown_grace"),
    ];
    let (passes, output) = checked(&nothing).await;
    assert!(!passes);
    let part = "relays: missing; an array of at least one relay, or another job: gateway or chat";
    assert!(output.contains(part), "{output}");
}

#[tokio::test]
async fn a_gateway_belongs_into_the_bootstrap_extension() {
    let edits = [("forward:\n", "gateway: {}\n                  forward:\n")];
    let (passes, output) = checked_file("envoy/mesh-filter.yaml", &edits).await;
    assert!(!passes);
    assert!(
        output.contains("gateway: not in the HTTP filter; use the bootstrap extension"),
        "{output}"
    );
}
