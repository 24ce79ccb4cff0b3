use std::path::PathBuf;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;

use super::*;
use crate::config::{ClientCertificate, Relay};
use crate::relay::dial::Attempt;
use crate::relay::proxy::Variables;
use crate::relay::testing::{Ca, Conn, Identity, Scratch, answering, drain, relay, secret, serve};

async fn websocket(conn: Conn) {
    if let Ok(mut socket) = accept_async(conn).await {
        drain(socket.get_mut()).await;
    }
}

async fn attempt(relay: &Relay) -> Result<(), DialError> {
    Attempt::new(relay, Duration::from_secs(10), Variables::default())
        .run(&secret("key"), true)
        .await
        .map(|_| ())
}

/// What dialling a server with this certificate gives, trusting `ca`.
async fn against(ca: &Ca, identity: &Identity, change: impl FnOnce(&mut Relay)) -> Result<(), DialError> {
    let scratch = Scratch::new();
    let address = serve(Some(identity.server(None)), websocket).await;
    let mut relay = relay("127.0.0.1", address.port(), true);
    relay.tls.ca_file = Some(scratch.file("ca.pem", &ca.pem));
    change(&mut relay);
    attempt(&relay).await
}

async fn failure(ca: &Ca, identity: &Identity) -> (&'static str, String) {
    let error = against(ca, identity, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("TLS with the relay 127.0.0.1:"), "{error}");
    (error.code(), error.to_string())
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer_is_refused_with_the_remedy() {
    let (code, text) = failure(&Ca::new(), &Ca::new().good()).await;
    assert_eq!(code, "tls_unknown_issuer");
    assert!(text.contains("tls.ca_file"), "{text}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_with_the_same_name_is_told_apart() {
    let (code, text) = failure(&Ca::named("house"), &Ca::named("house").good()).await;
    assert_eq!(code, "tls_unknown_issuer");
    assert!(text.contains("of an older one"), "{text}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_told_how_long() {
    let ca = Ca::new();
    let expired = ca.issue(&["127.0.0.1"], |p| {
        p.not_before = date_time_ymd(2020, 1, 1);
        p.not_after = date_time_ymd(2021, 1, 1);
    });
    let (code, text) = failure(&ca, &expired).await;
    assert_eq!(code, "tls_expired");
    assert!(text.contains(" days ago; it must be renewed"), "{text}");
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused() {
    let ca = Ca::new();
    let early = ca.issue(&["127.0.0.1"], |p| p.not_before = date_time_ymd(4000, 1, 1));
    let (code, text) = failure(&ca, &early).await;
    assert_eq!(code, "tls_not_valid_yet");
    assert!(text.contains("clock"), "{text}");
}

#[tokio::test]
async fn a_wrong_name_is_refused_with_the_names_there_are() {
    let ca = Ca::new();
    let names = ["relay.test", "other.test", "10.0.0.1"];
    let (code, text) = failure(&ca, &ca.issue(&names, |_| {})).await;
    assert_eq!(code, "tls_wrong_name");
    assert!(
        text.contains("is for relay.test, other.test, 10.0.0.1, not for 127.0.0.1"),
        "{text}"
    );
    assert!(text.contains("tls.server_name"), "{text}");
    let many: Vec<String> = (0..9).map(|n| format!("n{n}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (_, text) = failure(&ca, &ca.issue(&many, |_| {})).await;
    assert!(text.contains("n4.test and 4 more"), "{text}");
}

#[tokio::test]
async fn server_name_is_verified_instead_of_the_host() {
    let ca = Ca::new();
    let identity = ca.issue(&["relay.test"], |_| {});
    let named = |name: &'static str| move |relay: &mut Relay| relay.tls.server_name = Some(name.to_owned());
    against(&ca, &identity, named("relay.test")).await.unwrap();
    assert_eq!(
        against(&ca, &identity, named("else.test")).await.unwrap_err().code(),
        "tls_wrong_name"
    );
    let error = against(&ca, &identity, named("no name")).await.unwrap_err();
    assert_eq!(error.code(), "tls_config");
    assert!(error.to_string().contains("tls.server_name"), "{error}");
}

#[tokio::test]
async fn a_ca_certificate_as_server_certificate_is_told_apart() {
    let ca = Ca::new();
    let identity = ca.issue(&["127.0.0.1"], |p| {
        p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)
    });
    let (code, text) = failure(&ca, &identity).await;
    assert_eq!(code, "tls_bad_certificate");
    assert!(text.contains("a CA's own certificate"), "{text}");
}

#[tokio::test]
async fn a_certificate_for_clients_only_is_refused() {
    let ca = Ca::new();
    let usage = |p: &mut CertificateParams| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (code, text) = failure(&ca, &ca.issue(&["127.0.0.1"], usage)).await;
    assert_eq!(code, "tls_bad_certificate");
    assert!(text.contains("server authentication"), "{text}");
}

#[tokio::test]
async fn a_port_without_tls_is_told_apart() {
    let (ca, scratch) = (Ca::new(), Scratch::new());
    let address = serve(None, |mut conn| async move {
        conn.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        drain(&mut conn).await;
    })
    .await;
    let mut relay = relay("127.0.0.1", address.port(), true);
    relay.tls.ca_file = Some(scratch.file("ca.pem", &ca.pem));
    let error = attempt(&relay).await.unwrap_err();
    assert_eq!(error.code(), "tls_not_spoken");
}

#[tokio::test]
async fn a_connection_closed_during_the_handshake_is_told() {
    let (ca, scratch) = (Ca::new(), Scratch::new());
    let address = serve(None, |mut conn| async move { drain(&mut conn).await }).await;
    let mut relay = relay("127.0.0.1", address.port(), true);
    relay.tls.ca_file = Some(scratch.file("ca.pem", &ca.pem));
    let error = attempt(&relay).await.unwrap_err();
    assert_eq!(error.code(), "tls");
    assert!(error.to_string().contains("middle of the handshake"), "{error}");
}

/// A server that wants clients of `clients`, dialled with this certificate.
async fn mutual(clients: &Ca, client: Option<&Identity>) -> Result<(), DialError> {
    let (ca, scratch) = (Ca::new(), Scratch::new());
    let address = serve(Some(ca.good().server(Some(clients))), websocket).await;
    let mut relay = relay("127.0.0.1", address.port(), true);
    relay.tls.ca_file = Some(scratch.file("ca.pem", &ca.pem));
    relay.tls.client = client.map(|identity| ClientCertificate {
        cert_file: scratch.file("client.pem", &identity.cert_pem),
        key_file: scratch.file("client.key", &identity.key.serialize_pem()),
    });
    attempt(&relay).await
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_relay_wants_one() {
    let clients = Ca::new();
    let client = clients.issue(&["client.test"], |_| {});
    mutual(&clients, Some(&client)).await.unwrap();
}

#[tokio::test]
async fn a_missing_or_unaccepted_client_certificate_is_told() {
    let clients = Ca::named("clients");
    let stranger = Ca::new().issue(&["client.test"], |_| {});
    let impostor = Ca::named("clients").issue(&["client.test"], |_| {});
    for client in [None, Some(&stranger), Some(&impostor)] {
        let error = mutual(&clients, client).await.unwrap_err();
        assert_eq!(error.code(), "tls_client_certificate", "{error}");
        assert!(error.to_string().contains("tls.cert_file"), "{error}");
    }
}

#[tokio::test]
async fn why_a_client_certificate_was_refused_is_heard_although_the_server_is_gone_before_a_byte_is_written() {
    let (ca, clients, scratch) = (Ca::new(), Ca::new(), Scratch::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ca.good().server(Some(&clients));
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let refused = TlsAcceptor::from(config).accept(tcp).into_fallible().await;
        // Its alert is on its way; then a reset, as when a server closes with bytes unread.
        refused.unwrap_err().1.set_zero_linger().unwrap();
    });
    let mut relay = relay("127.0.0.1", address.port(), true);
    relay.tls.ca_file = Some(scratch.file("ca.pem", &ca.pem));
    let tcp = TcpStream::connect(address).await.unwrap();
    let peer = Peer::relay("127.0.0.1", address.port());
    let tls = TlsClient::for_relay(&relay).unwrap();
    let mut stream = tls.connect(&peer, RelayStream::tcp(tcp)).await.unwrap();
    server.await.unwrap();
    let error = stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap_err();
    assert_eq!(fault(&error).unwrap().code(), "tls_client_certificate", "{error}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_without_their_content() {
    let (scratch, ca) = (Scratch::new(), Ca::new());
    let identity = ca.good();
    let secret_key = identity.key.serialize_pem();
    let key_as_ca = scratch.file("key-as-ca.pem", &secret_key);
    let torn = scratch.file("torn.pem", "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n");
    let absent = scratch.path().join("absent.pem");
    for (path, reason) in [
        (&key_as_ca, "no PEM certificate"),
        (&torn, "not valid PEM"),
        (&absent, "not found"),
    ] {
        let error = with_files(Some(path.clone()), None).await;
        let shown = error.to_string();
        assert!(
            shown.contains(reason) && shown.contains(&format!("tls.ca_file {}", path.display())),
            "{shown}"
        );
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
    let cert = scratch.file("cert.pem", &identity.cert_pem);
    let other_key = scratch.file("other.key", &ca.good().key.serialize_pem());
    let cases = [
        (&cert, &cert, "no PEM private key"),
        (&cert, &other_key, "do not go together"),
    ];
    for (cert_file, key_file, reason) in cases {
        let client = ClientCertificate {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        };
        let error = with_files(Some(scratch.file("ca.pem", &ca.pem)), Some(client)).await;
        assert!(error.to_string().contains(reason), "{error}");
    }
}

async fn with_files(ca_file: Option<PathBuf>, client: Option<ClientCertificate>) -> DialError {
    let mut relay = relay("127.0.0.1", answering("").await.port(), true);
    relay.tls.ca_file = ca_file;
    relay.tls.client = client;
    let error = attempt(&relay).await.unwrap_err();
    assert_eq!(error.code(), "tls_config");
    error
}

#[tokio::test]
async fn the_platforms_roots_do_not_trust_a_stranger() {
    // Whatever this machine has for roots: either there are none, or they did not issue this certificate.
    let address = serve(Some(Ca::new().good().server(None)), websocket).await;
    let error = attempt(&relay("127.0.0.1", address.port(), true)).await.unwrap_err();
    assert!(["tls_unknown_issuer", "tls_config"].contains(&error.code()), "{error}");
}
