//! A real Envoy with the real module.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

use super::{Process, command, envoy_binary, eventually, http, library_dir};
use crate::failed::{Failed, Result};

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    _memory: Option<SharedMemory>,
}

/// What Envoys that hand over to each other share, and none of them removes. `family` holds its number.
#[derive(Debug)]
struct SharedMemory {
    family: PathBuf,
}

/// What `--mode validate` said.
#[derive(Debug)]
pub struct Validation {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote.
    pub output: String,
}

impl Envoy {
    /// Starts Envoy on the configuration file `config`, whose admin listens on `admin`, with these variables set.
    ///
    /// # Errors
    /// Envoy or the module is not there, or it cannot be started.
    pub fn start(config: &Path, admin: SocketAddr, variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(config, admin, variables, &[])
    }

    /// [`Envoy::start`] with further command line arguments.
    ///
    /// # Errors
    /// Envoy or the module is not there, or it cannot be started.
    pub fn start_with(config: &Path, admin: SocketAddr, variables: &[(&str, &str)], more: &[&str]) -> Result<Self> {
        // Several Envoys run side by side in tests: hot restart's shared memory would make them one.
        let mut envoy = envoy_command(config, variables)?;
        envoy.arg("--disable-hot-restart").args(more);
        Ok(Self {
            process: Process::start("envoy", &mut envoy)?,
            admin,
            _memory: None,
        })
    }

    /// [`Envoy::start_with`] as one of several that hand over to each other, counted from 0; `family` is a file of theirs.
    ///
    /// # Errors
    /// Envoy or the module is not there, it cannot be started, or epoch 0 has not begun.
    pub fn start_epoch(
        epoch: u32,
        family: &Path,
        config: &Path,
        admin: SocketAddr,
        variables: &[(&str, &str)],
        more: &[&str],
    ) -> Result<Self> {
        let mut envoy = envoy_command(config, variables)?;
        if epoch == 0 {
            envoy.arg("--use-dynamic-base-id").arg("--base-id-path").arg(family);
        } else {
            let base_id = std::fs::read_to_string(family)?;
            envoy.args(["--base-id", base_id.trim(), "--restart-epoch", &epoch.to_string()]);
        }
        envoy.args(more);
        Ok(Self {
            process: Process::start(&format!("envoy of epoch {epoch}"), &mut envoy)?,
            admin,
            _memory: Some(SharedMemory {
                family: family.to_owned(),
            }),
        })
    }

    /// The Envoy that `process` is, whose admin listens on `admin`.
    #[must_use]
    pub fn of(process: Process, admin: SocketAddr) -> Self {
        Self {
            process,
            admin,
            _memory: None,
        }
    }

    /// Waits until Envoy calls itself ready.
    ///
    /// # Errors
    /// It did not within `deadline`, or it ended; the error holds its output.
    pub async fn ready(&mut self, deadline: Duration) -> Result<()> {
        let url = format!("http://{}/ready", self.admin);
        let process = &mut self.process;
        let ready = eventually("envoy is ready", deadline, || {
            let running = process.is_running();
            let url = &url;
            async move {
                match http::get(url).await {
                    Ok(reply) if reply.status.is_success() => Some(true),
                    Ok(_) | Err(_) if running => None,
                    Ok(_) | Err(_) => Some(false),
                }
            }
        });
        match ready.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failed::new(format!(
                "envoy ended before it was ready:\n{}",
                self.process.output()
            ))),
            Err(late) => Err(late.during(&self.process.output())),
        }
    }

    /// A page of the admin interface.
    ///
    /// # Errors
    /// The admin interface does not answer.
    pub async fn admin(&self, path: &str) -> Result<http::Reply> {
        http::get(&self.admin_url(path)).await
    }

    /// `http://127.0.0.1:PORT` and `path` on the admin interface.
    #[must_use]
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// The value of the counter or gauge `name`; `None` while Envoy does not know it.
    ///
    /// # Errors
    /// The admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<Option<u64>> {
        let stats = self.admin(&format!("/stats?filter=^{name}$")).await?.text();
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok();
        Ok(stats.lines().find_map(value))
    }

    /// Waits until the counter or gauge `name` has this value.
    ///
    /// # Errors
    /// It had another one after `deadline`.
    pub async fn stat_becomes(&self, name: &str, value: u64, deadline: Duration) -> Result<()> {
        let reached = eventually(name, deadline, || async {
            (self.stat(name).await.ok().flatten() == Some(value)).then_some(())
        });
        match reached.await {
            Ok(()) => Ok(()),
            Err(late) => Err(late.during(&format!("{value} expected, {:?} seen", self.stat(name).await?))),
        }
    }

    /// How many of its threads have this name.
    ///
    /// # Errors
    /// It is gone.
    pub fn threads(&self, name: &str) -> Result<usize> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id()))?;
        let named = |task: &std::fs::DirEntry| {
            // one that ended meanwhile has no name any more
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        Ok(tasks.filter_map(std::result::Result::ok).filter(named).count())
    }

    /// The process: its output, signals, its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if let Ok(base_id) = std::fs::read_to_string(&self.family) {
            // Envoy multiplies the number by ten. The last of a family finds it gone.
            let name = format!("/dev/shm/envoy_shared_memory_{}0", base_id.trim());
            drop(std::fs::remove_file(name));
        }
    }
}

/// Runs `envoy --mode validate` on `config`.
///
/// # Errors
/// Envoy or the module is not there, or it did not end within `deadline`.
pub async fn validate(config: &Path, variables: &[(&str, &str)], deadline: Duration) -> Result<Validation> {
    let mut envoy = envoy_command(config, variables)?;
    envoy.args(["--disable-hot-restart", "--mode", "validate"]);
    let mut process = Process::start("envoy --mode validate", &mut envoy)?;
    let status = process.exited(deadline).await?;
    Ok(Validation {
        status,
        output: process.output_to_end(deadline).await,
    })
}

fn envoy_command(config: &Path, variables: &[(&str, &str)]) -> Result<Command> {
    let mut envoy = command(envoy_binary()?);
    envoy.arg("--config-path").arg(config);
    envoy.args(["--concurrency", "2"]);
    envoy.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", library_dir()?);
    envoy.envs(variables.iter().copied());
    Ok(envoy)
}
