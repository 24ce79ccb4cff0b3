//! The essence, between the marks of the README; the plot and everything else beside the bench.

use std::path::Path;

use e2e::failed::{Failed, Result};

use super::{COMPARED, how, tables, targets, units};
use crate::measured::Results;
use crate::systems::System;

/// Replaces what is between the marks of `file`; writes the report and the plot where `file` links to.
///
/// # Errors
/// There are no marks, or what was measured once only.
pub fn publish(results: &Results, file: &Path, report: &str, picture: &str) -> Result<()> {
    if results.repetitions() < 2 {
        return Err(Failed::new("what was measured once only is not published"));
    }
    let text = replaced(&std::fs::read_to_string(file)?, &essence(results))?;
    let beside = file.parent().unwrap_or_else(|| Path::new(""));
    std::fs::write(beside.join(REPORT), report)?;
    std::fs::write(beside.join(PLOT), picture)?;
    std::fs::write(file, text)?;
    Ok(())
}

fn replaced(text: &str, essence: &str) -> Result<String> {
    let apart = |text: &str, mark: &str| match text.split(mark).collect::<Vec<_>>()[..] {
        [before, after] => Ok((before.to_owned(), after.to_owned())),
        _ => Err(Failed::new(format!("{mark} is to be there once"))),
    };
    let (before, rest) = apart(text, BEGIN)?;
    let (_, after) = apart(&rest, END)?;
    Ok(format!("{before}{BEGIN}\n{essence}\n{END}{after}"))
}

fn essence(results: &Results) -> String {
    let mut text = format!("![Throughput and CPU per request of each client, on a logarithmic scale]({PLOT})\n\n");
    for (title, body) in [
        (
            "Requests a second",
            tables::matrix(results, &COMPARED, tables::throughput),
        ),
        (
            "Latency, p50 / p99 / p99.9 (medians)",
            tables::matrix(results, &COMPARED, tables::latency),
        ),
        (
            "CPU time per request, most resident memory (medians)",
            tables::matrix(results, &COMPARED, tables::cost),
        ),
        ("Ratios", tables::ratios(results, &COMPARED)),
        ("Start and idle", tables::standing(&results.standing)),
        ("Targets", targets::targets(results)),
    ] {
        if !body.is_empty() {
            text += &format!("**{title}**\n\n{body}");
        }
    }
    text += &format!(
        "{}\n\n{} [Everything in tables]({REPORT}).",
        limits(results),
        how(results)
    );
    text.replace("\n\n\n\n", "\n\n")
}

/// What is in no table here.
fn limits(results: &Results) -> String {
    let mut text = Vec::new();
    let other = |system: System| {
        let figure = results.figure(("closed_64", system), |m| m.throughput)?;
        Some(format!("{}: {}", system.title(), units::count(figure.median)))
    };
    let others: Vec<String> = [System::Bare, System::Answerer, System::Model]
        .into_iter()
        .filter_map(other)
        .collect();
    if !others.is_empty() {
        text.push(format!(
            "The other limits, requests a second at 64 in flight: {}.",
            others.join("; ")
        ));
    }
    let busy = (
        tables::highest(results, |m| m.load_busy),
        tables::highest(results, |m| m.model_busy),
    );
    if let (Some(load), Some(model)) = busy {
        let (load, model) = (units::percent(load), units::percent(model));
        text.push(format!(
            "While the module was measured, the load generator used at most {load} of a core, the model {model}."
        ));
    }
    text.join(" ")
}

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const REPORT: &str = "e2e/bench/results.md";
const PLOT: &str = "e2e/bench/results.svg";

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Seen;
    use crate::measured::Measure;

    #[test]
    fn what_is_between_the_marks_is_replaced_and_nothing_else() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(
            replaced(&text, "new").unwrap(),
            format!("before\n{BEGIN}\nnew\n{END}\nafter\n")
        );
        for wrong in [
            String::new(),
            format!("{END}{BEGIN}"),
            format!("{text}{text}"),
            BEGIN.to_owned(),
        ] {
            assert!(replaced(&wrong, "new").is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_readme_gets_tables_and_a_plot_and_one_repetition_is_refused() {
        let scratch = e2e::world::Scratch::new().unwrap();
        std::fs::create_dir_all(scratch.path().join("e2e/bench")).unwrap();
        let readme = scratch.write("README.md", format!("{BEGIN}\nsoon\n{END}\n")).unwrap();
        assert!(publish(&results(1), &readme, "report", "<svg/>").is_err());
        assert!(std::fs::read_to_string(&readme).unwrap().contains("soon"));
        publish(&results(3), &readme, "report", "<svg/>").unwrap();
        let text = std::fs::read_to_string(&readme).unwrap();
        assert!(
            text.contains("| 1 KiB, 64 in flight | 200 [180–220] | 10,000 [9,000–11,000] |"),
            "{text}"
        );
        assert!(
            text.contains(PLOT) && text.contains(REPORT) && !text.contains("soon"),
            "{text}"
        );
        assert_eq!(std::fs::read_to_string(scratch.path().join(PLOT)).unwrap(), "<svg/>");
    }

    /// The module does fifty times what the reference does.
    pub fn results(repetitions: u32) -> Results {
        let mut results = Results::default();
        let seen = Seen {
            answers: 1,
            elapsed: Duration::from_secs(1),
            ..Seen::default()
        };
        for repetition in 0..repetitions {
            let speed = [0.9, 1.1, 1.0][repetition as usize];
            for (system, throughput) in [(System::Reference, 200.0), (System::Module, 10_000.0)] {
                results.measures.push(Measure {
                    throughput: throughput * speed,
                    cpu: 1e3 / throughput,
                    p50: 64e6 / throughput,
                    ..Measure::of("closed_64", system.id(), (repetition, 0), seen.clone())
                });
            }
        }
        results
    }
}
