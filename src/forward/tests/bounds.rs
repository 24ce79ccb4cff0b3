//! How much of an answer is read, and what it occupies.

use super::super::scripted::{answer, ok};
use super::*;

const HEAD: &str = "HTTP/1.1 200 OK\r\nx-envoy-upstream-service-time: 1\r\ncontent-type: application/json\r\n";

fn small_frames() -> World {
    World::with(|relay, _| relay.max_frame_bytes = 4096)
}

/// 502 `response_too_large` with the limit in the message.
fn assert_too_large(forwarded: &Forwarded) {
    let (status, code, message) = fault(forwarded);
    assert_eq!((status, &*code), (502, "response_too_large"));
    assert!(message.contains("4096"), "{message}");
}

#[tokio::test]
async fn a_length_above_the_limit_is_refused_before_the_body() {
    let world = small_frames();
    let forwarded = world
        .exchange(async |envoy| {
            let (mut line, _) = envoy.asked().await;
            // the body never comes
            line.write(format!("{HEAD}content-length: 4097\r\n\r\n")).await;
            line.is_closed().await;
        })
        .await;
    assert_too_large(&forwarded);
    assert_eq!(world.budget.used(), forwarded.response.frame.len() + ENTRY_BYTES);
}

#[tokio::test]
async fn an_answer_of_unknown_length_is_refused_at_the_limit() {
    let world = small_frames();
    let forwarded = world
        .exchange(async |envoy| {
            let (mut line, _) = envoy.asked().await;
            line.write(format!("{HEAD}transfer-encoding: chunked\r\n\r\n")).await;
            for _ in 0..1000 {
                // an endless one
                line.write_in_vain(b"400\r\n").await;
                line.write_in_vain(&[b' '; 1024]).await;
                line.write_in_vain(b"\r\n").await;
            }
            line.is_closed().await;
        })
        .await;
    assert_too_large(&forwarded);
    assert_eq!(world.budget.used(), forwarded.response.frame.len() + ENTRY_BYTES);
}

// PROTOCOL §2.2: at most 16 MiB, to the byte
#[tokio::test]
async fn a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let overhead = small_frames()
        .exchange(async |envoy| envoy.asked().await.0.write(ok("{}")).await)
        .await
        .response
        .frame
        .len()
        - 2;
    for (frame, passes) in [(4096, true), (4097, false)] {
        let world = small_frames();
        let body = format!("\"{}\"", "x".repeat(frame - overhead - 2));
        let forwarded = world
            .exchange(async |envoy| envoy.asked().await.0.write(ok(&body)).await)
            .await;
        if passes {
            assert_eq!((forwarded.response.status, forwarded.response.frame.len()), (200, 4096));
        } else {
            assert_too_large(&forwarded);
        }
    }
}

#[tokio::test]
async fn an_event_stream_is_refused_at_once_and_its_connection_closed() {
    let world = World::new();
    let forwarded = world
        .exchange(async |envoy| {
            let (mut line, _) = envoy.asked().await;
            let head = HEAD.replace("application/json", "text/event-stream");
            line.write(format!("{head}transfer-encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n"))
                .await;
            // it goes on for ever
            line.is_closed().await;
        })
        .await;
    let (status, code, message) = fault(&forwarded);
    assert_eq!((status, &*code), (502, "adapter_invalid_response"));
    assert!(message.contains(r#""stream": false"#), "{message}");
}

#[tokio::test]
async fn what_was_held_is_given_back() {
    let world = World::new();
    let mut request = request("{\"model\":\"m\"}");
    request.hold = world.budget.try_hold(1000);
    let asking = world.forward(request);
    let (mut line, _) = world.envoy.asked().await;
    assert_eq!(world.budget.used(), 1000, "the request, while it is at the adapter");
    line.write(ok("[1,2,3]")).await;
    let forwarded = within(asking).await.unwrap();
    let Forwarded { response, hold, .. } = forwarded;
    let frame = response.frame.len();
    assert_eq!(
        world.budget.used(),
        frame + ENTRY_BYTES,
        "the answer, until the relay has it"
    );
    let waiting = response.frame.clone();
    drop((response, hold));
    assert_eq!(
        world.budget.used(),
        frame,
        "acknowledged, but a copy still waits to be written"
    );
    drop(waiting);
    assert_eq!(world.budget.used(), 0);
}

#[tokio::test]
async fn nothing_is_held_by_what_failed() {
    let world = World::new();
    let good = answer("200 OK", "x-envoy-upstream-service-time: 1\r\n", "{}");
    for script in ["", "HTTP/1.1 200 OK\r\n", &good[..good.len() - 1]] {
        let mut request = request("{}");
        request.hold = world.budget.try_hold(1000);
        let asking = world.forward(request);
        let (mut line, _) = world.envoy.asked().await;
        line.write(script).await;
        drop(line);
        assert_eq!(within(asking).await.unwrap().response.status, 503);
        assert_eq!(world.budget.used(), 0);
    }
}

#[tokio::test]
async fn an_answer_that_finds_no_room_waits_for_it() {
    let world = World::with(|relay, _| relay.max_held_bytes = 10_000);
    let others = world.budget.try_hold(10_000).unwrap();
    // one answer may go over the budget, so that there is always progress
    let first = world
        .exchange(async |envoy| envoy.asked().await.0.write(ok("[1]")).await)
        .await;
    assert_eq!(first.response.status, 200);
    let second = world.ask();
    let (mut line, _) = world.envoy.asked().await;
    line.write(ok("[2]")).await;
    let third = world.ask();
    let (mut other, _) = world.envoy.asked().await;
    other.write(answer("503 Service Unavailable", "", "")).await;
    assert_eq!(within(third).await.unwrap().response.fault, Some("adapter_unavailable"));
    assert!(!second.is_finished());
    drop(others);
    assert_eq!(payload(&within(second).await.unwrap())["body"][0], 2);
}

#[tokio::test]
async fn an_answer_that_finds_no_room_before_its_deadline_is_503_overloaded() {
    let world = World::with(|relay, _| relay.max_held_bytes = 1000);
    let _others = world.budget.try_hold(1000).unwrap();
    let mut over = world.budget.hold(Instant::now() + Duration::from_secs(600));
    over.grow(1).await.unwrap();
    let mut request = request("{}");
    request.deadline = Instant::now() + Duration::from_millis(300);
    let asking = world.forward(request);
    let (mut line, _) = world.envoy.asked().await;
    line.write(ok("[1]")).await;
    let (status, code, _) = fault(&within(asking).await.unwrap());
    assert_eq!((status, &*code), (503, "overloaded"));
    line.is_closed().await;
}
