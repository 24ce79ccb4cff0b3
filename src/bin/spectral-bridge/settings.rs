//! From options to the module's configuration: the value that goes into the bootstrap, and the same one checked.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_yaml_ng::{Mapping, Value};
use spectral_bridge::config::{Config, ConfigErrors, ForwardTo, Relay};

use crate::Refusal;
use crate::cli::{API_KEY_ENV, DEFAULT_RELAY_URL, ProtocolArg, RELAY_URL_ENV, RelayArgs, StartArgs};

/// The module's configuration, twice: as it is printed, and as it was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// In the order and with the words that go into the bootstrap.
    pub value: Value,
    /// The same, checked.
    pub config: Config,
}

impl Settings {
    /// Builds the configuration. `socket` is where Envoy listens unless `--config` names another place.
    ///
    /// # Errors
    /// Every mistake of the module's configuration, in the words of the option that caused it.
    pub fn build(options: &StartArgs, relay_url_env: Option<String>, socket: &Path) -> Result<Self, Refusal> {
        let mut value = match &options.config {
            Some(path) => read_file(path)?,
            None => from_options(&options.relay, relay_url_env)?,
        };
        listen_at(&mut value, socket);
        let source = options.config.as_deref();
        let json = serde_json::to_vec(&value).map_err(|_| "--config: keys must be strings, as in JSON".to_owned())?;
        let config = Config::from_json(&json).map_err(|errors| explain(&errors, source))?;
        if config.relays.is_empty() {
            // without one the module may have other jobs, but this program has none
            return Err("--config: relays: missing; an array of at least one relay".to_owned());
        }
        refuse_distant(&config.forward.to)?;
        refuse_others(&config)?;
        Ok(Self { value, config })
    }

    /// Where Envoy must listen.
    pub fn listener(&self) -> &ForwardTo {
        &self.config.forward.to
    }
}

/// The configuration that the relay options describe, with nothing that is a default.
fn from_options(options: &RelayArgs, relay_url_env: Option<String>) -> Result<Value, Refusal> {
    let from_env = relay_url_env.filter(|url| !url.trim().is_empty());
    let url = options
        .relay_url
        .clone()
        .or(from_env)
        .unwrap_or_else(|| DEFAULT_RELAY_URL.to_owned());
    let mut relay = Mapping::new();
    let mut set = |key: &str, value: Value| relay.insert(key.into(), value);
    set("name", "default".into());
    set("url", url.trim().into());
    set("api_key", api_key(options.api_key_file.as_deref())?);
    if options.insecure_relay {
        set("insecure", true.into());
    }
    if let Some(path) = &options.ca_file {
        set("tls", object("ca_file", absolute("--ca-file", path)?.into()));
    }
    if let Some(protocol) = options.protocol {
        set("protocol", protocol_value(protocol));
    }
    if let Some(bytes) = options.max_ws_message_bytes {
        set("max_frame_bytes", bytes.into());
    }
    if let Some(seconds) = options.request_timeout {
        set("request_timeout", format!("{seconds}s").into());
    }
    if let Some(seconds) = options.shutdown_grace {
        set("shutdown_grace", format!("{seconds}s").into());
    }
    let mut root = Mapping::new();
    root.insert("relays".into(), Value::Sequence(vec![relay.into()]));
    let headers = options
        .target_key_env
        .as_ref()
        .map(|name| object("headers", object("authorization", bearer(name))));
    root.insert("forward".into(), headers.unwrap_or_default());
    let port = options.status_port.unwrap_or(DEFAULT_STATUS_PORT);
    let mut status = Mapping::new();
    status.insert("listen".into(), format!("127.0.0.1:{port}").into());
    if let Some(variable) = &options.status_token_env {
        status.insert("token".into(), object("env", variable.as_str().into()));
    }
    root.insert("status".into(), status.into());
    Ok(root.into())
}

/// The file may be on another host (`config`) or appear later, so it need not be there now.
fn api_key(file: Option<&Path>) -> Result<Value, Refusal> {
    let Some(file) = file else {
        return Ok(object("env", API_KEY_ENV.into()));
    };
    let path = std::path::absolute(file).map_err(|e| format!("--api-key-file {}: {e}", file.display()))?;
    let path = path.into_os_string().into_string();
    Ok(object(
        "file",
        path.map_err(|_| "--api-key-file: the path is not UTF-8")?.into(),
    ))
}

fn protocol_value(protocol: ProtocolArg) -> Value {
    match protocol {
        ProtocolArg::Auto => "auto".into(),
        ProtocolArg::V1 => 1.into(),
        ProtocolArg::V2 => 2.into(),
    }
}

fn bearer(variable: &str) -> Value {
    let mut header = Mapping::new();
    header.insert("env".into(), variable.into());
    header.insert("prefix".into(), "Bearer ".into());
    header.into()
}

fn object(key: &str, value: Value) -> Value {
    let mut object = Mapping::new();
    object.insert(key.into(), value);
    object.into()
}

/// Reads `--config`: YAML, of which JSON is a part.
fn read_file(path: &Path) -> Result<Value, Refusal> {
    let cannot = |why: String| format!("--config {}: {why}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(|e| cannot(e.to_string()))?;
    file.take(MAX_CONFIG_BYTES)
        .read_to_string(&mut text)
        .map_err(|e| cannot(e.to_string()))?;
    // Only the position: the parser's own words may quote what the file holds.
    serde_yaml_ng::from_str(&text).map_err(|e| {
        let at = e.location().map_or_else(String::new, |at| {
            format!(" (line {}, column {})", at.line(), at.column())
        });
        cannot(format!("neither YAML nor JSON{at}"))
    })
}

/// Fills `forward.to`, when the user left it open, with the socket that Envoy will listen on.
fn listen_at(root: &mut Value, socket: &Path) {
    let Value::Mapping(root) = root else { return };
    let forward = root.entry("forward".into()).or_insert(Value::Null);
    let written = match forward {
        Value::Null => Mapping::new(),
        Value::Mapping(written) if written.get("to").is_none_or(Value::is_null) => std::mem::take(written),
        // The user's own place, or a mistake that is reported as such.
        _ => return,
    };
    let mut filled = Mapping::new();
    filled.insert("to".into(), format!("unix://{}", socket.display()).into());
    filled.extend(written.into_iter().filter(|(key, _)| key != "to"));
    *forward = filled.into();
}

/// Envoy listens where the module dials, so the place must be on this host even if the module would go further.
fn refuse_distant(to: &ForwardTo) -> Result<(), Refusal> {
    match to {
        ForwardTo::Tcp { host, .. }
            if host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) =>
        {
            Err(format!(
                "--config: forward.to is {host:?}; Envoy listens there, so it must be loopback or a Unix socket"
            ))
        }
        ForwardTo::Tcp { .. } | ForwardTo::Unix(_) => Ok(()),
    }
}

/// The bootstrap has one listener.
fn refuse_others(config: &Config) -> Result<(), Refusal> {
    let elsewhere = |relay: &&Relay| relay.forward_or(&config.forward).to != config.forward.to;
    match config.relays.iter().find(elsewhere) {
        Some(relay) => Err(format!(
            "--config: relay {} has a forward.to of its own, but the launcher's Envoy listens in one place; see envoy/several-relays.yaml",
            relay.name
        )),
        None => Ok(()),
    }
}

/// Envoy's working directory is not the user's, so the path is made absolute here.
pub fn absolute(option: &str, path: &Path) -> Result<String, Refusal> {
    let found: PathBuf = std::path::absolute(path).map_err(|e| format!("{option} {}: {e}", path.display()))?;
    if let Err(e) = File::open(&found) {
        return Err(format!("{option} {}: {e}", path.display()));
    }
    found
        .into_os_string()
        .into_string()
        .map_err(|_| format!("{option}: the path is not UTF-8"))
}

/// The report in the words of the command line: an option's name instead of the JSON path that it fills.
fn explain(errors: &ConfigErrors, file: Option<&Path>) -> Refusal {
    if let Some(path) = file {
        return format!(
            "--config {}:\n  {}",
            path.display(),
            errors.to_string().replace('\n', "\n  ")
        );
    }
    let lines: Vec<String> = errors
        .iter()
        .map(|error| {
            let text = error.to_string();
            OPTIONS
                .iter()
                .find_map(|(path, option)| Some(format!("{option}{}", text.strip_prefix(path)?)))
                .unwrap_or(text)
                .replace("set insecure: true", "use --insecure-relay")
        })
        .collect();
    lines.join("\n       ")
}

const OPTIONS: [(&str, &str); 9] = [
    ("relays[0].url:", "--relay-url (or SPECTRAL_BRIDGE_RELAY_URL):"),
    ("relays[0].tls.ca_file:", "--ca-file:"),
    ("relays[0].tls:", "--ca-file:"),
    ("relays[0].max_frame_bytes:", "--max-ws-message-bytes:"),
    ("relays[0].request_timeout:", "--request-timeout:"),
    ("relays[0].shutdown_grace:", "--shutdown-grace:"),
    ("forward.headers.authorization.env:", "--target-key-env:"),
    ("status.token.env:", "--status-token-env:"),
    ("forward.to:", "the private directory:"),
];

/// Where the options' names are told: the environment variable counts as its option.
pub fn relay_url_from_env() -> Option<String> {
    std::env::var(RELAY_URL_ENV).ok()
}

const DEFAULT_STATUS_PORT: u16 = 8841;
const MAX_CONFIG_BYTES: u64 = 1 << 20;

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
