//! The systemd unit: what systemd's own checks say of it, and its ExecStart run as systemd would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::world::site::{DEADLINE, KEY};
use e2e::world::{Process, Scratch, command, envoy_binary, free_address, launcher, library_dir, workspace};

use crate::{finish, one_request_crosses, relay_and_model};

/// `Key=value` of the unit in the order they stand; a key may come again.
fn settings() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(unit()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn setting(key: &str) -> String {
    let mut values = settings().into_iter().filter(|(found, _)| found == key);
    let (_, value) = values.next().unwrap_or_else(|| panic!("no {key}"));
    value
}

fn unit() -> PathBuf {
    workspace().join("envoy/systemd/spectral-bridge.service")
}

#[test]
fn systemd_finds_no_mistake_and_little_exposure() {
    let version = Command::new("systemd-analyze").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: systemd-analyze is not installed here");
        return;
    }
    let scratch = Scratch::new().unwrap();
    let text = std::fs::read_to_string(unit()).unwrap();
    // It wants the program to be there.
    let here = text.replace(
        "/opt/spectral-bridge/bin/spectral-bridge",
        launcher().unwrap().to_str().unwrap(),
    );
    assert_ne!(here, text);
    let file = scratch.write("spectral-bridge.service", here).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{said}");
        said
    };
    assert_eq!(analyze(&["verify", "--man=no"]), "");
    // Of 100; a unit without hardening has 96.
    analyze(&["security", "--offline=true", "--threshold=15"]);
}

#[test]
fn stopping_may_take_longer_than_the_drain() {
    let help = finish(Command::new(launcher().unwrap()).args(["start", "--help"]));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, grace) = help.split_once("after SIGTERM or Ctrl-C [default: ").unwrap();
    let (grace, _) = grace.split_once(']').unwrap();
    let timeout: u32 = setting("TimeoutStopSec").parse().unwrap();
    assert!(
        timeout >= grace.parse::<u32>().unwrap() + 10,
        "{timeout} s for a grace of {grace} s"
    );
}

#[tokio::test]
async fn its_command_serves_with_what_systemd_gives_it() {
    let scratch = Scratch::new().unwrap();
    let (relay, model) = relay_and_model().await;
    let status = free_address().unwrap();
    let mut start = as_systemd(
        &scratch,
        &[
            ("SPECTRAL_BRIDGE_RELAY_URL", &relay.connect_url()),
            ("TARGET", &format!("http://{}", model.address())),
            ("OPTIONS", &format!("--insecure-relay --status-port {}", status.port())),
        ],
    );
    let mut service = Process::start("the unit's command", &mut start).unwrap();
    one_request_crosses(&relay).await;
    service.terminate().unwrap();
    let code = service.exited(DEADLINE).await.unwrap().code();
    assert_eq!(code, Some(0), "{}", service.output());
    assert_eq!(relay.journal().closes(), [Some(1001)]);
    assert!(!service.output().contains(KEY), "the key is in the log");
}

/// ExecStart with the variables of the unit; `values` stand in the environment file, whose keys it must have.
fn as_systemd(scratch: &Scratch, values: &[(&str, &str)]) -> tokio::process::Command {
    let file = std::fs::read_to_string(workspace().join("envoy/systemd/environment")).unwrap();
    let mut environment: BTreeMap<String, String> = BTreeMap::new();
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        environment.insert(line.split_once('=').unwrap().0.to_owned(), String::new());
    }
    for (name, value) in values {
        let known = environment.insert((*name).to_owned(), (*value).to_owned());
        assert!(known.is_some(), "{name} is not in the environment file");
    }
    let (name, at) = setting("LoadCredential")
        .split_once(':')
        .map(|(n, a)| (n.to_owned(), a.to_owned()))
        .unwrap();
    assert_eq!(Path::new(&at).parent(), Path::new(&setting("EnvironmentFile")).parent());
    let credentials = scratch.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join(name), format!("{KEY}\n")).unwrap();
    environment.insert("CREDENTIALS_DIRECTORY".into(), credentials.display().to_string());
    let (name, place) = setting("Environment")
        .split_once('=')
        .map(|(n, p)| (n.to_owned(), p.to_owned()))
        .unwrap();
    assert_eq!(place, format!("%t/{}", setting("RuntimeDirectory")));
    environment.insert(name, scratch.path().display().to_string());

    let words = expand(&setting("ExecStart"), &environment);
    assert_eq!(words[0], "/opt/spectral-bridge/bin/spectral-bridge");
    let mut start = command(launcher().unwrap());
    start
        .args(&words[1..])
        .env_clear()
        .envs(&environment)
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/");
    // Where the wheel would have put them.
    start.env("SPECTRAL_BRIDGE_ENVOY", envoy_binary().unwrap());
    start.env("SPECTRAL_BRIDGE_LIB_DIR", library_dir().unwrap());
    start
}

/// systemd's rule: `${NAME}` is one word or a part of one, `$NAME` as a word is as many as it has.
fn expand(line: &str, environment: &BTreeMap<String, String>) -> Vec<String> {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        match word.strip_prefix('$').filter(|rest| !rest.starts_with('{')) {
            Some(name) => words.extend(environment[name].split_whitespace().map(str::to_owned)),
            None => {
                let known =
                    |text: String, (name, value): (&String, &String)| text.replace(&format!("${{{name}}}"), value);
                words.push(environment.iter().fold(word.to_owned(), known));
            }
        }
    }
    assert!(!words.iter().any(|word| word.contains('$')), "{words:?}");
    words
}
