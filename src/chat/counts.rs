//! The endpoint's figures, as its sessions change them and the status shows them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::status::snapshot::ChatTotals;
use crate::usage::Usage;

/// Shared by all sessions of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Figures>);

/// The figures at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub sessions: u64,
    pub turns: u64,
    pub totals: ChatTotals,
}

/// A session that counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenSession(Arc<Counts>);

impl Counts {
    /// A place for one more session, of at most `most`.
    pub fn open(self: &Arc<Self>, most: usize) -> Option<OpenSession> {
        let mut figures = self.lock();
        if figures.sessions >= most as u64 {
            return None;
        }
        figures.sessions += 1;
        figures.totals.sessions += 1;
        Some(OpenSession(Arc::clone(self)))
    }

    /// A connection that became no session.
    pub fn refused(&self, why: &str) {
        add(&mut self.lock().totals.refused, why);
    }

    pub fn turn_begins(&self) {
        let mut figures = self.lock();
        figures.turns += 1;
        figures.totals.turns += 1;
    }

    /// A turn's end: `done`, `cancelled`, or why it failed.
    pub fn turn_ends(&self, how: &str, usage: Option<&Usage>) {
        let mut figures = self.lock();
        figures.turns = figures.turns.saturating_sub(1);
        add(&mut figures.totals.ended_turns, how);
        if let Some(usage) = usage {
            let ChatTotals {
                input_tokens,
                output_tokens,
                ..
            } = &mut figures.totals;
            *input_tokens = input_tokens.saturating_add(usage.input.unwrap_or_default());
            *output_tokens = output_tokens.saturating_add(usage.output.unwrap_or_default());
        }
    }

    /// A message that was answered with an error at once.
    pub fn message_refused(&self, code: &str) {
        add(&mut self.lock().totals.refused_messages, code);
    }

    pub fn session_ends(&self, how: &str) {
        add(&mut self.lock().totals.ended_sessions, how);
    }

    pub fn figures(&self) -> Figures {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let mut figures = self.0.lock();
        figures.sessions = figures.sessions.saturating_sub(1);
    }
}

fn add(totals: &mut std::collections::BTreeMap<String, u64>, label: &str) {
    *totals.entry(label.to_owned()).or_default() += 1;
}
