//! What the checks found: told to people as it comes, to programs as one JSON object at the end.
//!
//! Every text passes [`Hidden`] on its way out. Deliberately absent: what any check means.

use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hidden::Hidden;

/// A check. Its name is stable: programs look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Id {
    Settings,
    Key,
    Secrets,
    Dns,
    Proxy,
    Tcp,
    Tls,
    Handshake,
    Protocol,
    Envoy,
    Module,
    Glibc,
    Config,
    Adapter,
    Collector,
}

/// What a failure is about; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Environment,
    Network,
    Tls,
    Relay,
    Envoy,
    Config,
    Adapter,
    Collector,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Ok,
    Failed,
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub status: Status,
    /// A failure's short name.
    pub code: Option<String>,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub advice: Option<String>,
}

/// A check that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which one.
    pub id: Id,
    /// The relay it is about, if it is about one.
    pub relay: Option<String>,
    /// What it found.
    pub finding: Finding,
    /// How long it took.
    pub took: Duration,
}

/// All checks so far.
#[derive(Debug)]
pub struct Report {
    checks: Vec<Check>,
    began: Instant,
    json: bool,
    colour: bool,
    /// What must not be shown.
    pub hidden: Hidden,
}

impl Id {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Key => "key",
            Self::Secrets => "secrets",
            Self::Dns => "dns",
            Self::Proxy => "proxy",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
            Self::Envoy => "envoy",
            Self::Module => "module",
            Self::Glibc => "glibc",
            Self::Config => "config",
            Self::Adapter => "adapter",
            Self::Collector => "collector",
        }
    }

    /// What its failure is about.
    pub fn class(self) -> Class {
        match self {
            Self::Settings | Self::Key | Self::Secrets => Class::Environment,
            Self::Dns | Self::Proxy | Self::Tcp => Class::Network,
            Self::Tls => Class::Tls,
            Self::Handshake | Self::Protocol => Class::Relay,
            Self::Envoy | Self::Module | Self::Glibc => Class::Envoy,
            Self::Config => Class::Config,
            Self::Adapter => Class::Adapter,
            Self::Collector => Class::Collector,
        }
    }
}

impl Class {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Relay => "relay",
            Self::Envoy => "envoy",
            Self::Config => "config",
            Self::Adapter => "adapter",
            Self::Collector => "collector",
        }
    }

    /// 1 is doctor's own failure, 2 a mistake on the command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Environment => 3,
            Self::Network => 4,
            Self::Tls => 5,
            Self::Relay => 6,
            Self::Envoy => 7,
            Self::Config => 8,
            Self::Adapter => 9,
            Self::Collector => 10,
        }
    }
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// For people.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Failed | Self::Skipped => self.name(),
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Failed => "\x1b[1;31m",
            Self::Skipped => "\x1b[33m",
        }
    }
}

impl Finding {
    /// All is well.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self {
            status: Status::Ok,
            code: None,
            detail: detail.into(),
            advice: None,
        }
    }

    /// Something must be mended.
    pub fn failed(code: &str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            code: Some(code.to_owned()),
            detail: detail.into(),
            advice: Some(advice.into()).filter(|advice| !advice.is_empty()),
        }
    }

    /// It was not tried.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self {
            status: Status::Skipped,
            code: None,
            detail: why.into(),
            advice: None,
        }
    }

    /// It was not tried since `id` failed.
    pub fn after(id: Id) -> Self {
        Self::skipped(format!("not tried, since {} failed", id.name()))
    }

    /// The same, with what to do.
    #[must_use]
    pub fn advising(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl Report {
    /// An empty one; without `json` each check is printed as it comes.
    pub fn new(json: bool) -> Self {
        Self {
            checks: Vec::new(),
            began: Instant::now(),
            json,
            colour: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            hidden: Hidden::default(),
        }
    }

    /// Takes a check in.
    pub fn add(&mut self, id: Id, relay: Option<&str>, took: Duration, mut finding: Finding) {
        finding.detail = self.hidden.clean(&finding.detail);
        finding.advice = finding.advice.map(|advice| self.hidden.clean(&advice));
        let check = Check {
            id,
            relay: relay.map(str::to_owned),
            finding,
            took,
        };
        if !self.json {
            // nobody may be reading any more
            let _ = writeln!(stdout().lock(), "{}", line(&check, self.colour));
        }
        self.checks.push(check);
    }

    /// The first of `ids` that failed.
    pub fn failed_of(&self, ids: &[Id]) -> Option<Id> {
        let failed = |check: &&Check| check.finding.status == Status::Failed && ids.contains(&check.id);
        self.checks.iter().find(failed).map(|check| check.id)
    }

    /// Whether this check of this relay failed.
    pub fn failed_for(&self, id: Id, relay: &str) -> bool {
        self.checks.iter().any(|check| {
            check.id == id && check.relay.as_deref() == Some(relay) && check.finding.status == Status::Failed
        })
    }

    /// Prints the end; gives the exit code.
    pub fn finish(&self) -> ExitCode {
        let first = first_failure(&self.checks);
        let text = if self.json {
            let value = as_json(&self.checks, self.began.elapsed());
            serde_json::to_string_pretty(&value).unwrap_or_default()
        } else {
            summary(&self.checks)
        };
        let _ = writeln!(stdout().lock(), "{text}");
        first.map_or(ExitCode::SUCCESS, |check| ExitCode::from(check.id.class().exit_code()))
    }
}

fn first_failure(checks: &[Check]) -> Option<&Check> {
    checks.iter().find(|check| check.finding.status == Status::Failed)
}

fn line(check: &Check, colour: bool) -> String {
    let Finding {
        status, detail, advice, ..
    } = &check.finding;
    let (on, off) = if colour { (status.colour(), "\x1b[0m") } else { ("", "") };
    let mut text = format!("{on}{:<7}{off}  {:<9}  ", status.word(), check.id.name());
    if let Some(relay) = &check.relay {
        text.push_str(&format!("[{relay}] "));
    }
    text.push_str(&indented(detail));
    if let Some(advice) = advice {
        text.push_str(&format!("\n{:INDENT$}-> {}", "", indented(advice)));
    }
    text
}

fn indented(text: &str) -> String {
    text.replace('\n', &format!("\n{:INDENT$}", ""))
}

fn summary(checks: &[Check]) -> String {
    let count = |status| checks.iter().filter(|check| check.finding.status == status).count();
    let (failed, skipped) = (count(Status::Failed), count(Status::Skipped));
    match first_failure(checks) {
        None if skipped == 0 => "\nAll is well.".to_owned(),
        None => format!("\nNothing failed, {skipped} not tried."),
        Some(first) => format!(
            "\n{failed} failed, {skipped} not tried; begin with {} (exit code {}).",
            first.id.name(),
            first.id.class().exit_code()
        ),
    }
}

fn as_json(checks: &[Check], took: Duration) -> Value {
    let first = first_failure(checks);
    let checks: Vec<Value> = checks.iter().map(check_json).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "result": if first.is_some() { "failed" } else { "ok" },
        "class": first.map(|check| check.id.class().name()),
        "exit_code": first.map_or(0, |check| check.id.class().exit_code()),
        "duration_ms": milliseconds(took),
        "checks": checks,
    })
}

fn check_json(check: &Check) -> Value {
    let finding = &check.finding;
    json!({
        "id": check.id.name(),
        "class": check.id.class().name(),
        "relay": check.relay,
        "status": finding.status.name(),
        "code": finding.code,
        "detail": finding.detail,
        "advice": finding.advice,
        "duration_ms": milliseconds(check.took),
    })
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Where details begin.
const INDENT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: Id, finding: Finding) -> Check {
        Check {
            id,
            relay: None,
            finding,
            took: Duration::from_millis(12),
        }
    }

    #[test]
    fn people_see_status_check_detail_and_what_to_do() {
        let ok = check(Id::Dns, Finding::ok("relay.example.com is 203.0.113.7"));
        assert_eq!(line(&ok, false), "OK       dns        relay.example.com is 203.0.113.7");
        let failed = check(Id::Config, Finding::failed("config", "no\nno", "mend it"));
        assert_eq!(
            line(&failed, false),
            "failed   config     no\n                    no\n                    -> mend it"
        );
        let mut named = check(Id::Tls, Finding::after(Id::Tcp));
        named.relay = Some("a".to_owned());
        assert_eq!(
            line(&named, false),
            "skipped  tls        [a] not tried, since tcp failed"
        );
        assert!(line(&named, true).starts_with("\x1b[33mskipped\x1b[0m  tls"));
    }

    #[test]
    fn the_first_failure_decides() {
        let checks = [
            check(Id::Settings, Finding::ok("")),
            check(Id::Tls, Finding::failed("tls_expired", "old", "renew")),
            check(Id::Adapter, Finding::failed("refused", "no", "start it")),
            check(Id::Collector, Finding::skipped("none")),
        ];
        let value = as_json(&checks, Duration::from_millis(1500));
        assert_eq!(
            (
                &value["result"],
                &value["class"],
                &value["exit_code"],
                &value["duration_ms"]
            ),
            (&json!("failed"), &json!("tls"), &json!(5), &json!(1500))
        );
        assert_eq!(
            value["checks"][1],
            json!({
                "id": "tls", "class": "tls", "relay": null, "status": "failed", "code": "tls_expired",
                "detail": "old", "advice": "renew", "duration_ms": 12
            })
        );
        assert_eq!(
            summary(&checks),
            "\n2 failed, 1 not tried; begin with tls (exit code 5)."
        );
        assert_eq!(as_json(&checks[..1], Duration::ZERO)["class"], Value::Null);
        assert_eq!(summary(&checks[..1]), "\nAll is well.");
    }

    #[test]
    fn every_class_has_a_code_of_its_own() {
        let ids = [
            Id::Settings,
            Id::Dns,
            Id::Tls,
            Id::Handshake,
            Id::Envoy,
            Id::Config,
            Id::Adapter,
            Id::Collector,
        ];
        let codes: Vec<u8> = ids.iter().map(|id| id.class().exit_code()).collect();
        assert_eq!(codes, (3..=10).collect::<Vec<u8>>());
    }
}
