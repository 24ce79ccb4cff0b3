use std::time::Duration;

use spectral_bridge::config::Config;
use spectral_bridge::relay::TlsFault;

use super::*;

fn relay(more: &str) -> Relay {
    let json = format!(r#"{{"relays":[{{"url":"wss://r.example/connect","api_key":{{"env":"K"}}{more}}}]}}"#);
    Config::from_json(json.as_bytes()).unwrap().relays.remove(0)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (seconds, shown) in [
        (0, "1970-01-01 00:00:00"),
        (951_782_400, "2000-02-29 00:00:00"),
        (1_709_251_199, "2024-02-29 23:59:59"),
        (1_798_761_599, "2026-12-31 23:59:59"),
        (4_107_542_400, "2100-03-01 00:00:00"),
    ] {
        assert_eq!(utc(at(seconds)), shown);
    }
}

#[test]
fn each_failure_belongs_to_a_check_and_its_advice_names_the_thing() {
    let (here, proxy) = (Peer::relay("r.example", 443), Peer::proxy("p.example", 3128));
    let tls = |peer: &Peer, fault| DialError::Tls {
        peer: peer.clone(),
        fault,
    };
    let timeout = |peer: &Peer, step| DialError::Timeout {
        peer: peer.clone(),
        step,
        limit: Duration::from_secs(10),
    };
    let status = |status| DialError::HandshakeStatus {
        peer: here.clone(),
        status,
    };
    let reason = String::new;
    let auth = |sent| DialError::ProxyAuth {
        peer: proxy.clone(),
        status: 407,
        sent,
        offered: Vec::new(),
    };
    for (error, id, words) in [
        (
            DialError::Dns {
                peer: here.clone(),
                reason: reason(),
            },
            Id::Dns,
            "getent hosts r.example",
        ),
        (
            DialError::Dns {
                peer: proxy.clone(),
                reason: reason(),
            },
            Id::Dns,
            "HTTPS_PROXY",
        ),
        (
            DialError::Connect {
                peer: here.clone(),
                reason: reason(),
            },
            Id::Tcp,
            "port 443",
        ),
        (
            DialError::Connect {
                peer: proxy.clone(),
                reason: reason(),
            },
            Id::Proxy,
            "p.example:3128",
        ),
        (auth(false), Id::Proxy, "USER:PASSWORD@"),
        (auth(true), Id::Proxy, "correct user name"),
        (
            DialError::ProxyRefused {
                peer: proxy.clone(),
                status: 403,
                target: "r.example:443".into(),
            },
            Id::Proxy,
            "allow CONNECT to r.example:443",
        ),
        (tls(&here, TlsFault::UnknownIssuer), Id::Tls, "--ca-file FILE"),
        (tls(&proxy, TlsFault::UnknownIssuer), Id::Proxy, "the proxy's"),
        (
            tls(&here, TlsFault::Expired(None)),
            Id::Tls,
            "clock says 1970-01-01 00:00:00 UTC",
        ),
        (tls(&here, TlsFault::NotValidYet(None)), Id::Tls, "timedatectl"),
        (tls(&here, TlsFault::NotTls), Id::Tls, "--insecure-relay"),
        (tls(&proxy, TlsFault::NotTls), Id::Proxy, "http://"),
        (timeout(&here, Step::Resolve), Id::Dns, "/etc/resolv.conf"),
        (timeout(&here, Step::Connect), Id::Tcp, "firewall"),
        (timeout(&proxy, Step::Tunnel), Id::Proxy, "p.example:3128"),
        (timeout(&here, Step::Tls), Id::Tls, "443"),
        (timeout(&here, Step::Handshake), Id::Handshake, "r.example:443"),
        (status(401), Id::Handshake, "environment variable K"),
        (status(404), Id::Handshake, "/connect"),
        (status(409), Id::Handshake, "another client"),
        (status(302), Id::Handshake, "redirects are not followed"),
        (status(200), Id::Handshake, "WebSockets"),
        (status(503), Id::Handshake, "in trouble"),
        (
            DialError::Local {
                code: "proxy_config",
                reason: reason(),
            },
            Id::Proxy,
            "NO_PROXY",
        ),
        (
            DialError::Local {
                code: "tls_config",
                reason: reason(),
            },
            Id::Tls,
            "--ca-file",
        ),
    ] {
        let said = advice(&error, &relay(""), at(0));
        assert_eq!(check_of(&error), id, "{error}");
        assert!(said.contains(words), "{error}: {said:?} lacks {words:?}");
    }
    let explicit = relay(r#","proxy":{"url":"http://p.example:3128"}"#);
    assert!(advice(&auth(false), &explicit, at(0)).contains("relays[].proxy.username"));
}
