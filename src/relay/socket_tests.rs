use futures_util::{FutureExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::super::outbox::{FRAGMENT, SMALL};
use super::*;
use crate::forward::scripted::within;
use crate::relay::dial;
use crate::relay::scripted::{Caller, ScriptedRelay};
use crate::relay::testing::{Scratch, secret};

/// A socket and the relay at its other end.
async fn pair() -> (Socket, Caller) {
    let relay = ScriptedRelay::listen().await;
    let config = relay.config(&Scratch::new());
    let key = secret("sk-1");
    let (ws, caller) = tokio::join!(dial(&config, &key, true), relay.accept());
    (Socket::new(ws.unwrap()), caller)
}

async fn event(socket: &mut Socket) -> SocketEvent {
    within(socket.event()).await
}

#[tokio::test]
async fn what_is_pushed_is_on_the_wire_without_a_poll() {
    let (mut socket, mut caller) = pair().await;
    socket.send("first".to_owned().into());
    socket.send("second".to_owned().into());
    socket.push();
    assert_eq!(caller.message().await, Message::text("first"));
    assert_eq!(caller.message().await, Message::text("second"));
}

#[tokio::test]
async fn what_goes_wrong_in_a_push_is_told_by_the_next_event() {
    let (mut socket, _caller) = pair().await;
    socket.close(1000, "");
    socket.push();
    // nothing may follow a close frame
    socket.send("late".to_owned().into());
    socket.push();
    assert!(matches!(event(&mut socket).await, SocketEvent::Ended(_)));
}

#[tokio::test]
async fn a_ping_overtakes_what_waits_and_is_told_when_written() {
    let (mut socket, mut caller) = pair().await;
    socket.send("text".to_owned().into());
    socket.ping(7);
    assert!(matches!(event(&mut socket).await, SocketEvent::PingWritten));
    let first = within(caller.ws.next()).await.unwrap().unwrap();
    assert_eq!(first, Message::Ping(Bytes::copy_from_slice(&7_u64.to_be_bytes())));
    socket.push();
    assert_eq!(caller.message().await, Message::text("text"));
    // the relay's pong went out with its next read
    let answer = tokio::spawn(async move {
        let _ = caller.ws.next().await;
    });
    assert!(matches!(event(&mut socket).await, SocketEvent::Pong(Some(7))));
    answer.abort();
}

/// Answers to a relay that does not read must not pile up: it is not read either, and goes on where it stopped.
#[tokio::test]
async fn a_relay_that_does_not_read_is_not_read_beyond_the_queues_bound() {
    let (mut socket, caller) = pair().await;
    let (mut mouth, mut ear) = caller.ws.split();
    let said = 3 * MAX_SMALL_BYTES / 8192;
    let asking = tokio::spawn(async move {
        for n in 0..said {
            mouth.send(Message::text(n.to_string())).await.unwrap();
        }
        mouth
    });
    let answer = |text: &Text| Outgoing::from(format!("{text} {}", "x".repeat(4096)));
    let mut heard = 0;
    let full = async {
        while socket.may_read() {
            let SocketEvent::Text(text) = socket.event().await else {
                panic!()
            };
            assert_eq!(text.as_str(), heard.to_string());
            heard += 1;
            socket.send(answer(&text));
        }
    };
    within(full).await;
    for _ in 0..100 {
        assert!(
            socket.event().now_or_never().is_none(),
            "read although the queue is full"
        );
        tokio::task::yield_now().await;
    }
    assert!(heard < said);
    // now the relay reads
    let listening = tokio::spawn(async move {
        for n in 0..said {
            let text = ear.next().await.unwrap().unwrap();
            let number = text.to_text().unwrap().split(' ').next().unwrap().to_owned();
            assert_eq!(number, n.to_string());
        }
    });
    let rest = async {
        while heard < said {
            let SocketEvent::Text(text) = socket.event().await else {
                panic!()
            };
            heard += 1;
            socket.send(answer(&text));
            assert!(socket.outbox.small_bytes() < MAX_SMALL_BYTES + 8192);
        }
        tokio::select! {
            listened = listening => listened.unwrap(),
            event = socket.event() => panic!("{event:?}"),
        }
    };
    within(rest).await;
    asking.abort();
}

/// Acks of long ids are large although they are few.
#[tokio::test]
async fn a_relay_that_does_not_read_is_not_read_beyond_the_queues_bytes() {
    let (mut socket, mut caller) = pair().await;
    let asking = tokio::spawn(async move { while caller.ws.send(Message::text("x")).await.is_ok() {} });
    let full = async {
        while socket.outbox.small_bytes() < MAX_SMALL_BYTES {
            assert!(matches!(socket.event().await, SocketEvent::Text(_)));
            socket.send("x".repeat(SMALL).into());
        }
    };
    within(full).await;
    for _ in 0..100 {
        assert!(
            socket.event().now_or_never().is_none(),
            "read although the queue is full"
        );
        tokio::task::yield_now().await;
    }
    asking.abort();
}

/// No traffic can pass, so the paused clock moves on to the stall.
#[tokio::test]
async fn a_relay_that_takes_no_bytes_for_long_is_given_up() {
    let (mut socket, caller) = pair().await;
    for _ in 0..64 {
        socket.send("x".repeat(1 << 20).into());
    }
    tokio::time::pause();
    let start = Instant::now();
    let SocketEvent::Ended(why) = socket.event().await else {
        panic!()
    };
    assert_eq!(why.code(), "write_stalled");
    assert!(start.elapsed() >= WRITE_STALL);
    drop(caller);
}

/// A connection that has been quiet for long has its whole time for the next frame.
#[tokio::test]
async fn silence_is_no_stall() {
    let (mut socket, mut caller) = pair().await;
    tokio::time::pause();
    tokio::time::timeout(3 * WRITE_STALL, socket.event()).await.unwrap_err();
    tokio::time::resume();
    socket.send("still there".to_owned().into());
    socket.ping(1);
    assert!(matches!(event(&mut socket).await, SocketEvent::PingWritten));
    let _ = within(caller.ws.next()).await;
    socket.push();
    assert_eq!(caller.message().await, Message::text("still there"));
}

#[tokio::test]
async fn an_end_without_a_close_frame_is_told_from_a_close_frame() {
    let (mut socket, caller) = pair().await;
    drop(caller);
    let SocketEvent::Ended(why) = event(&mut socket).await else {
        panic!()
    };
    assert_eq!(why.code(), "eof");
    let (mut socket, caller) = pair().await;
    let closing = tokio::spawn(caller.close(4003));
    let SocketEvent::Ended(why) = event(&mut socket).await else {
        panic!()
    };
    assert_eq!((why.close_code(), why.code()), (Some(4003), "rotation"));
    // the relay's close frame is answered
    socket.finish().await;
    within(closing).await.unwrap();
}

/// RFC 6455 §5.4: a large frame goes as fragments, between which control frames may come.
#[tokio::test]
async fn a_large_frame_arrives_whole_also_with_pings_in_between() {
    let (mut socket, mut caller) = pair().await;
    let large = format!("{}é{}", "x".repeat(FRAGMENT - 1), "y".repeat(20 * FRAGMENT));
    let expected = large.clone();
    let listening = tokio::spawn(async move {
        caller.ws.send(Message::Ping("theirs".into())).await.unwrap();
        let (mut texts, mut pings, mut pongs) = (Vec::new(), 0, 0);
        while texts.len() < 2 || pongs < 1 {
            match caller.ws.next().await.unwrap().unwrap() {
                Message::Text(text) => texts.push(text),
                Message::Ping(_) => pings += 1,
                Message::Pong(_) => pongs += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((texts[0].as_str(), texts[1].as_str()), (expected.as_str(), "next"));
        assert_eq!(pings, 1);
        caller
    });
    socket.send(large.into());
    socket.send("next".to_owned().into());
    // a part of it is on its way
    socket.push();
    socket.ping(7);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(event(&mut socket).await);
    }
    assert!(
        heard.iter().any(|event| matches!(event, SocketEvent::PingWritten)),
        "{heard:?}"
    );
    assert!(
        heard.iter().any(|event| matches!(event, SocketEvent::Pong(Some(7)))),
        "{heard:?}"
    );
    tokio::select! {
        listened = listening => drop(listened.unwrap()),
        event = event(&mut socket) => panic!("{event:?}"),
    }
}
