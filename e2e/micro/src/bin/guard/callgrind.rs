//! Runs a case under callgrind and reads its profile.
//!
//! What is taken from it does not depend on the C library's version as far as possible: our own instructions, how often
//! memory was asked for, and what copying cost; not what `malloc` does inside.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::counts::Figures;

/// Callgrind, and this program.
#[derive(Debug)]
pub struct Callgrind {
    program: PathBuf,
    profiles: PathBuf,
}

impl Callgrind {
    /// Finds this program and a place for profiles beside it.
    pub fn new() -> Result<Self, String> {
        let program = env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
        let target = program.ancestors().nth(2).unwrap_or(Path::new("."));
        let profiles = target.join("guard");
        fs::create_dir_all(&profiles).map_err(|e| format!("{}: {e}", profiles.display()))?;
        Ok(Self { program, profiles })
    }

    /// Where the case's profile is, for callgrind_annotate.
    pub fn profile(&self, case: &str) -> PathBuf {
        self.profiles.join(format!("{case}.callgrind"))
    }

    /// What the case costs.
    pub fn count(&self, case: &str) -> Result<Figures, String> {
        let out = self.profiles.join(case);
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg("--dump-before=*micro::cases::prepared*")
            .arg("--dump-after=*micro::cases::counted*")
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(&self.program)
            .args(["--run", case])
            .env("GLIBC_TUNABLES", TUNABLES)
            .output()
            .map_err(|e| format!("valgrind: {e} (Debian: apt-get install valgrind)"))?;
        if !output.status.success() {
            return Err(format!("{case}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        // The first part is the preparation, the second what counts, and what is left at the end has no number.
        let parts = [out.with_added_extension("1"), out.with_added_extension("2"), out];
        let text = fs::read_to_string(&parts[1]).map_err(|e| format!("{}: {e}", parts[1].display()))?;
        for part in &parts {
            fs::remove_file(part).map_err(|e| format!("{}: {e}", part.display()))?;
        }
        let profile = self.profile(case);
        fs::write(&profile, readable(&text)).map_err(|e| format!("{}: {e}", profile.display()))?;
        let figures = read(&text, &self.program).filter(|figures| figures.instructions > 0);
        figures.ok_or_else(|| format!("{case}: callgrind wrote a profile that cannot be read"))
    }
}

/// Without the calls that had not returned when it was written, which callgrind_annotate takes for all there is.
fn readable(profile: &str) -> String {
    let mut lines = profile.lines();
    let mut text = String::with_capacity(profile.len());
    while let Some(line) = lines.next() {
        if line.starts_with("calls=0 ") {
            lines.next();
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Reads the costs of each function itself, and the calls to the allocator.
fn read(profile: &str, program: &Path) -> Option<Figures> {
    let (mut objects, mut functions) = (HashMap::new(), HashMap::new());
    let (mut is_own, mut function, mut called) = (false, "", "");
    let mut figures = Figures::default();
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once('=') else {
            if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                let cost: u64 = line.split(' ').nth(1).map_or(Some(0), |cost| cost.parse().ok())?;
                match copies(function) {
                    _ if is_own => figures.instructions += cost,
                    true => figures.copying += cost,
                    false => {}
                }
            }
            continue;
        };
        match key {
            "ob" => is_own = Path::new(name(&mut objects, value)?) == program,
            "cob" => drop(name(&mut objects, value)?),
            "fn" => function = name(&mut functions, value)?,
            "cfn" => called = name(&mut functions, value)?,
            "calls" => {
                if is_own && ALLOCATING.contains(&called) {
                    figures.allocations += value.split(' ').next()?.parse::<u64>().ok()?;
                }
                // the cost of what is called, which stands there, too
                lines.next()?;
            }
            _ => {}
        }
    }
    Some(figures)
}

/// `(7) name` the first time, `(7)` from then on.
fn name<'a>(names: &mut HashMap<&'a str, &'a str>, value: &'a str) -> Option<&'a str> {
    let (number, name) = value.split_once(')')?;
    match name.trim_start() {
        "" => names.get(number).copied(),
        name => {
            names.insert(number, name);
            Some(name)
        }
    }
}

fn copies(function: &str) -> bool {
    let plain = function.trim_start_matches('_');
    ["memcpy", "memmove", "mempcpy", "memset"]
        .iter()
        .any(|name| plain.starts_with(name))
}

const ALLOCATING: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Copying takes the road that every x86-64 has, in steps of 16 bytes, whatever the processor and its caches are.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-AVX2_Usable,-AVX512VL,-AVX512F,-ERMS,-FSRM:\
                        glibc.cpu.x86_non_temporal_threshold=0xfffffffffffffff";

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
version: 1
desc: Trigger: --dump-after=micro::cases::counted
positions: line
events: Ir
summary: 999

ob=(6) /target/release/guard
fl=(140) ???
fn=(1) decode
0 29
+3 1
cob=(3) /usr/lib/libc.so.6
cfi=(161) ./malloc.c
cfn=(2) malloc
calls=4 3281 
0 170
cfn=(3) push
calls=1 0 
0 500
0 10

fn=(3)
* 7
cob=(3)
cfn=(4) realloc
calls=2 1
0 50

ob=(3)
fn=(2)
0 170
cfn=(2)
calls=9 1
0 5

fn=(5) __memmove_sse2_unaligned
12 33
fe=(1)
12
";

    #[test]
    fn own_instructions_and_calls_are_told_from_those_of_the_c_library() {
        let figures = read(PROFILE, Path::new("/target/release/guard")).unwrap();
        let expected = Figures {
            instructions: 29 + 1 + 10 + 7,
            allocations: 6,
            copying: 33,
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn calls_that_had_not_returned_are_left_out_of_what_people_read() {
        let profile = "fn=(1) main\ncfn=(2) work\ncalls=0 7\n0 900\n\nfn=(2)\n0 1\ncalls=1 7\n0 5\n";
        let expected = "fn=(1) main\ncfn=(2) work\n\nfn=(2)\n0 1\ncalls=1 7\n0 5\n";
        assert_eq!(readable(profile), expected);
    }

    #[test]
    fn a_profile_with_a_name_that_was_never_told_is_refused() {
        assert_eq!(read("ob=(6)\n", Path::new("guard")), None);
    }
}
