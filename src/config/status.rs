//! `status`: where the status server listens, and the token of those who pause and resume relays there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::defaults::STATUS_LISTEN;
use super::errors::shown;
use super::fields::Field;
use super::{Status, secret_source};

/// Reads `status`; absent means the default address.
pub(super) fn read(field: Option<Field<'_>>) -> Option<Status> {
    let default = parse(STATUS_LISTEN)?;
    let Some(field) = field else {
        return Some(Status {
            listen: default,
            token: None,
        });
    };
    let fields = field.object(&["listen", "token"])?;
    let listen = fields.or("listen", default, |field| listen(&field));
    let token = fields.or("token", None, |field| secret_source::read(field).map(Some));
    Some(Status {
        listen: listen?,
        token: token?,
    })
}

fn listen(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.text(LISTEN)?;
    let Some(address) = parse(text) else {
        return field.wrong(format!("{} is not an address and port", shown(text)), LISTEN);
    };
    if !address.ip().is_loopback() {
        let problem = format!(
            "{} is not a loopback address, and reading the status needs no token",
            shown(text)
        );
        return field.wrong(problem, LISTEN);
    }
    Some(address)
}

fn parse(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?)),
        None => text.parse().ok(),
    }
}

const LISTEN: &str = "a loopback address and a port, such as 127.0.0.1:8841 (port 0 takes a free one and logs it)";
