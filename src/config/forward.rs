//! `forward`: Envoy's local listener, and the headers that are set on the way to it.

use std::path::PathBuf;

use super::errors::shown;
use super::fields::Field;
use super::raw::Node;
use super::{Forward, ForwardHeader, ForwardTo};
use super::{defaults, headers, secret_source, url};

/// What was written; what is absent is somebody else's to say.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    to: Option<ForwardTo>,
    authority: Option<String>,
    headers: Option<Vec<ForwardHeader>>,
}

impl Parts {
    /// These, and where they say nothing, the `common` ones.
    pub(super) fn over(self, common: &Self) -> Self {
        Self {
            to: self.to.or_else(|| common.to.clone()),
            authority: self.authority.or_else(|| common.authority.clone()),
            headers: self.headers.or_else(|| common.headers.clone()),
        }
    }

    /// With Envoy's Unix socket, its name and no headers where they say nothing.
    pub(super) fn whole(self) -> Forward {
        let to = self.to.unwrap_or_else(default_to);
        let authority = self.authority.unwrap_or_else(|| match &to {
            ForwardTo::Unix(_) => defaults::FORWARD_AUTHORITY.to_owned(),
            ForwardTo::Tcp { host, port } => url::authority(host, *port),
        });
        let headers = self.headers.unwrap_or_default();
        Forward { to, authority, headers }
    }
}

/// Reads `forward`.
pub(super) fn read(field: Option<Field<'_>>) -> Option<Parts> {
    let Some(field) = field else {
        return Some(Parts::default());
    };
    let fields = field.object(&["to", "authority", "headers", "insecure_forward"])?;
    let insecure = fields.flag("insecure_forward");
    let to = fields.or("to", None, |field| address(&field, insecure).map(Some));
    let authority = fields.or("authority", None, |field| authority(&field).map(Some));
    let headers = fields.or("headers", None, |field| set_headers(&field).map(Some));
    insecure?;
    Some(Parts {
        to: to?,
        authority: authority?,
        headers: headers?,
    })
}

fn default_to() -> ForwardTo {
    ForwardTo::Unix(PathBuf::from(defaults::FORWARD_TO))
}

/// `insecure` is `None` when it was itself a mistake, and then no second one is made of it.
fn address(field: &Field<'_>, insecure: Option<bool>) -> Option<ForwardTo> {
    let text = field.text(TO)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(field, path, TO);
    }
    if text.starts_with("https:") {
        return field.wrong(
            "https:// is not spoken here",
            format!("TLS to the model belongs to Envoy's cluster; {TO}"),
        );
    }
    let parts = url::read(field, &["http", "unix"], TO)?;
    if parts.path_and_query != "/" {
        return field.wrong(
            "an address with a path or query",
            format!("paths belong to Envoy's routes; {TO}"),
        );
    }
    // PROTOCOL §1, §2.1: over localhost; an adapter whose host is not a loopback address is rejected without an opt-out
    if !url::is_loopback(&parts.host) && insecure == Some(false) {
        let allowed = "a loopback address (localhost, 127.0.0.0/8, ::1), or insecure_forward: true";
        return field.wrong(format!("{} is not on this host", shown(&parts.host)), allowed);
    }
    Some(ForwardTo::Tcp {
        host: parts.host,
        port: parts.port.unwrap_or(80),
    })
}

/// What follows `unix:`; `allowed` says what belongs here.
pub(super) fn unix(field: &Field<'_>, path: &str, allowed: &str) -> Option<ForwardTo> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') || path.contains(char::is_control) {
        return field.wrong(format!("{} is not the absolute path of a socket", shown(path)), allowed);
    }
    if path.len() > MAX_SOCKET_PATH {
        return field.wrong(
            format!("a path of {} bytes", path.len()),
            format!("at most {MAX_SOCKET_PATH} bytes"),
        );
    }
    Some(ForwardTo::Unix(PathBuf::from(path)))
}

fn authority(field: &Field<'_>) -> Option<String> {
    let allowed = "a host name with an optional port";
    let text = field.text(allowed)?;
    if text.contains('@') {
        return field.wrong("an authority with credentials in it (not shown)", allowed);
    }
    match text.parse::<http::uri::Authority>() {
        Ok(authority) if !authority.host().is_empty() => Some(text.to_owned()),
        Ok(_) | Err(_) => field.wrong(format!("{} is not an authority", shown(text)), allowed),
    }
}

fn set_headers(field: &Field<'_>) -> Option<Vec<ForwardHeader>> {
    let members = field.named("headers, each {env | file, prefix}")?;
    let mut set: Vec<ForwardHeader> = Vec::new();
    let mut complete = true;
    for (text, member) in members {
        let name = headers::forward_name(&member, text);
        let value = set_header(member.clone());
        match name.zip(value) {
            Some((name, _)) if set.iter().any(|h| h.name == name) => {
                member.wrong::<()>("written twice, in different case", "write each header once");
            }
            Some((name, (value, prefix))) => set.push(ForwardHeader { name, prefix, value }),
            None => complete = false,
        }
    }
    complete.then_some(set)
}

fn set_header(member: Field<'_>) -> Option<(super::SecretSource, String)> {
    if let Some(inline) = secret_source::refuse_inline(&member) {
        return inline;
    }
    let fields = member.object(&["env", "file", "prefix"])?;
    let value = secret_source::read_from(&fields);
    let prefix = fields.or("prefix", String::new(), |field| prefix(&field));
    Some((value?, prefix?))
}

fn prefix(field: &Field<'_>) -> Option<String> {
    let allowed = "up to 32 characters of visible ASCII, such as \"Bearer \"";
    let Node::Text(text) = field.node else {
        return field.wrong(field.node.kind(), allowed);
    };
    let fits = text.len() <= MAX_PREFIX && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    // Not shown: a long prefix is probably the secret.
    if fits {
        Some(text.clone())
    } else {
        field.wrong("not a prefix (not shown, it may be a secret)", allowed)
    }
}

const TO: &str = "Envoy's own listener, as unix:///run/spectral-bridge/adapter.sock or http://127.0.0.1:PORT";
/// `sun_path` less its closing NUL.
const MAX_SOCKET_PATH: usize = 107;
const MAX_PREFIX: usize = 32;
