//! Answers as APIs write them, and exactly what is read from each.

use super::*;
use Operation::{Chat, Embeddings, GenerateContent, TextCompletion};

/// What is expected of one fixture.
struct Case {
    file: &'static str,
    operation: Operation,
    answer: Answer,
    missing: Option<Missing>,
    /// Of a stream: what is written just where its first output is complete.
    first_output: Option<&'static str>,
}

fn case(file: &'static str, operation: Operation, answer: Answer) -> Case {
    Case {
        file,
        operation,
        answer,
        missing: None,
        first_output: None,
    }
}

impl Case {
    fn missing(mut self, why: Missing) -> Self {
        self.missing = Some(why);
        self
    }

    fn first(mut self, output: &'static str) -> Self {
        self.first_output = Some(output);
        self
    }
}

/// An answer that reports its usage.
fn answer(id: &str, model: &str, finish_reasons: &[&str], usage: Usage) -> Answer {
    let some = |text: &str| (!text.is_empty()).then(|| Box::from(text));
    Answer {
        id: some(id),
        model: some(model),
        finish_reasons: finish_reasons.iter().map(|reason| Box::from(*reason)).collect(),
        reported: Reported::Present,
        usage,
        ..Answer::default()
    }
}

impl Answer {
    fn tier(mut self, tier: &str) -> Self {
        self.service_tier = Some(tier.into());
        self
    }

    fn fingerprint(mut self, fingerprint: &str) -> Self {
        self.system_fingerprint = Some(fingerprint.into());
        self
    }

    fn error(mut self, error: &str) -> Self {
        self.error = Some(error.into());
        self
    }

    fn reported(mut self, reported: Reported) -> Self {
        self.reported = reported;
        self
    }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input: Some(input),
        output: Some(output),
        ..Usage::default()
    }
}

fn none() -> Usage {
    Usage::default()
}

fn openai() -> Vec<Case> {
    let mini = |finish: &[&str], usage| {
        answer("chatcmpl-C1", "gpt-4o-mini-2024-07-18", finish, usage)
            .tier("default")
            .fingerprint("fp_44709d6fcb")
    };
    let full = Usage {
        cache_read: Some(1024),
        cache_write: Some(128),
        reasoning: Some(192),
        text_input: Some(1127),
        image_input: Some(85),
        audio_input: Some(7),
        text_output: Some(399),
        audio_output: Some(11),
        ..tokens(1219, 410)
    };
    let zeros = Usage {
        cache_read: Some(0),
        reasoning: Some(0),
        audio_input: Some(0),
        audio_output: Some(0),
        ..tokens(19, 10)
    };
    let gpt_41 = answer(
        "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "gpt-4.1-2025-04-14",
        &["stop"],
        full,
    );
    let instruct = |id, finish: &[&str], usage| answer(id, "gpt-3.5-turbo-instruct", finish, usage);
    let ada = Usage {
        input: Some(8),
        ..none()
    };
    vec![
        case("chat.json", Chat, gpt_41.tier("default").fingerprint("fp_44709d6fcb")),
        case("chat.sse", Chat, mini(&["stop"], zeros)).first(r#""Hello""#),
        case(
            "chat-not-asked.sse",
            Chat,
            mini(&["stop"], none()).reported(Reported::Absent),
        )
        .first(r#""Hello""#)
        .missing(Missing::Absent),
        case("chat-cut.sse", Chat, mini(&[], none()).reported(Reported::Null))
            .first(r#""Hel""#)
            .missing(Missing::Null),
        case("chat-two-choices.sse", Chat, mini(&["stop", "length"], tokens(5, 2))).first(r#""B""#),
        case("chat-tool-call.sse", Chat, mini(&["tool_calls"], tokens(82, 17))).first(r#""tool_calls":[{"#),
        case("chat-crlf.sse", Chat, mini(&["stop"], tokens(3, 1))).first(r#""Hi""#),
        case("chat-lines.sse", Chat, answer("c", "", &[], tokens(6, 2))),
        case(
            "completions.json",
            TextCompletion,
            instruct("cmpl-1", &["length"], tokens(5, 7)),
        ),
        case(
            "completions.sse",
            TextCompletion,
            instruct("cmpl-2", &["stop"], tokens(4, 2)),
        )
        .first(r#""This""#),
        case(
            "embeddings.json",
            Embeddings,
            answer("", "text-embedding-3-small", &[], ada),
        ),
        case("error-openai.json", Chat, Answer::default().error("requests")).missing(Missing::Absent),
        case("error-code.json", Chat, Answer::default().error("404")).missing(Missing::Absent),
    ]
}

fn responses() -> Vec<Case> {
    let gpt_5 =
        |finish: &[&str], usage| answer("resp_67ccd2bed1ec8190", "gpt-5-2025-08-07", finish, usage).tier("default");
    let usage = Usage {
        cache_read: Some(32),
        cache_write: Some(4),
        reasoning: Some(64),
        ..tokens(36, 87)
    };
    let short = Usage {
        cache_read: Some(0),
        reasoning: Some(0),
        ..tokens(36, 16)
    };
    vec![
        case("responses.json", Chat, gpt_5(&["completed"], usage)),
        case("responses.sse", Chat, gpt_5(&["completed"], usage)).first(r#""In a""#),
        case("responses-incomplete.sse", Chat, gpt_5(&["max_output_tokens"], short)).first(r#""In a""#),
        case(
            "responses-failed.sse",
            Chat,
            gpt_5(&["failed"], none())
                .reported(Reported::Null)
                .error("server_error"),
        )
        .missing(Missing::Null),
        case(
            "responses-error.sse",
            Chat,
            Answer::default().error("rate_limit_exceeded"),
        )
        .missing(Missing::Absent),
    ]
}

fn images_and_audio() -> Vec<Case> {
    let nameless = |usage| answer("", "", &[], usage);
    let drawn = Usage {
        text_input: Some(10),
        image_input: Some(40),
        ..tokens(50, 50)
    };
    let whole = Usage {
        text_output: Some(2),
        image_output: Some(48),
        ..drawn
    };
    let svg = Usage {
        input: Some(57),
        output: Some(350),
        reasoning: Some(20),
        ..drawn
    };
    let streamed = Usage {
        text_input: Some(10),
        image_input: Some(0),
        ..tokens(10, 1100)
    };
    let heard = |text, audio, output| Usage {
        text_input: Some(text),
        audio_input: Some(audio),
        ..tokens(14, output)
    };
    vec![
        case("images.json", GenerateContent, nameless(whole)),
        case("images-svg.json", GenerateContent, nameless(svg)),
        case("images.sse", GenerateContent, nameless(streamed)).first(r#""cGFydA==""#),
        case("transcription.json", GenerateContent, nameless(heard(4, 10, 45))),
        case("transcription-duration.json", GenerateContent, nameless(none())),
        case("transcription.sse", GenerateContent, nameless(heard(0, 14, 3))).first(r#""I""#),
        case("speech.sse", GenerateContent, nameless(tokens(14, 101))).first(r#""UklGRg==""#),
    ]
}

fn servers_of_its_api() -> Vec<Case> {
    let qwen = |id, finish: &[&str], usage| answer(id, "qwen3", finish, usage);
    let cached = Usage {
        cache_read: Some(236),
        ..tokens(237, 35)
    };
    let native = Usage {
        cache_read: Some(3),
        ..tokens(9, 12)
    };
    let deepseek = Usage {
        cache_read: Some(64),
        reasoning: Some(12),
        ..tokens(100, 20)
    };
    let gateway = Usage {
        cache_read: Some(4),
        cache_write: Some(3),
        ..tokens(10, 5)
    };
    let groq = answer("chatcmpl-g", "llama-3.3-70b-versatile", &["stop"], tokens(38, 2));
    vec![
        case(
            "vllm-continuous.sse",
            Chat,
            answer("chatcmpl-v1", "Qwen/Qwen3-8B", &["stop"], tokens(21, 3)),
        )
        .first(r#""Hm""#),
        case("groq.sse", Chat, groq.fingerprint("fp_6507bcfb6f")).first(r#""Yo""#),
        case(
            "deepseek.json",
            Chat,
            answer("d1", "deepseek-chat", &["stop"], deepseek).fingerprint("fp_d"),
        ),
        case("gateway-both-names.json", Chat, answer("x", "m", &["stop"], gateway)),
        case(
            "llama-cpp.sse",
            Chat,
            qwen("chatcmpl-l", &["stop"], cached).fingerprint("b6259-3a"),
        )
        .first(r#""Hi""#),
        case(
            "llama-cpp-not-asked.sse",
            Chat,
            qwen("chatcmpl-l", &["stop"], cached).fingerprint("b6259-3a"),
        )
        .first(r#""Hi""#),
        case("llama-cpp-native.json", TextCompletion, qwen("", &["limit"], native)),
        case("llama-cpp-native.sse", TextCompletion, qwen("", &["limit"], native)).first(r#""One""#),
    ]
}

fn anthropic() -> Vec<Case> {
    let claude = |id, finish: &[&str], usage| answer(id, "claude-sonnet-4-5-20250929", finish, usage).tier("standard");
    let whole = Usage {
        cache_read: Some(2048),
        cache_write: Some(2051),
        reasoning: Some(120),
        ..tokens(2095 + 2048 + 2051, 503)
    };
    let cached = |output| Usage {
        cache_read: Some(1000),
        cache_write: Some(100),
        ..tokens(1125, output)
    };
    let late = Usage {
        cache_read: Some(60),
        ..tokens(100, 9)
    };
    let id = "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY";
    let late = answer("msg_2", "claude-sonnet-4-5-20250929", &["tool_use"], late);
    vec![
        case(
            "anthropic.json",
            Chat,
            claude("msg_013Zva2CMHLNnXjNJJKqJ2EF", &["end_turn"], whole),
        ),
        case("anthropic.sse", Chat, claude(id, &["end_turn"], cached(15))).first(r#""Hello""#),
        case("anthropic-late.sse", Chat, late).first(r#""{\"usage\": {\"output_tokens\": 5}}""#),
        case(
            "anthropic-overloaded.sse",
            Chat,
            claude(id, &[], cached(1)).error("overloaded_error"),
        )
        .first(r#""Hello""#),
    ]
}

fn gemini_and_ollama() -> Vec<Case> {
    let gemini = |finish: &[&str], usage| answer("lVmXaPqpKqWVkdUPzo_eqAM", "gemini-2.5-pro", finish, usage);
    let whole = Usage {
        cache_read: Some(128),
        reasoning: Some(90),
        text_input: Some(6),
        image_input: Some(258),
        text_output: Some(40),
        ..tokens(274, 130)
    };
    let streamed = Usage {
        reasoning: Some(89),
        text_input: Some(11),
        ..tokens(11, 92)
    };
    let embedded = |input| Usage {
        input: Some(input),
        ..none()
    };
    let cached = Usage {
        output: Some(282),
        ..none()
    };
    let llama = |usage| answer("", "llama3.2", &["stop"], usage);
    vec![
        case("gemini.json", GenerateContent, gemini(&["STOP"], whole)),
        case("gemini.sse", GenerateContent, gemini(&["MAX_TOKENS"], streamed)).first(r#""A""#),
        case("gemini-list.json", GenerateContent, gemini(&["STOP"], tokens(4, 3))).first(r#""A""#),
        case("gemini-embed.json", Embeddings, answer("", "", &[], embedded(5))),
        case(
            "gemini-error.json",
            GenerateContent,
            Answer::default().error("INVALID_ARGUMENT"),
        )
        .missing(Missing::Absent),
        case("ollama-chat.ndjson", Chat, llama(tokens(26, 282))).first(r#""The""#),
        case("ollama-cached.ndjson", TextCompletion, llama(cached)).first(r#""Hm""#),
        case("ollama-generate.json", TextCompletion, llama(tokens(26, 282))),
        case(
            "ollama-embed.json",
            Embeddings,
            answer("", "all-minilm", &[], embedded(8)),
        ),
        case("ollama-error.json", Chat, Answer::default().error("_OTHER")).missing(Missing::Absent),
    ]
}

fn all() -> Vec<Case> {
    let groups = [
        openai(),
        responses(),
        images_and_audio(),
        servers_of_its_api(),
        anthropic(),
        gemini_and_ollama(),
    ];
    groups.into_iter().flatten().collect()
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(directory().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn directory() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/usage/fixtures")
}

fn content_type(file: &str) -> &'static [u8] {
    match file.rsplit_once('.').unwrap().1 {
        "json" => b"application/json; charset=utf-8",
        "sse" => b"Text/Event-Stream",
        "ndjson" => b"application/x-ndjson",
        other => panic!("{other}"),
    }
}

fn tap(case: &Case) -> Tap {
    Tap::new(case.operation, Some(content_type(case.file)), None)
}

#[test]
fn each_says_what_its_api_means() {
    for case in all() {
        let mut tap = tap(&case);
        let news = tap.push(&read(case.file));
        let settled = news.usage;
        tap.finish(true);
        assert_eq!(tap.answer(), &case.answer, "{}", case.file);
        assert_eq!(tap.missing(), case.missing, "{}", case.file);
        let usage = tap.answer().usage;
        assert_eq!(
            settled,
            usage != Usage::default(),
            "{}: usage is known before the end",
            case.file
        );
        assert_eq!(news.first_output, case.first_output.is_some(), "{}", case.file);
        let streamed = !case.file.ends_with(".json") || case.file == "gemini-list.json";
        assert_eq!(tap.is_stream(), streamed, "{}", case.file);
    }
}

#[test]
fn byte_by_byte_nothing_changes_and_the_first_output_is_met_where_it_is() {
    for case in all() {
        let bytes = read(case.file);
        let mut tap = tap(&case);
        let at: Vec<usize> = (0..bytes.len())
            .filter(|at| tap.push(&bytes[*at..=*at]).first_output)
            .collect();
        tap.finish(true);
        assert_eq!(tap.answer(), &case.answer, "{}", case.file);
        assert_eq!(tap.missing(), case.missing, "{}", case.file);
        let text = String::from_utf8_lossy(&bytes);
        let expected = case
            .first_output
            .map(|output| text.find(output).unwrap() + output.len() - 1);
        assert_eq!(at, expected.into_iter().collect::<Vec<_>>(), "{}", case.file);
    }
}

#[test]
fn any_split_is_the_same() {
    let mut chance = Chance(7);
    for case in all() {
        let bytes = read(case.file);
        for most in [2, 3, 5, 17, 200, 2000] {
            let mut tap = tap(&case);
            let news: Vec<News> = chance
                .pieces(&bytes, most)
                .iter()
                .map(|piece| tap.push(piece))
                .collect();
            tap.finish(true);
            assert_eq!(tap.answer(), &case.answer, "{} by {most}", case.file);
            let firsts = news.iter().filter(|news| news.first_output).count();
            assert_eq!(
                firsts,
                usize::from(case.first_output.is_some()),
                "{} by {most}",
                case.file
            );
        }
    }
}

#[test]
fn in_one_piece_it_is_the_same() {
    for case in all().iter().filter(|case| case.file.ends_with(".json")) {
        let text = String::from_utf8(read(case.file)).unwrap();
        assert_eq!(read_json(&text).as_ref(), Ok(&case.answer), "{}", case.file);
    }
}

#[test]
fn a_body_that_breaks_off_says_what_it_said_so_far() {
    for case in all() {
        let bytes = read(case.file);
        let mut tap = tap(&case);
        // Within the last document, where no usage is whole.
        tap.push(&bytes[..bytes.len() / 20]);
        tap.finish(false);
        let expected = (tap.answer().usage == Usage::default()).then_some(Missing::CutShort);
        assert_eq!(tap.missing(), expected, "{}", case.file);
        assert_eq!(tap.push(&bytes), News::default(), "{}", case.file);
    }
}

#[test]
fn every_fixture_is_expected_to_say_something() {
    let mut files: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| !file.ends_with(".txt"))
        .collect();
    files.sort();
    let mut expected: Vec<&str> = all().iter().map(|case| case.file).collect();
    expected.sort_unstable();
    assert_eq!(files, expected);
}
