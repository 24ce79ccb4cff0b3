//! Replays the corpus of every target, as it stands and with a few seeded changes.

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// The inputs of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let named = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    paths.into_iter().map(named).collect()
}

/// Changes bytes, cuts, repeats and joins: enough to leave the road that the corpus has trodden.
struct Changes(u64);

impl Changes {
    /// xorshift64*
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let wide = u128::from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)) * below.max(1) as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    fn change(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut changed = input.to_vec();
        for _ in 0..=self.next(3) {
            let at = self.next(changed.len());
            match self.next(5) {
                0 => changed.truncate(at),
                1 => changed.extend_from_slice(&other[self.next(other.len())..]),
                2 => changed.insert(at, u8::try_from(self.next(256)).unwrap_or(0)),
                3 if at < changed.len() => drop(changed.remove(at)),
                _ if at < changed.len() => changed[at] ^= 1 << self.next(8),
                _ => {}
            }
        }
        changed
    }
}

#[test]
fn every_target_holds_its_promises_on_its_corpus() {
    for (name, run) in TARGETS {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for (path, input) in inputs {
            assert!(input.len() <= MAX_INPUT, "{path} is too large to be kept");
            // Shown when it panics.
            println!("{path}");
            run(&input);
        }
    }
}

#[test]
fn and_on_seeded_changes_of_it() {
    for (name, run) in TARGETS {
        let inputs = corpus(name);
        let mut changes = Changes(SEED);
        for (path, input) in &inputs {
            println!("{path}, changed with seed {SEED:#x}");
            for _ in 0..CHANGES_PER_INPUT {
                let (_, other) = &inputs[changes.next(inputs.len())];
                run(&changes.change(input, other));
            }
        }
    }
}

#[test]
fn the_corpus_stays_small() {
    for (name, _) in TARGETS {
        let inputs = corpus(name);
        let bytes: usize = inputs.iter().map(|(_, input)| input.len()).sum();
        assert!(
            inputs.len() <= 150 && bytes <= 256 * 1024,
            "{name}: {} inputs, {bytes} bytes",
            inputs.len()
        );
    }
}

const SEED: u64 = 0x5eed_0001;
const CHANGES_PER_INPUT: usize = 200;
const MAX_INPUT: usize = 32 * 1024;
