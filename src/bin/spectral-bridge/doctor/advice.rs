//! What to do about a connection to a relay that failed: pure, by the module's own account of the failure.

use std::time::{SystemTime, UNIX_EPOCH};

use spectral_bridge::config::{Proxy, Relay};
use spectral_bridge::relay::{DialError, Peer, Step};
use spectral_bridge::secret::describe;

use super::report::Id;

/// The check that `error` fails.
pub fn check_of(error: &DialError) -> Id {
    match error {
        DialError::Local { code, .. } => match *code {
            "proxy_config" => Id::Proxy,
            "tls_config" => Id::Tls,
            _ => Id::Handshake,
        },
        DialError::Dns { .. } => Id::Dns,
        DialError::Connect { peer, .. } if peer.proxy => Id::Proxy,
        DialError::Connect { .. } => Id::Tcp,
        DialError::ProxyAuth { .. } | DialError::ProxyRefused { .. } | DialError::ProxyAnswer { .. } => Id::Proxy,
        DialError::Tls { peer, .. } if peer.proxy => Id::Proxy,
        DialError::Tls { .. } => Id::Tls,
        DialError::Timeout { peer, step, .. } => match step {
            Step::Prepare => Id::Tls,
            Step::Resolve => Id::Dns,
            Step::Connect | Step::Tunnel | Step::Tls if peer.proxy => Id::Proxy,
            Step::Connect | Step::Tunnel => Id::Tcp,
            Step::Tls => Id::Tls,
            Step::Handshake => Id::Handshake,
        },
        DialError::HandshakeStatus { .. } | DialError::Handshake { .. } => Id::Handshake,
    }
}

/// What to do about it, in the words of the options; `now` is this machine's clock.
pub fn advice(error: &DialError, relay: &Relay, now: SystemTime) -> String {
    match error {
        DialError::Local { code, .. } => local(code, relay),
        DialError::Dns { peer, .. } => format!(
            "is {:?} written right ({})? Does this machine resolve it: getent hosts {}",
            peer.host,
            named_in(peer, relay),
            peer.host
        ),
        DialError::Connect { peer, .. } => unreachable_peer(peer, relay),
        DialError::Timeout { peer, step, .. } => silent(peer, *step, relay),
        DialError::ProxyAuth { sent, .. } => proxy_auth(*sent, relay),
        DialError::ProxyRefused { target, .. } => format!(
            "ask those who run the proxy to allow CONNECT to {target}, or go around it with NO_PROXY={}",
            relay.url.host
        ),
        DialError::ProxyAnswer { peer, .. } => {
            format!("is {} an HTTP proxy's port? {}", peer.authority(), proxy_source(relay))
        }
        DialError::Tls { peer, .. } => tls(error.code(), peer, relay, now),
        DialError::HandshakeStatus { status, .. } => handshake_status(*status, relay),
        DialError::Handshake { .. } if !relay.url.tls => {
            "is this a relay's port, and does it want wss:// instead of ws://?".to_owned()
        }
        DialError::Handshake { .. } => {
            "is this a relay's URL, and does everything in between let WebSockets through?".to_owned()
        }
    }
}

fn local(code: &str, relay: &Relay) -> String {
    match code {
        "proxy_config" => proxy_source(relay),
        "tls_config" => "correct the file that is named, or the setting: --ca-file, relays[].tls".to_owned(),
        "api_key" => format!("correct the key ({})", describe(&relay.api_key)),
        _ => "correct the relay's URL".to_owned(),
    }
}

fn named_in(peer: &Peer, relay: &Relay) -> String {
    if peer.proxy {
        proxy_source(relay)
    } else {
        "--relay-url, SPECTRAL_BRIDGE_RELAY_URL or relays[].url".to_owned()
    }
}

fn proxy_source(relay: &Relay) -> String {
    match relay.proxy {
        Proxy::Http(_) => "see relays[].proxy".to_owned(),
        Proxy::FromEnv | Proxy::None => {
            let variable = if relay.url.tls { "HTTPS_PROXY" } else { "http_proxy" };
            format!("see the environment: {variable}, ALL_PROXY, NO_PROXY")
        }
    }
}

fn unreachable_peer(peer: &Peer, relay: &Relay) -> String {
    if peer.proxy {
        return format!("does the proxy listen at {}? {}", peer.authority(), proxy_source(relay));
    }
    format!(
        "is port {} right, is the relay up, and does the firewall let this machine out to {}? Where only a proxy leaves \
         the network, set HTTPS_PROXY=http://PROXY:PORT",
        peer.port,
        peer.authority()
    )
}

fn silent(peer: &Peer, step: Step, relay: &Relay) -> String {
    match step {
        Step::Prepare => "are the files of --ca-file and relays[].tls on a file system that answers?".to_owned(),
        Step::Resolve => "this machine's resolver does not answer: see /etc/resolv.conf".to_owned(),
        Step::Connect => unreachable_peer(peer, relay),
        Step::Tunnel => format!(
            "the proxy is silent: is {} its port? {}",
            peer.authority(),
            proxy_source(relay)
        ),
        Step::Tls => format!(
            "the connection is open but nothing answers: is {} the right port, and does a firewall swallow TLS?",
            peer.port
        ),
        Step::Handshake => format!(
            "the other end takes the connection and stays silent: is {} a relay's port?",
            peer.authority()
        ),
    }
}

fn proxy_auth(sent: bool, relay: &Relay) -> String {
    let where_to = match relay.proxy {
        Proxy::Http(_) => "relays[].proxy.username and relays[].proxy.password".to_owned(),
        Proxy::FromEnv | Proxy::None => {
            let variable = if relay.url.tls { "HTTPS_PROXY" } else { "http_proxy" };
            format!("{variable} takes them before the host, USER:PASSWORD@HOST:PORT, percent-encoded")
        }
    };
    if sent {
        format!("correct user name and password of the proxy: {where_to}")
    } else {
        format!("give user name and password of the proxy: {where_to}")
    }
}

fn tls(code: &str, peer: &Peer, relay: &Relay, now: SystemTime) -> String {
    let owner = if peer.proxy { "proxy" } else { "relay" };
    match code {
        "tls_unknown_issuer" => format!(
            "name the certificate of the authority that issued the {owner}'s, as PEM, with --ca-file FILE (relays[].tls.ca_file); \
             behind TLS inspection that is the inspecting authority's"
        ),
        "tls_expired" | "tls_not_valid_yet" => format!(
            "this machine's clock says {} UTC: if that is wrong, set it (timedatectl); if it is right, the {owner}'s \
             certificate must be renewed",
            utc(now)
        ),
        "tls_wrong_name" => format!(
            "use a name of the certificate instead of {:?} in the URL, or name one in relays[].tls.server_name",
            peer.host
        ),
        "tls_not_spoken" if peer.proxy => format!(
            "the proxy's URL begins with https:// but {} speaks plain HTTP: http://",
            peer.authority()
        ),
        "tls_not_spoken" => format!(
            "is {} the port for wss://? A relay without TLS is reached with ws:// and --insecure-relay, for development only",
            peer.port
        ),
        "tls_client_certificate" => {
            "give a client certificate that the relay accepts: relays[].tls.cert_file and key_file".to_owned()
        }
        "tls_bad_certificate" => format!("the {owner} needs another certificate"),
        _ => format!("is {} the right port of {}?", peer.port, relay.url.host),
    }
}

fn handshake_status(status: u16, relay: &Relay) -> String {
    let key = describe(&relay.api_key);
    match status {
        401 | 403 => format!("give the key that the platform issued for this relay, unrevoked ({key})"),
        404 | 405 | 410 => "is the path of the relay's URL right? It usually ends in /connect".to_owned(),
        407 => "a proxy in between wants credentials: name it in HTTPS_PROXY".to_owned(),
        409 => {
            "another client seems to hold this key's connection: end it, or use a key of its own for each".to_owned()
        }
        429 => "the relay wants fewer attempts: wait, and look for a client that reconnects all the time".to_owned(),
        300..=399 => "write the final URL: redirects are not followed, they would carry the key elsewhere".to_owned(),
        200..=299 | 400 | 426 => {
            "is this a relay's URL, and does everything in between (load balancer, ingress) pass WebSockets on?"
                .to_owned()
        }
        500..=599 => "the relay, or what is in front of it, is in trouble: ask those who run it".to_owned(),
        _ => "ask those who run the relay what this answer means".to_owned(),
    }
}

/// `2026-01-31 23:59:59` (proleptic Gregorian calendar; the arithmetic of H. Hinnant's `civil_from_days`).
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
