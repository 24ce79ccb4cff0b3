//! Whose key the provider sees, where it comes from, and that it shows nowhere.

use e2e::world::http::{Reply, send};
use e2e::world::{eventually, render, validate, workspace};
use hyper::Method;

use super::*;

const AUTHORIZATION: &str = "Bearer canary-providers-key-61";
const OLD_KEY: &str = "canary-old-key-63";

/// A request over plain HTTP, as a client with a key of its own sends it.
async fn post<P>(site: &Site<P>, id: &str, path: &str, body: &str) -> Reply {
    let authorization = format!("Bearer {CLIENTS_KEY}");
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", id),
        ("authorization", &authorization),
        ("api-key", CLIENTS_KEY),
        ("cookie", CLIENTS_KEY),
    ];
    send(Method::POST, &site.gateway.url(path), &headers, body.to_owned())
        .await
        .unwrap()
}

/// Neither key stands in what Envoy shows of its configuration, nor in what it wrote.
async fn assert_keys_show_nowhere<P>(site: &mut Site<P>) {
    for page in [
        "/config_dump?include_eds",
        "/clusters",
        "/listeners",
        "/stats",
        "/server_info",
        "/certs",
    ] {
        let text = site.gateway.envoy.admin(page).await.unwrap().text();
        assert_shows_no_key(page, &text);
        if page.starts_with("/config_dump") {
            assert!(
                text.contains("credential_injector") && text.contains("provider_key"),
                "{text}"
            );
        }
    }
    let output = site.gateway.envoy.process().output();
    assert_shows_no_key("the log", &output);
}

fn assert_shows_no_key(place: &str, text: &str) {
    for key in [PROVIDERS_KEY, CLIENTS_KEY, OLD_KEY] {
        assert!(!text.contains(key), "{place} shows {key}");
    }
}

#[tokio::test]
async fn the_provider_sees_its_key_and_nothing_of_the_clients() {
    let mut site = Plan::new().start_model().await;
    let mut socket = site.dial("socket", "/v1/responses").await;
    answered(&mut socket, "demo", "one two").await;
    socket.close(None).await.unwrap();
    heard_to_the_end(&mut socket).await;
    site.gateway.logged("socket").await.unwrap();
    assert_eq!(
        post(&site, "http", "/v1/chat/completions", r#"{"messages":"a"}"#)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(site.provider.ledger().count(), 2);
    for asked in site.provider.ledger().exchanges() {
        assert_eq!(asked.header("authorization"), Some(AUTHORIZATION));
        assert_eq!(asked.header("host"), Some("localhost"));
        for (name, value) in &asked.headers {
            assert!(
                !value
                    .as_bytes()
                    .windows(CLIENTS_KEY.len())
                    .any(|part| part == CLIENTS_KEY.as_bytes()),
                "{name}"
            );
        }
    }
    assert_keys_show_nowhere(&mut site).await;
}

#[tokio::test]
async fn plain_http_passes_as_it_is() {
    let mut site = Plan::new().start_model().await;
    let odd = r#"{ "z":1, "model":"chunked" , "messages":[{"role":"user","content":"Grüße"}], "f":1.10 }"#;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        let reply = post(&site, &path[4..], path, odd).await;
        let seen = site.provider.ledger().last().unwrap();
        assert_eq!((seen.path.as_str(), &seen.body[..]), (path, odd.as_bytes()));
        assert_eq!(Some(reply.body), seen.answer);
        let line = site.gateway.logged(&path[4..]).await.unwrap();
        assert!(line["total_tokens"].is_number(), "{line}");
        assert_eq!(
            (&line["close_code"], &line["turns"]),
            (&Value::Null, &Value::Null),
            "{line}"
        );
    }
    let models = site.gateway.url("/v1/models?limit=2");
    let reply = e2e::world::http::get(&models).await.unwrap();
    assert_eq!(reply.json()["object"], "list");
    let asked = site.provider.ledger().last().unwrap();
    assert_eq!(
        (asked.path.as_str(), asked.header("authorization")),
        ("/v1/models?limit=2", Some(AUTHORIZATION))
    );
    // the provider's own refusals, too
    let reply = post(
        &site,
        "no",
        "/v1/chat/completions",
        r#"{"model":"status-429","messages":"a"}"#,
    )
    .await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.json()["error"]["message"], "the model says 429");
}

const FROM_ENVIRONMENT: &str = "      secret: { environment_variable: PROVIDER_API_KEY }\n";

#[tokio::test]
async fn a_key_comes_from_a_file() {
    let plan = Plan::new().without_key();
    let file = plan.scratch.write("key", PROVIDERS_KEY).unwrap();
    let secret = format!("      secret: {{ filename: {} }}\n", file.display());
    let mut site = plan.edit(FROM_ENVIRONMENT, &secret).start_model().await;
    assert_eq!(
        post(&site, "file", "/v1/chat/completions", "{}").await.status,
        StatusCode::OK
    );
    assert_keys_show_nowhere(&mut site).await;
}

fn secret(key: &str) -> String {
    format!(
        r#"resources: [{{ "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: provider_key,
                 generic_secret: {{ secret: {{ inline_string: {key} }} }} }}]"#
    )
}

#[tokio::test]
async fn a_key_that_changes_while_envoy_runs_is_taken_over() {
    let plan = Plan::new().without_key();
    let file = plan.scratch.write("provider-key.yaml", secret(OLD_KEY)).unwrap();
    // as the comment in the file says
    let sds = format!(
        "credential: {{ name: provider_key, sds_config: {{ path_config_source: {{ path: {}, watched_directory: {{ path: {} }} }} }} }}\n",
        file.display(),
        plan.scratch.path().display()
    );
    let plan = plan
        .edit(
            "                  credential: { name: provider_key }\n",
            &format!("                  {sds}"),
        )
        .edit(FROM_ENVIRONMENT, "      secret: { inline_string: unused }\n");
    let mut site = plan.start_model().await;
    assert_eq!(
        post(&site, "old", "/v1/chat/completions", "{}").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        site.provider.ledger().last().unwrap().header("authorization"),
        Some("Bearer canary-old-key-63")
    );
    let new = site.scratch.write("new.yaml", secret(PROVIDERS_KEY)).unwrap();
    std::fs::rename(new, &file).unwrap();
    eventually("the new key is used", DEADLINE, || async {
        let reply = post(&site, "new", "/v1/chat/completions", "{}").await;
        (reply.status == StatusCode::OK).then_some(())
    })
    .await
    .unwrap();
    answered(&mut site.dial("session", "/v1/responses").await, "demo", "one").await;
    assert_keys_show_nowhere(&mut site).await;
}

#[tokio::test]
async fn without_a_key_envoy_does_not_start_and_says_why() {
    for (edit, why) in [
        (FROM_ENVIRONMENT, "Environment variable doesn't exist: PROVIDER_API_KEY"),
        ("      secret: { filename: /nowhere/key }\n", "/nowhere/key"),
    ] {
        let plan = Plan::new().edit(FROM_ENVIRONMENT, edit);
        let edits: Vec<_> = plan.edits.iter().map(|(from, to)| (&**from, &**to)).collect();
        let text = render(&workspace().join("envoy/realtime.yaml"), &edits).unwrap();
        let config = plan.scratch.write("envoy.yaml", text).unwrap();
        let told = validate(&config, &[], DEADLINE).await.unwrap();
        assert!(!told.status.success() && told.output.contains(why), "{}", told.output);
    }
}

#[tokio::test]
async fn an_empty_key_is_no_key() {
    let plan = Plan::new().without_key();
    let file = plan.scratch.write("key", "").unwrap();
    let secret = format!("      secret: {{ filename: {} }}\n", file.display());
    let site = plan.edit(FROM_ENVIRONMENT, &secret).start_model().await;
    let reply = post(&site, "empty", "/v1/chat/completions", "{}").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(
        site.provider
            .ledger()
            .exchanges()
            .iter()
            .all(|asked| asked.header("authorization") != Some(AUTHORIZATION))
    );
    let answer = site.refused("socket", "/v1/responses", &[]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_web_page_may_not_use_the_key() {
    let site = Plan::new().start_echo().await;
    for target in ["/v1/realtime?model=m", "/v1/responses", "/v1/chat/completions"] {
        let page = [("origin", "http://localhost:3000")];
        let answer = site.refused("page", target, &page).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{target}");
        let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "origin_not_allowed", "{target}");
    }
    assert_eq!(site.provider.handshakes().len(), 0);
}

#[tokio::test]
async fn a_clients_key_among_the_subprotocols_is_refused_and_goes_nowhere() {
    let site = Plan::new().start_echo().await;
    let offer = format!("realtime, openai-insecure-api-key.{CLIENTS_KEY}, openai-beta.realtime-v1");
    for target in ["/v1/realtime?model=m", "/v1/responses"] {
        let answer = site
            .refused("browser", target, &[("sec-websocket-protocol", &offer)])
            .await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "client_key_not_allowed");
    }
    assert_eq!(site.provider.handshakes().len(), 0);
}
