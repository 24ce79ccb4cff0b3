//! Ollama's own chat: lines of JSON, the last of which counts. Its counts stand beside everything else, not in `usage`.

use serde_json::{Value, json};

use super::{Composer, Piece, Reporting, Told, merge, pieces};

impl Composer<'_> {
    /// A whole answer, or a part of one.
    pub(super) fn ollama_message(&self, text: &str, done: bool) -> Told {
        let mut answer = json!({
            "model": self.question.model,
            "created_at": "2026-01-01T00:00:00.000000Z",
            "message": {"role": "assistant", "content": text},
            "done": done,
        });
        if !done {
            return (answer, None);
        }
        merge(
            &mut answer,
            &json!({"done_reason": "stop", "total_duration": 5_000_000_u64}),
        );
        self.ollama_counts(answer, text)
    }

    /// The lines of a stream.
    pub(super) fn ollama_lines(&self) -> Vec<Piece> {
        let reply = self.question.reply();
        let line = |(line, tells): Told| Piece::new(format!("{line}\n"), tells);
        let parts = pieces(&reply).map(|piece| line(self.ollama_message(piece, false)));
        let mut lines: Vec<_> = parts.collect();
        let (mut last, _) = self.ollama_message("", false);
        let end = json!({"done": true, "done_reason": "stop", "total_duration": 5_000_000_u64});
        merge(&mut last, &end);
        lines.push(line(self.ollama_counts(last, &reply)));
        lines
    }

    fn ollama_counts(&self, mut answer: Value, reply: &str) -> Told {
        let tokens = self.tokens(reply);
        match self.reporting {
            Reporting::AsAsked | Reporting::Always | Reporting::Continuous => {}
            Reporting::Null | Reporting::Never => return (answer, None),
        }
        let counts = json!({
            "prompt_eval_count": tokens.input, "prompt_eval_duration": 1_000_000,
            "eval_count": tokens.output, "eval_duration": 2_000_000, "load_duration": 500_000,
        });
        merge(&mut answer, &counts);
        (answer, Some(tokens))
    }
}
