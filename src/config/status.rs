//! `status`: where the status server listens, the token of those who pause and resume relays there, and its page.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::defaults::{INSPECTOR_BODY_BYTES, STATUS_LISTEN};
use super::errors::shown;
use super::fields::Field;
use super::raw::Node;
use super::{Inspector, Status, secret_source};

/// Reads `status`; absent means the default address.
pub(super) fn read(field: Option<Field<'_>>) -> Option<Status> {
    let default = parse(STATUS_LISTEN)?;
    let Some(field) = field else {
        return Some(Status {
            listen: default,
            token: None,
            inspector: Some(Inspector::default()),
        });
    };
    let fields = field.object(&["listen", "token", "inspector"])?;
    let listen = fields.or("listen", default, |field| listen(&field));
    let token = fields.or("token", None, |field| secret_source::read(field).map(Some));
    let inspector = fields.or("inspector", Some(Inspector::default()), inspector);
    Some(Status {
        listen: listen?,
        token: token?,
        inspector: inspector?,
    })
}

/// `true`, `false`, or an object that says more.
fn inspector(field: Field<'_>) -> Option<Option<Inspector>> {
    match field.node {
        Node::Bool(on) => Some(on.then(Inspector::default)),
        Node::Object(_) => {
            let fields = field.object(&["bodies", "max_body_bytes"])?;
            let bodies = fields.flag("bodies");
            let most = fields.size("max_body_bytes", INSPECTOR_BODY_BYTES, &BODY_BYTES);
            let (bodies, most) = (bodies?, most?);
            let bodies = bodies.then_some(most);
            Some(Some(Inspector { bodies }))
        }
        Node::Null | Node::Number(_) | Node::Text(_) | Node::Array(_) => field.wrong(field.node.kind(), INSPECTOR),
    }
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

/// 32 requests of each relay are kept, so 16 MiB of it at most.
const BODY_BYTES: RangeInclusive<u64> = 256..=262_144;

const INSPECTOR: &str = "true, false or an object with the keys bodies, max_body_bytes";

const LISTEN: &str = "a loopback address and a port, such as 127.0.0.1:8841 (port 0 takes a free one and logs it)";
