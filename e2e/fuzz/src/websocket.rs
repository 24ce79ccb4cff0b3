//! Any bytes as what a relay writes after the handshake, read with the product's limits.

use std::io::{self, Read, Write};

use spectral_bridge::relay::websocket_config;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::frames;

/// Reading ends without a panic, within the limits, and says the same however the bytes are split. The first byte
/// chooses the split.
pub fn websocket(data: &[u8]) {
    let Some((&split, bytes)) = data.split_first() else {
        return;
    };
    let whole = read(bytes, bytes.len());
    let pieces = read(bytes, usize::from(split) + 1);
    assert_eq!(whole.messages, pieces.messages, "the split changed what was read");
    assert_eq!(whole.end, pieces.end, "the split changed how it ended");
    // Only pongs and the answer to a close frame, each to a frame of at least two bytes.
    assert!(
        whole.answered <= (bytes.len() / 2 + 1) * 131,
        "{} bytes of answers",
        whole.answered
    );
    for message in &whole.messages {
        assert!(message.len() <= MAX_FRAME, "a message above the limit");
        match message {
            Message::Text(text) => frames(text.as_bytes()),
            Message::Binary(bytes) => frames(bytes),
            Message::Ping(payload) | Message::Pong(payload) => assert!(payload.len() <= 125),
            Message::Close(_) | Message::Frame(_) => {}
        }
    }
}

struct Outcome {
    messages: Vec<Message>,
    end: String,
    answered: usize,
}

fn read(bytes: &[u8], piece: usize) -> Outcome {
    let stream = Pieces {
        bytes,
        piece,
        given: false,
        written: 0,
    };
    let mut socket = WebSocket::from_raw_socket(stream, Role::Client, Some(websocket_config(MAX_FRAME)));
    let mut messages = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(message) => messages.push(message),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => break error.to_string(),
        }
    };
    Outcome {
        messages,
        end,
        answered: socket.get_ref().written,
    }
}

/// Gives its bytes in pieces, each followed by a pause, as a socket would.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
    given: bool,
    written: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.given) && !self.bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (now, later) = self.bytes.split_at(self.piece.min(buffer.len()).min(self.bytes.len()));
        buffer[..now.len()].copy_from_slice(now);
        (self.bytes, self.given) = (later, true);
        Ok(now.len())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Small, so that the limit is met often; the least that the configuration allows.
const MAX_FRAME: usize = 64 * 1024;
