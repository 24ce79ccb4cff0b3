//! A load, and what came of it.

use std::time::{Duration, Instant};

use e2e::failed::{Failed, Result};

use crate::usage::{Meter, Used};

/// What is asked for, and how often.
#[derive(Debug, Clone)]
pub struct Load {
    /// When requests are sent.
    pub pace: Pace,
    /// Bytes of a request's body.
    pub request_bytes: usize,
    /// Bytes of an answer's body.
    pub answer_bytes: usize,
    /// How long the model takes, in milliseconds.
    pub delay_ms: u64,
    /// Not measured, at the begin.
    pub warm_up: Duration,
    /// What is measured.
    pub window: Duration,
    /// Whose cost is measured meanwhile.
    pub meter: Meter,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Always so many are unanswered.
    Closed(usize),
    /// So many a second, whatever is unanswered; a latency counts from when the request should have been sent.
    Open(u32),
    /// So many at once, then none.
    Burst(usize),
}

/// What was seen in the window.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Answers that came in the window.
    pub answers: u64,
    /// Requests sent in the whole run, which is how many the model must have answered.
    pub sent: u64,
    /// The window, as it came out.
    pub elapsed: Duration,
    /// Of the window's answers, in nanoseconds, in the order they came.
    pub latencies: Vec<u64>,
    /// What everybody used in the window.
    pub used: Used,
    /// From the first request of a burst to its last receipt.
    pub all_acked: Option<Duration>,
}

/// Keeps the window.
#[derive(Debug)]
pub struct Recorder {
    load: Load,
    began: Instant,
    opened: Option<(Instant, Used)>,
    seen: Option<Seen>,
    so_far: Seen,
}

impl Recorder {
    /// A run that begins now.
    pub fn begin(load: &Load) -> Self {
        Self {
            load: load.clone(),
            began: Instant::now(),
            opened: None,
            seen: None,
            so_far: Seen::default(),
        }
    }

    /// Whether requests are still to be sent.
    pub fn is_open(&self) -> bool {
        self.seen.is_none()
    }

    /// When the run should be over, whatever happens.
    pub fn deadline(&self) -> Instant {
        self.began + self.load.warm_up + self.load.window + PATIENCE
    }

    /// Looks at the clock: opens or closes the window.
    ///
    /// # Errors
    /// A process that is measured has ended.
    pub fn at(&mut self, now: Instant) -> Result<()> {
        if self.seen.is_some() {
            return Ok(());
        }
        match &self.opened {
            None if now >= self.began + self.load.warm_up => {
                self.load.meter.forget_peaks();
                self.opened = Some((now, self.load.meter.read()?));
                self.so_far = Seen::default();
            }
            Some((opened, before)) if now >= *opened + self.load.window => {
                let mut seen = std::mem::take(&mut self.so_far);
                seen.elapsed = now - *opened;
                seen.used = self.load.meter.read()?.since(before);
                self.seen = Some(seen);
            }
            None | Some(_) => {}
        }
        Ok(())
    }

    /// An answer came, asked for at `asked`.
    pub fn answered(&mut self, asked: Instant, now: Instant) {
        if self.seen.is_none() {
            self.so_far.answers += 1;
            let latency = now.saturating_duration_since(asked).as_nanos();
            self.so_far.latencies.push(u64::try_from(latency).unwrap_or(u64::MAX));
        }
    }

    /// Ends a burst: everything is the window.
    ///
    /// # Errors
    /// A process that is measured has ended.
    pub fn end_burst(&mut self, now: Instant, all_acked: Option<Duration>) -> Result<()> {
        if let Some((opened, before)) = &self.opened {
            let mut seen = std::mem::take(&mut self.so_far);
            seen.elapsed = now - *opened;
            seen.used = self.load.meter.read()?.since(before);
            seen.all_acked = all_acked;
            self.seen = Some(seen);
        }
        Ok(())
    }

    /// The window.
    ///
    /// # Errors
    /// It never closed, or had no answer.
    pub fn end(self, sent: u64) -> Result<Seen> {
        let seen = self.seen.ok_or_else(|| Failed::new("the window never closed"))?;
        if seen.answers == 0 {
            return Err(Failed::new("no answer came in the window"));
        }
        Ok(Seen { sent, ..seen })
    }
}

/// How long the last answers may take after the window.
const PATIENCE: Duration = Duration::from_secs(40);
