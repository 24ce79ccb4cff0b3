//! A gateway as the registry sees it: what Envoy's statistics say about its clients, and a drain that waits for them.
//!
//! Told by the bootstrap extension ([`crate::module`]) on Envoy's main thread, since Envoy itself counts connections and
//! requests, whoever refuses or serves them. Deliberately absent: any counting of our own, and any say in who is served:
//! new requests are turned away by Envoy (`/drain_listeners`) or by whoever sends them.

use std::future::Future;

use tokio::sync::watch;

use crate::config::Gateway;
use crate::status::snapshot::GatewaySnapshot;

/// A gateway under watch.
#[derive(Debug)]
pub struct Watched {
    config: Gateway,
    figures: watch::Sender<GatewaySnapshot>,
}

impl Watched {
    /// Begins to watch; nothing is known yet.
    #[must_use]
    pub fn new(config: Gateway) -> Self {
        Self {
            config,
            figures: watch::Sender::new(GatewaySnapshot::default()),
        }
    }

    /// Whether it is the one with this `stat_prefix`.
    #[must_use]
    pub fn is(&self, stat_prefix: &str) -> bool {
        self.config.stat_prefix == stat_prefix
    }

    /// Takes the figures of this moment.
    pub fn tell(&self, figures: GatewaySnapshot) {
        self.figures.send_replace(figures);
    }

    /// The last figures.
    #[must_use]
    pub fn figures(&self) -> GatewaySnapshot {
        *self.figures.borrow()
    }

    /// Completes when no request is under way, as told from now on, or when the grace is over.
    pub fn quiet(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut figures = self.figures.subscribe();
        let grace = self.config.shutdown_grace;
        async move {
            let quiet = async {
                // what was told before may be a second old
                while figures.changed().await.is_ok() {
                    if figures.borrow_and_update().active_requests == 0 {
                        return;
                    }
                }
            };
            if tokio::time::timeout(grace, quiet).await.is_err() {
                let active = figures.borrow().active_requests;
                tracing::warn!("{active} requests through the gateway did not end within {grace:?}; they are cut");
            }
        }
    }
}

impl GatewaySnapshot {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            active_connections: self.active_connections.saturating_add(other.active_connections),
            active_requests: self.active_requests.saturating_add(other.active_requests),
            total_requests: self.total_requests.saturating_add(other.total_requests),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn watched() -> Watched {
        Watched::new(Gateway {
            stat_prefix: "gateway".to_owned(),
            shutdown_grace: Duration::from_secs(30),
        })
    }

    fn active(active_requests: u64) -> GatewaySnapshot {
        GatewaySnapshot {
            active_requests,
            ..GatewaySnapshot::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_until_nothing_is_under_way_as_told_since() {
        let watched = watched();
        watched.tell(active(0));
        let quiet = tokio::spawn(watched.quiet());
        for figures in [active(2), active(1)] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!quiet.is_finished());
            watched.tell(figures);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!quiet.is_finished());
        watched.tell(active(0));
        quiet.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_its_grace_at_the_latest() {
        let (watched, began) = (watched(), Instant::now());
        watched.tell(active(1));
        watched.quiet().await;
        assert_eq!(began.elapsed(), Duration::from_secs(30));
    }
}
