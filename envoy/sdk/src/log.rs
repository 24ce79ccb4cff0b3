//! Envoy's log as a `tracing` subscriber.
//!
//! [`init_logging`] is called once per process by the module; every `tracing` event then becomes a line `message key=value` of Envoy's
//! logger `dynamic_modules`, from any thread. The level is asked of Envoy before anything is formatted, and again for every event,
//! because an operator can change it at run time. Spans are not printed: they belong to telemetry.
//!
//! Text that comes from a peer belongs into a field, not into the message: fields cannot break the line.

use crate::abi::{Buffer, LogLevel};
use crate::callbacks::callbacks;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::OnceLock;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Makes Envoy's log the global default for `tracing`. Further calls change nothing.
///
/// Returns whether the log is in place: `false` when the process had another default before.
pub fn init_logging() -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| {
        let subscriber = tracing_subscriber::registry().with(envoy_log_layer());
        tracing::subscriber::set_global_default(subscriber).is_ok()
    })
}

/// The layer behind [`init_logging`], for a subscriber that has other layers too. Its level check concerns itself alone.
pub fn envoy_log_layer<S>() -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    EnvoyLog.with_filter(EnvoyLevel)
}

/// Writes one line into Envoy's log if the level is on; without Envoy the line is dropped.
pub(crate) fn write(level: LogLevel, message: &str, file: &str, line: u32) {
    if enabled(level) {
        write_unchecked(level, message, file, line);
    }
}

fn enabled(level: LogLevel) -> bool {
    // SAFETY: Envoy allows this call on any thread.
    callbacks().is_some_and(|envoy| unsafe { (envoy.log_enabled)(level as u32) })
}

fn write_unchecked(level: LogLevel, message: &str, file: &str, line: u32) {
    let Some(envoy) = callbacks() else { return };
    let message = Buffer::of(message.as_bytes());
    match envoy.log_v2 {
        // SAFETY: Envoy allows this call on any thread and copies both texts before it returns.
        Some(log_v2) => unsafe { log_v2(level as u32, message, Buffer::of(file.as_bytes()), line) },
        // SAFETY: Envoy allows this call on any thread and copies the text before it returns.
        None => unsafe { (envoy.log)(level as u32, message) },
    }
}

fn envoy_level(level: Level) -> LogLevel {
    match level {
        Level::TRACE => LogLevel::Trace,
        Level::DEBUG => LogLevel::Debug,
        Level::INFO => LogLevel::Info,
        Level::WARN => LogLevel::Warn,
        Level::ERROR => LogLevel::Error,
    }
}

struct EnvoyLevel;

impl<S> Filter<S> for EnvoyLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        metadata.is_event() && enabled(envoy_level(*metadata.level()))
    }
}

struct EnvoyLog;

impl<S: Subscriber> Layer<S> for EnvoyLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // Taken, not borrowed: a value's own formatting may log in turn.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        line.clear();
        event.record(&mut Message(&mut line));
        event.record(&mut Fields(&mut line));
        let file = metadata.file().unwrap_or_else(|| metadata.target());
        write_unchecked(
            envoy_level(*metadata.level()),
            &line,
            file,
            metadata.line().unwrap_or(0),
        );
        if line.capacity() <= KEPT_BYTES {
            let _ = LINE.try_with(|kept| kept.set(line));
        }
    }
}

/// Writes the event's message and nothing else.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            let _ = write!(
                Escaped {
                    out: self.0,
                    lines: true
                },
                "{value:?}"
            );
        }
    }
}

/// Writes everything but the message, as ` key=value`.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn key(&mut self, field: &Field) -> bool {
        if field.name() == MESSAGE {
            return false;
        }
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(field.name());
        self.0.push('=');
        true
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !self.key(field) {
            return;
        }
        let plain = !value.is_empty()
            && !value.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '='));
        let _ = if plain {
            self.0.write_str(value)
        } else {
            write!(self.0, "{value:?}")
        };
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.key(field) {
            let _ = write!(
                Escaped {
                    out: self.0,
                    lines: false
                },
                "{value:?}"
            );
        }
    }
}

/// Keeps control characters out of the log; a message of our own may have several lines.
struct Escaped<'a> {
    out: &'a mut String,
    lines: bool,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() && !(self.lines && c == '\n') {
                self.out.extend(c.escape_default());
            } else {
                self.out.push(c);
            }
        }
        Ok(())
    }
}

thread_local! {
    /// The line under construction, kept for its memory.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

const MESSAGE: &str = "message";
/// A longer line gives its memory back.
const KEPT_BYTES: usize = 16 * 1024;
