//! The demo model's further APIs, and that its books hold what it told its callers, to the token.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Read;

use e2e::model::{Api, Behaviour, Gate, Model, Tokens};
use e2e::world::http::{self, Reply};
use e2e::world::site::DEADLINE;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Eight words go in; "You said: " and what was said last, eight words, come out: ten.
const EIGHT: &str = "one two three four five six seven eight";

const ASKED: Tokens = Tokens {
    input: 8,
    output: 10,
    cached: 4,
    written: 0,
    reasoning: 3,
};

async fn ask(model: &Model, api: Api, more: Value) -> Reply {
    let mut body = json!({"messages": [{"role": "user", "content": EIGHT}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    http::post(&model.url(api.path()), body.to_string()).await.unwrap()
}

/// The JSON of each event or line.
fn parts(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let data = text.lines().filter_map(|line| match line.split_once(": ") {
        Some(("data", data)) => Some(data),
        Some(("event", _)) => None,
        _ => Some(line).filter(|line| line.starts_with('{')),
    });
    let data = data.filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

async fn dial(model: &Model, target: &str) -> WebSocketStream<TcpStream> {
    let socket = TcpStream::connect(model.address()).await.unwrap();
    client_async(format!("ws://{}{target}", model.address()), socket)
        .await
        .unwrap()
        .0
}

async fn hear(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        match tokio::time::timeout(DEADLINE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
            Message::Ping(_) => {}
            other => panic!("a text was expected, not {other:?}"),
        }
    }
}

/// Says `event` and gives everything up to the event `last`.
async fn turn(socket: &mut WebSocketStream<TcpStream>, event: Value, last: &str) -> Vec<Value> {
    socket.send(Message::text(event.to_string())).await.unwrap();
    let mut heard = Vec::new();
    while heard.last().is_none_or(|event: &Value| event["type"] != last) {
        heard.push(hear(socket).await);
    }
    heard
}

#[tokio::test]
async fn a_completion_tells_what_was_cached_and_what_was_thought() {
    let model = Model::start().await.unwrap();
    let chat = ask(&model, Api::Chat, json!({})).await.json();
    assert_eq!(
        chat["usage"],
        json!({
            "prompt_tokens": 8, "completion_tokens": 10, "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
        })
    );
    assert_eq!(model.tokens(), ASKED);
    let legacy = json!({"prompt": ["one", "two three"]}).to_string();
    let legacy = http::post(&model.url(Api::Completions.path()), legacy)
        .await
        .unwrap()
        .json();
    assert_eq!(
        (&legacy["object"], &legacy["choices"][0]["text"]),
        (&json!("text_completion"), &json!("You said: two three"))
    );
    assert_eq!(
        (&legacy["usage"]["prompt_tokens"], &legacy["usage"]["completion_tokens"]),
        (&json!(3), &json!(4))
    );
}

#[tokio::test]
async fn embeddings_cost_input_only() {
    let model = Model::start().await.unwrap();
    let body = json!({"model": "e", "input": ["one two", "three"]});
    let reply = http::post(&model.url(Api::Embeddings.path()), body.to_string())
        .await
        .unwrap()
        .json();
    assert_eq!(reply["data"].as_array().unwrap().len(), 2);
    assert_eq!(reply["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    assert_eq!(
        model.tokens(),
        Tokens {
            input: 3,
            ..Tokens::default()
        }
    );
}

#[tokio::test]
async fn anthropics_input_excludes_what_a_cache_had_to_do_with() {
    let model = Model::start().await.unwrap();
    let usage = json!({
        "input_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 10,
        "service_tier": "standard",
    });
    assert_eq!(
        ask(&model, Api::Messages, json!({"max_tokens": 5})).await.json()["usage"],
        usage
    );
    let one = Tokens {
        written: 2,
        reasoning: 0,
        ..ASKED
    };
    assert_eq!(model.tokens(), one);
    let stream = parts(&ask(&model, Api::Messages, json!({"stream": true})).await);
    assert_eq!(
        (&stream[0]["type"], &stream[0]["message"]["usage"]["output_tokens"]),
        (&json!("message_start"), &json!(1))
    );
    let last = &stream[stream.len() - 2];
    assert_eq!(
        (&last["type"], &last["usage"]),
        (&json!("message_delta"), &json!({"output_tokens": 10}))
    );
    assert_eq!(model.tokens(), one + one, "the stream's counts are cumulative");
}

#[tokio::test]
async fn ollama_streams_lines_unless_told_not_to() {
    let model = Model::start().await.unwrap();
    let reply = ask(&model, Api::Ollama, json!({})).await;
    assert_eq!(reply.headers["content-type"], "application/x-ndjson");
    let lines = parts(&reply);
    assert!(lines.len() > 2 && lines[0]["done"] == false && lines[0].get("eval_count").is_none());
    let said: String = lines
        .iter()
        .map(|line| line["message"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(said, format!("You said: {EIGHT}"));
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["done"], &last["prompt_eval_count"], &last["eval_count"]),
        (&json!(true), &json!(8), &json!(10))
    );
    let whole = ask(&model, Api::Ollama, json!({"stream": false})).await.json();
    assert_eq!((&whole["done"], &whole["eval_count"]), (&json!(true), &json!(10)));
    assert_eq!((model.tokens().input, model.tokens().output), (16, 20));
}

#[tokio::test]
async fn usage_is_told_as_the_model_name_says() {
    let model = Model::start().await.unwrap();
    let usages = |reply: &Reply| -> Vec<Value> {
        parts(reply)
            .iter()
            .filter_map(|part| part.get("usage").cloned())
            .collect()
    };
    let stream = |name: &'static str| ask(&model, Api::Chat, json!({"model": name, "stream": true}));
    assert!(
        ask(&model, Api::Chat, json!({"model": "no-usage"}))
            .await
            .json()
            .get("usage")
            .is_none()
    );
    assert_eq!(
        ask(&model, Api::Chat, json!({"model": "null-usage"})).await.json()["usage"],
        json!(null)
    );
    assert!(usages(&stream("no-usage").await).is_empty());
    assert!(usages(&stream("null-usage").await).iter().all(Value::is_null));
    assert_eq!(model.tokens(), Tokens::default());
    let always = usages(&stream("always-usage").await);
    assert_eq!(always.iter().filter(|usage| !usage.is_null()).count(), 1);
    assert_eq!(model.tokens(), ASKED);
    let continuous = usages(&stream("continuous-usage").await);
    let totals: Vec<_> = continuous
        .iter()
        .map(|usage| usage["completion_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(totals, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]);
    assert_eq!(model.tokens(), ASKED + ASKED);
    let account = model.accounts()[&(Api::Chat, "no-usage".to_owned())];
    assert_eq!((account.answers, account.told), (2, 0));
}

#[tokio::test]
async fn streams_come_compressed_event_by_event_or_with_crlf() {
    let model = Model::start().await.unwrap();
    let more = |name: &str| json!({"model": name, "stream": true, "stream_options": {"include_usage": true}});
    let packed = ask(&model, Api::Chat, more("gzip")).await;
    assert_eq!(
        (&packed.headers["content-encoding"], &packed.headers["content-type"]),
        (&"gzip".parse().unwrap(), &"text/event-stream".parse().unwrap())
    );
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&packed.body[..])
        .read_to_string(&mut plain)
        .unwrap();
    assert!(
        plain.contains("\"prompt_tokens\":8") && plain.ends_with("data: [DONE]\n\n"),
        "{plain}"
    );
    let crlf = ask(
        &model,
        Api::Responses,
        json!({"model": "crlf", "stream": true, "input": EIGHT}),
    )
    .await
    .text();
    assert!(
        crlf.contains("event: response.created\r\ndata: {") && crlf.ends_with("}\r\n\r\n"),
        "{crlf}"
    );
    assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
}

#[tokio::test]
async fn what_was_not_sent_is_in_no_books() {
    let model = Model::start().await.unwrap();
    let gate = Gate::default();
    model.next(Behaviour::Behind(gate.clone()));
    let body = json!({"messages": [{"role": "user", "content": EIGHT}]}).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut impatient = TcpStream::connect(model.address()).await.unwrap();
    impatient.write_all((head.clone() + &body).as_bytes()).await.unwrap();
    model.ledger().wait(1, DEADLINE).await.unwrap();
    drop(impatient);
    for name in ["close-mid-answer", "close-after-request", "status-500"] {
        let body = json!({"model": name, "stream": true, "messages": []}).to_string();
        drop(http::post(&model.url(Api::Chat.path()), body).await);
    }
    // Anthropic's streams tell their input first: cut in the middle, that is what was told.
    model.next(Behaviour::CloseMidAnswer);
    let body = json!({"model": "m", "stream": true, "messages": [{"content": EIGHT}]}).to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut cut = TcpStream::connect(model.address()).await.unwrap();
    cut.write_all((head + &body).as_bytes()).await.unwrap();
    let mut seen = String::new();
    cut.read_to_string(&mut seen).await.unwrap();
    assert!(
        seen.contains("message_start") && !seen.contains("message_delta"),
        "{seen}"
    );
    gate.open();
    assert_eq!(
        model.tokens(),
        Tokens {
            output: 1,
            written: 2,
            reasoning: 0,
            ..ASKED
        }
    );
}

#[tokio::test]
async fn a_responses_socket_takes_several_turns() {
    let model = Model::start().await.unwrap();
    let mut socket = dial(&model, "/v1/responses").await;
    for (number, create) in [
        json!({"type": "response.create", "model": "m", "input": EIGHT}),
        json!({"type": "response.create", "response": {"model": "fragmented", "input": EIGHT}}),
    ]
    .into_iter()
    .enumerate()
    {
        let events = turn(&mut socket, create, "response.completed").await;
        assert_eq!(
            (&events[0]["type"], &events[0]["response"]["usage"]),
            (&json!("response.created"), &json!(null))
        );
        let usage = &events.last().unwrap()["response"]["usage"];
        assert_eq!(
            (
                &usage["input_tokens"],
                &usage["output_tokens_details"]["reasoning_tokens"]
            ),
            (&json!(8), &json!(3))
        );
        assert_eq!(model.ledger().count(), number + 1);
    }
    let refused = turn(
        &mut socket,
        json!({"type": "response.create", "model": "status-503"}),
        "error",
    )
    .await;
    assert_eq!(refused[0]["status"], 503);
    assert_eq!(
        turn(&mut socket, json!({"type": "other"}), "error").await[0]["error"]["code"],
        "unknown_event"
    );
    socket
        .send(Message::text(
            json!({"type": "response.create", "model": "close-mid-answer"}).to_string(),
        ))
        .await
        .unwrap();
    let mut ended = false;
    while !ended {
        ended = !matches!(
            tokio::time::timeout(DEADLINE, socket.next()).await.unwrap(),
            Some(Ok(Message::Text(_)))
        );
    }
    assert_eq!(model.tokens(), ASKED + ASKED);
}

#[tokio::test]
async fn a_realtime_session_tells_its_usage_when_a_response_is_done() {
    let model = Model::start().await.unwrap();
    let mut socket = dial(&model, "/v1/realtime?model=rt").await;
    assert_eq!(hear(&mut socket).await["session"]["model"], "rt");
    let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": EIGHT}]});
    turn(
        &mut socket,
        json!({"type": "conversation.item.create", "item": item}),
        "conversation.item.added",
    )
    .await;
    let events = turn(&mut socket, json!({"type": "response.create"}), "response.done").await;
    let usage = &events.last().unwrap()["response"]["usage"];
    assert_eq!(
        (
            &usage["input_tokens"],
            &usage["output_tokens"],
            &usage["input_token_details"]["cached_tokens"]
        ),
        (&json!(8), &json!(10), &json!(4))
    );
    assert_eq!(
        model.accounts()[&(Api::Realtime, "rt".to_owned())].tokens,
        Tokens { reasoning: 0, ..ASKED }
    );
}

#[tokio::test]
async fn a_stored_response_is_told_again_and_not_booked_again() {
    let model = Model::start().await.unwrap();
    let stored = http::get(&model.url("/v1/responses/resp-demo-000001"))
        .await
        .unwrap()
        .json();
    assert!(stored["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert_eq!(model.tokens(), Tokens::default());
    ask(&model, Api::Chat, json!({"model": "a"})).await;
    let books = http::get(&model.url("/ledger")).await.unwrap().json();
    assert_eq!(
        books,
        json!([{"path": "/v1/chat/completions", "model": "a", "answers": 1, "told": 1,
            "input": 8, "output": 10, "cached": 4, "written": 0, "reasoning": 3}])
    );
}
