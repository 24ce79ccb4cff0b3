//! Hides in a piece of JSON what looks like a secret. Pure, and content with a text that ends anywhere.
#![deny(clippy::disallowed_methods)]

/// The text with the values of members that are named like a secret, and words that are shaped like one, hidden.
#[must_use]
pub fn redact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    // how deep the text is in a value that is hidden as a whole
    let mut hidden: Option<usize> = None;
    let mut depth = 0_usize;
    // whether the next value belongs to a member that is named like a secret
    let mut secret = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            c if c.is_alphanumeric() || matches!(c, '-' | '+') => word_length(rest),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = after;
        match first {
            '"' if is_name(rest) => {
                secret = hidden.is_none() && is_secret_name(token);
                out.push_str(token);
            }
            '"' if secret || hidden.is_some() => {
                out.push_str(HIDDEN_STRING);
                secret = false;
            }
            '"' => push_text(&mut out, token),
            '{' | '[' => {
                depth += 1;
                if std::mem::take(&mut secret) {
                    hidden = hidden.or(Some(depth));
                }
                out.push(first);
            }
            '}' | ']' => {
                if hidden == Some(depth) {
                    hidden = None;
                }
                depth = depth.saturating_sub(1);
                out.push(first);
            }
            c if c.is_alphanumeric() || matches!(c, '-' | '+') => {
                let hide = (std::mem::take(&mut secret) || hidden.is_some()) && token != "null";
                out.push_str(if hide { HIDDEN_STRING } else { token });
            }
            _ => out.push_str(token),
        }
    }
    out
}

/// Bytes of the string that `text` begins with, quotes included; all that is left when it has no end.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

fn word_length(text: &str) -> usize {
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '+' | '.')));
    end.unwrap_or(text.len())
}

/// Whether the string before `rest` names a member.
fn is_name(rest: &str) -> bool {
    rest.trim_start().starts_with(':')
}

fn is_secret_name(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SECRET_NAMES.iter().any(|part| plain.contains(part)) || SECRET_ENDS.iter().any(|end| plain.ends_with(end))
}

/// A string whose words may be shaped like a secret, wherever they stand in it.
fn push_text(out: &mut String, string: &str) {
    let mut rest = string;
    let mut after_scheme = false;
    while !rest.is_empty() {
        let other = rest.find(is_of_word).unwrap_or(rest.len());
        let (between, words) = rest.split_at_checked(other).unwrap_or((rest, ""));
        out.push_str(between);
        let end = words.find(|c| !is_of_word(c)).unwrap_or(words.len());
        let (word, after) = words.split_at_checked(end).unwrap_or((words, ""));
        out.push_str(if is_secret_word(word, after_scheme) {
            HIDDEN
        } else {
            word
        });
        after_scheme = SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
        rest = after;
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '~')
}

fn is_secret_word(word: &str, after_scheme: bool) -> bool {
    let marked = SECRET_STARTS.iter().any(|start| word.starts_with(start));
    marked && word.len() >= SECRET_BYTES || after_scheme && word.len() >= SCHEME_BYTES
}

const HIDDEN: &str = "[hidden]";
const HIDDEN_STRING: &str = "\"[hidden]\"";

/// Parts of a member's name, in small letters and without what is no letter.
const SECRET_NAMES: [&str; 9] = [
    "accesskey",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "password",
    "privatekey",
    "secret",
];

/// Ends of a member's name: `token`, not the `tokens` that are counted.
const SECRET_ENDS: [&str; 3] = ["auth", "passwd", "token"];

/// Beginnings of well-known kinds of keys.
const SECRET_STARTS: [&str; 9] = ["sk-", "sk_", "eyJ", "ghp_", "github_pat_", "hf_", "AKIA", "xox", "AIza"];
const SECRET_BYTES: usize = 16;

/// What stands before a credential.
const SCHEMES: [&str; 2] = ["bearer", "basic"];
const SCHEME_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_named_like_a_secret_lose_their_value_whatever_its_kind() {
        for (json, shown) in [
            (r#"{"api_key": "abc", "n": 1}"#, r#"{"api_key": "[hidden]", "n": 1}"#),
            (r#"{"X-Api-Key":12.5e-1}"#, r#"{"X-Api-Key":"[hidden]"}"#),
            (
                r#"{"tools":[{"headers":{"Authorization":"Bearer x","accept":"*"}}]}"#,
                r#"{"tools":[{"headers":{"Authorization":"[hidden]","accept":"*"}}]}"#,
            ),
            (
                r#"{"credentials":{"user":"u","deep":[1,{"a":"b"}]},"model":"m"}"#,
                r#"{"credentials":{"user":"[hidden]","deep":["[hidden]",{"a":"[hidden]"}]},"model":"m"}"#,
            ),
            (
                r#"{"password":null,"token":true}"#,
                r#"{"password":null,"token":"[hidden]"}"#,
            ),
            // cut within the value
            (r#"{"client_secret": "abc\"de"#, r#"{"client_secret": "[hidden]""#),
        ] {
            assert_eq!(redact(json), shown);
        }
    }

    #[test]
    fn words_shaped_like_a_secret_are_hidden_wherever_they_stand() {
        let json = r#"{"content":"use sk-abcdefghijklmnop1234, or Bearer abc.def-123456: ok","eyes":"eyJ short"}"#;
        assert_eq!(
            redact(json),
            r#"{"content":"use [hidden], or Bearer [hidden]: ok","eyes":"eyJ short"}"#
        );
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for json in [
            r#"{"usage":{"prompt_tokens":3,"total_tokens":12345678901234567890},"max_tokens":5}"#,
            r#" { "a" : [ true , false , null , -1.5E+3 ] , "é\u00e9\"\\" : "naïve — ✓" } "#,
            r#"{"a":"#,
            "plain text, \"quoted",
            "",
            "]}",
        ] {
            assert_eq!(redact(json), json);
        }
    }
}
