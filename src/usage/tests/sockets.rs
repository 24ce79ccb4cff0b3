//! Connections over a WebSocket: recorded ones, in any split and any frames, and what hostile sides may do.

use std::time::{Duration, Instant};

use super::*;

/// One frame.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(bit | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            frame.push(bit | 126);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(bit | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(mask.as_ref().map_or(&[][..], |key| &key[..]));
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

const TEXT: u8 = 0x81;

/// One message in frames of up to `most` bytes, with pings between them.
fn message(text: &str, is_client: bool, most: usize, chance: &mut Chance) -> Vec<u8> {
    let key = || is_client.then(|| [1, 2, 3, 4].map(|at| u8::try_from((most * at + text.len()) % 256).unwrap()));
    let pieces = chance.pieces(text.as_bytes(), most);
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let last = if at + 1 == pieces.len() { 0x80 } else { 0 };
        let opcode = u8::from(at == 0);
        bytes.extend(frame(last | opcode, piece, key()));
        if last == 0 && chance.below(3) == 0 {
            bytes.extend(frame(0x89, b"{\"usage\":1}", key()));
        }
    }
    bytes
}

fn lines(file: &str) -> Vec<(bool, String)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/usage/fixtures")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| (line.starts_with('>'), line[2..].to_owned()))
        .collect()
}

/// Plays a recording, one second a message; gives its turns, those after its end last.
fn play(file: &str, operation: Operation, most: usize, seed: u64) -> (Instant, Vec<Turn>) {
    let start = Instant::now();
    let chance = &mut Chance(seed);
    let mut tap = SocketTap::new(operation);
    tap.set_model("gpt-realtime");
    let mut now = start;
    for (is_client, text) in lines(file) {
        let bytes = message(&text, is_client, most, chance);
        for piece in chance.pieces(&bytes, most) {
            match is_client {
                true => tap.from_client(piece, now),
                false => tap.from_server(piece, now),
            }
        }
        now += Duration::from_secs(1);
    }
    tap.finish(now);
    (start, std::iter::from_fn(|| tap.next_turn()).collect())
}

/// What a turn is told apart by: id, model asked for, tokens, times in seconds.
fn told(start: Instant, turn: &Turn) -> String {
    let since = |at: Instant| (at - start).as_secs();
    format!(
        "{} {} {:?}/{:?} {}..{} first {:?} {}{}",
        turn.answer.id.as_deref().unwrap_or("-"),
        turn.request.model.as_deref().unwrap_or("-"),
        turn.answer.usage.input,
        turn.answer.usage.output,
        since(turn.started),
        since(turn.ended),
        turn.first_output.map(since),
        if turn.complete { "complete" } else { "cut" },
        turn.missing.map(|why| format!(" {}", why.code())).unwrap_or_default(),
    )
}

const WAYS: [usize; 4] = [1, 7, 100, 1 << 20];

#[test]
fn a_realtime_session_is_read() {
    for (seed, most) in (1..).zip(WAYS) {
        let (start, turns) = play("realtime.txt", Operation::RealtimeInference, most, seed);
        let told: Vec<String> = turns.iter().map(|turn| told(start, turn)).collect();
        let expected = [
            "item_1 gpt-4o-transcribe Some(17)/Some(9) 8..8 first None complete",
            "resp_1 gpt-realtime-2025-08-28 Some(132)/Some(121) 5..9 first Some(7) complete",
            "resp_2 gpt-realtime-2025-08-28 Some(5)/Some(0) 11..12 first None complete",
            "item_3 gpt-4o-transcribe None/None 13..13 first None complete",
        ];
        assert_eq!(told, expected, "in pieces of {most}");
        let expected = Usage {
            input: Some(132),
            output: Some(121),
            cache_read: Some(64),
            text_input: Some(119),
            image_input: Some(0),
            audio_input: Some(13),
            text_output: Some(30),
            audio_output: Some(91),
            ..Usage::default()
        };
        assert_eq!(turns[1].answer.usage, expected);
        assert_eq!(turns[1].request.max_tokens, Some(200));
        assert_eq!(turns[2].answer.finish_reasons, ["turn_detected".into()]);
    }
}

#[test]
fn lanes_of_the_responses_api_are_told_apart() {
    for (seed, most) in (1..).zip(WAYS) {
        let (start, turns) = play("responses-lanes.txt", Operation::Chat, most, seed);
        let told: Vec<String> = turns.iter().map(|turn| told(start, turn)).collect();
        let expected = [
            "resp_b gpt-5-mini Some(20)/Some(2) 1..6 first Some(5) complete",
            "- gpt-5 None/None 7..8 first None complete",
            "resp_a gpt-5 Some(36)/Some(87) 0..9 first Some(4) complete",
            "resp_d gpt-5 None/None 10..12 first None cut cut_short",
        ];
        assert_eq!(told, expected, "in pieces of {most}");
        assert_eq!(turns[0].request.previous_response_id.as_deref(), Some("resp_0"));
        assert_eq!(turns[1].answer.error.as_deref(), Some("invalid_request_error"));
        assert_eq!(turns[2].request.reasoning_effort.as_deref(), Some("low"));
        assert_eq!(turns[2].answer.model.as_deref(), Some("gpt-5-2025-08-07"));
    }
}

/// A connection with shorthands.
struct Socket {
    tap: SocketTap,
    now: Instant,
}

impl Socket {
    fn new(operation: Operation) -> Self {
        Self {
            tap: SocketTap::new(operation),
            now: Instant::now(),
        }
    }

    fn server(&mut self, text: &str) {
        self.tap.from_server(&frame(TEXT, text.as_bytes(), None), self.now);
    }

    fn client(&mut self, text: &str) {
        self.tap
            .from_client(&frame(TEXT, text.as_bytes(), Some([9, 8, 7, 6])), self.now);
    }

    fn turns(&mut self) -> Vec<Turn> {
        std::iter::from_fn(|| self.tap.next_turn()).collect()
    }
}

const CREATE: &str = r#"{"type":"response.create","model":"m"}"#;

fn done(id: &str) -> String {
    format!(r#"{{"type":"response.done","response":{{"id":"{id}","usage":{{"input_tokens":2,"output_tokens":1}}}}}}"#)
}

fn created(id: &str) -> String {
    format!(r#"{{"type":"response.created","response":{{"id":"{id}"}}}}"#)
}

#[test]
fn a_response_is_counted_once_whatever_repeats_it() {
    let mut socket = Socket::new(Operation::RealtimeInference);
    for id in ["a", "b", "a", "a", "b"] {
        socket.server(&done(id));
        // Nor does it begin again.
        socket.server(&created(id));
    }
    assert_eq!(socket.turns().len(), 2);
    let item = r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","content_index":0,"usage":{"input_tokens":1}}"#;
    socket.server(item);
    socket.server(item);
    socket.server(&item.replace("_index\":0", "_index\":1"));
    assert_eq!(socket.turns().len(), 2);
    socket.tap.finish(socket.now);
    assert_eq!(socket.turns(), []);
}

#[test]
fn tables_have_bounds_and_the_oldest_gives_way() {
    let mut socket = Socket::new(Operation::Chat);
    for _ in 0..65 {
        socket.client(CREATE);
    }
    let turns = socket.turns();
    assert_eq!(turns.len(), 1);
    assert_eq!((turns[0].complete, turns[0].missing), (false, Some(Missing::CutShort)));
    for id in 0..100 {
        socket.server(&created(&id.to_string()));
    }
    let ids: Vec<Option<Box<str>>> = socket.turns().into_iter().map(|turn| turn.answer.id).collect();
    let expected: Vec<Option<Box<str>>> = (0..36).map(|id: i32| Some(id.to_string().into())).collect();
    assert_eq!(ids, expected);
    socket.tap.finish(socket.now);
    assert_eq!(socket.turns().len(), 64);
    // Nobody takes them.
    for id in 0..5000 {
        socket.server(&done(&format!("d{id}")));
    }
    assert_eq!(socket.turns().len(), 4096);
}

#[test]
fn a_compressed_message_is_no_guess() {
    let mut socket = Socket::new(Operation::Chat);
    socket.client(CREATE);
    let now = socket.now;
    // Reads like a frame of its own, which it is not.
    let payload = frame(TEXT, done("x").as_bytes(), None);
    socket.tap.from_server(&frame(TEXT | 0x40, &payload, None), now);
    socket.tap.from_server(&frame(0x41, &payload, None), now);
    socket.tap.from_server(&frame(0x89, b"", None), now);
    socket.tap.from_server(&frame(0x80, &payload, None), now);
    assert_eq!(socket.turns(), []);
    socket.server(&done("readable"));
    assert_eq!(socket.turns().len(), 1);
    socket.client(CREATE);
    socket.tap.finish(now);
    let turns = socket.turns();
    assert_eq!((turns.len(), turns[0].missing), (1, Some(Missing::Encoding)));

    let mut socket = Socket::new(Operation::Chat);
    socket.tap.set_model("m");
    socket
        .tap
        .from_client(&frame(TEXT | 0x40, b"?", Some([1, 2, 3, 4])), now);
    socket.tap.finish(now);
    socket.tap.finish(now);
    let turns = socket.turns();
    assert_eq!((turns.len(), turns[0].missing), (1, Some(Missing::Encoding)));
    assert_eq!(turns[0].request.model.as_deref(), Some("m"));
}

#[test]
fn the_first_close_tells_code_and_sender_and_ends_its_side() {
    let now = Instant::now();
    for (client, server, expected) in [
        (Some(&[3, 232][..]), None, Some((1000, Peer::Client))),
        (None, Some(&[3, 243, b'x'][..]), Some((1011, Peer::Server))),
        (Some(&[][..]), Some(&[3, 243][..]), Some((1005, Peer::Client))),
        (Some(&[3][..]), None, Some((1005, Peer::Client))),
        (None, None, None),
    ] {
        let mut socket = Socket::new(Operation::Chat);
        if let Some(payload) = client {
            for byte in frame(0x88, payload, Some([7, 8, 9, 10])) {
                socket.tap.from_client(&[byte], now);
            }
        }
        if let Some(payload) = server {
            socket.tap.from_server(&frame(0x88, payload, None), now);
            socket.server(&done("late"));
            assert_eq!(socket.turns(), []);
        }
        assert_eq!(socket.tap.close().map(|close| (close.code, close.by)), expected);
    }
}

#[test]
fn a_side_that_breaks_the_protocol_is_no_longer_read() {
    let long_ping = frame(0x89, &[0; 126], None);
    for broken in [
        &[0x83, 0][..],
        &[0xA1, 0],
        &[0x91, 0],
        &[0x80, 0],
        &[0x08, 0],
        &[0xC9, 0],
        &[0x01, 0, 0x81, 0],
        &[0x01, 0, 0xC0, 0],
        &[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0],
        &long_ping,
    ] {
        let mut socket = Socket::new(Operation::Chat);
        socket.client(CREATE);
        socket.tap.from_server(broken, socket.now);
        socket.server(&done("a"));
        socket.tap.finish(socket.now);
        let turns = socket.turns();
        assert_eq!(
            (turns.len(), turns[0].missing),
            (1, Some(Missing::Unreadable)),
            "{broken:?}"
        );
    }
}

#[test]
fn an_error_answers_what_it_is_about() {
    let mut socket = Socket::new(Operation::RealtimeInference);
    socket.client(r#"{"type":"response.create","event_id":"e1"}"#);
    socket.server(r#"{"type":"error","error":{"type":"invalid_request_error","event_id":"e0"}}"#);
    assert_eq!(socket.turns(), []);
    socket.server(r#"{"type":"error","error":{"type":"invalid_request_error","code":"c","event_id":"e1"}}"#);
    let turns = socket.turns();
    assert_eq!(turns[0].answer.error.as_deref(), Some("invalid_request_error"));
    assert_eq!((turns[0].complete, turns[0].missing), (true, None));
    // Nobody asked for anything.
    socket.server(r#"{"type":"error","error":{"type":"server_error"}}"#);
    assert_eq!(socket.turns(), []);
}

#[test]
fn any_bytes_do_no_harm_and_any_split_is_the_same() {
    for seed in 1..=3000 {
        let chance = &mut Chance(seed);
        let mut sides = [Vec::new(), Vec::new()];
        for _ in 0..chance.below(12) {
            let text = match chance.below(5) {
                0 => created("a"),
                1 => done("a"),
                2 => CREATE.to_owned(),
                3 => r#"{"type":"error"}"#.to_owned(),
                _ => r#"{"type":"response.output_text.delta","delta":"x"}"#.to_owned(),
            };
            let side = chance.below(2);
            let mut bytes = message(&text, side == 0, 1 + chance.below(80), chance);
            if chance.below(4) == 0 {
                let at = chance.below(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }
            sides[side].extend(bytes);
        }
        let now = Instant::now();
        let mut run = |most: usize| {
            let mut tap = SocketTap::new(Operation::Chat);
            for (side, bytes) in sides.iter().enumerate() {
                for piece in chance.pieces(bytes, most) {
                    if side == 0 {
                        tap.from_client(piece, now)
                    } else {
                        tap.from_server(piece, now)
                    }
                }
            }
            tap.finish(now);
            let turns: Vec<Turn> = std::iter::from_fn(|| tap.next_turn()).collect();
            (turns, tap.close())
        };
        let whole = run(usize::MAX - 1);
        assert_eq!(run(1), whole, "seed {seed}");
        assert_eq!(run(50), whole, "seed {seed}");
    }
}
