//! Who may talk: Envoy decides, and nobody comes past it.

use std::os::unix::fs::PermissionsExt;

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use e2e::world::http::send;

use super::{CREDENTIALS, Chat, DIGEST};

#[tokio::test]
async fn who_is_not_authenticated_is_refused_before_the_endpoint_hears_of_it() {
    let (chat, _model) = Chat::with_model().await;
    let wrong = ["YWxpY2U6b3BlbnNlc2FtZQ==", "bWFsbG9yeTpvcGVuLXNlc2FtZQ==", "", "%%%"];
    for credentials in [None].into_iter().chain(wrong.map(Some)) {
        let refused = chat.try_dial("/websockets/chat", credentials, &[]).await;
        assert_eq!(refused.err(), Some(401), "{credentials:?}");
    }
    let totals = &chat.status().await["totals"];
    assert_eq!((&totals["sessions"], &totals["refused"]), (&json!(0), &json!({})));
    // and where there is no route, credentials do not help
    for path in [
        "/",
        "/websockets",
        "/websockets/chat/",
        "/websockets/chat/x",
        "/healthz",
        "/v1/chat/completions",
    ] {
        let refused = chat.try_dial(path, Some(CREDENTIALS), &[]).await;
        assert_eq!(refused.err(), Some(404), "{path}");
    }
    chat.dial().await.still_answers().await;
}

#[tokio::test]
async fn web_pages_of_other_sites_may_not_use_the_credentials_that_a_browser_has() {
    let (chat, _model) = Chat::with_model().await;
    for (origin, refused) in [
        ("https://chat.example.com", None),
        ("https://evil.example.com", Some(403)),
        ("https://chat.example.com.evil.test", Some(403)),
        ("null", Some(403)),
    ] {
        let dialled = chat
            .try_dial("/websockets/chat", Some(CREDENTIALS), &[("origin", origin)])
            .await;
        assert_eq!(dialled.err(), refused, "{origin}");
    }
}

#[tokio::test]
async fn plain_requests_on_the_path_are_told_what_it_is_for() {
    let (chat, _model) = Chat::with_model().await;
    let url = format!("http://{}/websockets/chat", chat.plan.public);
    let basic = format!("Basic {CREDENTIALS}");
    let headers = [("authorization", basic.as_str())];
    for (method, status, code) in [
        (Method::GET, 426, "upgrade_required"),
        (Method::POST, 405, "method_not_allowed"),
    ] {
        let reply = send(method, &url, &headers, "{}").await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.error_code().as_str()), (status, code));
    }
}

#[tokio::test]
async fn the_socket_is_for_this_envoy_alone_and_no_secret_is_shown() {
    let (mut chat, _model) = Chat::with_model().await;
    let path = chat.plan.socket();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // the same user, even, but another process
    let mut direct = UnixStream::connect(&path).await.unwrap();
    let handshake = "GET /websockets/chat HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut answer = Vec::new();
    // it may be closed before all of it is written
    let _ = direct.write_all(handshake.as_bytes()).await;
    let _ = direct.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    chat.becomes("/totals/refused", json!({"not_envoy": 1})).await;
    chat.dial().await.still_answers().await;
    let dump = chat.envoy.admin("/config_dump").await.unwrap().text();
    assert!(dump.contains("basic_auth"), "{dump}");
    let output = chat.envoy.process().output();
    let status = chat.status().await.to_string();
    for (what, text) in [("config dump", &dump), ("log", &output), ("status", &status)] {
        for secret in [DIGEST, "open-sesame", CREDENTIALS, "still there"] {
            assert!(!text.contains(secret), "{secret} in the {what}");
        }
    }
    // Envoy checks the endpoint's health by the same socket
    chat.envoy
        .stat_becomes("cluster.chat.membership_healthy", 1, e2e::world::site::DEADLINE)
        .await
        .unwrap();
}
