//! From DNS to the protocol's version: one attempt to reach a relay, as the module makes it, each step a check.
//!
//! What a short connection does to the relay's real client, and to requests, is decided here: a connection with the key
//! is made only when no instance on this host serves it (unless asked for), under the lock that keeps one from starting
//! meanwhile. Nothing that arrives is acknowledged, and the connection is left at once with close 1000.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use spectral_bridge::config::{Config, ProtocolChoice, Proxy, Relay};
use spectral_bridge::relay::probe::Probe;
use spectral_bridge::relay::{DialError, KeyLock, RelayStream};
use spectral_bridge::secret::Secret;

use super::advice::{advice, check_of};
use super::args::Connect;
use super::greeting::{self, Greeting};
use super::report::{Finding, Id, Report};
use super::running;

/// Checks one relay; the checks after the first failure are skipped.
pub async fn check(report: &mut Report, config: &Config, relay: &Relay, connect: Connect) {
    let mut road = Road::new(report, relay);
    if let Err(Stop) = walk(&mut road, config, connect).await {
        road.skip_rest();
    }
}

/// The remaining checks cannot be made; why was said.
struct Stop;

/// The checks of one relay, in order.
struct Road<'a> {
    report: &'a mut Report,
    relay: &'a Relay,
    left: std::slice::Iter<'static, Id>,
    began: Instant,
    /// Why the rest is skipped.
    why: String,
}

impl<'a> Road<'a> {
    fn new(report: &'a mut Report, relay: &'a Relay) -> Self {
        Self {
            report,
            relay,
            left: STEPS.iter(),
            began: Instant::now(),
            why: String::new(),
        }
    }

    /// `id` is done; the time since the last one was its own.
    fn done(&mut self, id: Id, finding: Finding) {
        for skipped in self.left.by_ref().take_while(|step| **step != id) {
            let finding = Finding::skipped(format!("not reached, see {}", id.name()));
            self.report
                .add(*skipped, Some(&self.relay.name), Duration::ZERO, finding);
        }
        self.report
            .add(id, Some(&self.relay.name), self.began.elapsed(), finding);
        self.began = Instant::now();
    }

    fn fail(&mut self, id: Id, finding: Finding) -> Stop {
        self.why = Finding::after(id).detail;
        self.done(id, finding);
        Stop
    }

    fn dial_error(&mut self, error: &DialError) -> Stop {
        let what_to_do = advice(error, self.relay, SystemTime::now());
        self.fail(
            check_of(error),
            Finding::failed(error.code(), in_options(&error.to_string()), what_to_do),
        )
    }

    fn skip_rest(&mut self) {
        for step in self.left.by_ref() {
            let finding = Finding::skipped(self.why.clone());
            self.report.add(*step, Some(&self.relay.name), Duration::ZERO, finding);
        }
    }
}

async fn walk(road: &mut Road<'_>, config: &Config, connect: Connect) -> Result<(), Stop> {
    let relay = road.relay;
    let probe = Probe::prepare(relay).await.map_err(|e| road.dial_error(&e))?;
    let stream = reach(road, &probe).await?;
    let stream = secure(road, &probe, stream).await?;
    if road.report.failed_for(Id::Key, &relay.name) {
        road.why = Finding::after(Id::Key).detail;
        return Err(Stop);
    }
    let Ok(key) = Secret::read(&relay.api_key) else {
        road.why = Finding::after(Id::Key).detail;
        return Err(Stop);
    };
    let _lock = may_dial(road, config, &key, connect).await?;
    let send_version = relay.protocol != ProtocolChoice::V1;
    let socket = probe.handshake(stream, &key, send_version).await;
    let socket = socket.map_err(|e| road.dial_error(&e))?;
    let greeting = greeting::hear(socket).await;
    if let Greeting::KeyRefused = greeting {
        return Err(road.fail(Id::Handshake, key_refused(relay)));
    }
    road.done(Id::Handshake, Finding::ok("the relay takes the key"));
    let finding = greeting::judge(greeting, relay.protocol);
    road.done(Id::Protocol, finding);
    Ok(())
}

/// DNS, proxy and TCP.
async fn reach(road: &mut Road<'_>, probe: &Probe<'_>) -> Result<RelayStream, Stop> {
    let addresses = probe.resolve().await.map_err(|e| road.dial_error(&e))?;
    let hop = probe.first_hop();
    road.done(Id::Dns, Finding::ok(resolved(&hop.to_string(), &addresses)));
    let Some(proxy) = probe.proxy() else {
        road.done(Id::Proxy, Finding::ok(no_proxy(&road.relay.proxy)));
        let stream = probe.connect(addresses).await.map_err(|e| road.dial_error(&e))?;
        road.done(Id::Tcp, Finding::ok(format!("connected to the {hop}")));
        return Ok(stream);
    };
    let stream = probe.connect(addresses).await.map_err(|e| road.dial_error(&e))?;
    let stream = probe.tunnel(stream).await.map_err(|e| road.dial_error(&e))?;
    let credentials = if proxy.credentials { " with credentials" } else { "" };
    road.done(
        Id::Proxy,
        Finding::ok(format!("the {hop} opened a tunnel{credentials} (CONNECT)")),
    );
    road.done(
        Id::Tcp,
        Finding::ok(format!("through the proxy to {}", road.relay.url.authority())),
    );
    Ok(stream)
}

async fn secure(road: &mut Road<'_>, probe: &Probe<'_>, stream: RelayStream) -> Result<RelayStream, Stop> {
    let stream = probe.secure(stream).await.map_err(|e| road.dial_error(&e))?;
    let finding = match &stream {
        RelayStream::Tls(tls) => {
            let version = tls.get_ref().1.protocol_version();
            let version = version.and_then(|version| version.as_str()).unwrap_or("TLS");
            let roots = match &road.relay.tls.ca_file {
                Some(path) => path.display().to_string(),
                None => "this machine's roots".to_owned(),
            };
            Finding::ok(format!(
                "{}, certificate valid by {roots} and this machine's clock",
                version.replace("TLSv1_", "TLS 1.")
            ))
        }
        RelayStream::Tcp(_) => Finding::skipped("ws:// has no TLS"),
    };
    road.done(Id::Tls, finding);
    Ok(stream)
}

/// The right to dial with the key, while it is held; `None` where nobody has to be kept away.
async fn may_dial(
    road: &mut Road<'_>,
    config: &Config,
    key: &Secret,
    connect: Connect,
) -> Result<Option<KeyLock>, Stop> {
    // PROTOCOL §2.5: one client process serves a key at a time
    let lock = KeyLock::try_take(road.relay, key);
    match connect {
        Connect::Never => {
            road.why = "the key is not shown to the relay (--connect never)".to_owned();
            Err(Stop)
        }
        Connect::Always => Ok(lock.ok()),
        Connect::Auto => match running::look(road.relay, config.status.listen, lock).await {
            running::Found::Nobody(lock) => Ok(Some(lock)),
            running::Found::Instance(findings) => {
                let running::Findings { handshake, protocol } = *findings;
                road.done(Id::Handshake, handshake);
                road.done(Id::Protocol, protocol);
                Err(Stop)
            }
        },
    }
}

fn key_refused(relay: &Relay) -> Finding {
    let refused = DialError::HandshakeStatus {
        peer: spectral_bridge::relay::Peer::relay(&relay.url.host, relay.url.port),
        status: 401,
    };
    let what_to_do = advice(&refused, relay, SystemTime::now());
    Finding::failed(
        "authentication_failed",
        "the relay refused the API key (close 4001)",
        what_to_do,
    )
}

fn resolved(hop: &str, addresses: &[SocketAddr]) -> String {
    let mut ips: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    ips.dedup();
    let more = ips.len().saturating_sub(MAX_ADDRESSES);
    ips.truncate(MAX_ADDRESSES);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{hop} is {}{more}", ips.join(", "))
}

fn no_proxy(proxy: &Proxy) -> &'static str {
    match proxy {
        Proxy::FromEnv => "none: no variable of the environment names one for this relay",
        Proxy::None | Proxy::Http(_) => "none: the configuration says so",
    }
}

/// The module's words name its configuration's keys; those who use options know others.
fn in_options(message: &str) -> String {
    message.replace("tls.ca_file", "tls.ca_file (--ca-file)")
}

/// The checks of a relay, in order.
pub const STEPS: [Id; 6] = [Id::Dns, Id::Proxy, Id::Tcp, Id::Tls, Id::Handshake, Id::Protocol];

const MAX_ADDRESSES: usize = 4;
