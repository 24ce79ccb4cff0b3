//! Helpers for tests that start real things: Envoy with the module, the launcher, Python programs.
//!
//! Tests use `unwrap` and `assert`: a panic is what makes [`Scratch`] keep its directory and a [`Process`] print its
//! output. Deliberately absent: the tests themselves, and any building or installing (the Makefile does that).

pub mod browser;
mod certificates;
mod collectors;
mod connect_proxy;
mod echo;
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

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use browser::Browser;
pub use certificates::{Authority, Certificates, Leaf};
pub use collectors::{Rotel, Series, VictoriaMetrics};
pub use connect_proxy::{ConnectProxy, IdleEnd, ProxyOptions};
pub use echo::Echo;
pub use envoy::{Envoy, Validation, validate};
pub use gateway::Gateway;
pub use listeners::Listeners;
pub use places::{envoy_binary, kustomize, launcher, library_dir, python, workspace};
pub use process::{Process, command};
pub use proxy_program::{ProxyProgram, RunningProxy};
pub use scratch::Scratch;
pub use template::render;

use crate::failed::{Failed, Result};

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
/// Ports below those that Linux gives to whoever asks for any: one of these could be taken again before its user listens.
///
/// # Errors
/// Every such port is taken.
pub fn free_address() -> Result<SocketAddr> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let (first, ports) = (GIVEN_PORTS.start, GIVEN_PORTS.end - GIVEN_PORTS.start);
    let start = std::process::id().wrapping_mul(PORTS_APART) % ports;
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        if tried >= ports {
            return Err(Failed::new(format!("no port of {GIVEN_PORTS:?} is free")));
        }
        let port = u16::try_from(first + (start + tried) % ports)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
}

/// Where [`free_address`] looks.
const GIVEN_PORTS: Range<u32> = 10_240..32_768;

/// So that processes side by side begin at ports of their own.
const PORTS_APART: u32 = 499;

/// How often [`eventually`] looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
