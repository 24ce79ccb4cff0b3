//! From here to the relay's TLS: names, proxies, ports, certificates.

use e2e::relay::{Relay, RelayOptions, TlsFiles, Version};
use e2e::world::site::KEY;
use e2e::world::{Authority, Certificates, ConnectProxy, Leaf, ProxyOptions, Scratch};

use crate::{Doctor, RELAY, closed, relay, saying};

async fn secure(tls: &TlsFiles) -> Relay {
    let mut options = RelayOptions::new(Version::V2, KEY);
    options.tls = Some(tls.clone());
    Relay::start(options).await.unwrap()
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_and_the_rest_skipped() {
    let said = Doctor::of_relay("wss://nobody.invalid/connect").says().await;
    said.fails(4, "dns", "dns", &["nobody.invalid", "getent hosts"]);
    assert!(said.statuses(&RELAY[1..]).iter().all(|status| *status == "skipped"));
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_told() {
    let closed = closed();
    let said = Doctor::of_relay(&format!("ws://{closed}/connect")).says().await;
    said.fails(4, "tcp", "connect", &[&closed.to_string(), "firewall"]);
    assert_eq!(said.statuses(&RELAY[..3]), ["ok", "ok", "failed"]);
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_refuses_or_is_none_is_told() {
    let options = ProxyOptions {
        credentials: Some("bridge:swordfish".into()),
        ..ProxyOptions::default()
    };
    let guarded = ConnectProxy::start(options).await.unwrap();
    let narrow = ConnectProxy::start(ProxyOptions {
        only_port: Some(443),
        ..ProxyOptions::default()
    });
    let narrow = narrow.await.unwrap();
    let web = saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let relay = relay(Version::V2).await;
    let through = |proxy: String| Doctor::of_relay(&relay.connect_url()).env("http_proxy", proxy);
    let (guard, closed) = (guarded.address(), closed());

    let said = through(format!("http://{guard}")).says().await;
    said.fails(
        4,
        "proxy",
        "proxy_auth",
        &["407", "http_proxy takes them", "USER:PASSWORD@HOST"],
    );
    let said = through(format!("http://bridge:wordfish-wordfish@{guard}")).says().await;
    said.fails(4, "proxy", "proxy_auth", &["correct user name"]);
    assert!(!said.json.to_string().contains("wordfish"));
    let said = through(format!("http://{}", narrow.address())).says().await;
    said.fails(4, "proxy", "proxy_refused", &["allow CONNECT to 127.0.0.1:"]);
    let said = through(format!("http://{web}")).says().await;
    said.fails(4, "proxy", "proxy_answer", &[&web.to_string(), "http_proxy"]);
    let said = through(format!("http://{closed}")).says().await;
    said.fails(4, "proxy", "proxy_connect", &[&closed.to_string()]);
    assert_eq!(said.statuses(&["dns", "tcp"]), ["ok", "skipped"]);
    let said = through("socks5://127.0.0.1:1".to_owned()).says().await;
    said.fails(4, "proxy", "proxy_config", &["http_proxy"]);

    let said = through(format!("http://bridge:swordfish@{guard}")).says().await;
    assert_eq!(said.code, 0, "{said:?}");
    let detail = said.check("proxy")["detail"].as_str().unwrap();
    assert!(
        detail.contains("with credentials") && !detail.contains("swordfish"),
        "{detail}"
    );
    assert_eq!(
        said.statuses(&["tcp", "tls", "handshake", "protocol"]),
        ["ok", "skipped", "ok", "ok"]
    );
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_told_by_its_reason() {
    let scratch = Scratch::new().unwrap();
    let house = Certificates::make(&scratch).unwrap();
    let stranger = Authority::new("somebody else").unwrap();
    let sign = |authority: &Authority, name: &str, leaf| authority.issue(&scratch, name, leaf).unwrap();
    let wrong_name = Leaf {
        names: &["relay.internal"],
        ..Leaf::good()
    };
    let expired = Leaf {
        expired: true,
        ..Leaf::good()
    };
    for (files, code, words) in [
        (
            sign(&stranger, "stranger", Leaf::good()),
            "tls_unknown_issuer",
            "--ca-file FILE",
        ),
        (
            sign(&house.authority, "named", wrong_name),
            "tls_wrong_name",
            "relay.internal",
        ),
        (
            sign(&house.authority, "old", expired),
            "tls_expired",
            "this machine's clock says 2",
        ),
        (
            house.authority.issue_too_early(&scratch, "early").unwrap(),
            "tls_not_valid_yet",
            "this machine's clock says 2",
        ),
    ] {
        let relay = secure(&files).await;
        let said = Doctor::of_relay(&relay.connect_url()).trusting(&house.ca).says().await;
        said.fails(5, "tls", code, &[words]);
        assert_eq!(
            said.statuses(&["tcp", "handshake", "protocol"]),
            ["ok", "skipped", "skipped"]
        );
        assert!(relay.journal().entries().is_empty(), "the key was shown to a stranger");
    }
    let relay = secure(&house.server).await;
    Doctor::of_relay(&relay.connect_url())
        .trusting(&house.ca)
        .says()
        .await
        .is_well(&RELAY);
}

#[tokio::test]
async fn a_port_without_tls_and_a_file_that_is_no_certificate_are_told() {
    let scratch = Scratch::new().unwrap();
    let plain = relay(Version::V2).await;
    let url = plain.connect_url().replace("ws://", "wss://");
    let said = Doctor::of_relay(&url).says().await;
    said.fails(5, "tls", "tls_not_spoken", &["--insecure-relay"]);
    let junk = scratch.write("junk.pem", "no certificate").unwrap();
    let said = Doctor::of_relay(&url).trusting(&junk).says().await;
    said.fails(5, "tls", "tls_config", &["junk.pem", "--ca-file"]);

    let certificates = Certificates::make(&scratch).unwrap();
    let relay = secure(&certificates.server).await;
    let url = relay.connect_url().replace("wss://", "ws://");
    let said = Doctor::of_relay(&url).says().await;
    let (detail, advice) = (&said.check("handshake")["detail"], &said.check("handshake")["advice"]);
    assert_eq!(said.code, 6, "{detail}");
    assert!(advice.as_str().unwrap().contains("wss:// instead of ws://"), "{advice}");
}
