//! The exporters of the three signals, each behind its [`Outlet`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, LogExporter, MetricExporter, Protocol as OtlpProtocol, SpanExporter,
    WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanData;
use tonic::transport::{Channel, Endpoint as TonicEndpoint};

use super::connect::Connector;
use super::destination::{Destination, Protocol};
use super::http_client::OtlpClient;
use super::outlet::Outlet;

/// An exporter behind its outlet.
#[derive(Debug)]
pub(super) struct Counted<E> {
    exporter: E,
    outlet: Arc<Outlet>,
}

pub(super) fn metrics(
    to: &Destination,
    temporality: Temporality,
    outlet: &Arc<Outlet>,
) -> Result<Counted<MetricExporter>, ExporterBuildError> {
    let exporter = match to.protocol {
        Protocol::Grpc => {
            let builder = MetricExporter::builder().with_temporality(temporality).with_tonic();
            finish_grpc(builder, to, outlet)?.build()
        }
        Protocol::HttpProtobuf => {
            let builder = MetricExporter::builder().with_temporality(temporality).with_http();
            finish_http(builder, to, outlet).build()
        }
    }?;
    Ok(Counted::new(exporter, outlet))
}

pub(super) fn traces(to: &Destination, outlet: &Arc<Outlet>) -> Result<Counted<SpanExporter>, ExporterBuildError> {
    let builder = SpanExporter::builder();
    let exporter = match to.protocol {
        Protocol::Grpc => finish_grpc(builder.with_tonic(), to, outlet)?.build(),
        Protocol::HttpProtobuf => finish_http(builder.with_http(), to, outlet).build(),
    }?;
    Ok(Counted::new(exporter, outlet))
}

pub(super) fn logs(to: &Destination, outlet: &Arc<Outlet>) -> Result<Counted<LogExporter>, ExporterBuildError> {
    let builder = LogExporter::builder();
    let exporter = match to.protocol {
        Protocol::Grpc => finish_grpc(builder.with_tonic(), to, outlet)?.build(),
        Protocol::HttpProtobuf => finish_http(builder.with_http(), to, outlet).build(),
    }?;
    Ok(Counted::new(exporter, outlet))
}

/// Everything is given, so that the crate has nothing left to read from the process's environment.
fn finish_grpc<B: WithTonicConfig + WithExportConfig>(
    builder: B,
    to: &Destination,
    outlet: &Outlet,
) -> Result<B, ExporterBuildError> {
    let builder = builder
        .with_channel(channel(to, outlet)?)
        .with_metadata(MetadataMap::from_headers(to.headers.iter().cloned().collect()))
        .with_timeout(to.timeout);
    Ok(match to.gzip {
        true => builder.with_compression(Compression::Gzip),
        false => builder,
    })
}

fn finish_http<B: WithHttpConfig + WithExportConfig>(builder: B, to: &Destination, outlet: &Outlet) -> B {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let headers = to.headers.iter();
    let headers: HashMap<_, _> = headers
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .collect();
    let connector = Connector::new(to.endpoint.clone(), to.tls.clone(), b"http/1.1", outlet.cause());
    let builder = builder
        .with_protocol(OtlpProtocol::HttpBinary)
        .with_http_client(OtlpClient::new(connector, outlet.cause()))
        .with_endpoint(to.endpoint.url())
        .with_headers(headers)
        .with_timeout(to.timeout);
    match to.gzip {
        true => builder.with_compression(Compression::Gzip),
        false => builder,
    }
}

/// A channel that connects when it is first used, and again when it has to.
fn channel(to: &Destination, outlet: &Outlet) -> Result<Channel, ExporterBuildError> {
    let invalid = |error: &dyn std::fmt::Display| ExporterBuildError::InvalidConfiguration(error.to_string());
    let authority = to.endpoint.authority();
    // TLS is the connector's; tonic refuses `https` when it is not its own
    let endpoint = TonicEndpoint::from_shared(format!("http://{authority}")).map_err(|e| invalid(&e))?;
    let origin = to.endpoint.url().parse().map_err(|e| invalid(&e))?;
    let endpoint = endpoint
        .origin(origin)
        .connect_timeout(to.timeout)
        // a connection that died silently is given up within one export's time, not the kernel's
        .http2_keep_alive_interval((to.timeout / 2).max(A_MOMENT))
        .keep_alive_timeout((to.timeout / 4).max(A_MOMENT));
    let connector = Connector::new(to.endpoint.clone(), to.tls.clone(), b"h2", outlet.cause());
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Less would take a collector for dead that only takes a breath.
const A_MOMENT: Duration = Duration::from_secs(1);

impl<E> Counted<E> {
    fn new(exporter: E, outlet: &Arc<Outlet>) -> Self {
        Self {
            exporter,
            outlet: Arc::clone(outlet),
        }
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Counted<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        self.outlet.export(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl opentelemetry_sdk::logs::LogExporter for Counted<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.outlet.export(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Counted<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.outlet.export(0, self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
