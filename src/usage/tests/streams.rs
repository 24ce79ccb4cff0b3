//! Event streams and JSON by the line, as servers really write them.

use super::*;

fn read(kind: Option<&[u8]>, body: &str) -> (Answer, Option<Missing>) {
    let mut one = Tap::new(Operation::Chat, kind, None);
    one.push(body.as_bytes());
    one.finish(true);
    let mut split = Tap::new(Operation::Chat, kind, None);
    for byte in body.as_bytes().chunks(1) {
        split.push(byte);
    }
    split.finish(true);
    assert_eq!(
        (one.answer(), one.missing()),
        (split.answer(), split.missing()),
        "{body}"
    );
    (one.answer().clone(), one.missing())
}

fn events(body: &str) -> (Option<u64>, Option<Missing>) {
    let (answer, missing) = read(Some(b"text/event-stream; charset=utf-8"), body);
    (answer.usage.input, missing)
}

const ONE: &str = r#"{"usage":{"prompt_tokens":1}}"#;
const TWO: &str = r#"{"usage":{"prompt_tokens":2}}"#;

#[test]
fn lines_end_in_three_ways_and_the_last_usage_counts() {
    for end in ["\n", "\r\n", "\r"] {
        for colon in [":", ": "] {
            let body = format!("data{colon}{ONE}{end}{end}data{colon}{TWO}{end}{end}data{colon}[DONE]{end}{end}");
            assert_eq!(events(&body), (Some(2), None), "{body:?}");
        }
    }
    assert_eq!(events(&format!("data: {ONE}\r\n\rdata: {TWO}\n\r")), (Some(2), None));
}

#[test]
fn an_event_may_have_many_lines_and_a_stream_may_end_without_a_blank_one() {
    assert_eq!(
        events("data: {\"usage\":\ndata:{\"prompt_tokens\":\n:x\ndata: 3\ndata:}}\n\n"),
        (Some(3), None)
    );
    assert_eq!(events(&format!("data: {ONE}")), (Some(1), None));
    assert_eq!(events(&format!("data: {ONE}\n\ndata: [DONE]")), (Some(1), None));
    // The parts of a text are not joined into one key.
    assert_eq!(events("data: {\"usa\ndata: ge\":{\"prompt_tokens\":3}}\n\n").0, None);
}

#[test]
fn what_is_no_data_is_passed_over() {
    let noise = format!(
        "\u{feff}: ping\n:\nevent: {ONE}\nid\nretry: 3\ndat: {ONE}\ndatas: {ONE}\n data: {ONE}\nData: {ONE}\n\n"
    );
    assert_eq!(events(&noise), (None, Some(Missing::Unreadable)));
    assert_eq!(events(&format!("{noise}data: {TWO}\n\n")), (Some(2), None));
}

#[test]
fn a_broken_event_does_not_break_the_next() {
    for broken in [
        "{",
        "{\"usage\":{\"prompt_tokens\":9",
        "nonsense",
        "{\"a\":\"",
        "]",
        "\u{1}",
        "[[[[",
    ] {
        assert_eq!(
            events(&format!("data: {broken}\n\ndata: {ONE}\n\n")),
            (Some(1), None),
            "{broken}"
        );
        let only = events(&format!("data: {broken}\n\n"));
        assert_eq!(only, (None, Some(Missing::Unreadable)), "{broken}");
    }
}

#[test]
fn a_stream_without_usage_says_why() {
    assert_eq!(events(""), (None, Some(Missing::Absent)));
    assert_eq!(events(": ping\n\n: ping\n\n"), (None, Some(Missing::Absent)));
    assert_eq!(events("data: [DONE]\n\n"), (None, Some(Missing::Absent)));
    assert_eq!(events("data: {\"choices\":[]}\n\n"), (None, Some(Missing::Absent)));
    assert_eq!(
        events("data: {\"usage\":null}\n\ndata: {\"choices\":[]}\n\n"),
        (None, Some(Missing::Null))
    );
    assert_eq!(
        events("<html><body>Bad gateway</body></html>\n"),
        (None, Some(Missing::Unreadable))
    );
}

#[test]
fn without_a_content_type_the_first_byte_tells() {
    for kind in [None, Some(&b"text/plain"[..]), Some(b"application/json")] {
        assert_eq!(read(kind, ONE).0.usage.input, Some(1));
        assert_eq!(read(kind, &format!("\u{feff}\n {ONE} \n")).0.usage.input, Some(1));
        assert_eq!(read(kind, &format!("data: {ONE}\n\n")).0.usage.input, Some(1));
        assert_eq!(read(kind, &format!("event: x\ndata: {ONE}\n\n")).0.usage.input, Some(1));
        assert_eq!(read(kind, &format!(": ping\n\ndata: {ONE}\n\n")).0.usage.input, Some(1));
    }
    let (answer, missing) = read(Some(b"audio/mpeg"), ONE);
    assert_eq!((answer, missing), (Answer::default(), Some(Missing::Unreadable)));
}

#[test]
fn each_line_is_a_document() {
    let lines = |body: &str| read(Some(b"application/x-ndjson"), body);
    let (answer, missing) = lines("{\"model\":\"m\"}\r\n\n{\"broken\":\n{\"eval_count\":3,\"prompt_eval_count\":4}");
    assert_eq!(
        (answer.usage.input, answer.usage.output, missing),
        (Some(4), Some(3), None)
    );
    assert_eq!(lines("nonsense\n").1, Some(Missing::Unreadable));
}

#[test]
fn the_first_output_is_told_once_and_not_for_a_role() {
    let chunk = |delta: &str| format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    for (delta, is_output) in [
        (r#"{"role":"assistant"}"#, false),
        (r#"{"role":"assistant","content":""}"#, false),
        (r#"{"content":null,"tool_calls":[],"refusal":null}"#, false),
        (r#"{"content":" "}"#, true),
        (r#"{"reasoning":"Hm"}"#, true),
        (r#"{"refusal":"No"}"#, true),
        (r#"{"tool_calls":[{"index":0}]}"#, true),
        (r#"{"function_call":{"name":"f"}}"#, true),
        (r#"{"content":[{"type":"thinking"}]}"#, true),
    ] {
        let mut tap = Tap::new(Operation::Chat, Some(b"text/event-stream"), None);
        assert!(!tap.push(b": ping\n\n").first_output);
        assert_eq!(tap.push(chunk(delta).as_bytes()).first_output, is_output, "{delta}");
        assert_eq!(
            tap.push(chunk(r#"{"content":"x"}"#).as_bytes()).first_output,
            !is_output,
            "{delta}"
        );
    }
}

#[test]
fn usage_is_news_when_it_is_seen() {
    let mut tap = Tap::new(Operation::Chat, Some(b"text/event-stream"), None);
    let news: Vec<bool> = [
        "data: {\"usage\":{\"prompt_",
        "tokens\":1",
        "2,",
        "\"x\":7}}",
        "\n\n",
        "data: [DONE]\n\n",
    ]
    .iter()
    .map(|piece| tap.push(piece.as_bytes()).usage)
    .collect();
    assert_eq!(news, [false, false, true, false, false, false]);
    assert_eq!(tap.answer().usage.input, Some(12));
}

#[test]
fn a_list_that_breaks_off_takes_nothing_back() {
    let metadata = |details: &str| format!("data: {{\"usageMetadata\":{{\"promptTokensDetails\":[{details}\n\n");
    let text = |count: u64| format!("{{\"modality\":\"TEXT\",\"tokenCount\":{count}}}");
    let whole = metadata(&format!("{},{}]}}}}", text(3), text(4)));
    let (answer, _) = read(Some(b"text/event-stream"), &format!("{whole}{}", metadata(&text(9))));
    assert_eq!(answer.usage.text_input, Some(7));
}
