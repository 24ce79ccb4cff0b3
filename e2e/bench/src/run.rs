//! The order of things: every scenario on every system in turn, then all of it again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use e2e::failed::{Failed, Result};

use crate::made::Made;
use crate::measured::{ENVOY_ALONE, Measure, Results};
use crate::report;
use crate::scenario::{self, Scenario};
use crate::systems::{System, World};
use crate::usage::Meter;

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    repetitions: u32,
    /// Length of a window, in seconds; some scenarios take twice that.
    #[arg(long, default_value_t = 2.5)]
    seconds: f64,
    /// Scenarios (all by default), such as closed_64,open_200.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Systems (all by default), such as module,bare_envoy.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// Where results.json, report.md and the plots go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Writes the report into this file, between its marks, and the plots beside results.
    #[arg(long)]
    publish: Option<PathBuf>,
    /// Makes the report of an earlier run again, from its results.json.
    #[arg(long)]
    from: Option<PathBuf>,
}

/// Measures and reports.
///
/// # Errors
/// A run was void, or something did not start.
pub async fn run(options: Options) -> Result<()> {
    let results = match &options.from {
        Some(file) => serde_json::from_str(&std::fs::read_to_string(file)?)?,
        None => measure(&options).await?,
    };
    std::fs::create_dir_all(&options.out)?;
    std::fs::write(
        options.out.join("results.json"),
        serde_json::to_string_pretty(&results)?,
    )?;
    report::write(&results, &options.out, options.publish.as_deref())
}

async fn measure(options: &Options) -> Result<Results> {
    let wants = |list: &[String], id: &str| list.is_empty() || list.iter().any(|wanted| wanted == id);
    let window = Duration::from_secs_f64(options.seconds);
    let scenarios: Vec<Scenario> = scenario::all(window)
        .into_iter()
        .filter(|scenario| wants(&options.scenarios, scenario.id))
        .collect();
    let world = World::start(wants(&options.systems, System::Reference.id())).await?;
    let mut results = Results {
        made: Made::here(options.seconds),
        ..Results::default()
    };
    if wants(&options.scenarios, "standing") {
        idle(&world, options, &mut results).await?;
    }
    for repetition in 0..options.repetitions {
        for scenario in &scenarios {
            for round in 0..scenario.rounds {
                for system in turns(scenario.systems, round) {
                    if !wants(&options.systems, system.id()) {
                        continue;
                    }
                    let seen = world.run(system, &scenario.load).await.map_err(|error| {
                        let what = format!("{} on {} is void", scenario.id, system.id());
                        Failed::new(format!("{:?}\n{}", error.during(&what), world.log()))
                    })?;
                    let measure = Measure::of(scenario.id, system.id(), (repetition, round), seen);
                    tell(&measure);
                    results.measures.push(measure);
                }
            }
        }
        if wants(&options.scenarios, "standing") {
            first_answers(&world, options, repetition, &mut results).await?;
        }
    }
    Ok(results)
}

/// Who is first in one round is last in the next: what comes first may have it easier.
fn turns(systems: &[System], round: u32) -> Vec<System> {
    let mut systems = systems.to_vec();
    if round % 2 == 1 {
        systems.reverse();
    }
    systems
}

fn tell(measure: &Measure) {
    eprintln!(
        "{:>2} {:14} {:11} {:>9.0}/s  p50 {:>9.0} us  p99 {:>9.0} us  {:>8.4} ms CPU  load {:>3.0} %  model {:>3.0} %  {:>6.0} MiB{}",
        measure.repetition,
        measure.scenario,
        measure.system,
        measure.throughput,
        measure.p50,
        measure.p99,
        measure.cpu,
        measure.load_busy * 100.0,
        measure.model_busy * 100.0,
        measure.peak,
        measure
            .all_acked
            .map(|seconds| format!("  acked in {seconds:.3} s"))
            .unwrap_or_default(),
    );
}

/// Before any load: what everybody costs who has nothing to do.
async fn idle(world: &World, options: &Options, results: &mut Results) -> Result<()> {
    let alone = world.envoy_alone().await?;
    let meters = [
        (System::Reference.id(), world.meter(System::Reference)),
        (System::Module.id(), world.meter(System::Module)),
        (
            ENVOY_ALONE,
            Meter {
                client: alone.id(),
                model: Vec::new(),
            },
        ),
    ];
    let meters: Vec<_> = meters
        .into_iter()
        .filter(|(_, meter)| !meter.client.is_empty())
        .collect();
    // what was needed to start is not idle
    tokio::time::sleep(SETTLE).await;
    for _ in 0..options.repetitions {
        idle_once(&meters, options, results).await?;
    }
    alone.end().await;
    Ok(())
}

async fn idle_once(meters: &[(&str, Meter)], options: &Options, results: &mut Results) -> Result<()> {
    let mut before = Vec::new();
    for (_, meter) in meters {
        before.push(meter.read()?);
    }
    let window = Duration::from_secs_f64(options.seconds * 4.0);
    tokio::time::sleep(window).await;
    for ((name, meter), before) in meters.iter().zip(&before) {
        let used = meter.read()?.since(before).client.as_secs_f64() / window.as_secs_f64() * 100.0;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let resident = meter.resident()? as f64 / (1024.0 * 1024.0);
        eprintln!("idle {name:11} {used:.3} % of a core  {resident:.1} MiB");
        results.standing.idle_cpu.push(((*name).to_owned(), used));
        results.standing.idle_memory.push(((*name).to_owned(), resident));
    }
    Ok(())
}

async fn first_answers(world: &World, options: &Options, repetition: u32, results: &mut Results) -> Result<()> {
    let load = scenario::one();
    for system in [System::Reference, System::Module, System::Bare] {
        if !options.systems.is_empty() && !options.systems.iter().any(|id| id == system.id()) {
            continue;
        }
        let (time, started, _peer) = world.first_answer(system, &load, repetition).await?;
        started.end().await;
        eprintln!(
            "{repetition:>2} first answer   {:11} {:.3} s",
            system.id(),
            time.as_secs_f64()
        );
        results
            .standing
            .first_answer
            .push((system.id().to_owned(), time.as_secs_f64()));
    }
    Ok(())
}

const SETTLE: Duration = Duration::from_secs(3);
