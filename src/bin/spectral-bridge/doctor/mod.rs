//! `doctor`: why does it not connect, and what is to be done, without changing anything.
//!
//! Driven by `main`. Reading order: `args`, `report` (what a check is and what becomes of it), `plan` (what was asked
//! for), then the checks: `relay` with `greeting`, `running` and `advice`, `envoy` with `elf` and `programs`, `validate`,
//! `adapter` with `http`, `collector`. Connections are made by the module's own code, so that what is found here is what
//! the module would find. Deliberately absent: repairs, and any request through Envoy, which would need a running one.

mod adapter;
mod advice;
mod args;
mod collector;
mod elf;
mod envoy;
mod given;
mod greeting;
mod hidden;
mod http;
mod plan;
mod programs;
mod relay;
mod report;
mod running;
mod validate;

use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use args::{DoctorArgs, HELP};

use args::Group;
use envoy::Places;
use plan::Plan;
use report::{Finding, Id, Report};

use crate::Refusal;

/// Makes every check and prints what it found.
///
/// # Errors
/// Nothing could be checked at all.
pub fn run(options: &DoctorArgs) -> Result<ExitCode, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let report = runtime.block_on(examine(options));
    // a resolver that hangs is not waited for
    runtime.shutdown_background();
    Ok(report.finish())
}

async fn examine(options: &DoctorArgs) -> Report {
    let mut report = Report::new(options.json);
    let plan = plan::check(options, &mut report);
    relays(&mut report, options, plan.as_ref()).await;
    let places = Places::look(options.envoy.envoy.as_deref());
    match options.left_out(Group::Envoy) {
        Some(why) => leave_out(&mut report, &[Id::Envoy, Id::Module, Id::Glibc], why),
        None => envoy::check(&mut report, &places).await,
    }
    let began = Instant::now();
    let finding = config(&report, options, plan.as_ref(), &places).await;
    report.add(Id::Config, None, began.elapsed(), finding);
    let began = Instant::now();
    let finding = model(&report, options, plan.as_ref()).await;
    report.add(Id::Adapter, None, began.elapsed(), finding);
    let began = Instant::now();
    let finding = match options.left_out(Group::Collector) {
        Some(why) => Finding::skipped(why),
        None => collector::check().await,
    };
    report.add(Id::Collector, None, began.elapsed(), finding);
    report
}

async fn relays(report: &mut Report, options: &DoctorArgs, plan: Option<&Plan>) {
    let after_settings = Finding::after(Id::Settings).detail;
    let why = match (options.left_out(Group::Relay), plan) {
        (Some(why), _) => why,
        (None, None) => &after_settings,
        (None, Some(plan)) if plan.config.relays.is_empty() => "the configuration has no relay",
        (None, Some(plan)) => {
            for one in &plan.config.relays {
                relay::check(report, &plan.config, one, options.connect).await;
            }
            return;
        }
    };
    leave_out(report, &relay::STEPS, why);
}

async fn config(report: &Report, options: &DoctorArgs, plan: Option<&Plan>, places: &Places) -> Finding {
    if let Some(why) = options.left_out(Group::Config) {
        return Finding::skipped(why);
    }
    let Some(plan) = plan else {
        return Finding::after(Id::Settings);
    };
    if let Some(failed) = report.failed_of(&[Id::Envoy, Id::Module, Id::Glibc]) {
        return Finding::after(failed);
    }
    match (&places.envoy, &places.lib_dir) {
        (Ok(envoy), Ok(lib_dir)) => validate::check(&plan.envoy_config, envoy, lib_dir).await,
        (Err(missing), _) | (_, Err(missing)) => Finding::skipped(missing.clone()),
    }
}

async fn model(report: &Report, options: &DoctorArgs, plan: Option<&Plan>) -> Finding {
    if let Some(why) = options.left_out(Group::Adapter) {
        return Finding::skipped(why);
    }
    let Some(plan) = plan else {
        return Finding::after(Id::Settings);
    };
    if let Some(failed) = report.failed_of(&[Id::Secrets]) {
        return Finding::after(failed);
    }
    let Some(target) = &plan.target else {
        return Finding::skipped("the Envoy configuration knows where the model is; --target URL tells it here");
    };
    let (roots, forward) = (plan.target_roots.as_deref(), &plan.config.forward);
    adapter::check(target, roots, forward, options.model.as_deref()).await
}

fn leave_out(report: &mut Report, ids: &[Id], why: &str) {
    for id in ids {
        report.add(*id, None, Duration::ZERO, Finding::skipped(why));
    }
}
