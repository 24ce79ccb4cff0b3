//! `gateway`: Envoy serves clients itself, so its status tells of them, and its exit waits for them.

use super::Gateway;
use super::errors::shown;
use super::fields::Field;
use super::{defaults, duration};

/// Reads `gateway`; absent means that Envoy is none.
pub(super) fn read(field: Option<Field<'_>>) -> Option<Option<Gateway>> {
    let Some(field) = field else { return Some(None) };
    let fields = field.object(&["stat_prefix", "shutdown_grace"])?;
    let prefix = fields.or("stat_prefix", defaults::STAT_PREFIX.to_owned(), |field| {
        stat_prefix(&field)
    });
    let shutdown_grace = duration::read(
        &fields,
        "shutdown_grace",
        defaults::SHUTDOWN_GRACE,
        &defaults::SHUTDOWN_GRACE_RANGE,
    );
    Some(Some(Gateway {
        stat_prefix: prefix?,
        shutdown_grace: shutdown_grace?,
    }))
}

fn stat_prefix(field: &Field<'_>) -> Option<String> {
    let allowed = "the stat_prefix of the listener's connection manager, such as gateway";
    let text = field.text(allowed)?;
    let plain = |b: u8| b.is_ascii_graphic();
    if text.is_empty() || text.len() > MAX_PREFIX || !text.bytes().all(plain) {
        return field.wrong(format!("{} is not a stat_prefix", shown(text)), allowed);
    }
    // as Envoy writes it in its statistics
    Some(text.replace(':', "_"))
}

const MAX_PREFIX: usize = 128;
