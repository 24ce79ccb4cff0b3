//! What was measured: one [`Measure`] per scenario, system and repetition.

use serde::{Deserialize, Serialize};

use crate::figures::percentile;
use crate::load::Seen;

/// One run's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measure {
    /// The scenario's id.
    pub scenario: String,
    /// The system's id.
    pub system: String,
    /// Which turn it was, counted from 0.
    pub repetition: u32,
    /// Answers a second.
    pub throughput: f64,
    /// Microseconds.
    pub p50: f64,
    /// Microseconds.
    pub p99: f64,
    /// Microseconds.
    pub p999: f64,
    /// Milliseconds of CPU time per answer, of the client's whole process tree.
    pub cpu: f64,
    /// Share of one core that the load generator used.
    pub load_busy: f64,
    /// Share of one core that the model used.
    pub model_busy: f64,
    /// MiB of resident memory at the most.
    pub peak: f64,
    /// Seconds until a burst was acknowledged.
    pub all_acked: Option<f64>,
}

impl Measure {
    /// Of what was seen.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn of(scenario: &str, system: &str, repetition: u32, mut seen: Seen) -> Self {
        seen.latencies.sort_unstable();
        let micros = |share| percentile(&seen.latencies, share) as f64 / 1e3;
        let seconds = seen.elapsed.as_secs_f64();
        Self {
            scenario: scenario.to_owned(),
            system: system.to_owned(),
            repetition,
            throughput: seen.answers as f64 / seconds,
            p50: micros(0.5),
            p99: micros(0.99),
            p999: micros(0.999),
            cpu: seen.used.client.as_secs_f64() * 1e3 / seen.answers as f64,
            load_busy: seen.used.load.as_secs_f64() / seconds,
            model_busy: seen.used.model.as_secs_f64() / seconds,
            peak: seen.used.peak as f64 / MIB,
            all_acked: seen.all_acked.map(|time| time.as_secs_f64()),
        }
    }
}

/// What does not belong to a load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Seconds from the start of the process to its first answer, by system.
    pub first_answer: Vec<(String, f64)>,
    /// Share of one core while idle, in per cent, by system.
    pub idle_cpu: Vec<(String, f64)>,
    /// MiB of resident memory while idle, by system.
    pub idle_memory: Vec<(String, f64)>,
}

/// Everything of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// Under load.
    pub measures: Vec<Measure>,
    /// Besides.
    pub standing: Standing,
}

const MIB: f64 = 1024.0 * 1024.0;
