//! The endpoint's Unix socket: made for this user alone, and never taken from somebody who listens.
//!
//! A file beside it, `NAME.lock`, is locked for as long as the socket is served, so that of two processes that find a
//! dead one's socket only one replaces it. That file stays behind, empty: to remove it would let two hold it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixSocket};

/// A socket that is listened on. Dropping it removes its file, unless another has taken its place.
#[derive(Debug)]
pub(super) struct Bound {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's file.
    file: (u64, u64),
    _lock: File,
}

impl Bound {
    /// Listens at `path`, in place of a socket that nobody listens on.
    ///
    /// # Errors
    /// Somebody listens there, something else is there, or the directory does not allow it.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let lock = lock(path)?;
        remove_dead(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // between bind and listen nobody can connect: it is never open to others
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            listener: socket.listen(BACKLOG)?,
            path: path.to_owned(),
            file: (found.dev(), found.ino()),
            _lock: lock,
        })
    }

    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            // what cannot be removed is found dead by the next one
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(name)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(taken()),
        Err(e) => Err(e.into()),
    }
}

/// Removes a socket that nobody listens on.
fn remove_dead(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            let what = "there is a file that is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // a listener that is merely busy is one, too
        Ok(_) | Err(_) => Err(taken()),
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another listens there")
}

/// This user only.
const MODE: u32 = 0o600;

/// Upgrades that may wait to be accepted; the kernel cuts it to its own limit.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use super::*;
    use crate::relay::testing::Scratch;

    #[tokio::test]
    async fn the_socket_is_this_users_alone_and_goes_with_its_listener() {
        let dir = Scratch::new();
        let path = dir.path().join("chat.sock");
        let bound = Bound::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
        drop(Bound::bind(&path).unwrap());
    }

    #[tokio::test]
    async fn a_dead_ones_socket_is_replaced_and_a_living_ones_is_not() {
        let dir = Scratch::new();
        let path = dir.path().join("chat.sock");
        let stranger = StdListener::bind(&path).unwrap();
        assert_eq!(Bound::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(stranger);
        let bound = Bound::bind(&path).unwrap();
        assert_eq!(Bound::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(bound);
    }

    #[tokio::test]
    async fn what_is_no_socket_stays_and_so_does_anothers_socket() {
        let dir = Scratch::new();
        let path = dir.path().join("chat.sock");
        fs::write(&path, "precious").unwrap();
        assert_eq!(Bound::bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(Bound::bind(&dir.path().join("link")).is_err());
        fs::remove_file(&path).unwrap();
        let bound = Bound::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = StdListener::bind(&path).unwrap();
        drop(bound);
        UnixStream::connect(&path).unwrap();
        drop(other);
        assert!(Bound::bind(&dir.path().join("absent/chat.sock")).is_err());
    }
}
