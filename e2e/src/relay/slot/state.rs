//! What a slot holds behind its lock, and the moves that need nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Answer, Failure, Outgoing};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) link: Option<Link>,
    /// Connections so far: numbers them.
    pub(super) connections: u64,
    /// Whether one of them was in this life of the relay.
    pub(super) seen: bool,
    pub(super) sent: u64,
    pub(super) pending: HashMap<String, Pending>,
    pub(super) withhold_acks: bool,
    pub(super) stopping: bool,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) commands: mpsc::UnboundedSender<Outgoing>,
    pub(super) cut: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) frame: Utf8Bytes,
    /// The order of first sending, kept when resending.
    pub(super) order: u64,
    pub(super) connection: u64,
    pub(super) acked: bool,
    /// Whether an earlier connection may have carried it: then nothing but its answer or the timeout ends it.
    pub(super) resent: bool,
    pub(super) answer: oneshot::Sender<Result<Answer, Failure>>,
}

impl State {
    pub(super) fn push(&self, outgoing: Outgoing) {
        // Without a connection there is nobody to tell: an ack is repeated when the response is.
        if let Some(link) = &self.link {
            drop(link.commands.send(outgoing));
        }
    }

    /// PROTOCOL §2.5: requests neither acked nor answered are sent again after the reconnect.
    pub(super) fn resend(&mut self, link: &Link) {
        let mut again: Vec<_> = self.pending.iter_mut().filter(|(_, pending)| !pending.acked).collect();
        again.sort_by_key(|(_, pending)| pending.order);
        for (request_id, pending) in again {
            pending.connection = link.number;
            pending.resent = true;
            drop(
                link.commands
                    .send(Outgoing::Request(request_id.clone(), pending.frame.clone())),
            );
        }
    }

    pub(super) fn fail(&mut self, request_id: &str, failure: Failure) {
        if let Some(pending) = self.pending.remove(request_id) {
            drop(pending.answer.send(Err(failure)));
        }
    }

    pub(super) fn fail_all(&mut self, failure: &Failure) {
        for (_, pending) in self.pending.drain() {
            drop(pending.answer.send(Err(failure.clone())));
        }
    }
}
