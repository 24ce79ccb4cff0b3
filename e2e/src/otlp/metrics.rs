//! Metric points, one by one, each with everything that is said about it anywhere in its message.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data as Wire;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
};
use serde_json::{Value, json};

use super::value::{Attributes, Scope, attributes, double, resource};

/// A measurement of one series at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The metric.
    pub name: String,
    /// What it says about itself.
    pub description: String,
    /// UCUM.
    pub unit: String,
    /// What was measured.
    pub data: Data,
    /// Of the series.
    pub attributes: Attributes,
    /// When the series began, in nanoseconds since 1970.
    pub start: u64,
    /// When it was measured, in nanoseconds since 1970.
    pub time: u64,
    /// How many exemplars came with it.
    pub exemplars: usize,
    /// Who measured.
    pub scope: Scope,
    /// Of the process.
    pub resource: Attributes,
}

/// What a point holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// A value of now.
    Gauge(Value),
    /// What was added up.
    Sum {
        /// An integer or a float.
        value: Value,
        /// Whether it only grows.
        monotonic: bool,
        /// Since when.
        temporality: Temporality,
    },
    /// Explicit buckets.
    Histogram {
        /// Since when.
        temporality: Temporality,
        /// How many values.
        count: u64,
        /// Their sum.
        sum: Option<f64>,
        /// The least and the greatest.
        range: Option<(f64, f64)>,
        /// Upper bounds of all buckets but the last.
        bounds: Vec<f64>,
        /// How many values are in each.
        buckets: Vec<u64>,
    },
    /// Exponential buckets.
    Exponential {
        /// Since when.
        temporality: Temporality,
        /// How many values.
        count: u64,
        /// Their sum.
        sum: Option<f64>,
        /// The buckets' resolution.
        scale: i32,
        /// How many are zero.
        zeroes: u64,
        /// Offset and counts of positive values.
        positive: (i32, Vec<u64>),
        /// Offset and counts of negative values.
        negative: (i32, Vec<u64>),
    },
    /// Quantiles, of old exporters.
    Summary,
}

/// What a sum or a histogram counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// The series' start.
    Cumulative,
    /// The last point.
    Delta,
    /// It does not say.
    Unspecified,
}

impl Point {
    /// What was added up or is measured now; of a histogram its sum.
    #[must_use]
    pub fn value(&self) -> f64 {
        match &self.data {
            Data::Gauge(value) | Data::Sum { value, .. } => value.as_f64().unwrap_or(f64::NAN),
            Data::Histogram { sum, .. } | Data::Exponential { sum, .. } => sum.unwrap_or(f64::NAN),
            Data::Summary => f64::NAN,
        }
    }

    /// How many values a histogram holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.data {
            Data::Histogram { count, .. } | Data::Exponential { count, .. } => *count,
            Data::Gauge(_) | Data::Sum { .. } | Data::Summary => 0,
        }
    }

    /// What it counts from; `None` of a gauge.
    #[must_use]
    pub fn temporality(&self) -> Option<Temporality> {
        match &self.data {
            Data::Sum { temporality, .. }
            | Data::Histogram { temporality, .. }
            | Data::Exponential { temporality, .. } => Some(*temporality),
            Data::Gauge(_) | Data::Summary => None,
        }
    }

    /// Whether both belong to one series.
    #[must_use]
    pub fn same_series(&self, other: &Self) -> bool {
        self.name == other.name
            && self.attributes == other.attributes
            && self.scope == other.scope
            && self.resource == other.resource
    }
}

/// All points of a message.
pub(super) fn points(message: &ExportMetricsServiceRequest) -> Vec<Point> {
    let mut points = Vec::new();
    for process in &message.resource_metrics {
        let resource = resource(process.resource.as_ref());
        for measured in &process.scope_metrics {
            let scope = Scope::of(measured.scope.as_ref(), &measured.schema_url);
            let flat = measured.metrics.iter().flat_map(of_metric);
            points.extend(flat.map(|point| Point {
                scope: scope.clone(),
                resource: resource.clone(),
                ..point
            }));
        }
    }
    points
}

fn of_metric(metric: &Metric) -> Vec<Point> {
    let base = Point {
        name: metric.name.clone(),
        description: metric.description.clone(),
        unit: metric.unit.clone(),
        data: Data::Summary,
        attributes: Attributes::new(),
        start: 0,
        time: 0,
        exemplars: 0,
        scope: Scope::default(),
        resource: Attributes::new(),
    };
    match &metric.data {
        None => Vec::new(),
        Some(Wire::Gauge(gauge)) => numbers(&base, &gauge.data_points, Data::Gauge),
        Some(Wire::Sum(sum)) => numbers(&base, &sum.data_points, |value| Data::Sum {
            value,
            monotonic: sum.is_monotonic,
            temporality: Temporality::of(sum.aggregation_temporality),
        }),
        Some(Wire::Histogram(histogram)) => {
            let temporality = Temporality::of(histogram.aggregation_temporality);
            let points = histogram.data_points.iter();
            points.map(|point| explicit(&base, point, temporality)).collect()
        }
        Some(Wire::ExponentialHistogram(histogram)) => {
            let temporality = Temporality::of(histogram.aggregation_temporality);
            let points = histogram.data_points.iter();
            points.map(|point| exponential(&base, point, temporality)).collect()
        }
        Some(Wire::Summary(summary)) => summary.data_points.iter().map(|_| base.clone()).collect(),
    }
}

fn numbers(base: &Point, points: &[NumberDataPoint], data: impl Fn(Value) -> Data) -> Vec<Point> {
    let of = |point: &NumberDataPoint| Point {
        data: data(number(point.value)),
        attributes: attributes(&point.attributes),
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        exemplars: point.exemplars.len(),
        ..base.clone()
    };
    points.iter().map(of).collect()
}

fn number(value: Option<Number>) -> Value {
    match value {
        None => Value::Null,
        Some(Number::AsInt(number)) => json!(number),
        Some(Number::AsDouble(number)) => double(number),
    }
}

fn explicit(base: &Point, point: &HistogramDataPoint, temporality: Temporality) -> Point {
    Point {
        data: Data::Histogram {
            temporality,
            count: point.count,
            sum: point.sum,
            range: point.min.zip(point.max),
            bounds: point.explicit_bounds.clone(),
            buckets: point.bucket_counts.clone(),
        },
        attributes: attributes(&point.attributes),
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        exemplars: point.exemplars.len(),
        ..base.clone()
    }
}

fn exponential(base: &Point, point: &ExponentialHistogramDataPoint, temporality: Temporality) -> Point {
    let side = |buckets: Option<&Buckets>| {
        let counts = |buckets: &Buckets| (buckets.offset, buckets.bucket_counts.clone());
        buckets.map(counts).unwrap_or_default()
    };
    Point {
        data: Data::Exponential {
            temporality,
            count: point.count,
            sum: point.sum,
            scale: point.scale,
            zeroes: point.zero_count,
            positive: side(point.positive.as_ref()),
            negative: side(point.negative.as_ref()),
        },
        attributes: attributes(&point.attributes),
        start: point.start_time_unix_nano,
        time: point.time_unix_nano,
        exemplars: point.exemplars.len(),
        ..base.clone()
    }
}

impl Temporality {
    fn of(wire: i32) -> Self {
        match AggregationTemporality::try_from(wire) {
            Ok(AggregationTemporality::Cumulative) => Self::Cumulative,
            Ok(AggregationTemporality::Delta) => Self::Delta,
            Ok(AggregationTemporality::Unspecified) | Err(_) => Self::Unspecified,
        }
    }
}
