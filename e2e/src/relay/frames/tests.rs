//! The golden frames of `fixtures/frames/`, from the relay's side.

use super::*;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../../fixtures/frames/", $name))
    };
}

fn same(ours: &Utf8Bytes, golden: &str) {
    let (ours, golden): (Value, Value) = (
        serde_json::from_str(ours.as_str()).unwrap(),
        serde_json::from_str(golden).unwrap(),
    );
    assert_eq!(ours, golden);
}

fn call<'a>(path: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> Call<'a> {
    Call {
        method: &Method::POST,
        path,
        headers,
        body,
    }
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

#[test]
fn what_we_send_are_the_golden_frames() {
    same(&connected(Version::V2), golden!("connected.json"));
    same(&connected(Version::V1), golden!("connected-v1.json"));
    same(&ack("req-1"), golden!("ack.json"));
    let (none, json) = (HeaderMap::new(), json_headers());
    let chat = call("/v1/chat/completions", &none, b"{}");
    same(&request(Version::V2, "req-1", &chat).unwrap(), golden!("request.json"));
    same(
        &request(Version::V1, "req-1", &chat).unwrap(),
        golden!("request-v1.json"),
    );
    let responses = call("/v1/responses", &json, br#"{"input":"hello"}"#);
    same(
        &request(Version::V2, "req-1", &responses).unwrap(),
        golden!("request-responses.json"),
    );
}

#[test]
fn a_request_keeps_its_body_to_the_byte() {
    let json = json_headers();
    let call = call("/v1/chat/completions", &json, golden!("body.json").as_bytes());
    let frame = request(Version::V2, "req-1\"x", &call).unwrap();
    // Here white space and key order count too: all but the id's spelling is the golden text.
    let golden = golden!("request-exact-body.json").replace(r"req-\u0031", "req-1");
    assert_eq!(frame.as_str(), golden);
}

#[test]
fn a_response_keeps_its_body_to_the_byte() {
    let text = Utf8Bytes::from_static(golden!("response-exact-body.json"));
    let Inbound::Response(id, Ok(answer)) = read(&text) else {
        panic!("a readable response")
    };
    assert_eq!(id, "req-1\"x");
    assert_eq!(answer.body, golden!("body.json"));
}

#[test]
fn what_a_client_sends_is_read() {
    assert!(matches!(read(&golden!("ack.json").into()), Inbound::Ack(id) if id == "req-1"));
    let json: Vec<_> = json_headers()
        .into_iter()
        .map(|(name, value)| (name.unwrap(), value))
        .collect();
    for (golden, status, body) in [
        (golden!("response.json"), StatusCode::OK, "{}"),
        (
            golden!("response-error.json"),
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{ "error": { "message": "Adapter unavailable" } }"#,
        ),
    ] {
        let Inbound::Response(id, Ok(answer)) = read(&golden.into()) else {
            panic!("{golden}")
        };
        assert_eq!(id, "req-1");
        assert_eq!(
            answer,
            Answer {
                status,
                headers: json.clone(),
                body: body.into()
            }
        );
    }
}

#[test]
fn what_has_no_meaning_is_unknown() {
    for frame in [
        golden!("ignored/unknown-type.json"),
        golden!("ignored/not-an-object.json"),
        golden!("ignored/no-type.json"),
        golden!("ignored/id-not-text.json"),
        golden!("ignored/no-id.json"),
        golden!("ignored/not-json.json"),
    ] {
        assert!(matches!(read(&frame.into()), Inbound::Unknown), "{frame}");
    }
}
