//! The model: an HTTP/1.1 server that answers a prepared chat completion, of the size and after the time that a request
//! asks for in its headers, and counts what it answered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::failed::Result;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::ticker::Ticker;

/// Bytes of the answer's body.
pub const ANSWER_BYTES: &str = "x-bench-answer-bytes";

/// Milliseconds before the answer.
pub const DELAY_MS: &str = "x-bench-delay-ms";

/// Where the number of answered requests can be read.
pub const COUNT: &str = "/count";

/// A chat completion of exactly `bytes` bytes, as a model would write it.
pub fn body(bytes: usize) -> String {
    let head = r#"{"id":"chatcmpl-Bx81xkzhzR2rEoHs","object":"chat.completion","created":1763000000,"model":"demo-1","choices":[{"index":0,"message":{"role":"assistant","content":""#;
    let tail = r#"","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":187,"completion_tokens":164,"total_tokens":351,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default"}"#;
    let content = bytes.saturating_sub(head.len() + tail.len());
    let text: String = TEXT.chars().cycle().take(content).collect();
    format!("{head}{text}{tail}")
}

#[derive(Default)]
struct Model {
    bodies: RefCell<HashMap<usize, Bytes>>,
    count: Cell<u64>,
}

/// Serves until it is ended.
///
/// # Errors
/// The address is taken.
pub async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let model = Rc::new(Model::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let model = Rc::clone(&model);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let model = Rc::clone(&model);
                async move { Ok::<_, Infallible>(model.answer(request).await) }
            });
            // a connection that breaks is its client's to tell
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

impl Model {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == COUNT {
            return Response::new(Full::new(self.count.get().to_string().into()));
        }
        let came = Instant::now();
        let bytes = number(request.headers(), ANSWER_BYTES).unwrap_or(1024);
        let delay = number(request.headers(), DELAY_MS).unwrap_or(0);
        // a request that breaks off has no reader for its answer either
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        if delay > 0
            && let Ok(ticker) = Ticker::new()
        {
            let until = came + Duration::from_millis(delay.try_into().unwrap_or(u64::MAX));
            drop(ticker.until(until).await);
        }
        self.count.set(self.count.get() + 1);
        let body = self
            .bodies
            .borrow_mut()
            .entry(bytes)
            .or_insert_with(|| body_bytes(bytes))
            .clone();
        let mut response = Response::new(Full::new(body));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

fn body_bytes(bytes: usize) -> Bytes {
    body(bytes).into()
}

fn number(headers: &HeaderMap, name: &str) -> Option<usize> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

const TEXT: &str = "The quick brown fox jumps over the lazy dog while seventeen \\\"careful\\\" engineers measure it; ";
