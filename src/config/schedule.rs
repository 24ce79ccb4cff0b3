//! `schedule` of a relay: when it is served.
//!
//! A window says its offset from UTC; there is no time zone database, so a summer time is the operator's to follow.
//! What is kept is the week in seconds of UTC, so that asking costs a search. Deliberately absent: a clock.

use std::ops::Range;

use super::errors::shown;
use super::fields::{Field, Fields};
use super::raw::Node;

/// The parts of a week in which a relay is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// In seconds since Monday 00:00 UTC; ascending, apart from each other, at least one.
    open: Vec<Range<i64>>,
    offset: i64,
}

impl Schedule {
    /// Whether it is open, so many seconds after 1970.
    #[must_use]
    pub fn is_open(&self, unix: u64) -> bool {
        let second = second_of_week(unix);
        self.open.iter().any(|window| window.contains(&second))
    }

    /// Seconds until it opens, or, when it is open, until it closes; `None` when it never does.
    #[must_use]
    pub fn until_change(&self, unix: u64) -> Option<u64> {
        let second = second_of_week(unix);
        let first = self.open.first()?;
        let change = match self.open.iter().find(|window| second < window.end) {
            Some(window) if second < window.start => window.start,
            Some(window) if window.end < WEEK || first.start > 0 => window.end,
            // it goes on in the next week
            Some(_) if first.end < WEEK => WEEK + first.end,
            Some(_) => return None,
            None => WEEK + first.start,
        };
        u64::try_from(change - second).ok()
    }

    /// Seconds by which the first window's clock is ahead of UTC.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    fn new(windows: &[Window]) -> Option<Self> {
        let mut open: Vec<Range<i64>> = windows.iter().flat_map(Window::in_utc).collect();
        open.sort_unstable_by_key(|window| (window.start, window.end));
        let mut merged: Vec<Range<i64>> = Vec::with_capacity(open.len());
        for window in open {
            match merged.last_mut() {
                Some(last) if window.start <= last.end => last.end = last.end.max(window.end),
                Some(_) | None => merged.push(window),
            }
        }
        Some(Self {
            open: merged,
            offset: windows.first()?.offset,
        })
    }
}

/// As it is written.
struct Window {
    /// Days on which it begins, 0 is Monday.
    days: Vec<i64>,
    /// Seconds since midnight.
    from: i64,
    /// Not after `from` when it ends on the next day.
    to: i64,
    offset: i64,
}

impl Window {
    fn in_utc(&self) -> Vec<Range<i64>> {
        let length = if self.from < self.to {
            self.to - self.from
        } else {
            self.to + DAY - self.from
        };
        let begins = self.days.iter().map(|day| day * DAY + self.from - self.offset);
        begins
            .flat_map(|begin| {
                let start = begin.rem_euclid(WEEK);
                let end = start + length;
                // what reaches into the next week is at the beginning of this one
                [start..end.min(WEEK), 0..end - WEEK]
            })
            .filter(|window| !window.is_empty())
            .collect()
    }
}

/// Reads `schedule`: a window or several; absent means always.
pub(super) fn read(fields: &Fields<'_>) -> Option<Option<Schedule>> {
    fields.or("schedule", None, |field| {
        let windows: Vec<Option<Window>> = match field.node {
            Node::Array(_) => field.items("windows")?.iter().map(window).collect(),
            Node::Object(_) => vec![window(&field)],
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {
                return field.wrong(field.node.kind(), WANTED);
            }
        };
        if windows.is_empty() || windows.len() > MAX_WINDOWS {
            let allowed = format!("from 1 to {MAX_WINDOWS}; without a schedule a relay is always served");
            return field.wrong(format!("{} windows", windows.len()), allowed);
        }
        let windows: Option<Vec<Window>> = windows.into_iter().collect();
        Schedule::new(&windows?).map(Some)
    })
}

fn window(field: &Field<'_>) -> Option<Window> {
    let fields = field.clone().object(&["days", "from", "to", "utc_offset"])?;
    let days = fields.or("days", (0..7).collect(), |field| days(&field));
    let from = fields
        .required("from", TIME)
        .and_then(|field| read_text(&field, TIME, |text| time(text).filter(|at| *at < DAY)));
    let to = fields
        .required("to", TIME_OR_END)
        .and_then(|field| read_text(&field, TIME_OR_END, time));
    let offset = fields
        .required("utc_offset", OFFSET)
        .and_then(|field| read_text(&field, OFFSET, offset));
    let window = Window {
        days: days?,
        from: from?,
        to: to?,
        offset: offset?,
    };
    if window.from == window.to {
        return field.wrong("from and to are the same", "a whole day is from 00:00 to 24:00");
    }
    Some(window)
}

fn days(field: &Field<'_>) -> Option<Vec<i64>> {
    let allowed = format!("one or more of {}", DAYS.join(", "));
    let items = field.items("days")?;
    if items.is_empty() {
        return field.wrong("no days", allowed);
    }
    let mut days: Vec<i64> = Vec::new();
    let mut complete = true;
    for item in &items {
        let named = item.text(&allowed).map(|text| (text, number_of(text)));
        match named {
            Some((text, Some(day))) if days.contains(&day) => {
                item.wrong::<()>(format!("{} is there twice", shown(text)), "each day once");
            }
            Some((_, Some(day))) => days.push(day),
            Some((text, None)) => {
                item.wrong::<()>(format!("{} is not a day", shown(text)), &allowed);
            }
            None => complete = false,
        }
    }
    complete.then_some(days)
}

fn number_of(day: &str) -> Option<i64> {
    DAYS.iter().zip(0..).find(|(name, _)| **name == day).map(|(_, n)| n)
}

fn read_text(field: &Field<'_>, allowed: &str, read: impl FnOnce(&str) -> Option<i64>) -> Option<i64> {
    let text = field.text(allowed)?;
    read(text).or_else(|| field.wrong(format!("{} is none", shown(text)), allowed))
}

/// `HH:MM` in seconds, `24:00` included.
fn time(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let seconds = two_digits(hours)? * 3600 + two_digits(minutes).filter(|minutes| *minutes < 60)? * 60;
    (seconds <= DAY).then_some(seconds)
}

/// `+HH:MM` or `-HH:MM` in seconds.
fn offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let offset = sign * time(rest)?;
    (MIN_OFFSET..=MAX_OFFSET).contains(&offset).then_some(offset)
}

fn two_digits(text: &str) -> Option<i64> {
    let two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    two.then(|| text.parse().ok())?
}

/// 1970 began on a Thursday.
fn second_of_week(unix: u64) -> i64 {
    (i64::try_from(unix).unwrap_or_default().rem_euclid(WEEK) + 3 * DAY) % WEEK
}

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;

/// Where clocks are furthest from UTC: Baker Island and the Line Islands.
const MIN_OFFSET: i64 = -12 * 3600;
const MAX_OFFSET: i64 = 14 * 3600;

/// More than a week has days and nights.
const MAX_WINDOWS: usize = 64;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const WANTED: &str = "a window { days, from, to, utc_offset } or an array of windows";
const TIME: &str = "a time from \"00:00\" to \"23:59\", in quotes";
const TIME_OR_END: &str = "a time from \"00:00\" to \"24:00\", in quotes";
const OFFSET: &str = "the offset from UTC, such as \"+02:00\", \"-05:00\" or \"Z\", in quotes";

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday 1970-01-01 00:00 UTC and so many days and hours.
    fn at(days: u64, hours: u64) -> u64 {
        days * 86_400 + hours * 3600
    }

    fn schedule(windows: &[(&[i64], i64, i64, i64)]) -> Schedule {
        let windows: Vec<Window> = windows
            .iter()
            .map(|(days, from, to, offset)| Window {
                days: days.to_vec(),
                from: from * 3600,
                to: to * 3600,
                offset: offset * 3600,
            })
            .collect();
        Schedule::new(&windows).unwrap()
    }

    /// Asks it every hour of two weeks and compares with the windows as they are written, seen on their own clock.
    fn assert_hours(schedule: &Schedule, open: impl Fn(u64) -> bool) {
        for hour in 0..336 {
            let unix = hour * 3600;
            assert_eq!(schedule.is_open(unix), open(hour), "{hour}");
            let same = (hour..hour + 400).take_while(|h| open(*h) == open(hour)).count() as u64;
            let expected = (same < 400).then_some(same * 3600);
            assert_eq!(schedule.until_change(unix), expected, "{hour}");
        }
    }

    #[test]
    fn a_window_is_open_on_its_days_by_its_own_clock() {
        let office = schedule(&[(&[0, 1, 2, 3, 4], 8, 18, 2)]);
        assert_hours(&office, |hour| {
            let local = hour + 2 + 3 * 24;
            local / 24 % 7 < 5 && (8..18).contains(&(local % 24))
        });
        assert!(office.is_open(at(0, 6)) && !office.is_open(at(0, 6) - 1));
        assert!(office.is_open(at(0, 16) - 1) && !office.is_open(at(0, 16)));
    }

    #[test]
    fn a_window_across_midnight_belongs_to_the_day_on_which_it_begins() {
        // Sunday night, into the next week, seen from the west
        let night = schedule(&[(&[6], 22, 6, -5)]);
        assert_hours(&night, |hour| {
            let local = (hour + 3 * 24 + 7 * 24 - 5) % (7 * 24);
            !(6..6 * 24 + 22).contains(&local)
        });
    }

    #[test]
    fn windows_that_touch_or_overlap_are_one() {
        let days = schedule(&[(&[0, 1, 2, 3, 4, 5, 6], 0, 12, 0), (&[0, 1, 2, 3, 4, 5, 6], 12, 24, 0)]);
        assert_hours(&days, |_| true);
        let overlapping = schedule(&[(&[3], 8, 14, 0), (&[3], 12, 20, 0)]);
        assert_eq!(overlapping.until_change(at(0, 9)), Some(11 * 3600));
    }

    #[test]
    fn times_and_offsets_are_read_strictly() {
        for (text, seconds) in [("00:00", 0), ("08:05", 29_100), ("24:00", 86_400)] {
            assert_eq!(time(text), Some(seconds), "{text}");
        }
        for text in [
            "", "8:00", "08:60", "24:01", "0800", "08:00:00", "+8:00", "ab:cd", "-1:00",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
        for (text, seconds) in [("Z", 0), ("+02:00", 7200), ("-05:30", -19_800), ("+14:00", 50_400)] {
            assert_eq!(offset(text), Some(seconds), "{text}");
        }
        for text in ["", "UTC", "02:00", "+2", "+14:01", "-12:01", "+-02:00"] {
            assert_eq!(offset(text), None, "{text}");
        }
    }
}
