//! One empty batch of each signal to the collector, for `spectral-bridge doctor`: what an export would meet.
//!
//! The exporters are the module's own, so protocol, TLS, headers and time are those of real exports. Deliberately
//! absent: anything that a collector would keep.

use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanExporter;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::destination::Destination;
use super::environment::Environment;
use super::exporters;
use super::outlet::Outlet;
use super::settings::{Settings, Signal};
use crate::status::snapshot::ExportSnapshot;

/// What the environment asks for, and what became of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tried {
    /// Variables that cannot be used as they are, in words.
    pub mistakes: Vec<String>,
    /// By signal, those that are exported: how often a batch arrived (once or never), and why not.
    pub exports: Vec<(&'static str, ExportSnapshot)>,
}

/// Exports an empty batch of each signal that `environment` asks for, each within `limit`, until one does not arrive.
///
/// Call it on a runtime: connections are made there.
pub async fn collectors(environment: &Environment, limit: Duration) -> Tried {
    let mut mistakes = Vec::new();
    let asked = Settings::read(environment, &mut mistakes);
    let mut tried = Tried {
        mistakes: mistakes.iter().map(ToString::to_string).collect(),
        exports: Vec::new(),
    };
    let destinations = [
        (Signal::Metrics, asked.metrics.map(|metrics| metrics.to)),
        (Signal::Traces, asked.traces.map(|traces| traces.to)),
        (Signal::Logs, asked.logs.map(|logs| logs.to)),
    ];
    for (signal, to) in destinations {
        let Some(mut to) = to else { continue };
        to.timeout = to.timeout.min(limit);
        match export(signal, &to).await {
            Ok(snapshot) => {
                let arrived = snapshot.batches > 0;
                tried.exports.push((signal.name(), snapshot));
                if !arrived {
                    break;
                }
            }
            Err(error) => tried
                .mistakes
                .push(format!("{} cannot be exported: {error}", signal.name())),
        }
    }
    tried
}

async fn export(signal: Signal, to: &Destination) -> Result<ExportSnapshot, ExporterBuildError> {
    let (_stop, never) = watch::channel(false);
    let outlet = Outlet::new(signal, to, 0, &Handle::current(), never);
    // how it ended is in the outlet
    let _ended = match signal {
        Signal::Metrics => {
            let exporter = exporters::metrics(to, Temporality::Cumulative, &outlet)?;
            exporter.export(&ResourceMetrics::default()).await
        }
        Signal::Traces => exporters::traces(to, &outlet)?.export(Vec::new()).await,
        Signal::Logs => exporters::logs(to, &outlet)?.export(LogBatch::new(&[])).await,
    };
    Ok(outlet.snapshot())
}
