//! Any bytes as the body of an answer, in any split, plain and decoded.

use spectral_bridge::usage::{Answer, Missing, Operation, Tap};

/// Reading ends without a panic, keeps within its bounds, and says the same however the bytes are split. The first two
/// bytes choose the headers and the split.
pub fn sse(data: &[u8]) {
    let [headers, split, body @ ..] = data else { return };
    let content_type = [
        Some("text/event-stream"),
        Some("application/x-ndjson"),
        Some("application/json"),
        None,
    ];
    let coding = [None, Some("gzip"), Some("br"), Some("zstd"), Some("deflate")];
    let content_type = content_type[usize::from(headers % 4)].map(str::as_bytes);
    let coding = coding[usize::from(headers / 4 % 8).saturating_sub(3)].map(str::as_bytes);
    let read = |piece: usize| {
        let mut tap = Tap::new(Operation::Chat, content_type, coding);
        let mut told = Told::default();
        for bytes in body.chunks(piece.max(1)) {
            let news = tap.push(bytes);
            told.first_outputs += usize::from(news.first_output);
            told.usage |= news.usage;
        }
        told.is_whole = tap.is_looking();
        tap.finish(true);
        told.answer = tap.answer().clone();
        told.missing = tap.missing();
        told
    };
    let whole = read(body.len());
    bounded(&whole.answer);
    assert!(
        whole.first_outputs <= 1,
        "the first output came {} times",
        whole.first_outputs
    );
    let has_tokens = whole.answer.usage.input.is_some() || whole.answer.usage.output.is_some();
    assert!(
        !has_tokens || (whole.usage && whole.missing.is_none()),
        "tokens came without news"
    );
    for other in [read(usize::from(*split) + 1), read(1)] {
        // How much comes out before what is broken is the decoders' affair.
        if coding.is_none() || (whole.is_whole && other.is_whole) {
            assert_eq!(other, whole, "the split changed what was read");
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Told {
    answer: Answer,
    missing: Option<Missing>,
    first_outputs: usize,
    usage: bool,
    /// Decoding did not fail.
    is_whole: bool,
}

/// What is kept of an answer has bounds, whatever it holds.
pub(crate) fn bounded(answer: &Answer) {
    let texts = [
        &answer.id,
        &answer.model,
        &answer.service_tier,
        &answer.system_fingerprint,
        &answer.error,
    ];
    let texts = texts.into_iter().flatten().chain(&answer.finish_reasons);
    for text in texts {
        assert!(
            (1..=256).contains(&text.len()),
            "a text of {} bytes was kept",
            text.len()
        );
    }
    assert!(
        answer.finish_reasons.len() <= 16,
        "{} reasons",
        answer.finish_reasons.len()
    );
}
