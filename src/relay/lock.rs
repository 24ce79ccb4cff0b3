//! One connection per key among the processes of this host: a hot restart's parent and child, two Envoys side by side.
//!
//! Who holds the lock of a key at a relay may dial with it; all others wait. The lock is on a file in a directory that
//! only this user can enter, and the kernel takes it back when its process dies. Driven by the driver's dial. Deliberately
//! absent: telling the holder to go (Envoy does, with `drain_started`), and other users, containers and hosts, among whom
//! the relay decides: it closes the older connection of a key.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, mkdir, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::config::{Relay, RelayUrl};
use crate::secret::{Secret, SecretError};

/// One client's right to dial with its key; clones are the same right. Given up with the last clone.
#[derive(Debug, Clone)]
pub struct KeyLock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Locked while the file system is asked.
    file: Mutex<LockFile>,
    /// What the status reads, never for longer than a moment.
    wait: Mutex<Waiting>,
}

#[derive(Debug)]
struct LockFile {
    /// Where the directory may be, best first.
    places: Vec<PathBuf>,
    held: Option<Held>,
    /// Nobody will dial any more.
    ended: bool,
    /// That there is no directory is said once.
    said_unusable: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    now: bool,
    changed_at: Instant,
}

#[derive(Debug)]
struct Held {
    name: String,
    file: File,
    directory: File,
}

/// Another process, or another client of this one, holds the lock.
struct Taken {
    by: Option<u32>,
}

impl KeyLock {
    /// Holds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::within(places())
    }

    fn within(places: Vec<PathBuf>) -> Self {
        Self(Arc::new(Shared {
            file: Mutex::new(LockFile {
                places,
                held: None,
                ended: false,
                said_unusable: false,
            }),
            wait: Mutex::new(Waiting {
                now: false,
                changed_at: Instant::now(),
            }),
        }))
    }

    /// Takes the right to dial `relay` with `key` at once and holds it, where no other process of this host has it.
    ///
    /// # Errors
    /// Another one has it: its id, if that is known.
    pub fn try_take(relay: &Relay, key: &Secret) -> Result<Self, Option<u32>> {
        let lock = Self::new();
        let taken = lock.file().hold(relay, key).err();
        taken.map_or(Ok(lock), |taken| Err(taken.by))
    }

    /// Reads the key of `relay` and waits until it may be dialled with. A lock held for another key is given up first.
    ///
    /// # Errors
    /// The key cannot be read, now or while waiting.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    pub(super) async fn key(&self, relay: &Arc<Relay>) -> Result<Secret, KeyError> {
        let mut waiting = None;
        let mut pause = POLL;
        loop {
            let (lock, asking) = (self.clone(), Arc::clone(relay));
            // the key may change while others serve the old one, so it is read for every look
            let look = tokio::task::spawn_blocking(move || {
                let key = Secret::read(&asking.api_key)?;
                let taken = lock.file().hold(&asking, &key).err();
                Ok((key, taken))
            });
            let (key, taken) = look.await.map_err(|_| KeyError::Internal)?.map_err(KeyError::Secret)?;
            let Some(taken) = taken else {
                if waiting.is_some() {
                    tracing::info!(relay = relay.name, "the key is free on this host: connecting");
                }
                return Ok(key);
            };
            if waiting.is_none() {
                tracing::warn!(
                    relay = relay.name,
                    "{taken}; the relay is dialled once it has ended or is drained"
                );
                waiting = Some(Wait::begin(self));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Lets others serve the key until it is asked for again.
    pub(super) fn release(&self) {
        self.file().held = None;
    }

    /// Lets others serve the key for good, also when a look at it is still under way.
    pub fn end(&self) {
        let mut file = self.file();
        file.ended = true;
        file.held = None;
    }

    /// Whether another process has the right now.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.wait().now
    }

    /// When a wait last began or ended.
    #[must_use]
    pub fn changed_at(&self) -> Instant {
        self.wait().changed_at
    }

    fn file(&self) -> MutexGuard<'_, LockFile> {
        self.0.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> MutexGuard<'_, Waiting> {
        self.0.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for KeyLock {
    fn default() -> Self {
        Self::new()
    }
}

impl LockFile {
    /// Takes the lock, unless it is held already. Where none can be had, the client goes on without.
    fn hold(&mut self, relay: &Relay, key: &Secret) -> Result<(), Taken> {
        let name = file_name(&relay.url, key);
        if self.held.as_ref().is_some_and(|held| held.name == name) {
            return Ok(());
        }
        self.held = None;
        if self.ended {
            return Ok(());
        }
        let held = self.directory().and_then(|directory| Held::try_new(directory, name));
        match held {
            Ok(held) => {
                self.held = Some(held?);
                Ok(())
            }
            Err(error) => {
                self.say_unusable(relay, &error);
                Ok(())
            }
        }
    }

    fn directory(&self) -> io::Result<File> {
        let mut reasons = Vec::new();
        for place in &self.places {
            match open_private(place) {
                Ok(directory) => return Ok(directory),
                Err(error) => reasons.push(format!("{}: {error}", place.display())),
            }
        }
        Err(io::Error::other(reasons.join("; ")))
    }

    fn say_unusable(&mut self, relay: &Relay, error: &io::Error) {
        if !std::mem::replace(&mut self.said_unusable, true) {
            tracing::warn!(
                relay = relay.name,
                "the key cannot be locked on this host ({error}): should another process here use the same key, as a hot \
                 restart's child does, the two take the connection from each other; set XDG_RUNTIME_DIR to a directory \
                 that this user can write"
            );
        }
    }
}

impl Held {
    fn try_new(directory: File, name: String) -> io::Result<Result<Self, Taken>> {
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Err(Taken { by: read_pid(file) })),
                Err(error) => return Err(error.into()),
            }
            // its last holder may have removed it between our opening and our locking
            if fstat(&file)?.st_nlink > 0 {
                // for people only
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                return Ok(Ok(Self { name, file, directory }));
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // still locked, so the name is ours to remove, unless somebody cleaned up before
        if fstat(&self.file).is_ok_and(|stat| stat.st_nlink > 0) {
            // a file that stays harms nobody
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another process on this host serves this key")?;
        match self.by {
            Some(pid) => write!(f, " (process {pid})"),
            None => Ok(()),
        }
    }
}

/// Why there is no key to dial with.
#[derive(Debug)]
pub(super) enum KeyError {
    Secret(SecretError),
    Internal,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(error) => write!(f, "the API key cannot be read: {error}"),
            Self::Internal => f.write_str("the API key cannot be read"),
        }
    }
}

/// The state `waiting`, ended by dropping.
struct Wait(KeyLock);

impl Wait {
    fn begin(lock: &KeyLock) -> Self {
        let wait = Self(lock.clone());
        wait.set(true);
        wait
    }

    fn set(&self, now: bool) {
        *self.0.wait() = Waiting {
            now,
            changed_at: Instant::now(),
        };
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.set(false);
    }
}

fn places() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|place| Path::new(&place).join("spectral-bridge"));
    let shared = std::env::temp_dir().join(format!("spectral-bridge-{}", geteuid().as_raw()));
    runtime
        .into_iter()
        .chain([shared])
        .filter(|place| place.is_absolute())
        .collect()
}

/// Opens a directory that only this user can enter, making it if need be.
fn open_private(path: &Path) -> io::Result<File> {
    match mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(open(path, flags, Mode::empty())?);
    let stat = fstat(&directory)?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if stat.st_mode & OTHERS != 0 {
        return Err(io::Error::other("others may enter it, mode 0700 is needed"));
    }
    // those who clean up old temporary files pass over a directory that is locked
    let _ = flock(&directory, FlockOperation::NonBlockingLockShared);
    Ok(directory)
}

/// A name that says nothing about the key.
fn file_name(url: &RelayUrl, key: &Secret) -> String {
    let mut hash = Sha256::new();
    hash.update([u8::from(url.tls)]);
    hash.update(url.port.to_be_bytes());
    for part in [url.host.as_bytes(), url.path_and_query.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(key.fingerprint());
    let mut name = data_encoding::HEXLOWER.encode(&hash.finalize());
    name.truncate(NAME_LENGTH);
    name + ".lock"
}

fn read_pid(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Group's and everybody's bits of a mode.
const OTHERS: u32 = 0o077;

/// Hexadecimal digits of a SHA-256: 128 bits are more than names need.
const NAME_LENGTH: usize = 32;

/// A hot restart's parent hands over within moments: the first looks are close together.
const POLL: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_millis(200);

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
