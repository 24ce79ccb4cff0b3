//! The HTTP filter `usage`: taps what clients ask of models and what comes back, on any listener.
//!
//! Envoy drives it, through [`crate::module`]. A stream whose method and path are no [`Operation`](crate::usage::Operation) passes it
//! after two looks at its headers. Of the others [`stream`] hands every byte to the pure tap ([`crate::usage`]); what the
//! tap reads goes to three places: the stream's dynamic metadata ([`metadata`]), Envoy's statistics ([`stats`]) and
//! OpenTelemetry ([`crate::telemetry`]). A stream that becomes a WebSocket is a [`session`] besides, which Envoy's log has, too. A request that this process's relay client forwarded is counted there, so here
//! it gets its metadata only.
//!
//! Deliberately absent: content, which is never kept; and any say in the stream, unless `include_usage` asks for it
//! ([`include`]). Every hook lets it go on, and after a panic it goes on without the filter.

mod ask;
mod exchange;
mod head;
mod include;
mod metadata;
mod session;
mod socket;
mod stats;
mod stream;
mod strip;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyHttpFilter, EnvoyHttpFilterConfig, HttpFilter, HttpFilterConfig, PanicPolicy, is_validation_mode,
};

use crate::config::UsageFilter;
use crate::registry::{TelemetryLease, registry};
use crate::relayed;
use stats::Stats;
use stream::Stream;

pub use metadata::NAMESPACE;

/// The filter's name in Envoy's configuration.
pub const NAME: &str = "usage";

/// Makes the filter's configuration; every mistake goes to Envoy's log.
pub fn configure<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    envoy: &mut EC,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    let settings = match UsageFilter::from_json(config) {
        Ok(settings) => settings,
        Err(errors) => {
            for error in errors.iter() {
                tracing::error!("configuration of {NAME:?}: {error}");
            }
            return None;
        }
    };
    if is_validation_mode() {
        return Some(Box::new(Checked));
    }
    let stats = Stats::define(envoy)
        .map_err(|error| tracing::error!("the statistics of {NAME:?} cannot be defined: {error:?}"))
        .ok()?;
    let telemetry = registry()
        .telemetry(&settings.telemetry)
        .map_err(|error| tracing::error!("the threads of telemetry cannot be started: {error}"))
        .ok()?;
    Some(Box::new(Configured(Arc::new(Shared {
        settings,
        stats,
        telemetry,
        lost: AtomicU64::new(0),
        lost_sessions: AtomicU64::new(0),
        _tickets: relayed::watch(),
    }))))
}

/// What the streams of one configuration share.
#[derive(Debug)]
struct Shared {
    settings: UsageFilter,
    stats: Stats,
    telemetry: TelemetryLease,
    /// Streams that ended without a last hook, after a panic: the gauge of active ones still has them.
    lost: AtomicU64,
    /// The same of sessions.
    lost_sessions: AtomicU64,
    _tickets: relayed::Watcher,
}

struct Configured(Arc<Shared>);

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for Configured {
    fn new_http_filter(&self, _: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        Box::new(Stream::new(Arc::clone(&self.0)))
    }

    fn panic_policy(&self) -> PanicPolicy {
        PanicPolicy::PassThrough
    }
}

/// A configuration that was checked and will see no stream (`--mode validate`).
struct Checked;

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for Checked {
    fn new_http_filter(&self, _: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        Box::new(Unwatched)
    }
}

struct Unwatched;

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Unwatched {}
