//! What tests play Envoy with: a listener on a Unix socket whose answers are raw bytes, so that they can be wrong in
//! any way, or late, or never given.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Forward, ForwardTo};
use crate::relay::testing::Scratch;

/// Waits for what must come, and fails the test when it does not.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, work).await.expect("it never happened")
}

/// A local listener whose connections the test serves by hand.
pub(crate) struct Envoy {
    listener: UnixListener,
    /// The same listener, for asking without waiting.
    waiting: StdListener,
    path: PathBuf,
}

/// One connection to it.
pub(crate) struct Line {
    stream: BufReader<UnixStream>,
}

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Asked {
    pub request_line: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Envoy {
    pub(crate) fn listen(dir: &Scratch) -> Self {
        Self::listen_at(dir.path().join("adapter.sock"))
    }

    /// Listens at `path`, taking the place of a listener that is gone.
    pub(crate) fn listen_at(path: PathBuf) -> Self {
        let _ = std::fs::remove_file(&path);
        let waiting = StdListener::bind(&path).unwrap();
        waiting.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(waiting.try_clone().unwrap()).unwrap();
        Self {
            listener,
            waiting,
            path,
        }
    }

    pub(crate) fn forward(&self) -> Forward {
        Forward {
            to: ForwardTo::Unix(self.path.clone()),
            authority: "model.internal".to_owned(),
            headers: Vec::new(),
        }
    }

    pub(crate) async fn accept(&self) -> Line {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        Line::new(stream)
    }

    /// Accepts a connection and reads its first request.
    pub(crate) async fn asked(&self) -> (Line, Asked) {
        let mut line = self.accept().await;
        let asked = line.asked().await;
        (line, asked)
    }

    /// Nobody has connected since the last accept.
    pub(crate) fn is_left_alone(&self) -> bool {
        matches!(self.waiting.accept(), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Line {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The bytes as they come.
    pub(crate) fn raw(&mut self) -> &mut BufReader<UnixStream> {
        &mut self.stream
    }

    /// The next request, complete.
    pub(crate) async fn asked(&mut self) -> Asked {
        within(self.next())
            .await
            .expect("the connection ended before a request")
    }

    /// The next request; `None` when the client is gone.
    async fn next(&mut self) -> Option<Asked> {
        let request_line = self.head_line().await?;
        let mut headers = Vec::new();
        loop {
            let line = self.head_line().await?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut asked = Asked {
            request_line,
            headers,
            body: Vec::new(),
        };
        if asked.has("content-length") {
            asked.body.resize(asked.header("content-length").parse().unwrap(), 0);
        }
        self.stream.read_exact(&mut asked.body).await.ok()?;
        Some(asked)
    }

    async fn head_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Writes as much as the client takes before it is gone.
    pub(crate) async fn write_in_vain(&mut self, bytes: &[u8]) {
        let _ = within(self.stream.write_all(bytes)).await;
    }

    /// The client closes the connection without another request.
    pub(crate) async fn is_closed(&mut self) {
        let rest = self.drain().await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }

    /// The client closes the connection; gives what it wrote before.
    pub(crate) async fn drain(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // a reset is a close too: the client may not have read everything
        let _ = within(self.stream.read_to_end(&mut rest)).await;
        rest
    }
}

impl Asked {
    /// The header's only value.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(n, _)| n == name);
        let value = values.next().unwrap_or_else(|| panic!("no {name} in {self:?}"));
        assert!(values.next().is_none(), "{name} twice in {self:?}");
        &value.1
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }
}

/// A good answer of the adapter, as Envoy passes it on.
pub(crate) fn ok(json: &str) -> String {
    answer("200 OK", "x-envoy-upstream-service-time: 3\r\n", json)
}

/// An answer with these header lines besides content-type and content-length.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A model behind a listener that serves every connection; the test answers each request when it likes.
pub(crate) struct Adapter {
    pub(crate) forward: Forward,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// A request at the adapter.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) asked: Asked,
    answer: oneshot::Sender<String>,
}

impl Adapter {
    pub(crate) fn start(dir: &Scratch) -> Self {
        let envoy = Envoy::listen(dir);
        let forward = envoy.forward();
        let (arrived, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = envoy.listener.accept().await {
                tokio::spawn(serve(Line::new(stream), arrived.clone()));
            }
        });
        Self { forward, arrivals }
    }

    /// The next request.
    pub(crate) async fn arrival(&mut self) -> Arrival {
        within(self.arrivals.recv()).await.unwrap()
    }

    /// No request has arrived but those already taken.
    pub(crate) fn is_left_alone(&mut self) -> bool {
        self.arrivals.is_empty()
    }
}

async fn serve(mut line: Line, arrived: mpsc::UnboundedSender<Arrival>) {
    while let Some(asked) = line.next().await {
        let (answer, mut given) = oneshot::channel();
        if arrived.send(Arrival { asked, answer }).is_err() {
            return;
        }
        // a client that hangs up drops `given`, which the test sees
        tokio::select! {
            answer = &mut given => match answer {
                Ok(answer) => line.write_in_vain(answer.as_bytes()).await,
                Err(_) => return,
            },
            _ = line.stream.fill_buf() => return,
        }
    }
}

impl Arrival {
    pub(crate) fn answer(self, json: &str) {
        let _ = self.answer.send(ok(json));
    }

    /// The client gives this request up.
    pub(crate) async fn given_up(mut self) {
        within(self.answer.closed()).await;
    }

    /// The relay's id for it.
    pub(crate) fn id(&self) -> &str {
        self.asked.header("x-spectral-bridge-request-id")
    }
}
