//! Token usage as models report it: pure, read from the bytes that pass by.
//!
//! Read by `protocol::response` from each relayed answer, in the same pass that checks that the answer is JSON.
//! Deliberately absent: estimating. What a model does not report is not known here.
#![deny(clippy::disallowed_methods)]

use serde::de::{IgnoredAny, MapAccess};
use serde_json::Number;
use serde_json::value::RawValue;

use crate::json::{self, FromFields, Object};

/// Tokens of one answer. Absent and zero are different things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// `usage.prompt_tokens` (chat completions) or `usage.input_tokens` (Responses).
    pub input: Option<u64>,
    /// `usage.completion_tokens` (chat completions) or `usage.output_tokens` (Responses).
    pub output: Option<u64>,
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// Checks that `text` is one JSON value and reads its top-level `usage`.
///
/// # Errors
/// `text` is not JSON.
pub fn read_json(text: &str) -> Result<Usage, NotJson> {
    let answer = json::read::<Answer>(text).map_err(|_| NotJson)?;
    Ok(answer.unwrap_or_default().0)
}

#[derive(Default)]
struct Answer(Usage);

impl<'de> FromFields<'de> for Answer {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "usage" => self.0 = map.next_value::<Object<Usage>>()?.0.unwrap_or_default(),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl<'de> FromFields<'de> for Usage {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "prompt_tokens" | "input_tokens" => self.input = count(map.next_value()?),
            "completion_tokens" | "output_tokens" => self.output = count(map.next_value()?),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

/// A count of tokens; some servers write it as a float.
fn count(raw: &RawValue) -> Option<u64> {
    let number: Number = serde_json::from_str(raw.get()).ok()?;
    number.as_u64().or_else(|| {
        let whole = number
            .as_f64()
            .filter(|n| n.fract() == 0.0 && (0.0..=MAX_EXACT).contains(n))?;
        // exact: a whole number between 0 and 2^53
        format!("{whole:.0}").parse().ok()
    })
}

/// 2^53: above it a double does not hold every whole number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(text: &str) -> (Option<u64>, Option<u64>) {
        let usage = read_json(text).unwrap();
        (usage.input, usage.output)
    }

    #[test]
    fn both_apis_report_their_tokens() {
        assert_eq!(
            usage(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#),
            (Some(9), Some(12))
        );
        assert_eq!(
            usage(
                r#"{"usage":{"input_tokens":5000000000,"output_tokens":0,"input_tokens_details":{"cached_tokens":1}}}"#
            ),
            (Some(5_000_000_000), Some(0))
        );
    }

    #[test]
    fn absent_null_and_odd_values_are_not_zero() {
        for text in [
            "{}",
            r#"{"usage":null}"#,
            r#"{"usage":[1]}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"prompt_tokens":null,"completion_tokens":"7"}}"#,
            r#"{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}"#,
            "[]",
            "7",
            r#"{"other":{"usage":{"prompt_tokens":1}}}"#,
        ] {
            assert_eq!(usage(text), (None, None), "{text}");
        }
        assert_eq!(usage(r#"{"usage":{"prompt_tokens":3.0}}"#), (Some(3), None));
    }

    #[test]
    fn what_is_not_json_is_said() {
        for text in ["", "{", "<html>", r#"{"a":NaN}"#, r#"{"a":1}{"#, "{'a':1}"] {
            assert_eq!(read_json(text), Err(NotJson), "{text}");
        }
    }
}
