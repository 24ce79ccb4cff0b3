//! URLs in parts: `scheme://host[:port][/path?query]`, nothing else.
//!
//! A URL with credentials is refused without being shown, and a query is never shown: either may hold a secret.

use std::net::IpAddr;

use http::Uri;

use super::errors::shown;
use super::fields::Field;

/// A URL that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// In lower case.
    pub(super) scheme: String,
    /// Without brackets.
    pub(super) host: String,
    /// As written.
    pub(super) port: Option<u16>,
    /// At least `/`.
    pub(super) path_and_query: String,
}

/// Reads a URL with one of `schemes`; `allowed` says what belongs here.
pub(super) fn read(field: &Field<'_>, schemes: &[&str], allowed: &str) -> Option<Parts> {
    let text = field.text(allowed)?;
    if text.contains('@') {
        return field.wrong("a URL with credentials in it (not shown)", allowed);
    }
    // What may be quoted: everything before a query.
    let quoted = shown(text.split('?').next().unwrap_or_default());
    let Some((scheme, rest)) = text.split_once("://") else {
        return field.wrong(format!("{quoted} is not a URL"), allowed);
    };
    let scheme = scheme.to_ascii_lowercase();
    if !schemes.contains(&scheme.as_str()) {
        return field.wrong(format!("{quoted} is not {}", any_of(schemes)), allowed);
    }
    if rest.contains('#') {
        return field.wrong(format!("{quoted} has a fragment (#)"), allowed);
    }
    match parse(scheme, text) {
        Ok(parts) => Some(parts),
        Err(why) => field.wrong(format!("{quoted} {why}"), allowed),
    }
}

/// `true` for an address that cannot leave this host, as PROTOCOL §2.1 lists them.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `host:port`, an IPv6 address in brackets.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn parse(scheme: String, text: &str) -> Result<Parts, &'static str> {
    if !text.is_ascii() {
        return Err("has letters outside ASCII (write an international host name in its xn-- form)");
    }
    let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
    let written = uri.authority().ok_or("has no host")?;
    let host = written.host();
    let port = written.as_str().strip_prefix(host).ok_or("is not a URL")?;
    let port = match port.strip_prefix(':') {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            Ok(_) | Err(_) => return Err("has no valid port"),
        },
    };
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err("has no host");
    }
    if rustls_pki_types::ServerName::try_from(host).is_err() {
        return Err("has a host that is neither a DNS name nor an IP address");
    }
    let path_and_query = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
        .to_owned();
    let path_and_query = if path_and_query.starts_with('?') {
        format!("/{path_and_query}")
    } else {
        path_and_query
    };
    Ok(Parts {
        scheme,
        host: host.to_ascii_lowercase(),
        port,
        path_and_query,
    })
}

fn any_of(schemes: &[&str]) -> String {
    schemes
        .iter()
        .map(|s| format!("{s}://"))
        .collect::<Vec<_>>()
        .join(" or ")
}
