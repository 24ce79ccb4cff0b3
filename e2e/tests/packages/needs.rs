//! What the module and the launcher need of the machine they run on, as readelf reads it from the files.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::world::{launcher, library_dir};

use crate::run;

#[test]
fn nothing_is_needed_but_the_c_library() {
    let host = run("getconf", &["GNU_LIBC_VERSION"]);
    let host = version(host.trim().trim_start_matches("glibc "));
    for file in [
        library_dir().unwrap().join("libspectral_bridge.so"),
        launcher().unwrap(),
    ] {
        let needed = needed(&file);
        assert!(needed.contains("libc.so.6"), "{needed:?}");
        let others: Vec<_> = needed
            .iter()
            .filter(|name| !OF_THE_C_LIBRARY.contains(&name.as_str()))
            .collect();
        assert!(others.is_empty(), "{} needs {others:?}", file.display());

        // A newer build machine may bring newer symbols; one that is as old as the oldest of Envoy's images may not.
        let newest = newest_symbol(&file);
        let allowed = if host <= BOOKWORM { IMAGES } else { host };
        println!("{}: glibc {}.{}, {needed:?}", file.display(), newest.0, newest.1);
        assert!(
            newest <= allowed,
            "{} needs glibc {newest:?}, allowed is {allowed:?}",
            file.display()
        );
    }
}

fn needed(file: &Path) -> BTreeSet<String> {
    let dynamic = run("readelf", &["--dynamic", "--wide", file.to_str().unwrap()]);
    let quoted = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
    dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(quoted)
        .collect()
}

fn newest_symbol(file: &Path) -> (u32, u32) {
    let versions = run("readelf", &["--version-info", "--wide", file.to_str().unwrap()]);
    let words = versions
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("GLIBC_"));
    words.map(version).max().expect("a program without the C library")
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// glibc's own parts; before 2.34 threads and dlopen were in libraries of their own.
const OF_THE_C_LIBRARY: [&str; 5] = [
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "ld-linux-x86-64.so.2",
];

/// Debian 12.
const BOOKWORM: (u32, u32) = (2, 36);
/// Ubuntu 22.04, the oldest base of Envoy's images of 1.38 to 1.40.
const IMAGES: (u32, u32) = (2, 35);
