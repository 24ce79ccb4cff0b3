//! What options become, and how mistakes are told in the words of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use spectral_bridge::config::{ProtocolChoice, SecretSource};

use super::*;
use crate::cli::{Cli, Command};

fn options(line: &str) -> StartArgs {
    let words = format!("spectral-bridge start --target http://m {line}");
    match Cli::try_parse_from(words.split_whitespace()).unwrap().command {
        Command::Start(options) => options,
        other => panic!("{other:?}"),
    }
}

fn build(line: &str) -> Result<Settings, Refusal> {
    Settings::build(&options(line), None, Path::new("/run/x/adapter.sock"))
}

/// A file that is removed at the end of a test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spectral-bridge-test.{}.{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn without_options_it_is_the_python_clients_default() {
    let settings = build("").unwrap();
    let relay = &settings.config.relays[0];
    assert_eq!(relay.url.to_string(), DEFAULT_RELAY_URL);
    assert_eq!(relay.api_key, SecretSource::Env("SPECTRAL_BRIDGE_API_KEY".into()));
    assert_eq!(settings.config.status.listen.to_string(), "127.0.0.1:8841");
    assert_eq!(settings.listener(), &ForwardTo::Unix("/run/x/adapter.sock".into()));
}

#[test]
fn every_option_reaches_the_module() {
    let roots = TempFile::new("roots.pem", "");
    let line = format!(
        "--relay-url wss://r:1/connect --ca-file {} --protocol 2 --max-ws-message-bytes 131072 --request-timeout 1.5 \
         --shutdown-grace 0 --target-key-env MODEL_KEY --status-port 0 --status-token-env TOKEN",
        roots.0.display()
    );
    let config = build(&line).unwrap().config;
    assert_eq!(config.status.token, Some(SecretSource::Env("TOKEN".into())));
    let relay = &config.relays[0];
    assert_eq!(relay.url.to_string(), "wss://r:1/connect");
    assert_eq!(relay.tls.ca_file.as_deref(), Some(roots.0.as_path()));
    assert_eq!((relay.protocol, relay.max_frame_bytes), (ProtocolChoice::V2, 131_072));
    assert_eq!(
        (relay.request_timeout, relay.shutdown_grace),
        (Duration::from_millis(1500), Duration::ZERO)
    );
    assert_eq!(config.status.listen.port(), 0);
    let header = &config.forward.headers[0];
    assert_eq!(
        (header.name.as_str(), header.prefix.as_str()),
        ("authorization", "Bearer ")
    );
    assert_eq!(header.value, SecretSource::Env("MODEL_KEY".into()));
    let insecure = build("--relay-url ws://127.0.0.1:9/connect --insecure-relay --protocol auto")
        .unwrap()
        .config;
    assert!(!insecure.relays[0].url.tls);
}

#[test]
fn the_environment_gives_the_url_that_no_option_gives() {
    let env = || Some(" wss://from.env/connect ".to_owned());
    let url = |line: &str, env| {
        Settings::build(&options(line), env, Path::new("/x"))
            .unwrap()
            .config
            .relays[0]
            .url
            .to_string()
    };
    assert_eq!(url("", env()), "wss://from.env/connect");
    assert_eq!(url("--relay-url wss://option/connect", env()), "wss://option/connect");
    assert_eq!(url("", Some(String::new())), DEFAULT_RELAY_URL);
}

#[test]
fn mistakes_are_told_by_option() {
    let refusal =
        build("--relay-url ws://h --max-ws-message-bytes 1 --request-timeout 0 --target-key-env 1X").unwrap_err();
    assert_eq!(
        refusal,
        "--relay-url (or SPECTRAL_BRIDGE_RELAY_URL): ws:// is not encrypted; use wss://, or use --insecure-relay for \
         development on one host\n       \
         --request-timeout: \"0s\" is out of range; a duration from 100ms to 24h, such as \"10s\"\n       \
         --max-ws-message-bytes: 1; a whole number from 65536 to 16777216\n       \
         --target-key-env: not a variable name (not shown, it may be a secret); the name of an environment variable: \
         letters, digits and _, not beginning with a digit"
    );
    let refusal = build("--ca-file /nonexistent/ca.pem").unwrap_err();
    assert_eq!(
        refusal,
        "--ca-file /nonexistent/ca.pem: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_may_be_yaml_or_json() {
    let yaml = TempFile::new(
        "module.yaml",
        "relays:\n- url: wss://r/connect\n  api_key: { file: /run/key }\n  max_in_flight: 7\nforward:\n  to:\n",
    );
    let json = TempFile::new(
        "module.json",
        r#"{"relays":[{"url":"wss://r/connect","api_key":{"file":"/run/key"},"max_in_flight":7}]}"#,
    );
    let from_yaml = build(&format!("--config {}", yaml.0.display())).unwrap();
    let from_json = build(&format!("--config {}", json.0.display())).unwrap();
    assert_eq!(from_yaml.config, from_json.config);
    assert_eq!(from_yaml.config.relays[0].max_in_flight, 7);
    assert_eq!(from_yaml.listener(), &ForwardTo::Unix("/run/x/adapter.sock".into()));
}

#[test]
fn a_file_may_choose_where_envoy_listens_on_this_host() {
    let file = |name: &str, to: &str| {
        let text = format!(
            "{{relays: [{{url: 'wss://r/connect', api_key: {{env: K}}}}], forward: {{to: '{to}', insecure_forward: true}}}}"
        );
        TempFile::new(name, &text)
    };
    let near = file("near.yaml", "http://localhost:9000");
    let settings = build(&format!("--config {}", near.0.display())).unwrap();
    assert_eq!(
        settings.listener(),
        &ForwardTo::Tcp {
            host: "localhost".into(),
            port: 9000
        }
    );
    let far = file("far.yaml", "http://10.0.0.7:80");
    let refusal = build(&format!("--config {}", far.0.display())).unwrap_err();
    assert!(
        refusal.contains("\"10.0.0.7\"") && refusal.contains("must be loopback"),
        "{refusal}"
    );
}

#[test]
fn mistakes_in_a_file_are_told_by_path_and_show_no_secret() {
    let wrong = TempFile::new(
        "wrong.yaml",
        "relays: [{url: 'wss://r/connect', api_key: hunter2}]\nstatsu: {}\n",
    );
    let refusal = build(&format!("--config {}", wrong.0.display())).unwrap_err();
    assert_eq!(
        refusal,
        format!(
            "--config {}:\n  \
             statsu: unknown key, did you mean status?; allowed here: relays, forward, status, gateway, telemetry, chat\n  \
             relays[0].api_key: a secret written into the configuration would show in /config_dump; \
             use {{env: NAME}} or {{file: PATH}}",
            wrong.0.display()
        )
    );
    let broken = TempFile::new("broken.yaml", "relays: [hunter2\nx: y: z");
    let refusal = build(&format!("--config {}", broken.0.display())).unwrap_err();
    assert!(refusal.contains("neither YAML nor JSON (line 2"), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
    let refusal = build("--config /nonexistent.yaml").unwrap_err();
    assert!(
        refusal.starts_with("--config /nonexistent.yaml: No such file"),
        "{refusal}"
    );
    let none = TempFile::new("none.yaml", "status: {}\ngateway: {}\n");
    let refusal = build(&format!("--config {}", none.0.display())).unwrap_err();
    assert!(refusal.contains("relays: missing"), "{refusal}");
    let list = TempFile::new("list.yaml", "- 1");
    let refusal = build(&format!("--config {}", list.0.display())).unwrap_err();
    assert!(refusal.contains("the configuration: an array"), "{refusal}");
}

#[test]
fn a_key_file_takes_the_place_of_the_variable_and_need_not_be_there_yet() {
    let settings = build("--api-key-file /run/secrets/relay-key").unwrap();
    let relay = &settings.config.relays[0];
    assert_eq!(relay.api_key, SecretSource::File("/run/secrets/relay-key".into()));
}
