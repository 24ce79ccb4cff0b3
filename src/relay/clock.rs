//! The wall clock as the session is told of it: schedules and days are by it, everything else by the timer's.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::forward::Hold;
use crate::protocol::Input;

/// What it shows now; a clock before 1970 shows 1970.
pub(super) fn clock() -> Input<Hold> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Input::ClockRead { since_1970 }
}
