//! Everything that was said on `/connect`, in order, for assertions.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::locked;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose connection; empty when the key was unknown.
    pub relay: String,
    /// Which connection of that relay, from 1; 0 when it was refused.
    pub connection: u64,
    /// What happened.
    pub event: Event,
}

/// What can happen on `/connect`.
#[derive(Debug, Clone)]
pub enum Event {
    /// A handshake was refused with this HTTP status or close code.
    Refused(u16),
    /// A client connected with these headers (`authorization` left out).
    Connected(HeaderMap),
    /// A text frame was handed to the socket.
    Sent(Utf8Bytes),
    /// A text frame came.
    Received(Utf8Bytes),
    /// A binary frame came.
    ReceivedBinary(Bytes),
    /// A ping came (and was answered).
    Pinged,
    /// The connection ended; with the client's close code when it sent one.
    Closed(Option<u16>),
}

/// The record, and a way to wait for it.
#[derive(Debug)]
pub struct Journal {
    entries: Mutex<Vec<Entry>>,
    changed: watch::Sender<()>,
    enabled: bool,
}

impl Journal {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            entries: Mutex::default(),
            changed: watch::Sender::new(()),
            enabled,
        }
    }

    pub(super) fn add(&self, relay: &str, connection: u64, event: impl FnOnce() -> Event) {
        if self.enabled {
            locked(&self.entries).push(Entry {
                relay: relay.to_owned(),
                connection,
                event: event(),
            });
            self.changed.send_replace(());
        }
    }

    /// Everything so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        locked(&self.entries).clone()
    }

    /// Waits until `found` sees what it looks for in the entries.
    ///
    /// # Errors
    /// It was not there within `deadline`; the error lists what was.
    pub async fn wait<T>(&self, deadline: Duration, mut found: impl FnMut(&[Entry]) -> Option<T>) -> Result<T, String> {
        let mut changed = self.changed.subscribe();
        let search = async {
            loop {
                changed.mark_unchanged();
                let hit = found(&locked(&self.entries));
                if let Some(hit) = hit {
                    return hit;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(deadline, search)
            .await
            .map_err(|_| self.describe(deadline))
    }

    /// Ids of acks received, in order.
    #[must_use]
    pub fn acks(&self) -> Vec<String> {
        self.received_ids("ack")
    }

    /// Ids of responses received, in order, repeated where one came again.
    #[must_use]
    pub fn responses(&self) -> Vec<String> {
        self.received_ids("response")
    }

    /// How each ended connection ended.
    #[must_use]
    pub fn closes(&self) -> Vec<Option<u16>> {
        locked(&self.entries)
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Closed(code) => Some(*code),
                Event::Refused(_)
                | Event::Connected(_)
                | Event::Sent(_)
                | Event::Received(_)
                | Event::ReceivedBinary(_)
                | Event::Pinged => None,
            })
            .collect()
    }

    /// How many handshakes were refused.
    #[must_use]
    pub fn refusals(&self) -> usize {
        locked(&self.entries)
            .iter()
            .filter(|entry| matches!(entry.event, Event::Refused(_)))
            .count()
    }

    fn received_ids(&self, kind: &str) -> Vec<String> {
        let entries = self.entries();
        let frames = entries.iter().filter_map(Entry::received);
        frames
            .filter(|frame| frame.get("type").and_then(Value::as_str) == Some(kind))
            .filter_map(|frame| Some(frame.get("request_id")?.as_str()?.to_owned()))
            .collect()
    }

    fn describe(&self, deadline: Duration) -> String {
        let mut text = format!("not seen within {deadline:?}; the relay's journal:");
        for Entry {
            relay,
            connection,
            event,
        } in self.entries()
        {
            let mut line = format!("{event:?}");
            if let Some((cut, _)) = line.char_indices().nth(300) {
                line.truncate(cut);
            }
            text.push_str(&format!("\n  {relay}#{connection} {line}"));
        }
        text
    }
}

impl Entry {
    /// The JSON of a received text frame.
    #[must_use]
    pub fn received(&self) -> Option<Value> {
        match &self.event {
            Event::Received(text) => serde_json::from_str(text.as_str()).ok(),
            Event::Refused(_)
            | Event::Connected(_)
            | Event::Sent(_)
            | Event::ReceivedBinary(_)
            | Event::Pinged
            | Event::Closed(_) => None,
        }
    }

    /// The JSON of a sent text frame.
    #[must_use]
    pub fn sent(&self) -> Option<Value> {
        match &self.event {
            Event::Sent(text) => serde_json::from_str(text.as_str()).ok(),
            Event::Refused(_)
            | Event::Connected(_)
            | Event::Received(_)
            | Event::ReceivedBinary(_)
            | Event::Pinged
            | Event::Closed(_) => None,
        }
    }
}
