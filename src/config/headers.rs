//! Which header names a user may speak about.

use http::HeaderName;

use super::errors::shown;
use super::fields::Field;
use crate::protocol::headers::HOP_BY_HOP;

/// Response headers that are passed on besides `content-type`; repeated and connection-level names are mistakes.
pub(super) fn read_response_headers(field: &Field<'_>) -> Option<Vec<HeaderName>> {
    let items = field.items("header names")?;
    if items.len() > MAX_HEADERS {
        return field.wrong(format!("{} names", items.len()), format!("at most {MAX_HEADERS}"));
    }
    let mut names: Vec<HeaderName> = Vec::new();
    let mut complete = true;
    for item in &items {
        match response_header(item) {
            Some(name) if names.contains(&name) => {
                item.wrong::<()>(format!("{} is there twice", shown(name.as_str())), "each name once");
            }
            // Passed on in any case; naming it changes nothing.
            Some(name) if name == http::header::CONTENT_TYPE => {}
            Some(name) => names.push(name),
            None => complete = false,
        }
    }
    complete.then_some(names)
}

/// The name of a header that is set on every forwarded request.
pub(super) fn forward_name(field: &Field<'_>, text: &str) -> Option<HeaderName> {
    let allowed = "the name of an end-to-end request header, such as authorization";
    let Ok(name) = HeaderName::try_from(text) else {
        return field.wrong("not a header name", allowed);
    };
    let ours = OURS.iter().any(|prefix| name.as_str().starts_with(prefix));
    if is_hop_by_hop(&name) || name == http::header::HOST || name == http::header::CONTENT_LENGTH || ours {
        return field.wrong(
            "cannot be set: it belongs to Envoy, to the connection or to this module",
            allowed,
        );
    }
    Some(name)
}

fn response_header(item: &Field<'_>) -> Option<HeaderName> {
    let allowed = "the name of an end-to-end response header";
    let text = item.text(allowed)?;
    let Ok(name) = HeaderName::try_from(text) else {
        return item.wrong(format!("{} is not a header name", shown(text)), allowed);
    };
    // These two describe the bytes of this hop; the relay's caller gets other bytes.
    let hop = name == http::header::CONTENT_LENGTH || name == http::header::CONTENT_ENCODING;
    if hop || is_hop_by_hop(&name) {
        return item.wrong(
            format!("{} ends at this hop and is never passed on", shown(name.as_str())),
            allowed,
        );
    }
    Some(name)
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// Prefixes that only Envoy and this module may write.
const OURS: [&str; 2] = ["x-envoy-", "x-spectral-bridge-"];

const MAX_HEADERS: usize = 64;
