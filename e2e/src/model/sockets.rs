//! The model's WebSockets: Responses and Realtime, several turns on one socket.
//!
//! Every message that asks for a response is a request of its own, in the ledger and for [`Behaviour`]s. Deliberately
//! absent: audio, tools, and lanes side by side on one socket.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::answers::{Composer, Told};
use super::question::{Api, Question};
use super::serve::now;
use super::tokens::Receipt;
use super::{Behaviour, Exchange, Shared};

/// One client's socket.
struct Talk {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    shared: Arc<Shared>,
    api: Api,
    head: Parts,
    /// What was said in a Realtime conversation.
    said: Vec<Value>,
}

/// Serves a socket until its client leaves.
pub(super) async fn talk(shared: Arc<Shared>, api: Api, head: Parts, upgraded: OnUpgrade) {
    let Ok(socket) = upgraded.await else { return };
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(socket), Role::Server, None).await;
    let talk = Talk {
        socket,
        shared,
        api,
        head,
        said: Vec::new(),
    };
    // An error is a client that left, or a behaviour that hangs up.
    drop(talk.run().await);
}

impl Talk {
    async fn run(mut self) -> io::Result<()> {
        if self.api == Api::Realtime {
            let session = json!({"type": "session.created", "session": {"type": "realtime", "model": self.model()}});
            self.tell(&session).await?;
        }
        while let Some(message) = self.socket.next().await {
            match message.map_err(io::Error::other)? {
                Message::Text(text) => self.hear(text.as_str()).await?,
                // a close frame is answered by the next look, which then finds the end
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_) => {}
            }
        }
        Ok(())
    }

    async fn hear(&mut self, text: &str) -> io::Result<()> {
        let event: Value = serde_json::from_str(text).unwrap_or_default();
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        match (self.api, kind) {
            (_, "response.create") => self.respond(text, self.question(&event)).await,
            (Api::Realtime, "session.update") => self.tell(&json!({"type": "session.updated"})).await,
            (Api::Realtime, "conversation.item.create") => {
                let item = event.get("item").cloned().unwrap_or_default();
                self.said.push(item.clone());
                self.tell(&json!({"type": "conversation.item.added", "item": item}))
                    .await
            }
            _ => {
                let error =
                    json!({"type": "invalid_request_error", "code": "unknown_event", "message": "not understood"});
                self.tell(&json!({"type": "error", "status": 400, "error": error}))
                    .await
            }
        }
    }

    /// What a `response.create` asks for; the members stand in it or in its `response`.
    fn question(&self, event: &Value) -> Question {
        let inner = event.get("response").filter(|inner| inner.is_object());
        let mut fields: Map<_, _> = inner.unwrap_or(event).as_object().cloned().unwrap_or_default();
        if self.api == Api::Realtime {
            fields.insert("model".to_owned(), json!(self.model()));
            fields.insert("input".to_owned(), json!(self.said));
        }
        Question::of(&fields)
    }

    /// The model that the socket's address names.
    fn model(&self) -> &str {
        let query = self.head.uri.query().unwrap_or_default();
        let named = query.split('&').find_map(|pair| pair.strip_prefix("model="));
        named.unwrap_or("demo")
    }

    async fn respond(&mut self, text: &str, question: Question) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let _at_work = shared.ledger.at_work();
        let body = Bytes::copy_from_slice(text.as_bytes());
        let number = shared.ledger.asked(|| Exchange::of(&self.head, body));
        let behaviour = shared.behaviour(&question.model);
        let composer = Composer {
            api: self.api,
            question: &question,
            number,
            created: now(),
            reporting: behaviour.reporting(),
        };
        let mut messages = composer.messages();
        match &behaviour {
            Behaviour::Delay(delay) => tokio::time::sleep(*delay).await,
            Behaviour::Behind(gate) => gate.passed().await,
            Behaviour::Exact(exact) if !exact.status.is_success() => {
                let mut error: Value = serde_json::from_slice(&exact.body).unwrap_or_default();
                super::answers::merge(&mut error, &json!({"type": "error", "status": exact.status.as_u16()}));
                return self.tell(&error).await;
            }
            Behaviour::CloseAfterRequest => return Err(io::Error::other("hanging up after the request")),
            Behaviour::CloseMidAnswer => messages.truncate(messages.len() / 2),
            Behaviour::Answer
            | Behaviour::Pace(_)
            | Behaviour::Sized(_)
            | Behaviour::Exact(_)
            | Behaviour::EventStream
            | Behaviour::Gzip
            | Behaviour::Report(_)
            | Behaviour::CrLf
            | Behaviour::Fragmented
            | Behaviour::Chunked => {}
        }
        self.tell_all(messages, &behaviour, shared.books.begin(self.api, &question.model))
            .await
    }

    async fn tell_all(&mut self, messages: Vec<Told>, behaviour: &Behaviour, mut receipt: Receipt) -> io::Result<()> {
        for (message, tells) in messages {
            if let Behaviour::Pace(pace) = behaviour {
                tokio::time::sleep(*pace).await;
            }
            if *behaviour == Behaviour::Fragmented {
                self.tell_in_fragments(&message).await?;
            } else {
                self.tell(&message).await?;
            }
            receipt.sent(tells);
        }
        if *behaviour == Behaviour::CloseMidAnswer {
            return Err(io::Error::other("hanging up in the middle"));
        }
        Ok(())
    }

    async fn tell(&mut self, event: &Value) -> io::Result<()> {
        let sent = self.socket.send(Message::text(event.to_string())).await;
        sent.map_err(io::Error::other)
    }

    /// The event in three fragments, with a ping before each one.
    async fn tell_in_fragments(&mut self, event: &Value) -> io::Result<()> {
        let text = Bytes::from(event.to_string());
        let (third, two_thirds) = (text.len() / 3, text.len() * 2 / 3);
        let fragments = [
            (text.slice(..third), Data::Text, false),
            (text.slice(third..two_thirds), Data::Continue, false),
            (text.slice(two_thirds..), Data::Continue, true),
        ];
        for (part, kind, last) in fragments {
            let ping = Message::Ping(Bytes::from_static(b"still here"));
            let part = Message::Frame(Frame::message(part, OpCode::Data(kind), last));
            for message in [ping, part] {
                self.socket.feed(message).await.map_err(io::Error::other)?;
            }
        }
        self.socket.flush().await.map_err(io::Error::other)
    }
}
