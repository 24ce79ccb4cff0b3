//! From a host name to a TCP connection: every address is tried, the families in turn, a new one every 250 ms until one
//! answers (RFC 8305 without its finer points).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::error::{DialError, Peer};

/// How long an address has before the next one is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// The peer's addresses; an IP address is its own.
pub(super) async fn resolve(peer: &Peer) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(ip) = peer.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, peer.port)]);
    }
    let failed = |reason: String| DialError::Dns {
        peer: peer.clone(),
        reason,
    };
    let found = lookup_host((peer.host.as_str(), peer.port))
        .await
        .map_err(|e| failed(e.to_string()))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() {
        Err(failed("it has no address".to_owned()))
    } else {
        Ok(addresses)
    }
}

/// The first connection that any of `addresses` accepts.
pub(super) async fn connect(peer: &Peer, addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let tried = addresses.len();
    match race(interleave(addresses)).await {
        Ok(tcp) => Ok(tcp),
        Err((address, error)) => {
            let others = if tried > 1 {
                format!(", the last of {tried} addresses")
            } else {
                String::new()
            };
            Err(DialError::Connect {
                peer: peer.clone(),
                reason: format!("{error} ({address}{others})"),
            })
        }
    }
}

async fn race(mut waiting: VecDeque<SocketAddr>) -> Result<TcpStream, (SocketAddr, io::Error)> {
    let mut pending = FuturesUnordered::new();
    let mut last = (
        SocketAddr::from(([0, 0, 0, 0], 0)),
        io::Error::from(io::ErrorKind::AddrNotAvailable),
    );
    loop {
        if let Some(address) = waiting.pop_front() {
            pending.push(attempt(address));
        }
        let stagger = if waiting.is_empty() { Duration::MAX } else { STAGGER };
        match timeout(stagger, pending.next()).await {
            Ok(Some(Ok(tcp))) => return Ok(tcp),
            Ok(Some(Err(failure))) => last = failure,
            Ok(None) => return Err(last),
            Err(_elapsed) => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, (SocketAddr, io::Error)> {
    let tcp = TcpStream::connect(address).await.map_err(|e| (address, e))?;
    // Frames are flushed whole: waiting for more to send would only delay them.
    tcp.set_nodelay(true).map_err(|e| (address, e))?;
    Ok(tcp)
}

/// The two families in turn, each in the resolver's order, starting with the family that the resolver prefers.
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return VecDeque::new();
    };
    let total = addresses.len();
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut turns = VecDeque::with_capacity(total);
    while turns.len() < total {
        turns.extend(preferred.next());
        turns.extend(other.next());
    }
    turns
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_from_the_one_the_resolver_prefers() {
        let resolved = addresses(&["[::1]:1", "[::1]:2", "[::1]:3", "127.0.0.1:1"]);
        assert_eq!(
            interleave(resolved),
            addresses(&["[::1]:1", "127.0.0.1:1", "[::1]:2", "[::1]:3"])
        );
        let resolved = addresses(&["127.0.0.1:1", "127.0.0.1:2", "[::1]:1"]);
        assert_eq!(
            interleave(resolved),
            addresses(&["127.0.0.1:1", "[::1]:1", "127.0.0.1:2"])
        );
        assert_eq!(interleave(vec![]), addresses(&[]));
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let list = vec![closed.local_addr().unwrap(), open.local_addr().unwrap()];
        drop(closed);
        let tcp = connect(&Peer::relay("relay.test", 1), list).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), open.local_addr().unwrap());
        assert!(tcp.nodelay().unwrap());
    }

    #[tokio::test]
    async fn an_address_that_never_answers_does_not_keep_the_next_one_waiting() {
        // A listener with a full accept queue drops further SYNs, as a black hole does.
        let hole = tokio::net::TcpSocket::new_v4().unwrap();
        hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let hole = hole.listen(0).unwrap();
        let address = hole.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(tcp)) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            held.push(tcp);
        }
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let list = vec![address, open.local_addr().unwrap()];
        let tcp = connect(&Peer::relay("relay.test", 1), list).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), open.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_named() {
        let error = resolve(&Peer::relay("no-such-host.invalid", 443)).await.unwrap_err();
        assert_eq!(error.code(), "dns");
        assert!(error.to_string().contains("relay no-such-host.invalid:443"), "{error}");
        assert_eq!(
            resolve(&Peer::proxy("no-such-host.invalid", 1))
                .await
                .unwrap_err()
                .code(),
            "proxy_dns"
        );
    }

    #[tokio::test]
    async fn when_every_address_refuses_the_last_error_is_told() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let error = connect(&Peer::relay("relay.test", 7), vec![address, address])
            .await
            .unwrap_err();
        assert_eq!(error.code(), "connect");
        let text = error.to_string();
        assert!(
            text.contains("relay relay.test:7") && text.contains("refused") && text.contains("2 addresses"),
            "{text}"
        );
    }
}
