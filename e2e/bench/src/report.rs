//! Tells what was measured: everything in `report.md`, the essence in the README.
//!
//! Nothing here knows a result: without a figure there is no row.

mod publish;
mod tables;
mod targets;
mod units;

pub use tables::SMALL;
pub use units::count;

use std::path::Path;

use e2e::failed::Result;

use crate::made::Made;
use crate::measured::Results;
use crate::plot;

/// Writes `report.md` and the plot into `out`; publishes them where `publish` has its marks.
///
/// # Errors
/// A file cannot be written, has no marks, or there is nothing fit to be published.
pub fn write(results: &Results, out: &Path, publish: Option<&Path>) -> Result<()> {
    let (text, picture) = (full(results), plot::svg(results));
    std::fs::write(out.join("report.md"), &text)?;
    std::fs::write(out.join("results.svg"), &picture)?;
    eprintln!(
        "bench: {} and results.svg tell the results",
        out.join("report.md").display()
    );
    if let Some(file) = publish {
        publish::publish(results, file, &text, &picture)?;
        eprintln!("bench: {} has them, too", file.display());
    }
    Ok(())
}

/// Everything.
fn full(results: &Results) -> String {
    let mut text = format!(
        "# The module side by side with the reference client\n\n{}\n\n",
        how(results)
    );
    for (title, body) in [
        ("Targets", targets::targets(results)),
        ("So many in flight", tables::full(results, &SMALL)),
        (
            "A fixed rate, and a model that takes its time",
            tables::full(results, &["open_200", "slow_256"]),
        ),
        (
            "Large bodies",
            tables::full(results, &["answers_256k", "requests_256k", "answers_4m"]),
        ),
        ("Outstanding requests", tables::outstanding(results)),
        ("Usage read or not", tables::full(results, &["tap_1k", "tap_256k"])),
        ("Ratios, within each repetition", tables::ratios(results, &COMPARED)),
        ("Latency added, within each repetition", tables::added(results)),
        ("Start and idle", tables::standing(&results.standing)),
        (
            "Headroom of load generator and model",
            tables::headroom(results, &COMPARED),
        ),
    ] {
        if !body.is_empty() {
            text += &format!("## {title}\n\n{body}");
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// How the figures came about.
fn how(results: &Results) -> String {
    let repetitions = results.repetitions();
    let text = format!(
        "{} Each figure is the median [range] of {repetitions} repetitions{}; in each, the clients take turns on the same cores, with the \
         load generator and the model beside them. Ratios and differences are computed within each repetition. Requests come over \
         `ws://` on loopback, so TLS is in nobody's figures. The module runs on `envoy/sidecar.yaml`, whose access log is written, to \
         `/dev/null`; the bare forwarder goes through the same listener, plain Envoy is the same listener on TCP without a relay. The \
         reference runs without its adapter process, straight to the model, which favours it. CPU is that of the client's whole \
         process tree, Envoy included. Every answer is checked; a run with an error, a duplicate or a loss is void.",
        on_what(&results.made),
        if results.made.seconds > 0.0 {
            format!(", in windows of {} s and more", results.made.seconds)
        } else {
            String::new()
        }
    );
    text.trim_start().to_owned()
}

fn on_what(made: &Made) -> String {
    let mut parts = Vec::new();
    if made.cores > 0 {
        let s = if made.cores == 1 { "" } else { "s" };
        parts.push(format!("{} core{s} of {}", made.cores, made.cpu));
    }
    if !made.kernel.is_empty() {
        parts.push(made.kernel.clone());
    }
    if !made.envoy.is_empty() {
        parts.push(format!("Envoy {}", made.envoy));
    }
    if parts.is_empty() {
        return String::new();
    }
    format!("On {}.", parts.join(", "))
}

/// The loads on which everybody is compared.
const COMPARED: [&str; 9] = [
    "closed_1",
    "closed_16",
    "closed_64",
    "closed_256",
    "open_200",
    "slow_256",
    "answers_256k",
    "requests_256k",
    "answers_4m",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_filters_tells_what_it_has() {
        let nothing = full(&Results::default());
        assert!(
            nothing.contains("not measured |") && !nothing.contains("## So many"),
            "{nothing}"
        );
        let text = full(&publish::tests::results(2));
        assert!(
            text.contains("| 1 KiB, 64 in flight | **module in Envoy** | 10,000 [9,000–11,000] |"),
            "{text}"
        );
        assert!(
            text.contains("| 50.0 [50.0–50.0]× | met |") || text.contains("| met |"),
            "{text}"
        );
        assert!(!text.contains("## Large bodies"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
