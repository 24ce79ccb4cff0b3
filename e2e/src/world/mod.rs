//! Helpers for tests that start real things: Envoy with the module, the launcher, Python programs.
//!
//! Tests use `unwrap` and `assert`: a panic is what makes [`Scratch`] keep its directory and a [`Process`] print its
//! output. Deliberately absent: the tests themselves, and any building or installing (the Makefile does that).

mod certificates;
mod collectors;
mod connect_proxy;
mod envoy;
pub mod fault_proxy;
mod gateway;
pub mod http;
mod listeners;
pub mod load;
mod places;
mod process;
mod proxy_program;
mod scratch;
pub mod seed;
mod series;
pub mod site;
mod template;

use std::collections::HashSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use certificates::{Authority, Certificates, Leaf};
pub use collectors::{Rotel, Series, VictoriaMetrics};
pub use connect_proxy::{ConnectProxy, IdleEnd, ProxyOptions};
pub use envoy::{Envoy, Validation, validate};
pub use gateway::Gateway;
pub use listeners::Listeners;
pub use places::{envoy_binary, launcher, library_dir, python, workspace};
pub use process::{Process, command};
pub use proxy_program::{ProxyProgram, RunningProxy};
pub use scratch::Scratch;
pub use template::render;

use crate::failed::{Failed, Result};
use crate::locked;

/// Asks `look` again and again until it gives something.
///
/// # Errors
/// It gave nothing within `deadline`; `what` says what was awaited.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(Failed::new(format!("{what}: not so within {deadline:?}")));
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// A loopback address whose port was free a moment ago; never the same twice in this process.
///
/// # Errors
/// The operating system has no port to give.
pub fn free_address() -> Result<SocketAddr> {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if locked(&GIVEN).get_or_insert_default().insert(address.port()) {
            return Ok(address);
        }
    }
}

/// How often [`eventually`] looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
