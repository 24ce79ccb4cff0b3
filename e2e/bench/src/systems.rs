//! Who is measured, and the processes that this takes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::failed::{Failed, Result};
use e2e::world::{Scratch, command, envoy_binary, eventually, free_address, http, library_dir, render, workspace};
use tokio::process::{Child, Command};

use crate::load::{Load, Seen};
use crate::peer::Peer;
use crate::relay::Relay;
use crate::usage::Meter;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum System {
    /// `spectral-bridge start-relay`, without its adapter process, straight to the model.
    Reference,
    /// The module in Envoy, on `envoy/sidecar.yaml`.
    Module,
    /// The bare forwarder through the same listener of the same Envoy.
    BareEnvoy,
    /// The bare forwarder straight to the model.
    Bare,
    /// A client that answers frames itself.
    Answerer,
    /// HTTP through another listener of the same Envoy, without relay.
    PlainEnvoy,
    /// HTTP straight to the model.
    Model,
    /// HTTP through another Envoy without relay, with the filter `usage`.
    Tapped,
    /// HTTP through the same listener of that Envoy, without the filter.
    Untapped,
}

/// Who carries requests, in the order in which they take turns.
pub const ALL: [System; 7] = [
    System::Reference,
    System::Module,
    System::BareEnvoy,
    System::PlainEnvoy,
    System::Bare,
    System::Answerer,
    System::Model,
];

impl System {
    /// As the command line and the results call it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Module => "module",
            Self::BareEnvoy => "bare_envoy",
            Self::Bare => "bare",
            Self::Answerer => "answerer",
            Self::PlainEnvoy => "plain_envoy",
            Self::Model => "model",
            Self::Tapped => "tapped",
            Self::Untapped => "untapped",
        }
    }

    /// Whether it connects to the relay.
    fn is_client(self) -> bool {
        match self {
            Self::Reference | Self::Module | Self::BareEnvoy | Self::Bare | Self::Answerer => true,
            Self::PlainEnvoy | Self::Model | Self::Tapped | Self::Untapped => false,
        }
    }

    /// As the report calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Reference => "Python reference client 0.5.0",
            Self::Module => "module in Envoy",
            Self::BareEnvoy => "bare forwarder, same Envoy",
            Self::Bare => "bare forwarder, no Envoy",
            Self::Answerer => "WebSocket alone, no HTTP",
            Self::PlainEnvoy => "plain Envoy, no relay",
            Self::Model => "model directly, no relay",
            Self::Tapped => "plain Envoy with the filter `usage`",
            Self::Untapped => "the same Envoy without the filter",
        }
    }
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct Started {
    child: Child,
}

impl Started {
    fn new(command: &mut Command, log: &Path) -> Result<Self> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        // access logs and receipts go nowhere: a reader of them would take part in the race
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|e| Failed::new(format!("{program} cannot be started: {e}")))?;
        Ok(Self { child })
    }

    /// Its process id; none once it has ended.
    pub fn id(&self) -> Vec<u32> {
        self.child.id().into_iter().collect()
    }

    /// Ends it and waits for its end.
    pub async fn end(mut self) {
        drop(self.child.kill().await);
    }
}

/// Everything that takes part.
#[derive(Debug)]
pub struct World {
    scratch: Scratch,
    relay: Relay,
    model: Started,
    model_at: SocketAddr,
    envoy: Started,
    plain_at: SocketAddr,
    tapping: Started,
    tapped_at: SocketAddr,
    untapped_at: SocketAddr,
    reference: Option<Started>,
    bare: Started,
    bare_envoy: Started,
    answerer: Started,
}

impl World {
    /// Starts everything and waits until every client is connected.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(with_reference: bool) -> Result<Self> {
        let scratch = Scratch::new()?;
        let relay = Relay::start().await?;
        let (model_at, plain_at) = (free_address()?, free_address()?);
        let log = scratch.path().join("processes.log");
        let model = Started::new(role("model").args(["--listen", &model_at.to_string()]), &log)?;
        eventually("the model answers", PATIENCE, || async { count(model_at).await.ok() }).await?;
        let listeners = [Listener::plain(plain_at)];
        let envoy = envoy(&scratch, &relay, System::Module.id(), model_at, &listeners, true)?;
        relay.peer(System::Module.id()).await?;
        let (tapped_at, untapped_at) = (free_address()?, free_address()?);
        let listeners = [Listener::tapped(tapped_at), Listener::plain(untapped_at)];
        let tapping = self::envoy(&scratch, &relay, System::Tapped.id(), model_at, &listeners, false)?;
        listens(untapped_at).await?;
        let reference = match with_reference {
            true => Some(reference(&scratch, &relay, System::Reference.id(), model_at)?),
            false => None,
        };
        let socket = format!("unix://{}", socket(&scratch, System::Module.id()).display());
        let bare_envoy = bare(&relay, System::BareEnvoy.id(), &socket, &log)?;
        let bare = bare(&relay, System::Bare.id(), &format!("http://{model_at}"), &log)?;
        let mut answerer = role("answerer");
        answerer.args(["--relay", &relay.url(), "--key", System::Answerer.id()]);
        let answerer = Started::new(&mut answerer, &log)?;
        let world = Self {
            scratch,
            relay,
            model,
            model_at,
            envoy,
            plain_at,
            tapping,
            tapped_at,
            untapped_at,
            reference,
            bare,
            bare_envoy,
            answerer,
        };
        for system in ALL {
            let with = system != System::Reference || with_reference;
            if with && system.is_client() {
                world.relay.peer(system.id()).await?;
            }
        }
        Ok(world)
    }

    /// Puts `load` on `system` and checks that the model answered each request once.
    ///
    /// # Errors
    /// The run is void.
    pub async fn run(&self, system: System, load: &Load) -> Result<Seen> {
        let load = Load {
            meter: self.meter(system),
            ..load.clone()
        };
        let before = count(self.model_at).await?;
        let seen = match system {
            System::PlainEnvoy => crate::http::run(self.plain_at, &load).await?,
            System::Model => crate::http::run(self.model_at, &load).await?,
            System::Tapped => crate::http::run(self.tapped_at, &load).await?,
            System::Untapped => crate::http::run(self.untapped_at, &load).await?,
            System::Reference | System::Module | System::BareEnvoy | System::Bare | System::Answerer => {
                self.relay.peer(system.id()).await?.run(&load).await?
            }
        };
        let asked = count(self.model_at).await? - before;
        let expected = if system == System::Answerer { 0 } else { seen.sent };
        if asked != expected {
            return Err(Failed::new(format!(
                "the model answered {asked} requests instead of {expected}"
            )));
        }
        Ok(seen)
    }

    /// Whose cost is the system's.
    pub fn meter(&self, system: System) -> Meter {
        let client = match system {
            System::Reference => self.reference.as_ref().map(Started::id).unwrap_or_default(),
            System::Module | System::PlainEnvoy => self.envoy.id(),
            System::BareEnvoy => [self.bare_envoy.id(), self.envoy.id()].concat(),
            System::Bare => self.bare.id(),
            System::Answerer => self.answerer.id(),
            System::Model => Vec::new(),
            System::Tapped | System::Untapped => self.tapping.id(),
        };
        Meter {
            client,
            model: self.model.id(),
        }
    }

    /// Starts `system` once more, beside the others, and measures the time to its first answer.
    ///
    /// # Errors
    /// It does not start, or the run is void.
    pub async fn first_answer(&self, system: System, load: &Load, number: u32) -> Result<(Duration, Started, Peer)> {
        let key = format!("{}-{number}", system.id());
        let log = self.scratch.path().join("processes.log");
        let listeners = [Listener::plain(free_address()?)];
        let began = Instant::now();
        let started = match system {
            System::Reference => reference(&self.scratch, &self.relay, &key, self.model_at)?,
            System::Module => envoy(&self.scratch, &self.relay, &key, self.model_at, &listeners, true)?,
            System::BareEnvoy
            | System::Bare
            | System::Answerer
            | System::PlainEnvoy
            | System::Model
            | System::Tapped
            | System::Untapped => bare(&self.relay, &key, &format!("http://{}", self.model_at), &log)?,
        };
        let peer = self.relay.peer(&key).await?;
        peer.run(load).await?;
        Ok((began.elapsed(), started, peer))
    }

    /// An Envoy on the same file without the module, ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn envoy_alone(&self) -> Result<Started> {
        let plain = free_address()?;
        let listeners = [Listener::plain(plain)];
        let started = envoy(&self.scratch, &self.relay, "alone", self.model_at, &listeners, false)?;
        listens(plain).await?;
        Ok(started)
    }

    /// What the processes said, for a run that failed.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.scratch.path().join("processes.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

async fn listens(at: SocketAddr) -> Result<()> {
    eventually("Envoy without a relay listens", PATIENCE, || async {
        tokio::net::TcpStream::connect(at).await.ok()
    })
    .await?;
    Ok(())
}

async fn count(model: SocketAddr) -> Result<u64> {
    let reply = http::get(&format!("http://{model}{}", crate::model::COUNT)).await?;
    Ok(String::from_utf8_lossy(&reply.body).trim().parse()?)
}

fn role(name: &str) -> Command {
    let mut role = command(std::env::current_exe().unwrap_or_else(|_| "bench".into()));
    role.arg(name);
    role
}

fn bare(relay: &Relay, key: &str, to: &str, log: &Path) -> Result<Started> {
    Started::new(
        role("bare").args(["--relay", &relay.url(), "--key", key, "--to", to]),
        log,
    )
}

fn reference(scratch: &Scratch, relay: &Relay, key: &str, model: SocketAddr) -> Result<Started> {
    let program = workspace().join(std::env::var_os("SPECTRAL_BRIDGE_REFERENCE").unwrap_or_else(|| REFERENCE.into()));
    let mut client = command(&program);
    client.args(["start-relay", "--insecure-relay", "--relay-url", &relay.url()]);
    client.args(["--adapter-url", &format!("http://{model}")]);
    client.args(["--max-ws-message-bytes", "67108864"]);
    client.env("SPECTRAL_BRIDGE_API_KEY", key);
    Started::new(&mut client, &scratch.path().join("processes.log"))
}

fn socket(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.path().join(format!("{name}.sock"))
}

/// The local listener once more, on TCP.
struct Listener {
    at: SocketAddr,
    /// With the filter `usage`.
    is_tapped: bool,
}

impl Listener {
    fn plain(at: SocketAddr) -> Self {
        Self { at, is_tapped: false }
    }

    fn tapped(at: SocketAddr) -> Self {
        Self { at, is_tapped: true }
    }
}

/// Envoy on the shipped sidecar configuration, with more listeners.
fn envoy(
    scratch: &Scratch,
    relay: &Relay,
    name: &str,
    model: SocketAddr,
    listeners: &[Listener],
    module: bool,
) -> Result<Started> {
    let (admin, status) = (free_address()?, free_address()?);
    let text = render(
        &workspace().join("envoy/sidecar.yaml"),
        &[
            ("wss://relay.example.com/connect", &relay.url()),
            ("# insecure: false ", "insecure: true # "),
            (
                "/run/spectral-bridge/adapter.sock",
                &socket(scratch, name).display().to_string(),
            ),
            ("port_value: 9901", &format!("port_value: {}", admin.port())),
            ("port_value: 8000", &format!("port_value: {}", model.port())),
            ("port_value: 8841", &format!("port_value: {}", status.port())),
            ("127.0.0.1:8841", &status.to_string()),
        ],
    )?;
    let config = scratch.write(&format!("{name}.yaml"), edited(&text, listeners, module)?)?;
    let mut envoy = command(envoy_binary()?);
    envoy
        .arg("-c")
        .arg(config)
        .args(["--disable-hot-restart", "--log-level", "warning"]);
    envoy.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", library_dir()?);
    envoy.env("SPECTRAL_BRIDGE_API_KEY", name);
    Started::new(&mut envoy, &scratch.path().join("processes.log"))
}

fn edited(text: &str, listeners: &[Listener], module: bool) -> Result<String> {
    let missing = |what: &str| Failed::new(format!("envoy/sidecar.yaml has no {what}"));
    let listener = text.find("  - name: adapter\n").ok_or_else(|| missing("listener"))?;
    let clusters = text.find("\n  clusters:\n").ok_or_else(|| missing("clusters"))?;
    let same = text.get(listener..clusters).ok_or_else(|| missing("listener"))?;
    let (from, to) = (same.find("address:"), same.find("per_connection_buffer_limit_bytes"));
    let (Some(from), Some(to)) = (from, to) else {
        return Err(missing("address"));
    };
    let (head, tail) = (same.get(..from).unwrap_or_default(), same.get(to..).unwrap_or_default());
    let mut all = text.to_owned();
    for Listener { at, is_tapped } in listeners {
        let head = head.replace("name: adapter", &format!("name: plain-{}", at.port()));
        let address = format!(
            "address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}\n    ",
            at.port()
        );
        let tail = match is_tapped {
            true => tail.replace(HTTP_FILTERS, &format!("{HTTP_FILTERS}{USAGE_FILTER}")),
            false => tail.to_owned(),
        };
        if *is_tapped && !tail.contains(USAGE_FILTER) {
            return Err(missing("http_filters"));
        }
        all.insert_str(clusters, &format!("\n{head}{address}{tail}"));
    }
    if module {
        return Ok(all);
    }
    let (from, to) = (all.find("bootstrap_extensions:"), all.find("static_resources:"));
    let (Some(from), Some(to)) = (from, to) else {
        return Err(missing("bootstrap_extensions"));
    };
    all.replace_range(from..to, "");
    Ok(all)
}

const HTTP_FILTERS: &str = "          http_filters:\n";

const USAGE_FILTER: &str = r#"          - name: usage
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config: { name: spectral_bridge, do_not_close: true, metrics_namespace: spectral_bridge }
              filter_name: usage
"#;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where `make bench` installs the reference client.
const REFERENCE: &str = ".venv-bench/bin/spectral-bridge";
