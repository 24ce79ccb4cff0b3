//! A directory that only this user can enter: Envoy's bootstrap file and its sockets live there.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::Refusal;

/// Removed with all it holds when dropped.
#[derive(Debug)]
pub struct PrivateDir(PathBuf);

impl PrivateDir {
    /// Makes one in `$XDG_RUNTIME_DIR`, else in the directory for temporary files, else in `/tmp`.
    ///
    /// # Errors
    /// None of them can be written, or their paths are too long for a Unix socket.
    pub fn create() -> Result<Self, Refusal> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
        Self::create_in(places)
    }

    fn create_in(places: impl Iterator<Item = PathBuf>) -> Result<Self, Refusal> {
        let mut reasons = Vec::new();
        for place in places.filter(|place| place.is_absolute()) {
            match try_create(&place) {
                Ok(path) => return Ok(Self(path)),
                Err(reason) => reasons.push(format!("{}: {reason}", place.display())),
            }
        }
        Err(format!(
            "no private directory can be made ({}); set XDG_RUNTIME_DIR",
            reasons.join("; ")
        ))
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and nothing secret is in there.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn try_create(place: &Path) -> Result<PathBuf, String> {
    for attempt in 0..MAX_ATTEMPTS {
        let path = place.join(format!("spectral-bridge.{}.{attempt}", std::process::id()));
        let longest = path.join(LONGEST_NAME);
        if longest.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(format!("too long for a socket's path of {MAX_SOCKET_PATH} bytes"));
        }
        // Fails when the name exists, so nobody else can have prepared it.
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Err("every name is taken".to_owned())
}

/// The longest of the names that are put into it.
const LONGEST_NAME: &str = "adapter.sock";
/// `sun_path` less its closing NUL.
const MAX_SOCKET_PATH: usize = 107;
const MAX_ATTEMPTS: u32 = 100;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_this_user_can_enter_and_nothing_stays() {
        let directory = PrivateDir::create().unwrap();
        let path = directory.0.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let second = PrivateDir::create().unwrap();
        assert_ne!(second.0, path);
        fs::write(directory.join("envoy.yaml"), "x").unwrap();
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn a_place_too_long_for_a_socket_is_passed_over() {
        let long = std::env::temp_dir().join("x".repeat(90));
        let refusal = PrivateDir::create_in([long.clone()].into_iter()).unwrap_err();
        assert!(
            refusal.contains("too long for a socket's path of 107 bytes"),
            "{refusal}"
        );
        let directory = PrivateDir::create_in([long, PathBuf::from("/tmp")].into_iter()).unwrap();
        assert!(directory.0.starts_with("/tmp"));
        let refusal = PrivateDir::create_in([PathBuf::from("/nonexistent")].into_iter()).unwrap_err();
        assert!(refusal.contains("/nonexistent: "), "{refusal}");
    }
}
