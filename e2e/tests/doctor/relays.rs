//! The relay: its answer to the handshake, what it thinks of the key, its version.

use e2e::relay::{Hello, Refusal, Relay, RelayOptions, Version};
use e2e::world::site::KEY;

use crate::{Doctor, relay, saying, silent};

async fn relay_with(change: impl FnOnce(&mut RelayOptions)) -> Relay {
    let mut options = RelayOptions::new(Version::V2, KEY);
    change(&mut options);
    Relay::start(options).await.unwrap()
}

#[tokio::test]
async fn a_key_that_the_relay_does_not_take_is_told_in_either_way_of_refusing() {
    for (refusal, code) in [
        (Refusal::Handshake, "handshake_status"),
        (Refusal::Close, "authentication_failed"),
    ] {
        let relay = relay_with(|options| options.refusal = refusal).await;
        let doctor = Doctor::of_relay(&relay.connect_url()).env("SPECTRAL_BRIDGE_API_KEY", "another-key-0123456789");
        let said = doctor.says().await;
        said.fails(
            6,
            "handshake",
            code,
            &["environment variable SPECTRAL_BRIDGE_API_KEY", "platform"],
        );
        assert_eq!(said.statuses(&["tcp", "protocol"]), ["ok", "skipped"]);
        assert!(!said.json.to_string().contains("another-key"));
    }
}

#[tokio::test]
async fn each_answer_that_is_no_handshake_is_told_apart() {
    for (answer, code, words) in [
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            "handshake_status",
            "the key",
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "handshake_status",
            "/connect",
        ),
        (
            "HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n",
            "handshake_status",
            "another client",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://elsewhere/\r\ncontent-length: 0\r\n\r\n",
            "handshake_status",
            "redirects are not followed",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "handshake_status",
            "pass WebSockets on",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "handshake_status",
            "in trouble",
        ),
        ("220 mail.example ESMTP\r\n", "handshake", "a relay's port"),
    ] {
        let server = saying(answer).await;
        let said = Doctor::of_relay(&format!("ws://{server}/connect")).says().await;
        said.fails(6, "handshake", code, &[words]);
    }
}

#[tokio::test]
async fn the_protocols_version_is_told_and_one_that_is_not_accepted_fails() {
    let (first, second) = (relay(Version::V1).await, relay(Version::V2).await);
    let of = |relay: &Relay, more: &[&str]| Doctor::of_relay(&relay.connect_url()).with(more).says();
    let said = of(&first, &[]).await;
    assert_eq!((said.code, &said.check("protocol")["detail"]), (0, &"version 1".into()));
    let said = of(&first, &["--protocol", "2"]).await;
    said.fails(6, "protocol", "unsupported_version", &["version 1", "--protocol auto"]);
    assert_eq!(said.statuses(&["handshake"]), ["ok"]);
    let said = of(&second, &["--protocol", "1"]).await;
    said.fails(6, "protocol", "unsupported_version", &["4002"]);

    let text = r#"{"type":"connected","protocol":3}"#.to_owned();
    let newer = relay_with(|options| options.hello = Hello::Text(text)).await;
    of(&newer, &[]).await.fails(
        6,
        "protocol",
        "unsupported_version",
        &["version 3", "newer spectral-bridge"],
    );
}

#[tokio::test]
async fn a_relay_that_stays_silent_is_told_before_the_handshake_and_after_it() {
    let (_listener, address) = silent().await;
    let before = Doctor::of_relay(&format!("ws://{address}/connect")).says();
    let relay = relay_with(|options| options.hello = Hello::Silence).await;
    let after = Doctor::of_relay(&relay.connect_url()).says();
    let (before, after) = tokio::join!(before, after);
    before.fails(
        6,
        "handshake",
        "timeout",
        &["10s", &address.to_string(), "stays silent"],
    );
    assert_eq!(before.statuses(&["tcp", "protocol"]), ["ok", "skipped"]);
    after.fails(6, "protocol", "no_hello", &["10s", "is no relay"]);
    assert_eq!(after.statuses(&["tcp", "handshake"]), ["ok", "ok"]);
}

#[tokio::test]
async fn never_means_that_the_key_is_not_shown() {
    let relay = relay(Version::V2).await;
    let said = Doctor::of_relay(&relay.connect_url())
        .with(&["--connect", "never"])
        .says()
        .await;
    assert_eq!(said.code, 0);
    assert_eq!(
        said.statuses(&["tcp", "handshake", "protocol"]),
        ["ok", "skipped", "skipped"]
    );
    assert!(relay.journal().entries().is_empty());
}
