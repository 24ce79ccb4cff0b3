//! One entry of `relays`, and what must hold between entries.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::errors::shown;
use super::fields::{Field, Fields};
use super::raw::Node;
use super::{ProtocolChoice, Relay, RelayUrl, ResponsePolicy, SecretSource};
use super::{
    budget, defaults, duration, forward, headers, keepalive, labels, proxy, schedule, secret_source, tls, url,
};
use crate::protocol::{endpoint, text_only};

/// Reads `relays`, each with what it says of its own `forward`; there may be none when the process is `busy` otherwise.
pub(super) fn read_all(fields: &Fields<'_>, busy: bool) -> Option<Vec<Read>> {
    let field = match fields.get("relays") {
        Some(field) => field,
        None if busy => return Some(Vec::new()),
        None => return fields.required("relays", SOME_JOB).and(None),
    };
    let items = field.items("relays")?;
    if items.is_empty() && !busy {
        return field.wrong("0 relays", SOME_JOB);
    }
    if items.len() > defaults::MAX_RELAYS {
        return field.wrong(
            format!("{} relays", items.len()),
            format!("at most {}", defaults::MAX_RELAYS),
        );
    }
    let only = items.len() == 1;
    let opened: Vec<Option<Fields<'_>>> = items.iter().map(|item| item.clone().object(&KEYS)).collect();
    let identities: Vec<Identity> = opened
        .iter()
        .map(|fields| fields.as_ref().map(|f| identity(f, only)).unwrap_or_default())
        .collect();
    refuse_twins(&items, &identities);
    let relays: Vec<Option<Read>> = opened
        .iter()
        .zip(identities)
        .map(|(fields, identity)| read(fields.as_ref()?, identity))
        .collect();
    relays.into_iter().collect()
}

const SOME_JOB: &str = "an array of at least one relay, or another job: gateway or chat";
/// A relay, and what it says of its own `forward`.
pub(super) type Read = (Relay, Option<forward::Parts>);

/// The relays; each key of a `forward` of their own that is absent is as in the `common` one.
pub(super) fn with_forward(relays: Vec<Read>, common: &forward::Parts) -> Vec<Relay> {
    let whole = |(relay, own): Read| Relay {
        forward: own.map(|own| own.over(common).whole()),
        ..relay
    };
    relays.into_iter().map(whole).collect()
}

/// What tells relays apart. Each part is `None` when it was a mistake.
#[derive(Default)]
struct Identity {
    name: Option<String>,
    url: Option<RelayUrl>,
    api_key: Option<SecretSource>,
}

fn identity(fields: &Fields<'_>, only: bool) -> Identity {
    let name = name(fields, only);
    let insecure = fields.flag("insecure");
    let url = fields
        .required("url", URL)
        .and_then(|field| relay_url(&field, insecure));
    let api_key = fields
        .required("api_key", secret_source::USE)
        .and_then(secret_source::read);
    Identity { name, url, api_key }
}

fn read(fields: &Fields<'_>, identity: Identity) -> Option<Read> {
    let protocol = fields.or("protocol", ProtocolChoice::Auto, |field| protocol(&field));
    let tls = tls::read(fields, identity.url.as_ref());
    let proxy = proxy::read(fields);
    let keepalive = keepalive::read(fields);
    let request_timeout = duration::read(
        fields,
        "request_timeout",
        defaults::REQUEST_TIMEOUT,
        &defaults::REQUEST_TIMEOUT_RANGE,
    );
    let shutdown_grace = duration::read(
        fields,
        "shutdown_grace",
        defaults::SHUTDOWN_GRACE,
        &defaults::SHUTDOWN_GRACE_RANGE,
    );
    let limits = limits(fields);
    let policy = fields.or("response_policy", ResponsePolicy::default(), |field| policy(&field));
    let paths = fields.or("paths", defaults::PATHS.map(str::to_owned).to_vec(), |field| {
        paths(&field, policy)
    });
    let forward = fields.or("forward", None, |field| forward::read(Some(field)).map(Some));
    let labels = fields.or("labels", Vec::new(), |field| labels::read(&field));
    let response_headers = fields.or("response_headers", Vec::new(), |field| {
        headers::read_response_headers(&field)
    });
    let budget = budget::read(fields);
    let schedule = schedule::read(fields);
    let limits = limits?;
    let relay = Relay {
        name: identity.name?,
        url: identity.url?,
        api_key: identity.api_key?,
        protocol: protocol?,
        tls: tls?,
        proxy: proxy?,
        keepalive: keepalive?,
        max_frame_bytes: limits.frame_bytes,
        request_timeout: request_timeout?,
        shutdown_grace: shutdown_grace?,
        max_in_flight: limits.in_flight,
        max_queued: limits.queued,
        max_held_bytes: limits.held_bytes,
        paths: paths?,
        response_policy: policy?,
        response_headers: response_headers?,
        forward: None,
        labels: labels?,
        budget: budget?,
        schedule: schedule?,
    };
    Some((relay, forward?))
}

fn name(fields: &Fields<'_>, only: bool) -> Option<String> {
    let allowed = "1 to 64 of A-Z a-z 0-9 . _ -, with at least one letter or digit";
    let field = match fields.get("name") {
        Some(field) => field,
        None if only => return Some(defaults::RELAY_NAME.to_owned()),
        None => fields.required("name", "with several relays, each needs a name of its own")?,
    };
    let name = field.text(allowed)?;
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    // A name is a segment of a status URL, where `.` and `..` mean something else.
    let fits = name.len() <= MAX_NAME && name.bytes().all(ok) && name.bytes().any(|b| b.is_ascii_alphanumeric());
    if fits {
        Some(name.to_owned())
    } else {
        field.wrong(format!("{} is not a name", shown(name)), allowed)
    }
}

/// `insecure` is `None` when it was itself a mistake, and then no second one is made of it.
fn relay_url(field: &Field<'_>, insecure: Option<bool>) -> Option<RelayUrl> {
    let parts = url::read(field, &["wss", "ws"], URL)?;
    let tls = parts.scheme == "wss";
    // PROTOCOL §2.1: must use TLS; plain ws:// is not permitted unless the operator explicitly opts in
    if !tls && insecure == Some(false) {
        return field.wrong(
            "ws:// is not encrypted",
            "use wss://, or set insecure: true for development on one host",
        );
    }
    let port = parts.port.unwrap_or(if tls { 443 } else { 80 });
    Some(RelayUrl {
        tls,
        host: parts.host,
        port,
        path_and_query: parts.path_and_query,
    })
}

fn protocol(field: &Field<'_>) -> Option<ProtocolChoice> {
    let allowed = "auto, 1 or 2";
    match field.node {
        Node::Text(text) if text == "auto" => Some(ProtocolChoice::Auto),
        Node::Text(text) if !matches!(text.as_str(), "1" | "2") => field.wrong(shown(text), allowed),
        Node::Text(_) | Node::Number(_) => match field.integer(&(1..=2))? {
            1 => Some(ProtocolChoice::V1),
            _ => Some(ProtocolChoice::V2),
        },
        Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_) => field.wrong(field.node.kind(), allowed),
    }
}

struct Limits {
    frame_bytes: usize,
    in_flight: usize,
    queued: usize,
    held_bytes: usize,
}

fn limits(fields: &Fields<'_>) -> Option<Limits> {
    let frame_bytes = fields.size("max_frame_bytes", defaults::MAX_FRAME_BYTES, &defaults::MAX_FRAME_RANGE);
    let in_flight = fields.size("max_in_flight", defaults::MAX_IN_FLIGHT, &defaults::MAX_IN_FLIGHT_RANGE);
    let queued = fields.size("max_queued", defaults::MAX_QUEUED, &defaults::MAX_QUEUED_RANGE);
    // A frame that could never be held could never be answered.
    let least = frame_bytes.map_or(*defaults::MAX_FRAME_RANGE.start(), |bytes| bytes as u64);
    let held_range: RangeInclusive<u64> = least..=defaults::MAX_HELD_LIMIT;
    let held_bytes = fields.size("max_held_bytes", defaults::MAX_HELD_BYTES, &held_range);
    Some(Limits {
        frame_bytes: frame_bytes?,
        in_flight: in_flight?,
        queued: queued?,
        held_bytes: held_bytes?,
    })
}

fn policy(field: &Field<'_>) -> Option<ResponsePolicy> {
    let allowed = "passthrough or text_only";
    match field.text(allowed)? {
        "passthrough" => Some(ResponsePolicy::Passthrough),
        "text_only" => Some(ResponsePolicy::TextOnly),
        other => field.wrong(shown(other), allowed),
    }
}

fn paths(field: &Field<'_>, policy: Option<ResponsePolicy>) -> Option<Vec<String>> {
    let known: Vec<&str> = match policy {
        // of other endpoints' answers the contract has nothing to keep
        Some(ResponsePolicy::TextOnly) => text_only::PATHS.to_vec(),
        Some(ResponsePolicy::Passthrough) | None => endpoint::ENDPOINTS.map(|endpoint| endpoint.path).to_vec(),
    };
    let allowed = format!("some of {}", known.join(", "));
    let items = field.items("paths")?;
    if items.is_empty() {
        return field.wrong("no paths", allowed);
    }
    let mut paths: Vec<String> = Vec::new();
    let mut complete = true;
    for item in &items {
        match item.text(&allowed) {
            // PROTOCOL §2.2: the client accepts only the protocol-defined endpoints; any other must be named here
            Some(path) if !known.contains(&path) => {
                let problem = match endpoint::find(path) {
                    Some(_) => format!(
                        "{} has no answers that response_policy text_only could reduce",
                        shown(path)
                    ),
                    None => format!("{} is not a path that can be opened", shown(path)),
                };
                item.wrong::<()>(problem, &allowed);
            }
            Some(path) if paths.iter().any(|p| p == path) => {
                item.wrong::<()>(format!("{} is there twice", shown(path)), "each path once");
            }
            Some(path) => paths.push(path.to_owned()),
            None => complete = false,
        }
    }
    complete.then_some(paths)
}

/// Names are unique, and one client serves a key at a time.
fn refuse_twins(items: &[Field<'_>], identities: &[Identity]) {
    let mut names = HashMap::new();
    let mut tunnels = HashMap::new();
    for (i, (item, identity)) in items.iter().zip(identities).enumerate() {
        if let Some(name) = &identity.name
            && let Some(first) = names.insert(name, i)
        {
            let problem = format!("{} is also the name of relays[{first}]", shown(name));
            item.mistakes
                .add::<()>(&item.place.key("name"), problem, "a name of its own for each relay");
        }
        // PROTOCOL §2.5: one client process serves a key at a time
        if let Some(tunnel) = identity.url.as_ref().zip(identity.api_key.as_ref())
            && let Some(first) = tunnels.insert(tunnel, i)
        {
            let allowed = "one relay per key: two would take the connection from each other";
            item.wrong::<()>(format!("the same url and api_key as relays[{first}]"), allowed);
        }
    }
}

const KEYS: [&str; 21] = [
    "name",
    "url",
    "api_key",
    "protocol",
    "insecure",
    "tls",
    "proxy",
    "keepalive",
    "max_frame_bytes",
    "request_timeout",
    "shutdown_grace",
    "max_in_flight",
    "max_queued",
    "max_held_bytes",
    "paths",
    "response_policy",
    "response_headers",
    "forward",
    "labels",
    "budget",
    "schedule",
];

const URL: &str = "the relay's WebSocket URL, such as wss://relay.example.com/connect";

const MAX_NAME: usize = 64;
