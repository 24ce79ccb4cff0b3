//! The command line: names and defaults of the Python client wherever the meaning is the same.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::doctor;

/// The variable that holds the relay's API key. No option takes the key itself: a command line shows in the process list.
pub const API_KEY_ENV: &str = "SPECTRAL_BRIDGE_API_KEY";
/// The relay's URL when no option gives it.
pub const RELAY_URL_ENV: &str = "SPECTRAL_BRIDGE_RELAY_URL";
/// Envoy's path when no option gives it.
pub const ENVOY_ENV: &str = "SPECTRAL_BRIDGE_ENVOY";
/// The directory of the module when it is not next to this program.
pub const LIB_DIR_ENV: &str = "SPECTRAL_BRIDGE_LIB_DIR";

/// The variable that holds the token for `pause` and `resume`; no option, for the same reason.
pub const STATUS_TOKEN_ENV: &str = "SPECTRAL_BRIDGE_STATUS_TOKEN";

/// The relay that the Python client connects to by default.
pub const DEFAULT_RELAY_URL: &str = "wss://bridge.spectral.principled.app/connect";

/// Connects a private, OpenAI-compatible model to a testing platform's relay, through Envoy.
///
/// One outbound WebSocket connection, nothing listens to the network: requests come down it, pass Envoy's filters,
/// load balancing and access log, and reach the model; answers go back the same way.
#[derive(Debug, Parser)]
#[command(name = "spectral-bridge", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start Envoy with the module: connect to the relay and forward its requests to --target
    #[command(visible_alias = "start-relay", after_help = START_HELP)]
    Start(StartArgs),
    /// Print the Envoy bootstrap that `start` would run, commented, and run nothing
    #[command(after_help = CONFIG_HELP)]
    Config(StartArgs),
    /// Find out why it does not connect: check each step from here to the relay and to the model
    #[command(after_help = doctor::HELP)]
    Doctor(Box<doctor::DoctorArgs>),
    /// Show a running instance; also an exec probe
    #[command(after_help = STATUS_HELP)]
    Status(StatusArgs),
    /// Answer new requests 503 until resumed; those in flight finish, the connection stays
    #[command(after_help = PAUSE_HELP)]
    Pause(PauseArgs),
    /// Take a pause back
    #[command(after_help = PAUSE_HELP)]
    Resume(PauseArgs),
    /// Let requests in flight finish and leave every relay, then return; for preStop hooks
    #[command(after_help = DRAIN_HELP)]
    Drain(DrainArgs),
    /// Print a shell's completion script
    #[command(after_help = COMPLETION_HELP)]
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page: spectral-bridge man | man -l -
    Man,
    /// Internal: bind this process to its parent's life, then become Envoy
    #[command(hide = true)]
    RunEnvoy(RunEnvoyArgs),
}

/// Options of `start` and `config`.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// The model's base URL, http or https; /v1/chat/completions and /v1/responses are appended to it
    #[arg(long, visible_alias = "adapter-url", value_name = "URL")]
    pub target: String,

    /// Accepted for the Python client's command lines and ignored: Envoy is the adapter
    #[arg(long, value_enum, hide = true)]
    pub adapter: Option<Adapter>,

    /// Accepted for the Python client's command lines and ignored: there is no adapter port
    #[arg(long, hide = true)]
    pub port: Option<u16>,

    /// Accepted for the Python client's command lines and ignored: Envoy may reach any target
    #[arg(long, hide = true)]
    pub insecure_adapter: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub relay: RelayArgs,

    /// The module's configuration as YAML or JSON (relays, forward, status, telemetry), instead of the relay options
    #[arg(long, value_name = "FILE", conflicts_with_all = RELAY_OPTIONS, help_heading = "Relay options")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub envoy: EnvoyArgs,
}

/// Options about the relay, in place of which `--config` may give more.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Relay options")]
pub struct RelayArgs {
    /// The relay's WebSocket URL [env: SPECTRAL_BRIDGE_RELAY_URL] [default: wss://bridge.spectral.principled.app/connect]
    #[arg(long, value_name = "URL")]
    pub relay_url: Option<String>,

    /// The relay's API key, read from this file at every connect [default: from SPECTRAL_BRIDGE_API_KEY]
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Allow ws:// to the relay (not conforming to the protocol, for development only)
    #[arg(long)]
    pub insecure_relay: bool,

    /// PEM roots to verify the relay with, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Protocol version to accept [default: auto]
    #[arg(long, value_enum, value_name = "auto|1|2", hide_possible_values = true)]
    pub protocol: Option<ProtocolArg>,

    /// Largest WebSocket message in bytes, both directions, up to 16 MiB [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    pub max_ws_message_bytes: Option<u64>,

    /// Seconds from a request's receipt to the end of its answer; not below the relay's own [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub request_timeout: Option<f64>,

    /// Seconds that requests in flight may take to finish after SIGTERM or Ctrl-C [default: 8]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub shutdown_grace: Option<f64>,

    /// Send `Authorization: Bearer` with the value of this variable to the target
    #[arg(long, value_name = "NAME")]
    pub target_key_env: Option<String>,

    /// Loopback port of the status server; 0 takes a free one and logs it [default: 8841]
    #[arg(long, value_name = "PORT")]
    pub status_port: Option<u16>,

    /// Let whoever shows the value of this variable pause and resume relays (see `pause --help`)
    #[arg(long, value_name = "NAME")]
    pub status_token_env: Option<String>,
}

/// Every option of [`RelayArgs`], by argument id.
pub const RELAY_OPTIONS: [&str; 11] = [
    "relay_url",
    "api_key_file",
    "insecure_relay",
    "ca_file",
    "protocol",
    "max_ws_message_bytes",
    "request_timeout",
    "shutdown_grace",
    "target_key_env",
    "status_port",
    "status_token_env",
];

/// Options about Envoy.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Envoy options")]
pub struct EnvoyArgs {
    /// The Envoy binary, 1.38 or newer [env: SPECTRAL_BRIDGE_ENVOY] [default: envoy next to this program, else in PATH]
    #[arg(long, value_name = "PATH")]
    pub envoy: Option<PathBuf>,

    /// Envoy's worker threads
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: u32,

    /// Loopback port of Envoy's admin page, 0 for a free one [default: none, a Unix socket only this user can open]
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<u16>,

    /// PEM roots to verify an https target with, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub target_ca_file: Option<PathBuf>,

    /// Log level of the module
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,

    /// Log level of everything else in Envoy
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = LogLevel::Warning, hide_possible_values = true)]
    pub envoy_log_level: LogLevel,
}

/// Options of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Where the status server listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8841")]
    pub address: String,

    /// Print the JSON of GET /status
    #[arg(long, conflicts_with = "live")]
    pub json: bool,

    /// Only ask whether the module runs, connected or not (a liveness probe)
    #[arg(long)]
    pub live: bool,
}

/// Options of `pause` and `resume`.
#[derive(Debug, Clone, Args)]
pub struct PauseArgs {
    /// Where the status server listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8841")]
    pub address: String,

    /// Only this relay [default: every one]
    #[arg(long, value_name = "NAME", value_parser = relay_name)]
    pub relay: Option<String>,
}

/// Options of `drain`.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// Where the status server listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8841")]
    pub address: String,
}

/// Options of the hidden command.
#[derive(Debug, Clone, Args)]
pub struct RunEnvoyArgs {
    /// The launcher's process id.
    #[arg(long)]
    pub parent: i32,
    /// Envoy and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<OsString>,
}

/// Adapters that the Python client starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Adapter {
    /// The model already speaks OpenAI's API.
    PassThrough,
}

/// `--protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// As the relay says.
    Auto,
    /// Version 1 only.
    #[value(name = "1")]
    V1,
    /// Version 2 only.
    #[value(name = "2")]
    V2,
}

/// Envoy's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
    Off,
}

impl LogLevel {
    /// As Envoy spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }
}

/// As the configuration names relays; it becomes part of a URL.
fn relay_name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !text.is_empty() && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a relay's name, of A-Z a-z 0-9 . _ -".to_owned())
    }
}

/// Seconds, fractions allowed, as the Python client takes them. The range is the configuration's business.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        Ok(_) | Err(_) => Err("a number of seconds, such as 600 or 1.5".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  export SPECTRAL_BRIDGE_API_KEY=...
  spectral-bridge start --relay-url wss://relay.example.com/connect --target http://localhost:8000
  spectral-bridge config --target http://localhost:8000 > envoy.yaml
  spectral-bridge status
  spectral-bridge doctor --target http://localhost:8000";

const START_HELP: &str = "\
The relay's API key is read from SPECTRAL_BRIDGE_API_KEY, or from the file that --api-key-file
names (with --config: from where that file points). libspectral_bridge.so is looked for in
SPECTRAL_BRIDGE_LIB_DIR, else next to this program and in ../lib; envoy next to this program, else
in PATH.

Examples:
  spectral-bridge start --target http://localhost:8000
  spectral-bridge start --target https://models.internal/openai --target-key-env MODEL_API_KEY
  spectral-bridge start --target http://localhost:8000 --config module.yaml --admin-port 9901
  spectral-bridge start --target http://localhost:8000 --insecure-relay \\
      --relay-url ws://127.0.0.1:9000/connect

Ctrl-C or SIGTERM lets requests in flight finish; a second one stops at once.

Exit codes: Envoy's own (0 after a clean stop), 128+N when signal N ended it, 1 when it could not
be started, 2 for a mistake on the command line.";

const CONFIG_HELP: &str = "\
Paths in the output are those of a deployment (/run/spectral-bridge); the directory must exist
before Envoy starts. To run it:
  ENVOY_DYNAMIC_MODULES_SEARCH_PATH=DIR envoy -c FILE
where DIR has libspectral_bridge.so.";

const STATUS_HELP: &str = "\
Exit codes: 0 every relay is connected, 1 running but not ready, 2 not reachable.
With --live: 0 running, 2 not reachable.";

const PAUSE_HELP: &str = "\
The token that status.token of the configuration names (start --status-token-env) is read from
SPECTRAL_BRIDGE_STATUS_TOKEN.

Examples:
  spectral-bridge pause
  spectral-bridge resume --relay default

Exit codes: 0 done, 1 refused, 2 not reachable.";

const DRAIN_HELP: &str = "\
It takes as long as shutdown_grace of the configuration allows. Envoy runs on; its relays stay
disconnected until it is started again.

Exit codes: 0 drained, 1 not within 10 minutes, 2 not reachable.";

const COMPLETION_HELP: &str = "\
Examples:
  spectral-bridge completion bash > ~/.local/share/bash-completion/completions/spectral-bridge
  spectral-bridge completion zsh > ~/.zfunc/_spectral-bridge
  spectral-bridge completion fish > ~/.config/fish/completions/spectral-bridge.fish
zsh looks into ~/.zfunc if ~/.zshrc says: fpath+=~/.zfunc; autoload -Uz compinit; compinit";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn start(line: &str) -> Result<StartArgs, clap::Error> {
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        match cli.command {
            Command::Start(options) | Command::Config(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_python_clients_command_lines_work() {
        let options = start(
            "spectral-bridge start --adapter pass-through --target http://m:1 --port 8840 --relay-url wss://r/connect \
             --insecure-relay --max-ws-message-bytes 1048576 --request-timeout 1.5 --shutdown-grace 0",
        )
        .unwrap();
        assert_eq!(options.target, "http://m:1");
        assert_eq!(options.relay.relay_url.as_deref(), Some("wss://r/connect"));
        assert_eq!(options.relay.max_ws_message_bytes, Some(1_048_576));
        assert_eq!(
            (options.relay.request_timeout, options.relay.shutdown_grace),
            (Some(1.5), Some(0.0))
        );
        assert!(options.relay.insecure_relay);
        let options =
            start("spectral-bridge start-relay --adapter-url http://127.0.0.1:8000 --insecure-adapter").unwrap();
        assert_eq!(options.target, "http://127.0.0.1:8000");
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for (line, words) in [
            ("spectral-bridge start", "--target <URL>"),
            ("spectral-bridge start --target x --adapter other", "pass-through"),
            (
                "spectral-bridge start --target x --request-timeout soon",
                "a number of seconds",
            ),
            (
                "spectral-bridge start --target x --request-timeout=-1",
                "a number of seconds",
            ),
            (
                "spectral-bridge start --target x --request-timeout inf",
                "a number of seconds",
            ),
            ("spectral-bridge start --target x --protocol 3", "auto"),
            ("spectral-bridge start --target x --concurrency 0", "1..=1024"),
            ("spectral-bridge start --target x --api-key k", "--api-key"),
            ("spectral-bridge status --json --live", "cannot be used with"),
            ("spectral-bridge pause --relay a/../b", "a relay's name"),
            ("spectral-bridge resume --token t", "--token"),
            ("spectral-bridge", "Usage"),
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(words), "{line}\n{error}");
        }
    }

    #[test]
    fn a_configuration_file_replaces_every_relay_option() {
        for option in [
            "--relay-url wss://r",
            "--api-key-file /k",
            "--insecure-relay",
            "--ca-file /ca",
            "--protocol 2",
            "--max-ws-message-bytes 1024",
            "--request-timeout 1",
            "--shutdown-grace 1",
            "--target-key-env K",
            "--status-port 0",
            "--status-token-env T",
        ] {
            let line = format!("spectral-bridge start --target x --config f {option}");
            let error = start(&line).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{line}");
        }
        let options = start("spectral-bridge config --target x --config f --concurrency 4 --admin-port 0").unwrap();
        assert_eq!((options.envoy.concurrency, options.envoy.admin_port), (4, Some(0)));
    }

    #[test]
    fn help_names_every_option_and_no_hidden_one() {
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("start").unwrap().render_help().to_string();
        for words in [
            "--target",
            "--relay-url",
            "--config",
            "--envoy",
            "SPECTRAL_BRIDGE_API_KEY",
            "Exit codes",
        ] {
            assert!(help.contains(words), "{words}\n{help}");
        }
        assert!(!help.contains("--port"), "{help}");
    }
}
