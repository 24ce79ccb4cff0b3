//! What is read of an answer. Whatever is not named here is skipped unread; of a key that occurs twice the last counts.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{FromFields, Object};

type Raw<'a> = Option<&'a RawValue>;

/// Structs that take the named keys of an object and skip all others.
macro_rules! contract {
    ($($(#[$doc:meta])* $name:ident { $($key:literal => $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name<'a> { $(pub $field: $type,)* }

        impl<'de: 'a, 'a> FromFields<'de> for $name<'a> {
            fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
                match key {
                    $($key => self.$field = map.next_value()?,)*
                    _ => drop(map.next_value::<IgnoredAny>()?),
                }
                Ok(())
            }
        }
    )*};
}

contract! {
    /// A completion, of a conversation or of a text.
    Completion {
        "choices" => choices: List<Object<Choice<'a>>, MAX_ITEMS>,
        "usage" => usage: Object<Usage<'a>>,
    }
    /// One of its answers.
    Choice {
        "message" => message: Object<Message<'a>>,
        "text" => text: Raw<'a>,
        "finish_reason" => finish_reason: Raw<'a>,
    }
    /// What was said.
    Message {
        "role" => role: Raw<'a>,
        "content" => content: Raw<'a>,
    }
    /// A response.
    Response {
        "status" => status: Raw<'a>,
        "output" => output: List<Object<Item<'a>>, MAX_ITEMS>,
        "usage" => usage: Object<Usage<'a>>,
        "incomplete_details" => incomplete: Object<Incomplete<'a>>,
        "error" => error: Object<Failure<'a>>,
    }
    /// One item of its output.
    Item {
        "type" => kind: Raw<'a>,
        "role" => role: Raw<'a>,
        "status" => status: Raw<'a>,
        "content" => content: List<Object<Part<'a>>, MAX_PARTS>,
    }
    /// A part of a message.
    Part {
        "type" => kind: Raw<'a>,
        "text" => text: Raw<'a>,
    }
    /// Why a response is not whole.
    Incomplete {
        "reason" => reason: Raw<'a>,
    }
    /// What was used, in the words of both APIs.
    Usage {
        "prompt_tokens" => prompt: Raw<'a>,
        "completion_tokens" => completion: Raw<'a>,
        "input_tokens" => input: Raw<'a>,
        "output_tokens" => output: Raw<'a>,
        "total_tokens" => total: Raw<'a>,
        "prompt_tokens_details" => prompt_details: Object<Details<'a>>,
        "completion_tokens_details" => completion_details: Object<Details<'a>>,
        "input_tokens_details" => input_details: Object<Details<'a>>,
        "output_tokens_details" => output_details: Object<Details<'a>>,
    }
    /// Parts of a count.
    Details {
        "cached_tokens" => cached: Raw<'a>,
        "reasoning_tokens" => reasoning: Raw<'a>,
    }
    /// An error's body.
    Refusal {
        "error" => error: Object<Failure<'a>>,
    }
    /// An error.
    Failure {
        "message" => message: Raw<'a>,
        "code" => code: Raw<'a>,
    }
}

/// The elements of an array, at most `MAX`; `None` for any other value.
pub(super) struct List<T, const MAX: usize>(pub Option<Vec<T>>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(ListVisitor::<T, MAX>(PhantomData))
            .map(Self)
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            // before it goes in: three bytes of JSON may be ten times as many here
            if items.len() == MAX {
                return Err(A::Error::custom("too many elements"));
            }
            items.push(item);
        }
        Ok(Some(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Answers to one request (OpenAI gives at most 128), or items of a response's output, most of which are steps of tools.
const MAX_ITEMS: usize = 1024;

/// Parts of one message.
const MAX_PARTS: usize = 128;
