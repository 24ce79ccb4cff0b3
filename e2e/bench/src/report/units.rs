//! Figures as people read them.

use crate::figures::Figure;

/// How a value is written.
pub type Unit = fn(f64) -> String;

/// `12,345`, `45.3`, `4.53`.
pub fn count(value: f64) -> String {
    thousands(&digits(value))
}

/// Of microseconds: `562 µs`, `2.66 ms`, `1.20 s`.
pub fn micros(value: f64) -> String {
    match value.abs() {
        less if less < 999.5 => format!("{} µs", digits(value)),
        less if less < 999.5e3 => format!("{} ms", digits(value / 1e3)),
        _ => format!("{} s", digits(value / 1e6)),
    }
}

/// Of milliseconds.
pub fn millis(value: f64) -> String {
    format!("{} ms", digits(value))
}

/// Of seconds: `1.20 s`, `56.2 ms`.
pub fn seconds(value: f64) -> String {
    micros(value * 1e6)
}

/// Of MiB.
pub fn mib(value: f64) -> String {
    format!("{} MiB", count(value))
}

/// Of a ratio: `53.2×`.
pub fn times(value: f64) -> String {
    format!("{}×", count(value))
}

/// Of a ratio: `85.3 %`.
pub fn percent(value: f64) -> String {
    format!("{} %", count(value * 100.0))
}

/// Of per cent of a core.
pub fn of_a_core(value: f64) -> String {
    format!("{value:.2} % of a core").replace('-', "−")
}

/// Of a round value, without the digits that are none: `50×`, `0.1 % of a core`.
pub fn exact(value: f64, unit: Unit) -> String {
    let text = unit(value);
    let (number, sign) = apart(&text);
    match number.split_once('.') {
        Some(_) => format!("{}{sign}", number.trim_end_matches('0').trim_end_matches('.')),
        None => text,
    }
}

/// The median and, in brackets, the range; one value alone is marked as such.
pub fn spread(figure: Option<Figure>, unit: Unit) -> String {
    let Some(figure) = figure else {
        return NONE.to_owned();
    };
    let median = unit(figure.median);
    if figure.count < 2 {
        return format!("{median} (n=1)");
    }
    let (min, max) = (unit(figure.min), unit(figure.max));
    let ((number, sign), (low, low_sign), (high, high_sign)) = (apart(&median), apart(&min), apart(&max));
    if sign == low_sign && sign == high_sign {
        format!("{number} [{low}–{high}]{sign}")
    } else {
        format!("{median} [{min}–{max}]")
    }
}

/// The median alone.
pub fn middle(figure: Option<Figure>, unit: Unit) -> String {
    figure.map_or_else(|| NONE.to_owned(), |figure| unit(figure.median))
}

/// Three digits that count, or all before the point.
fn digits(value: f64) -> String {
    let mut decimals = 2;
    let mut bound = 9.995;
    while decimals > 0 && value.abs() >= bound {
        decimals -= 1;
        bound *= 10.0;
    }
    let mut bound = 0.9995;
    while decimals < 6 && value != 0.0 && value.abs() < bound {
        decimals += 1;
        bound /= 10.0;
    }
    format!("{value:.decimals$}").replace('-', "−")
}

fn thousands(text: &str) -> String {
    let end = text.find('.').unwrap_or(text.len());
    let mut all = String::new();
    for (at, digit) in text.char_indices() {
        if at > 0 && at < end && (end - at).is_multiple_of(3) && digit.is_ascii_digit() && !all.ends_with('−') {
            all.push(',');
        }
        all.push(digit);
    }
    all
}

fn apart(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".,−".contains(c)));
    text.split_at(end.unwrap_or(text.len()))
}

/// What was not measured.
pub const NONE: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_three_digits_that_count() {
        let counts = [
            12_345.4,
            1_234_567.0,
            999.96,
            999.4,
            45.25,
            4.528,
            0.0531,
            0.0,
            -1234.0,
            -12.04,
            -123.4,
        ];
        let written = counts.map(count).join(" ");
        assert_eq!(
            written,
            "12,345 1,234,567 1,000 999 45.2 4.53 0.0531 0.00 −1,234 −12.0 −123"
        );
        assert_eq!(
            [561.7, 2658.0, 999.7, 1_204_000.0].map(micros),
            ["562 µs", "2.66 ms", "1.00 ms", "1.20 s"]
        );
        assert_eq!(percent(0.8532), "85.3 %");
        assert_eq!(seconds(0.0562), "56.2 ms");
        assert_eq!(
            [50.0, 1.1, 100.0].map(|value| exact(value, times)),
            ["50×", "1.1×", "100×"]
        );
        assert_eq!(exact(0.1, of_a_core), "0.1 % of a core");
    }

    #[test]
    fn a_range_names_its_unit_once_and_one_value_is_marked() {
        let all = |values: &[f64]| spread(Figure::of(values.to_vec()), micros);
        assert_eq!(all(&[540.0, 562.0, 610.0]), "562 [540–610] µs");
        assert_eq!(all(&[540.0, 562.0, 1610.0]), "562 µs [540 µs–1.61 ms]");
        assert_eq!(all(&[540.0]), "540 µs (n=1)");
        assert_eq!(all(&[]), "–");
        assert_eq!(spread(Figure::of(vec![-2.0, 3.0]), times), "0.500 [−2.00–3.00]×");
    }
}
