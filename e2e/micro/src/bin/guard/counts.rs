//! The file of counts, and what differs from it.

use std::fmt;
use std::process::Command;

/// What a case costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Executed in our own code and what is linked with it.
    pub instructions: u64,
    /// Calls to the C library's allocator.
    pub allocations: u64,
    /// Instructions in the C library's `memcpy` and its like.
    pub copying: u64,
}

/// What every case costs.
#[derive(Debug, PartialEq, Eq)]
pub struct Counts {
    /// Where.
    pub origin: Origin,
    /// By name.
    pub cases: Vec<(String, Figures)>,
}

/// What counts depend on besides our own code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The compiler.
    pub rustc: String,
    /// The C library.
    pub libc: String,
    /// The instructions that the processor is known to have: code that searches bytes asks for them.
    pub cpu: String,
}

/// A figure that is not what it was.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The case's name.
    pub case: String,
    what: &'static str,
    expected: Option<u64>,
    seen: Option<u64>,
}

/// What differs.
#[derive(Debug, PartialEq)]
pub struct Report {
    /// Beyond the tolerance.
    pub changes: Vec<Change>,
    cases: usize,
    /// The largest difference within the tolerance, in per cent.
    largest: f64,
    tolerance: f64,
}

/// Compares each figure.
#[must_use]
pub fn compare(expected: &Counts, seen: &Counts) -> Report {
    let (same_code, same_libc) = expected.origin.same(&seen.origin);
    let tolerance = if same_code { TOLERANCE } else { WIDE };
    let copying = if same_code && same_libc { TOLERANCE } else { WIDE };
    let mut report = Report {
        changes: Vec::new(),
        cases: seen.cases.len(),
        largest: 0.0,
        tolerance,
    };
    for (case, now) in &seen.cases {
        let Some(before) = expected.find(case) else {
            report.add(case, "instructions", None, Some(now.instructions));
            continue;
        };
        // A few steps more of a copy that hardly counts are the alignment's.
        let little = before.instructions / LITTLE;
        report.judge(
            case,
            "instructions",
            before.instructions,
            now.instructions,
            tolerance,
            0,
        );
        report.judge(case, "allocations", before.allocations, now.allocations, tolerance, 0);
        report.judge(case, "copying", before.copying, now.copying, copying, little);
    }
    for (case, before) in &expected.cases {
        if seen.find(case).is_none() {
            report.add(case, "instructions", Some(before.instructions), None);
        }
    }
    report
}

impl Report {
    fn judge(&mut self, case: &str, what: &'static str, expected: u64, seen: u64, tolerance: f64, little: u64) {
        let difference = per_cent(expected, seen).abs();
        if expected.abs_diff(seen) <= little {
            return;
        }
        if difference > tolerance {
            self.add(case, what, Some(expected), Some(seen));
        } else {
            self.largest = self.largest.max(difference);
        }
    }

    fn add(&mut self, case: &str, what: &'static str, expected: Option<u64>, seen: Option<u64>) {
        let case = case.to_owned();
        self.changes.push(Change {
            case,
            what,
            expected,
            seen,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changes.len() {
            0 => write!(
                f,
                "{} cases cost what they did, within {:.2} % (allowed: {} %)",
                self.cases, self.largest, self.tolerance
            ),
            changes => write!(f, "{changes} figures changed by more than {} %:", self.tolerance),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14} {:<12} ", self.case, self.what)?;
        match (self.expected, self.seen) {
            (Some(expected), Some(seen)) => {
                let per_cent = match expected {
                    0 => "from none".to_owned(),
                    _ => format!("{:+.1} %", per_cent(expected, seen)),
                };
                write!(f, "expected {expected:>11}  seen {seen:>11}  {per_cent:>9}")
            }
            (None, Some(seen)) => write!(f, "expected     nothing  seen {seen:>11}  a new case"),
            (Some(expected), None) => write!(f, "expected {expected:>11}  seen     nothing  a case that is gone"),
            (None, None) => Ok(()),
        }
    }
}

impl Counts {
    /// Reads the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut origin = Origin {
            rustc: String::new(),
            libc: String::new(),
            cpu: String::new(),
        };
        let mut cases = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(": ") {
                Some(("rustc", said)) => said.clone_into(&mut origin.rustc),
                Some(("libc", said)) => said.clone_into(&mut origin.libc),
                Some(("cpu", said)) => said.clone_into(&mut origin.cpu),
                _ => cases.push(row(line).ok_or_else(|| format!("cannot read {line:?}"))?),
            }
        }
        Ok(Self { origin, cases })
    }

    fn find(&self, name: &str) -> Option<&Figures> {
        self.cases
            .iter()
            .find(|(case, _)| case == name)
            .map(|(_, figures)| figures)
    }
}

fn row(line: &str) -> Option<(String, Figures)> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?.to_owned();
    let mut next = || words.next()?.parse().ok();
    let figures = Figures {
        instructions: next()?,
        allocations: next()?,
        copying: next()?,
    };
    Some((name, figures))
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { rustc, libc, cpu } = &self.origin;
        writeln!(
            f,
            "# Written by `make guard UPDATE=1`; README.md beside it says what the figures are."
        )?;
        writeln!(f, "rustc: {rustc}\nlibc: {libc}\ncpu: {cpu}\n")?;
        writeln!(
            f,
            "{:<14} {:>12} {:>12} {:>12}",
            "# case", "instructions", "allocations", "copying"
        )?;
        for (name, figures) in &self.cases {
            let Figures {
                instructions,
                allocations,
                copying,
            } = figures;
            writeln!(f, "{name:<14} {instructions:>12} {allocations:>12} {copying:>12}")?;
        }
        Ok(())
    }
}

impl Origin {
    /// Of this program, on this machine.
    #[must_use]
    pub fn here() -> Self {
        let libc = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
        let libc = libc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let has_avx2 = is_x86_feature_detected!("avx2");
        Self {
            rustc: env!("BUILT_BY").to_owned(),
            libc: libc
                .ok()
                .filter(|said| !said.is_empty())
                .unwrap_or_else(|| "unknown".to_owned()),
            cpu: if has_avx2 { "avx2" } else { "no avx2" }.to_owned(),
        }
    }

    /// What is different here, and what follows from that.
    #[must_use]
    pub fn differs(&self, here: &Self) -> Option<String> {
        let (same_code, same_libc) = self.same(here);
        let told = |before: &str, now: &str| format!("the counts were made with {before}, here is {now}");
        if !same_code {
            let told = told(
                &format!("{}, {}", self.rustc, self.cpu),
                &format!("{}, {}", here.rustc, here.cpu),
            );
            return Some(format!(
                "{told}: so {WIDE} % are allowed instead of {TOLERANCE} %; make guard UPDATE=1 makes them anew"
            ));
        }
        let told = told(&self.libc, &here.libc);
        (!same_libc).then(|| format!("{told}: so {WIDE} % are allowed for copying"))
    }

    /// Whether our own code is the same, and the C library.
    fn same(&self, here: &Self) -> (bool, bool) {
        (
            (&self.rustc, &self.cpu) == (&here.rustc, &here.cpu),
            self.libc == here.libc,
        )
    }
}

fn per_cent(expected: u64, seen: u64) -> f64 {
    match (expected, seen) {
        (0, 0) => 0.0,
        (0, _) => f64::INFINITY,
        _ => (seen as f64 - expected as f64) * 100.0 / expected as f64,
    }
}

/// The same program counts the same within 0.2 %, hash maps' random seeds included; but a change anywhere may move the
/// compiler's decisions what to inline. Little enough to see one allocation more in twenty, or another pass over a body.
const TOLERANCE: f64 = 5.0;
/// Another compiler inlines otherwise; what it does to single cases is less than this.
const WIDE: f64 = 30.0;
/// The part of a case's instructions that copying may change by.
const LITTLE: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rustc: &str, libc: &str, figures: [u64; 3]) -> Counts {
        let [instructions, allocations, copying] = figures;
        let figures = Figures {
            instructions,
            allocations,
            copying,
        };
        let origin = Origin {
            rustc: rustc.to_owned(),
            libc: libc.to_owned(),
            cpu: "avx2".to_owned(),
        };
        Counts {
            origin,
            cases: vec![("decode".to_owned(), figures)],
        }
    }

    fn changed(expected: &Counts, seen: &Counts) -> Vec<String> {
        let changes = compare(expected, seen).changes;
        changes
            .iter()
            .map(|change| {
                change
                    .to_string()
                    .split_ascii_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let counts = counts("rustc 1.95.0 (5980 2026-04-14)", "glibc 2.36", [1, 2, 3]);
        assert_eq!(Counts::parse(&counts.to_string()), Ok(counts));
        assert!(Counts::parse("decode 1 2").is_err());
        assert!(Counts::parse("decode 1 2 x").is_err());
    }

    #[test]
    fn both_directions_count_beyond_five_per_cent() {
        let before = counts("1", "2", [10_000, 100, 1000]);
        assert!(changed(&before, &counts("1", "2", [10_499, 105, 950])).is_empty());
        assert_eq!(
            changed(&before, &counts("1", "2", [10_600, 94, 1051])),
            [
                "decode instructions expected 10000 seen 10600 +6.0 %",
                "decode allocations expected 100 seen 94 -6.0 %",
                "decode copying expected 1000 seen 1051 +5.1 %",
            ]
        );
    }

    #[test]
    fn the_first_allocation_counts_and_little_copying_does_not() {
        let before = counts("1", "2", [10_000, 0, 10]);
        assert!(changed(&before, &counts("1", "2", [10_000, 0, 60])).is_empty());
        assert_eq!(
            changed(&before, &counts("1", "2", [10_000, 1, 61])),
            [
                "decode allocations expected 0 seen 1 from none",
                "decode copying expected 10 seen 61 +510.0 %",
            ]
        );
    }

    #[test]
    fn another_compiler_widens_all_and_another_c_library_copying() {
        let before = counts("1", "2", [10_000, 100, 1000]);
        let now = |rustc, libc| counts(rustc, libc, [12_000, 120, 1200]);
        assert!(changed(&before, &now("other", "2")).is_empty());
        assert_eq!(changed(&before, &now("1", "other")).len(), 2);
        assert!(
            before
                .origin
                .differs(&now("other", "2").origin)
                .unwrap()
                .contains("30 % are allowed instead of 5 %")
        );
        assert!(
            before
                .origin
                .differs(&now("1", "other").origin)
                .unwrap()
                .contains("for copying")
        );
        assert_eq!(before.origin.differs(&now("1", "2").origin), None);
    }

    #[test]
    fn a_new_case_and_one_that_is_gone_ask_for_an_update() {
        let before = counts("1", "2", [1, 1, 1]);
        let mut now = counts("1", "2", [1, 1, 1]);
        now.cases[0].0 = "other".to_owned();
        assert_eq!(
            changed(&before, &now),
            [
                "other instructions expected nothing seen 1 a new case",
                "decode instructions expected 1 seen nothing a case that is gone",
            ]
        );
    }
}
