//! WebSocket sessions: how many are open, and what is told of each that is over.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, UpDownCounter};

use super::instruments::{seconds, whole};
use super::{Telemetry, names};
use crate::usage::Operation;

/// A session that is over.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// What it was for.
    pub operation: Operation,
    /// The model that was asked for last.
    pub model: Option<&'a str>,
    /// How it was closed: a class of close codes.
    pub close: &'static str,
    /// Who closed it.
    pub closed_by: &'static str,
    /// Responses in it.
    pub turns: u64,
    /// From the agreed upgrade to the end.
    pub duration: Duration,
}

#[derive(Debug)]
pub(super) struct Sessions {
    active: UpDownCounter<i64>,
    duration: Histogram<f64>,
    turns: Histogram<u64>,
}

impl Telemetry {
    /// A session begins; [`Telemetry::session_ended`] follows.
    pub fn session_started(&self, operation: Operation) {
        if let Some(sessions) = self.sessions() {
            sessions.active.add(1, &[of(operation)]);
        }
    }

    /// Records a session that is over.
    pub fn session_ended(&self, session: &Session<'_>) {
        let Some(sessions) = self.sessions() else { return };
        sessions.active.add(-1, &[of(session.operation)]);
        let mut attributes = vec![
            of(session.operation),
            KeyValue::new(names::SESSION_CLOSE, session.close),
            KeyValue::new(names::SESSION_CLOSED_BY, session.closed_by),
        ];
        let model = session.model.map(|model| self.view.vocabulary.models.label(model));
        attributes.extend(model.map(|model| KeyValue::new(names::REQUEST_MODEL, model.value())));
        sessions.duration.record(session.duration.as_secs_f64(), &attributes);
        sessions.turns.record(session.turns, &attributes);
    }

    fn sessions(&self) -> Option<&Sessions> {
        let (_, instruments) = self.inner.metrics.as_ref().filter(|_| !self.ended())?;
        Some(&instruments.sessions)
    }
}

impl Sessions {
    pub(super) fn new(meter: &Meter) -> Self {
        let active = &names::SESSIONS_ACTIVE;
        Self {
            active: meter
                .i64_up_down_counter(active.name)
                .with_unit(active.unit)
                .with_description(active.description)
                .build(),
            duration: seconds(meter, &names::SESSION_DURATION),
            turns: whole(meter, &names::TURNS_OF_SESSION),
        }
    }
}

fn of(operation: Operation) -> KeyValue {
    KeyValue::new(names::OPERATION, operation.name())
}
