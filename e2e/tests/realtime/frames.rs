//! WebSocket frames to the byte, as a client sends them: of more kinds than a library would make.

use e2e::world::seed::Seed;

/// What a client sends, and how many of its frames and of its messages that tell tokens are in it.
#[derive(Default)]
pub struct Frames {
    pub bytes: Vec<u8>,
    pub count: usize,
    pub tells: usize,
}

/// Of each message that tells tokens.
pub const INPUT: usize = 3;
pub const OUTPUT: usize = 4;

impl Frames {
    /// At least `count` frames, each of any kind that may come: whole messages and fragments, texts and bytes, empty ones, with
    /// pings and pongs between the fragments; among them messages that tell tokens.
    pub fn mixed(seed: Seed, count: usize) -> Self {
        let mut frames = Self::default();
        let mut number = 0;
        while frames.count < count {
            number += 1;
            let seed = seed.of(number);
            if seed.draw(0).is_multiple_of(40) {
                frames.tells += 1;
                frames.message(seed, 1, &tells(number));
            } else {
                let length = usize::try_from(seed.magnitude(1, &(0..=3000))).unwrap();
                let payload: Vec<u8> = (0..length as u64)
                    .map(|at| seed.draw(100 + at).to_le_bytes()[0])
                    .collect();
                frames.message(seed, 1 + u8::from(seed.draw(2).is_multiple_of(2)), &payload);
            }
        }
        frames
    }

    /// A message in one frame or in several.
    pub fn message(&mut self, seed: Seed, opcode: u8, payload: &[u8]) {
        let parts = if seed.draw(3).is_multiple_of(2) {
            1
        } else {
            2 + seed.draw(4) % 4
        };
        let size = payload.len() / usize::try_from(parts).unwrap() + 1;
        let mut pieces: Vec<&[u8]> = payload.chunks(size).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let last = pieces.len() - 1;
        for (at, piece) in pieces.into_iter().enumerate() {
            let opcode = if at == 0 { opcode } else { 0 };
            let end = if at == last { 0x80 } else { 0 };
            self.push(end | opcode, piece, seed.draw(10 + at as u64));
            if at != last && seed.draw(20 + at as u64).is_multiple_of(2) {
                // what a control frame holds is no part of the message around it
                let control = [0x89, 0x8A][at % 2];
                self.push(control, br#","usage":{"input_tokens":99}"#, seed.draw(30 + at as u64));
            }
        }
    }

    /// A close frame with this code.
    pub fn close(&mut self, code: u16) {
        self.push(0x88, &code.to_be_bytes(), 7);
    }

    fn push(&mut self, first: u8, payload: &[u8], key: u64) {
        self.count += 1;
        let [a, b, c, d, ..] = key.to_le_bytes();
        let key = [a, b, c, d];
        self.bytes.push(first);
        match payload.len() {
            length @ 0..=125 => self.bytes.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..=0xFFFF => {
                self.bytes.push(0x80 | 126);
                self.bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                self.bytes.push(0x80 | 127);
                self.bytes.extend((length as u64).to_be_bytes());
            }
        }
        self.bytes.extend(key);
        self.bytes
            .extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}

/// What a model says at the end of a response.
pub fn tells(number: u64) -> Vec<u8> {
    format!(
        r#"{{"type":"response.completed","response":{{"id":"resp_{number}","model":"m","usage":{{"input_tokens":{INPUT},"output_tokens":{OUTPUT}}}}}}}"#
    )
    .into_bytes()
}
