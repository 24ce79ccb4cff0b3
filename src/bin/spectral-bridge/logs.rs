//! Envoy's output, line by line, with who is speaking in front: `bridge`, `envoy`, `access`.
//!
//! Envoy is started with a log format of `[time][level][component] message`, the access log begins `[time][access]`.
//! A line that looks otherwise continues the one before it. Deliberately absent: dropping or holding back lines.

use std::io::{IsTerminal, Write, stdout};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Envoy's `--log-format` that [`Prefixer`] reads.
pub const ENVOY_LOG_FORMAT: &str = "[%T.%e][%l][%n] %v";

/// Copies lines to standard output until the pipe ends.
pub async fn relay(pipe: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(pipe);
    let mut prefixer = Prefixer::default();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line);
        print(&prefixer.prefix(text.trim_end()));
        line.clear();
    }
}

/// A line of the launcher itself.
pub fn say(text: &str) {
    print(&Line {
        source: Source::Launch,
        text: text.to_owned(),
    });
}

fn print(line: &Line) {
    let mut out = stdout().lock();
    let (on, off) = if colourful() {
        (line.source.colour(), "\x1b[0m")
    } else {
        ("", "")
    };
    // Nobody reads any more: Envoy's pipes must be emptied all the same.
    let _ = writeln!(out, "{on}{:<6} |{off} {}", line.source.name(), line.text);
}

fn colourful() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Who is speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Source {
    Launch,
    Bridge,
    #[default]
    Envoy,
    Access,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Bridge => "bridge",
            Self::Envoy => "envoy",
            Self::Access => "access",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Launch => "\x1b[32m",
            Self::Bridge => "\x1b[36m",
            Self::Envoy => "\x1b[35m",
            Self::Access => "\x1b[34m",
        }
    }
}

/// A line to print.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    source: Source,
    text: String,
}

/// Recognises who wrote a line; remembers the last one for lines that continue it.
#[derive(Debug, Default)]
struct Prefixer {
    last: Source,
}

impl Prefixer {
    fn prefix(&mut self, line: &str) -> Line {
        let Some((time, level, message)) = split(line) else {
            return Line {
                source: self.last,
                text: line.to_owned(),
            };
        };
        let (source, text) = match level {
            "access" => (Source::Access, format!("{time} {}", message.trim_start())),
            _ => match field(message) {
                // The SDK's log lines and Envoy's own about modules share this component.
                Some(("dynamic_modules", text)) => (Source::Bridge, format!("{time} {level:<7} {}", text.trim_start())),
                Some((component, text)) => (
                    Source::Envoy,
                    format!("{time} {level:<7} {component}: {}", text.trim_start()),
                ),
                None => (self.last, line.to_owned()),
            },
        };
        self.last = source;
        Line { source, text }
    }
}

/// `[time][level]rest`, where time begins like one.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let (time, rest) = field(line)?;
    if !time.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (level, rest) = field(rest)?;
    Some((time, level, rest))
}

/// `[field]rest`
fn field(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('[')?.split_once(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_who_speaks() {
        let mut prefixer = Prefixer::default();
        for (line, source, text) in [
            (
                "[12:00:00.001][info][main] starting",
                Source::Envoy,
                "12:00:00.001 info    main: starting",
            ),
            (
                "[12:00:00.002][info][dynamic_modules] connected",
                Source::Bridge,
                "12:00:00.002 info    connected",
            ),
            (
                "  second line of the module",
                Source::Bridge,
                "  second line of the module",
            ),
            (
                "[12:00:00.003][access] POST /v1/responses 200",
                Source::Access,
                "12:00:00.003 POST /v1/responses 200",
            ),
            ("[2026] not a log line", Source::Access, "[2026] not a log line"),
            (
                "[12:00:00.004][warning][config] [a] b",
                Source::Envoy,
                "12:00:00.004 warning config: [a] b",
            ),
            ("", Source::Envoy, ""),
            (
                "[12:00:00.005][error]no component",
                Source::Envoy,
                "[12:00:00.005][error]no component",
            ),
            ("[x][y][z] text", Source::Envoy, "[x][y][z] text"),
        ] {
            assert_eq!(
                prefixer.prefix(line),
                Line {
                    source,
                    text: text.to_owned()
                },
                "{line}"
            );
        }
    }
}
