//! The SDK's providers, held here and nowhere global, each with its private thread.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, LogProcessor, SdkLogRecord, SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, InstrumentKind, PeriodicReader, SdkMeterProvider, Stream, Temporality as SdkTemporality,
};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatchConfig, BatchSpanProcessor, Sampler as SdkSampler, SdkTracerProvider, Span,
    SpanData, SpanLimits, SpanProcessor,
};

use super::exporters;
use super::outlet::Outlet;
use super::settings::{Logs, Metrics, Sampler, Temporality, Traces};

/// A processor behind its outlet's count of what waits.
#[derive(Debug)]
struct Bounded<P> {
    processor: P,
    outlet: Arc<Outlet>,
}

pub(super) fn metrics(
    settings: &Metrics,
    resource: &Resource,
    outlet: &Arc<Outlet>,
) -> Result<SdkMeterProvider, ExporterBuildError> {
    let temporality = match settings.temporality {
        Temporality::Cumulative => SdkTemporality::Cumulative,
        Temporality::Delta => SdkTemporality::Delta,
        Temporality::LowMemory => SdkTemporality::LowMemory,
    };
    let exporter = exporters::metrics(&settings.to, temporality, outlet)?;
    let reader = PeriodicReader::builder(exporter)
        .with_interval(settings.interval)
        .build();
    let builder = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(reader);
    Ok(match settings.exponential {
        true => builder.with_view(exponential).build(),
        false => builder.build(),
    })
}

/// With the specification's defaults for size and scale.
fn exponential(instrument: &Instrument) -> Option<Stream> {
    if instrument.kind() != InstrumentKind::Histogram {
        return None;
    }
    let aggregation = Aggregation::Base2ExponentialHistogram {
        max_size: 160,
        max_scale: 20,
        record_min_max: true,
    };
    Stream::builder().with_aggregation(aggregation).build().ok()
}

pub(super) fn traces(
    settings: &Traces,
    resource: &Resource,
    outlet: &Arc<Outlet>,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let batch = SpanBatchConfig::default()
        .with_max_queue_size(settings.batch.queue)
        .with_max_export_batch_size(settings.batch.size)
        .with_scheduled_delay(settings.batch.delay)
        .build();
    let processor = BatchSpanProcessor::new(exporters::traces(&settings.to, outlet)?, batch);
    Ok(SdkTracerProvider::builder()
        .with_sampler(sampler(settings.sampler))
        .with_span_limits(SpanLimits::default())
        .with_resource(resource.clone())
        .with_span_processor(Bounded {
            processor,
            outlet: Arc::clone(outlet),
        })
        .build())
}

fn sampler(settings: Sampler) -> SdkSampler {
    let root = if settings.ratio >= 1.0 {
        SdkSampler::AlwaysOn
    } else if settings.ratio <= 0.0 {
        SdkSampler::AlwaysOff
    } else {
        SdkSampler::TraceIdRatioBased(settings.ratio)
    };
    match settings.parent_based {
        true => SdkSampler::ParentBased(Box::new(root)),
        false => root,
    }
}

pub(super) fn logs(
    settings: &Logs,
    resource: &Resource,
    outlet: &Arc<Outlet>,
) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let batch = LogBatchConfig::default()
        .with_max_queue_size(settings.batch.queue)
        .with_max_export_batch_size(settings.batch.size)
        .with_scheduled_delay(settings.batch.delay)
        .build();
    let exporter = exporters::logs(&settings.to, outlet)?;
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(batch).build();
    Ok(SdkLoggerProvider::builder()
        .with_resource(resource.clone())
        .with_log_processor(Bounded {
            processor,
            outlet: Arc::clone(outlet),
        })
        .build())
}

impl SpanProcessor for Bounded<BatchSpanProcessor> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.outlet.admit() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl LogProcessor for Bounded<BatchLogProcessor> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.outlet.admit() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}
