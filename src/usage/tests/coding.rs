//! Content-encodings, cut anywhere, flushed per event, broken and too large.

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::*;

const EVENTS: [&str; 3] = [
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n",
    "data: {\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3}}\n\n",
    "data: [DONE]\n\n",
];

/// Each event, flushed on its own as a server would.
fn gzip() -> Vec<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut pieces: Vec<Vec<u8>> = EVENTS
        .iter()
        .map(|event| {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            std::mem::take(encoder.get_mut())
        })
        .collect();
    pieces.push(encoder.finish().unwrap());
    pieces
}

fn deflate() -> Vec<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(EVENTS.concat().as_bytes()).unwrap();
    vec![encoder.finish().unwrap()]
}

fn zstd() -> Vec<Vec<u8>> {
    let mut encoder = zstd_safe::CCtx::create();
    let mut piece = |bytes: &[u8], end: bool| {
        let mut out = vec![0; 4096];
        let mut input = zstd_safe::InBuffer::around(bytes);
        let mut output = zstd_safe::OutBuffer::around(&mut out[..]);
        encoder.compress_stream(&mut output, &mut input).unwrap();
        let left = if end {
            encoder.end_stream(&mut output)
        } else {
            encoder.flush_stream(&mut output)
        };
        assert_eq!(left.unwrap(), 0);
        let len = output.pos();
        out.truncate(len);
        out
    };
    let mut pieces: Vec<Vec<u8>> = EVENTS.iter().map(|event| piece(event.as_bytes(), false)).collect();
    pieces.push(piece(b"", true));
    pieces
}

/// A brotli stream of stored blocks (RFC 7932 §9.2), since only its decoder is at hand.
fn brotli(window: u8) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = EVENTS
        .iter()
        .map(|event| {
            let length = event.len() - 1;
            assert!(length < 1 << 16);
            // Not the last, four nibbles of length, stored.
            let header = (length << 3) | 1 << 19;
            let mut block = header.to_le_bytes()[..3].to_vec();
            block.extend_from_slice(event.as_bytes());
            block
        })
        .collect();
    // The window's bits come first; an empty block of metadata then fills up the byte.
    const METADATA: u32 = 0b0110;
    let bits = match window {
        16 => METADATA << 1,
        window => METADATA << 4 | u32::from(window - 17) << 1 | 1,
    };
    pieces.insert(0, bits.to_le_bytes()[..if window == 16 { 1 } else { 2 }].to_vec());
    pieces.push(vec![3]);
    pieces
}

fn all() -> [(&'static str, Vec<Vec<u8>>); 5] {
    [
        (
            "identity",
            EVENTS.iter().map(|event| event.as_bytes().to_vec()).collect(),
        ),
        ("GZIP", gzip()),
        ("deflate", deflate()),
        ("br", brotli(22)),
        (" zstd ", zstd()),
    ]
}

fn tap(coding: &str) -> Tap {
    Tap::new(Operation::Chat, Some(b"text/event-stream"), Some(coding.as_bytes()))
}

#[test]
fn the_bytes_made_here_are_brotli() {
    for window in [16, 18, 22] {
        let mut text = String::new();
        let stream = Cursor::new(brotli(window).concat());
        brotli_decompressor::Decompressor::new(stream, 4096)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, EVENTS.concat());
    }
}

#[test]
fn every_coding_is_taken_off_in_any_split() {
    let mut chance = Chance(3);
    for (coding, pieces) in all() {
        let bytes = pieces.concat();
        for most in [1, 3, 30, bytes.len()] {
            let mut tap = tap(coding);
            let news: Vec<News> = chance
                .pieces(&bytes, most)
                .iter()
                .map(|piece| tap.push(piece))
                .collect();
            tap.finish(true);
            assert_eq!(
                (tap.answer().usage.input, tap.missing()),
                (Some(12), None),
                "{coding} by {most}"
            );
            assert_eq!(
                news.iter().filter(|news| news.first_output).count(),
                1,
                "{coding} by {most}"
            );
        }
    }
}

#[test]
fn what_was_flushed_is_seen_at_once() {
    for (coding, pieces) in all() {
        if coding == "deflate" {
            continue;
        }
        let skipped = usize::from(coding == "br");
        let mut tap = tap(coding);
        let news: Vec<News> = pieces.iter().map(|piece| tap.push(piece)).skip(skipped).collect();
        assert_eq!((news[0].first_output, news[0].usage), (true, false), "{coding}");
        assert_eq!((news[1].first_output, news[1].usage), (false, true), "{coding}");
    }
}

#[test]
fn what_cannot_be_decoded_is_told() {
    for (coding, pieces) in all().into_iter().skip(1) {
        let bytes = pieces.concat();
        for seed in 1..400 {
            let chance = &mut Chance(seed);
            let mut broken = bytes.clone();
            for _ in 0..=chance.below(3) {
                let at = chance.below(broken.len());
                broken[at] ^= 1 << chance.below(8);
            }
            let mut tap = tap(coding);
            for piece in chance.pieces(&broken, 20) {
                tap.push(piece);
            }
            tap.finish(true);
            // It must only be one or the other.
            assert_eq!(
                tap.missing().is_none(),
                tap.answer().usage != Usage::default(),
                "{coding} {seed}"
            );
        }
        let mut tap = tap(coding);
        tap.push(b"{\"usage\":{\"prompt_tokens\":1}}");
        tap.finish(true);
        assert_eq!(tap.missing(), Some(Missing::Encoding), "{coding}");
    }
    for unknown in ["compress", "gzip, br", "x"] {
        let mut tap = tap(unknown);
        assert_eq!(tap.push(EVENTS[1].as_bytes()), News::default());
        tap.finish(true);
        assert_eq!(tap.missing(), Some(Missing::Encoding), "{unknown}");
    }
}

#[test]
fn a_window_beyond_the_bound_is_refused() {
    for (window, is_read) in [(16, true), (23, true), (24, false)] {
        let mut tap = tap("br");
        brotli(window).iter().for_each(|piece| {
            tap.push(piece);
        });
        tap.finish(true);
        assert_eq!(tap.missing(), (!is_read).then_some(Missing::Encoding), "{window}");
    }
    for (exponent, is_read) in [(23, true), (24, false)] {
        // RFC 8878 §3.1.1: no checksum, no content size; then one stored block, the last.
        let text = EVENTS[1].as_bytes();
        let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0, (exponent - 10) << 3];
        frame.extend_from_slice(&((text.len() << 3 | 1).to_le_bytes()[..3]));
        frame.extend_from_slice(text);
        let mut tap = tap("zstd");
        tap.push(&frame);
        tap.finish(true);
        assert_eq!(tap.missing(), (!is_read).then_some(Missing::Encoding), "{exponent}");
    }
}

#[test]
fn a_small_body_that_grows_without_end_is_given_up() {
    let zip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut tap = Tap::new(Operation::Chat, Some(b"application/json"), Some(b"gzip"));
    let spaces = zip(&vec![b' '; 1 << 20]);
    for _ in 0..256 {
        tap.push(&spaces);
    }
    tap.push(&zip(br#"{"usage":{"prompt_tokens":1}}"#));
    tap.finish(true);
    assert_eq!(tap.missing(), Some(Missing::Encoding));
}

#[test]
fn a_tap_may_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Tap>();
    is_send::<RequestTap>();
    is_send::<SocketTap>();
}
