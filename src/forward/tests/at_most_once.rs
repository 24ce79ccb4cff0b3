//! Connections: kept, replaced, given up, and never used to ask twice.

use super::super::scripted::{Line, ok};
use super::*;
use crate::config::ForwardTo;

/// One good exchange on a new connection, which is then kept.
async fn kept_connection(world: &World) -> Line {
    let asking = world.ask();
    let (mut line, _) = world.envoy.asked().await;
    line.write(ok("{}")).await;
    assert_eq!(within(asking).await.unwrap().response.status, 200);
    line
}

/// Lets the runtime notice what happened to its sockets: it looks at them once for every task that yields.
async fn look_at_sockets() {
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
}

/// 503 `adapter_unavailable` with this in the message.
fn assert_unavailable(forwarded: &Forwarded, expected: &str) {
    let (status, code, message) = fault(forwarded);
    assert_eq!((status, &*code), (503, "adapter_unavailable"));
    assert!(message.contains(expected), "{message}");
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let world = World::new();
    let mut line = kept_connection(&world).await;
    for _ in 0..20 {
        let asking = world.ask();
        line.asked().await;
        line.write(ok("{}")).await;
        assert_eq!(within(asking).await.unwrap().response.status, 200);
    }
    assert!(world.envoy.is_left_alone());
}

#[tokio::test]
async fn a_connection_is_not_used_for_long_so_that_no_request_goes_to_a_listener_replaced_long_ago() {
    let world = World::new();
    let mut old = kept_connection(&world).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let asking = world.ask();
    let (mut new, _) = world.envoy.asked().await;
    new.write(ok("{}")).await;
    assert_eq!(within(asking).await.unwrap().response.status, 200);
    old.is_closed().await;
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_wait_for_each_other() {
    let world = World::new();
    let first = world.ask();
    let (mut line, _) = world.envoy.asked().await;
    let second = world.ask();
    let (mut other, _) = world.envoy.asked().await;
    other.write(ok("2")).await;
    assert_eq!(payload(&within(second).await.unwrap())["body"], 2);
    line.write(ok("1")).await;
    assert_eq!(payload(&within(first).await.unwrap())["body"], 1);
}

// PROTOCOL §2.5: never forward the same request to the adapter twice
#[tokio::test]
async fn a_request_that_a_new_connection_took_is_never_sent_again() {
    let world = World::new();
    let forwarded = world
        .exchange(async |envoy| {
            let (line, _) = envoy.asked().await;
            drop(line);
        })
        .await;
    assert_unavailable(&forwarded, "ended before an answer");
    assert!(world.envoy.is_left_alone());
}

// PROTOCOL §2.5: never forward the same request to the adapter twice
#[tokio::test]
async fn a_request_that_a_kept_connection_took_is_never_sent_again() {
    let world = World::new();
    let mut line = kept_connection(&world).await;
    let asking = world.ask();
    line.asked().await;
    drop(line);
    assert_unavailable(&within(asking).await.unwrap(), "ended before an answer");
    assert!(world.envoy.is_left_alone());
}

// PROTOCOL §2.5: never twice: part of a request may be enough for an adapter to act
#[tokio::test]
async fn a_request_that_was_written_in_part_is_never_sent_again() {
    let world = World::new();
    let mut line = kept_connection(&world).await;
    let asking = world.forward(request(&"x".repeat(8 * 1024 * 1024)));
    let mut some = [0; 1000];
    within(tokio::io::AsyncReadExt::read_exact(line.raw(), &mut some))
        .await
        .unwrap();
    drop(line);
    assert_unavailable(&within(asking).await.unwrap(), "ended before an answer");
    assert!(world.envoy.is_left_alone());
}

#[tokio::test]
async fn connections_that_the_listener_closed_are_replaced_without_an_error() {
    let world = World::new();
    for _ in 0..20 {
        drop(kept_connection(&world).await);
        look_at_sockets().await;
    }
}

#[tokio::test]
async fn a_listener_that_was_replaced_is_found_again() {
    let mut world = World::new();
    let line = kept_connection(&world).await;
    let path = world.dir.path().join("adapter.sock");
    world.envoy = Envoy::listen_at(path);
    drop(line);
    look_at_sockets().await;
    kept_connection(&world).await;
}

#[tokio::test]
async fn an_answer_cut_anywhere_is_503() {
    let answer = ok(r#"{"choices":[]}"#);
    for cut in [1, 9, 40, answer.len() - 10, answer.len() - 1] {
        let world = World::new();
        let forwarded = world
            .exchange(async |envoy| {
                let (mut line, _) = envoy.asked().await;
                line.write(&answer[..cut]).await;
            })
            .await;
        let (status, code, _) = fault(&forwarded);
        assert_eq!((status, &*code), (503, "adapter_unavailable"), "cut at {cut}");
        assert!(world.envoy.is_left_alone());
    }
}

#[tokio::test]
async fn what_is_no_http_is_503() {
    let world = World::new();
    let forwarded = world
        .exchange(async |envoy| {
            let (mut line, _) = envoy.asked().await;
            line.write("SSH-2.0-OpenSSH\r\n\r\n").await;
            line.is_closed().await;
        })
        .await;
    assert_eq!(fault(&forwarded).1, "adapter_unavailable");
}

#[tokio::test]
async fn a_request_given_up_closes_its_connection() {
    let world = World::new();
    // before the answer's head, within its body, and while the request is still being written
    for (head, body) in [
        ("", 2),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", 2),
        ("", 8 << 20),
    ] {
        let asking = world.forward(request(&"x".repeat(body)));
        let mut line = world.envoy.accept().await;
        if body == 2 {
            line.asked().await;
            line.write(head).await;
        }
        asking.abort();
        assert!(within(asking).await.unwrap_err().is_cancelled());
        line.drain().await;
    }
    drop(kept_connection(&world).await);
}

#[tokio::test]
async fn an_address_that_cannot_be_reached_is_named() {
    let dir = Scratch::new();
    let socket = dir.path().join("nobody.sock");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let tcp = ForwardTo::Tcp {
        host: "127.0.0.1".to_owned(),
        port: closed.port(),
    };
    let names = [format!("unix://{}", socket.display()), format!("http://{closed}")];
    for (to, name) in [ForwardTo::Unix(socket), tcp].into_iter().zip(names) {
        let world = World::with(|_, forward| forward.to = to);
        assert_unavailable(&within(world.ask()).await.unwrap(), &name);
    }
}

#[tokio::test]
async fn a_full_accept_queue_is_waited_out() {
    let dir = Scratch::new();
    let path = dir.path().join("adapter.sock");
    // the shortest queue that the system offers
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let listener = socket.listen(0).unwrap();
    let mut queued = Vec::new();
    let full = loop {
        match tokio::net::UnixStream::connect(&path).await {
            Ok(stream) => queued.push(stream),
            Err(e) => break e.kind(),
        }
    };
    assert_eq!(full, std::io::ErrorKind::WouldBlock);
    let world = World::with(|_, forward| forward.to = ForwardTo::Unix(path));
    let asking = world.ask();
    for _ in &queued {
        within(listener.accept()).await.unwrap();
    }
    let (stream, _) = within(listener.accept()).await.unwrap();
    let mut line = Line::new(stream);
    line.asked().await;
    line.write(ok("{}")).await;
    assert_eq!(within(asking).await.unwrap().response.status, 200);
}
