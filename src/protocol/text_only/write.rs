//! What is written of an answer: constants, our own words, and values whose form was checked.

use serde_json::value::RawValue;

use super::contract::{Choice, Completion, Details, Failure, Item, Message, Response, Usage};
use super::{Known, Misfit, text};
use crate::json::Object;
use crate::protocol::frame::push_json_string;

/// A conversation's completion.
pub(super) fn chat(known: &Known<'_>, answer: &Completion<'_>) -> Result<String, Misfit> {
    completion_of(known, "chat.completion", answer, |out, choice| {
        let message = choice.message.0.as_ref().ok_or(Misfit("a choice has no message"))?;
        assistant(message.role)?;
        out.push_str(r#","message":{"role":"assistant","content":"#);
        out.push_str(content(message, choice)?);
        out.push('}');
        Ok(())
    })
}

/// A text's completion, as the older endpoint gives it.
pub(super) fn completion(known: &Known<'_>, answer: &Completion<'_>) -> Result<String, Misfit> {
    completion_of(known, "text_completion", answer, |out, choice| {
        out.push_str(r#","text":"#);
        out.push_str(text(choice.text).ok_or(Misfit("the text of a choice is not a string"))?);
        Ok(())
    })
}

fn completion_of(
    known: &Known<'_>,
    object: &str,
    answer: &Completion<'_>,
    said: impl Fn(&mut String, &Choice<'_>) -> Result<(), Misfit>,
) -> Result<String, Misfit> {
    let choices = answer.choices.0.as_deref().filter(|choices| !choices.is_empty());
    let choices = choices.ok_or(Misfit("choices is not an array with something in it"))?;
    let mut out = head(known, object, "created");
    out.push_str(r#","choices":["#);
    for (index, Object(choice)) in choices.iter().enumerate() {
        let choice = choice.as_ref().ok_or(Misfit("a choice is not an object"))?;
        separate(&mut out, index);
        out.push_str(&format!(r#"{{"index":{index}"#));
        said(&mut out, choice)?;
        out.push_str(r#","logprobs":null,"finish_reason":"#);
        out.push_str(word(choice.finish_reason).unwrap_or("null"));
        out.push('}');
    }
    out.push(']');
    if let Some(usage) = &answer.usage.0 {
        counts(
            &mut out,
            &[
                ("prompt_tokens", usage.prompt),
                ("completion_tokens", usage.completion),
                ("total_tokens", usage.total),
            ],
            &[
                (
                    "prompt_tokens_details",
                    "cached_tokens",
                    details(&usage.prompt_details, |d| d.cached),
                ),
                (
                    "completion_tokens_details",
                    "reasoning_tokens",
                    details(&usage.completion_details, |d| d.reasoning),
                ),
            ],
        );
    }
    out.push('}');
    Ok(out)
}

/// The content, a string. An answer that ended before its first word has none.
fn content<'a>(message: &Message<'a>, choice: &Choice<'_>) -> Result<&'a str, Misfit> {
    if let Some(content) = text(message.content) {
        return Ok(content);
    }
    let cut = matches!(word(choice.finish_reason), Some(r#""length""# | r#""content_filter""#));
    match message.content {
        None if cut => Ok("null"),
        Some(_) | None => Err(Misfit(
            "the content of a message is not a string; tool calls, refusals and parts are not passed",
        )),
    }
}

/// A response.
pub(super) fn response(known: &Known<'_>, answer: &Response<'_>) -> Result<String, Misfit> {
    let items = answer.output.0.as_deref().ok_or(Misfit("output is not an array"))?;
    let status = match answer.status {
        // the contract's own example has none
        None => r#""completed""#,
        Some(status) => one_of(status, &STATUSES).ok_or(Misfit("status is none that a response has"))?,
    };
    let mut out = head(known, "response", "created_at");
    out.push_str(r#","status":"#);
    out.push_str(status);
    failure(&mut out, answer.error.0.as_ref());
    let reason = answer
        .incomplete
        .0
        .as_ref()
        .and_then(|incomplete| word(incomplete.reason));
    match reason {
        Some(reason) => out.push_str(&format!(r#","incomplete_details":{{"reason":{reason}}}"#)),
        None => out.push_str(r#","incomplete_details":null"#),
    }
    // what a response must say of itself in OpenAI's own types; of tools, none cross
    out.push_str(
        r#","instructions":null,"metadata":{},"parallel_tool_calls":false,"temperature":null,"tool_choice":"none","tools":[],"top_p":null,"output":["#,
    );
    let texts = messages(&mut out, items)?;
    if texts == 0 && status == r#""completed""# {
        return Err(Misfit(
            "the output has no output_text; tool calls, refusals and reasoning are not passed",
        ));
    }
    out.push(']');
    if let Some(usage) = &answer.usage.0 {
        response_counts(&mut out, usage);
    }
    out.push('}');
    Ok(out)
}

fn response_counts(out: &mut String, usage: &Usage<'_>) {
    counts(
        out,
        &[
            ("input_tokens", usage.input),
            ("output_tokens", usage.output),
            ("total_tokens", usage.total),
        ],
        &[
            (
                "input_tokens_details",
                "cached_tokens",
                details(&usage.input_details, |d| d.cached),
            ),
            (
                "output_tokens_details",
                "reasoning_tokens",
                details(&usage.output_details, |d| d.reasoning),
            ),
        ],
    );
}

/// The messages among the items; gives how many texts they have.
fn messages(out: &mut String, items: &[Object<Item<'_>>]) -> Result<usize, Misfit> {
    let (mut written, mut texts) = (0, 0);
    for Object(item) in items {
        let item = item.as_ref().ok_or(Misfit("an item of the output is not an object"))?;
        if text(item.kind) != Some(r#""message""#) {
            continue;
        }
        assistant(item.role)?;
        let parts = item.content.0.as_deref();
        let parts = parts.ok_or(Misfit("the content of a message is not an array"))?;
        separate(out, written);
        let status = item.status.and_then(|status| one_of(status, &STATUSES));
        let status = status.unwrap_or(r#""completed""#);
        out.push_str(&format!(
            r#"{{"id":"msg_{written}","type":"message","status":{status},"role":"assistant","content":["#
        ));
        let mut own = 0;
        for Object(part) in parts {
            let part = part.as_ref().ok_or(Misfit("a part of a message is not an object"))?;
            if text(part.kind) != Some(r#""output_text""#) {
                continue;
            }
            separate(out, own);
            out.push_str(r#"{"type":"output_text","annotations":[],"text":"#);
            out.push_str(text(part.text).ok_or(Misfit("an output_text is not a string"))?);
            out.push('}');
            own += 1;
        }
        out.push_str("]}");
        written += 1;
        texts += own;
    }
    Ok(texts)
}

/// The error of a response that failed: its message, and its code if that is one word.
fn failure(out: &mut String, failure: Option<&Failure<'_>>) {
    let said = failure.and_then(|failure| Some((text(failure.message)?, word(failure.code))));
    match said {
        Some((message, code)) => {
            let code = code.unwrap_or(r#""server_error""#);
            out.push_str(&format!(r#","error":{{"code":{code},"message":{message}}}"#));
        }
        None => out.push_str(r#","error":null"#),
    }
}

/// `{"id":…,"object":…,"created":…,"model":…`, none of it the model server's.
fn head(known: &Known<'_>, object: &str, created: &str) -> String {
    let mut out = format!(r#"{{"object":"{object}","{created}":{},"id":"#, known.created);
    push_json_string(&mut out, known.id);
    out.push_str(r#","model":"#);
    push_json_string(&mut out, known.model.unwrap_or_default());
    out
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

/// `usage`, of what is a count.
fn counts(out: &mut String, totals: &[(&str, Option<&RawValue>)], parts: &[(&str, &str, Option<&RawValue>)]) {
    let totals = totals
        .iter()
        .filter_map(|(name, raw)| Some(format!(r#""{name}":{}"#, count(*raw)?)));
    let parts = parts
        .iter()
        .filter_map(|(name, part, raw)| Some(format!(r#""{name}":{{"{part}":{}}}"#, count(*raw)?)));
    let members: Vec<String> = totals.chain(parts).collect();
    if !members.is_empty() {
        out.push_str(&format!(r#","usage":{{{}}}"#, members.join(",")));
    }
}

fn details<'a>(details: &Object<Details<'a>>, of: fn(&Details<'a>) -> Option<&'a RawValue>) -> Option<&'a RawValue> {
    details.0.as_ref().and_then(of)
}

/// A whole number as a counter has it.
fn count(raw: Option<&RawValue>) -> Option<&str> {
    let raw = raw?.get();
    (raw.len() <= MAX_DIGITS && raw.bytes().all(|b| b.is_ascii_digit())).then_some(raw)
}

/// A word as APIs use for reasons and codes, in its quotes.
fn word(raw: Option<&RawValue>) -> Option<&str> {
    let raw = text(raw)?;
    let inner = raw.trim_matches('"');
    let fits = (1..=MAX_WORD).contains(&inner.len()) && inner.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    fits.then_some(raw)
}

/// One of these words, in its quotes.
fn one_of(raw: &RawValue, words: &'static [&'static str]) -> Option<&'static str> {
    words.iter().find(|word| **word == raw.get()).copied()
}

fn assistant(role: Option<&RawValue>) -> Result<(), Misfit> {
    match text(role) {
        Some(r#""assistant""#) => Ok(()),
        Some(_) | None => Err(Misfit("the role of a message is not assistant")),
    }
}

const STATUSES: [&str; 6] = [
    r#""completed""#,
    r#""failed""#,
    r#""in_progress""#,
    r#""cancelled""#,
    r#""queued""#,
    r#""incomplete""#,
];

/// As many as a 64-bit number has.
const MAX_DIGITS: usize = 20;

/// Longer than any reason or code of the API.
const MAX_WORD: usize = 32;
