use super::*;

const MAX: usize = 16 * 1024 * 1024;

fn answered(status: u16, headers: &[(&'static str, &'static str)], body: &[u8], max: usize) -> Response {
    let headers: HeaderMap = headers
        .iter()
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
        .collect();
    let passed = [HeaderName::from_static("x-ratelimit")];
    let (id, policy) = (RequestId::from("r\"1"), Policy::Passthrough(&passed));
    let mut answer = AdapterAnswer::begin(&id, status, &headers, &policy, body.len());
    body.chunks(3).for_each(|piece| answer.push(piece));
    answer.response(max)
}

// PROTOCOL §2.2: response frame
// PROTOCOL §1: status and body unchanged, byte for byte
#[test]
fn json_crosses_byte_for_byte() {
    let body = br#"{ "n":12345678901234567890123, "s":"\u00e9\/", "usage":{"prompt_tokens":1,"completion_tokens":2} }"#;
    let response = answered(
        200,
        &[
            ("content-type", "application/json; charset=utf-8"),
            ("x-ratelimit", "7"),
            ("server", "x"),
        ],
        body,
        MAX,
    );
    let expected = format!(
        r#"{{"type":"response","request_id":"r\"1","payload":{{"status":200,"headers":{{"content-type":"application/json; charset=utf-8","x-ratelimit":"7"}},"body":{}}}}}"#,
        std::str::from_utf8(body).unwrap()
    );
    assert_eq!(&*response.frame, expected);
    let usage = response.answer.unwrap().usage;
    assert_eq!((usage.input, usage.output, response.fault), (Some(1), Some(2), None));
}

// PROTOCOL §1: errors keep their status
#[test]
fn an_error_in_json_is_passed_on_unchanged() {
    let response = answered(503, &[], br#"{"error":{"message":"model loading"}}"#, MAX);
    assert_eq!((response.status, response.fault), (503, None));
    assert!(
        response
            .frame
            .ends_with(r#""body":{"error":{"message":"model loading"}}}}"#)
    );
}

#[test]
fn an_error_that_is_not_json_keeps_its_status_and_text() {
    let response = answered(
        500,
        &[("content-type", "text/html")],
        b"<h1>Internal \"error\"</h1>",
        MAX,
    );
    assert_eq!((response.status, response.fault), (500, None));
    assert!(
        response
            .frame
            .contains(r#""body":{"error":{"message":"<h1>Internal \"error\"</h1>"}}"#),
        "{}",
        response.frame
    );
    let long = answered(400, &[], "é".repeat(100_000).as_bytes(), MAX);
    assert!(long.frame.len() < 3_000, "{}", long.frame.len());
}

#[test]
fn a_success_that_is_not_json_is_502() {
    for body in [&b"<html>"[..], b"", b"{\"a\":NaN}", b"\xff\xfe", b"{} trailing"] {
        let response = answered(200, &[("content-type", "text/html")], body, MAX);
        assert_eq!(
            (response.status, response.fault),
            (502, Some("adapter_invalid_response")),
            "{body:?}"
        );
    }
    let zipped = answered(200, &[("content-encoding", "gzip")], b"{}", MAX);
    assert!(zipped.frame.contains("content-encoding gzip"), "{}", zipped.frame);
    assert!(
        answered(200, &[("content-encoding", "identity")], b"{}", MAX)
            .fault
            .is_none()
    );
}

// PROTOCOL §1: stream: true is not supported
#[test]
fn an_event_stream_is_refused_before_its_body() {
    let stream: HeaderMap = [(
        CONTENT_TYPE,
        HeaderValue::from_static("Text/Event-Stream; charset=utf-8"),
    )]
    .into_iter()
    .collect();
    assert!(
        is_refused_by_headers(200, &stream)
            .unwrap()
            .to_string()
            .contains("\"stream\": false")
    );
    assert!(is_refused_by_headers(500, &stream).is_none());
    assert!(is_refused_by_headers(200, &HeaderMap::new()).is_none());
}

#[test]
fn audio_and_images_are_refused_before_their_bodies_with_advice() {
    for kind in ["audio/mpeg", "Image/png", "video/mp4; x=1"] {
        let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
        let fault = is_refused_by_headers(200, &headers).unwrap();
        assert_eq!((fault.status(), fault.code()), (502, "adapter_invalid_response"));
        assert!(fault.to_string().contains("JSON only"), "{fault}");
        assert!(is_refused_by_headers(400, &headers).is_none());
    }
}

fn reduced(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Response {
    let headers: HeaderMap = headers
        .iter()
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
        .collect();
    let known = text_only::Known {
        path: "/v1/chat/completions",
        id: "r",
        model: None,
        created: 1,
    };
    let (id, policy) = (RequestId::from("r"), Policy::TextOnly(known));
    let mut answer = AdapterAnswer::begin(&id, status, &headers, &policy, body.len());
    answer.push(body.as_bytes());
    answer.response(MAX)
}

#[test]
fn text_only_passes_what_the_contract_names_and_no_header() {
    let body = r#"{"LEAK":"LEAK","choices":[{"message":{"role":"assistant","content":"hi","x":"LEAK"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    let headers = [("content-type", "application/json; LEAK=1"), ("x-ratelimit", "LEAK")];
    let response = reduced(200, &headers, body);
    assert!(!response.frame.contains("LEAK"), "{}", response.frame);
    assert!(
        response
            .frame
            .contains(r#""headers":{"content-type":"application/json"},"body":{"#)
    );
    // what is counted is what the model used, whatever of it is told
    let usage = response.answer.unwrap().usage;
    assert_eq!((usage.input, usage.output), (Some(3), Some(4)));
}

#[test]
fn text_only_refuses_what_does_not_fit_without_quoting_it() {
    for (headers, body) in [
        (&[("content-type", "text/LEAK")][..], "LEAK"),
        (&[("content-encoding", "LEAK")][..], "{}"),
        (&[][..], r#"{"LEAK":1}"#),
        (
            &[][..],
            r#"{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":["LEAK"]}}]}"#,
        ),
    ] {
        for status in [200, 302] {
            let response = reduced(status, headers, body);
            assert_eq!(
                (response.status, response.fault),
                (502, Some("adapter_invalid_response"))
            );
            assert!(!response.frame.contains("LEAK"), "{}", response.frame);
        }
        let error = reduced(500, headers, body);
        assert_eq!((error.status, error.fault), (500, None));
        assert!(!error.frame.contains("LEAK"), "{}", error.frame);
    }
}

// PROTOCOL §2.2: at most 16 MiB, to the byte
// PROTOCOL §2.2: a response too large is replaced with 502
#[test]
fn a_frame_may_be_as_large_as_the_limit_and_no_larger() {
    let overhead = answered(200, &[], b"\"\"", MAX).frame.len() - 2;
    let body = |n: usize| format!("\"{}\"", "x".repeat(n - 2)).into_bytes();
    let fits = answered(200, &[], &body(MAX - overhead), MAX);
    assert_eq!((fits.frame.len(), fits.status), (MAX, 200));
    let too_large = answered(200, &[], &body(MAX - overhead + 1), MAX);
    assert_eq!((too_large.status, too_large.fault), (502, Some("response_too_large")));
}

/// A body so large that the insides of its strings are not looked at.
fn image(more: &str) -> String {
    format!(
        r#"{{"data":[{{"b64_json":"{}{more}"}}],"usage":{{"input_tokens":3}}}}"#,
        "iVBORw0K".repeat(20_000)
    )
}

#[test]
fn a_large_body_crosses_byte_for_byte_with_its_usage() {
    let body = image("é");
    let response = answered(200, &[], body.as_bytes(), MAX);
    assert!(response.frame.ends_with(&format!(r#""body":{body}}}}}"#)));
    assert_eq!(response.answer.unwrap().usage.input, Some(3));
}

#[test]
fn a_large_body_that_is_not_json_is_502() {
    for wrong in ["\u{1}", "\\x", "\",", "\"}"] {
        let body = image(wrong);
        let response = answered(200, &[], body.as_bytes(), MAX);
        assert_eq!(
            (response.status, response.fault),
            (502, Some("adapter_invalid_response")),
            "{wrong:?}"
        );
    }
}

/// It may be held for minutes, and counts by its length.
#[test]
fn a_body_that_does_not_say_its_length_is_held_in_little_more() {
    let (id, headers, policy) = (RequestId::from("r"), HeaderMap::new(), Policy::Passthrough(&[]));
    for size in [100_000, 1_100_000, 2_200_000] {
        let mut answer = AdapterAnswer::begin(&id, 200, &headers, &policy, 0);
        answer.push(b"[\"");
        for _ in 0..size / 1000 {
            answer.push(&[b'x'; 1000]);
        }
        answer.push(b"\"]");
        let held = answer.json().ok().unwrap().0.finished();
        assert!(held.len() > size && held.capacity() <= held.len() + held.len() / 16);
    }
}
