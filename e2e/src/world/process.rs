//! A child process: its output is collected and searchable, signals go to its id, and it never outlives its test.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failed::{Failed, Result};
use crate::locked;

/// A running child process. Dropping it ends it and what it started; if the test panicked, its output is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    output: Output,
    readers: JoinSet<()>,
}

/// What the process wrote to stdout and stderr, in the order it came.
#[derive(Debug, Clone)]
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    changed: watch::Sender<()>,
}

/// A command that starts with a clean slate of the variables that would change a test's outcome.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for proxy in ["http", "https", "ws", "wss", "all", "no"].map(|scheme| format!("{scheme}_proxy")) {
        command.env_remove(proxy.to_ascii_uppercase()).env_remove(proxy);
    }
    // The platform's roots, where a test does not name its own.
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command
        .env_remove("SPECTRAL_BRIDGE_API_KEY")
        .env_remove("SPECTRAL_BRIDGE_RELAY_URL");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

impl Process {
    /// Starts `command`; `name` marks its output.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own: what it starts can be ended with it, and a terminal's Ctrl-C does not reach it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|e| Failed::new(format!("{name} cannot be started: {e}")))?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| Failed::new(format!("{name} has no process id")))?;
        let output = Output {
            text: Arc::default(),
            changed: watch::Sender::new(()),
        };
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(output.clone().collect(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(output.clone().collect(stderr));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            pid,
            output,
            readers,
        })
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&locked(&self.output.text)).into_owned()
    }

    /// Everything it wrote, once it has nothing more to write or `deadline` passed.
    pub async fn output_to_end(&mut self, deadline: Duration) -> String {
        let end = async { while self.readers.join_next().await.is_some() {} };
        // A child of its own that still holds the pipe: what came until now is the answer.
        drop(timeout(deadline, end).await);
        self.output()
    }

    /// Waits for a line that contains `needle` and gives the line.
    ///
    /// # Errors
    /// There was none within `deadline`; the error holds the output.
    pub async fn line(&self, needle: &str, deadline: Duration) -> Result<String> {
        let mut changed = self.output.changed.subscribe();
        let search = async {
            loop {
                changed.mark_unchanged();
                if let Some(line) = self.output().lines().find(|line| line.contains(needle)) {
                    return line.to_owned();
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let found = timeout(deadline, search).await;
        found.map_err(|_| self.complain(&format!("did not say `{needle}` within {deadline:?}")))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Asks it to stop (SIGTERM).
    ///
    /// # Errors
    /// It is gone already.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Interrupts it, as Ctrl-C does (SIGINT).
    ///
    /// # Errors
    /// It is gone already.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Ends it on the spot (SIGKILL), without what it started.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).map_err(|e| self.complain(&format!("cannot be signalled: {e}")))
    }

    /// Waits until it ended.
    ///
    /// # Errors
    /// It still runs after `deadline`; the error holds the output.
    pub async fn exited(&mut self, deadline: Duration) -> Result<ExitStatus> {
        match timeout(deadline, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => Err(self.complain(&format!("still runs after {deadline:?}"))),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn complain(&self, what: &str) -> Failed {
        Failed::new(format!("{} {what}; it wrote:\n{}", self.name, self.output()))
    }
}

impl Output {
    async fn collect(self, mut pipe: impl AsyncRead + Unpin) {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut piece).await {
            locked(&self.text).extend_from_slice(piece.get(..length).unwrap_or_default());
            self.changed.send_replace(());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group is ours: the process leads it. It may be gone already, and then there is nothing to end.
        let _gone = kill_process_group(self.pid, Signal::KILL);
        if std::thread::panicking() {
            eprintln!(
                "---- output of {} ----\n{}---- end of {} ----",
                self.name,
                self.output(),
                self.name
            );
        }
    }
}
