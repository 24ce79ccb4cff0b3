//! The completion script in a real shell, and the man page.

use std::process::Command;

use e2e::world::{Scratch, launcher};

use crate::{finish, run};

/// What bash offers for the last word of `line`.
fn offered(script: &str, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let [.., before, word] = words.as_slice() else {
        panic!("{line}");
    };
    let ask = format!(
        "source {script}; COMP_WORDS=({line}''); COMP_CWORD={}; \
         offer=$(complete -p spectral-bridge); offer=${{offer#*-F }}; ${{offer%% *}} spectral-bridge '{word}' '{before}'; \
         printf '%s ' \"${{COMPREPLY[@]}}\"",
        words.len() - 1
    );
    run("bash", &["--norc", "-c", &ask])
}

#[test]
fn bash_completes_commands_and_options() {
    let scratch = Scratch::new().unwrap();
    let text = run(launcher().unwrap(), &["completion", "bash"]);
    let script = scratch.write("completion", text).unwrap();
    let script = script.to_str().unwrap();
    assert_eq!(
        offered(script, "spectral-bridge sta").trim(),
        "start start-relay status"
    );
    assert_eq!(offered(script, "spectral-bridge start --relay").trim(), "--relay-url");
    assert_eq!(offered(script, "spectral-bridge start --log-level e").trim(), "error");
    assert!(!offered(script, "spectral-bridge ").contains("run-envoy"));
}

#[test]
fn a_reader_that_stops_early_is_no_panic() {
    let mut pipe = Command::new("bash");
    pipe.args(["-c", "\"$0\" man 2>&1 | head -n 1"])
        .arg(launcher().unwrap());
    let first = finish(&mut pipe);
    assert_eq!(first.lines().count(), 1, "{first}");
    assert!(!first.contains("panicked"), "{first}");
}
