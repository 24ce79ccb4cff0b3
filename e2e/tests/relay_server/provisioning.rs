//! PROTOCOL §3.2–3.4: several clients, their keys made at run time, and TLS.

use e2e::world::http::{self, send};
use e2e::world::{Certificates, Scratch};
use hyper::Method;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Client;
use crate::{CHAT, KEY, PATIENCE, answer, call, relay, relay_with};

// PROTOCOL §3.3: each key maps to a relay ID; callers resolve it to its connection
// PROTOCOL §3.4: the server makes its key
#[tokio::test]
async fn a_provisioned_key_opens_its_own_relay() {
    let relay = relay().await;
    let made = http::post(&relay.url("/relays"), r#"{"relay_id":"second"}"#)
        .await
        .unwrap();
    assert_eq!(
        (made.status.as_u16(), &made.json()["relay_id"]),
        (201, &json!("second"))
    );
    let key = made.json()["api_key"].as_str().unwrap().to_owned();
    assert!(key.len() >= 32, "a key that cannot be guessed");

    let mut first = Client::welcome(&relay).await;
    let mut second = Client::welcome_with(&relay, &key).await;
    let to_second = call(&relay, "/relays/second/v1/responses", "2");
    let id = second.request().await;
    second.respond(&id, "22").await;
    assert_eq!(answer(to_second).await.body, "22");
    let to_first = call(&relay, "/relays/default/v1/chat/completions", "1");
    let id = first.request().await;
    first.respond(&id, "11").await;
    assert_eq!(answer(to_first).await.body, "11");
}

#[tokio::test]
async fn a_relay_id_is_given_once_and_must_be_plain() {
    let relay = relay().await;
    let url = relay.url("/relays");
    assert_eq!(http::post(&url, r#"{"relay_id":"default"}"#).await.unwrap().status, 409);
    for wrong in [
        r#"{"relay_id":""}"#,
        r#"{"relay_id":"a/b"}"#,
        r#"{"relay_id":7}"#,
        "{}",
        "nonsense",
    ] {
        assert_eq!(http::post(&url, wrong).await.unwrap().status, 400, "{wrong}");
    }
    assert_eq!(
        http::post(&relay.url("/relays/unknown/v1/responses"), "{}")
            .await
            .unwrap()
            .status,
        404
    );
}

#[tokio::test]
async fn below_a_relay_any_path_and_method_is_passed_as_it_is() {
    let relay = relay().await;
    let mut client = Client::welcome(&relay).await;
    for (method, path) in [
        (Method::POST, "/v1/embeddings"),
        (Method::GET, "/v1/models?limit=1"),
        (Method::PUT, "/"),
    ] {
        let (url, sent) = (relay.url(&format!("/relays/default{path}")), method.clone());
        let call = tokio::spawn(async move { send(sent, &url, &[], "").await });
        let frame = client.json().await;
        let payload = &frame["payload"];
        assert_eq!(
            (&payload["method"], &payload["path"]),
            (&json!(method.as_str()), &json!(path))
        );
        assert_eq!(payload["body"], json!(null));
        client.respond(frame["request_id"].as_str().unwrap(), "{}").await;
        assert_eq!(answer(call).await.status, 200);
        client.acked(frame["request_id"].as_str().unwrap()).await;
    }
}

#[tokio::test]
async fn health_tells_who_is_connected() {
    let relay = relay().await;
    let health = async || http::get(&relay.url("/health")).await.unwrap().json();
    assert_eq!(
        health().await,
        json!({"relays": [{"relay_id": "default", "connected": false}]})
    );
    let _client = Client::welcome(&relay).await;
    assert_eq!(
        health().await,
        json!({"relays": [{"relay_id": "default", "connected": true}]})
    );
}

#[tokio::test]
async fn clients_connect_over_tls_and_callers_do_not_need_to() {
    let scratch = Scratch::new().unwrap();
    let certificates = Certificates::make(&scratch).unwrap();
    let relay = relay_with(|options| options.tls = Some(certificates.server.clone())).await;
    assert!(relay.connect_url().starts_with("wss://localhost:"));

    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&certificates.ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(relay.public()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .unwrap();

    let key = format!("Bearer {KEY}");
    let headers = [("authorization", key.as_str()), ("spectral-bridge-protocol", "2")];
    let mut client = Client::connect_over(socket, &relay, &headers).await.unwrap();
    assert_eq!(client.json().await["type"], "connected");
    relay.connected(1, PATIENCE).await.unwrap();
    let call = call(&relay, CHAT, "{}");
    let id = client.request().await;
    client.respond(&id, "1").await;
    assert_eq!(answer(call).await.body, "1");
}
