use tokio::net::TcpListener;

use super::*;
use crate::relay::testing::{Ca, Scratch, answering, drain, relay, secret, serve};

/// Every step in order.
async fn walk(relay: &Relay, key: &Secret) -> Result<RelaySocket, DialError> {
    let probe = Probe::prepare(relay).await?;
    let stream = probe.connect(probe.resolve().await?).await?;
    let stream = probe.secure(probe.tunnel(stream).await?).await?;
    probe.handshake(stream, key, true).await
}

/// The steps fail as a dial does.
async fn agrees(relay: &Relay, code: &str) {
    let key = secret("sk-0123456789");
    let walked = walk(relay, &key).await.map(|_| ()).unwrap_err();
    let dialled = crate::relay::dial(relay, &key, true).await.map(|_| ()).unwrap_err();
    assert_eq!((&walked, walked.code()), (&dialled, code));
}

#[tokio::test]
async fn each_step_fails_as_the_dial_does() {
    let scratch = Scratch::new();
    agrees(&relay("nobody.invalid", 443, true), "dns").await;

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    agrees(&relay("127.0.0.1", closed.port(), false), "connect").await;

    let mut without_file = relay("127.0.0.1", closed.port(), true);
    without_file.tls.ca_file = Some("/nonexistent/ca.pem".into());
    agrees(&without_file, "tls_config").await;

    let stranger = serve(Some(Ca::new().good().server(None)), |mut conn| async move {
        drain(&mut conn).await;
    })
    .await;
    let mut wary = relay("localhost", stranger.port(), true);
    wary.tls.ca_file = Some(scratch.file("ca.pem", &Ca::new().pem));
    agrees(&wary, "tls_unknown_issuer").await;

    let refusing = answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    agrees(&relay("127.0.0.1", refusing.port(), false), "handshake_status").await;
}

#[tokio::test]
async fn a_proxy_is_told_and_its_refusal_is_the_tunnels() {
    let proxy = answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let mut relay = relay("relay.example.com", 443, false);
    relay.proxy = crate::config::Proxy::Http(crate::config::HttpProxy {
        tls: false,
        host: proxy.ip().to_string(),
        port: proxy.port(),
        credentials: None,
    });
    agrees(&relay, "proxy_auth").await;
    let probe = Probe::prepare(&relay).await.unwrap();
    let facts = probe.proxy().unwrap();
    assert_eq!(
        (facts.peer.port, facts.tls, facts.credentials),
        (proxy.port(), false, false)
    );
    assert_eq!(probe.first_hop(), &facts.peer);
}

#[tokio::test]
async fn a_server_that_is_no_relay_is_verified_against_the_named_roots() {
    let (scratch, ca) = (Scratch::new(), Ca::new());
    let server = serve(Some(ca.good().server(None)), |mut conn| async move {
        drain(&mut conn).await;
    })
    .await;
    let known = scratch.file("ca.pem", &ca.pem);
    let limit = Duration::from_secs(10);
    let open = |roots| open("localhost", server.port(), roots, limit);
    assert!(matches!(open(Roots::File(&known)).await, Ok(RelayStream::Tls(_))));
    let other = scratch.file("other.pem", &Ca::new().pem);
    let refused = open(Roots::File(&other)).await.unwrap_err();
    assert_eq!(refused.code(), "tls_unknown_issuer");
}
