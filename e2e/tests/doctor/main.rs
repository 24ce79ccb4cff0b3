//! Promises of `spectral-bridge doctor`: each thing that can be wrong between here, the relay and the model is found,
//! told with what to do about it and with an exit code of its own, and looking changes nothing.
//!
//! Every test runs the real command against real servers. The checks that a test is not about are left out by `--only`,
//! for time; `whole.rs` leaves nothing out.

mod ends;
mod local;
mod network;
mod relays;
mod running;
mod whole;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use e2e::relay::{Relay, RelayOptions, Version};
use e2e::world::site::{DEADLINE, KEY};
use e2e::world::{Process, command, envoy_binary, free_address, launcher, library_dir};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

/// A command line of `doctor`.
struct Doctor(Command);

/// What it said.
#[derive(Debug)]
struct Said {
    code: i32,
    json: Value,
}

impl Doctor {
    /// With the key, and a status port that nobody uses.
    fn new(arguments: &[&str]) -> Self {
        let mut command = command(launcher().unwrap());
        command.args(["doctor", "--json"]).args(arguments);
        command
            .env("SPECTRAL_BRIDGE_API_KEY", KEY)
            .env("SPECTRAL_BRIDGE_ENVOY", envoy_binary().unwrap())
            .env("SPECTRAL_BRIDGE_LIB_DIR", library_dir().unwrap());
        Self(command)
    }

    /// Only the checks of a relay at this URL.
    fn of_relay(url: &str) -> Self {
        let port = free_address().unwrap().port().to_string();
        Self::new(&["--only", "relay", "--target", "http://127.0.0.1:1"]).with(&[
            "--status-port",
            &port,
            "--insecure-relay",
            "--relay-url",
            url,
        ])
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        self.0.args(arguments);
        self
    }

    fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    fn trusting(self, ca: &Path) -> Self {
        self.with(&["--ca-file", &ca.display().to_string()])
    }

    async fn text(&mut self) -> (i32, String) {
        let mut process = Process::start("doctor", &mut self.0).unwrap();
        let code = process.exited(PATIENCE).await.unwrap().code().unwrap();
        let text = process.output_to_end(DEADLINE).await;
        assert!(!text.contains(KEY), "the key is in the output:\n{text}");
        (code, text)
    }

    async fn says(mut self) -> Said {
        let (code, text) = self.text().await;
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
        assert_eq!(json["exit_code"], code, "{text}");
        Said { code, json }
    }
}

impl Said {
    fn check(&self, id: &str) -> &Value {
        let mut checks = self.json["checks"].as_array().unwrap().iter();
        checks
            .find(|check| check["id"] == id)
            .unwrap_or_else(|| panic!("no {id} in {self:?}"))
    }

    /// How the checks with these ids ended.
    fn statuses(&self, ids: &[&str]) -> Vec<&str> {
        ids.iter()
            .map(|id| self.check(id)["status"].as_str().unwrap())
            .collect()
    }

    /// The first failure is `id`, with this code; detail or advice has all these words. Gives its advice.
    fn fails(&self, exit: i32, id: &str, code: &str, words: &[&str]) -> &str {
        let checks = self.json["checks"].as_array().unwrap();
        let first = checks.iter().find(|check| check["status"] == "failed");
        let first = first.unwrap_or_else(|| panic!("nothing failed: {self:?}"));
        assert_eq!(
            (self.code, first["id"].as_str(), first["code"].as_str()),
            (exit, Some(id), Some(code)),
            "{first}"
        );
        assert_eq!(
            (&self.json["result"], &self.json["class"]),
            (&"failed".into(), &first["class"])
        );
        let (detail, advice) = (first["detail"].as_str().unwrap(), first["advice"].as_str().unwrap());
        for word in words {
            assert!(
                detail.contains(word) || advice.contains(word),
                "{word:?} is not in {first}"
            );
        }
        advice
    }

    /// Nothing failed, and these are OK.
    fn is_well(&self, ids: &[&str]) {
        assert_eq!((self.code, &self.json["result"]), (0, &"ok".into()), "{self:?}");
        assert!(self.statuses(ids).iter().all(|status| *status == "ok"), "{self:?}");
    }
}

/// A model is given half a minute to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The checks of a relay, in order.
const RELAY: [&str; 6] = ["dns", "proxy", "tcp", "tls", "handshake", "protocol"];

async fn relay(version: Version) -> Relay {
    Relay::start(RelayOptions::new(version, KEY)).await.unwrap()
}

/// A server that says this to whoever has sent something, and hangs up.
async fn saying(answer: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), answer.to_owned());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                if socket.read(&mut piece).await.is_ok_and(|bytes| bytes > 0) {
                    let _gone = socket.write_all(answer.as_bytes()).await;
                    let _gone = socket.shutdown().await;
                    while socket.read(&mut piece).await.is_ok_and(|bytes| bytes > 0) {}
                }
            });
        }
    });
    address
}

/// A port whose connections are taken and never answered, as long as this lives.
async fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port where nothing listens.
fn closed() -> SocketAddr {
    free_address().unwrap()
}
