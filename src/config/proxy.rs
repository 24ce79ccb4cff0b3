//! `relays[].proxy`: `env`, `none`, or an HTTP proxy that speaks CONNECT.

use super::fields::{Field, Fields};
use super::raw::Node;
use super::{HttpProxy, Proxy, ProxyCredentials};
use super::{secret_source, url};

/// Reads `proxy`.
pub(super) fn read(relay: &Fields<'_>) -> Option<Proxy> {
    relay.or("proxy", Proxy::FromEnv, |field| match field.node {
        Node::Text(text) if text == "env" => Some(Proxy::FromEnv),
        Node::Text(text) if text == "none" => Some(Proxy::None),
        // Not shown: people write URLs with credentials here.
        Node::Text(_) => field.wrong("a string other than env and none", ALLOWED),
        Node::Object(_) => http(field).map(Proxy::Http),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array(_) => field.wrong(field.node.kind(), ALLOWED),
    })
}

fn http(field: Field<'_>) -> Option<HttpProxy> {
    let fields = field.object(&["url", "username", "password"])?;
    let parts = fields.required("url", URL).and_then(|field| {
        let parts = url::read(&field, &["http", "https"], URL)?;
        if parts.path_and_query != "/" {
            return field.wrong("a proxy's URL with a path or query", URL);
        }
        Some(parts)
    });
    let credentials = credentials(&fields);
    let (parts, credentials) = (parts?, credentials?);
    let tls = parts.scheme == "https";
    Some(HttpProxy {
        tls,
        host: parts.host,
        port: parts.port.unwrap_or(if tls { 443 } else { 80 }),
        credentials,
    })
}

fn credentials(fields: &Fields<'_>) -> Option<Option<ProxyCredentials>> {
    match (fields.get("username"), fields.get("password")) {
        (None, None) => Some(None),
        (Some(name), Some(password)) => {
            let (username, password) = (username(&name), secret_source::read(password));
            Some(Some(ProxyCredentials {
                username: username?,
                password: password?,
            }))
        }
        (Some(name), None) => name.wrong("without password", "both username and password, or neither"),
        (None, Some(password)) => password.wrong("without username", "both username and password, or neither"),
    }
}

fn username(field: &Field<'_>) -> Option<String> {
    let allowed = "a user name of visible ASCII without a colon (RFC 7617)";
    let Node::Text(name) = field.node else {
        return field.wrong(field.node.kind(), allowed);
    };
    let fits =
        !name.is_empty() && name.len() <= MAX_USERNAME && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    // Not shown: `user:password` is the likely mistake.
    if fits {
        Some(name.clone())
    } else {
        field.wrong("not a user name (not shown)", allowed)
    }
}

const ALLOWED: &str = "env, none, or {url: http://proxy:3128} with username and password: {env | file} where needed";
const URL: &str = "the proxy's URL, such as http://proxy:3128, with username and password in keys of their own";
const MAX_USERNAME: usize = 256;
