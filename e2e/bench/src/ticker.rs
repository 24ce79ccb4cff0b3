//! A timer of the kernel's precision: tokio's own rounds to a millisecond, more than what is measured.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Waits for instants.
#[derive(Debug)]
pub struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// # Errors
    /// The kernel has no timer to give.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // its successor is unsafe, for sources that may change their descriptor; a timer keeps its own
        #[expect(deprecated, reason = "no unsafe code here")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self(timer))
    }

    /// Waits until `at`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn until(&self, at: Instant) -> io::Result<()> {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let zero = spec(Duration::ZERO);
        let new = Itimerspec {
            it_interval: zero,
            it_value: spec(left),
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &new)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut expired = [0_u8; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expired)?)) {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

fn spec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
