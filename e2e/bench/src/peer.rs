//! The relay's end of one client's WebSocket: sends the load, checks and acknowledges the answers.
//!
//! A task of its own per client, so that pings of a client that waits for its turn are answered.

use std::time::{Duration, Instant};

use e2e::failed::{Failed, Result};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::bare;
use crate::check::{Answers, Outstanding};
use crate::load::{Load, Pace, Recorder, Seen};
use crate::model;
use crate::ticker::Ticker;

/// A connected client.
#[derive(Debug, Clone)]
pub struct Peer(mpsc::Sender<(Load, oneshot::Sender<Result<Seen>>)>);

type Socket = WebSocketStream<TcpStream>;

impl Peer {
    /// Takes over a socket whose handshake is done.
    pub fn spawn(socket: Socket) -> Self {
        let (sender, inbox) = mpsc::channel(1);
        tokio::task::spawn_local(serve(socket, inbox));
        Self(sender)
    }

    /// Puts `load` on the client.
    ///
    /// # Errors
    /// The run is void, or the client went away.
    pub async fn run(&self, load: &Load) -> Result<Seen> {
        let (sender, seen) = oneshot::channel();
        let gone = || Failed::new("the client went away");
        self.0.send((load.clone(), sender)).await.map_err(|_| gone())?;
        seen.await.map_err(|_| gone())?
    }

    /// Whether the client is still there.
    pub fn is_connected(&self) -> bool {
        !self.0.is_closed()
    }
}

async fn serve(mut socket: Socket, mut inbox: mpsc::Receiver<(Load, oneshot::Sender<Result<Seen>>)>) {
    // never the same id twice on a connection: a client that keeps its promise would not forward it again
    let mut asked = 0;
    loop {
        tokio::select! {
            order = inbox.recv() => {
                let Some((load, reply)) = order else { return };
                let result = run(&mut socket, &load, asked).await;
                asked += result.as_ref().map_or(0, |seen| seen.sent);
                let void = result.is_err();
                drop(reply.send(result));
                if void {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

struct Run<'a> {
    socket: &'a mut Socket,
    load: &'a Load,
    frame: Frame,
    outstanding: Outstanding,
    answers: Answers,
    recorder: Recorder,
    sent: u64,
    began: Instant,
    all_acked: Option<Duration>,
}

async fn run(socket: &mut Socket, load: &Load, asked: u64) -> Result<Seen> {
    let mut run = Run {
        socket,
        load,
        frame: Frame::of(load),
        outstanding: Outstanding::after(asked),
        answers: Answers::of(load.answer_bytes),
        recorder: Recorder::begin(load),
        sent: 0,
        began: Instant::now(),
        all_acked: None,
    };
    run.finish().await?;
    let receipts = run.outstanding.receipts();
    if u64::try_from(receipts)? != run.sent {
        return Err(Failed::new(format!("{receipts} receipts for {} requests", run.sent)));
    }
    let sent = run.sent;
    run.recorder.end(sent)
}

impl Run<'_> {
    async fn finish(&mut self) -> Result<()> {
        let ticker = Ticker::new()?;
        self.recorder.at(Instant::now())?;
        self.send_due(Instant::now()).await?;
        while self.recorder.is_open() || self.outstanding.len() > 0 {
            let wake = self.next_due();
            tokio::select! {
                message = self.socket.next() => {
                    let mut next = Some(message.ok_or_else(|| Failed::new("the client closed the connection"))?);
                    while let Some(message) = next {
                        self.came(&message?).await?;
                        next = self.socket.next().now_or_never().flatten();
                    }
                }
                ticked = ticker.until(wake) => ticked?,
            }
            let now = Instant::now();
            self.look(now)?;
            self.send_due(now).await?;
        }
        Ok(())
    }

    fn look(&mut self, now: Instant) -> Result<()> {
        if now > self.recorder.deadline() {
            return Err(Failed::new(format!(
                "{} requests had no answer in time",
                self.outstanding.len()
            )));
        }
        let burst = matches!(self.load.pace, Pace::Burst(_));
        if burst && self.recorder.is_open() && self.outstanding.len() == 0 {
            return self.recorder.end_burst(now, self.all_acked);
        }
        if burst { Ok(()) } else { self.recorder.at(now) }
    }

    fn next_due(&self) -> Instant {
        match self.load.pace {
            Pace::Open(rate) if self.recorder.is_open() => self.intended(rate),
            Pace::Open(_) | Pace::Closed(_) | Pace::Burst(_) => Instant::now() + LOOK,
        }
    }

    fn intended(&self, rate: u32) -> Instant {
        self.began + Duration::from_nanos(self.sent * 1_000_000_000 / u64::from(rate.max(1)))
    }

    async fn send_due(&mut self, now: Instant) -> Result<()> {
        if self.recorder.is_open() {
            match self.load.pace {
                Pace::Closed(limit) => {
                    while self.outstanding.len() < limit {
                        self.send(now).await?;
                    }
                }
                Pace::Open(rate) => {
                    while self.intended(rate) <= now {
                        self.send(self.intended(rate)).await?;
                    }
                }
                Pace::Burst(count) => {
                    while self.sent < u64::try_from(count)? {
                        self.send(now).await?;
                    }
                }
            }
        }
        Ok(self.socket.flush().await?)
    }

    async fn send(&mut self, asked: Instant) -> Result<()> {
        let id = self.outstanding.ask(asked);
        self.sent += 1;
        Ok(self.socket.feed(Message::Text(self.frame.with(&id))).await?)
    }

    async fn came(&mut self, message: &Message) -> Result<()> {
        let Message::Text(text) = message else { return Ok(()) };
        if let Some(id) = acked(text) {
            self.outstanding.acked(id)?;
            if let Pace::Burst(count) = self.load.pace
                && self.outstanding.receipts() == count
            {
                self.all_acked = Some(self.began.elapsed());
            }
            return Ok(());
        }
        let id = self.answers.check(text)?;
        let asked = self.outstanding.answered(id)?;
        self.recorder.answered(asked, Instant::now());
        Ok(self.socket.feed(Message::Text(bare::ack(id))).await?)
    }
}

/// The id of a receipt.
fn acked(text: &str) -> Option<&str> {
    #[derive(serde::Deserialize)]
    struct Ack<'a> {
        r#type: &'a str,
        request_id: &'a str,
    }
    // receipts are short; what is longer is an answer
    if text.len() > 128 {
        return None;
    }
    let ack: Ack<'_> = serde_json::from_str(text).ok()?;
    (ack.r#type == "ack").then_some(ack.request_id)
}

/// The request frame, but for its id.
struct Frame {
    head: String,
    tail: String,
}

impl Frame {
    fn of(load: &Load) -> Self {
        let tail = format!(
            r#"","payload":{{"method":"POST","path":"{PATH}","headers":{{"content-type":"application/json","{}":"{}","{}":"{}"}},"body":{}}}}}"#,
            model::ANSWER_BYTES,
            load.answer_bytes,
            model::DELAY_MS,
            load.delay_ms,
            question(load.request_bytes),
        );
        Self {
            head: r#"{"type":"request","request_id":""#.to_owned(),
            tail,
        }
    }

    fn with(&self, id: &str) -> Utf8Bytes {
        [&self.head, id, &self.tail].concat().into()
    }
}

/// A chat completion request of exactly `bytes` bytes.
pub fn question(bytes: usize) -> String {
    let head = r#"{"model":"demo-1","temperature":0.7,"max_tokens":256,"messages":[{"role":"system","content":"You are a careful assistant."},{"role":"user","content":""#;
    let tail = r#""}]}"#;
    let text = "What would a tunnel have to promise so that you could trust it with this? ";
    let content = bytes.saturating_sub(head.len() + tail.len());
    let text: String = text.chars().cycle().take(content).collect();
    format!("{head}{text}{tail}")
}

/// The path of every request.
pub const PATH: &str = "/v1/chat/completions";

/// How often a quiet run looks at the clock.
const LOOK: Duration = Duration::from_millis(20);
