//! What a request to the status server asks for, and whether it may: pure, so that every refusal is a table in a test.
//!
//! The server only listens on loopback, but a browser on the same machine can be led there by any web page. So the `Host`
//! must name a loopback address (DNS rebinding), and so must the `Origin`, when there is one (requests across sites).

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::inspect;

/// A request that is understood and allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// `GET /healthz`.
    Health,
    /// `GET /readyz`.
    Ready,
    /// `GET /status`.
    Status,
    /// The inspector.
    Inspect(inspect::Asked),
    /// `POST /drain`.
    Drain {
        /// Answer when the drain is over.
        wait: bool,
    },
    /// `POST /relays/{name}/reconnect`.
    Reconnect(String),
    /// `POST /pause`, `POST /relays/{name}/pause` and the same with `resume`; only with the token.
    Pause {
        /// Every relay when absent.
        name: Option<String>,
        /// Pause, or resume.
        pause: bool,
    },
}

/// A request that is not answered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 403: from a place that may not ask.
    Forbidden(String),
    /// 404: no such resource.
    NotFound,
    /// 405: another method.
    MethodNotAllowed {
        /// The methods that are allowed, as the `allow` header has them.
        allow: &'static str,
    },
    /// 400: a query that is not understood.
    BadQuery(String),
}

/// Reads the head of a request.
pub(super) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Asked, Refusal> {
    check_host(uri, headers)?;
    check_origin(headers)?;
    let asked = match uri.path() {
        "/healthz" => Asked::Health,
        "/readyz" => Asked::Ready,
        "/status" => Asked::Status,
        "/drain" => Asked::Drain {
            wait: wait(uri.query())?,
        },
        "/pause" => Asked::Pause {
            name: None,
            pause: true,
        },
        "/resume" => Asked::Pause {
            name: None,
            pause: false,
        },
        path => inspected(path, uri.query())
            .or_else(|| one_relay(path))
            .ok_or(Refusal::NotFound)?,
    };
    if let Asked::Inspect(asked) = &asked {
        check_site(asked, headers)?;
    }
    let allow = match &asked {
        Asked::Health | Asked::Ready | Asked::Status | Asked::Inspect(_) => "GET, HEAD",
        Asked::Drain { .. } | Asked::Reconnect(_) | Asked::Pause { .. } => "POST",
    };
    if allow.split(", ").any(|allowed| allowed == method.as_str()) {
        Ok(asked)
    } else {
        Err(Refusal::MethodNotAllowed { allow })
    }
}

fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let named = hosts.next().and_then(|host| host.to_str().ok());
    let once = hosts.next().is_none();
    // `GET http://name/ HTTP/1.1`: the target's name counts as well.
    let target = uri.authority().is_none_or(|authority| is_loopback(authority.as_str()));
    match named {
        Some(host) if once && target && is_loopback(host) => Ok(()),
        _ => Err(Refusal::Forbidden(
            "the host header must name this machine: localhost, 127.0.0.1 or [::1], with any port".to_owned(),
        )),
    }
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let local = |origin: &str| {
        origin
            .split_once("://")
            .is_some_and(|(_scheme, rest)| is_loopback(rest))
    };
    if headers
        .get_all(ORIGIN)
        .iter()
        .all(|origin| origin.to_str().is_ok_and(local))
    {
        return Ok(());
    }
    Err(Refusal::Forbidden(
        "the origin header names another site: web pages may not ask here".to_owned(),
    ))
}

/// A person may come to the page from anywhere; what the page loads is for the page alone, whatever other sites on this
/// machine make a browser ask for.
fn check_site(asked: &inspect::Asked, headers: &HeaderMap) -> Result<(), Refusal> {
    let own = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    let for_anybody = matches!(asked, inspect::Asked::Home | inspect::Asked::Page);
    if for_anybody || headers.get_all(SEC_FETCH_SITE).iter().all(own) {
        return Ok(());
    }
    Err(Refusal::Forbidden(
        "the header sec-fetch-site names another site: only the inspector's own page may ask for this".to_owned(),
    ))
}

/// Whether `host` or `host:port` names a loopback address.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':').or(Some("?"))),
            None => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let local = host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    local && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn wait(query: Option<&str>) -> Result<bool, Refusal> {
    let mut pairs = query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "true")));
    match pairs.find(|(name, _)| *name == "wait") {
        None | Some((_, "false" | "0")) => Ok(false),
        Some((_, "true" | "1")) => Ok(true),
        Some(_) => Err(Refusal::BadQuery("wait must be true or false".to_owned())),
    }
}

fn inspected(path: &str, query: Option<&str>) -> Option<Asked> {
    use inspect::Asked::{Content, Data, Home, Page, Script, Style};
    let asked = match path {
        "/" => Home,
        "/inspector" => Page,
        "/inspector/page.css" => Style,
        "/inspector/page.js" => Script,
        "/inspector/data" => {
            let mut pairs = query.unwrap_or_default().split('&');
            let relay = pairs.find_map(|pair| pair.strip_prefix("relay="));
            // a relay's name has no letter that a query must escape
            let relay = relay.filter(|name| !name.is_empty()).map(str::to_owned);
            Data { relay }
        }
        path => {
            let (recorder, number) = path.strip_prefix("/inspector/content/")?.split_once('-')?;
            let (recorder, number) = (recorder.parse().ok()?, number.parse().ok()?);
            Content { recorder, number }
        }
    };
    Some(Asked::Inspect(asked))
}

fn one_relay(path: &str) -> Option<Asked> {
    let (name, act) = path.strip_prefix("/relays/")?.split_once('/')?;
    let name = (!name.is_empty()).then(|| name.to_owned())?;
    let pause = |pause| Asked::Pause {
        name: Some(name.clone()),
        pause,
    };
    match act {
        "reconnect" => Some(Asked::Reconnect(name)),
        "pause" => Some(pause(true)),
        "resume" => Some(pause(false)),
        _ => None,
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn ask(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Asked, Refusal> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        read(&parts.method, &parts.uri, &parts.headers)
    }

    fn ask_locally(method: &str, target: &str) -> Result<Asked, Refusal> {
        ask(method, target, &[("host", "127.0.0.1:8841")])
    }

    #[test]
    fn each_resource_has_its_methods() {
        let reconnect = Asked::Reconnect("eu-1.a_b".to_owned());
        let pause = |name: Option<&str>, pause| Asked::Pause {
            name: name.map(str::to_owned),
            pause,
        };
        let data = |relay: Option<&str>| {
            Asked::Inspect(inspect::Asked::Data {
                relay: relay.map(str::to_owned),
            })
        };
        let cases = [
            ("/healthz", "GET", Asked::Health),
            ("/healthz", "HEAD", Asked::Health),
            ("/readyz?verbose", "GET", Asked::Ready),
            ("/status", "HEAD", Asked::Status),
            ("/", "GET", Asked::Inspect(inspect::Asked::Home)),
            ("/inspector", "HEAD", Asked::Inspect(inspect::Asked::Page)),
            ("/inspector/page.css", "GET", Asked::Inspect(inspect::Asked::Style)),
            ("/inspector/page.js?x", "GET", Asked::Inspect(inspect::Asked::Script)),
            ("/inspector/data", "GET", data(None)),
            ("/inspector/data?relay=", "GET", data(None)),
            ("/inspector/data?x=y&relay=eu-1.a_b", "GET", data(Some("eu-1.a_b"))),
            (
                "/inspector/content/3-71",
                "GET",
                Asked::Inspect(inspect::Asked::Content {
                    recorder: 3,
                    number: 71,
                }),
            ),
            ("/drain", "POST", Asked::Drain { wait: false }),
            ("/relays/eu-1.a_b/reconnect", "POST", reconnect),
            ("/pause", "POST", pause(None, true)),
            ("/resume", "POST", pause(None, false)),
            ("/relays/eu/pause", "POST", pause(Some("eu"), true)),
            ("/relays/eu/resume", "POST", pause(Some("eu"), false)),
        ];
        for (target, method, asked) in cases {
            assert_eq!(ask_locally(method, target), Ok(asked), "{method} {target}");
        }
        let reads = Err(Refusal::MethodNotAllowed { allow: "GET, HEAD" });
        let acts = Err(Refusal::MethodNotAllowed { allow: "POST" });
        assert_eq!(ask_locally("POST", "/status"), reads);
        assert_eq!(ask_locally("POST", "/inspector/data"), reads);
        assert_eq!(ask_locally("OPTIONS", "/readyz"), reads);
        assert_eq!(ask_locally("GET", "/drain"), acts);
        assert_eq!(ask_locally("GET", "/relays/a/reconnect"), acts);
        assert_eq!(ask_locally("GET", "/pause"), acts);
        assert_eq!(ask_locally("GET", "/relays/a/resume"), acts);
        for target in [
            "/inspector/",
            "/inspector/content/3",
            "/inspector/content/3-",
            "/inspector/content/-71",
            "/inspector/content/3-71-2",
            "/status/",
            "/relays//reconnect",
            "/relays/a/b/reconnect",
            "/relays//pause",
            "/relays/a/pause/",
            "/relays/a/stop",
            "/relays/a",
            "/Healthz",
        ] {
            assert_eq!(ask_locally("GET", target), Err(Refusal::NotFound), "{target}");
        }
    }

    #[test]
    fn wait_is_read_from_the_query() {
        for (query, expected) in [
            ("wait=true", true),
            ("wait=1", true),
            ("wait", true),
            ("x=y&wait=true", true),
            ("wait=false", false),
            ("wait=0", false),
            ("", false),
            ("waiting=true", false),
        ] {
            let asked = ask_locally("POST", &format!("/drain?{query}"));
            assert_eq!(asked, Ok(Asked::Drain { wait: expected }), "{query}");
        }
        assert!(matches!(
            ask_locally("POST", "/drain?wait=10s"),
            Err(Refusal::BadQuery(_))
        ));
    }

    #[test]
    fn only_loopback_hosts_are_answered() {
        let good = [
            "localhost",
            "LocalHost:80",
            "127.0.0.1",
            "127.8.9.10:8841",
            "[::1]",
            "[::1]:8841",
        ];
        for host in good {
            assert_eq!(ask("GET", "/healthz", &[("host", host)]), Ok(Asked::Health), "{host}");
        }
        let bad = [
            "evil.test",
            "evil.test:8841",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1",
            "0.0.0.0",
            "",
            ":80",
            "[::1",
            "[::1]x",
            "::1",
            "[::2]",
            "localhost:",
            "localhost:99999",
            "127.0.0.1@evil.test",
            "spectral_bridge",
        ];
        for host in bad {
            assert!(
                matches!(ask("GET", "/healthz", &[("host", host)]), Err(Refusal::Forbidden(_))),
                "{host}"
            );
        }
        assert!(matches!(ask("GET", "/healthz", &[]), Err(Refusal::Forbidden(_))));
        let twice = [("host", "localhost"), ("host", "evil.test")];
        assert!(matches!(ask("GET", "/healthz", &twice), Err(Refusal::Forbidden(_))));
        let local = [("host", "localhost")];
        assert!(matches!(
            ask("GET", "http://evil.test/healthz", &local),
            Err(Refusal::Forbidden(_))
        ));
        assert_eq!(ask("GET", "http://localhost:8841/healthz", &local), Ok(Asked::Health));
    }

    #[test]
    fn web_pages_of_other_sites_are_refused() {
        let from = |origin| ask("POST", "/drain", &[("host", "localhost"), ("origin", origin)]);
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8841"] {
            assert_eq!(from(origin), Ok(Asked::Drain { wait: false }), "{origin}");
        }
        for origin in [
            "https://evil.test",
            "null",
            "",
            "http://localhost.evil.test",
            "http://localhost/x",
            "localhost",
        ] {
            assert!(matches!(from(origin), Err(Refusal::Forbidden(_))), "{origin}");
        }
    }

    #[test]
    fn the_page_is_for_everybody_and_what_it_loads_for_the_page() {
        let from = |target, site| ask("GET", target, &[("host", "localhost"), ("sec-fetch-site", site)]);
        for site in ["cross-site", "same-site", "same-origin", "none"] {
            assert!(from("/inspector", site).is_ok() && from("/", site).is_ok(), "{site}");
        }
        for target in [
            "/inspector/data",
            "/inspector/content/1-1",
            "/inspector/page.js",
            "/inspector/page.css",
        ] {
            for site in ["cross-site", "same-site", ""] {
                assert!(
                    matches!(from(target, site), Err(Refusal::Forbidden(_))),
                    "{target} {site}"
                );
            }
            assert!(from(target, "same-origin").is_ok() && ask_locally("GET", target).is_ok());
        }
    }

    #[test]
    fn a_foreign_host_learns_nothing_about_what_there_is() {
        for target in ["/status", "/nothing", "/drain?wait=x"] {
            assert!(
                matches!(ask("PUT", target, &[("host", "evil.test")]), Err(Refusal::Forbidden(_))),
                "{target}"
            );
        }
    }
}
