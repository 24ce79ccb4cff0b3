//! How long the parts take that `guard` counts (`make micro`, `make micro ARGS=tap` for some of them).

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use micro::cases::PIECE;
use micro::client::{self, Client};
use micro::{KIB, MIB, bodies};
use spectral_bridge::protocol::{RequestId, frame};
use spectral_bridge::usage::{self, Operation, RequestTap, SocketTap, Tap};

const SIZES: [(&str, usize); 3] = [("1KiB", KIB), ("256KiB", 256 * KIB), ("4MiB", 4 * MIB)];
const ID: &str = "9f1c22d4-0b5a-4b0e-8d2f-3a1c5e7f9b01";

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, size) in SIZES {
        let text = client::request_frame(ID, &bodies::request(size));
        of_bytes(&mut group, name, text.len(), || frame::decode(black_box(&text)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("encode");
    let id = RequestId::from(ID);
    for (name, size) in SIZES {
        let body = bodies::completion(size);
        of_bytes(&mut group, name, body.len(), || {
            client::response(black_box(&id), black_box(&body))
        });
    }
    of_bytes(&mut group, "ack", ID.len(), || frame::ack(black_box(&id)));
    group.finish();
}

/// A life is three events: a request, its answer, the ack of that.
fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    for outstanding in [100, 1000, 10_000] {
        let mut client = Client::new(outstanding, KIB);
        let response = client::response(&RequestId::from(ID), &bodies::completion(KIB));
        let bytes = client.request_bytes() + response.frame.len();
        group.throughput(Throughput::ElementsAndBytes {
            elements: 3,
            bytes: bytes as u64,
        });
        group.bench_function(format!("{outstanding}-outstanding"), |bencher| {
            bencher.iter_custom(|lives| {
                let mut took = Duration::ZERO;
                let mut left = usize::try_from(lives).unwrap_or(usize::MAX);
                while left > 0 {
                    let some = left.min(MOST_PREPARED);
                    let lives: Vec<_> = client
                        .prepare(some)
                        .into_iter()
                        .map(|life| (life, response.clone()))
                        .collect();
                    let start = Instant::now();
                    for (life, response) in lives {
                        client.live(life, |_| response);
                    }
                    took += start.elapsed();
                    left -= some;
                }
                client.check();
                took
            });
        });
    }
    group.finish();
}

fn tap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tap");
    for (size, bytes) in [("1KiB", KIB), ("256KiB", 256 * KIB)] {
        let answers: [(&str, &[u8], String); 3] = [
            ("json", b"application/json", bodies::completion(bytes)),
            ("numbers", b"application/json", bodies::embeddings(bytes)),
            ("sse", b"text/event-stream", bodies::events(bytes)),
        ];
        for (kind, content_type, body) in &answers {
            of_bytes(&mut group, &format!("{kind}-{size}"), body.len(), || {
                read(content_type, black_box(body))
            });
        }
        let body = bodies::completion(bytes);
        of_bytes(&mut group, &format!("whole-{size}"), body.len(), || {
            usage::read_json(black_box(&body))
        });
        let body = bodies::request(bytes);
        of_bytes(&mut group, &format!("request-{size}"), body.len(), || {
            let mut tap = RequestTap::new();
            black_box(body.as_bytes())
                .chunks(PIECE)
                .for_each(|piece| tap.push(piece));
            tap.finish()
        });
        let (talk, now) = (bodies::talk(bytes), Instant::now());
        of_bytes(
            &mut group,
            &format!("websocket-server-{size}"),
            talk.server.len(),
            || {
                let mut tap = SocketTap::new(Operation::Chat);
                black_box(&talk.server)
                    .chunks(PIECE)
                    .for_each(|piece| tap.from_server(piece, now));
                tap.next_turn()
            },
        );
        of_bytes(
            &mut group,
            &format!("websocket-client-{size}"),
            talk.client.len(),
            || {
                let mut tap = SocketTap::new(Operation::Chat);
                black_box(&talk.client)
                    .chunks(PIECE)
                    .for_each(|piece| tap.from_client(piece, now));
                tap
            },
        );
    }
    group.finish();
}

fn read(content_type: &[u8], body: &str) -> usage::Usage {
    let mut tap = Tap::new(Operation::Chat, Some(content_type), None);
    for piece in body.as_bytes().chunks(PIECE) {
        black_box(tap.push(piece));
    }
    tap.finish(true);
    tap.answer().usage
}

fn of_bytes<T>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, bytes: usize, mut work: impl FnMut() -> T) {
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(name, |bencher| bencher.iter(&mut work));
}

/// So that what is prepared stays small.
const MOST_PREPARED: usize = 1000;

fn brief() -> Criterion {
    let criterion = Criterion::default().without_plots();
    criterion
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = micro; config = brief(); targets = frames, session, tap }
criterion_main!(micro);
