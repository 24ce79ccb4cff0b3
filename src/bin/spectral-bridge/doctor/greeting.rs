//! What a relay says first, and how it is left: at the `connected` frame, without an ack, with close 1000.
//!
//! A relay may push requests the moment it has said `connected`. On version 2 none is lost: what was not acknowledged
//! is kept and sent again on the next connection, which is the real client's. A close 1001 would fail them, so it is not
//! used. Version 1 has no acks, and a request pushed in these milliseconds waits for its timeout at the relay.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use spectral_bridge::config::ProtocolChoice;
use spectral_bridge::protocol::connection::Hello;
use spectral_bridge::protocol::frame::{Frame, decode};
use spectral_bridge::protocol::limits;
use spectral_bridge::relay::RelaySocket;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::report::Finding;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Greeting {
    /// The `connected` frame.
    Connected(Hello),
    /// Close 4001.
    KeyRefused,
    /// Another close, by its code.
    Closed(Option<u16>),
    /// The connection broke.
    Broken(String),
    /// Nothing in time.
    Silence,
}

/// Waits for the `connected` frame, and leaves.
pub async fn hear(mut socket: RelaySocket) -> Greeting {
    let greeting = timeout(limits::HELLO_TIMEOUT, first(&mut socket)).await;
    // PROTOCOL §2.5: what is not acked is sent again by the relay, on the next connection
    let goodbye = CloseFrame {
        code: CloseCode::Normal,
        reason: "a check, not the client".into(),
    };
    let leaving = async {
        if socket.send(Message::Close(Some(goodbye))).await.is_ok() {
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        }
    };
    // whatever the relay still sends is dropped with the connection
    let _ = timeout(GOODBYE, leaving).await;
    greeting.unwrap_or(Greeting::Silence)
}

async fn first(socket: &mut RelaySocket) -> Greeting {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                if let Frame::Connected(hello) = decode(&text) {
                    return Greeting::Connected(hello);
                }
            }
            Some(Ok(Message::Close(frame))) => {
                return match frame.map(|frame| u16::from(frame.code)) {
                    Some(4001) => Greeting::KeyRefused,
                    code => Greeting::Closed(code),
                };
            }
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Greeting::Broken(error.to_string()),
            None => return Greeting::Closed(None),
        }
    }
}

/// What it means to a client that accepts `choice`.
pub fn judge(greeting: Greeting, choice: ProtocolChoice) -> Finding {
    match (greeting, choice) {
        (Greeting::Connected(Hello::V1), ProtocolChoice::Auto | ProtocolChoice::V1) => {
            Finding::ok("version 1").advising(
                "version 1 has no acks: a request under way when the connection breaks is lost. Ask the platform for a relay of version 2",
            )
        }
        (Greeting::Connected(Hello::V2), ProtocolChoice::Auto | ProtocolChoice::V2) => Finding::ok("version 2"),
        (Greeting::Connected(Hello::V1), ProtocolChoice::V2) => other_version("1", "2"),
        (Greeting::Connected(Hello::V2), ProtocolChoice::V1) => other_version("2", "1"),
        (Greeting::Connected(Hello::Other(seen)), _) => Finding::failed(
            "unsupported_version",
            format!("the relay speaks version {seen}, this client 1 and 2"),
            "look for a newer spectral-bridge",
        ),
        (Greeting::Closed(Some(4002)), _) => Finding::failed(
            "unsupported_version",
            "the relay does not speak the version that it was offered (close 4002)",
            "a relay of version 1 is reached with --protocol 1; for any newer one look for a newer spectral-bridge",
        ),
        (Greeting::Closed(code), _) => {
            let code = code.map_or_else(|| "without a close frame".to_owned(), |code| format!("with code {code}"));
            Finding::failed(
                "closed",
                format!("the relay closed the connection before its `connected` frame, {code}"),
                "is this a relay, and is it well? Ask those who run it what its log says",
            )
        }
        (Greeting::Broken(reason), _) => Finding::failed(
            "connection_lost",
            format!("the connection broke before the `connected` frame: {reason}"),
            "does something in between cut WebSockets? Ask those who run the relay what its log says",
        ),
        (Greeting::Silence, _) => Finding::failed(
            "no_hello",
            format!("no `connected` frame within {:?}", limits::HELLO_TIMEOUT),
            "this WebSocket server is no relay, or one in trouble: is the URL right?",
        ),
        (Greeting::KeyRefused, _) => Finding::after(super::report::Id::Handshake),
    }
}

fn other_version(seen: &str, wanted: &str) -> Finding {
    Finding::failed(
        "unsupported_version",
        format!("the relay speaks version {seen}, and --protocol (relays[].protocol) accepts {wanted} only"),
        format!("accept what the relay speaks: --protocol auto or --protocol {seen}"),
    )
}

/// How long the relay may take to answer the close.
const GOODBYE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn versions_are_judged_as_the_client_judges_them() {
        use ProtocolChoice::{Auto, V1, V2};
        let other = || Hello::Other("3".to_owned());
        for (hello, choice, ok) in [
            (Hello::V1, Auto, true),
            (Hello::V2, Auto, true),
            (Hello::V1, V1, true),
            (Hello::V2, V2, true),
            (Hello::V1, V2, false),
            (Hello::V2, V1, false),
            (other(), Auto, false),
            (other(), V2, false),
        ] {
            let said = format!("{hello:?} {choice:?}");
            let finding = judge(Greeting::Connected(hello), choice);
            assert_eq!(finding.status == Status::Ok, ok, "{said}");
            assert_eq!(finding.code.is_none(), ok, "{said}");
        }
        assert!(
            judge(Greeting::Closed(Some(4002)), Auto)
                .advice
                .unwrap()
                .contains("--protocol 1")
        );
        assert!(judge(Greeting::Closed(Some(1012)), Auto).detail.contains("1012"));
    }
}
