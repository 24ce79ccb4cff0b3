//! The promises of the ways to install it: what the files need, the wheel, the images, the unit, the completions.

mod completion;
mod images;
mod needs;
mod unit;
mod wheel;

use std::ffi::OsStr;
use std::process::Command;

use e2e::model::Model;
use e2e::relay::{Relay, RelayOptions, Version};
use e2e::world::http::post;
use e2e::world::python;
use e2e::world::site::{DEADLINE, KEY, chat};
use hyper::StatusCode;

/// A program's standard output; it must succeed.
fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    finish(Command::new(program).args(arguments))
}

fn finish(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A program that pip put next to the tests' Python.
fn installed(name: &str) -> std::path::PathBuf {
    python().unwrap().with_file_name(name)
}

/// The tests' Python and what is beside it come first.
fn path_with_python() -> String {
    let directory = python().unwrap().parent().unwrap().display().to_string();
    format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())
}

async fn relay_and_model() -> (Relay, Model) {
    let relay = Relay::start(RelayOptions::new(Version::V2, KEY)).await.unwrap();
    (relay, Model::start().await.unwrap())
}

/// What each way of installing must come to.
async fn one_request_crosses(relay: &Relay) {
    relay.connected(1, DEADLINE).await.unwrap();
    let reply = post(&relay.url("/v1/chat/completions"), chat("quick")).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}
