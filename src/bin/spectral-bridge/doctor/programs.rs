//! Running Envoy for a look at it: bounded in time, ended with the check.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::private_dir::PrivateDir;

/// How a program ended, and everything it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Whether its exit code was 0.
    pub success: bool,
    /// Standard output and error.
    pub text: String,
}

/// Runs it to its end.
///
/// # Errors
/// It cannot be started, or takes longer than `deadline`.
pub async fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    variables: &[(&str, &Path)],
    deadline: Duration,
) -> Result<Ended, String> {
    let mut command = command(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(variables.iter().copied());
    let output = timeout(deadline, command.output()).await;
    let output = output
        .map_err(|_| format!("it did not end within {} s", deadline.as_secs()))?
        .map_err(|e| format!("it cannot be run: {e}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Ended {
        success: output.status.success(),
        text,
    })
}

/// The program that `envoy` in the end is: pip installs a script that becomes it.
///
/// It is started on a configuration that never comes, a pipe without a writer, and looked at while it waits for it.
pub async fn behind(envoy: &Path, deadline: Duration) -> Option<PathBuf> {
    let directory = PrivateDir::create().ok()?;
    let pipe = directory.join("c.yaml");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).ok()?;
    let mut command = command(envoy);
    command
        .args(["--mode", "validate", "--disable-hot-restart", "-c"])
        .arg(&pipe);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let found = timeout(deadline, reader(&mut child, &pipe)).await.ok().flatten();
    let _ = child.kill().await;
    found
}

async fn reader(child: &mut Child, pipe: &Path) -> Option<PathBuf> {
    let root = child.id()?;
    // an end of the pipe to write into: it can be had once somebody waits to read, who then waits on
    let mut end = None;
    loop {
        end = end.or_else(|| open(pipe, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok());
        if end.is_some()
            && let Some(found) = family(root).into_iter().find_map(|id| executable(id, pipe))
        {
            return Some(found);
        }
        if child.try_wait().ok()?.is_some() {
            return None;
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// The executable of process `id`, if that is the one with the pipe.
fn executable(id: u32, pipe: &Path) -> Option<PathBuf> {
    let process = PathBuf::from(format!("/proc/{id}"));
    let mut files = std::fs::read_dir(process.join("fd")).ok()?.flatten();
    let holds = files.any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == pipe));
    holds.then(|| std::fs::read_link(process.join("exe")).ok()).flatten()
}

/// A process and what it started.
fn family(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(id) = all.get(next).copied() {
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|child| child.parse::<u32>().ok()),
        );
        next += 1;
    }
    all
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_outputs_and_the_end_are_seen() {
        let run = |script: &'static str, seconds| async move {
            run(Path::new("/bin/sh"), &["-c", script], &[], Duration::from_secs(seconds)).await
        };
        let ended = run("echo out; echo err >&2; exit 3", 30).await.unwrap();
        assert!(!ended.success && ended.text.contains("out") && ended.text.contains("err"));
        assert_eq!(
            run("exec sleep 1000", 0).await.unwrap_err(),
            "it did not end within 0 s"
        );
    }

    #[tokio::test]
    async fn the_program_behind_a_script_is_found() {
        use std::os::unix::fs::PermissionsExt;
        let directory = PrivateDir::create().unwrap();
        let script = directory.join("envoy");
        // the pipe is the last argument
        std::fs::write(&script, "#!/bin/sh\nshift 4\nexec cat \"$1\"\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        let found = behind(&script, Duration::from_secs(30)).await.unwrap();
        assert_eq!(found.file_name().and_then(OsStr::to_str), Some("cat"));
        std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
        assert_eq!(behind(&script, Duration::from_secs(30)).await, None);
    }
}
