//! Durations as people write them on a command line or in a model name: `20s`, `500ms`, `2m`, or plain seconds.

use std::time::Duration;

/// Reads `20s`, `500ms`, `2m` or `1.5` (seconds).
///
/// # Errors
/// The text is no such duration.
pub fn parse(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no duration, write for example 20s or 500ms"))?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        other => return Err(format!("`{other}` is no unit of time, use ms, s or m")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|e| format!("`{text}`: {e}"))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn units_are_read_and_nonsense_is_refused() {
        assert_eq!(parse("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "s", "-1s", "3h", "ten"] {
            assert!(parse(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
