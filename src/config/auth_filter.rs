//! The configuration of the HTTP filter `auth`.

use std::path::PathBuf;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::fields::Field;
use super::{ConfigErrors, headers, read_whole, secret_source};

/// A checked configuration of one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFilter {
    /// The file with the tokens that are let in, one on each line.
    pub tokens_file: PathBuf,
    /// Whether the upstream sees the caller's `authorization`, too.
    pub pass: bool,
    /// The request header that tells the upstream the caller's name; nobody else can set it.
    pub caller_header: Option<HeaderName>,
}

impl AuthFilter {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Every mistake at once, never quoting what may be a token.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigErrors> {
        read_whole(json, WANTED, &["tokens_file", "pass", "caller_header"], |fields| {
            let tokens_file = fields.required("tokens_file", TOKENS_FILE);
            let tokens_file = tokens_file.and_then(|field| secret_source::file(&field));
            let pass = fields.flag("pass");
            let caller_header = fields.or("caller_header", None, |field| caller_header(&field).map(Some));
            Some(Self {
                tokens_file: tokens_file?,
                pass: pass?,
                caller_header: caller_header?,
            })
        })
    }
}

fn caller_header(field: &Field<'_>) -> Option<HeaderName> {
    let text = field.text("the name of a request header, such as x-caller")?;
    let name = headers::forward_name(field, text)?;
    if name == AUTHORIZATION {
        return field.wrong("the header that carries the token", "another one, such as x-caller");
    }
    Some(name)
}

const WANTED: &str = "write a google.protobuf.Struct with the keys tokens_file, pass, caller_header, or a StringValue with \
                      the same as JSON";
const TOKENS_FILE: &str = "the path of a file with one token on each line";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_enough_and_everything_can_be_set() {
        let least = AuthFilter {
            tokens_file: "/run/tokens".into(),
            pass: false,
            caller_header: None,
        };
        assert_eq!(
            AuthFilter::from_json(br#"{"tokens_file":"/run/tokens"}"#),
            Ok(least.clone())
        );
        let all = AuthFilter {
            pass: true,
            caller_header: Some(HeaderName::from_static("x-caller")),
            ..least
        };
        let json = br#"{"tokens_file":"/run/tokens","pass":true,"caller_header":"X-Caller"}"#;
        assert_eq!(AuthFilter::from_json(json), Ok(all));
    }

    #[test]
    fn every_mistake_is_told_at_once_and_no_token_is_shown() {
        let json =
            br#"{"tokens_file":"sk-hunter2","pass":"yes","caller_header":"authorization","tokens":["sk-hunter3"]}"#;
        let told = AuthFilter::from_json(json).unwrap_err().to_string();
        for part in [
            "tokens: unknown key; allowed here: tokens_file, pass, caller_header",
            "tokens_file: not an absolute path (not shown, it may be a secret)",
            "pass: \"yes\"; true or false, without quotes",
            "caller_header: the header that carries the token",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(told.lines().count(), 4, "{told}");
        assert!(!told.contains("hunter"), "{told}");
        for (json, part) in [
            (
                "",
                "the configuration: empty; write a google.protobuf.Struct with the keys tokens_file",
            ),
            (
                "{}",
                "tokens_file: missing; the path of a file with one token on each line",
            ),
            (
                r#"{"tokens_file":"/t","caller_header":"x-envoy-user"}"#,
                "caller_header: cannot be set",
            ),
            (
                r#"{"tokens_file":"/t","caller_header":"a b"}"#,
                "caller_header: not a header name",
            ),
        ] {
            let told = AuthFilter::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(told.starts_with(part), "{told}");
        }
    }
}
