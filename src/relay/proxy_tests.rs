use super::*;
use crate::config::SecretSource;
use crate::relay::testing::Scratch;

type Environment = &'static [(&'static str, &'static str)];

fn url(tls: bool, host: &str, port: u16) -> RelayUrl {
    RelayUrl {
        tls,
        host: host.to_owned(),
        port,
        path_and_query: "/connect".to_owned(),
    }
}

/// The proxy's `host:port` for `wss://relay.example.com`, or `ws://` without `tls`.
fn chosen(tls: bool, variables: &[(&'static str, &str)]) -> Option<String> {
    let route = from_env(&url(tls, "relay.example.com", 443), &Variables::of(variables)).unwrap();
    route.map(|route| route.peer.authority())
}

#[test]
fn the_scheme_chooses_the_variable_as_in_curl() {
    let cases: &[(bool, Environment, Option<&str>)] = &[
        (true, &[], None),
        (true, &[("HTTPS_PROXY", "http://a:1")], Some("a:1")),
        (
            true,
            &[("https_proxy", "http://b:1"), ("HTTPS_PROXY", "http://a:1")],
            Some("b:1"),
        ),
        (true, &[("https_proxy", ""), ("HTTPS_PROXY", "http://a:1")], Some("a:1")),
        (
            true,
            &[("wss_proxy", "http://c:1"), ("https_proxy", "http://b:1")],
            Some("c:1"),
        ),
        (true, &[("http_proxy", "http://a:1")], None),
        (true, &[("ALL_PROXY", "http://a:1")], Some("a:1")),
        (
            true,
            &[("all_proxy", "http://b:1"), ("ALL_PROXY", "http://a:1")],
            Some("b:1"),
        ),
        (
            true,
            &[("ALL_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://b:1")],
            Some("b:1"),
        ),
        (false, &[("http_proxy", "http://a:1")], Some("a:1")),
        (
            false,
            &[("ws_proxy", "http://b:1"), ("http_proxy", "http://a:1")],
            Some("b:1"),
        ),
        (false, &[("HTTPS_PROXY", "http://a:1")], None),
        (false, &[("ALL_PROXY", "http://a:1")], Some("a:1")),
    ];
    for (tls, variables, proxy) in cases {
        assert_eq!(chosen(*tls, variables).as_deref(), *proxy, "{variables:?}");
    }
}

#[test]
fn http_proxy_in_upper_case_is_never_read() {
    assert!(!FOR_WS.contains(&"HTTP_PROXY") && !FOR_WSS.contains(&"HTTP_PROXY"));
    assert_eq!(chosen(false, &[("HTTP_PROXY", "http://a:1")]), None);
}

#[test]
fn proxy_urls_are_read_as_curl_reads_them() {
    let cases = [
        ("http://proxy:3128", false, "proxy:3128"),
        ("http://proxy:3128/", false, "proxy:3128"),
        ("HTTP://proxy:3128", false, "proxy:3128"),
        ("proxy:3128", false, "proxy:3128"),
        ("proxy", false, "proxy:1080"),
        ("http://proxy", false, "proxy:1080"),
        ("https://proxy", true, "proxy:443"),
        ("http://[fd00::1]:8080", false, "[fd00::1]:8080"),
        ("10.0.0.1:8080", false, "10.0.0.1:8080"),
    ];
    for (value, tls, authority) in cases {
        let route = parse(value).unwrap();
        assert_eq!(
            (route.tls, route.peer.authority().as_str()),
            (tls, authority),
            "{value}"
        );
        assert_eq!((route.authorization, route.peer.proxy), (None, true), "{value}");
    }
}

#[test]
fn credentials_in_a_proxy_url_are_decoded_and_cannot_be_printed() {
    for (value, proof) in [
        ("http://user:pass@proxy:1", "user:pass"),
        ("user:pass@proxy:1", "user:pass"),
        ("http://user@proxy:1", "user:"),
        ("http://us%40er:p%3Aa%2fss@proxy:1", "us@er:p:a/ss"),
        ("http://user:p@ss%zz@proxy:1", "user:p@ss%zz"),
    ] {
        let route = parse(value).unwrap();
        assert_eq!(route.peer.authority(), "proxy:1");
        let shown = format!("{route:?}");
        let sent = route.authorization.unwrap();
        assert_eq!(
            sent.to_str().unwrap(),
            format!("Basic {}", BASE64.encode(proof.as_bytes())),
            "{value}"
        );
        assert!(shown.contains("Sensitive") && !shown.contains("Basic"), "{shown}");
    }
}

#[test]
fn a_variable_that_cannot_be_used_is_named_without_its_value() {
    for value in [
        "socks5://user:hunter2@proxy:1080",
        "http://user:hunter2@:1",
        "http://user:hunter2@proxy:99999",
    ] {
        let variables = Variables::of(&[("HTTPS_PROXY", value)]);
        let error = from_env(&url(true, "relay.test", 443), &variables).unwrap_err();
        assert_eq!(error.code(), "proxy_config");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("HTTPS_PROXY") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn no_proxy_exempts_hosts_domains_addresses_and_networks() {
    let cases = [
        ("*", "relay.test", true),
        ("other.test, *", "relay.test", true),
        ("relay.test", "relay.test", true),
        ("RELAY.Test", "relay.TEST", true),
        ("relay.test.", "relay.test", true),
        ("relay.test", "relay.test.", true),
        ("example.com", "relay.example.com", true),
        (".example.com", "relay.example.com", true),
        ("*.example.com", "relay.example.com", true),
        (".example.com", "example.com", true),
        ("example.com", "badexample.com", false),
        ("relay.example.com", "example.com", false),
        ("a.test,b.test relay.test", "relay.test", true),
        ("", "relay.test", false),
        (",, ", "relay.test", false),
        (".", "relay.test", false),
        ("relay.test:443", "relay.test", true),
        ("relay.test:8443", "relay.test", false),
        ("relay.test:x", "relay.test", false),
        ("10.1.2.3", "10.1.2.3", true),
        ("10.1.2.3:443", "10.1.2.3", true),
        ("10.1.2.3:80", "10.1.2.3", false),
        ("2.3", "10.1.2.3", false),
        ("10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "11.1.2.3", false),
        ("10.1.2.0/31", "10.1.2.1", true),
        ("10.1.2.0/31", "10.1.2.2", false),
        ("0.0.0.0/0", "10.1.2.3", true),
        ("10.0.0.0/33", "10.0.0.0", false),
        ("10.0.0.0/x", "10.0.0.0", false),
        ("10.0.0.0/8", "relay.test", false),
        ("::1", "::1", true),
        ("[::1]", "::1", true),
        ("[::1]:443", "::1", true),
        ("fd00::/8", "fd12::1", true),
        ("fd00::/8", "fe80::1", false),
        ("::/0", "10.1.2.3", false),
    ];
    for (list, host, expected) in cases {
        assert_eq!(is_exempt(list, host, 443), expected, "{list:?} {host}");
    }
    let both = [
        ("HTTPS_PROXY", "http://proxy:1"),
        ("NO_PROXY", "example.com"),
        ("no_proxy", "else.test"),
    ];
    assert_eq!(chosen(true, &both).as_deref(), Some("proxy:1"), "lower case goes first");
    assert_eq!(chosen(true, &both[..2]), None);
}

#[test]
fn a_configured_proxy_gets_its_password_from_where_it_is_kept() {
    let scratch = Scratch::new();
    let mut proxy = HttpProxy {
        tls: true,
        host: "proxy".to_owned(),
        port: 3128,
        credentials: None,
    };
    assert_eq!(configured(&proxy).unwrap().authorization, None);
    let password = SecretSource::File(scratch.file("password", "pass\n"));
    proxy.credentials = Some(ProxyCredentials {
        username: "user".to_owned(),
        password,
    });
    let route = configured(&proxy).unwrap();
    assert!(route.tls);
    assert_eq!(route.authorization.unwrap().to_str().unwrap(), "Basic dXNlcjpwYXNz");
    let password = SecretSource::File(scratch.path().join("absent"));
    proxy.credentials = Some(ProxyCredentials {
        username: "user".to_owned(),
        password,
    });
    let error = configured(&proxy).unwrap_err();
    assert_eq!(error.code(), "proxy_config");
    assert!(error.to_string().contains("absent"), "{error}");
}
