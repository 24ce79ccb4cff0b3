//! The first checks: can the options, the environment and the files be understood, and is every secret there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spectral_bridge::config::{Config, Proxy, SecretSource};
use spectral_bridge::secret::{Secret, SecretError, describe};

use super::args::DoctorArgs;
use super::given;
use super::hidden::Hidden;
use super::report::{Finding, Id, Report};
use crate::Refusal;
use crate::bootstrap::system_roots;
use crate::cli::API_KEY_ENV;
use crate::private_dir::PrivateDir;
use crate::settings::absolute;
use crate::start;
use crate::target::Target;

/// What is to be checked.
#[derive(Debug)]
pub struct Plan {
    /// The module's configuration.
    pub config: Config,
    /// The model.
    pub target: Option<Target>,
    /// PEM roots for an https target.
    pub target_roots: Option<PathBuf>,
    /// What Envoy would be started with.
    pub envoy_config: EnvoyConfig,
}

/// An Envoy configuration.
#[derive(Debug)]
pub enum EnvoyConfig {
    /// As `start` would write it, into this directory.
    Generated(String, PrivateDir),
    /// The user's file.
    Given(PathBuf),
}

/// Reads what was asked for, and its secrets; `None` when it cannot be understood.
pub fn check(options: &DoctorArgs, report: &mut Report) -> Option<Plan> {
    hide_environment(&mut report.hidden);
    let began = Instant::now();
    let plan = match make(options) {
        Ok(plan) => plan,
        Err(refusal) => {
            let finding = Finding::failed("settings", refusal, REMEDY);
            report.add(Id::Settings, None, began.elapsed(), finding);
            report.add(Id::Key, None, Duration::ZERO, Finding::after(Id::Settings));
            return None;
        }
    };
    for source in plan.config.secrets().chain(proxy_passwords(&plan.config)) {
        if let Ok(secret) = Secret::read(source) {
            report.hidden.add(secret.expose());
        }
    }
    report.add(Id::Settings, None, began.elapsed(), settled(options, &plan));
    let in_file = options.config.is_some() || options.envoy_config.is_some();
    for relay in &plan.config.relays {
        let began = Instant::now();
        report.add(
            Id::Key,
            Some(&relay.name),
            began.elapsed(),
            key(&relay.api_key, in_file),
        );
    }
    if let Some(finding) = others(&plan.config) {
        report.add(Id::Secrets, None, Duration::ZERO, finding);
    }
    Some(plan)
}

fn make(options: &DoctorArgs) -> Result<Plan, Refusal> {
    let target_roots = match &options.envoy.target_ca_file {
        Some(path) => Some(PathBuf::from(absolute("--target-ca-file", path)?)),
        None => system_roots(std::env::var_os("SSL_CERT_FILE").as_deref().map(Path::new)).map(PathBuf::from),
    };
    if let Some(file) = &options.envoy_config {
        return Ok(Plan {
            config: given::read(file)?,
            target: options.target.as_deref().map(Target::parse).transpose()?,
            target_roots,
            envoy_config: EnvoyConfig::Given(file.clone()),
        });
    }
    let directory = PrivateDir::create()?;
    let (adapter, admin) = (directory.join("adapter.sock"), directory.join("admin.sock"));
    // without --envoy-config the command line insists on a target
    let start = options.as_start(options.target.as_deref().unwrap_or_default());
    let plan = start::Plan::make(&start, &adapter, admin)?;
    let text = plan.render()?;
    Ok(Plan {
        config: plan.settings.config,
        target: Some(plan.target),
        target_roots,
        envoy_config: EnvoyConfig::Generated(text, directory),
    })
}

fn settled(options: &DoctorArgs, plan: &Plan) -> Finding {
    let relays: Vec<String> = plan.config.relays.iter().map(|relay| relay.url.to_string()).collect();
    let relays = if relays.is_empty() {
        "no relay".to_owned()
    } else {
        format!("relay {}", relays.join(", "))
    };
    let source = match (&options.envoy_config, &options.config) {
        (Some(file), _) | (None, Some(file)) => format!(" ({})", file.display()),
        (None, None) => String::new(),
    };
    let target = plan
        .target
        .as_ref()
        .map_or_else(String::new, |target| format!(", target {target}"));
    let finding = Finding::ok(format!("{relays}{source}{target}"));
    let mut notes = plan.config.warnings();
    notes.extend(plan.target.as_ref().and_then(Target::warning));
    if notes.is_empty() {
        finding
    } else {
        finding.advising(notes.join("\n"))
    }
}

/// Whether a key is there and looks like one; `in_file` when a configuration, not an option, says where it is.
fn key(source: &SecretSource, in_file: bool) -> Finding {
    let described = describe(source);
    match Secret::read(source) {
        Ok(secret) => match misshapen(secret.expose()) {
            None => Finding::ok(format!("{described}: {} characters", secret.expose().len())),
            Some((why, advice)) => Finding::failed("key_malformed", format!("{described}: {why}"), advice),
        },
        Err(error @ SecretError::Env(_)) => {
            let SecretSource::Env(name) = source else {
                return Finding::failed("key_missing", error.to_string(), "");
            };
            let advice = format!("set it to the API key that your platform gave you: export {name}=...");
            let advice = if !in_file && name == API_KEY_ENV {
                format!("{advice}, or name a file that has it with --api-key-file")
            } else {
                format!("{advice}; the configuration names this variable in api_key")
            };
            Finding::failed("key_missing", error.to_string(), advice)
        }
        Err(error @ SecretError::File { .. }) => {
            let advice = format!("write the API key into it, readable for this user ({described})");
            Finding::failed("key_missing", error.to_string(), advice)
        }
        Err(error @ SecretError::NotVisibleAscii { .. }) => {
            Finding::failed("key_malformed", error.to_string(), "copy the key again, as plain text")
        }
    }
}

/// What cannot be in a bearer token (RFC 6750 §2.1) though a header can carry it: traces of how it was copied.
fn misshapen(key: &str) -> Option<(&'static str, &'static str)> {
    let quoted = |quote| key.starts_with(quote) || key.ends_with(quote);
    if quoted('"') || quoted('\'') {
        Some((
            "the key is in quotes",
            "remove the quotes: they are sent as a part of the key",
        ))
    } else if key.to_ascii_lowercase().starts_with("bearer ") {
        Some((
            "the key begins with `Bearer`",
            "give the key alone, `Bearer` is put before it",
        ))
    } else if key.contains(char::is_whitespace) {
        Some(("the key has white space in it", "copy the key again: it is one word"))
    } else {
        None
    }
}

/// The secrets besides the keys; `None` when there are none.
fn others(config: &Config) -> Option<Finding> {
    let is_key = |source: &SecretSource| config.relays.iter().any(|relay| relay.api_key == *source);
    let sources: Vec<&SecretSource> = config
        .secrets()
        .chain(proxy_passwords(config))
        .filter(|source| !is_key(source))
        .collect();
    let missing: Vec<String> = sources
        .iter()
        .filter_map(|source| Secret::read(source).err())
        .map(|error| error.to_string())
        .collect();
    if sources.is_empty() {
        None
    } else if missing.is_empty() {
        let described: Vec<String> = sources.iter().map(|source| describe(source)).collect();
        Some(Finding::ok(described.join(", ")))
    } else {
        let advice = "set the variable or write the file that is named";
        Some(Finding::failed("secret_missing", missing.join("\n"), advice))
    }
}

fn proxy_passwords(config: &Config) -> impl Iterator<Item = &SecretSource> {
    config.relays.iter().filter_map(|relay| match &relay.proxy {
        Proxy::Http(proxy) => proxy.credentials.as_ref().map(|credentials| &credentials.password),
        Proxy::FromEnv | Proxy::None => None,
    })
}

/// Passwords in proxies' URLs and the values of telemetry's headers.
fn hide_environment(hidden: &mut Hidden) {
    for (name, value) in std::env::vars() {
        let name = name.to_ascii_uppercase();
        if name.ends_with("_PROXY") {
            let userinfo = value.rsplit_once('@').map(|(before, _)| before);
            let password = userinfo
                .and_then(|before| before.rsplit_once(':'))
                .map(|(_, password)| password);
            hidden.add(password.unwrap_or_default());
        } else if name.starts_with("OTEL_EXPORTER_OTLP") && name.ends_with("HEADERS") {
            for (_, value) in value.split(',').filter_map(|pair| pair.split_once('=')) {
                hidden.add(&value.replace("%20", " "));
            }
        }
    }
}

const REMEDY: &str = "correct the option or the file that is named; `spectral-bridge start --help` lists the options";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_copying_are_found_in_a_key() {
        for (key, words) in [
            ("\"sk-1\"", "quotes"),
            ("sk-1'", "quotes"),
            ("Bearer sk-1", "`Bearer`"),
            ("sk 1", "white space"),
        ] {
            assert!(misshapen(key).unwrap().0.contains(words), "{key}");
        }
        assert_eq!(misshapen("sk-proj_A.b~c+d/e=="), None);
    }
}
