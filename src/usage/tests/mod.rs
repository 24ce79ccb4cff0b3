//! What the tap makes of every shape, of any split of it, and of what is none.

#![allow(clippy::disallowed_methods)] // fixtures are read, and time begins somewhere

mod coding;
mod engines;
mod fixtures;
mod sockets;
mod streams;
mod traps;

use super::*;

/// xorshift64*: the tests' chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let wide = u128::from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)) * end.max(1) as u128;
        usize::try_from(wide >> 64).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// `bytes` in pieces of up to `most` bytes.
    fn pieces<'a>(&mut self, mut bytes: &'a [u8], most: usize) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at((1 + self.below(most)).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

fn usage(text: &str) -> (Option<u64>, Option<u64>) {
    let usage = read_json(text).unwrap().usage;
    (usage.input, usage.output)
}

#[test]
fn both_apis_report_their_tokens() {
    assert_eq!(
        usage(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#),
        (Some(9), Some(12))
    );
    assert_eq!(
        usage(r#"{"usage":{"input_tokens":5000000000,"output_tokens":0,"input_tokens_details":{"cached_tokens":1}}}"#),
        (Some(5_000_000_000), Some(0))
    );
}

#[test]
fn absent_null_and_odd_values_are_not_zero() {
    for text in [
        "{}",
        r#"{"usage":null}"#,
        r#"{"usage":[1]}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":{"prompt_tokens":null,"completion_tokens":"7"}}"#,
        r#"{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}"#,
        "[]",
        "7",
        r#"{"other":{"usage":{"prompt_tokens":1}}}"#,
    ] {
        assert_eq!(usage(text), (None, None), "{text}");
    }
    assert_eq!(usage(r#"{"usage":{"prompt_tokens":3.0}}"#), (Some(3), None));
}

#[test]
fn what_is_not_json_is_said() {
    for text in ["", "{", "<html>", r#"{"a":NaN}"#, r#"{"a":1}{"#, "{'a':1}"] {
        assert_eq!(read_json(text), Err(NotJson), "{text}");
    }
}
