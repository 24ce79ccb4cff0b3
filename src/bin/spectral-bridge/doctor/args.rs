//! The command line of `doctor`: that of `start`, and what to look at.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::{Adapter, EnvoyArgs, RELAY_OPTIONS, RelayArgs, StartArgs};

/// Options of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// The model's base URL, as for `start`; with --envoy-config it may be left out, and the model is not asked then
    #[arg(
        long,
        visible_alias = "adapter-url",
        value_name = "URL",
        required_unless_present = "envoy_config"
    )]
    pub target: Option<String>,

    /// Accepted so that a command line of `start` works here, and ignored
    #[arg(long, value_enum, hide = true)]
    pub adapter: Option<Adapter>,

    /// Accepted so that a command line of `start` works here, and ignored
    #[arg(long, hide = true)]
    pub port: Option<u16>,

    /// Accepted so that a command line of `start` works here, and ignored
    #[arg(long, hide = true)]
    pub insecure_adapter: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub relay: RelayArgs,

    /// The module's configuration as YAML or JSON, as for `start`
    #[arg(long, value_name = "FILE", conflicts_with_all = RELAY_OPTIONS, help_heading = "Relay options")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub envoy: EnvoyArgs,

    /// Check this Envoy configuration, and the module's inside it, instead of the one that `start` would make
    #[arg(long, value_name = "FILE", conflicts_with = "config", conflicts_with_all = RELAY_OPTIONS, help_heading = "Envoy options")]
    pub envoy_config: Option<PathBuf>,

    /// Model name for the one-token request [default: the first one of GET /v1/models]
    #[arg(long, value_name = "NAME", help_heading = "Doctor options")]
    pub model: Option<String>,

    /// Whether to show the relay the key. A relay keeps one connection per key: `auto` asks the status of an instance
    /// that already runs here instead of taking the connection from it
    #[arg(
        long,
        value_enum,
        default_value_t = Connect::Auto,
        value_name = "auto|always|never",
        hide_possible_values = true,
        help_heading = "Doctor options"
    )]
    pub connect: Connect,

    /// Only these checks: relay, envoy, config, adapter, collector
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "GROUP,...",
        conflicts_with = "skip",
        help_heading = "Doctor options",
        hide_possible_values = true
    )]
    pub only: Vec<Group>,

    /// Not these checks
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "GROUP,...",
        help_heading = "Doctor options",
        hide_possible_values = true
    )]
    pub skip: Vec<Group>,

    /// Print one JSON object for programs
    #[arg(long, help_heading = "Doctor options")]
    pub json: bool,
}

/// `--connect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Connect {
    /// Unless an instance already runs here.
    Auto,
    /// Even then.
    Always,
    /// In no case.
    Never,
}

/// Checks that are chosen together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// From DNS to the protocol's version.
    Relay,
    /// The binary, the module, glibc.
    Envoy,
    /// Whether Envoy takes the configuration.
    Config,
    /// The model.
    Adapter,
    /// Where telemetry goes.
    Collector,
}

impl DoctorArgs {
    /// Why checks of `group` are left out, if they are.
    pub fn left_out(&self, group: Group) -> Option<&'static str> {
        if self.skip.contains(&group) {
            Some("left out by --skip")
        } else if !self.only.is_empty() && !self.only.contains(&group) {
            Some("left out by --only")
        } else {
            None
        }
    }

    /// The same as options of `start`, for this target.
    pub fn as_start(&self, target: &str) -> StartArgs {
        StartArgs {
            target: target.to_owned(),
            adapter: self.adapter,
            port: self.port,
            insecure_adapter: self.insecure_adapter,
            relay: self.relay.clone(),
            config: self.config.clone(),
            envoy: self.envoy.clone(),
        }
    }
}

/// Shown below the options.
pub const HELP: &str = "\
Checks, in this order: settings, key, secrets; for each relay dns, proxy, tcp, tls, handshake,
protocol; envoy, module, glibc; config; adapter; collector. What depends on a failed check is
skipped. Nothing is changed anywhere: the relay is shown the key and left at once with close 1000,
acknowledging nothing, so that it keeps what it has for the real client.

Examples:
  spectral-bridge doctor --target http://localhost:8000
  spectral-bridge doctor --target http://localhost:8000 --json | jq '.checks[] | select(.status == \"failed\")'
  spectral-bridge doctor --envoy-config envoy.yaml --target http://localhost:8000

Exit codes, of the first check that failed: 0 none, 3 settings, key or secrets, 4 dns, proxy or
tcp, 5 tls, 6 handshake or protocol, 7 envoy, module or glibc, 8 config, 9 adapter, 10 collector;
1 doctor itself could not run, 2 a mistake on the command line.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    use super::*;

    fn doctor(line: &str) -> Result<DoctorArgs, clap::Error> {
        match Cli::try_parse_from(format!("spectral-bridge doctor {line}").split_whitespace())?.command {
            Command::Doctor(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_line_of_start_works() {
        let options = doctor(
            "--adapter pass-through --adapter-url http://m:1 --port 8840 --relay-url wss://r/connect --insecure-relay \
             --request-timeout 1.5 --target-key-env K --envoy /e --admin-port 0",
        )
        .unwrap();
        let start = options.as_start("http://m:1");
        assert_eq!(start.relay.relay_url.as_deref(), Some("wss://r/connect"));
        assert_eq!((start.port, start.envoy.admin_port), (Some(8840), Some(0)));
        assert_eq!(options.connect, Connect::Auto);
    }

    #[test]
    fn a_target_or_an_envoy_configuration_is_needed() {
        assert!(doctor("").unwrap_err().to_string().contains("--target <URL>"));
        assert!(doctor("--envoy-config envoy.yaml").is_ok());
        for line in [
            "--envoy-config e --config c",
            "--envoy-config e --relay-url wss://r",
            "--target t --only relay --skip relay",
            "--target t --only everything",
        ] {
            assert!(doctor(line).is_err(), "{line}");
        }
    }

    #[test]
    fn groups_are_chosen_and_left_out() {
        let only = doctor("--target t --only envoy,config").unwrap();
        assert_eq!(only.left_out(Group::Envoy), None);
        assert_eq!(only.left_out(Group::Relay), Some("left out by --only"));
        let skip = doctor("--target t --skip relay").unwrap();
        assert_eq!(skip.left_out(Group::Relay), Some("left out by --skip"));
        assert_eq!(skip.left_out(Group::Adapter), None);
    }
}
