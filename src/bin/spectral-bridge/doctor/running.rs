//! An instance that serves the key already: its own word counts, instead of a connection that would replace its.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use spectral_bridge::config::Relay;
use spectral_bridge::relay::KeyLock;
use spectral_bridge::status::snapshot::{ProcessSnapshot, RelaySnapshot, RelayState};

use super::report::Finding;
use crate::status;

/// Who serves the key on this host.
pub enum Found {
    /// Nobody; and nobody will as long as this is held.
    Nobody(KeyLock),
    /// An instance, and what is known from it.
    Instance(Box<Findings>),
}

/// What the two checks say that were left to the instance.
#[derive(Debug, PartialEq, Eq)]
pub struct Findings {
    /// Instead of the handshake.
    pub handshake: Finding,
    /// Instead of the `connected` frame.
    pub protocol: Finding,
}

/// Looks at the key's lock and at the status server.
///
/// The lock knows of processes of this user on this host. A status server that tells of a connection to the same relay
/// tells of others, too: other users' and, where the network is shared, other containers'.
pub async fn look(relay: &Relay, listen: SocketAddr, lock: Result<KeyLock, Option<u32>>) -> Found {
    let there = snapshot(relay, listen).await;
    match (lock, there) {
        (Ok(lock), None) => Found::Nobody(lock),
        (Ok(_), Some(snapshot)) => Found::Instance(Box::new(told(&snapshot, listen, None))),
        (Err(holder), Some(snapshot)) => Found::Instance(Box::new(told(&snapshot, listen, holder))),
        (Err(holder), None) => Found::Instance(Box::new(silent(listen, holder))),
    }
}

async fn snapshot(relay: &Relay, listen: SocketAddr) -> Option<RelaySnapshot> {
    if listen.port() == 0 {
        return None;
    }
    let asked = status::fetch(&listen.to_string(), Method::GET, "/status", None).await;
    let (StatusCode::OK, body) = asked.ok()? else {
        return None;
    };
    let process: ProcessSnapshot = serde_json::from_slice(&body).ok()?;
    let url = relay.url.to_string();
    process.relays.into_iter().find(|relay| relay.url == url)
}

fn told(snapshot: &RelaySnapshot, listen: SocketAddr, holder: Option<u32>) -> Findings {
    let who = format!("the instance{} at {listen}", process(holder));
    let state = status::state_name(snapshot.state);
    let handshake = match (snapshot.state, &snapshot.last_error) {
        (RelayState::Connected, _) => {
            Finding::ok(format!("{who} is connected with this relay, so it was asked instead"))
        }
        // whatever went wrong before it left
        (RelayState::Drained, _) => Finding::skipped(format!("{who} says: {state}"))
            .advising("it was told to leave (spectral-bridge drain) and stays away until Envoy is started again"),
        (_, Some(error)) => Finding::failed(
            &error.code,
            format!("{who} says: {state}. {}", error.message),
            format!("spectral-bridge status --address {listen} tells more. {ANYWAY}"),
        ),
        (_, None) => Finding::skipped(format!("{who} says: {state}")).advising(ANYWAY),
    };
    let protocol = match (snapshot.state, snapshot.protocol) {
        (RelayState::Connected, Some(version)) => Finding::ok(format!("version {version}, says the instance")),
        (_, Some(_) | None) => Finding::skipped("the instance is not connected"),
    };
    let advised = handshake.advice.is_some();
    Findings {
        handshake: if advised { handshake } else { handshake.advising(ANYWAY) },
        protocol,
    }
}

fn silent(listen: SocketAddr, holder: Option<u32>) -> Findings {
    let who = format!("an instance{} serves this key on this host", process(holder));
    Findings {
        handshake: Finding::skipped(format!("{who}, but none with this relay answers at {listen}")).advising(format!(
            "name its status port with --status-port (the configuration's status.listen), and it is asked. {ANYWAY}"
        )),
        protocol: Finding::skipped(format!("{who} and was not asked")),
    }
}

fn process(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

const ANYWAY: &str =
    "Not dialled, since the relay would close that instance's connection; --connect always does, and it reconnects";

#[cfg(test)]
mod tests {
    use spectral_bridge::status::snapshot::LastError;

    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn the_instances_word_is_passed_on() {
        let listen: SocketAddr = "127.0.0.1:8841".parse().unwrap();
        let mut snapshot = RelaySnapshot {
            state: RelayState::Connected,
            protocol: Some(2),
            ..RelaySnapshot::default()
        };
        let fine = told(&snapshot, listen, Some(7));
        assert_eq!((fine.handshake.status, fine.protocol.status), (Status::Ok, Status::Ok));
        assert!(
            fine.handshake.detail.contains("(process 7) at 127.0.0.1:8841"),
            "{fine:?}"
        );
        assert!(fine.handshake.advice.unwrap().contains("--connect always"));

        snapshot.state = RelayState::Stopped;
        snapshot.last_error = Some(LastError {
            code: "authentication_failed".to_owned(),
            message: "the key was refused".to_owned(),
            seconds_ago: 1.0,
        });
        let refused = told(&snapshot, listen, None);
        assert_eq!(refused.handshake.code.as_deref(), Some("authentication_failed"));
        assert!(refused.handshake.detail.contains("the key was refused"));
        assert_eq!(refused.protocol.status, Status::Skipped);

        snapshot.state = RelayState::Drained;
        let left = told(&snapshot, listen, None).handshake;
        assert_eq!(left.status, Status::Skipped);
        assert!(left.advice.unwrap().contains("started again"));

        let unknown = silent(listen, Some(7));
        assert_eq!(unknown.handshake.status, Status::Skipped);
        assert!(unknown.handshake.advice.unwrap().contains("--status-port"));
    }
}
