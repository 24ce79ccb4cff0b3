//! The same load by plain HTTP/1.1: what a caller beside the model, or beside Envoy, would see.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::failed::{Failed, Result};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::check::EVERY;
use crate::load::{Load, Pace, Recorder, Seen};
use crate::model;
use crate::peer::{PATH, question};
use crate::ticker::Ticker;

struct Run {
    to: SocketAddr,
    load: Load,
    question: Bytes,
    expected: Bytes,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
    recorder: RefCell<Recorder>,
    sent: RefCell<u64>,
    answered: RefCell<u64>,
}

/// Puts `load` on `to`.
///
/// # Errors
/// The run is void.
pub async fn run(to: SocketAddr, load: &Load) -> Result<Seen> {
    let run = Rc::new(Run {
        to,
        load: load.clone(),
        question: question(load.request_bytes).into(),
        expected: model::body(load.answer_bytes).into(),
        idle: RefCell::default(),
        recorder: RefCell::new(Recorder::begin(load)),
        sent: RefCell::default(),
        answered: RefCell::default(),
    });
    match load.pace {
        Pace::Closed(limit) | Pace::Burst(limit) => run.closed(limit).await?,
        Pace::Open(rate) => run.open(rate).await?,
    }
    let run = Rc::try_unwrap(run).map_err(|_| Failed::new("a request outlived its run"))?;
    run.recorder.into_inner().end(run.sent.into_inner())
}

impl Run {
    async fn closed(self: &Rc<Self>, limit: usize) -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..limit {
            let run = Rc::clone(self);
            tasks.spawn_local(async move {
                while run.look()? {
                    run.one(Instant::now()).await?;
                }
                Ok::<_, Failed>(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn open(self: &Rc<Self>, rate: u32) -> Result<()> {
        let (ticker, began) = (Ticker::new()?, Instant::now());
        let mut tasks = tokio::task::JoinSet::new();
        let mut number = 0_u64;
        while self.look()? {
            let due = began + Duration::from_nanos(number * 1_000_000_000 / u64::from(rate.max(1)));
            tokio::select! {
                ticked = ticker.until(due) => ticked?,
                Some(ended) = tasks.join_next() => {
                    ended??;
                    continue;
                }
            }
            number += 1;
            let run = Rc::clone(self);
            tasks.spawn_local(async move { run.one(due).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    fn look(&self) -> Result<bool> {
        let mut recorder = self.recorder.borrow_mut();
        recorder.at(Instant::now())?;
        Ok(recorder.is_open())
    }

    async fn one(&self, asked: Instant) -> Result<()> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) if !connection.is_closed() => connection,
            Some(_) | None => self.connect().await?,
        };
        connection.ready().await?;
        *self.sent.borrow_mut() += 1;
        let request = hyper::Request::post(PATH)
            .header(HOST, "127.0.0.1")
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(CONTENT_LENGTH, self.question.len())
            .header(model::ANSWER_BYTES, self.load.answer_bytes)
            .header(model::DELAY_MS, self.load.delay_ms)
            .body(Full::new(self.question.clone()))?;
        let mut response = tokio::time::timeout(PATIENCE, connection.send_request(request)).await??;
        let (mut length, mut number) = (0, 0);
        {
            let mut answered = self.answered.borrow_mut();
            *answered += 1;
            number += *answered;
        }
        let whole = number.is_multiple_of(EVERY);
        while let Some(frame) = response.body_mut().frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if whole && self.expected.get(length..length + data.len()) != Some(&data[..]) {
                return Err(Failed::new("an answer is not the model's"));
            }
            length += data.len();
        }
        if response.status() != 200 || length != self.expected.len() {
            return Err(Failed::new(format!("status {} with {length} bytes", response.status())));
        }
        self.recorder.borrow_mut().answered(asked, Instant::now());
        self.idle.borrow_mut().push(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // its errors reach the request that waits on it
        tokio::task::spawn_local(driver);
        Ok(connection)
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
