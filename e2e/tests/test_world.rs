//! The helpers that start processes: that they see what is said, and leave nothing behind.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use e2e::world::{Process, Scratch, command, eventually, free_address};

const PATIENCE: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Process {
    Process::start("sh", command("sh").arg("-c").arg(script)).unwrap()
}

fn runs(pid: &str) -> bool {
    // A zombie is gone too: its parent, the system's init, has yet to notice.
    let state = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

#[tokio::test]
async fn output_of_both_streams_is_seen_and_sigterm_reaches_the_process() {
    let mut process =
        shell("trap 'echo bye; exit 7' TERM; echo out; echo err >&2; while :; do read x; done < /dev/null");
    process.line("out", PATIENCE).await.unwrap();
    assert_eq!(process.line("er", PATIENCE).await.unwrap(), "err");
    process.terminate().unwrap();
    assert_eq!(process.exited(PATIENCE).await.unwrap().code(), Some(7));
    assert!(process.output_to_end(PATIENCE).await.contains("bye\n"));
    assert!(!process.is_running());
}

#[tokio::test]
async fn a_dropped_process_takes_what_it_started_with_it() {
    let process = shell("tail -f /dev/null & echo child $!; wait");
    let line = process.line("child ", PATIENCE).await.unwrap();
    let child = line.strip_prefix("child ").unwrap().to_owned();
    assert!(runs(&child));
    drop(process);
    eventually("the child is gone", PATIENCE, async || (!runs(&child)).then_some(()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wait_in_vain_tells_what_was_said_instead() {
    let process = shell("echo something else; tail -f /dev/null");
    process.line("something", PATIENCE).await.unwrap();
    let why = process
        .line("the right thing", Duration::from_millis(10))
        .await
        .unwrap_err();
    let why = format!("{why:?}");
    assert!(
        why.contains("`the right thing`") && why.contains("something else"),
        "{why}"
    );
}

#[tokio::test]
async fn a_scratch_directory_goes_with_its_test_and_stays_after_a_panic() {
    let scratch = Scratch::new().unwrap();
    let path = scratch.path().to_owned();
    scratch.write("file", "x").unwrap();
    drop(scratch);
    assert!(!path.exists());

    let scratch = Scratch::new().unwrap();
    let path = scratch.path().to_owned();
    let panicked = std::thread::spawn(move || {
        let _scratch = scratch;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(path.exists());
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn free_addresses_are_never_the_same() {
    let mut ports: Vec<_> = (0..50).map(|_| free_address().unwrap().port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
}
