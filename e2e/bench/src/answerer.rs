//! A client that answers frames itself: the WebSocket leg alone, the limit of whatever does less than nothing.

use std::collections::HashMap;

use e2e::failed::Result;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::bare::{Request, ack};
use crate::{model, websocket};

/// Serves one connection to its end.
///
/// # Errors
/// The relay is not there.
pub async fn answer(relay: &str, key: &str) -> Result<()> {
    let mut socket = websocket::connect(relay, key).await?;
    let mut bodies: HashMap<usize, String> = HashMap::new();
    while let Some(message) = socket.next().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if let Message::Text(text) = message?
                && let Some(request) = Request::read(&text)
            {
                socket.feed(Message::Text(ack(request.id))).await?;
                let size = request.answer_bytes();
                let body = bodies.entry(size).or_insert_with(|| model::body(size));
                socket.feed(Message::Text(response(request.id, body))).await?;
            }
            next = socket.next().now_or_never().flatten();
        }
        socket.flush().await?;
    }
    Ok(())
}

fn response(id: &str, body: &str) -> Utf8Bytes {
    format!(
        r#"{{"type":"response","request_id":"{id}","payload":{{"status":200,"headers":{{"content-type":"application/json"}},"body":{body}}}}}"#
    )
    .into()
}
