//! What a conversation is like.

use std::time::Duration;

use e2e::model::Behaviour;
use e2e::world::site::DEADLINE;
use serde_json::{Value, json};

use super::puppet::Puppet;
use super::{Chat, Plan, ask, assert_error};

#[tokio::test]
async fn two_turns_stream_on_one_connection_and_end_with_their_usage() {
    let (chat, model) = Chat::with_model().await;
    let mut client = chat.dial().await;
    for (id, said) in [(json!("first"), "one two three"), (json!(2), "four")] {
        let mut message = ask("demo", said);
        message["id"] = id.clone();
        client.say(message).await;
        let mut deltas = Vec::new();
        let done = loop {
            let message = client.hears().await;
            assert_eq!(message["id"], id);
            match message["type"].as_str() {
                Some("delta") => deltas.push(message),
                Some("done") => break message,
                other => panic!("{other:?}: {message}"),
            }
        };
        assert_eq!(
            (&deltas[0]["role"], &deltas[0]["index"]),
            (&json!("assistant"), &json!(0))
        );
        let words: String = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
        assert_eq!(words, format!("You said: {said}"));
        assert!(deltas.len() > 2, "word by word: {deltas:?}");
        assert_eq!(
            (&done["finish_reason"], &done["model"]),
            (&json!("stop"), &json!("demo"))
        );
        let spoken = said.split(' ').count() as u64;
        assert_eq!(
            (&done["usage"]["prompt_tokens"], &done["usage"]["completion_tokens"]),
            (&json!(spoken), &json!(spoken + 2))
        );
    }
    chat.becomes("/totals/ended_turns/done", json!(2)).await;
    let (status, books) = (chat.status().await, model.tokens());
    assert_eq!(
        (&status["sessions"], &status["turns"]),
        (&json!(1), &json!(0)),
        "{status}"
    );
    let totals = &status["totals"];
    assert_eq!(
        (&totals["input_tokens"], &totals["output_tokens"]),
        (&json!(books.input), &json!(books.output))
    );
    assert_eq!(model.ledger().count(), 2);
}

#[tokio::test]
async fn the_adapter_is_asked_what_the_client_said_for_a_stream_with_its_usage() {
    let model = e2e::model::Model::start().await.unwrap();
    let chat = Plan::new()
        .edit("# model: ...", "model: house-model #")
        .serving(model.address())
        .await;
    let traced = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("cookie", "a=b"),
    ];
    let mut client = chat
        .try_dial("/websockets/chat", Some(super::CREDENTIALS), &traced)
        .await
        .unwrap();
    let mut message = ask("x", "hello");
    message.as_object_mut().unwrap().remove("model");
    message["temperature"] = json!(0.5);
    message["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    message["id"] = json!("mine");
    let (_, done) = client.turn(message).await;
    assert_eq!(done["model"], "house-model");
    let asked = model.ledger().last().unwrap();
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(
        body,
        json!({"model": "house-model", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.5,
            "tools": [{"type": "function", "function": {"name": "f"}}], "stream": true,
            "stream_options": {"include_usage": true}})
    );
    assert_eq!(asked.path, "/v1/chat/completions");
    assert!(
        asked.header("x-request-id").unwrap().ends_with("-1"),
        "{:?}",
        asked.headers
    );
    assert!(
        asked
            .header("traceparent")
            .unwrap()
            .contains("0af7651916cd43dd8448eb211c80319c")
    );
    for private in ["authorization", "cookie", "x-spectral-bridge-ticket"] {
        assert_eq!(asked.header(private), None, "{private}");
    }
}

#[tokio::test]
async fn cancel_closes_the_models_stream_and_the_next_turn_is_answered() {
    let mut puppet = Puppet::start().await;
    let chat = Plan::new().serving(puppet.address()).await;
    let mut client = chat.dial().await;
    let mut message = ask("demo", "talk for ever");
    message["id"] = json!("long");
    client.say(message).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    line.says("word").await;
    assert_eq!(client.hears().await["content"], "word");
    client.say(json!({"type": "cancel", "id": "another"})).await;
    assert_error(&client.hears().await, 409, "no_turn_running", "bridge");
    client.say(json!({"type": "cancel", "id": "long"})).await;
    let done = client.hears().await;
    assert_eq!(
        done,
        json!({"type": "done", "id": "long", "usage": null, "finish_reason": "cancelled"})
    );
    line.is_hung_up().await;
    client.say(json!({"type": "cancel"})).await;
    assert_error(&client.hears().await, 409, "no_turn_running", "bridge");
    client.say(ask("demo", "again")).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    line.says("fresh").await;
    line.ends().await;
    let (said, done) = client.answer().await;
    assert_eq!((said.as_str(), &done["type"]), ("fresh", &json!("done")));
    chat.becomes("/totals/ended_turns", json!({"cancelled": 1, "done": 1}))
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_turn() {
    let mut puppet = Puppet::start().await;
    let chat = Plan::new().serving(puppet.address()).await;
    let mut client = chat.dial().await;
    client.say(ask("demo", "talk for ever")).await;
    let mut line = puppet.asked().await;
    line.begins().await;
    line.says("word").await;
    assert_eq!(client.hears().await["content"], "word");
    drop(client);
    line.is_hung_up().await;
    chat.becomes("/sessions", json!(0)).await;
    chat.becomes("/totals/ended_turns", json!({"cancelled": 1})).await;
}

#[tokio::test]
async fn a_turn_beside_a_running_one_is_refused_and_the_running_one_goes_on() {
    let (chat, model) = Chat::with_model().await;
    model.next(Behaviour::Pace(Duration::from_millis(200)));
    let mut client = chat.dial().await;
    client.say(ask("demo", "one two three")).await;
    model.ledger().wait(1, DEADLINE).await.unwrap();
    let mut second = ask("demo", "and me?");
    second["id"] = json!("second");
    client.say(second).await;
    let (mut said, mut refused) = (String::new(), Value::Null);
    loop {
        let message = client.hears().await;
        match message["type"].as_str() {
            Some("delta") => said.push_str(message["content"].as_str().unwrap_or_default()),
            Some("error") => refused = message,
            Some("done") => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said, "You said: one two three");
    assert_error(&refused, 409, "turn_running", "bridge");
    assert_eq!((&refused["id"], model.ledger().count()), (&json!("second"), 1));
    client.still_answers().await;
}

#[tokio::test]
async fn many_clients_talk_at_once_each_to_its_own_turn() {
    let (chat, model) = Chat::with_model().await;
    let mut talks = tokio::task::JoinSet::new();
    for number in 0..40 {
        let mut client = chat.dial().await;
        talks.spawn(async move {
            for turn in 0..10 {
                let said = format!("client {number} in turn {turn}");
                let (heard, done) = client.turn(ask("demo", &said)).await;
                assert_eq!((heard, &done["type"]), (format!("You said: {said}"), &json!("done")));
            }
        });
    }
    while let Some(talk) = talks.join_next().await {
        talk.unwrap();
    }
    chat.becomes("/totals/ended_turns", json!({"done": 400})).await;
    assert_eq!(model.ledger().count(), 400);
    chat.becomes("/sessions", json!(0)).await;
}
