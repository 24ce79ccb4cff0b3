//! Envoy's own word about the configuration: `--mode validate`, its message shortened.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::plan::EnvoyConfig;
use super::programs;
use super::report::Finding;
use crate::logs::ENVOY_LOG_FORMAT;

/// Runs Envoy on the configuration, with nothing dialled, bound or started.
pub async fn check(config: &EnvoyConfig, envoy: &Path, lib_dir: &Path) -> Finding {
    let file = match written(config) {
        Ok(file) => file,
        Err(why) => return Finding::failed("config_unwritten", why, "is the directory for temporary files full?"),
    };
    let fixed = ["--mode", "validate", "--disable-hot-restart", "-l", "warning"];
    let mut arguments: Vec<OsString> = fixed.map(Into::into).to_vec();
    arguments.extend(["--log-format", ENVOY_LOG_FORMAT, "-c"].map(Into::into));
    arguments.push(file.clone().into());
    let path = [("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", lib_dir)];
    let shown = match config {
        EnvoyConfig::Generated(..) => "the configuration that `start` would use".to_owned(),
        EnvoyConfig::Given(file) => file.display().to_string(),
    };
    match programs::run(envoy, &arguments, &path, DEADLINE).await {
        Err(why) => Finding::failed("envoy_broken", format!("envoy --mode validate: {why}"), ""),
        Ok(ended) if ended.success => Finding::ok(format!("Envoy takes {shown}")),
        Ok(ended) => Finding::failed(
            "config_refused",
            format!("Envoy refuses {shown}:\n{}", complaint(&ended.text)),
            "correct what is named; the whole message: envoy --mode validate -c FILE, with the module's directory in \
             ENVOY_DYNAMIC_MODULES_SEARCH_PATH (`spectral-bridge config` prints the file)",
        ),
    }
}

fn written(config: &EnvoyConfig) -> Result<PathBuf, String> {
    match config {
        EnvoyConfig::Given(file) => Ok(file.clone()),
        EnvoyConfig::Generated(text, directory) => {
            let file = directory.join("envoy.yaml");
            let open = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&file);
            open.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|e| format!("{}: {e}", file.display()))?;
            Ok(file)
        }
    }
}

/// The errors among Envoy's lines, each once, and not all of a long one.
fn complaint(output: &str) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut in_error = false;
    for line in output.lines() {
        match message(line) {
            Some((level, text)) => {
                in_error = matches!(level, "error" | "critical");
                if in_error {
                    messages.push(text.to_owned());
                }
            }
            // goes on from the line before; before the first one Envoy has no log format yet
            None if in_error || messages.is_empty() => {
                if let Some(last) = messages.last_mut() {
                    last.push('\n');
                    last.push_str(line);
                } else if !line.trim().is_empty() {
                    messages.push(line.to_owned());
                }
            }
            None => {}
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    for text in messages.iter().flat_map(|message| message.lines()).map(str::trim_end) {
        if !text.is_empty() && !kept.iter().any(|known| known.contains(text)) {
            kept.push(text);
        }
    }
    if kept.is_empty() {
        return "it says nothing about why".to_owned();
    }
    kept.truncate(MAX_LINES);
    let lines: Vec<String> = kept.into_iter().map(shortened).collect();
    lines.join("\n")
}

/// Level and message out of `[time][level][component] message`.
fn message(line: &str) -> Option<(&str, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("][")?;
    let (level, rest) = rest.split_once("][")?;
    let (_component, text) = rest.split_once(']')?;
    time.starts_with(|c: char| c.is_ascii_digit())
        .then_some((level, text.trim_start()))
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= MAX_CHARS {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(MAX_CHARS).collect();
    short.push('…');
    short
}

const DEADLINE: Duration = Duration::from_secs(30);
const MAX_LINES: usize = 8;
const MAX_CHARS: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_kept_once_and_warnings_left_out() {
        let output = "[10:00:00.001][warning][main] something else\n\
                      [10:00:00.002][error][dynamic_modules] relays[0].url: missing\n  and more\n\
                      [10:00:00.003][critical][main] error initializing configuration: refused\n\
                      [10:00:00.004][info][main] exiting\nrefused\n";
        assert_eq!(
            complaint(output),
            "relays[0].url: missing\n  and more\nerror initializing configuration: refused"
        );
        assert_eq!(complaint("PARSE ERROR: Argument: -x\n\n"), "PARSE ERROR: Argument: -x");
        assert_eq!(complaint(""), "it says nothing about why");
        let long = format!("[1][error][x] {}", "y".repeat(1000));
        assert_eq!(complaint(&long).chars().count(), MAX_CHARS + 1);
    }
}
