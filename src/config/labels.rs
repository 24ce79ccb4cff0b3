//! `relays[].labels`: what a site says about a relay, for telemetry, the log and the status.

use super::errors::shown;
use super::fields::Field;

/// Reads `labels`: names to values, in the order of their names.
pub(super) fn read(field: &Field<'_>) -> Option<Vec<(String, String)>> {
    let members = field.named("labels, each a string")?;
    if members.len() > MAX_LABELS {
        return field.wrong(format!("{} labels", members.len()), format!("at most {MAX_LABELS}"));
    }
    let read = members.into_iter().map(|(name, member)| label(name, &member));
    // all of them, so that each mistake is reported
    let read: Vec<_> = read.collect();
    let mut labels: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    labels.sort();
    Some(labels)
}

fn label(name: &str, member: &Field<'_>) -> Option<(String, String)> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !begins || name.len() > MAX_NAME || !name.bytes().all(word) {
        return member.wrong(format!("{} is not the name of a label", shown(name)), NAME);
    }
    let value = member.text(VALUE)?;
    if value.is_empty() || value.len() > MAX_VALUE || value.contains(char::is_control) {
        return member.wrong(shown(value), VALUE);
    }
    Some((name.to_owned(), value.to_owned()))
}

const NAME: &str = "1 to 64 of a-z 0-9 . _ -, beginning with a letter";
const VALUE: &str = "a string of 1 to 128 bytes without control characters";

/// Each is an attribute of every metric and span of its relay.
const MAX_LABELS: usize = 8;
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 128;
