//! What a client may say, checked before anybody is asked: a turn to ask for, or the end of the running one.
//!
//! Pure. A turn's members pass on as they were written but for those that are this endpoint's own. Deliberately absent:
//! judging what the model judges (names of models, ranges of temperatures, contents of parts).
#![deny(clippy::disallowed_methods)]

use serde_json::value::RawValue;

use super::members::{Members, Writer, parse, quoted};
use super::reply::{Failure, Origin};

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// `{"messages": […], …}`.
    Turn {
        /// Of the answers to it.
        id: Option<Id>,
        /// What the adapter is asked.
        body: String,
    },
    /// `{"type": "cancel"}`.
    Cancel {
        /// Only the turn with this id is meant.
        id: Option<Id>,
    },
}

/// A client's name for a turn: a JSON string or number, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id(Box<str>);

impl Id {
    /// As JSON.
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a message, and which one it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub id: Option<Id>,
    pub failure: Failure,
}

/// Reads a text message; `model` is the one of turns that name none.
pub(super) fn read(text: &str, model: Option<&str>) -> Result<Said, Mistake> {
    let unnamed = |failure| Mistake { id: None, failure };
    let members = match Members::read(text) {
        Ok(Some(members)) => members,
        Ok(None) => return Err(unnamed(wrong(None, "the message must be a JSON object"))),
        Err(e) => {
            let what = format!("the message is not JSON (line {}, column {})", e.line(), e.column());
            return Err(unnamed(refused("invalid_json", None, &what)));
        }
    };
    if let Some(key) = members.twice() {
        return Err(unnamed(wrong(Some(&cut(key)), "is written twice")));
    }
    let id = match members.get("id").map(id) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return Err(unnamed(wrong(Some("id"), ID))),
    };
    match said(&members, id.clone(), model) {
        Ok(said) => Ok(said),
        Err(failure) => Err(Mistake { id, failure }),
    }
}

fn said(members: &Members<'_>, id: Option<Id>, model: Option<&str>) -> Result<Said, Failure> {
    let kind = members.get("type").map(parse::<String>);
    match kind.as_ref().map(Option::as_deref) {
        None | Some(Some("chat")) => {}
        Some(Some("cancel")) => return Ok(Said::Cancel { id }),
        Some(_) => return Err(wrong(Some("type"), "must be \"chat\" (or absent) or \"cancel\"")),
    }
    check_messages(members)?;
    match members.get("model").map(parse::<String>) {
        None => {}
        Some(Some(model)) if !model.is_empty() => {}
        Some(_) => return Err(wrong(Some("model"), "must be the name of a model")),
    }
    if let Some(temperature) = members.get("temperature")
        && parse::<f64>(temperature).is_none()
    {
        return Err(wrong(Some("temperature"), "must be a number"));
    }
    if let Some(options) = members.get("stream_options")
        && !options.get().starts_with('{')
    {
        return Err(wrong(Some("stream_options"), "must be an object"));
    }
    let body = body(members, model);
    Ok(Said::Turn { id, body })
}

fn check_messages(members: &Members<'_>) -> Result<(), Failure> {
    let Some(messages) = members.get("messages") else {
        return Err(wrong(
            Some("messages"),
            "is missing: an array of messages, each with a role",
        ));
    };
    let Some(messages) = parse::<Vec<&RawValue>>(messages) else {
        return Err(wrong(
            Some("messages"),
            "must be an array of messages, each with a role",
        ));
    };
    if messages.is_empty() {
        return Err(wrong(Some("messages"), "must hold at least one message"));
    }
    for (index, message) in messages.iter().enumerate() {
        let Ok(Some(message)) = Members::read(message.get()) else {
            let param = format!("messages[{index}]");
            return Err(wrong(Some(&param), "must be an object with a role"));
        };
        if message.text("role").is_none_or(|role| role.is_empty()) {
            let param = format!("messages[{index}].role");
            return Err(wrong(Some(&param), "must be a role such as \"user\""));
        }
        let content = message
            .get("content")
            .map(|content| content.get().as_bytes().first().copied());
        if !matches!(content, None | Some(Some(b'"' | b'['))) {
            let param = format!("messages[{index}].content");
            return Err(wrong(Some(&param), "must be a string or an array of parts"));
        }
    }
    Ok(())
}

/// The turn as the adapter is asked for it: a stream that ends with its usage.
fn body(members: &Members<'_>, model: Option<&str>) -> String {
    let mut body = Writer::new();
    for (key, value) in members.iter() {
        let named = key != "model" || members.get("model").is_some();
        if named && !OWN.contains(&key) {
            body.raw(key, value.get());
        }
    }
    if let Some(model) = model.filter(|_| members.get("model").is_none()) {
        body.text("model", model);
    }
    body.raw("stream", "true");
    let mut options = Writer::new();
    let given = members.get("stream_options").map(Members::of).unwrap_or_default();
    for (key, value) in given.iter().filter(|(key, _)| *key != INCLUDE_USAGE) {
        options.raw(key, value.get());
    }
    options.raw(INCLUDE_USAGE, "true");
    body.raw("stream_options", &options.finish());
    body.finish()
}

fn id(value: &RawValue) -> Option<Id> {
    let json = value.get();
    let scalar = json.starts_with(['"', '-']) || json.starts_with(|c: char| c.is_ascii_digit());
    (scalar && json.len() <= MAX_ID).then(|| Id(json.into()))
}

fn wrong(param: Option<&str>, what: &str) -> Failure {
    refused("invalid_request", param, what)
}

fn refused(code: &'static str, param: Option<&str>, what: &str) -> Failure {
    let message = match param {
        Some(param) => format!("{param} {what}"),
        None => what.to_owned(),
    };
    Failure {
        status: 400,
        code: code.into(),
        message,
        param: param.map(str::to_owned),
        origin: Origin::Bridge,
    }
}

/// A client's key, short enough to be said back.
fn cut(key: &str) -> String {
    let cut: String = key.chars().take(MAX_KEY).collect();
    if cut.len() == key.len() {
        cut
    } else {
        quoted(&cut) + "…"
    }
}

/// Members that are not passed on as they are.
const OWN: [&str; 4] = ["id", "type", "stream", "stream_options"];
const INCLUDE_USAGE: &str = "include_usage";
const ID: &str = "must be a string or a number of at most 256 bytes";
const MAX_ID: usize = 256;
const MAX_KEY: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body_of(text: &str, model: Option<&str>) -> String {
        match read(text, model) {
            Ok(Said::Turn { body, .. }) => body,
            other => panic!("{other:?}"),
        }
    }

    fn mistake(message: Value) -> (String, Option<String>) {
        let failure = read(&message.to_string(), None).unwrap_err().failure;
        assert_eq!((failure.status, failure.origin), (400, Origin::Bridge));
        (failure.code.into_owned(), failure.param)
    }

    #[test]
    fn a_turn_passes_on_to_the_byte_but_for_what_is_the_endpoints_own() {
        let text = r#"{"id": 7, "messages": [{"role":"user","content":"a\u00e9"}], "seed": 18446744073709551617,
            "temperature": 1.00, "model": null, "type": "chat", "stream": false,
            "stream_options": {"include_usage": false, "x": 1}, "tools": [ {"a": 1e400} ]}"#;
        assert_eq!(
            body_of(text, Some("small")),
            r#"{"messages":[{"role":"user","content":"a\u00e9"}],"seed":18446744073709551617,"temperature":1.00,"tools":[ {"a": 1e400} ],"model":"small","stream":true,"stream_options":{"x":1,"include_usage":true}}"#
        );
        let named = r#"{"model":"large","messages":[{"role":"user"}]}"#;
        assert_eq!(
            body_of(named, Some("small")),
            r#"{"model":"large","messages":[{"role":"user"}],"stream":true,"stream_options":{"include_usage":true}}"#
        );
        assert!(!body_of(r#"{"messages":[{"role":"user"}]}"#, None).contains("model"));
    }

    #[test]
    fn an_id_is_given_back_as_it_was_written() {
        for written in [r#""a""#, "17", "-1.50", r#""\u0041""#] {
            let text = format!(r#"{{"type":"cancel","id":{written}}}"#);
            let Ok(Said::Cancel { id: Some(id) }) = read(&text, None) else {
                panic!("{text}")
            };
            assert_eq!(id.json(), written);
        }
        let long = "x".repeat(300);
        for wrong in [json!([1]), json!({}), json!(true), json!(long)] {
            assert_eq!(
                mistake(json!({"type": "cancel", "id": wrong})),
                ("invalid_request".to_owned(), Some("id".to_owned()))
            );
        }
        let named = read(r#"{"id":"a","messages":1}"#, None).unwrap_err();
        assert_eq!(named.id, Some(Id(r#""a""#.into())));
    }

    #[test]
    fn each_mistake_names_its_place() {
        let user = json!([{"role": "user", "content": "x"}]);
        for (message, param) in [
            (json!({}), "messages"),
            (json!({"messages": "hello"}), "messages"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": ["hello"]}), "messages[0]"),
            (
                json!({"messages": [{"role": "user"}, {"content": "x"}]}),
                "messages[1].role",
            ),
            (json!({"messages": [{"role": 1}]}), "messages[0].role"),
            (json!({"messages": [{"role": ""}]}), "messages[0].role"),
            (
                json!({"messages": [{"role": "user", "content": 5}]}),
                "messages[0].content",
            ),
            (json!({"messages": user, "model": 5}), "model"),
            (json!({"messages": user, "model": ""}), "model"),
            (json!({"messages": user, "temperature": "hot"}), "temperature"),
            (json!({"messages": user, "stream_options": true}), "stream_options"),
            (json!({"messages": user, "type": "shout"}), "type"),
            (json!({"messages": user, "type": 5}), "type"),
        ] {
            assert_eq!(
                mistake(message.clone()),
                ("invalid_request".to_owned(), Some(param.to_owned())),
                "{message}"
            );
        }
        assert_eq!(mistake(json!([])).0, "invalid_request");
        assert_eq!(mistake(json!("hello")).0, "invalid_request");
    }

    #[test]
    fn a_key_that_two_readers_could_read_differently_is_refused() {
        let text = r#"{"messages":[{"role":"user"}],"model":"cheap","mod\u0065l":"dear"}"#;
        assert_eq!(read(text, None).unwrap_err().failure.param.as_deref(), Some("model"));
    }

    #[test]
    fn what_is_no_json_is_said_without_repeating_it() {
        for text in ["", "hello secret", "{", "{\"messages\": [}", "\u{0}"] {
            let failure = read(text, None).unwrap_err().failure;
            assert_eq!(failure.code, "invalid_json", "{text}");
            assert!(!failure.message.contains("secret"));
        }
        // deeper than anybody reads recursively
        let deep = format!("{{\"messages\":{}", "[".repeat(500_000));
        assert_eq!(read(&deep, None).unwrap_err().failure.code, "invalid_json");
    }
}
