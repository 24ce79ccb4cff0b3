//! On what a run was measured: figures without it say nothing.

use std::process::Command;

use e2e::world::envoy_binary;
use serde::{Deserialize, Serialize};

/// The machine and the parts. What could not be found out is empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Made {
    /// As the kernel calls the processor.
    pub cpu: String,
    /// How many cores of it.
    pub cores: usize,
    /// The kernel's name and version.
    pub kernel: String,
    /// Envoy's version.
    pub envoy: String,
    /// Length of a window, in seconds.
    pub seconds: f64,
}

impl Made {
    /// Here and now.
    pub fn here(seconds: f64) -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let name = |file: &str| read(&format!("/proc/sys/kernel/{file}")).trim().to_owned();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: release(&name("ostype"), &name("osrelease")),
            envoy: envoy_version(),
            seconds,
        }
    }
}

fn field(text: &str, name: &str) -> String {
    let value = |line: &str| Some(line.strip_prefix(name)?.trim().strip_prefix(':')?.trim().to_owned());
    text.lines().find_map(value).unwrap_or_default()
}

/// Without what a distribution or a host adds to the version.
fn release(name: &str, version: &str) -> String {
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    format!("{name} {numbers}").trim().to_owned()
}

/// Of `/path/of/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn envoy_version() -> String {
    let said = envoy_binary()
        .ok()
        .and_then(|envoy| Command::new(envoy).arg("--version").output().ok());
    let text = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    version_in(&text.unwrap_or_default())
}

fn version_in(text: &str) -> String {
    let parts = text.split_once("version:").map(|(_, parts)| parts);
    parts
        .and_then(|parts| parts.split('/').nth(1))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_says_is_read() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 3.00GHz\nmodel name\t: other\n";
        assert_eq!(field(text, "model name"), "Some CPU @ 3.00GHz");
        assert_eq!(field("processor: 0", "model name"), "");
        assert_eq!(release("Linux", "6.18.44-cloud-amd64"), "Linux 6.18.44");
        let said = "\n/opt/bin/envoy  version: 0123abcd/1.40.0/Clean/RELEASE/BoringSSL\n";
        assert_eq!(version_in(said), "1.40.0");
        assert_eq!(version_in("something else"), "");
    }
}
