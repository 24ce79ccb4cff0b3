//! Durations as people and Envoy write them: `10s`, `1.5s`, `250ms`, `2m`, `1h`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::errors::shown;
use super::fields::{Field, Fields};
use super::raw::Node;

/// The duration at `key`, which must lie within `range`; `default` when absent.
pub(super) fn read(
    fields: &Fields<'_>,
    key: &str,
    default: Duration,
    range: &RangeInclusive<Duration>,
) -> Option<Duration> {
    fields.or(key, default, |field| read_field(&field, range))
}

fn read_field(field: &Field<'_>, range: &RangeInclusive<Duration>) -> Option<Duration> {
    let allowed = format!(
        "a duration from {} to {}, such as \"10s\"",
        write(*range.start()),
        write(*range.end())
    );
    let text = match field.node {
        Node::Text(text) => text,
        Node::Number(number) => return field.wrong(format!("{number} has no unit"), allowed),
        Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_) => {
            return field.wrong(field.node.kind(), allowed);
        }
    };
    if text.parse::<f64>().is_ok() {
        return field.wrong(format!("{} has no unit", shown(text)), allowed);
    }
    match parse(text) {
        Some(duration) if range.contains(&duration) => Some(duration),
        Some(_) => field.wrong(format!("{} is out of range", shown(text)), allowed),
        None => field.wrong(format!("{} is not a duration", shown(text)), allowed),
    }
}

/// Reads digits, at most one point, and a unit. Exact: no binary fractions.
fn parse(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let nanos_per_unit: u128 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || whole.len() > MAX_DIGITS || fraction.is_empty() || fraction.len() > MAX_FRACTION {
        return None;
    }
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let nanos = whole.parse::<u128>().ok()? * nanos_per_unit + fraction.parse::<u128>().ok()? * nanos_per_unit / scale;
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// The shortest exact spelling of a duration that stands in a range or a default.
pub(super) fn write(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match (seconds, millis) {
        (0, 0) => "0s".to_owned(),
        (_, 1..) => format!("{}ms", duration.as_millis()),
        (s, 0) if s % 3600 == 0 => format!("{}h", s / 3600),
        (s, 0) => format!("{s}s"),
    }
}

/// More digits than any range allows, few enough never to overflow.
const MAX_DIGITS: usize = 9;
/// Nanoseconds of a second.
const MAX_FRACTION: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_exactly() {
        for (text, nanos) in [
            ("10s", 10_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.5s", 500_000_000),
            ("0.000000001s", 1),
            ("250ms", 250_000_000),
            ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "", "s", "10", "10 s", "10S", "-1s", "+1s", "1e3s", ".5s", "5.s", "1.2.3s", "10sec", "1m30s", "1d",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("99999999999999999999s"), None);
        assert_eq!(parse("999999999h"), None, "more nanoseconds than a u64 holds");
    }

    #[test]
    fn writes_ranges_readably() {
        for (millis, text) in [
            (0, "0s"),
            (100, "100ms"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(write(Duration::from_millis(millis)), text);
        }
    }
}
