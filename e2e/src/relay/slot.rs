//! The slot of one key: its current connection, and the requests that outlive it (PROTOCOL §2.5, §3.1).
//!
//! The HTTP side calls [`Slot::forward`]; the connection (`wire`) reports what it heard. State is behind one lock that
//! is never held across an await. Deliberately absent: sockets and HTTP.

mod staging;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::state::{Link, Pending, State};
use super::frames::{self, Answer, Inbound};
use super::journal::{Event, Journal};
use super::options::{Hello, RelayOptions, Version};
use crate::failed::{self, Failed};
use crate::locked;

/// One key's place in the relay.
#[derive(Debug)]
pub struct Slot {
    id: String,
    options: Arc<RelayOptions>,
    journal: Arc<Journal>,
    state: Mutex<State>,
    /// The number of the current connection, 0 while there is none.
    presence: watch::Sender<u64>,
}

/// Why a caller gets no answer from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No client has connected yet.
    NeverConnected,
    /// The client was connected, is not, and did not come back in time.
    Away,
    /// The frame could not be sent.
    NotSent,
    /// The client said goodbye (1001) with the request pending.
    Gone,
    /// No response in time.
    Timeout,
    /// The relay itself stops.
    Stopping,
    /// The response frame cannot be read.
    Unreadable(String),
}

/// What the socket's owner has to write.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A request; its id tells whom to inform when it is never written.
    Request(String, Utf8Bytes),
    /// Any other text.
    Text(Utf8Bytes),
    /// A binary frame, for clients that must ignore it.
    Binary(Bytes),
    /// A text frame that need not be UTF-8.
    Broken(Bytes),
    /// The last frame.
    Close(u16, &'static str),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client closed it, with this code.
    ByClient(Option<u16>),
    /// The relay closed it; the client answered with this code, if it did.
    ByRelay(Option<u16>),
    /// It broke without a close frame from the client.
    Broken,
}

/// The socket's end of a link.
#[derive(Debug)]
pub(super) struct Attached {
    pub number: u64,
    pub commands: mpsc::UnboundedReceiver<Outgoing>,
    pub cut: Arc<Notify>,
}

impl Slot {
    pub(super) fn new(id: &str, options: Arc<RelayOptions>, journal: Arc<Journal>) -> Self {
        let presence = watch::Sender::new(0);
        Self {
            id: id.to_owned(),
            options,
            journal,
            state: Mutex::default(),
            presence,
        }
    }

    /// The relay id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a client is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.presence.borrow() != 0
    }

    /// Waits until connection `number` (counted from 1) or a later one is there.
    ///
    /// # Errors
    /// It was not there within `deadline`.
    pub async fn connected(&self, number: u64, deadline: Duration) -> failed::Result<()> {
        self.presence_becomes(|current| current >= number.max(1), deadline)
            .await
    }

    /// Waits until no client is connected.
    ///
    /// # Errors
    /// One still was after `deadline`.
    pub async fn disconnected(&self, deadline: Duration) -> failed::Result<()> {
        self.presence_becomes(|current| current == 0, deadline).await
    }

    async fn presence_becomes(&self, wanted: impl Fn(u64) -> bool, deadline: Duration) -> failed::Result<()> {
        let mut presence = self.presence.subscribe();
        let reached = timeout(deadline, presence.wait_for(|current| wanted(*current)))
            .await
            .is_ok();
        let current = *self.presence.borrow();
        let other = || {
            let state = if current == 0 {
                "no connection".to_owned()
            } else {
                format!("connection {current}")
            };
            Failed::new(format!("relay {}: still {state} after {deadline:?}", self.id))
        };
        reached.then_some(()).ok_or_else(other)
    }

    /// Requests sent and not answered.
    #[must_use]
    pub fn pending(&self) -> usize {
        locked(&self.state).pending.len()
    }

    /// Sends the request and waits for its answer, across reconnects (PROTOCOL §3.1).
    ///
    /// # Errors
    /// The client gave no answer.
    ///
    /// # Cancel safety
    /// Dropping it forgets the request: a late response is acked and ignored.
    pub async fn forward(&self, request_id: &str, frame: Utf8Bytes) -> Result<Answer, Failure> {
        let answer = self.send(request_id, frame).await?;
        // Whatever ends this future, the caller is no longer waiting.
        let _forget = Forget { slot: self, request_id };
        match timeout(self.options.request_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::Stopping),
            // PROTOCOL §3.1: no response within the server's timeout
            Err(_) => Err(Failure::Timeout),
        }
    }

    async fn send(&self, request_id: &str, frame: Utf8Bytes) -> Result<Receipt, Failure> {
        let mut presence = self.presence.subscribe();
        let deadline = Instant::now() + self.options.reconnect_wait;
        loop {
            presence.mark_unchanged();
            match self.try_send(request_id, &frame) {
                Ok(receipt) => return Ok(receipt),
                Err(Failure::Away) => {}
                Err(other) => return Err(other),
            }
            // PROTOCOL 0.1.2 §3.1: without a connection, an error at once.
            if self.options.version == Version::V1 {
                return Err(Failure::Away);
            }
            match timeout_at(deadline, presence.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Failure::Away),
            }
        }
    }

    fn try_send(&self, request_id: &str, frame: &Utf8Bytes) -> Result<Receipt, Failure> {
        let mut state = locked(&self.state);
        if state.stopping {
            return Err(Failure::Stopping);
        }
        let Some(link) = &state.link else {
            // PROTOCOL §3.1: no client has connected yet: an error at once; else wait briefly
            return Err(if state.seen {
                Failure::Away
            } else {
                Failure::NeverConnected
            });
        };
        let connection = link.number;
        let request = Outgoing::Request(request_id.to_owned(), frame.clone());
        // PROTOCOL §3.1: to the active connection; a frame that can't be sent fails at once
        // PROTOCOL §2.5: what cannot be sent fails straight away and is not kept
        link.commands.send(request).map_err(|_| Failure::NotSent)?;
        state.sent += 1;
        let (answer, receipt) = oneshot::channel();
        let pending = Pending {
            frame: frame.clone(),
            order: state.sent,
            connection,
            acked: false,
            resent: false,
            answer,
        };
        state.pending.insert(request_id.to_owned(), pending);
        Ok(receipt)
    }

    /// Makes a new connection the current one.
    pub(super) fn attach(&self, headers: &HeaderMap) -> Attached {
        let (commands, receiver) = mpsc::unbounded_channel();
        let cut = Arc::new(Notify::new());
        let mut state = locked(&self.state);
        state.connections += 1;
        let number = state.connections;
        // PROTOCOL §3.1: accept the newer connection, close the older one cleanly.
        if let Some(older) = state.link.take() {
            drop(
                older
                    .commands
                    .send(Outgoing::Close(1000, "replaced by newer connection")),
            );
        }
        self.journal.add(&self.id, number, || {
            let mut headers = headers.clone();
            headers.remove(hyper::header::AUTHORIZATION);
            Event::Connected(headers)
        });
        let link = Link {
            number,
            commands,
            cut: Arc::clone(&cut),
        };
        if state.stopping {
            drop(link.commands.send(Outgoing::Close(1012, "relay is shutting down")));
            return Attached {
                number,
                commands: receiver,
                cut,
            };
        }
        match &self.options.hello {
            Hello::Silence => {
                return Attached {
                    number,
                    commands: receiver,
                    cut,
                };
            }
            Hello::Text(text) => drop(link.commands.send(Outgoing::Text(text.as_str().into()))),
            // PROTOCOL §2.1, §3.1: a confirmation frame before any request frames
            Hello::Connected => drop(
                link.commands
                    .send(Outgoing::Text(frames::connected(self.options.version))),
            ),
        }
        // PROTOCOL 0.1.2 §2.5: nothing is sent again; what is lost is the relay's responsibility to time out
        if self.options.version == Version::V2 {
            state.resend(&link);
        }
        // PROTOCOL §3.1: register the active connection; do not reject one whose key is known
        state.link = Some(link);
        state.seen = true;
        self.presence.send_replace(number);
        Attached {
            number,
            commands: receiver,
            cut,
        }
    }

    /// Takes a connection away; `unsent` is what was never written to it.
    pub(super) fn detach(&self, number: u64, ending: Ending, unsent: impl Iterator<Item = Outgoing>) {
        let mut state = locked(&self.state);
        self.journal.add(&self.id, number, || Event::Closed(ending.code()));
        let newest = state.connections == number;
        // PROTOCOL §2.5: a disconnect does not fail pending requests
        if state.link.as_ref().is_some_and(|link| link.number == number) {
            state.link = None;
            self.presence.send_replace(0);
        }
        // PROTOCOL §2.6, §3.1: 1001 means that the client is gone, unless a newer connection replaced this one.
        if self.options.version == Version::V2 && ending == Ending::ByClient(Some(1001)) && newest {
            state.fail_all(&Failure::Gone);
        }
        for outgoing in unsent {
            let Outgoing::Request(request_id, _) = outgoing else {
                continue;
            };
            // PROTOCOL §2.5: only what was never sent fails; what an earlier connection may have carried is sent again.
            if state
                .pending
                .get(&request_id)
                .is_some_and(|pending| pending.connection == number && !pending.resent)
            {
                state.fail(&request_id, Failure::NotSent);
            }
        }
    }

    /// A text frame came.
    pub(super) fn received(&self, number: u64, text: Utf8Bytes) {
        self.journal.add(&self.id, number, || Event::Received(text.clone()));
        match frames::read(&text) {
            Inbound::Unknown => {}
            Inbound::Ack(request_id) => {
                if let Some(pending) = locked(&self.state).pending.get_mut(&request_id) {
                    pending.acked = true;
                }
            }
            Inbound::Response(request_id, answer) => {
                let mut state = locked(&self.state);
                // PROTOCOL §2.2: acks every response, on the current connection, even one no longer tracked
                // PROTOCOL §3.1: ack every response
                // PROTOCOL 0.1.2 §2.2: two message types, and an ack is none of them
                if self.options.version == Version::V2 && !state.withhold_acks {
                    state.push(Outgoing::Text(frames::ack(&request_id)));
                }
                // PROTOCOL §2.2, §3.1: the response frame, matched by request_id across reconnects
                // PROTOCOL §2.3: responses come in any order
                // PROTOCOL §2.5: one for a request already completed is acked above and ignored
                if let Some(pending) = state.pending.remove(&request_id) {
                    drop(pending.answer.send(answer.map_err(Failure::Unreadable)));
                }
            }
        }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Closes the current connection with 1012 and fails what is pending (PROTOCOL §3.1).
    pub(super) fn stop(&self) {
        let mut state = locked(&self.state);
        state.stopping = true;
        // PROTOCOL §3.1: 1012, and the pending requests fail straight away
        state.push(Outgoing::Close(1012, "relay is shutting down"));
        state.link = None;
        state.fail_all(&Failure::Stopping);
        self.presence.send_replace(0);
    }

    /// Forgets everything, as a new process would.
    pub(super) fn reset(&self) {
        let mut state = locked(&self.state);
        let connections = state.connections;
        // The count goes on, so that a journal's connection numbers stay unique; callers must not notice.
        *state = State {
            connections,
            ..State::default()
        };
        self.presence.send_replace(0);
    }
}

type Receipt = oneshot::Receiver<Result<Answer, Failure>>;

impl Ending {
    /// The client's close code.
    pub(super) fn code(self) -> Option<u16> {
        match self {
            Self::ByClient(code) | Self::ByRelay(code) => code,
            Self::Broken => None,
        }
    }
}

struct Forget<'a> {
    slot: &'a Slot,
    request_id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        locked(&self.slot.state).pending.remove(self.request_id);
    }
}
