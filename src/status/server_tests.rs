use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::SecretSource;
use crate::relay::testing::Scratch;
use crate::status::snapshot::{LastError, RelaySnapshot, RelayState};

/// Two relays whose first is in a state of the test's choice.
struct World {
    state: Mutex<RelayState>,
    drains: AtomicUsize,
    drained: watch::Sender<bool>,
    reconnects: Mutex<Vec<String>>,
    pauses: Mutex<Vec<String>>,
    token: Token,
    inspector: Inspector,
    recorder: Recorder,
}

impl World {
    fn new(state: RelayState) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            drains: AtomicUsize::new(0),
            drained: watch::Sender::new(false),
            reconnects: Mutex::new(Vec::new()),
            pauses: Mutex::new(Vec::new()),
            token: Token::default(),
            inspector: Inspector::default(),
            recorder: Recorder::default(),
        })
    }
}

impl Control for World {
    fn snapshot(&self) -> ProcessSnapshot {
        let error = LastError {
            code: "connect".to_owned(),
            message: "connection refused".to_owned(),
            seconds_ago: 2.0,
        };
        let first = RelaySnapshot {
            name: "eu".to_owned(),
            state: *self.state.lock().unwrap(),
            last_error: Some(error),
            ..RelaySnapshot::default()
        };
        let second = RelaySnapshot {
            name: "us".to_owned(),
            state: RelayState::Connected,
            ..RelaySnapshot::default()
        };
        ProcessSnapshot {
            running: true,
            relays: vec![first, second],
            ..ProcessSnapshot::default()
        }
    }

    fn recorders(&self) -> Vec<(String, Recorder)> {
        vec![("eu".to_owned(), self.recorder.clone())]
    }

    fn drain(&self) {
        self.drains.fetch_add(1, Ordering::SeqCst);
    }

    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut drained = self.drained.subscribe();
        Box::pin(async move {
            drained.wait_for(|done| *done).await.unwrap();
        })
    }

    fn reconnect(&self, name: &str) -> bool {
        self.reconnects.lock().unwrap().push(name.to_owned());
        ["eu", "us"].contains(&name)
    }

    fn pause(&self, name: Option<&str>, pause: bool) -> Vec<String> {
        let told = format!("{} {pause}", name.unwrap_or("all"));
        self.pauses.lock().unwrap().push(told);
        let named = |relay: &&str| name.is_none_or(|name| name == *relay);
        ["eu", "us"].into_iter().filter(named).map(str::to_owned).collect()
    }
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn start(world: &Arc<World>, limits: Limits) -> (StatusServer, SocketAddr) {
    let served = Served {
        control: Arc::clone(world) as _,
        token: world.token.clone(),
        inspector: world.inspector.clone(),
    };
    let server = StatusServer::spawn_with(&Handle::current(), ANY, served, limits);
    let address = bound(&server).await;
    (server, address)
}

async fn bound(server: &StatusServer) -> SocketAddr {
    let mut address = server.local_addr();
    address.wait_for(Option::is_some).await.unwrap().unwrap()
}

/// One request as it is written, one answer as it is read: status, head, body.
async fn raw(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        head.to_ascii_lowercase(),
        body.to_owned(),
    )
}

async fn ask(address: SocketAddr, method: &str, target: &str) -> (u16, String, String) {
    raw(
        address,
        &format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn health_is_answered_whatever_the_relays_do() {
    let (_server, address) = start(&World::new(RelayState::Stopped), LIMITS).await;
    let (status, head, body) = ask(address, "GET", "/healthz").await;
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert!(head.contains("cache-control: no-store"), "{head}");
}

#[tokio::test]
async fn readiness_follows_the_relays_and_says_why() {
    let world = World::new(RelayState::BackingOff);
    let (_server, address) = start(&world, LIMITS).await;
    let (status, head, body) = ask(address, "GET", "/readyz").await;
    assert_eq!(status, 503);
    assert!(head.contains("content-type: application/json"), "{head}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let reason = "relay eu is disconnected and will try again: connection refused (connect)";
    assert_eq!(body, json!({ "ready": false, "reasons": [reason] }));
    *world.state.lock().unwrap() = RelayState::Connected;
    let (status, _, body) = ask(address, "GET", "/readyz").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body), (200, json!({ "ready": true, "reasons": [] })));
}

#[tokio::test]
async fn status_is_the_snapshot_as_json() {
    let world = World::new(RelayState::Connecting);
    let (_server, address) = start(&world, LIMITS).await;
    let (status, _, body) = ask(address, "GET", "/status").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<ProcessSnapshot>(&body).unwrap(),
        world.snapshot()
    );
}

#[tokio::test]
async fn head_has_the_head_of_get_and_no_body() {
    let (_server, address) = start(&World::new(RelayState::Connected), LIMITS).await;
    for target in ["/healthz", "/readyz", "/status"] {
        let (_, _, body) = ask(address, "GET", target).await;
        let (status, head, nothing) = ask(address, "HEAD", target).await;
        assert_eq!((status, nothing.as_str()), (200, ""), "{target}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
}

#[tokio::test]
async fn drain_is_answered_at_once_or_when_it_is_over() {
    let world = World::new(RelayState::Connected);
    let (_server, address) = start(&world, LIMITS).await;
    assert_eq!(ask(address, "POST", "/drain").await.0, 202);
    assert_eq!(world.drains.load(Ordering::SeqCst), 1);
    let waiting = tokio::spawn(async move { ask(address, "POST", "/drain?wait=true").await });
    while world.drains.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    world.drained.send_replace(true);
    let (status, _, body) = waiting.await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&body).unwrap(),
        json!({ "draining": false, "drained": true })
    );
}

#[tokio::test]
async fn waiting_for_a_drain_has_an_end() {
    let limits = Limits {
        drain_wait: Duration::from_millis(50),
        ..LIMITS
    };
    let (_server, address) = start(&World::new(RelayState::Connected), limits).await;
    let (status, _, body) = ask(address, "POST", "/drain?wait=true").await;
    assert_eq!(status, 202);
    assert!(body.contains("\"drained\": false"), "{body}");
    assert_eq!(ask(address, "POST", "/drain?wait=soon").await.0, 400);
}

#[tokio::test]
async fn reconnect_reaches_the_relay_named_or_lists_the_names() {
    let world = World::new(RelayState::Stopped);
    let (_server, address) = start(&world, LIMITS).await;
    assert_eq!(ask(address, "POST", "/relays/eu/reconnect").await.0, 202);
    let (status, _, body) = ask(address, "POST", "/relays/asia/reconnect").await;
    assert_eq!(status, 404);
    assert!(body.contains("there are: eu, us"), "{body}");
    assert_eq!(*world.reconnects.lock().unwrap(), ["eu", "asia"]);
}

async fn steer(address: SocketAddr, target: &str, headers: &str) -> (u16, String, String) {
    raw(
        address,
        &format!("POST {target} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n"),
    )
    .await
}

#[tokio::test]
async fn pausing_needs_the_token_and_everything_else_none() {
    let world = World::new(RelayState::Connected);
    let dir = Scratch::new();
    let (_server, address) = start(&world, LIMITS).await;
    let right = "authorization: Bearer t0ken-71\r\n";
    let (status, _, body) = steer(address, "/pause", right).await;
    assert_eq!(status, 403);
    assert!(body.contains("set status.token to {env: NAME}"), "{body}");
    world.token.set(Some(SecretSource::File("/nonexistent/token".into())));
    let (status, _, body) = steer(address, "/pause", right).await;
    assert_eq!(status, 503, "{body}");
    world
        .token
        .set(Some(SecretSource::File(dir.file("token", "t0ken-71\n"))));
    for wrong in [
        "",
        "authorization: Bearer t0ken-72\r\n",
        "authorization: Bearer \r\n",
        "authorization: Basic t0ken-71\r\n",
        "authorization: t0ken-71\r\n",
        "authorization: Bearer t0ken-71\r\nauthorization: Bearer t0ken-71\r\n",
    ] {
        for target in ["/pause", "/resume", "/relays/eu/pause", "/relays/nobody/resume"] {
            let (status, head, body) = steer(address, target, wrong).await;
            assert_eq!(status, 401, "{target} {wrong}");
            assert!(
                head.contains("www-authenticate: bearer") && !body.contains("t0ken"),
                "{head}"
            );
        }
    }
    assert_eq!(
        world.pauses.lock().unwrap().len(),
        0,
        "somebody without the token paused"
    );
    // a file may be replaced
    dir.file("token", "t0ken-73");
    assert_eq!(steer(address, "/pause", right).await.0, 401);
    assert_eq!(
        steer(address, "/pause", "authorization: bearer t0ken-73\r\n").await.0,
        202
    );
    for open in ["/healthz", "/readyz", "/status"] {
        assert_eq!(ask(address, "GET", open).await.0 / 100, 2, "{open}");
    }
    assert_eq!(ask(address, "POST", "/drain").await.0, 202);
    let elsewhere = format!("{right}origin: https://evil.test\r\n");
    assert_eq!(steer(address, "/pause", &elsewhere).await.0, 403);
}

#[tokio::test]
async fn one_relay_or_all_are_paused_and_resumed() {
    let world = World::new(RelayState::Connected);
    let dir = Scratch::new();
    world.token.set(Some(SecretSource::File(dir.file("token", "t"))));
    let (_server, address) = start(&world, LIMITS).await;
    for (target, expected) in [
        ("/pause", json!({ "pausing": ["eu", "us"] })),
        ("/relays/us/pause", json!({ "pausing": ["us"] })),
        ("/resume", json!({ "resuming": ["eu", "us"] })),
        ("/relays/eu/resume", json!({ "resuming": ["eu"] })),
    ] {
        let (status, _, body) = steer(address, target, "authorization: Bearer t\r\n").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body), (202, expected), "{target}");
    }
    let (status, _, body) = steer(address, "/relays/asia/pause", "authorization: Bearer t\r\n").await;
    assert_eq!(status, 404);
    assert!(body.contains("there are: eu, us"), "{body}");
    let told = world.pauses.lock().unwrap().clone();
    assert_eq!(told, ["all true", "us true", "all false", "eu false", "asia true"]);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_told() {
    let world = World::new(RelayState::Connected);
    let (_server, address) = start(&world, LIMITS).await;
    let (status, _, body) = ask(address, "GET", "/metrics").await;
    assert_eq!(status, 404);
    assert!(body.contains("/readyz"), "{body}");
    let (status, head, _) = ask(address, "GET", "/drain").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: post"), "{head}");
    let (status, head, _) = ask(address, "DELETE", "/status").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    assert_eq!(world.drains.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_page_led_here_by_dns_or_across_sites_is_refused() {
    let world = World::new(RelayState::Connected);
    let (_server, address) = start(&world, LIMITS).await;
    let (status, _, body) = raw(address, "GET /status HTTP/1.1\r\nhost: evil.test:8841\r\n\r\n").await;
    assert_eq!(status, 403);
    assert!(body.contains("host header") && !body.contains("eu"), "{body}");
    let across = "POST /drain HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.test\r\ncontent-length: 0\r\n\r\n";
    let (status, _, body) = raw(address, across).await;
    assert_eq!(status, 403);
    assert!(body.contains("origin"), "{body}");
    assert_eq!(raw(address, "GET /healthz HTTP/1.0\r\n\r\n").await.0, 403);
    assert_eq!(world.drains.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_body_is_ignored_however_long_it_claims_to_be() {
    let (_server, address) = start(&World::new(RelayState::Connected), LIMITS).await;
    let head = "POST /drain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000000\r\n\r\n{}";
    assert_eq!(raw(address, head).await.0, 202);
}

#[tokio::test]
async fn an_overlong_head_is_refused() {
    let (_server, address) = start(&World::new(RelayState::Connected), LIMITS).await;
    let head = format!(
        "GET /status HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "a".repeat(MAX_HEAD_BYTES)
    );
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tcp.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut() {
    let limits = Limits {
        head: Duration::from_millis(50),
        ..LIMITS
    };
    let (_server, address) = start(&World::new(RelayState::Connected), limits).await;
    for part in ["", "GET /status HTTP/1.1\r\nhost: local"] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(part.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_one_is_free() {
    let limits = Limits {
        connections: 2,
        ..LIMITS
    };
    let (_server, address) = start(&World::new(RelayState::Connected), limits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(third.read(&mut [0; 16]).await.unwrap(), 0, "closed without an answer");
    // One of those held asks and so frees its place.
    let mut first = held.remove(0);
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(first);
    assert_eq!(ask(address, "GET", "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_port_in_use_is_retried_until_it_is_free() {
    let holder = TcpListener::bind(ANY).await.unwrap();
    let listen = holder.local_addr().unwrap();
    let world = World::new(RelayState::Connected);
    let server = StatusServer::spawn(
        &Handle::current(),
        listen,
        Arc::clone(&world) as _,
        Token::default(),
        Inspector::default(),
    );
    // A whole connection through the holder, so that the server had its turn.
    let (client, accepted) = tokio::join!(TcpStream::connect(listen), holder.accept());
    assert_eq!(*server.local_addr().borrow(), None);
    drop((client, accepted, holder));
    assert_eq!(bound(&server).await, listen);
    assert_eq!(ask(listen, "GET", "/healthz").await.0, 200);
}

#[tokio::test]
async fn stop_ends_a_server_that_never_got_its_port() {
    let holder = TcpListener::bind(ANY).await.unwrap();
    let world = World::new(RelayState::Connected);
    let listen = holder.local_addr().unwrap();
    let server = StatusServer::spawn(
        &Handle::current(),
        listen,
        Arc::clone(&world) as _,
        Token::default(),
        Inspector::default(),
    );
    server.stop().await;
    assert_eq!(Arc::strong_count(&world), 1);
}

#[tokio::test]
async fn stop_lets_an_answer_go_out_and_frees_the_port() {
    let world = World::new(RelayState::Connected);
    let (server, address) = start(&world, LIMITS).await;
    let waiting = tokio::spawn(async move { ask(address, "POST", "/drain?wait=true").await });
    while world.drains.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    world.drained.send_replace(true);
    server.stop().await;
    assert_eq!(waiting.await.unwrap().0, 200);
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(Arc::strong_count(&world), 1);
}

#[tokio::test]
async fn dropping_ends_it_at_once() {
    let world = World::new(RelayState::Connected);
    let (server, address) = start(&world, LIMITS).await;
    let mut held = TcpStream::connect(address).await.unwrap();
    held.write_all(b"GET /sta").await.unwrap();
    drop(server);
    // Closed or reset, but over.
    assert!(!matches!(held.read(&mut [0; 16]).await, Ok(1..)));
}

/// A world whose inspector is on and has seen a refused request of a hostile name.
fn inspected() -> Arc<World> {
    let world = World::new(RelayState::Connected);
    world.inspector.set(true);
    world
        .recorder
        .set(Some(&crate::config::Inspector { bodies: Some(1000) }));
    world
        .recorder
        .refused("r-<1>", Some("</script><img onerror>"), 404, "path_not_allowed");
    world
}

#[tokio::test]
async fn the_inspector_runs_nothing_from_elsewhere_and_is_in_no_other_page() {
    let (_server, address) = start(&inspected(), LIMITS).await;
    for (target, kind) in [
        ("/inspector", "text/html"),
        ("/inspector/page.css", "text/css"),
        ("/inspector/page.js", "text/javascript"),
        ("/inspector/data", "application/json"),
    ] {
        let (status, head, body) = ask(address, "GET", target).await;
        assert_eq!(status, 200, "{target}");
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        for rule in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(rule), "{rule}: {head}");
        }
        assert!(
            !body.contains("://") || kind != "text/html" || body.matches("://").count() == 1,
            "{target}"
        );
    }
    let (status, head, _) = ask(address, "GET", "/").await;
    assert_eq!(status, 302);
    assert!(head.contains("location: /inspector"), "{head}");
}

#[tokio::test]
async fn its_data_is_the_status_and_the_last_requests() {
    let world = inspected();
    let (_server, address) = start(&world, LIMITS).await;
    let (_, _, body) = ask(address, "GET", "/inspector/data").await;
    let data: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(data["status"]["relays"][1]["name"], "us");
    let seen = &data["requests"][0];
    assert_eq!((&seen["relay"], &seen["id"]), (&json!("eu"), &json!("r-<1>")));
    assert_eq!(seen["path"], "</script><img onerror>");
    assert_eq!(
        (&seen["status"], &seen["fault"]),
        (&json!(404), &json!("path_not_allowed"))
    );
    let (_, _, body) = ask(address, "GET", "/inspector/data?relay=us").await;
    let data: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(data["requests"], json!([]));
}

#[tokio::test]
async fn an_inspector_that_is_off_is_not_there() {
    let world = inspected();
    world.inspector.set(false);
    let (_server, address) = start(&world, LIMITS).await;
    for target in [
        "/",
        "/inspector",
        "/inspector/data",
        "/inspector/page.js",
        "/inspector/content/1-1",
    ] {
        assert_eq!(ask(address, "GET", target).await.0, 404, "{target}");
    }
    assert_eq!(ask(address, "GET", "/status").await.0, 200);
}

#[tokio::test]
async fn content_needs_the_option_and_the_token_where_there_is_one() {
    let world = inspected();
    let (_server, address) = start(&world, LIMITS).await;
    let asked = crate::inspector::Asked {
        id: "r-2",
        path: "/v1/responses",
        headers: &HeaderMap::new(),
        body: b"{\"input\":\"hello\"}",
        waited: Duration::ZERO,
    };
    let ticket = world.recorder.begin(&asked).unwrap();
    let outcome = crate::inspector::Outcome::default();
    world.recorder.finish(ticket, "r-2", "/v1/responses", &outcome);
    let target = format!("/inspector/content/{}-2", world.recorder.id());
    let (status, _, body) = ask(address, "GET", &target).await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""body":"{\"input\":\"hello\"}""#), "{body}");
    assert_eq!(ask(address, "GET", "/inspector/content/0-2").await.0, 404);
    let dir = Scratch::new();
    world.token.set(Some(SecretSource::File(dir.file("token", "t0ken-71"))));
    let (status, _, body) = ask(address, "GET", &target).await;
    assert!(status == 401 && !body.contains("hello"), "{status} {body}");
    let with = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer t0ken-71\r\n\r\n");
    assert_eq!(raw(address, &with).await.0, 200);
    world.token.set(None);
    world.recorder.set(Some(&crate::config::Inspector { bodies: None }));
    let (status, _, body) = ask(address, "GET", &target).await;
    assert!(status == 403 && body.contains("bodies: true"), "{status} {body}");
}

#[tokio::test]
async fn viewers_beyond_the_limit_are_told_to_come_again_and_one_that_does_not_read_is_cut() {
    let limits = Limits {
        answer: Duration::from_millis(200),
        ..LIMITS
    };
    let world = inspected();
    // an answer that no socket takes as a whole
    let most = Some(5_000_000);
    world.recorder.set(Some(&crate::config::Inspector { bodies: most }));
    let body = vec![1; 5_000_000];
    let asked = crate::inspector::Asked {
        id: "r-2",
        path: "/v1/responses",
        headers: &HeaderMap::new(),
        body: &body,
        waited: Duration::ZERO,
    };
    let ticket = world.recorder.begin(&asked).unwrap();
    let outcome = crate::inspector::Outcome::default();
    world.recorder.finish(ticket, "r-2", "/v1/responses", &outcome);
    let (_server, address) = start(&world, limits).await;
    // all places but one are taken by answers on their way
    let data = inspect::Asked::Data { relay: None };
    let mut others: Vec<_> = (0..8).map(|_| world.inspector.answer(&data, world.as_ref())).collect();
    let (status, head, body) = ask(address, "GET", "/inspector/data").await;
    assert!(
        status == 503 && head.contains("retry-after: 1") && body.contains("ask again"),
        "{status} {head} {body}"
    );
    assert_eq!(
        ask(address, "GET", "/healthz").await.0,
        200,
        "a probe waits for viewers"
    );
    others.pop();
    // the last one goes to a viewer that asks and does not read
    let mut slow = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /inspector/content/{}-2 HTTP/1.1\r\nhost: {address}\r\n\r\n",
        world.recorder.id()
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    slow.readable().await.unwrap();
    assert_eq!(ask(address, "GET", "/inspector/data").await.0, 503);
    while ask(address, "GET", "/inspector/data").await.0 == 503 {
        tokio::task::yield_now().await;
    }
    let mut got = Vec::new();
    // cut or reset
    let _ = slow.read_to_end(&mut got).await;
    assert!(got.len() < 20_000_000, "{}", got.len());
}
