//! The file with the tokens, read again and again: Kubernetes swaps a symlink, which nobody announces.
//!
//! Whatever is wrong with the file as a whole lets nobody in, and is said once in the log. Deliberately absent: keeping what
//! was read before, since a token that was taken away must not work on because the file cannot be read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::tokens::{Remark, Tokens};

/// A file and what it says now.
#[derive(Debug)]
pub struct TokensFile {
    path: PathBuf,
    now: RwLock<Arc<Look>>,
}

/// What a look at the file gave.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    tokens: Arc<Tokens>,
    remarks: Vec<Remark>,
    /// Why nobody is let in.
    fault: Option<String>,
}

impl TokensFile {
    /// Reads the file at `path` and says in the log what it gave.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        let look = Look::at(&path);
        let file = Self {
            path,
            now: RwLock::new(Arc::new(look)),
        };
        file.say();
        file
    }

    /// The tokens that it holds now.
    #[must_use]
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.look().tokens)
    }

    /// Reads it again.
    fn refresh(&self) {
        let look = Look::at(&self.path);
        if *self.look() != look {
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(look);
            self.say();
        }
    }

    fn look(&self) -> Arc<Look> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self) {
        let (look, path) = (self.look(), self.path.display());
        for remark in look.remarks.iter().take(MAX_REMARKS) {
            tracing::warn!("tokens file {path}: {remark}");
        }
        if look.remarks.len() > MAX_REMARKS {
            tracing::warn!(
                "tokens file {path}: and {} more lines",
                look.remarks.len() - MAX_REMARKS
            );
        }
        match &look.fault {
            Some(fault) => {
                tracing::error!("tokens file {path}: {fault}; every request is refused until that is mended")
            }
            None => tracing::info!("tokens file {path}: {} tokens are let in", look.tokens.len()),
        }
    }
}

/// Keeps the file's tokens up to date for as long as somebody else holds it.
pub fn watch(runtime: &Handle, file: Weak<TokensFile>) {
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(POLL).await;
            let Some(file) = file.upgrade() else { return };
            // an error means that it panicked, which is told already: the tokens stay as they are
            let _ = tokio::task::spawn_blocking(move || file.refresh()).await;
        }
    });
}

impl Look {
    fn at(path: &PathBuf) -> Self {
        let read = || {
            let mut text = Vec::new();
            File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        // opening a pipe would wait for whoever writes into it
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Self::refusing("it is no regular file".to_owned());
        }
        match read() {
            Err(error) => Self::refusing(format!("it cannot be read: {}", error.kind())),
            Ok(text) if text.len() as u64 > MAX_BYTES => Self::refusing(format!("it has more than {MAX_BYTES} bytes")),
            Ok(text) => {
                let (tokens, remarks) = Tokens::parse(&text);
                Self {
                    fault: tokens.is_empty().then(|| "it holds no token".to_owned()),
                    tokens: Arc::new(tokens),
                    remarks,
                }
            }
        }
    }

    fn refusing(fault: String) -> Self {
        Self {
            tokens: Arc::default(),
            remarks: Vec::new(),
            fault: Some(fault),
        }
    }
}

/// A token that is taken away should not work for long.
const POLL: Duration = Duration::from_secs(1);
/// A thousand tokens of the usual length are a tenth of this.
const MAX_BYTES: u64 = 1 << 20;
/// More lines help nobody.
const MAX_REMARKS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let file = format!("spectral-bridge-tokens-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(file))
        }

        fn write(&self, text: impl AsRef<[u8]>) {
            fs::write(&self.0, text).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    const OLD: &[u8] = b"0123456789abcdef-old";
    const NEW: &[u8] = b"0123456789abcdef-new";

    #[test]
    fn what_is_written_later_holds_and_what_is_taken_away_does_not() {
        let scratch = Scratch::new("rotated");
        scratch.write(OLD);
        let file = TokensFile::open(scratch.0.clone());
        assert!(file.tokens().find(OLD).is_some());
        scratch.write([OLD, b"\n", NEW].concat());
        file.refresh();
        assert!(file.tokens().find(OLD).is_some() && file.tokens().find(NEW).is_some());
        scratch.write(NEW);
        file.refresh();
        assert!(file.tokens().find(OLD).is_none() && file.tokens().find(NEW).is_some());
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let scratch = Scratch::new("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &scratch.0, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(TokensFile::open(scratch.0.clone()).tokens().is_empty());
    }

    #[test]
    fn a_file_that_is_no_good_lets_nobody_in_until_it_is_mended() {
        let scratch = Scratch::new("bad");
        let file = TokensFile::open(scratch.0.clone());
        assert!(file.tokens().is_empty(), "it is missing");
        for bad in [b"".to_vec(), b"# none\n".to_vec(), vec![0xff; 64], vec![b'\n'; 2 << 20]] {
            scratch.write(OLD);
            file.refresh();
            assert!(file.tokens().find(OLD).is_some());
            scratch.write(&bad);
            file.refresh();
            assert!(file.tokens().is_empty(), "{} bytes", bad.len());
            assert!(file.look().fault.is_some());
        }
        let directory = TokensFile::open(std::env::temp_dir());
        assert!(directory.tokens().is_empty() && directory.look().fault.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_again_while_somebody_holds_it() {
        let scratch = Scratch::new("watched");
        scratch.write(OLD);
        let file = Arc::new(TokensFile::open(scratch.0.clone()));
        watch(&Handle::current(), Arc::downgrade(&file));
        scratch.write(NEW);
        tokio::time::sleep(2 * POLL).await;
        assert!(file.tokens().find(NEW).is_some());
    }
}
