//! Asking for usage: a streamed completion tells its tokens only when `stream_options.include_usage` asks for them. Pure.
//!
//! The body stays what it is to the byte, but for the few that are put into it.

use serde::de::{IgnoredAny, MapAccess};
use serde_json::value::RawValue;

use crate::json::{self, FromFields, Object};

/// What became of a request that might be made to ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It asks, or wants no stream, so it stays as it is.
    Already,
    /// It is no request for a completion that can be read.
    Unreadable,
    /// The body that asks.
    Added(Vec<u8>),
}

/// Makes a streaming request ask for its usage.
pub(super) fn for_usage(body: &[u8]) -> Asked {
    let Some(text) = std::str::from_utf8(body).ok() else {
        return Asked::Unreadable;
    };
    let Ok(Some(request)) = json::read::<Completion>(text) else {
        return Asked::Unreadable;
    };
    if request.stream.is_none_or(|stream| stream.get() != "true") {
        return Asked::Already;
    }
    let added = match request.options {
        None => after_brace(text, text, r#""stream_options":{"include_usage":true},"#),
        Some(options) if options.get() == "null" => replaced(text, options.get(), r#"{"include_usage":true}"#),
        Some(options) => match json::read::<Options>(options.get()) {
            Ok(Some(Options { usage: Some(usage), .. })) if usage.get() == "true" => return Asked::Already,
            Ok(Some(Options { usage: Some(usage), .. })) => replaced(text, usage.get(), "true"),
            Ok(Some(Options { others: true, .. })) => after_brace(text, options.get(), r#""include_usage":true,"#),
            Ok(Some(_)) => after_brace(text, options.get(), r#""include_usage":true"#),
            Ok(None) | Err(_) => return Asked::Unreadable,
        },
    };
    added.map_or(Asked::Unreadable, Asked::Added)
}

/// `text` with `more` after the brace that opens `object`, a part of it.
fn after_brace(text: &str, object: &str, more: &str) -> Option<Vec<u8>> {
    let brace = offset(text, object)?.checked_add(object.find('{')?)?.checked_add(1)?;
    let (before, after) = text.split_at_checked(brace)?;
    Some([before, more, after].concat().into_bytes())
}

/// `text` with `new` in place of `old`, a part of it.
fn replaced(text: &str, old: &str, new: &str) -> Option<Vec<u8>> {
    let (before, rest) = text.split_at_checked(offset(text, old)?)?;
    let after = rest.get(old.len()..)?;
    Some([before, new, after].concat().into_bytes())
}

/// Where `part` begins in `text`, from which it was borrowed.
fn offset(text: &str, part: &str) -> Option<usize> {
    part.as_ptr().addr().checked_sub(text.as_ptr().addr())
}

#[derive(Default)]
struct Completion<'a> {
    stream: Option<&'a RawValue>,
    options: Option<&'a RawValue>,
}

#[derive(Default)]
struct Options<'a> {
    usage: Option<&'a RawValue>,
    others: bool,
}

impl<'de> FromFields<'de> for Completion<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "stream" => self.stream = Some(map.next_value()?),
            "stream_options" => self.options = Some(map.next_value()?),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl<'de> FromFields<'de> for Options<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "include_usage" {
            self.usage = Some(map.next_value()?);
        } else {
            self.others = true;
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Whether an event's data is the chunk that only tells the usage.
pub(super) fn is_usage_alone(data: &str) -> bool {
    let Ok(Some(chunk)) = json::read::<Chunk>(data) else {
        return false;
    };
    let no_choice = chunk.choices.is_some_and(|choices| {
        let inner = choices.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inner.is_some_and(|inner| inner.trim().is_empty())
    });
    no_choice && chunk.tells_usage
}

#[derive(Default)]
struct Chunk<'a> {
    choices: Option<&'a RawValue>,
    tells_usage: bool,
}

impl<'de> FromFields<'de> for Chunk<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "choices" => self.choices = Some(map.next_value()?),
            "usage" => self.tells_usage = map.next_value::<Object<Anything>>()?.0.is_some(),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Anything;

impl<'de> FromFields<'de> for Anything {
    fn take<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_asks_for_its_usage_and_nothing_else_changes() {
        for (body, asking) in [
            (
                r#" { "model":"m", "stream" : true, "n":1.10, "s":"\u00e9" } "#,
                r#" {"stream_options":{"include_usage":true}, "model":"m", "stream" : true, "n":1.10, "s":"\u00e9" } "#,
            ),
            (
                r#"{"stream":true,"stream_options":{ }}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true }}"#,
            ),
            (
                r#"{"stream_options":{"include_obfuscation":false},"stream":true}"#,
                r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"x":[{}],"include_usage": false },"stream":true}"#,
                r#"{"stream_options":{"x":[{}],"include_usage": true },"stream":true}"#,
            ),
            (
                r#"{"stream_options": null,"stream":true}"#,
                r#"{"stream_options": {"include_usage":true},"stream":true}"#,
            ),
        ] {
            assert_eq!(for_usage(body.as_bytes()), Asked::Added(asking.into()), "{body}");
            assert_eq!(for_usage(asking.as_bytes()), Asked::Already, "{asking}");
        }
    }

    #[test]
    fn what_wants_no_stream_or_cannot_be_read_stays_as_it_is() {
        for body in [
            "{}",
            r#"{"stream":false}"#,
            r#"{"stream":null}"#,
            r#"{"stream":"true"}"#,
        ] {
            assert_eq!(for_usage(body.as_bytes()), Asked::Already, "{body}");
        }
        for body in [
            &b"[]"[..],
            b"",
            b"{\"stream\":true",
            b"{\"stream\":true,\"s\":\"\xff\"}",
            b"{\"stream\":true,\"stream_options\":7}",
        ] {
            assert_eq!(for_usage(body), Asked::Unreadable, "{body:?}");
        }
    }

    #[test]
    fn only_the_chunk_without_choices_tells_usage_alone() {
        assert!(is_usage_alone(r#"{"choices": [ ],"usage":{"prompt_tokens":1}}"#));
        for chunk in [
            r#"{"choices":[],"usage":null}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{}],"usage":{}}"#,
            r#"{"usage":{}}"#,
            "[DONE]",
        ] {
            assert!(!is_usage_alone(chunk), "{chunk}");
        }
    }
}
