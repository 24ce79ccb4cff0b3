//! Which proxy an attempt goes through, if any: a pure decision, the environment read in one place ([`Variables::read`]).
//!
//! `dial` asks once per attempt. The variables mean what they mean to curl: the relay's scheme chooses among them, lower
//! case goes before upper case, an empty one is not set, `HTTP_PROXY` in upper case is never read (a CGI's client could
//! set it), a proxy without a port listens on 1080 (443 for `https`). Beyond curl, `NO_PROXY` entries may carry a port or
//! a leading `*.`. Deliberately absent: SOCKS, and any scheme of proof but Basic.

use std::net::IpAddr;

use data_encoding::BASE64;
use http::HeaderValue;

use super::error::{DialError, Peer};
use crate::config::{HttpProxy, ProxyCredentials, RelayUrl};
use crate::secret::Secret;

/// A proxy to go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Where it listens.
    pub(super) peer: Peer,
    /// `true` for an `https` proxy.
    pub(super) tls: bool,
    /// The value of `proxy-authorization`, marked sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

/// The environment's proxy variables, those that are set. Proxy URLs may hold passwords, so this cannot be printed.
#[derive(Clone, Default)]
pub(super) struct Variables(Vec<(&'static str, String)>);

impl Variables {
    /// Reads the environment of this process.
    pub(super) fn read() -> Self {
        let names = FOR_WSS.iter().chain(FOR_WS).chain(EXEMPT);
        Self(
            names
                .filter_map(|name| Some((*name, std::env::var(name).ok()?)))
                .collect(),
        )
    }

    #[cfg(test)]
    pub(super) fn of(variables: &[(&'static str, &str)]) -> Self {
        Self(
            variables
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        )
    }

    /// The first of `names` that is set to something.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        let value = |name| {
            self.0
                .iter()
                .find(|(n, value)| *n == name && !value.is_empty())
                .map(|(_, v)| v.as_str())
        };
        names.iter().find_map(|name| Some((*name, value(*name)?)))
    }
}

/// The proxy that the environment names for `url`.
pub(super) fn from_env(url: &RelayUrl, variables: &Variables) -> Result<Option<Route>, DialError> {
    let Some((name, value)) = variables.first(if url.tls { FOR_WSS } else { FOR_WS }) else {
        return Ok(None);
    };
    if variables
        .first(EXEMPT)
        .is_some_and(|(_, list)| is_exempt(list, &url.host, url.port))
    {
        return Ok(None);
    }
    // The value is not quoted: it may hold a password.
    parse(value)
        .map(Some)
        .map_err(|reason| local(format!("environment variable {name}: {reason}")))
}

/// The proxy that the configuration names; its password is read now.
pub(super) fn configured(proxy: &HttpProxy) -> Result<Route, DialError> {
    let authorization = match &proxy.credentials {
        Some(ProxyCredentials { username, password }) => {
            let password = Secret::read(password).map_err(|e| local(format!("the proxy's password: {e}")))?;
            Some(basic(username.as_bytes(), password.expose().as_bytes()).map_err(local)?)
        }
        None => None,
    };
    Ok(Route {
        peer: Peer::proxy(&proxy.host, proxy.port),
        tls: proxy.tls,
        authorization,
    })
}

/// Reads `[http[s]://][user[:password]@]host[:port][/]`.
fn parse(value: &str) -> Result<Route, String> {
    let (tls, rest) = match value.split_once("://") {
        None => (false, value),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some(_) => return Err("only http:// and https:// proxies can be used".to_owned()),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user_info, host_port) = match authority.rsplit_once('@') {
        Some((user_info, host_port)) => (Some(user_info), host_port),
        None => (None, authority),
    };
    let (host, port) = split_port(host_port).ok_or("the port must be a number from 1 to 65535")?;
    if host.is_empty() {
        return Err("there is no host in it".to_owned());
    }
    let authorization = match user_info.map(|info| info.split_once(':').unwrap_or((info, ""))) {
        Some((user, password)) => Some(basic(&percent_decoded(user), &percent_decoded(password))?),
        None => None,
    };
    let port = port.unwrap_or(if tls { 443 } else { 1080 });
    Ok(Route {
        peer: Peer::proxy(host, port),
        tls,
        authorization,
    })
}

fn basic(user: &[u8], password: &[u8]) -> Result<HeaderValue, String> {
    if user.contains(&b':') {
        return Err("a user name for a proxy cannot have a colon".to_owned());
    }
    let proof = BASE64.encode(&[user, b":", password].concat());
    let mut value =
        HeaderValue::from_str(&format!("Basic {proof}")).map_err(|_| "the credentials cannot be written".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            // Two hexadecimal digits fit a byte.
            decoded.push((high * 16 + low) as u8);
            rest = after;
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    decoded
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; `None` when the port is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match port.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
        None => port.is_empty().then_some((host, None)),
    }
}

/// Whether a `NO_PROXY` list names this host.
fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.');
    let entries = list
        .split(|c: char| c == ',' || c.is_ascii_whitespace())
        .filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| names(entry, host, port))
}

fn names(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let address: Option<IpAddr> = host.parse().ok();
    if let Some((network, bits)) = entry.split_once('/') {
        return address.is_some_and(|address| is_within(address, network, bits));
    }
    let Some((name, only_port)) = split_port(entry) else {
        return false;
    };
    if only_port.is_some_and(|only| only != port) {
        return false;
    }
    match (address, name.parse::<IpAddr>()) {
        (Some(address), Ok(entry)) => address == entry,
        (None, Err(_)) => is_domain_or_below(host, name),
        (Some(_), Err(_)) | (None, Ok(_)) => false,
    }
}

fn is_domain_or_below(host: &str, entry: &str) -> bool {
    let domain = entry
        .strip_prefix('*')
        .unwrap_or(entry)
        .trim_start_matches('.')
        .trim_end_matches('.');
    if domain.is_empty() {
        return false;
    }
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    host.strip_suffix(&domain)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn is_within(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (address, network.trim_matches(['[', ']']).parse()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) => {
            bits <= 32 && (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) => {
            bits <= 128 && (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
        }
        (_, Ok(_) | Err(_)) => false,
    }
}

fn local(reason: String) -> DialError {
    DialError::Local {
        code: "proxy_config",
        reason,
    }
}

/// For `wss://` relays, in the order of precedence.
const FOR_WSS: &[&str] = &[
    "wss_proxy",
    "WSS_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// For `ws://` relays, in the order of precedence.
const FOR_WS: &[&str] = &["ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"];

const EXEMPT: &[&str] = &["no_proxy", "NO_PROXY"];

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
