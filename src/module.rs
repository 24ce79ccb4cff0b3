//! Envoy's life cycle: what Envoy calls, turned into leases on the registry.
//!
//! Two ways in: the bootstrap extension `relay`, for the life of the process, and the HTTP filter `relay`, where the
//! bootstrap is closed to the user. The HTTP filters `usage` and `auth` are in [`crate::filter`] and [`crate::auth`]. Deliberately absent: anything about
//! relays. In `--mode validate` a configuration is
//! checked and nothing is started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use envoy_proxy_dynamic_modules_rust_sdk::{
    BootstrapExtension, BootstrapExtensionConfig, CompletionCallback, EnvoyBootstrapExtension,
    EnvoyBootstrapExtensionConfig, EnvoyBootstrapExtensionConfigScheduler, EnvoyBootstrapExtensionTimer,
    EnvoyHttpFilter, EnvoyHttpFilterConfig, HttpFilter, HttpFilterConfig, PanicPolicy, declare_all_init_functions,
    init_logging, is_validation_mode,
};

use crate::config::{Config, Gateway};
use crate::registry::{Lease, registry};
use crate::secret::Secret;
use crate::stats::RelayStats;
use crate::status::server::Control;
use crate::status::snapshot::GatewaySnapshot;
use crate::{auth, filter};

declare_all_init_functions!(init_logging, bootstrap: new_bootstrap_extension, http: new_http_filter);

fn new_bootstrap_extension(
    envoy: &mut dyn EnvoyBootstrapExtensionConfig,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn BootstrapExtensionConfig>> {
    if name != NAME {
        return unknown("extension_name", name, &[NAME]);
    }
    let config = checked(config)?;
    // Envoy's readiness does not depend on a relay: listeners open whether or not one can be reached
    envoy.signal_init_complete();
    if is_validation_mode() {
        return Some(Box::new(RelayConfig { config, figures: None }));
    }
    envoy.register_admin_handler(
        ADMIN_PATH,
        "spectral-bridge: relays, requests and last errors",
        true,
        false,
    );
    let figures = Some(Figures::start(envoy, config.gateway.clone())?);
    Some(Box::new(RelayConfig { config, figures }))
}

struct RelayConfig {
    config: Config,
    figures: Option<Figures>,
}

/// What keeps the relays' statistics in Envoy up to date.
struct Figures {
    gateway: Option<Gateway>,
    stats: Mutex<RelayStats>,
    timer: Box<dyn EnvoyBootstrapExtensionTimer>,
    ending: Arc<Ending>,
}

impl Figures {
    fn start(envoy: &mut dyn EnvoyBootstrapExtensionConfig, gateway: Option<Gateway>) -> Option<Self> {
        let stats = RelayStats::define(envoy)
            .map_err(|error| tracing::error!("the statistics of {NAME:?} cannot be defined: {error:?}"))
            .ok()?;
        let timer = envoy.new_timer();
        timer.enable(STATS_INTERVAL);
        Some(Self {
            gateway,
            stats: Mutex::new(stats),
            timer,
            ending: Arc::new(Ending {
                completion: Mutex::default(),
                main_thread: envoy.new_scheduler(),
            }),
        })
    }

    fn update(&self, envoy: &dyn EnvoyBootstrapExtensionConfig) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gateway) = &self.gateway {
            registry().tell(&gateway.stat_prefix, figures_of(gateway, envoy));
        }
        let snapshot = registry().snapshot();
        stats.update(envoy, &snapshot);
        // whoever waits for a drain to end should not wait for the next round
        self.timer.enable(if snapshot.running {
            STATS_INTERVAL
        } else {
            DRAIN_INTERVAL
        });
    }
}

/// What Envoy counts at a gateway's connection manager; a statistic appears with what it first counts.
fn figures_of(gateway: &Gateway, envoy: &dyn EnvoyBootstrapExtensionConfig) -> GatewaySnapshot {
    let named = |name: &str| format!("http.{}.{name}", gateway.stat_prefix);
    let gauge = |name| envoy.get_gauge_value(&named(name)).unwrap_or_default();
    GatewaySnapshot {
        active_connections: gauge("downstream_cx_active"),
        active_requests: gauge("downstream_rq_active"),
        total_requests: envoy
            .get_counter_value(&named("downstream_rq_total"))
            .unwrap_or_default(),
    }
}

/// Envoy's exit, which waits for the drain and then for the last figures, which only its main thread can take.
struct Ending {
    completion: Mutex<Option<CompletionCallback>>,
    main_thread: Box<dyn EnvoyBootstrapExtensionConfigScheduler>,
}

impl Ending {
    fn drained(&self, completion: CompletionCallback) {
        *self.lock() = Some(completion);
        self.main_thread.commit(DRAINED);
    }

    fn complete(&self) {
        if let Some(completion) = self.lock().take() {
            completion.done();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<CompletionCallback>> {
        self.completion.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BootstrapExtensionConfig for RelayConfig {
    fn new_bootstrap_extension(&self, _: &mut dyn EnvoyBootstrapExtension) -> Box<dyn BootstrapExtension> {
        Box::new(RelayExtension {
            config: Some(self.config.clone()),
            lease: None,
            ending: self.figures.as_ref().map(|figures| Arc::clone(&figures.ending)),
        })
    }

    fn on_timer_fired(&self, envoy: &mut dyn EnvoyBootstrapExtensionConfig, _: &dyn EnvoyBootstrapExtensionTimer) {
        if let Some(figures) = &self.figures {
            figures.update(envoy);
            figures.ending.complete();
        }
    }

    fn on_scheduled(&self, envoy: &mut dyn EnvoyBootstrapExtensionConfig, _: u64) {
        if let Some(figures) = &self.figures {
            figures.update(envoy);
            figures.ending.complete();
        }
    }

    fn on_admin_request(&self, _: &mut dyn EnvoyBootstrapExtensionConfig, _: &str, _: &str, _: &[u8]) -> (u32, String) {
        match serde_json::to_string_pretty(&registry().snapshot()) {
            Ok(json) => (200, json + "\n"),
            Err(error) => (500, format!("the status cannot be written: {error}\n")),
        }
    }
}

/// Hosts the clients from `server_initialized` to `shutdown`.
struct RelayExtension {
    config: Option<Config>,
    lease: Option<Lease>,
    ending: Option<Arc<Ending>>,
}

impl BootstrapExtension for RelayExtension {
    fn on_server_initialized(&mut self, _: &mut dyn EnvoyBootstrapExtension) {
        self.lease = self.config.take().and_then(start);
    }

    fn on_drain_started(&mut self, _: &mut dyn EnvoyBootstrapExtension) {
        registry().drain();
    }

    /// `PROTOCOL §2.6`: it lets the requests in flight finish: Envoy waits for `completion` and still serves them.
    fn on_shutdown(&mut self, _: &mut dyn EnvoyBootstrapExtension, completion: CompletionCallback) {
        let ending = self.ending.clone();
        registry().drain_then(move || match ending {
            Some(ending) => ending.drained(completion),
            None => completion.done(),
        });
    }
}

fn new_http_filter<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    envoy: &mut EC,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    match name {
        NAME => new_relay_filter(config),
        filter::NAME => filter::configure(envoy, config),
        auth::NAME => auth::configure(envoy, config),
        _ => unknown("filter_name", name, &[NAME, filter::NAME, auth::NAME]),
    }
}

fn new_relay_filter<EHF: EnvoyHttpFilter>(config: &[u8]) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    let config = checked(config)?;
    if config.gateway.is_some() {
        // it has neither Envoy's statistics nor Envoy's exit
        tracing::error!(
            "configuration of {NAME:?}: gateway: not in the HTTP filter; use the bootstrap extension {NAME:?}"
        );
        return None;
    }
    if is_validation_mode() {
        return Some(Box::new(RelayFilterConfig { _lease: None }));
    }
    let lease = start(config)?;
    Some(Box::new(RelayFilterConfig {
        _lease: Some(Arc::new(lease)),
    }))
}

/// Hosts the clients while Envoy keeps the filter's configuration.
struct RelayFilterConfig {
    _lease: Option<Arc<Lease>>,
}

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for RelayFilterConfig {
    fn new_http_filter(&self, _: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        Box::new(Untouched)
    }

    fn panic_policy(&self) -> PanicPolicy {
        PanicPolicy::PassThrough
    }
}

/// Streams pass the filter `relay` as if it were not there.
struct Untouched;

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Untouched {}

fn unknown<T>(field: &str, name: &str, allowed: &[&str]) -> Option<T> {
    let allowed = allowed.join("\", \"");
    tracing::error!("{field} {name:?} is not known to this module, allowed: \"{allowed}\"");
    None
}

/// Checks a relay's configuration; every mistake goes to Envoy's log.
fn checked(config: &[u8]) -> Option<Config> {
    let config = match Config::from_json(config) {
        Ok(config) => config,
        Err(errors) => {
            for error in errors.iter() {
                tracing::error!("configuration of {NAME:?}: {error}");
            }
            return None;
        }
    };
    for warning in config.warnings() {
        tracing::warn!("configuration of {NAME:?}: {warning}");
    }
    warn_of_absent_secrets(&config);
    Some(config)
}

/// A secret may arrive later, so its absence is no mistake of the configuration.
fn warn_of_absent_secrets(config: &Config) {
    let keys = config.relays.iter().map(|relay| &relay.api_key);
    let headers = config.forward.headers.iter().map(|header| &header.value);
    for source in keys.chain(headers).chain(&config.status.token) {
        if let Err(error) = Secret::read(source) {
            tracing::warn!("configuration of {NAME:?}: {error}");
        }
    }
}

fn start(config: Config) -> Option<Lease> {
    match registry().acquire(config) {
        Ok(lease) => Some(lease),
        Err(error) => {
            tracing::error!("the threads of the relay client cannot be started: {error}");
            None
        }
    }
}

/// The name of the bootstrap extension and of the HTTP filter.
const NAME: &str = "relay";

/// The status under Envoy's admin, bootstrap host only.
const ADMIN_PATH: &str = "/spectral_bridge";

/// As fine as anyone scrapes.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// While the end of what is under way is awaited.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

/// The event that tells the main thread of the drain's end.
const DRAINED: u64 = 1;
