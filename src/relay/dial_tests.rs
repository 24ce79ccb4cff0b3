use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::relay::testing::{Ca, Conn, Scratch, answering, drain, read_head, relay, secret, serve};

const KEY: &str = "sk-never-shown-0123456789";

async fn attempt(relay: &Relay) -> Result<RelaySocket, DialError> {
    Attempt::new(relay, Duration::from_secs(10), Variables::default())
        .run(&secret(KEY), true)
        .await
}

async fn refused(relay: &Relay) -> DialError {
    let error = attempt(relay).await.map(|_| ()).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(KEY), "{shown}");
    error
}

fn local(address: SocketAddr) -> Relay {
    relay("127.0.0.1", address.port(), false)
}

/// Accepts the WebSocket with the limits that we use ourselves.
async fn accept(conn: Conn, max: usize) -> WebSocketStream<Conn> {
    accept_async_with_config(conn, Some(websocket_config(max)))
        .await
        .unwrap()
}

async fn echo(conn: Conn, max: usize) {
    let mut socket = accept(conn, max).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            socket.send(message).await.unwrap();
        }
    }
}

// PROTOCOL §2.1: connect to the path of the URL, with the key and the version in headers
// PROTOCOL 0.1.2 §2.1: the key alone
#[tokio::test]
async fn the_handshake_carries_the_key_and_the_version() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let address = serve(None, move |mut conn| {
        let heads = heads.clone();
        async move {
            heads.send(read_head(&mut conn).await).unwrap();
            drain(&mut conn).await;
        }
    })
    .await;
    let mut relay = local(address);
    relay.url.path_and_query = "/connect?tenant=a".to_owned();
    for send_version in [true, false] {
        let limit = Duration::from_secs(10);
        Attempt::new(&relay, limit, Variables::default())
            .run(&secret(KEY), send_version)
            .await
            .map(|_| ())
            .unwrap_err();
        let head = seen.recv().await.unwrap();
        let lower = head.to_ascii_lowercase();
        assert!(head.starts_with("GET /connect?tenant=a HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("Host: 127.0.0.1:{}\r\n", address.port())),
            "{head}"
        );
        assert!(head.contains(&format!("authorization: Bearer {KEY}\r\n")), "{head}");
        assert!(lower.contains("\r\nuser-agent: spectral-bridge-envoy/"), "{head}");
        assert!(!lower.contains("sec-websocket-extensions"), "no compression: {head}");
        assert_eq!(
            lower.contains("\r\nspectral-bridge-protocol: 2\r\n"),
            send_version,
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_ws_relay_is_reached_by_name() {
    let address = serve(None, |conn| echo(conn, 1024)).await;
    let mut socket = attempt(&relay("localhost", address.port(), false)).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn a_wss_relay_is_reached_with_the_roots_of_a_file() {
    let (ca, scratch) = (Ca::new(), Scratch::new());
    let address = serve(Some(ca.good().server(None)), |conn| echo(conn, 1024)).await;
    let mut relay = relay("127.0.0.1", address.port(), true);
    relay.tls.ca_file = Some(scratch.file("ca.pem", &ca.pem));
    let mut socket = attempt(&relay).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    assert!(matches!(socket.get_ref(), RelayStream::Tls(_)));
}

#[tokio::test]
async fn the_counts_follow_what_crosses_the_wire() {
    let address = serve(None, |conn| echo(conn, 1024 * 1024)).await;
    let mut socket = attempt(&local(address)).await.unwrap();
    let counts = socket.get_ref().counts();
    let (written, read) = (counts.written(), counts.read());
    assert!(written > 100 && read > 100, "the handshake counts: {written} {read}");
    // A frame of 1000 bytes has 4 bytes of header, and 4 of mask from a client.
    socket.send(Message::text("x".repeat(1000))).await.unwrap();
    socket.next().await.unwrap().unwrap();
    assert_eq!(counts.written(), written + 1008);
    assert_eq!(counts.read(), read + 1004);
}

#[tokio::test]
async fn small_frames_gather_until_the_flush() {
    let address = serve(None, |conn| echo(conn, 1024)).await;
    let mut socket = attempt(&local(address)).await.unwrap();
    let counts = socket.get_ref().counts();
    let before = counts.written();
    for _ in 0..100 {
        socket.feed(Message::text("ack")).await.unwrap();
    }
    assert_eq!(counts.written(), before);
    socket.flush().await.unwrap();
    assert_eq!(counts.written(), before + 100 * 9);
}

// PROTOCOL §2.2: a frame is at most 16 MiB, to the byte
#[tokio::test]
async fn a_frame_of_exactly_16_mib_passes_both_ways_and_one_byte_more_does_not() {
    const MAX: usize = 16 * 1024 * 1024;
    let (closes, mut seen) = mpsc::unbounded_channel();
    let address = serve(None, move |conn| {
        let closes = closes.clone();
        async move {
            let mut socket = accept(conn, MAX).await;
            let received = socket.next().await.unwrap().unwrap();
            socket.send(received).await.unwrap();
            socket.send(Message::text("x".repeat(MAX + 1))).await.unwrap();
            closes.send(socket.next().await.unwrap().unwrap()).unwrap();
            let _ = socket.flush().await;
        }
    })
    .await;
    let mut socket = attempt(&local(address)).await.unwrap();
    socket.send(Message::text("x".repeat(MAX))).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().len(), MAX);
    let error = socket.next().await.unwrap().unwrap_err();
    assert!(is_too_long(&error, MAX + 1, MAX), "{error}");
    // Reading is over, but a close can still be sent. It arrives if the rest of the frame is read, not reset.
    assert!(socket.next().await.is_none());
    let frame = CloseFrame {
        code: CloseCode::Size,
        reason: "".into(),
    };
    socket.send(Message::Close(Some(frame.clone()))).await.unwrap();
    let mut rest = Vec::new();
    socket.get_mut().read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > MAX / 2, "the oversized frame was still to come");
    assert_eq!(seen.recv().await.unwrap(), Message::Close(Some(frame)));
}

// PROTOCOL §2.2: a response too large was replaced before it gets here
#[tokio::test]
async fn a_frame_sent_over_the_limit_is_not_stopped_here() {
    let (errors, mut seen) = mpsc::unbounded_channel();
    let address = serve(None, move |conn| {
        let errors = errors.clone();
        async move {
            let mut socket = accept(conn, 1000).await;
            errors.send(socket.next().await.unwrap().unwrap_err()).unwrap();
            drain(socket.get_mut()).await;
        }
    })
    .await;
    let mut relay = local(address);
    relay.max_frame_bytes = 1000;
    let mut socket = attempt(&relay).await.unwrap();
    socket.send(Message::text("x".repeat(1001))).await.unwrap();
    assert!(is_too_long(&seen.recv().await.unwrap(), 1001, 1000));
}

#[tokio::test]
async fn a_full_write_buffer_gives_the_message_back_and_stays_usable() {
    let address = serve(None, |conn| echo(conn, 1024)).await;
    let mut relay = local(address);
    relay.max_frame_bytes = 1024;
    let mut socket = attempt(&relay).await.unwrap();
    let error = socket
        .feed(Message::text("x".repeat(WRITE_BUFFER + CONTROL_FRAMES + 1025)))
        .await
        .unwrap_err();
    assert!(matches!(error, WsError::WriteBufferFull(_)), "{error}");
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
}

fn is_too_long(error: &WsError, its: usize, limit: usize) -> bool {
    matches!(error, WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) if (*size, *max_size) == (its, limit))
}

#[tokio::test]
async fn fragments_count_together() {
    let address = serve(None, |conn| async move {
        let mut socket = accept(conn, 1024).await;
        let raw = socket.get_mut();
        // Frames of 600 bytes each: a text that goes on, and its last part.
        for first_byte in [0x01, 0x80] {
            raw.write_all(&[first_byte, 126, 2, 88]).await.unwrap();
            raw.write_all(&[b'x'; 600]).await.unwrap();
        }
        raw.flush().await.unwrap();
        drain(raw).await;
    })
    .await;
    let mut relay = local(address);
    relay.max_frame_bytes = 1199;
    let error = attempt(&relay).await.unwrap().next().await.unwrap().unwrap_err();
    assert!(is_too_long(&error, 1200, 1199), "{error}");
    relay.max_frame_bytes = 1200;
    assert_eq!(
        attempt(&relay).await.unwrap().next().await.unwrap().unwrap().len(),
        1200
    );
}

#[tokio::test]
async fn a_refused_handshake_tells_its_status_and_what_to_look_at() {
    let cases = [
        (
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\n\r\n",
            401,
            "401 Unauthorized; is the API key",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nbody",
            403,
            "403 Forbidden; is the API key",
        ),
        ("HTTP/1.1 404 Nope\r\n\r\n", 404, "404 Not Found; is the path"),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://elsewhere.test/?token=x\r\n\r\n",
            302,
            "302 Found; redirects",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n<html>", 200, "200 OK; is this a relay"),
        ("HTTP/1.1 500 Oops\r\n\r\n", 500, "500 Internal Server Error"),
        ("HTTP/1.1 599 Odd\r\n\r\n", 599, "HTTP 599"),
    ];
    for (answer, status, text) in cases {
        let address = answering(answer).await;
        let error = refused(&local(address)).await;
        assert_eq!(
            (error.code(), error.status()),
            ("handshake_status", Some(status)),
            "{error}"
        );
        let shown = error.to_string();
        assert!(
            shown.contains(text) && shown.contains(&format!("127.0.0.1:{}", address.port())),
            "{shown}"
        );
        assert!(!shown.contains("token=x"), "{shown}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_handshake_is_told() {
    let wrong_key = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "",
        wrong_key,
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let error = refused(&local(answering(answer).await)).await;
        assert_eq!(
            (error.code(), error.status()),
            ("handshake", None),
            "{answer:?} {error}"
        );
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let address = serve(None, |mut conn| async move {
        read_head(&mut conn).await;
        let _ = conn.write_all(b"HTTP/1.1 101 Switching Protocols\r\nx: ").await;
        while conn.write_all(&[b'a'; 4096]).await.is_ok() {}
    })
    .await;
    let error = refused(&local(address)).await;
    assert_eq!(error.code(), "handshake");
    assert!(error.to_string().contains("too long"), "{error}");
}

#[tokio::test]
async fn a_silent_peer_ends_in_a_timeout_that_names_the_step() {
    let silent = serve(None, |mut conn| async move { drain_without_answer(&mut conn).await }).await;
    let limit = Duration::from_millis(200);
    for (tls, step) in [(false, "WebSocket handshake"), (true, "TLS handshake")] {
        let (ca, scratch) = (Ca::new(), Scratch::new());
        let mut relay = relay("127.0.0.1", silent.port(), tls);
        relay.tls.ca_file = Some(scratch.file("ca.pem", &ca.pem));
        let error = Attempt::new(&relay, limit, Variables::default())
            .run(&secret(KEY), true)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(error.code(), "timeout");
        let shown = error.to_string();
        assert!(
            shown.contains(step) && shown.contains("200ms") && shown.contains("127.0.0.1:"),
            "{shown}"
        );
    }
}

async fn drain_without_answer(conn: &mut Conn) {
    let mut sink = [0; 1024];
    while conn.read(&mut sink).await.is_ok_and(|n| n > 0) {}
}

#[test]
fn the_host_header_has_the_port_only_where_it_is_unusual() {
    let url = |tls, host: &str, port| RelayUrl {
        tls,
        host: host.to_owned(),
        port,
        path_and_query: "/".to_owned(),
    };
    assert_eq!(authority(&url(true, "relay.test", 443)), "relay.test");
    assert_eq!(authority(&url(true, "relay.test", 80)), "relay.test:80");
    assert_eq!(authority(&url(false, "relay.test", 80)), "relay.test");
    assert_eq!(authority(&url(true, "::1", 8443)), "[::1]:8443");
}

#[test]
fn no_log_level_shows_the_handshake() {
    // tungstenite writes the whole request, key included, at the level trace of the crate `log`.
    assert!(log::STATIC_MAX_LEVEL < log::LevelFilter::Trace);
}
