//! The thread of one relay's client: its own, so that a relay that floods or stalls takes no other's turn.
//!
//! One, because a request crosses the client in a few microseconds: waking a second thread for each would cost more than
//! what it could take over, and Envoy's own threads do the rest. What relays share is the processor, which the kernel
//! divides among threads, and Envoy. Owned by the client; ended by the registry. Deliberately absent: the threads of the
//! status and of telemetry, which are the registry's.

use std::io;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A relay's thread. Dropping it ends what runs there without waiting for it.
#[derive(Debug)]
pub struct Threads {
    handle: Handle,
    /// Taken when it ends: how long files and names that are still being looked up may take.
    end: Option<oneshot::Sender<Duration>>,
    /// Closed when it has ended; behind a lock only because owners are shared.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Threads {
    /// Starts the thread of the relay of this name.
    ///
    /// # Errors
    /// The system has no more to give.
    pub fn start(relay: &str) -> io::Result<Self> {
        let name = format!("sb-{relay}");
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(MAX_BLOCKING)
            .thread_name(&name)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (end, asked) = oneshot::channel();
        let (alive, ended) = mpsc::channel();
        thread::Builder::new().name(name).spawn(move || {
            // an owner that is gone waits for nothing
            let within = runtime.block_on(asked).unwrap_or_default();
            // the tasks are dropped after this wait, and that is a part of the owner's wait
            runtime.shutdown_timeout(within / 4 * 3);
            drop::<mpsc::Sender<()>>(alive);
        })?;
        Ok(Self {
            handle,
            end: Some(end),
            ended: Mutex::new(ended),
        })
    }

    /// Where tasks are started.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends what runs there and waits for it, `within` at most. Blocks.
    pub fn join(mut self, within: Duration) {
        if let Some(end) = self.end.take() {
            // a thread that is gone has ended
            let _ = end.send(within);
            let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = ended.recv_timeout(within);
        }
    }
}

/// Files and names are looked up there, a few at a time.
const MAX_BLOCKING: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_there_is_dropped_before_join_returns() {
        let threads = Threads::start("test").unwrap();
        let (held, dropped) = mpsc::channel::<()>();
        threads.handle().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        threads.join(Duration::from_secs(20));
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    /// Takes a while to be dropped, as what is told at its end does.
    struct Slow(#[expect(dead_code, reason = "held")] mpsc::Sender<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn a_file_that_hangs_keeps_nothing_else_from_being_dropped_before_join_returns() {
        let threads = Threads::start("test").unwrap();
        let (held, dropped) = mpsc::channel::<()>();
        let held = Slow(held);
        threads.handle().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let (began, begins) = mpsc::channel();
        let (release, hangs) = mpsc::channel::<()>();
        threads.handle().spawn_blocking(move || {
            began.send(()).unwrap();
            hangs.recv().unwrap_err();
        });
        begins.recv().unwrap();
        threads.join(Duration::from_secs(2));
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        drop(release);
    }

    #[test]
    fn dropping_it_ends_what_runs_there() {
        let threads = Threads::start("test").unwrap();
        let (held, dropped) = mpsc::channel::<()>();
        threads.handle().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(threads);
        assert_eq!(
            dropped.recv_timeout(Duration::from_secs(20)),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
