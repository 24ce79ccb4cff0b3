//! `keepalive`: pings on a WebSocket, of a relay or of a chat.

use super::fields::Fields;
use super::{Keepalive, defaults, duration};

/// Reads `keepalive`.
pub(super) fn read(fields: &Fields<'_>) -> Option<Keepalive> {
    let default = Keepalive {
        interval: defaults::KEEPALIVE_INTERVAL,
        timeout: defaults::KEEPALIVE_TIMEOUT,
    };
    fields.or("keepalive", default, |field| {
        let fields = field.object(&["interval", "timeout"])?;
        let interval = duration::read(&fields, "interval", default.interval, &defaults::KEEPALIVE_RANGE);
        let timeout = duration::read(&fields, "timeout", default.timeout, &defaults::KEEPALIVE_RANGE);
        Some(Keepalive {
            interval: interval?,
            timeout: timeout?,
        })
    })
}
