//! Identifiers of Envoy stats and the passing of their labels. Shared by both extension points.

use crate::abi::{Buffer, EnvoyPtr, envoy_dynamic_module_type_metrics_result as MetricsResult};
use crate::callbacks::Callbacks;

macro_rules! metric_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub(crate) usize);)+
    };
}

metric_id! {
    /// A counter without labels.
    EnvoyCounterId,
    /// A counter with labels.
    EnvoyCounterVecId,
    /// A gauge without labels.
    EnvoyGaugeId,
    /// A gauge with labels.
    EnvoyGaugeVecId,
    /// A histogram without labels.
    EnvoyHistogramId,
    /// A histogram with labels.
    EnvoyHistogramVecId,
}

/// What Envoy keeps metrics for: a configuration, or a stream. Lent to a hook, hence alive and on the right thread.
pub(crate) trait Owner {
    /// Envoy's functions and the object to call them with.
    fn owner(&self) -> (&'static Callbacks, EnvoyPtr);
}

/// The methods that define metrics, with and without labels.
macro_rules! define_methods {
    ($($plain:ident, $labelled:ident, $callback:ident: $id:ident, $vec:ident;)+) => {
        $(fn $plain(&mut self, name: &str) -> Result<$id, MetricsResult> {
            let (envoy, owner) = metrics::Owner::owner(self);
            // SAFETY: an `Owner` is lent to a hook, so Envoy's object is alive and this is its thread.
            unsafe { metrics::define(envoy.$callback, owner, name, &[]) }.map($id)
        }

        fn $labelled(&mut self, name: &str, labels: &[&str]) -> Result<$vec, MetricsResult> {
            let (envoy, owner) = metrics::Owner::owner(self);
            // SAFETY: an `Owner` is lent to a hook, so Envoy's object is alive and this is its thread.
            unsafe { metrics::define(envoy.$callback, owner, name, labels) }.map($vec)
        })+
    };
}

/// The methods that change metrics, with and without labels.
macro_rules! update_methods {
    ($($plain:ident, $labelled:ident, $callback:ident: $id:ident, $vec:ident;)+) => {
        $(fn $plain(&self, id: $id, value: u64) -> Result<(), MetricsResult> {
            let (envoy, owner) = metrics::Owner::owner(self);
            // SAFETY: an `Owner` is lent to a hook, so Envoy's object is alive and this is its thread.
            unsafe { metrics::update(envoy.$callback, owner, id.0, &[], value) }
        }

        fn $labelled(&self, id: $vec, labels: &[&str], value: u64) -> Result<(), MetricsResult> {
            let (envoy, owner) = metrics::Owner::owner(self);
            // SAFETY: an `Owner` is lent to a hook, so Envoy's object is alive and this is its thread.
            unsafe { metrics::update(envoy.$callback, owner, id.0, labels, value) }
        })+
    };
}

pub(crate) use {define_methods, update_methods};

/// Envoy's shape of "define a metric".
pub(crate) type Define = unsafe extern "C" fn(EnvoyPtr, Buffer, *const Buffer, usize, *mut usize) -> u32;
/// Envoy's shape of "change a metric".
pub(crate) type Update = unsafe extern "C" fn(EnvoyPtr, usize, *const Buffer, usize, u64) -> u32;

/// # Safety
///
/// `config` is the configuration object of Envoy's that `define` expects, alive during the call, on the main thread.
pub(crate) unsafe fn define(
    define: Define,
    config: EnvoyPtr,
    name: &str,
    labels: &[&str],
) -> Result<usize, MetricsResult> {
    let labels = Labels::of(labels)?;
    let mut id = 0;
    // SAFETY: the caller vouches for `config`; name, labels and id outlive the call.
    let answer = unsafe {
        define(
            config,
            Buffer::of(name.as_bytes()),
            labels.as_ptr(),
            labels.len,
            &raw mut id,
        )
    };
    result(answer).map(|()| id)
}

/// # Safety
///
/// `owner` is the object of Envoy's that `update` expects, alive during the call, on the thread that `update` demands.
pub(crate) unsafe fn update(
    update: Update,
    owner: EnvoyPtr,
    id: usize,
    labels: &[&str],
    value: u64,
) -> Result<(), MetricsResult> {
    let labels = Labels::of(labels)?;
    // SAFETY: the caller vouches for `owner`; the labels outlive the call.
    result(unsafe { update(owner, id, labels.as_ptr(), labels.len, value) })
}

/// Labels in Envoy's layout, on the stack: metrics are recorded per stream.
struct Labels {
    buffers: [Buffer; MAX_LABELS],
    len: usize,
}

impl Labels {
    fn of(labels: &[&str]) -> Result<Self, MetricsResult> {
        if labels.len() > MAX_LABELS {
            return Err(MetricsResult::InvalidLabels);
        }
        let mut buffers = [Buffer::EMPTY; MAX_LABELS];
        for (buffer, label) in buffers.iter_mut().zip(labels) {
            *buffer = Buffer::of(label.as_bytes());
        }
        Ok(Self {
            buffers,
            len: labels.len(),
        })
    }

    fn as_ptr(&self) -> *const Buffer {
        self.buffers.as_ptr()
    }
}

fn result(answer: u32) -> Result<(), MetricsResult> {
    match answer {
        0 => Ok(()),
        2 => Err(MetricsResult::InvalidLabels),
        3 => Err(MetricsResult::Frozen),
        _ => Err(MetricsResult::MetricNotFound),
    }
}

/// More labels than any metric here has; a definition with more is refused.
const MAX_LABELS: usize = 12;
