//! What the module is to reach, and whether it does. Judged by medians, never by one value.

use super::tables::table;
use super::units::{NONE, Unit, exact, mib, micros, of_a_core, percent, seconds, spread, times};
use crate::figures::Figure;
use crate::measured::{Of, Results, Standing};
use crate::systems::System;

/// One of them.
#[derive(Debug)]
struct Target {
    what: &'static str,
    bound: Bound,
    measured: Option<Figure>,
    unit: Unit,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// No target: the figure is to be known.
    Stated,
}

/// As a table.
pub fn targets(results: &Results) -> String {
    let all = [
        against_the_reference(results),
        against_the_limits(results),
        of_its_own(results),
        idle(results),
    ];
    let rows: Vec<Vec<String>> = all.iter().flatten().map(Target::row).collect();
    table(&["Target", "bound", "measured", ""], 2, &rows)
}

fn target(what: &'static str, bound: Bound, measured: Option<Figure>, unit: Unit) -> Target {
    Target {
        what,
        bound,
        measured,
        unit,
    }
}

impl Target {
    fn row(&self) -> Vec<String> {
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("at least {}", exact(least, self.unit)),
            Bound::AtMost(most) => format!("at most {}", exact(most, self.unit)),
            Bound::Stated => NONE.to_owned(),
        };
        vec![
            self.what.to_owned(),
            bound,
            spread(self.measured, self.unit),
            self.verdict().to_owned(),
        ]
    }

    fn verdict(&self) -> &'static str {
        let Some(figure) = self.measured else {
            return "not measured";
        };
        let met = match self.bound {
            Bound::AtLeast(least) => figure.median >= least,
            Bound::AtMost(most) => figure.median <= most,
            Bound::Stated => return "stated",
        };
        match (figure.count, met) {
            (0 | 1, _) => "measured once only",
            (_, true) => "met",
            (_, false) => "**not met**",
        }
    }
}

fn against_the_reference(results: &Results) -> Vec<Target> {
    let more = |of, id| results.compared(of, (id, System::Module), (id, System::Reference), |a, b| a / b);
    let less = |of, id| results.compared(of, (id, System::Module), (id, System::Reference), |a, b| b / a);
    let target = |what, least, measured| Target {
        what,
        bound: Bound::AtLeast(least),
        measured,
        unit: times,
    };
    let throughput: Of = |m| m.throughput;
    vec![
        target(
            "throughput of the reference, 64 in flight",
            50.0,
            more(throughput, "closed_64"),
        ),
        target(
            "throughput of the reference, 256 in flight",
            100.0,
            more(throughput, "closed_256"),
        ),
        target(
            "the reference's CPU per request over the module's with Envoy, 64 in flight",
            40.0,
            less(|m| m.cpu, "closed_64"),
        ),
        target(
            "the reference's p50 over the module's, 1 in flight",
            10.0,
            less(|m| m.p50, "closed_1"),
        ),
    ]
}

fn against_the_limits(results: &Results) -> Vec<Target> {
    let share = |what, id, of_whom, least| Target {
        what,
        bound: Bound::AtLeast(least),
        measured: results.compared(|m| m.throughput, (id, System::Module), (id, of_whom), |a, b| a / b),
        unit: percent,
    };
    let added = |what, id, of, most| Target {
        what,
        bound: Bound::AtMost(most),
        measured: results.compared(of, (id, System::Module), (id, System::PlainEnvoy), |a, b| a - b),
        unit: micros,
    };
    let (bare, plain) = (System::BareEnvoy, System::PlainEnvoy);
    vec![
        share(
            "throughput of the bare forwarder through the same Envoy, 64 in flight",
            "closed_64",
            bare,
            0.85,
        ),
        share("the same with 4 MiB answers, 8 in flight", "answers_4m", bare, 0.9),
        share(
            "throughput of plain Envoy, 256 in flight, model takes 100 ms",
            "slow_256",
            plain,
            0.98,
        ),
        added("p50 above plain Envoy, 1 in flight", "closed_1", |m| m.p50, 60.0),
        added("p50 above plain Envoy, 200 requests/s", "open_200", |m| m.p50, 120.0),
        added("p99 above plain Envoy, 200 requests/s", "open_200", |m| m.p99, 1000.0),
        share(
            "throughput of plain Envoy, 64 in flight (stretch)",
            "closed_64",
            plain,
            1.0,
        ),
    ]
}

fn of_its_own(results: &Results) -> Vec<Target> {
    let burst = ("burst_10000", System::Module);
    let acked = results.figure(burst, |m| m.all_acked.unwrap_or(f64::INFINITY));
    let (many, few) = (("closed_10000", System::Module), ("closed_100", System::Module));
    let flat = results.compared(|m| m.cpu, many, few, |a, b| a / b);
    vec![
        target(
            "10,000 requests at once, all acknowledged",
            Bound::AtMost(1.0),
            acked,
            seconds,
        ),
        target(
            "CPU per request, 10,000 outstanding against 100 (flat: a tenth more)",
            Bound::AtMost(1.1),
            flat,
            times,
        ),
        target(
            "peak memory with 4 MiB answers, above idle (with what earlier loads left), over the 8 × 4 MiB in flight",
            Bound::Stated,
            memory_factor(results),
            times,
        ),
        target(
            "throughput of plain Envoy with the filter `usage` (no OTLP) over the same without it, 64 in flight",
            Bound::AtLeast(0.97),
            tapped(results, "tap_1k"),
            percent,
        ),
        target(
            "the same with 256 KiB answers, 16 in flight",
            Bound::Stated,
            tapped(results, "tap_256k"),
            percent,
        ),
    ]
}

fn tapped(results: &Results, id: &str) -> Option<Figure> {
    let (on, off) = ((id, System::Tapped), (id, System::Untapped));
    results.compared(|m| m.throughput, on, off, |a, b| a / b)
}

fn idle(results: &Results) -> Vec<Target> {
    let above_envoy = Standing::of_the_module_alone;
    let standing = &results.standing;
    vec![
        target(
            "CPU, idle, above Envoy's",
            Bound::AtMost(0.1),
            above_envoy(&standing.idle_cpu),
            of_a_core,
        ),
        target(
            "memory, idle, above Envoy's",
            Bound::AtMost(12.0),
            above_envoy(&standing.idle_memory),
            mib,
        ),
    ]
}

/// The whole process counts, with what earlier loads have left in Envoy's allocator: what is in flight takes less.
fn memory_factor(results: &Results) -> Option<Figure> {
    let peak = results.figure(("answers_4m", System::Module), |m| m.peak)?;
    let idle = Standing::figure(&results.standing.idle_memory, System::Module.id())?.median;
    let factor = |peak: f64| (peak - idle) / IN_FLIGHT;
    Some(Figure {
        min: factor(peak.min),
        median: factor(peak.median),
        max: factor(peak.max),
        count: peak.count,
    })
}

/// Of `answers_4m`, in MiB.
const IN_FLIGHT: f64 = 8.0 * 4.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_judged_and_a_single_value_is_not() {
        let row = |bound, values: &[f64]| {
            let measured = Figure::of(values.to_vec());
            let target = Target {
                what: "speed",
                bound,
                measured,
                unit: times,
            };
            target.row().split_off(1)
        };
        assert_eq!(
            row(Bound::AtLeast(50.0), &[49.0, 51.0, 52.0]),
            ["at least 50×", "51.0 [49.0–52.0]×", "met"]
        );
        assert_eq!(
            row(Bound::AtLeast(50.0), &[49.0, 48.0, 52.0]),
            ["at least 50×", "49.0 [48.0–52.0]×", "**not met**"]
        );
        assert_eq!(row(Bound::AtMost(1.1), &[1.0, 1.1])[2], "met");
        assert_eq!(row(Bound::AtMost(1.0), &[1.1, 1.2])[2], "**not met**");
        assert_eq!(
            row(Bound::AtLeast(50.0), &[51.0]),
            ["at least 50×", "51.0× (n=1)", "measured once only"]
        );
        assert_eq!(row(Bound::AtLeast(50.0), &[]), ["at least 50×", "–", "not measured"]);
        assert_eq!(row(Bound::Stated, &[4.0, 4.0]), ["–", "4.00 [4.00–4.00]×", "stated"]);
    }
}
