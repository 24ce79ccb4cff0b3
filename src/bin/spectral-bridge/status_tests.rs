//! The status command against a real HTTP server on loopback.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use spectral_bridge::status::snapshot::{LastError, Totals};
use tokio::net::TcpListener;

use super::*;

/// Serves `/status` and `/healthz` until the runtime ends, and returns its address.
async fn serve(status: u16, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let host = address.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (body, host) = (body.clone(), host.clone());
            let answer = service_fn(move |request: Request<Incoming>| {
                assert_eq!(request.headers()[HOST], host);
                let body = match request.uri().path() {
                    "/status" => body.clone(),
                    "/healthz" => "ok\n".to_owned(),
                    other => panic!("{other}"),
                };
                let response = Response::builder().status(status).body(Full::new(Bytes::from(body)));
                async { Ok::<_, Infallible>(response.unwrap()) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), answer).await });
        }
    });
    address
}

fn options(address: &str) -> StatusArgs {
    StatusArgs {
        address: address.to_owned(),
        json: false,
        live: false,
    }
}

fn snapshot(state: RelayState) -> ProcessSnapshot {
    let totals = Totals {
        requests: 12,
        duplicate_requests: 1,
        responses: [(200, 10), (503, 2)].into(),
        resent_responses: 3,
        connections: 2,
        disconnects: 1,
        received_bytes: 1536,
        sent_bytes: 10,
        input_tokens: 100,
        output_tokens: 2000,
        ..Totals::default()
    };
    let relay = RelaySnapshot {
        name: "default".into(),
        url: "wss://r/connect".into(),
        state,
        since_seconds: 61.9,
        protocol: Some(2),
        in_flight: 4,
        queued: 5,
        held_responses: 6,
        held_bytes: 3 << 20,
        totals,
        ..RelaySnapshot::default()
    };
    ProcessSnapshot {
        running: true,
        version: "0.1.0".into(),
        uptime_seconds: 90_061.0,
        relays: vec![relay],
        ..ProcessSnapshot::default()
    }
}

async fn answer_to(snapshot: &ProcessSnapshot) -> Answer {
    let address = serve(200, serde_json::to_string(snapshot).unwrap()).await;
    ask(&options(&address)).await.unwrap()
}

#[tokio::test]
async fn a_connected_instance_is_ready() {
    let answer = answer_to(&snapshot(RelayState::Connected)).await;
    assert!(answer.ready);
    assert_eq!(
        answer.text,
        "ready, spectral-bridge 0.1.0, up 1d 1h\n\
         \n\
         relay default: connected for 1m 1s, protocol 2\n  \
           url      wss://r/connect\n  \
           now      4 at the adapter, 5 queued, 6 answers unacknowledged, 3.0 MiB held\n  \
           requests 12 (1 duplicates)\n  \
           answers  200: 10, 503: 2 (3 resent, 0 expired)\n  \
           tokens   100 in, 2000 out\n  \
           traffic  1.5 KiB received, 10 B sent, 2 connections, 1 lost, 0 replaced"
    );
}

#[tokio::test]
async fn a_pause_and_what_is_left_of_the_budgets_are_shown() {
    let mut snapshot = snapshot(RelayState::Connected);
    let relay = &mut snapshot.relays[0];
    relay.paused = Some(PauseSnapshot {
        by: "schedule".into(),
        since_seconds: 61.0,
        opens_in_seconds: Some(7200.5),
    });
    relay.budget.requests_left = Some(0);
    relay.budget.tokens_left = Some(1234);
    relay.totals.not_admitted = [("requests_per_minute".into(), 3), ("schedule".into(), 1)].into();
    let answer = answer_to(&snapshot).await;
    assert!(answer.ready, "a paused relay is ready");
    for line in [
        "  paused   by schedule for 1m 1s, opens in 2h 0m\n",
        "  budget   0 requests left this minute, 1234 tokens left today, 3 refused by requests_per_minute, 1 refused by schedule\n",
    ] {
        assert!(answer.text.contains(line), "{}", answer.text);
    }
}

#[tokio::test]
async fn exports_that_fail_and_answers_without_usage_are_shown() {
    let mut snapshot = snapshot(RelayState::Connected);
    snapshot.relays[0].totals.usage_missing = [("absent".into(), 2), ("null".into(), 1)].into();
    let failing = ExportSnapshot {
        endpoint: "http://collector:4317".into(),
        protocol: "grpc".into(),
        batches: 7,
        failures: 2,
        dropped: 0,
        last_error: Some(LastError {
            code: "unavailable".into(),
            message: "connection refused".into(),
            seconds_ago: 61.0,
        }),
    };
    let full = ExportSnapshot {
        dropped: 12,
        last_error: None,
        ..failing.clone()
    };
    snapshot.telemetry.exports.insert("metrics".into(), failing);
    snapshot.telemetry.exports.insert("traces".into(), full);
    let text = answer_to(&snapshot).await.text;
    for line in [
        "  tokens   100 in, 2000 out (3 answers without usage)",
        "metrics to http://collector:4317 (grpc): 7 batches, 2 failures",
        "traces to http://collector:4317 (grpc): 7 batches, 2 failures, 12 dropped",
        "  error    unavailable: connection refused (1m 1s ago)",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }
}

#[tokio::test]
async fn one_relay_that_is_not_connected_makes_it_not_ready() {
    let mut two = snapshot(RelayState::Connected);
    let mut second = two.relays[0].clone();
    second.state = RelayState::BackingOff;
    second.attempts = 3;
    second.retry_in_seconds = Some(8.0);
    second.last_error = Some(LastError {
        code: "refused".into(),
        message: "connection refused".into(),
        seconds_ago: 5.0,
    });
    two.relays.push(second);
    let answer = answer_to(&two).await;
    assert!(!answer.ready);
    assert!(answer.text.starts_with("not ready, "), "{}", answer.text);
    let words = "disconnected, waiting to retry for 1m 1s, protocol 2, attempt 4 in 8s";
    assert!(answer.text.contains(words), "{}", answer.text);
    assert!(
        answer.text.contains("error    refused: connection refused (5s ago)"),
        "{}",
        answer.text
    );
    let mut draining = snapshot(RelayState::Connected);
    draining.running = false;
    let answer = answer_to(&draining).await;
    assert!(
        !answer.ready && answer.text.starts_with("draining, "),
        "{}",
        answer.text
    );
    let nothing = ProcessSnapshot {
        relays: vec![],
        ..snapshot(RelayState::Connected)
    };
    assert!(!answer_to(&nothing).await.ready);
}

#[tokio::test]
async fn json_is_the_servers_own() {
    let json = serde_json::to_string(&snapshot(RelayState::Stopped)).unwrap();
    let address = serve(200, json.clone()).await;
    let answer = ask(&StatusArgs {
        json: true,
        ..options(&address)
    })
    .await
    .unwrap();
    assert_eq!(
        answer,
        Answer {
            text: json,
            ready: false
        }
    );
}

#[tokio::test]
async fn live_asks_no_more_than_whether_it_runs() {
    let address = serve(200, "not a status".into()).await;
    let answer = ask(&StatusArgs {
        live: true,
        ..options(&address)
    })
    .await
    .unwrap();
    assert_eq!(
        answer,
        Answer {
            text: "alive".into(),
            ready: true
        }
    );
}

#[tokio::test]
async fn strangers_and_silence_are_told_apart_from_not_ready() {
    let stranger = serve(200, "{\"hello\": 1}".into()).await;
    let refusal = ask(&options(&stranger)).await.unwrap_err();
    assert_eq!(
        refusal,
        format!("{stranger}: the answer is not a status of spectral-bridge")
    );
    let broken = serve(500, String::new()).await;
    let refusal = ask(&options(&broken)).await.unwrap_err();
    assert_eq!(
        refusal,
        format!("{broken}: answered 500 Internal Server Error to GET /status")
    );
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let refusal = ask(&options(&address)).await.unwrap_err();
    assert!(
        refusal.contains("Connection refused") && refusal.contains("is spectral-bridge running"),
        "{refusal}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusal = ask(&options(&silent.local_addr().unwrap().to_string()))
        .await
        .unwrap_err();
    assert!(refusal.contains("no answer within 5 seconds"), "{refusal}");
}

#[test]
fn spans_and_sizes_are_readable() {
    for (seconds, text) in [
        (0.0, "0s"),
        (59.9, "59s"),
        (60.0, "1m 0s"),
        (3661.0, "1h 1m"),
        (90_000.0, "1d 1h"),
        (-1.0, "0s"),
    ] {
        assert_eq!(span(seconds), text);
    }
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (u64::MAX, "16777216.0 TiB"),
    ] {
        assert_eq!(size(bytes), text);
    }
}
