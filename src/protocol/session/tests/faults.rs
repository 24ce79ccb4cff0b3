//! Request frames that are answered without asking the adapter.

use super::harness::connected_v2;
use crate::protocol::limits::MAX_HEADERS;

fn frame(payload: &str) -> String {
    format!(r#"{{"type":"request","request_id":"a","payload":{payload}}}"#)
}

fn assert_refused(payload: &str, answer: &str) {
    let mut script = connected_v2();
    script.text(&frame(payload));
    let (code, answer) = (answer.split(' ').next_back().unwrap(), format!("response a {answer}"));
    script.expect(["ack a", &format!("(refused a {code})"), &answer]);
    assert_eq!(script.at_adapter(), [""; 0]);
    assert_eq!(script.holds(), 0);
}

// PROTOCOL §2.2: any other path value is rejected with a 404 error response, and makes no request to the adapter
#[test]
fn a_path_that_is_not_allowed_is_404() {
    for path in [r#""/v1/models""#, r#""http://evil/v1/responses""#, "null", "1", r#""""#] {
        assert_refused(&format!(r#"{{"path":{path},"body":{{}}}}"#), "404 path_not_allowed");
    }
}

#[test]
fn a_method_other_than_post_is_405() {
    assert_refused(r#"{"method":"GET","path":"/v1/responses"}"#, "405 method_not_allowed");
}

#[test]
fn headers_that_are_none_are_400() {
    assert_refused(r#"{"headers":[]}"#, "400 invalid_request_frame");
    assert_refused(r#"{"headers":{"a":"b\r\nc: d"}}"#, "400 invalid_request_frame");
}

#[test]
fn more_headers_than_envoy_takes_are_400_however_many() {
    // far above what a header map can hold
    for count in [MAX_HEADERS + 1, 200_000] {
        let headers: Vec<String> = (0..count).map(|n| format!(r#""h{n}":"""#)).collect();
        assert_refused(
            &format!(r#"{{"headers":{{{}}}}}"#, headers.join(",")),
            "400 headers_too_large",
        );
    }
}

// PROTOCOL §2.2: rather than leaving the request unanswered
#[test]
fn a_payload_that_is_no_object_is_400() {
    for payload in ["null", "[]", "7", r#""x""#] {
        assert_refused(payload, "400 invalid_request_frame");
    }
    let mut script = connected_v2();
    script.text(r#"{"type":"request","request_id":"a"}"#);
    script.expect_done(["ack a", "response a 400 invalid_request_frame"]);
}

// PROTOCOL §2.2: forwards the request to the endpoint that path names, chat completions when it names none
// PROTOCOL §1: to the endpoint named by the frame
// PROTOCOL 0.1.2 §2.2: one endpoint, which a frame of version 1 does not name
#[test]
fn a_request_is_forwarded_with_its_path_its_body_and_its_deadline() {
    let mut script = connected_v2();
    script
        .at(7)
        .text(&frame(r#"{"body":{ "z":1, "a":12345678901234567890123 }}"#));
    let request = script.take_forwarded("a");
    assert_eq!(&*request.path, "/v1/chat/completions");
    assert_eq!(request.body, r#"{ "z":1, "a":12345678901234567890123 }"#);
    assert_eq!(script.millis(request.deadline), 607_000);
    script.text(r#"{"type":"request","request_id":"b","payload":{"path":"/v1/responses"}}"#);
    assert_eq!(&*script.take_forwarded("b").path, "/v1/responses");
}
