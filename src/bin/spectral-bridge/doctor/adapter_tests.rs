use super::*;
use crate::doctor::report::Status;

fn judged(target: &str, status: u16, content_type: &str, body: &str) -> Finding {
    let answer = Answer {
        status,
        content_type: content_type.to_owned(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    Judge {
        target: &Target::parse(target).unwrap(),
        path: CHAT,
        model: Some("demo"),
        sends_key: false,
    }
    .judge(&answer)
}

#[test]
fn each_answer_is_told_apart_with_what_to_do() {
    let json = "application/json";
    for (status, body, code, words) in [
        (307, "", "adapter_redirect", "final URL"),
        (401, "{}", "adapter_key", "--target-key-env"),
        (403, "{}", "adapter_key", "--target-key-env"),
        (404, r#"{"detail":"Not Found"}"#, "adapter_path", "before /v1"),
        (404, "<html>", "adapter_path", "before /v1"),
        (
            404,
            r#"{"error":{"code":"model_not_found","message":"no"}}"#,
            "adapter_model",
            "--model",
        ),
        (404, r#"{"error":"model \"x\" not found"}"#, "adapter_model", "\"demo\""),
        (
            400,
            r#"{"error":{"message":"messages: too few"}}"#,
            "adapter_refused",
            "--model",
        ),
        (429, "{}", "adapter_busy", "quota"),
        (500, "{}", "adapter_error", "log"),
        (503, "", "adapter_error", "log"),
        (200, "<html>", "adapter_not_json", "base URL"),
        (200, "data: {}", "adapter_not_json", "base URL"),
        (200, "[]", "adapter_not_json", "base URL"),
    ] {
        let finding = judged("http://m:1", status, json, body);
        assert_eq!(finding.code.as_deref(), Some(code), "{status} {body}");
        assert!(finding.advice.as_deref().unwrap().contains(words), "{finding:?}");
    }
    assert_eq!(judged("http://m:1", 200, json, r#"{"choices":[]}"#).status, Status::Ok);
}

#[test]
fn a_doubled_version_is_seen_and_no_word_of_a_refused_key_is_repeated() {
    let doubled = judged("http://m:1/v1", 404, "", "");
    assert!(doubled.advice.unwrap().contains("use --target http://m:1"));
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-abc***xyz"}}"#;
    let refused = format!("{:?}", judged("http://m:1", 401, "", body));
    assert!(!refused.contains("sk-abc"), "{refused}");
}

#[test]
fn a_request_is_for_one_token_of_the_model() {
    assert_eq!(
        chat(Some("m"), "max_tokens"),
        json!({ "messages": [{ "role": "user", "content": "ping" }], "max_tokens": 1, "model": "m" })
    );
    assert_eq!(chat(None, "max_tokens").get("model"), None);
}
