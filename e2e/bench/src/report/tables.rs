//! Tables of what was measured, in Markdown. A row without figures is left out.

use std::time::Duration;

use super::units::{NONE, Unit, count, mib, micros, middle, millis, of_a_core, percent, seconds, spread, times};
use crate::load::Pace;
use crate::measured::{ENVOY_ALONE, Of, Results, Standing};
use crate::scenario::{self, Scenario};
use crate::systems::System;

/// The scenarios among `ids`, in their own order.
pub fn scenarios(ids: &[&str]) -> Vec<Scenario> {
    let all = scenario::all(Duration::ZERO);
    all.into_iter().filter(|scenario| ids.contains(&scenario.id)).collect()
}

/// As Markdown; the first `left` columns hold words. Nothing without rows.
pub fn table(head: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let marks = (0..head.len()).map(|column| if column < left { "---" } else { "---:" });
    let mut text = line(head.to_vec()) + &line(marks.collect());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text + "\n"
}

/// Everything of these loads: a row per load and system.
pub fn full(results: &Results, ids: &[&str]) -> String {
    let mut rows = Vec::new();
    for scenario in scenarios(ids) {
        for system in scenario.systems {
            let figure = |of: Of| results.figure((scenario.id, *system), of);
            if let Some(throughput) = figure(|m| m.throughput) {
                let used = |of: Of, unit: Unit| spread(figure(of).filter(|figure| figure.max > 0.0), unit);
                rows.push(vec![
                    scenario.title.to_owned(),
                    name(*system),
                    spread(Some(throughput), count),
                    spread(figure(|m| m.p50), micros),
                    spread(figure(|m| m.p99), micros),
                    spread(figure(|m| m.p999), micros),
                    used(|m| m.cpu, millis),
                    used(|m| m.peak, mib),
                ]);
            }
        }
    }
    let head = [
        "Load",
        "Client",
        "requests/s",
        "p50",
        "p99",
        "p99.9",
        "CPU per request",
        "peak memory",
    ];
    table(&head, 2, &rows)
}

/// A row per load, a column per system, and in each cell what `cell` says of the two.
pub fn matrix(results: &Results, ids: &[&str], cell: impl Fn(&Results, &str, System) -> String) -> String {
    let has = |id: &str, system| results.figure((id, system), |m| m.throughput).is_some();
    let columns = COMPACT.iter().filter(|system| ids.iter().any(|id| has(id, **system)));
    let columns: Vec<System> = columns.copied().collect();
    let mut rows = Vec::new();
    for scenario in scenarios(ids) {
        if columns.iter().any(|system| has(scenario.id, *system)) {
            let cells = columns.iter().map(|system| cell(results, scenario.id, *system));
            rows.push(std::iter::once(scenario.title.to_owned()).chain(cells).collect());
        }
    }
    let names: Vec<String> = columns.iter().map(|system| name(*system)).collect();
    let head: Vec<&str> = std::iter::once("").chain(names.iter().map(String::as_str)).collect();
    table(&head, 1, &rows)
}

/// The module against the others, computed within each repetition.
pub fn ratios(results: &Results, ids: &[&str]) -> String {
    let mut rows = Vec::new();
    for scenario in scenarios(ids) {
        let module = (scenario.id, System::Module);
        let over =
            |of: Of, system, with: fn(f64, f64) -> f64| results.compared(of, module, (scenario.id, system), with);
        // at a fixed rate everybody has the same throughput
        let open = matches!(scenario.load.pace, Pace::Open(_));
        let throughput = |system| over(|m| m.throughput, system, |a, b| a / b).filter(|_| !open);
        let row = [
            spread(throughput(System::Reference), times),
            spread(over(|m| m.cpu, System::Reference, |a, b| b / a), times),
            spread(over(|m| m.p50, System::Reference, |a, b| b / a), times),
            spread(throughput(System::BareEnvoy), percent),
            spread(throughput(System::PlainEnvoy), percent),
        ];
        if row.iter().any(|cell| cell != NONE) {
            rows.push(std::iter::once(scenario.title.to_owned()).chain(row).collect());
        }
    }
    let head = [
        "Module against",
        "reference: throughput, times as much",
        "reference: CPU per request, times less",
        "reference: p50, times shorter",
        "bare forwarder, same Envoy: throughput",
        "plain Envoy: throughput",
    ];
    table(&head, 1, &rows)
}

/// What a way adds to the latency of plain Envoy.
pub fn added(results: &Results) -> String {
    let mut rows = Vec::new();
    for scenario in scenarios(&["closed_1", "open_200"]) {
        for system in [System::Module, System::BareEnvoy, System::Reference] {
            let plain = (scenario.id, System::PlainEnvoy);
            let more = |of: Of| results.compared(of, (scenario.id, system), plain, |a, b| a - b);
            if let Some(p50) = more(|m| m.p50) {
                rows.push(vec![
                    scenario.title.to_owned(),
                    name(system),
                    spread(Some(p50), micros),
                    spread(more(|m| m.p99), micros),
                ]);
            }
        }
    }
    table(&["Added to plain Envoy", "Client", "p50", "p99"], 2, &rows)
}

/// What many outstanding requests cost each of them.
pub fn outstanding(results: &Results) -> String {
    let mut rows = Vec::new();
    for scenario in scenarios(&["closed_100", "closed_1000", "closed_10000", "burst_10000"]) {
        for system in scenario.systems {
            let figure = |of: Of| results.figure((scenario.id, *system), of);
            if let Some(throughput) = figure(|m| m.throughput) {
                rows.push(vec![
                    scenario.title.to_owned(),
                    name(*system),
                    spread(Some(throughput), count),
                    spread(figure(|m| m.cpu), millis),
                    spread(
                        figure(|m| m.all_acked.unwrap_or(f64::NAN)).filter(|acked| acked.median.is_finite()),
                        seconds,
                    ),
                ]);
            }
        }
    }
    let head = [
        "Load",
        "Client",
        "requests/s",
        "CPU per request",
        "all acknowledged after",
    ];
    table(&head, 2, &rows)
}

/// Start and idle.
pub fn standing(standing: &Standing) -> String {
    let mut rows = Vec::new();
    let own = "the module's own: what is above the same Envoy without it";
    for (system, title) in [
        (System::Reference.id(), System::Reference.title()),
        (System::Module.id(), "module in Envoy, the whole process"),
        (ENVOY_ALONE, "the same Envoy without the module"),
        (System::Bare.id(), System::Bare.title()),
    ] {
        let first = Standing::figure(&standing.first_answer, system);
        let cpu = Standing::figure(&standing.idle_cpu, system);
        let memory = Standing::figure(&standing.idle_memory, system);
        if first.or(cpu).or(memory).is_some() {
            let cells = [spread(first, seconds), spread(cpu, of_a_core), spread(memory, mib)];
            rows.push(std::iter::once(title.to_owned()).chain(cells).collect());
        }
    }
    if let Some(cpu) = Standing::of_the_module_alone(&standing.idle_cpu) {
        let memory = spread(Standing::of_the_module_alone(&standing.idle_memory), mib);
        let cpu = spread(Some(cpu), of_a_core);
        rows.push(vec![own.to_owned(), NONE.to_owned(), cpu, memory]);
    }
    table(
        &["", "first answer after the start", "CPU, idle", "memory, idle"],
        1,
        &rows,
    )
}

/// Whether load generator and model could have done more.
pub fn headroom(results: &Results, ids: &[&str]) -> String {
    let mut rows = Vec::new();
    for scenario in scenarios(ids) {
        let module = (scenario.id, System::Module);
        // where time is given by the load, the others have the same throughput
        let free = scenario.load.delay_ms == 0 && matches!(scenario.load.pace, Pace::Closed(_));
        let more = |system| {
            let ratio = results.compared(|m| m.throughput, (scenario.id, system), module, |a, b| a / b);
            spread(ratio.filter(|_| free), times)
        };
        let share = |of: Of| results.figure(module, of).map(|figure| percent(figure.max));
        if let (Some(load), Some(model)) = (share(|m| m.load_busy), share(|m| m.model_busy)) {
            let title = scenario.title.to_owned();
            rows.push(vec![title, load, model, more(System::Answerer), more(System::Model)]);
        }
    }
    let head = [
        "While the module is measured",
        "load generator: of a core, at most",
        "model: of a core, at most",
        "WebSocket alone, no HTTP: throughput of the module's",
        "model directly: throughput of the module's",
    ];
    table(&head, 1, &rows)
}

/// The highest `of` in any of the module's runs.
pub fn highest(results: &Results, of: Of) -> Option<f64> {
    let module = results
        .measures
        .iter()
        .filter(|measure| measure.system == System::Module.id());
    module.map(of).max_by(f64::total_cmp)
}

/// Median and range of the throughput.
pub fn throughput(results: &Results, id: &str, system: System) -> String {
    spread(results.figure((id, system), |m| m.throughput), count)
}

/// Latencies, by their medians.
pub fn latency(results: &Results, id: &str, system: System) -> String {
    let median = |of: Of| middle(results.figure((id, system), of), micros);
    format!("{} / {} / {}", median(|m| m.p50), median(|m| m.p99), median(|m| m.p999))
}

/// CPU and memory, by their medians.
pub fn cost(results: &Results, id: &str, system: System) -> String {
    let median = |of: Of, unit: Unit| middle(results.figure((id, system), of), unit);
    format!("{}, {}", median(|m| m.cpu, millis), median(|m| m.peak, mib))
}

/// As the tables call it.
pub fn name(system: System) -> String {
    if system == System::Module {
        format!("**{}**", system.title())
    } else {
        system.title().to_owned()
    }
}

/// 1 KiB, in a closed loop.
pub const SMALL: [&str; 4] = ["closed_1", "closed_16", "closed_64", "closed_256"];

const COMPACT: [System; 4] = [System::Reference, System::Module, System::BareEnvoy, System::PlainEnvoy];
