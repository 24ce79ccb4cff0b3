//! The work whose instructions are counted. Each case prepares its input, then does all that counts in [`counted`].

use std::hint::black_box;
use std::time::Instant;

use spectral_bridge::protocol::{RequestId, frame};
use spectral_bridge::usage::{Operation, RequestTap, SocketTap, Tap};

use crate::client::{self, Client};
use crate::{KIB, MIB, bodies};

/// Work that is the same each time.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Names it in the file of counts.
    pub name: &'static str,
    /// What of the product does the work.
    pub of: &'static str,
    /// Prepares and does it.
    pub run: fn(),
}

/// All of them.
pub const CASES: &[Case] = &[
    case("decode-1KiB", DECODE, || decode(KIB, 100)),
    case("decode-256KiB", DECODE, || decode(256 * KIB, 4)),
    case("decode-4MiB", DECODE, || decode(4 * MIB, 1)),
    case("encode-1KiB", ENCODE, || encode(KIB, 100)),
    case("encode-256KiB", ENCODE, || encode(256 * KIB, 4)),
    case("encode-4MiB", ENCODE, || encode(4 * MIB, 1)),
    case(
        "life-1KiB",
        "a request's whole life: decode, ack, forward, encode, ack",
        || life(KIB, 200),
    ),
    case(
        "life-256KiB",
        "a request's whole life: decode, ack, forward, encode, ack",
        || life(256 * KIB, 4),
    ),
    case("session-100", SESSION, || session(100)),
    case("session-10000", SESSION, || session(10_000)),
    case("tap-json", TAP, || tap(JSON, bodies::completion(256 * KIB))),
    case("tap-numbers", TAP, || tap(JSON, bodies::embeddings(256 * KIB))),
    case("tap-sse", TAP, || tap(b"text/event-stream", bodies::events(256 * KIB))),
    case("tap-request", "usage::RequestTap", tap_request),
    case("tap-websocket", "usage::SocketTap", tap_websocket),
];

/// Does what counts. Callgrind knows where that begins and ends by the names of these two functions.
#[inline(never)]
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    prepared();
    black_box(work())
}

/// All before it was preparation.
#[inline(never)]
fn prepared() {
    black_box(());
}

const fn case(name: &'static str, of: &'static str, run: fn()) -> Case {
    Case { name, of, run }
}

fn decode(size: usize, times: usize) {
    let text = client::request_frame("9f1c22d4-0b5a-4b0e-8d2f-3a1c5e7f9b01", &bodies::request(size));
    counted(|| {
        for _ in 0..times {
            black_box(frame::decode(black_box(&text)));
        }
    });
}

fn encode(size: usize, times: usize) {
    let body = bodies::completion(size);
    let id = RequestId::from("9f1c22d4-0b5a-4b0e-8d2f-3a1c5e7f9b01");
    counted(|| {
        for _ in 0..times {
            black_box(client::response(black_box(&id), black_box(&body)));
        }
    });
}

fn life(size: usize, times: usize) {
    let mut client = Client::new(0, size);
    let body = bodies::completion(size);
    let lives = client.prepare(times);
    counted(|| {
        for life in lives {
            client.live(life, |id| client::response(id, black_box(&body)));
        }
    });
    client.check();
}

fn session(outstanding: usize) {
    let mut client = Client::new(outstanding, 100);
    let response = client::response(&RequestId::from("1"), &bodies::completion(100));
    let lives: Vec<_> = client
        .prepare(500)
        .into_iter()
        .map(|life| (life, response.clone()))
        .collect();
    counted(|| {
        for (life, response) in lives {
            client.live(life, |_| response);
        }
    });
    client.check();
}

/// An answer that comes in pieces as Envoy's buffers are.
fn tap(content_type: &[u8], body: String) {
    let usage = counted(|| {
        let mut tap = Tap::new(Operation::Chat, Some(content_type), None);
        for piece in black_box(body.as_bytes()).chunks(PIECE) {
            black_box(tap.push(piece));
        }
        tap.finish(true);
        tap.answer().usage
    });
    assert!(usage.input.is_some());
}

fn tap_request() {
    let body = bodies::request(256 * KIB);
    let asked = counted(|| {
        let mut tap = RequestTap::new();
        black_box(body.as_bytes())
            .chunks(PIECE)
            .for_each(|piece| tap.push(piece));
        tap.finish()
    });
    assert_eq!(asked.model.as_deref(), Some("gpt-4o"));
}

fn tap_websocket() {
    let talk = bodies::talk(256 * KIB);
    let now = Instant::now();
    let turn = counted(|| {
        let mut tap = SocketTap::new(Operation::Chat);
        black_box(&talk.client)
            .chunks(PIECE)
            .for_each(|piece| tap.from_client(piece, now));
        black_box(&talk.server)
            .chunks(PIECE)
            .for_each(|piece| tap.from_server(piece, now));
        tap.next_turn()
    });
    assert_eq!(turn.and_then(|turn| turn.answer.usage.input), Some(19));
}

/// The most that Envoy hands to a filter at once.
pub const PIECE: usize = 16 * KIB;

const JSON: &[u8] = b"application/json";
const DECODE: &str = "protocol::frame::decode";
const ENCODE: &str = "protocol::AdapterAnswer";
const SESSION: &str = "protocol::Session::handle and next_action";
const TAP: &str = "usage::Tap";
