//! Where a secret is read from. A secret itself is refused, and never shown.

use std::path::PathBuf;

use super::SecretSource;
use super::fields::{Field, Fields};
use super::raw::Node;

/// Reads `{env: NAME}` or `{file: PATH}`, with no other keys.
pub(super) fn read(field: Field<'_>) -> Option<SecretSource> {
    if let Some(inline) = refuse_inline(&field) {
        return inline;
    }
    read_from(&field.object(&["env", "file"])?)
}

/// Notes a value that stands where only a source may stand. `Some(None)` when there was one.
pub(super) fn refuse_inline<T>(field: &Field<'_>) -> Option<Option<T>> {
    match field.node {
        Node::Text(_) | Node::Number(_) => Some(field.wrong(INLINE, USE)),
        Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_) => None,
    }
}

/// Reads `env` or `file` of an object that may have further keys.
pub(super) fn read_from(fields: &Fields<'_>) -> Option<SecretSource> {
    match (fields.get("env"), fields.get("file")) {
        (Some(env), None) => variable(&env).map(|name| SecretSource::Env(name.to_owned())),
        (None, Some(path)) => file(&path).map(SecretSource::File),
        (Some(_), Some(_)) => fields.mistakes.add(&fields.place, "both env and file", "one of them"),
        (None, None) => fields.mistakes.add(&fields.place, "neither env nor file", USE),
    }
}

/// The path of a file, of a secret or of a certificate.
pub(super) fn file(field: &Field<'_>) -> Option<PathBuf> {
    let allowed = "the path of a file, beginning with / (Envoy's working directory is not yours)";
    let Node::Text(path) = field.node else {
        return field.wrong(field.node.kind(), allowed);
    };
    // Not shown: a secret pasted here does not begin with a slash.
    if !path.starts_with('/') || path.len() > MAX_PATH || path.contains(char::is_control) {
        return field.wrong("not an absolute path (not shown, it may be a secret)", allowed);
    }
    Some(PathBuf::from(path))
}

fn variable<'a>(field: &Field<'a>) -> Option<&'a str> {
    let allowed = "the name of an environment variable: letters, digits and _, not beginning with a digit";
    let Node::Text(name) = field.node else {
        return field.wrong(field.node.kind(), allowed);
    };
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let fits = word && name.len() <= MAX_NAME && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    // Not shown: it may be the secret itself, or `${NAME}` already replaced.
    if fits {
        Some(name)
    } else {
        field.wrong("not a variable name (not shown, it may be a secret)", allowed)
    }
}

const INLINE: &str = "a secret written into the configuration would show in /config_dump";
/// What to write where a secret is needed.
pub(super) const USE: &str = "use {env: NAME} or {file: PATH}";

/// Linux's PATH_MAX.
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 128;
