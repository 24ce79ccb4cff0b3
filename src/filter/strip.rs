//! Taking the chunk that tells the usage out of a stream whose client has not asked for it. Pure.
//!
//! Events pass as soon as they are whole; of one that is not, what has come is held back, which no client could use.
//! Bounded: an event that is larger than any chunk of tokens ends the looking, and everything passes from then on.

use super::ask::is_usage_alone;

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Strip {
    /// The event under way.
    held: Vec<u8>,
    /// The line under way has bytes.
    in_line: bool,
    /// The byte before was a CR that ended a line.
    after_cr: bool,
    /// An LF that follows belongs to the event that is gone already; whether that one passed.
    tail: Option<bool>,
    gave_up: bool,
}

impl Strip {
    /// Takes the next bytes and gives to `out` what may pass.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.gave_up {
            return out.extend_from_slice(bytes);
        }
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if let Some(passed) = self.tail.take()
                && byte == b'\n'
            {
                self.after_cr = false;
                out.extend(passed.then_some(byte));
                rest = after;
                continue;
            }
            let line = rest.iter().take_while(|byte| !is_end(**byte)).count();
            let (text, after) = rest.split_at(line);
            self.held.extend_from_slice(text);
            self.in_line |= line > 0;
            self.after_cr &= line == 0;
            rest = after;
            if let Some((&end, after)) = rest.split_first() {
                self.held.push(end);
                self.end_line(end, out);
                rest = after;
            }
        }
        if self.held.len() > MAX_EVENT {
            self.gave_up = true;
            self.end(out);
        }
    }

    /// The stream is over: what is held passes.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn end_line(&mut self, end: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.after_cr) && end == b'\n' {
            return;
        }
        self.after_cr = end == b'\r';
        if std::mem::take(&mut self.in_line) {
            return;
        }
        let passes = !is_extra(&self.held);
        if passes {
            out.append(&mut self.held);
        }
        self.held.clear();
        self.tail = self.after_cr.then_some(passes);
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_extra(event: &[u8]) -> bool {
    let Ok(event) = std::str::from_utf8(event) else {
        return false;
    };
    if !event.contains("\"usage\"") {
        return false;
    }
    let lines = event.split(['\n', '\r']).filter_map(|line| line.strip_prefix("data:"));
    let data: Vec<_> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    is_usage_alone(&data.join("\n"))
}

/// A chunk of a completion is some hundred bytes; the usage's one less than a kilobyte.
const MAX_EVENT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}";

    fn stripped<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let (mut strip, mut out) = (Strip::default(), Vec::new());
        for piece in pieces {
            strip.push(piece, &mut out);
        }
        strip.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn any_split_of_any_line_end_gives_the_same() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = |with: bool| {
                let usage = format!("id: 7{end}{USAGE}{end}{end}");
                let before =
                    format!(": hello{end}{end}data: {{\"choices\":[{{\"a\":\"é\"}}],\"usage\":null}}{end}{end}");
                let after = format!("data: [DONE]{end}{end}data: half");
                [before.as_str(), if with { &usage } else { "" }, &after].concat()
            };
            let (with, without) = (stream(true), stream(false));
            for size in 1..=with.len() {
                assert_eq!(
                    stripped(with.as_bytes().chunks(size)),
                    without,
                    "{end:?}, pieces of {size}"
                );
            }
            for at in 0..with.len() {
                let (first, second) = with.as_bytes().split_at(at);
                assert_eq!(stripped([first, second]), without, "{end:?}, split at {at}");
            }
        }
    }

    #[test]
    fn an_event_passes_as_soon_as_it_is_whole() {
        let (mut strip, mut out) = (Strip::default(), Vec::new());
        strip.push(b"data: 1\n\nda", &mut out);
        assert_eq!(out, b"data: 1\n\n");
        assert!(!strip.is_empty());
        strip.push(b"ta: 2\r\n\r", &mut out);
        assert_eq!(out, b"data: 1\n\ndata: 2\r\n\r");
        assert!(strip.is_empty());
        strip.push(b"\n", &mut out);
        assert_eq!(out, b"data: 1\n\ndata: 2\r\n\r\n");
    }

    #[test]
    fn an_event_without_end_is_not_hoarded() {
        let (mut strip, mut out) = (Strip::default(), Vec::new());
        strip.push(&vec![b'x'; MAX_EVENT + 1], &mut out);
        assert_eq!((out.len(), strip.is_empty()), (MAX_EVENT + 1, true));
        strip.push(b"\n\n", &mut out);
        strip.push(format!("{USAGE}\n\n").as_bytes(), &mut out);
        assert!(out.ends_with(format!("\n\n{USAGE}\n\n").as_bytes()));
    }
}
