//! Counts what each case costs and compares that with `counts.txt` (`make guard`), or writes it (`make guard UPDATE=1`).
//!
//! Valgrind runs this program again, once for each case (`guard --run NAME`), so that one case's heap is not another's.
//! Deliberately absent: time. It depends on the machine and on what else runs there; counts hardly do.
#![forbid(unsafe_code)]

mod callgrind;
mod counts;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::{env, fs, thread};

use callgrind::Callgrind;
use counts::{Counts, Figures, Origin};
use micro::cases::{CASES, Case};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [] => check(),
        ["--update"] => update(),
        ["--run", name] => run(name),
        _ => Err("usage: guard [--update | --run CASE]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("guard: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<(), String> {
    let case = CASES.iter().find(|case| case.name == name);
    (case.ok_or_else(|| format!("no case is called {name}"))?.run)();
    Ok(())
}

fn check() -> Result<(), String> {
    let expected = read()?;
    let callgrind = Callgrind::new()?;
    let seen = count(&callgrind)?;
    if let Some(note) = expected.origin.differs(&seen.origin) {
        println!("guard: {note}");
    }
    let report = counts::compare(&expected, &seen);
    if report.changes.is_empty() {
        println!("guard: {report}");
        return Ok(());
    }
    let of = |name: &str| CASES.iter().find(|case| case.name == name).map_or("", |case| case.of);
    let mut message = format!("{report}\n");
    for change in &report.changes {
        message.push_str(&format!("  {change}  [{}]\n", of(&change.case)));
    }
    let example = callgrind.profile(&report.changes[0].case);
    message.push_str(&format!(
        "If that is meant, better or worse: make guard UPDATE=1, and commit {FILE} with the change.\n\
         Where it goes: callgrind_annotate {}",
        example.display()
    ));
    Err(message)
}

fn update() -> Result<(), String> {
    let seen = count(&Callgrind::new()?)?;
    if let Ok(before) = read() {
        for change in counts::compare(&before, &seen).changes {
            println!("guard: {change}");
        }
    }
    fs::write(path(), seen.to_string()).map_err(|e| format!("{FILE}: {e}"))?;
    println!("guard: wrote {} cases to {FILE}", seen.cases.len());
    Ok(())
}

fn read() -> Result<Counts, String> {
    let text = fs::read_to_string(path()).map_err(|e| format!("{FILE}: {e}; make guard UPDATE=1 writes it"))?;
    Counts::parse(&text).map_err(|e| format!("{FILE}: {e}; make guard UPDATE=1 writes it anew"))
}

/// Every case. On every core: other load changes no count.
fn count(callgrind: &Callgrind) -> Result<Counts, String> {
    let waiting: Mutex<VecDeque<&Case>> = Mutex::new(CASES.iter().collect());
    let next = || waiting.lock().ok()?.pop_front();
    let work = || {
        let counted = |case: &Case| Ok((case.name, callgrind.count(case.name)?));
        std::iter::from_fn(next)
            .map(counted)
            .collect::<Result<Vec<_>, String>>()
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|part| part.unwrap_or_else(|_| Err("counting panicked".to_owned())))
            .collect()
    });
    let mut figures: Vec<(&str, Figures)> = Vec::new();
    for part in parts {
        figures.extend(part?);
    }
    let place = |name: &str| CASES.iter().position(|case| case.name == name);
    figures.sort_by_key(|(name, _)| place(name));
    let cases = figures
        .into_iter()
        .map(|(name, figures)| (name.to_owned(), figures))
        .collect();
    let origin = Origin::here();
    Ok(Counts { origin, cases })
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.txt")
}

const FILE: &str = "e2e/micro/counts.txt";
