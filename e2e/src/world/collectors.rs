//! Programs that people send telemetry to: the collector rotel, and the store VictoriaMetrics.
//!
//! Deliberately absent: installing them (the Makefile does), and our own collector, which is [`crate::otlp`].

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use super::{Process, Scratch, command, eventually, free_address, http, python, workspace};
use crate::failed::{Failed, Result};
use crate::otlp::Protocol;

/// rotel, printing everything that it takes. It ends with this value.
#[derive(Debug)]
pub struct Rotel {
    process: Process,
    grpc: String,
    http: String,
    _scratch: Scratch,
}

/// VictoriaMetrics, which takes OTLP metrics by HTTP and answers PromQL. It ends with this value.
#[derive(Debug)]
pub struct VictoriaMetrics {
    _process: Process,
    address: String,
    _scratch: Scratch,
}

/// A series in the answer to an instant query.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Value,
    /// Its value now.
    pub value: f64,
}

impl Rotel {
    /// Starts it on two free ports and waits until it listens.
    ///
    /// # Errors
    /// It is not installed or does not listen.
    pub async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let (grpc, http) = (free_address()?, free_address()?);
        let files = [("--pid-file", "pid"), ("--log-file", "log")];
        let mut program = command(python()?);
        program.args(["-c", RUN_ROTEL, "start", "--exporter", "blackhole"]);
        for signal in ["traces", "metrics", "logs"] {
            program.args(["--debug-log", signal]);
        }
        program.args(["--debug-log-verbosity", "detailed"]);
        program.args(["--otlp-grpc-endpoint", &grpc.to_string()]);
        program.args(["--otlp-http-endpoint", &http.to_string()]);
        for (option, file) in files {
            program.arg(option).arg(scratch.path().join(file));
        }
        let process = Process::start("rotel", &mut program)?;
        listens(&process, grpc).await?;
        listens(&process, http).await?;
        Ok(Self {
            process,
            grpc: format!("http://{grpc}"),
            http: format!("http://{http}"),
            _scratch: scratch,
        })
    }

    /// Where it takes `protocol`.
    #[must_use]
    pub fn endpoint(&self, protocol: Protocol) -> &str {
        match protocol {
            Protocol::Grpc => &self.grpc,
            Protocol::Http => &self.http,
        }
    }

    /// The spans that it printed so far, each as one line.
    #[must_use]
    pub fn spans(&self) -> Vec<String> {
        let entries = entries(&self.process.output());
        entries
            .into_iter()
            .filter(|entry| entry.starts_with("Span #"))
            .collect()
    }

    /// The process, whose output is what it took.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it printed an entry, such as a metric or a span, that has all of `parts`, white space aside; gives
    /// the entry.
    ///
    /// # Errors
    /// There was none within `deadline`; the error holds what it printed.
    pub async fn printed(&self, parts: &[&str], deadline: Duration) -> Result<String> {
        let what = format!("rotel prints {parts:?}");
        let seen = eventually(&what, deadline, || async {
            let entries = entries(&self.process.output());
            entries
                .into_iter()
                .find(|entry| parts.iter().all(|part| entry.contains(part)))
        });
        seen.await.map_err(|late| late.during(&self.process.output()))
    }
}

impl VictoriaMetrics {
    /// Starts it with an empty store on a free port and waits until it listens.
    ///
    /// # Errors
    /// It is not there (`make backends` gets it) or does not listen.
    pub async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let address = free_address()?;
        let mut program = command(Self::program("victoria-metrics")?);
        program.arg(format!("-storageDataPath={}", scratch.path().join("data").display()));
        program.arg(format!("-httpListenAddr={address}"));
        // Names as Prometheus has them; and a point is there to be asked for at once, not 30 s later.
        program.args([
            "-opentelemetry.usePrometheusNaming",
            "-search.latencyOffset=0s",
            "-retentionPeriod=1d",
        ]);
        let process = Process::start("victoria-metrics", &mut program)?;
        listens(&process, address).await?;
        Ok(Self {
            _process: process,
            address: format!("http://{address}"),
            _scratch: scratch,
        })
    }

    /// One of the programs of VictoriaMetrics: in `SPECTRAL_BRIDGE_BACKENDS`, else in `.venv-backends/usr/bin`.
    ///
    /// # Errors
    /// It is not there.
    pub fn program(name: &str) -> Result<PathBuf> {
        let named = std::env::var_os("SPECTRAL_BRIDGE_BACKENDS");
        let program = workspace()
            .join(named.unwrap_or_else(|| ".venv-backends/usr/bin".into()))
            .join(name);
        match program.exists() {
            true => Ok(program),
            false => Err(Failed::new(format!(
                "{} does not exist: run `make backends`",
                program.display()
            ))),
        }
    }

    /// Where it takes metrics: a value for `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}/opentelemetry/v1/metrics", self.address)
    }

    /// The URL of an instant query.
    #[must_use]
    pub fn query_url(&self, promql: &str) -> String {
        format!("{}/api/v1/query?query={}", self.address, percent(promql))
    }

    /// The answer to a PromQL query, now.
    ///
    /// # Errors
    /// It does not answer, or refuses the query.
    pub async fn query(&self, promql: &str) -> Result<Vec<Series>> {
        // What has come is asked for at once.
        http::get(&format!("{}/internal/force_flush", self.address)).await?;
        let reply = http::get(&self.query_url(promql)).await?;
        if !reply.status.is_success() {
            return Err(Failed::new(format!("{promql}: {}", reply.text())));
        }
        let answer = reply.json();
        let series = answer.pointer("/data/result").and_then(Value::as_array);
        let series = series.ok_or_else(|| Failed::new(format!("{promql}: {answer}")))?;
        let value = |series: &Value| series.pointer("/value/1")?.as_str()?.parse().ok();
        let read = series.iter().filter_map(|series| {
            Some(Series {
                labels: series.get("metric").cloned().unwrap_or_default(),
                value: value(series)?,
            })
        });
        Ok(read.collect())
    }

    /// Waits until the query `promql` has exactly one series, with this value.
    ///
    /// # Errors
    /// It had something else after `deadline`.
    pub async fn answers(&self, promql: &str, value: f64, deadline: Duration) -> Result<()> {
        let reached = eventually(promql, deadline, || async {
            let series = self.query(promql).await.ok()?;
            matches!(&series[..], [one] if one.value == value).then_some(())
        });
        match reached.await {
            Ok(()) => Ok(()),
            Err(late) => Err(late.during(&format!("{value} expected, {:?} seen", self.query(promql).await?))),
        }
    }
}

async fn listens(process: &Process, address: std::net::SocketAddr) -> Result<()> {
    let listening = eventually("it listens", PATIENCE, || async {
        TcpStream::connect(address).await.ok()
    });
    listening.await.map(drop).map_err(|late| late.during(&process.output()))
}

/// The entries that rotel printed, each as one line with single spaces.
fn entries(output: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    for line in output.lines() {
        let begins = ["Metric #", "Span #", "LogRecord #", "Resource"];
        if begins.iter().any(|begin| line.starts_with(begin)) {
            entries.push(String::new());
        }
        if let Some(entry) = entries.last_mut() {
            entry.extend(line.split_whitespace().flat_map(|word| [word, " "]));
        }
    }
    entries
}

/// Every byte percent-encoded: right for any query.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The wheel's program is linked to Python's own library, which may be in no place that the system looks at.
const RUN_ROTEL: &str = "\
import os, sys, sysconfig
import rotel
os.environ['LD_LIBRARY_PATH'] = ':'.join(filter(None, [sysconfig.get_config_var('LIBDIR'), os.environ.get('LD_LIBRARY_PATH')]))
program = os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent')
os.execv(program, [program, *sys.argv[1:]])
";

const PATIENCE: Duration = Duration::from_secs(20);
