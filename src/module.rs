//! Envoy's life cycle: what Envoy calls, turned into leases on the registry.
//!
//! Two ways in: the bootstrap extension `relay`, for the life of the process, and the HTTP filter `relay`, where the
//! bootstrap is closed to the user. Deliberately absent: anything about relays. In `--mode validate` a configuration is
//! checked and nothing is started.

use std::sync::Arc;

use envoy_proxy_dynamic_modules_rust_sdk::{
    BootstrapExtension, BootstrapExtensionConfig, CompletionCallback, EnvoyBootstrapExtension,
    EnvoyBootstrapExtensionConfig, EnvoyHttpFilter, EnvoyHttpFilterConfig, HttpFilter, HttpFilterConfig, PanicPolicy,
    declare_all_init_functions, init_logging, is_validation_mode,
};

use crate::config::Config;
use crate::registry::{Lease, registry};
use crate::secret::Secret;
use crate::status::server::Control;

declare_all_init_functions!(init_logging, bootstrap: new_bootstrap_extension, http: new_http_filter);

fn new_bootstrap_extension(
    envoy: &mut dyn EnvoyBootstrapExtensionConfig,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn BootstrapExtensionConfig>> {
    let config = checked("extension_name", name, config)?;
    // Envoy's readiness does not depend on a relay: listeners open whether or not one can be reached
    envoy.signal_init_complete();
    if !is_validation_mode() {
        envoy.register_admin_handler(
            ADMIN_PATH,
            "spectral-bridge: relays, requests and last errors",
            true,
            false,
        );
    }
    Some(Box::new(RelayConfig { config }))
}

struct RelayConfig {
    config: Config,
}

impl BootstrapExtensionConfig for RelayConfig {
    fn new_bootstrap_extension(&self, _: &mut dyn EnvoyBootstrapExtension) -> Box<dyn BootstrapExtension> {
        Box::new(RelayExtension {
            config: Some(self.config.clone()),
            lease: None,
        })
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
        registry().drain_then(|| completion.done());
    }
}

fn new_http_filter<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    _: &mut EC,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    let config = checked("filter_name", name, config)?;
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

/// Checks name and configuration; every mistake goes to Envoy's log.
fn checked(field: &str, name: &str, config: &[u8]) -> Option<Config> {
    if name != NAME {
        tracing::error!("{field} {name:?} is not known to this module, allowed: {NAME:?}");
        return None;
    }
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
    for source in keys.chain(headers) {
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
