//! What tests do to a client: cut it off, close it, send it anything, withhold what it waits for.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Outgoing, Slot};
use crate::locked;

impl Slot {
    /// Drops the socket without a close frame, as a network does.
    pub fn cut(&self) {
        if let Some(link) = &locked(&self.state).link {
            link.cut.notify_one();
        }
    }

    /// Closes the current connection with `code` after what is queued; the slot is without a connection at once.
    pub fn close(&self, code: u16, reason: &'static str) {
        let mut state = locked(&self.state);
        state.push(Outgoing::Close(code, reason));
        if state.link.take().is_some() {
            self.presence.send_replace(0);
        }
    }

    /// Sends `text` as it stands.
    pub fn send_text(&self, text: impl Into<Utf8Bytes>) {
        locked(&self.state).push(Outgoing::Text(text.into()));
    }

    /// Sends a binary frame.
    pub fn send_binary(&self, bytes: impl Into<Bytes>) {
        locked(&self.state).push(Outgoing::Binary(bytes.into()));
    }

    /// Sends a text frame that may break RFC 6455 by not being UTF-8.
    pub fn send_broken_text(&self, bytes: impl Into<Bytes>) {
        locked(&self.state).push(Outgoing::Broken(bytes.into()));
    }

    /// Sends a pending request's frame once more on the current connection. Tells whether it was pending.
    pub fn send_again(&self, request_id: &str) -> bool {
        let state = locked(&self.state);
        let frame = state.pending.get(request_id).map(|pending| pending.frame.clone());
        frame.map(|frame| state.push(Outgoing::Text(frame))).is_some()
    }

    /// Stops (or starts again) acking responses.
    pub fn withhold_acks(&self, withhold: bool) {
        locked(&self.state).withhold_acks = withhold;
    }
}
