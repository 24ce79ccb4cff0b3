//! The figures of an answer, each as its API names it, and what they mean together.
//!
//! Filled by `answer`, field by field: of each the last value counts, since APIs that report more than once report
//! totals. Deliberately absent: adding up what comes one after the other.

use super::Usage;

/// A figure under its API's name. APIs differ in what they include, so what means the same keeps its own slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// `prompt_tokens`: all of the input.
    Prompt,
    /// `completion_tokens`: all of the output.
    Completion,
    /// `input_tokens`: OpenAI's is all of the input; Anthropic's is without the cache.
    Input,
    /// `output_tokens`.
    Output,
    /// `*_details.cached_tokens` and other servers' names for it: a part of the input.
    Cached,
    /// `*_details.cache_write_tokens`.
    CacheWrite,
    /// `*_details.reasoning_tokens`, `thinking_tokens`.
    Reasoning,
    /// Anthropic's `cache_read_input_tokens`: not in its `input_tokens`.
    AnthropicRead,
    /// Anthropic's `cache_creation_input_tokens`: not in its `input_tokens`.
    AnthropicWrite,
    /// Anthropic's `cache_creation.ephemeral_5m_input_tokens`.
    AnthropicWrite5m,
    /// Anthropic's `cache_creation.ephemeral_1h_input_tokens`.
    AnthropicWrite1h,
    /// `svg_usage.input_tokens`: what drawing an SVG took, besides `usage`.
    SvgInput,
    /// `svg_usage.output_tokens`.
    SvgOutput,
    /// `svg_usage.reasoning_tokens`.
    SvgReasoning,
    /// Gemini's `promptTokenCount`, cached ones included.
    GeminiPrompt,
    /// Gemini's `toolUsePromptTokenCount`: not in the prompt's.
    GeminiTools,
    /// Gemini's `candidatesTokenCount`.
    GeminiCandidates,
    /// Gemini's `thoughtsTokenCount`: not in the candidates'.
    GeminiThoughts,
    /// Ollama's `prompt_eval_count`.
    OllamaPrompt,
    /// Ollama's `eval_count`.
    OllamaOutput,
    /// llama.cpp's `tokens_evaluated`.
    LlamaPrompt,
    /// llama.cpp's `tokens_predicted`.
    LlamaOutput,
    /// llama.cpp's `timings.prompt_n`, without what was cached.
    TimedPrompt,
    /// llama.cpp's `timings.cache_n`.
    TimedCached,
    /// llama.cpp's `timings.predicted_n`.
    TimedOutput,
    /// Of the input: text.
    TextInput,
    /// Of the input: images.
    ImageInput,
    /// Of the input: audio.
    AudioInput,
    /// Of the output: text.
    TextOutput,
    /// Of the output: images.
    ImageOutput,
    /// Of the output: audio.
    AudioOutput,
}

/// The figures seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    values: [Option<u64>; Slot::AudioOutput as usize + 1],
    /// How often one was set.
    pub news: u64,
}

impl Counts {
    /// Sets a figure.
    pub fn set(&mut self, slot: Slot, count: u64) {
        if let Some(value) = self.values.get_mut(slot as usize) {
            *value = Some(count);
            self.news = self.news.wrapping_add(1);
        }
    }

    /// What they mean together.
    pub fn usage(&self) -> Usage {
        let get = |slot| self.get(slot);
        let write = get(Slot::AnthropicWrite).or(self.sum(Slot::AnthropicWrite5m, &[Slot::AnthropicWrite1h]));
        let write = write.or(get(Slot::AnthropicWrite1h));
        Usage {
            input: add(self.input(write), get(Slot::SvgInput)),
            output: add(self.output(), get(Slot::SvgOutput)),
            cache_read: get(Slot::Cached)
                .or(get(Slot::AnthropicRead))
                .or(get(Slot::TimedCached)),
            cache_write: get(Slot::CacheWrite).or(write),
            reasoning: add(
                get(Slot::Reasoning).or(get(Slot::GeminiThoughts)),
                get(Slot::SvgReasoning),
            ),
            text_input: get(Slot::TextInput),
            image_input: get(Slot::ImageInput),
            audio_input: get(Slot::AudioInput),
            text_output: get(Slot::TextOutput),
            image_output: get(Slot::ImageOutput),
            audio_output: get(Slot::AudioOutput),
        }
    }

    fn input(&self, anthropic_write: Option<u64>) -> Option<u64> {
        let excluded = add(self.get(Slot::AnthropicRead), anthropic_write);
        let input = self
            .get(Slot::Input)
            .map(|input| input.saturating_add(excluded.unwrap_or(0)));
        either(self.get(Slot::Prompt), input)
            .or(self.sum(Slot::GeminiPrompt, &[Slot::GeminiTools]))
            .or(self.get(Slot::OllamaPrompt))
            .or(self.get(Slot::LlamaPrompt))
            .or(self.sum(Slot::TimedPrompt, &[Slot::TimedCached]))
    }

    fn output(&self) -> Option<u64> {
        let gemini = add(self.get(Slot::GeminiCandidates), self.get(Slot::GeminiThoughts));
        either(self.get(Slot::Completion), self.get(Slot::Output))
            .or(gemini)
            .or(self.get(Slot::OllamaOutput))
            .or(self.get(Slot::LlamaOutput))
            .or(self.get(Slot::TimedOutput))
    }

    fn get(&self, slot: Slot) -> Option<u64> {
        self.values.get(slot as usize).copied().flatten()
    }

    /// `main` with `parts`; nothing without `main`.
    fn sum(&self, main: Slot, parts: &[Slot]) -> Option<u64> {
        let parts = parts.iter().filter_map(|part| self.get(*part));
        self.get(main).map(|main| parts.fold(main, u64::saturating_add))
    }
}

/// Some gateways write both names and leave one of them zero.
fn either(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.filter(|count| *count > 0).or(other).or(one)
}

fn add(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}
