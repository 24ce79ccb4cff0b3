//! What is asked of a model, by the request's path.
//!
//! Called by the relay client and the HTTP filter for each request. Deliberately absent: everything that uses no
//! tokens, or repeats figures of an answer that was counted when it was made (`count_tokens`, `input_tokens`,
//! `tokenize`, `compact`, batches, cancelling).

use super::Operation;

/// What `method` on `path` asks of a model; `None` for what is no inference. A query does not matter, nor does a
/// prefix that a gateway puts before the API's own path, where the rest is unambiguous.
#[must_use]
pub fn operation(method: &str, path: &str) -> Option<Operation> {
    let mut segments = segments(path);
    let last = segments.next()?;
    let before = segments.next();
    match method {
        "POST" => posted(last, before, segments.next()),
        "GET" | "CONNECT" => match (last, before) {
            // a WebSocket: CONNECT is how HTTP/2 upgrades
            ("responses", before) if is_root(before) => Some(Operation::Chat),
            ("realtime", before) if is_root(before) => Some(Operation::RealtimeInference),
            (_, Some("responses")) if method == "GET" && is_root(segments.next()) => Some(Operation::FetchResponse),
            _ => None,
        },
        _ => None,
    }
}

/// The model that a path names, as Gemini's and Azure's do.
#[must_use]
pub fn model_in_path(path: &str) -> Option<&str> {
    let mut after = None;
    for segment in segments(path) {
        match (segment, after) {
            ("deployments", Some(model)) => return Some(model),
            ("models" | "tunedModels" | "endpoints", Some(model)) if verb(model).is_some() => {
                return model.rsplit_once(':').map(|(model, _)| model);
            }
            _ => after = Some(segment),
        }
    }
    None
}

fn posted(last: &str, before: Option<&str>, root: Option<&str>) -> Option<Operation> {
    if let Some(verb) = verb(last) {
        return match verb {
            "generateContent" | "streamGenerateContent" => Some(Operation::GenerateContent),
            "embedContent" | "batchEmbedContents" => Some(Operation::Embeddings),
            // Anthropic's models at Vertex
            "rawPredict" | "streamRawPredict" => Some(Operation::Chat),
            _ => None,
        };
    }
    match (before, last) {
        (Some("chat"), "completions") => Some(Operation::Chat),
        (_, "responses") if is_root(before) => Some(Operation::Chat),
        (Some(version), "messages") if is_version(version) => Some(Operation::Chat),
        (Some("api"), "chat") => Some(Operation::Chat),
        (Some("fim"), "completions") | (Some("api"), "generate") | (None, "completion") => {
            Some(Operation::TextCompletion)
        }
        (Some("api"), "embed" | "embeddings") | (None, "embedding") => Some(Operation::Embeddings),
        (Some("images"), "generations" | "edits" | "variations")
        | (Some("audio"), "speech" | "transcriptions" | "translations") => Some(Operation::GenerateContent),
        (_, "completions") if is_root(before) || root == Some("deployments") => Some(Operation::TextCompletion),
        (_, "embeddings") if is_root(before) || root == Some("deployments") => Some(Operation::Embeddings),
        _ => None,
    }
}

/// The path's segments, the last one first.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let end = path.find(['?', '#']).unwrap_or(path.len());
    path.split_at(end).0.rsplit('/').filter(|segment| !segment.is_empty())
}

/// Whether an API can begin after this segment.
fn is_root(segment: Option<&str>) -> bool {
    segment.is_none_or(|segment| segment == "openai" || is_version(segment))
}

/// `v1`, `v1beta`, ….
fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// What stands after a model's name in Google's paths.
fn verb(segment: &str) -> Option<&str> {
    segment.rsplit_once(':').map(|(_, verb)| verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(expected: Option<Operation>, method: &str, paths: &[&str]) {
        for path in paths {
            assert_eq!(operation(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn what_is_asked_is_told_by_the_path() {
        use Operation::{Chat, Embeddings, GenerateContent, TextCompletion};
        all(
            Some(Chat),
            "POST",
            &[
                "/v1/chat/completions",
                "/v1/chat/completions?api-version=2024-10-21",
                "//v1/chat/completions/",
                "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                "/api/v1/chat/completions",
                "/gateway/team-a/v1/chat/completions",
                "/v1/responses",
                "/openai/responses?api-version=preview",
                "/openai/v1/responses",
                "/responses",
                "/v1/messages?beta=true",
                "/anthropic/v1/messages",
                "/api/chat",
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet:streamRawPredict",
            ],
        );
        all(
            Some(TextCompletion),
            "POST",
            &[
                "/v1/completions",
                "/completion",
                "/completions",
                "/api/generate",
                "/openai/deployments/davinci/completions",
                "/v1/fim/completions",
            ],
        );
        all(
            Some(Embeddings),
            "POST",
            &[
                "/v1/embeddings",
                "/api/embed",
                "/api/embeddings",
                "/embedding",
                "/openai/deployments/ada/embeddings",
                "/v1beta/models/gemini-embedding-001:embedContent",
                "/v1beta/models/gemini-embedding-001:batchEmbedContents",
            ],
        );
        all(
            Some(GenerateContent),
            "POST",
            &[
                "/v1beta/models/gemini-2.5-pro:generateContent",
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
                "/v1/images/generations",
                "/v1/images/edits",
                "/v1/audio/speech",
                "/v1/audio/transcriptions",
                "/openai/deployments/whisper/audio/translations",
            ],
        );
        for method in ["GET", "CONNECT"] {
            all(
                Some(Operation::RealtimeInference),
                method,
                &["/v1/realtime?model=gpt-realtime", "/openai/realtime"],
            );
            all(Some(Chat), method, &["/v1/responses"]);
        }
        all(
            Some(Operation::FetchResponse),
            "GET",
            &["/v1/responses/resp_1", "/openai/v1/responses/resp_1?stream=true"],
        );
    }

    #[test]
    fn what_uses_no_tokens_of_its_own_is_no_operation() {
        all(
            None,
            "POST",
            &[
                "/",
                "",
                "?",
                "/v1/responses/input_tokens",
                "/v1/responses/compact",
                "/v1/responses/resp_1/cancel",
                "/v1/messages/count_tokens",
                "/v1/messages/batches",
                "/v1/threads/t_1/messages",
                "/forms/17/responses",
                "/v1/realtime/client_secrets",
                "/v1/realtime/calls",
                "/tokenize",
                "/api/show",
                "/v1beta/models/gemini-2.5-pro:countTokens",
                "/v1/files",
                "/v1/chat/completions/extra",
            ],
        );
        all(
            None,
            "GET",
            &[
                "/v1/models",
                "/v1/chat/completions",
                "/v1/chat/completions/c_1",
                "/v1/responses/resp_1/input_items",
                "/forms/responses/1",
            ],
        );
        all(None, "CONNECT", &["/v1/responses/resp_1"]);
        all(None, "DELETE", &["/v1/responses/resp_1", "/v1/chat/completions"]);
        all(None, "post", &["/v1/chat/completions"]);
    }

    #[test]
    fn some_paths_name_the_model() {
        for (path, model) in [
            (
                "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
                Some("gemini-2.5-pro"),
            ),
            ("/openai/deployments/gpt-4o/chat/completions", Some("gpt-4o")),
            ("/v1/models/gpt-4o", None),
            ("/v1/chat/completions", None),
            ("/deployments", None),
        ] {
            assert_eq!(model_in_path(path), model, "{path}");
        }
    }
}
