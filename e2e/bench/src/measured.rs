//! What was measured: one [`Measure`] per scenario, system and repetition.

use serde::{Deserialize, Serialize};

use crate::figures::{Figure, percentile};
use crate::load::Seen;
use crate::made::Made;
use crate::systems::System;

/// One run's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measure {
    /// The scenario's id.
    pub scenario: String,
    /// The system's id.
    pub system: String,
    /// Which turn it was, counted from 0.
    pub repetition: u32,
    /// Which one within the repetition, where there are several.
    #[serde(default)]
    pub round: u32,
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
    pub fn of(scenario: &str, system: &str, (repetition, round): (u32, u32), mut seen: Seen) -> Self {
        seen.latencies.sort_unstable();
        let micros = |share| percentile(&seen.latencies, share) as f64 / 1e3;
        let seconds = seen.elapsed.as_secs_f64();
        Self {
            scenario: scenario.to_owned(),
            system: system.to_owned(),
            repetition,
            round,
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
    /// On what.
    #[serde(default)]
    pub made: Made,
    /// Under load.
    pub measures: Vec<Measure>,
    /// Besides.
    pub standing: Standing,
}

/// Picks a figure of a [`Measure`].
pub type Of = fn(&Measure) -> f64;

/// A load, by its id, and who bore it.
pub type At<'a> = (&'a str, System);

impl Results {
    /// How often everything was measured.
    pub fn repetitions(&self) -> u32 {
        let last = self.measures.iter().map(|measure| measure.repetition).max();
        last.map_or(0, |last| last + 1)
    }

    /// A figure over the repetitions; nothing where it was not measured.
    pub fn figure(&self, at: At<'_>, of: Of) -> Option<Figure> {
        Figure::of(self.at(at).map(of).collect())
    }

    /// Two figures against each other, each pair from one repetition and round: what the machine did meanwhile falls on both.
    pub fn compared(&self, of: Of, this: At<'_>, other: At<'_>, with: fn(f64, f64) -> f64) -> Option<Figure> {
        let pair = |measure: &Measure| {
            let turn = |measure: &Measure| (measure.repetition, measure.round);
            let other = self.at(other).find(|other| turn(other) == turn(measure))?;
            Some(with(of(measure), of(other)))
        };
        Figure::of(
            self.at(this)
                .filter_map(pair)
                .filter(|value| value.is_finite())
                .collect(),
        )
    }

    fn at<'a>(&'a self, (scenario, system): At<'a>) -> impl Iterator<Item = &'a Measure> {
        let here = move |measure: &&Measure| measure.scenario == scenario && measure.system == system.id();
        self.measures.iter().filter(here)
    }
}

impl Standing {
    /// Of one of the lists above, what `name` has there.
    pub fn figure(list: &[(String, f64)], name: &str) -> Option<Figure> {
        Figure::of(values(list, name).collect())
    }

    /// Of one of the lists above, what the module has beyond the same Envoy without it, window by window.
    pub fn of_the_module_alone(list: &[(String, f64)]) -> Option<Figure> {
        let pairs = values(list, System::Module.id()).zip(values(list, ENVOY_ALONE));
        Figure::of(pairs.map(|(module, envoy)| module - envoy).collect())
    }
}

fn values<'a>(list: &'a [(String, f64)], name: &'a str) -> impl Iterator<Item = f64> + 'a {
    list.iter()
        .filter(move |(other, _)| other == name)
        .map(|(_, value)| *value)
}

/// An Envoy without the module, idle.
pub const ENVOY_ALONE: &str = "envoy_alone";

const MIB: f64 = 1024.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_made_within_each_repetition() {
        // the machine was twice as fast the second time, for both
        let measures = vec![
            measure("module", 0, 100.0),
            measure("reference", 0, 10.0),
            measure("module", 1, 200.0),
            measure("reference", 1, 20.0),
            measure("module", 2, 900.0),
        ];
        let results = Results {
            measures,
            ..Results::default()
        };
        let (module, reference) = (("closed_64", System::Module), ("closed_64", System::Reference));
        let ratio = results
            .compared(|m| m.throughput, module, reference, |a, b| a / b)
            .unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max, ratio.count), (10.0, 10.0, 10.0, 2));
        assert_eq!(results.figure(module, |m| m.throughput).unwrap().median, 200.0);
        assert_eq!(results.figure(("closed_64", System::Bare), |m| m.throughput), None);
        assert_eq!(results.repetitions(), 3);
    }

    #[test]
    fn rounds_are_compared_one_by_one_and_are_no_repetitions() {
        let in_round = |system, round, throughput| Measure {
            round,
            ..measure(system, 0, throughput)
        };
        let measures = vec![
            in_round("tapped", 0, 90.0),
            in_round("untapped", 0, 100.0),
            in_round("untapped", 1, 200.0),
            in_round("tapped", 1, 180.0),
        ];
        let results = Results {
            measures,
            ..Results::default()
        };
        let (on, off) = (("closed_64", System::Tapped), ("closed_64", System::Untapped));
        let share = results.compared(|m| m.throughput, on, off, |a, b| a / b).unwrap();
        assert_eq!((share.min, share.max, share.count), (0.9, 0.9, 2));
        assert_eq!(results.repetitions(), 1);
    }

    #[test]
    fn the_modules_own_share_is_what_envoy_alone_does_not_have() {
        let list = [
            ("module", 80.0),
            (ENVOY_ALONE, 70.0),
            ("module", 84.0),
            (ENVOY_ALONE, 70.0),
        ];
        let list: Vec<_> = list.map(|(name, value)| (name.to_owned(), value)).to_vec();
        assert_eq!(Standing::of_the_module_alone(&list).unwrap().median, 12.0);
        assert_eq!(Standing::of_the_module_alone(&list[..1]), None);
    }

    fn measure(system: &str, repetition: u32, throughput: f64) -> Measure {
        Measure {
            repetition,
            throughput,
            ..Measure::of("closed_64", system, (0, 0), Seen::default())
        }
    }
}
