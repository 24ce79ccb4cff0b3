//! A timer whose deadline moves all the time and rarely passes.

use std::pin::Pin;
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// Waits for one deadline after another. The runtime is told only when the deadline changed.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<(Instant, Pin<Box<Sleep>>)>);

impl Timer {
    /// Waits until `deadline`, or for ever if there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn until(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return std::future::pending().await;
        };
        match &mut self.0 {
            Some((at, _)) if *at == deadline => {}
            Some((at, sleep)) => {
                *at = deadline;
                sleep.as_mut().reset(deadline.into());
            }
            none => *none = Some((deadline, Box::pin(sleep_until(deadline.into())))),
        }
        if let Some((_, sleep)) = &mut self.0 {
            sleep.as_mut().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_may_move_both_ways() {
        let now = || tokio::time::Instant::now().into_std();
        let (start, mut timer) = (now(), Timer::default());
        let soon = |seconds| Some(start + Duration::from_secs(seconds));
        let cut = tokio::time::timeout(Duration::from_secs(1), timer.until(soon(9))).await;
        assert!(cut.is_err());
        timer.until(soon(3)).await;
        assert_eq!(now().duration_since(start).as_secs(), 3);
        timer.until(soon(20)).await;
        assert_eq!(now().duration_since(start).as_secs(), 20);
        timer.until(soon(20)).await;
        assert_eq!(now().duration_since(start).as_secs(), 20);
        let never = tokio::time::timeout(Duration::from_secs(1000), timer.until(None)).await;
        assert!(never.is_err());
    }
}
