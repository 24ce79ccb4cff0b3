//! The client's end of the WebSocket, for the two clients of this program.

use e2e::failed::{Failed, Result};
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Frames up to the protocol's own limit, and some more.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
}

/// Connects and waits for the relay's first frame.
///
/// # Errors
/// The relay is not there, or says something else.
pub async fn connect(relay: &str, key: &str) -> Result<WebSocketStream<TcpStream>> {
    let mut request = relay.into_client_request()?;
    let host = request.uri().authority().map(ToString::to_string);
    let host = host.ok_or_else(|| Failed::new("the relay's URL has no host"))?;
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {key}").parse()?);
    request.headers_mut().insert("spectral-bridge-protocol", "2".parse()?);
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config())).await?;
    match socket.next().await {
        Some(Ok(Message::Text(_))) => Ok(socket),
        other => Err(Failed::new(format!("the relay began with {other:?}"))),
    }
}

const MAX_FRAME_BYTES: usize = 64 << 20;
