//! A tunnel through an HTTP proxy: CONNECT and its answer (RFC 9110 §9.3.6), written by hand over the proxy's connection.
//!
//! Deliberately absent: a second round with other credentials. Basic is sent at once or not at all.

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::USER_AGENT_VALUE;
use super::error::{DialError, Peer};
use super::stream::RelayStream;
use super::tls;

/// Asks `proxy` for a tunnel to `target` (`host:port`); what is then written to the stream goes there.
pub(super) async fn open(
    mut stream: RelayStream,
    proxy: &Peer,
    target: &str,
    authorization: Option<&HeaderValue>,
) -> Result<RelayStream, DialError> {
    let failed = |error: std::io::Error| match tls::fault(&error) {
        Some(fault) => DialError::Tls {
            peer: proxy.clone(),
            fault,
        },
        None => answer(proxy, error.to_string()),
    };
    stream
        .write_all(&request(target, authorization))
        .await
        .map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut received = Vec::new();
    loop {
        if let Some((head, rest)) = split_head(&received) {
            let (status, head) = read_status(head).ok_or_else(|| answer(proxy, "it is not HTTP".to_owned()))?;
            match status {
                100..=199 => received = rest.to_vec(),
                // Neither TLS nor a WebSocket lets the other end speak first.
                200..=299 if rest.is_empty() => return Ok(stream),
                200..=299 => return Err(answer(proxy, "it goes on after its answer".to_owned())),
                _ => return Err(refusal(proxy, target, status, head, authorization.is_some())),
            }
            continue;
        }
        if received.len() >= MAX_HEAD_BYTES {
            return Err(answer(proxy, format!("its head is longer than {MAX_HEAD_BYTES} bytes")));
        }
        if stream.read_buf(&mut received).await.map_err(failed)? == 0 {
            return Err(answer(
                proxy,
                "it closed the connection before its answer was complete".to_owned(),
            ));
        }
    }
}

fn request(target: &str, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let mut request =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT_VALUE}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The head without its empty line, and what follows.
fn split_head(received: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((received.get(..end)?, received.get(end + 4..)?))
}

/// The status, and the head's lines as text.
fn read_status(head: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut words = text.lines().next()?.split(' ');
    let version = words.next()?;
    let status = words.next().filter(|code| code.len() == 3)?.parse().ok()?;
    (version.starts_with("HTTP/1.") && status >= 100).then_some((status, text))
}

fn refusal(proxy: &Peer, target: &str, status: u16, head: String, sent: bool) -> DialError {
    let peer = proxy.clone();
    // tinyproxy answers 401 to credentials that it does not accept.
    if !matches!(status, 407 | 401) {
        return DialError::ProxyRefused {
            peer,
            status,
            target: target.to_owned(),
        };
    }
    let offered = schemes(&head);
    let basic = offered.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
    DialError::ProxyAuth {
        peer,
        status,
        sent,
        offered: if basic { Vec::new() } else { offered },
    }
}

/// The schemes of `proxy-authenticate`, one a line as proxies write them; their parameters are left out.
fn schemes(head: &str) -> Vec<String> {
    let is_scheme = |word: &&str| (1..=20).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric());
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authenticate"))
        .filter_map(|(_, value)| value.split_whitespace().next())
        .filter(is_scheme)
        .take(MAX_SCHEMES)
        .map(str::to_owned)
        .collect()
}

fn answer(proxy: &Peer, reason: String) -> DialError {
    DialError::ProxyAnswer {
        peer: proxy.clone(),
        reason,
    }
}

/// A proxy's answer to CONNECT is a few hundred bytes; its error page is not read.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Schemes that a message names.
const MAX_SCHEMES: usize = 5;

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
