//! Puts the unwinder into the module, so that it needs nothing but the C library.
//!
//! Panics are unwound by libgcc. Rust's standard library asks the linker for the shared one, `libgcc_s.so.1`, which the
//! small images of Envoy do not have. A linker script of that name, found first, names the static one instead. Whoever
//! links with this crate gets it, so that the module and the test modules unwind alike. Where the C compiler has no
//! static libgcc, or the linker brings an unwinder of its own (`cargo zigbuild`), nothing changes.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    if !(is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu")) {
        return;
    }
    if let (Some(library), Some(out)) = (static_unwinder(), env::var_os("OUT_DIR")) {
        let out = PathBuf::from(out);
        if fs::write(out.join("libgcc_s.so"), format!("INPUT({library})\n")).is_ok() {
            println!("cargo::rustc-link-search=native={}", out.display());
        }
    }
}

/// Where the program that links has its `libgcc_eh.a`.
fn static_unwinder() -> Option<String> {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| OsString::from("cc"));
    let output = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    // A compiler that has none repeats the bare name; the script's syntax has no quoting for blanks.
    (Path::new(&path).is_absolute() && Path::new(&path).is_file() && !path.contains(char::is_whitespace))
        .then_some(path)
}
