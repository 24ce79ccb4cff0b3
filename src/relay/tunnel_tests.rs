use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::config::{HttpProxy, Proxy, ProxyCredentials, Relay, SecretSource};
use crate::relay::RelaySocket;
use crate::relay::dial::Attempt;
use crate::relay::proxy::Variables;
use crate::relay::testing::{Ca, Conn, Scratch, answering, drain, read_head, relay, secret, serve};

const PASSWORD: &str = "hunter2";

/// `user:hunter2`
const PROOF: &str = "proxy-authorization: basic dxnlcjpodw50zxiy\r\n";

async fn echo(conn: Conn) {
    let mut socket = accept_async(conn).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            socket.send(message).await.unwrap();
        }
    }
}

/// A proxy that tunnels to wherever it is asked, with credentials only where it wants them. Tells the heads it saw.
async fn proxy(ca: Option<&Ca>, wants_credentials: bool) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heads, seen) = mpsc::unbounded_channel();
    let address = serve(ca.map(|ca| ca.good().server(None)), move |mut conn| {
        let heads = heads.clone();
        async move {
            let head = read_head(&mut conn).await;
            heads.send(head.clone()).unwrap();
            if wants_credentials && !head.to_ascii_lowercase().contains(PROOF) {
                let refusal = b"HTTP/1.1 407 Wanted\r\nProxy-Authenticate: Basic realm=\"house\"\r\n\r\n";
                conn.write_all(refusal).await.unwrap();
                return drain(&mut conn).await;
            }
            let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
            let mut upstream = TcpStream::connect(target).await.unwrap();
            conn.write_all(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
                .await
                .unwrap();
            let _ = copy_bidirectional(&mut conn, &mut upstream).await;
        }
    })
    .await;
    (address, seen)
}

fn through(mut relay: Relay, proxy: SocketAddr, tls: bool) -> Relay {
    relay.proxy = Proxy::Http(HttpProxy {
        tls,
        host: "127.0.0.1".to_owned(),
        port: proxy.port(),
        credentials: None,
    });
    relay
}

fn with_password(relay: &mut Relay, scratch: &Scratch, password: &str) {
    let Proxy::Http(proxy) = &mut relay.proxy else {
        panic!("no proxy")
    };
    let password = SecretSource::File(scratch.file("password", password));
    proxy.credentials = Some(ProxyCredentials {
        username: "user".to_owned(),
        password,
    });
}

async fn attempt(relay: &Relay, variables: &[(&'static str, &str)]) -> Result<RelaySocket, DialError> {
    Attempt::new(relay, Duration::from_secs(10), Variables::of(variables))
        .run(&secret("key"), true)
        .await
}

async fn refused(relay: &Relay) -> DialError {
    let error = attempt(relay, &[]).await.map(|_| ()).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(PASSWORD) && !shown.contains("dXNlcj"), "{shown}");
    assert_eq!(error.status(), None);
    error
}

async fn says_hello(socket: &mut RelaySocket) {
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn ws_and_wss_go_through_http_and_https_proxies() {
    let (relays, proxies, scratch) = (Ca::new(), Ca::new(), Scratch::new());
    // The relay's authority and the proxy's: a file may hold both.
    let roots = scratch.file("ca.pem", &format!("{}{}", relays.pem, proxies.pem));
    for relay_tls in [false, true] {
        let address = serve(relay_tls.then(|| relays.good().server(None)), echo).await;
        for proxy_tls in [false, true] {
            let (proxy, mut seen) = proxy(proxy_tls.then_some(&proxies), false).await;
            let mut relay = through(relay("127.0.0.1", address.port(), relay_tls), proxy, proxy_tls);
            relay.tls.ca_file = Some(roots.clone());
            says_hello(&mut attempt(&relay, &[]).await.unwrap()).await;
            let head = seen.recv().await.unwrap();
            assert!(
                head.starts_with(&format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n")),
                "{head}"
            );
            assert!(
                !head.to_ascii_lowercase().contains("authorization"),
                "the key is the relay's alone: {head}"
            );
        }
    }
}

#[tokio::test]
async fn the_relays_name_is_resolved_by_the_proxy() {
    let (proxy, mut seen) = proxy(None, true).await;
    let relay = through(relay("relay.invalid", 8443, false), proxy, false);
    assert_eq!(refused(&relay).await.code(), "proxy_auth");
    assert!(
        seen.recv()
            .await
            .unwrap()
            .starts_with("CONNECT relay.invalid:8443 HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn credentials_are_sent_and_judged() {
    let scratch = Scratch::new();
    let address = serve(None, echo).await;
    let (proxy, _seen) = proxy(None, true).await;
    let mut relay = through(relay("127.0.0.1", address.port(), false), proxy, false);
    let error = refused(&relay).await;
    assert_eq!(error.code(), "proxy_auth");
    assert!(
        error.to_string().contains(&format!("proxy {proxy} wants a user name")),
        "{error}"
    );
    with_password(&mut relay, &scratch, "wrong");
    let error = refused(&relay).await;
    assert_eq!(error.code(), "proxy_auth");
    assert!(error.to_string().contains("does not accept"), "{error}");
    with_password(&mut relay, &scratch, PASSWORD);
    says_hello(&mut attempt(&relay, &[]).await.unwrap()).await;
}

#[tokio::test]
async fn the_environment_names_a_proxy_and_its_exceptions() {
    let address = serve(None, echo).await;
    let (proxy, mut seen) = proxy(None, true).await;
    let mut relay = relay("127.0.0.1", address.port(), false);
    relay.proxy = Proxy::FromEnv;
    let value = format!("http://user:{PASSWORD}@{proxy}");
    says_hello(&mut attempt(&relay, &[("http_proxy", &value)]).await.unwrap()).await;
    seen.recv().await.unwrap();
    let exempt = [("http_proxy", value.as_str()), ("no_proxy", "127.0.0.0/8")];
    says_hello(&mut attempt(&relay, &exempt).await.unwrap()).await;
    relay.proxy = Proxy::None;
    says_hello(&mut attempt(&relay, &[("http_proxy", &value)]).await.unwrap()).await;
    assert!(seen.try_recv().is_err(), "neither went through the proxy");
}

#[tokio::test]
async fn a_scheme_that_is_not_basic_is_named() {
    let answer = "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM TlRMTVNTUA==\r\n\r\n";
    let relay = through(relay("relay.invalid", 443, false), answering(answer).await, false);
    let error = refused(&relay).await;
    assert_eq!(error.code(), "proxy_auth");
    assert!(
        error
            .to_string()
            .contains("offers Negotiate, NTLM, of which only Basic"),
        "{error}"
    );
    assert!(!error.to_string().contains("TlRM"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_answers_401_means_its_own_credentials_not_the_relays_key() {
    let answer = "HTTP/1.0 401 Unauthorized\r\nServer: tinyproxy/1.11.1\r\n\r\n";
    let relay = through(relay("relay.invalid", 443, false), answering(answer).await, false);
    let error = refused(&relay).await;
    assert_eq!(error.code(), "proxy_auth");
    assert!(error.to_string().contains("(HTTP 401)"), "{error}");
}

#[tokio::test]
async fn a_proxys_refusal_is_not_the_relays() {
    for (answer, text) in [
        (
            "HTTP/1.1 403 Nope\r\ncontent-length: 3\r\n\r\nno!",
            "to relay.invalid:443 with HTTP 403 Forbidden",
        ),
        ("HTTP/1.0 502 Bad\r\n\r\n", "502 Bad Gateway"),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 504 Late\r\n\r\n",
            "504 Gateway Timeout",
        ),
    ] {
        let relay = through(relay("relay.invalid", 443, true), answering(answer).await, false);
        let error = refused_with_roots(relay).await;
        assert_eq!(error.code(), "proxy_refused");
        assert!(error.to_string().contains(text), "{error}");
    }
}

async fn refused_with_roots(mut relay: Relay) -> DialError {
    let scratch = Scratch::new();
    relay.tls.ca_file = Some(scratch.file("ca.pem", &Ca::new().pem));
    refused(&relay).await
}

#[tokio::test]
async fn an_answer_that_is_none_is_told() {
    let long: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(MAX_HEAD_BYTES)).into_boxed_str());
    for (answer, text) in [
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "not HTTP"),
        ("HTTP/2 200\r\n\r\n", "not HTTP"),
        ("HTTP/1.1 20\r\n\r\n", "not HTTP"),
        ("HTTP/1.1 200 OK\r\n", "closed the connection"),
        ("", "closed the connection"),
        ("HTTP/1.1 200 OK\r\n\r\nsurprise", "goes on after its answer"),
        (long, "longer than 16384 bytes"),
    ] {
        let relay = through(relay("relay.invalid", 443, false), answering(answer).await, false);
        let error = refused(&relay).await;
        assert_eq!(error.code(), "proxy_answer", "{answer:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_not_trusted_is_told_apart_from_the_relay() {
    let relay = relay("127.0.0.1", 1, false);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    assert_eq!(
        refused(&through(relay.clone(), address, false)).await.code(),
        "proxy_connect"
    );
    let (untrusted, _seen) = proxy(Some(&Ca::new()), false).await;
    let error = refused_with_roots(through(relay, untrusted, true)).await;
    assert_eq!(error.code(), "tls_unknown_issuer");
    assert!(
        error.to_string().contains(&format!("TLS with the proxy {untrusted}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_proxy_ends_in_a_timeout_that_names_it() {
    let silent = serve(None, |mut conn| async move {
        let mut sink = [0; 1024];
        while conn.read(&mut sink).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let relay = through(relay("relay.invalid", 443, false), silent, false);
    let attempt = Attempt::new(&relay, Duration::from_millis(100), Variables::default());
    let error = attempt.run(&secret("key"), true).await.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "timeout");
    assert!(
        error.to_string().contains(&format!(
            "gave up on the proxy {silent} after 100ms, waiting for its answer to CONNECT"
        )),
        "{error}"
    );
}
