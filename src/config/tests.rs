//! What users may write, what they get, and the exact words about each mistake.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod relays;

/// A relay with nothing but what is required, and `extra` laid over it.
fn relay(extra: Value) -> Value {
    let mut relay = json!({"url": "wss://relay.example.com/connect", "api_key": {"env": "KEY"}});
    overlay(&mut relay, extra);
    relay
}

fn overlay(base: &mut Value, extra: Value) {
    for (key, value) in extra.as_object().unwrap() {
        base[key] = value.clone();
    }
}

/// A whole configuration around one relay.
fn with_relay(extra: Value) -> Value {
    json!({ "relays": [relay(extra)] })
}

fn with_top(key: &str, value: Value) -> Value {
    let mut config = with_relay(json!({}));
    config[key] = value;
    config
}

fn read(config: &Value) -> Result<Config, ConfigErrors> {
    Config::from_json(config.to_string().as_bytes())
}

fn accepted(config: &Value) -> Config {
    read(config).unwrap_or_else(|e| panic!("{config}\n{e}"))
}

fn first_relay(extra: Value) -> Relay {
    accepted(&with_relay(extra)).relays.remove(0)
}

/// The lines of the report, the configuration's mistakes in order.
fn report(config: &Value) -> Vec<String> {
    let errors = read(config).err().unwrap_or_else(|| panic!("accepted: {config}"));
    errors.to_string().lines().map(str::to_owned).collect()
}

#[track_caller]
fn refused(config: &Value, lines: &[&str]) {
    assert_eq!(report(config), lines, "{config}");
}

// PROTOCOL §2.5, §3.1: a timeout at least as long as the server's
#[test]
fn defaults_fill_everything_but_url_and_key() {
    let config = accepted(&with_relay(json!({})));
    let expected = Relay {
        name: "default".into(),
        url: RelayUrl {
            tls: true,
            host: "relay.example.com".into(),
            port: 443,
            path_and_query: "/connect".into(),
        },
        api_key: SecretSource::Env("KEY".into()),
        protocol: ProtocolChoice::Auto,
        tls: Tls::default(),
        proxy: Proxy::FromEnv,
        keepalive: Keepalive {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        },
        max_frame_bytes: 16_777_216,
        request_timeout: Duration::from_secs(600),
        shutdown_grace: Duration::from_secs(8),
        max_in_flight: 512,
        max_queued: 16_384,
        max_held_bytes: 268_435_456,
        paths: vec!["/v1/chat/completions".into(), "/v1/responses".into()],
        response_policy: ResponsePolicy::Passthrough,
        response_headers: vec![],
        forward: None,
        labels: vec![],
        budget: Budget::default(),
        schedule: None,
    };
    assert_eq!(config.relays, [expected]);
    let forward = Forward {
        to: ForwardTo::Unix(PathBuf::from("/run/spectral-bridge/adapter.sock")),
        authority: "localhost".into(),
        headers: vec![],
    };
    assert_eq!(config.forward, forward);
    assert_eq!(config.status.listen, "127.0.0.1:8841".parse::<SocketAddr>().unwrap());
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn everything_can_be_set() {
    let config = accepted(&json!({
        "relays": [{
            "name": "eval-1", "url": "wss://[2001:db8::1]:8443/connect?v=2", "api_key": {"file": "/run/secrets/key"},
            "protocol": 2, "insecure": false,
            "tls": {"ca_file": "/ca.pem", "cert_file": "/c.pem", "key_file": "/k.pem", "server_name": "Relay.Internal"},
            "proxy": {"url": "https://Proxy:8080", "username": "u", "password": {"env": "PROXY_PASSWORD"}},
            "keepalive": {"interval": "0.5s", "timeout": "250ms"},
            "max_frame_bytes": 65536, "request_timeout": "2m", "shutdown_grace": "0s",
            "max_in_flight": 1, "max_queued": 1, "max_held_bytes": 65536,
            "paths": ["/v1/responses"], "response_headers": ["X-Request-Id", "content-type"],
        }],
        "forward": {
            "to": "http://localhost:9000", "authority": "model.internal:80",
            "headers": {"Authorization": {"env": "MODEL_KEY", "prefix": "Bearer "}},
        },
        "status": {"listen": "[::1]:0"},
    }));
    let relay = &config.relays[0];
    assert_eq!(relay.url.authority(), "[2001:db8::1]:8443");
    assert_eq!(relay.url.path_and_query, "/connect?v=2");
    assert_eq!(
        relay.url.to_string(),
        "wss://[2001:db8::1]:8443/connect",
        "the query is not shown"
    );
    assert_eq!(relay.api_key, SecretSource::File("/run/secrets/key".into()));
    assert_eq!(relay.protocol, ProtocolChoice::V2);
    let client = ClientCertificate {
        cert_file: "/c.pem".into(),
        key_file: "/k.pem".into(),
    };
    let tls = Tls {
        ca_file: Some("/ca.pem".into()),
        client: Some(client),
        server_name: Some("relay.internal".into()),
    };
    assert_eq!(relay.tls, tls);
    let password = SecretSource::Env("PROXY_PASSWORD".into());
    let credentials = Some(ProxyCredentials {
        username: "u".into(),
        password,
    });
    assert_eq!(
        relay.proxy,
        Proxy::Http(HttpProxy {
            tls: true,
            host: "proxy".into(),
            port: 8080,
            credentials
        })
    );
    let keepalive = Keepalive {
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(250),
    };
    assert_eq!(relay.keepalive, keepalive);
    assert_eq!((relay.max_frame_bytes, relay.max_held_bytes), (65536, 65536));
    assert_eq!((relay.max_in_flight, relay.max_queued), (1, 1));
    assert_eq!(
        (relay.request_timeout, relay.shutdown_grace),
        (Duration::from_secs(120), Duration::ZERO)
    );
    assert_eq!(relay.paths, ["/v1/responses"]);
    assert_eq!(relay.response_headers, ["x-request-id"]);
    assert_eq!(
        config.forward.to,
        ForwardTo::Tcp {
            host: "localhost".into(),
            port: 9000
        }
    );
    assert_eq!(config.forward.authority, "model.internal:80");
    let value = SecretSource::Env("MODEL_KEY".into());
    let header = ForwardHeader {
        name: HeaderName::from_static("authorization"),
        prefix: "Bearer ".into(),
        value,
    };
    assert_eq!(config.forward.headers, [header]);
    assert_eq!(config.status.listen, "[::1]:0".parse::<SocketAddr>().unwrap());
}

#[test]
fn numbers_arrive_as_a_struct_writes_them() {
    for text in ["65536", "65536.0", "6.5536e4", "\"65536\"", "\"65536.0\""] {
        let json = format!(
            r#"{{"relays":[{{"url":"wss://r/connect","api_key":{{"env":"K"}},"max_frame_bytes":{text},"max_in_flight":{text}}}]}}"#
        );
        let config = Config::from_json(json.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(config.relays[0].max_frame_bytes, 65_536, "{text}");
        assert_eq!(config.relays[0].max_in_flight, 65_536, "{text}");
    }
    for (value, choice) in [
        (json!("auto"), ProtocolChoice::Auto),
        (json!(1), ProtocolChoice::V1),
        (json!(1.0), ProtocolChoice::V1),
        (json!("1"), ProtocolChoice::V1),
        (json!(2.0), ProtocolChoice::V2),
        (json!("2"), ProtocolChoice::V2),
    ] {
        assert_eq!(first_relay(json!({"protocol": value})).protocol, choice, "{value}");
    }
}

#[test]
fn null_is_absent_so_that_a_key_whose_children_are_commented_out_is_none() {
    let config = accepted(&json!({
        "relays": [relay(json!({"tls": null, "keepalive": null, "name": null, "insecure": null}))],
        "forward": null, "status": null,
    }));
    assert_eq!(config, accepted(&with_relay(json!({}))));
    refused(
        &with_relay(json!({"api_key": null})),
        &["relays[0].api_key: missing; use {env: NAME} or {file: PATH}"],
    );
}

const WHOLE: &str = "write a google.protobuf.Struct with the keys relays, forward, status, gateway, telemetry, chat, or a StringValue with the same as JSON";

#[test]
fn what_is_no_configuration_at_all() {
    for (json, problem) in [
        ("", "empty"),
        (" \n", "empty"),
        ("null", "null"),
        ("[]", "an array"),
        ("\"relays\"", "a string"),
        ("7", "a number"),
        ("true", "true or false"),
        ("{", "JSON that ends too early (line 1, column 1)"),
        ("{\"api_key\": sk-secret}", "not JSON (line 1, column 13)"),
        ("relays:\n- url: x", "not JSON (line 1, column 1)"),
        ("{} {}", "not JSON (line 1, column 4)"),
    ] {
        let error = Config::from_json(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, format!("the configuration: {problem}; {WHOLE}"), "{json:?}");
    }
    let bytes = Config::from_json(b"{\"a\": \"\xff\"}").unwrap_err().to_string();
    assert!(bytes.starts_with("the configuration: not JSON"), "{bytes}");
}

#[test]
fn size_and_depth_are_bounded() {
    let huge = vec![b'['; 2 << 20];
    let error = Config::from_json(&huge).unwrap_err().to_string();
    assert_eq!(error, "the configuration: 2097152 bytes; at most 1048576 are read");
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let error = Config::from_json(&deep).unwrap_err().to_string();
    assert!(
        error.starts_with("the configuration: not JSON (line 1, column 128)"),
        "{error}"
    );
}

#[test]
fn a_report_is_bounded_too() {
    let relays: Vec<Value> = (0..64).map(|_| json!({})).collect();
    let lines = report(&json!({ "relays": relays }));
    assert_eq!(lines.len(), 51);
    assert_eq!(lines[50], "and 142 more mistakes");
}

#[test]
fn unknown_keys_name_the_allowed_ones_and_the_closest() {
    let top = "allowed here: relays, forward, status, gateway, telemetry, chat";
    refused(
        &with_top("relay", json!([])),
        &[&format!("relay: unknown key, did you mean relays?; {top}")],
    );
    refused(
        &with_top("metrics", json!({})),
        &[&format!("metrics: unknown key; {top}")],
    );
    refused(
        &with_relay(json!({"keepalive": {"intervall": "1s", "time-out": "1s"}})),
        &[
            "relays[0].keepalive.intervall: unknown key, did you mean interval?; allowed here: interval, timeout",
            "relays[0].keepalive.time-out: unknown key, did you mean timeout?; allowed here: interval, timeout",
        ],
    );
    refused(
        &with_top("status", json!({"Listen": "127.0.0.1:1"})),
        &["status.Listen: unknown key, did you mean listen?; allowed here: listen, token, inspector"],
    );
    let lines = report(&with_relay(json!({"apiKey": "sk-live"})));
    assert!(lines[0].starts_with("relays[0].apiKey: unknown key, did you mean api_key?; allowed here: name, url,"));
    assert!(!lines[0].contains("sk-live"));
}

#[test]
fn a_key_written_twice_is_refused() {
    let json = br#"{"relays":[{"url":"wss://a/connect","url":"wss://b/connect","url":"wss://c/connect",
                    "api_key":{"env":"A"}}],"forward":{"headers":{"x-a":{"env":"A"},"x-a":{"env":"B"}}}}"#;
    let error = Config::from_json(json).unwrap_err().to_string();
    assert_eq!(
        error,
        "relays[0].url: written twice; write each key once\n\
         forward.headers.x-a: written twice; write each key once"
    );
}

/// One key of a relay, its value, and the whole report.
// PROTOCOL §2.1: must use TLS, plain ws:// is not permitted
#[test]
fn mistakes_in_a_relay() {
    let url = "the relay's WebSocket URL, such as wss://relay.example.com/connect";
    let frame = "a whole number from 65536 to 16777216";
    let name = "1 to 64 of A-Z a-z 0-9 . _ -, with at least one letter or digit";
    let paths = "some of /v1/chat/completions, /v1/responses, /v1/completions, /v1/embeddings, /v1/audio/speech, \
                 /v1/audio/transcriptions, /v1/images/generations, /v1/images/edits, /v1/models";
    let interval = "a duration from 100ms to 1h, such as \"10s\"";
    let long = "n".repeat(65);
    let table: Vec<(&str, Value, String)> = vec![
        ("name", json!("a b"), format!("\"a b\" is not a name; {name}")),
        ("name", json!(".."), format!("\"..\" is not a name; {name}")),
        ("name", json!(""), format!("\"\" is not a name; {name}")),
        ("name", json!(long), format!("\"{long}\" is not a name; {name}")),
        ("name", json!(7), format!("7; {name}")),
        (
            "url",
            json!("https://r/connect"),
            format!("\"https://r/connect\" is not wss:// or ws://; {url}"),
        ),
        (
            "url",
            json!("relay.example.com"),
            format!("\"relay.example.com\" is not a URL; {url}"),
        ),
        ("url", json!("wss://"), format!("\"wss://\" is not a URL; {url}")),
        (
            "url",
            json!("wss:///connect"),
            format!("\"wss:///connect\" is not a URL; {url}"),
        ),
        (
            "url",
            json!("wss://r:0/connect"),
            format!("\"wss://r:0/connect\" has no valid port; {url}"),
        ),
        (
            "url",
            json!("wss://r:70000/connect"),
            format!("\"wss://r:70000/connect\" has no valid port; {url}"),
        ),
        (
            "url",
            json!("wss://r/connect#x"),
            format!("\"wss://r/connect#x\" has a fragment (#); {url}"),
        ),
        (
            "url",
            json!("wss://r_/a b"),
            format!("\"wss://r_/a b\" is not a URL; {url}"),
        ),
        (
            "url",
            json!("wss://-r-/connect"),
            format!("\"wss://-r-/connect\" has a host that is neither a DNS name nor an IP address; {url}"),
        ),
        (
            "url",
            json!("wss://bücher.example/connect"),
            format!(
                "\"wss://bücher.example/connect\" has letters outside ASCII \
                 (write an international host name in its xn-- form); {url}"
            ),
        ),
        ("url", json!(true), format!("true; {url}")),
        (
            "url",
            json!("ws://r/connect"),
            "ws:// is not encrypted; use wss://, or set insecure: true for development on one host".into(),
        ),
        (
            "insecure",
            json!("true"),
            "\"true\"; true or false, without quotes".into(),
        ),
        ("insecure", json!(1), "a number; true or false".into()),
        ("protocol", json!("3"), "\"3\"; auto, 1 or 2".into()),
        ("protocol", json!(3), "3; a whole number from 1 to 2".into()),
        ("protocol", json!(["auto"]), "an array; auto, 1 or 2".into()),
        ("max_frame_bytes", json!(1023), format!("1023; {frame}")),
        ("max_frame_bytes", json!(16_777_217), format!("16777217; {frame}")),
        ("max_frame_bytes", json!(1024.5), format!("1024.5; {frame}")),
        ("max_frame_bytes", json!("1024.5"), format!("1024.5; {frame}")),
        ("max_frame_bytes", json!(-5), format!("-5; {frame}")),
        (
            "max_frame_bytes",
            json!("16MiB"),
            format!("\"16MiB\" is not a number; {frame}"),
        ),
        ("max_frame_bytes", json!("NaN"), format!("NaN; {frame}")),
        ("max_frame_bytes", json!({}), format!("an object; {frame}")),
        ("max_in_flight", json!(0), "0; a whole number from 1 to 65536".into()),
        ("max_queued", json!(0), "0; a whole number from 1 to 1048576".into()),
        (
            "max_held_bytes",
            json!(16_777_215),
            "16777215; a whole number from 16777216 to 4294967295".into(),
        ),
        (
            "max_held_bytes",
            json!(4_294_967_296_u64),
            "4294967296; a whole number from 16777216 to 4294967295".into(),
        ),
        (
            "request_timeout",
            json!("25h"),
            "\"25h\" is out of range; a duration from 100ms to 24h, such as \"10s\"".into(),
        ),
        (
            "request_timeout",
            json!("0s"),
            "\"0s\" is out of range; a duration from 100ms to 24h, such as \"10s\"".into(),
        ),
        (
            "shutdown_grace",
            json!(8),
            "8 has no unit; a duration from 0s to 1h, such as \"10s\"".into(),
        ),
        (
            "shutdown_grace",
            json!("1.5"),
            "\"1.5\" has no unit; a duration from 0s to 1h, such as \"10s\"".into(),
        ),
        (
            "shutdown_grace",
            json!("8 s"),
            "\"8 s\" is not a duration; a duration from 0s to 1h, such as \"10s\"".into(),
        ),
        (
            "shutdown_grace",
            json!([]),
            "an array; a duration from 0s to 1h, such as \"10s\"".into(),
        ),
        (
            "keepalive.interval",
            json!("99ms"),
            format!("\"99ms\" is out of range; {interval}"),
        ),
        (
            "keepalive.timeout",
            json!("soon"),
            format!("\"soon\" is not a duration; {interval}"),
        ),
        (
            "keepalive",
            json!("30s"),
            "a string; an object with the keys interval, timeout".into(),
        ),
        ("paths", json!([]), format!("no paths; {paths}")),
        ("paths", json!("/v1/responses"), "a string; an array of paths".into()),
        (
            "paths[0]",
            json!("/v1/models/gpt-4o"),
            format!("\"/v1/models/gpt-4o\" is not a path that can be opened; {paths}"),
        ),
        ("paths[0]", json!(1), format!("1; {paths}")),
        (
            "response_headers[0]",
            json!("Connection"),
            "\"connection\" ends at this hop and is never passed on; the name of an end-to-end response header".into(),
        ),
        (
            "response_headers[0]",
            json!("content-length"),
            "\"content-length\" ends at this hop and is never passed on; the name of an end-to-end response header"
                .into(),
        ),
        (
            "response_headers[0]",
            json!("a b"),
            "\"a b\" is not a header name; the name of an end-to-end response header".into(),
        ),
    ];
    for (path, value, problem) in table {
        let value = match path.split_once(['.', '[']) {
            Some((_, "0]")) => json!([value]),
            Some((_, key)) => json!({ key: value }),
            None => value,
        };
        let key = path.split(['.', '[']).next().unwrap();
        refused(
            &with_relay(json!({ key: value })),
            &[&format!("relays[0].{path}: {problem}")],
        );
    }
}

#[test]
fn repeated_list_entries() {
    refused(
        &with_relay(json!({"paths": ["/v1/responses", "/v1/responses"], "response_headers": ["x-a", "X-A"]})),
        &[
            "relays[0].paths[1]: \"/v1/responses\" is there twice; each path once",
            "relays[0].response_headers[1]: \"x-a\" is there twice; each name once",
        ],
    );
}

// PROTOCOL §2.1: plain ws:// when the operator explicitly opts in, in a trusted network
#[test]
fn ws_needs_consent_and_is_warned_about() {
    let config = accepted(&with_relay(json!({"url": "ws://127.0.0.1/", "insecure": true})));
    let url = &config.relays[0].url;
    assert_eq!(
        (url.tls, url.port, url.to_string()),
        (false, 80, "ws://127.0.0.1/".to_owned())
    );
    assert_eq!(
        config.warnings(),
        [
            "relays[0].url: ws:// sends the API key, prompts and answers unencrypted; use wss:// in production",
            "relays[0].url: the path is /, but a relay's WebSocket endpoint is /connect (PROTOCOL §2.1)",
        ]
    );
    let config = accepted(&with_relay(json!({"url": "WSS://Relay.Example.com?token=abc"})));
    assert_eq!(config.relays[0].url.path_and_query, "/?token=abc");
    assert_eq!(config.relays[0].url.to_string(), "wss://relay.example.com/");
    assert_eq!(
        config.warnings()[1],
        "relays[0].url: the query shows in /config_dump; a secret does not belong into it"
    );
}

#[test]
fn tls_belongs_to_wss_and_certificates_come_in_pairs() {
    refused(
        &with_relay(json!({"url": "ws://r/connect", "insecure": true, "tls": {"ca_file": "/ca.pem"}})),
        &["relays[0].tls: TLS settings for a ws:// URL; use wss://, or remove tls"],
    );
    let both = "both cert_file and key_file, or neither";
    refused(
        &with_relay(json!({"tls": {"cert_file": "/c.pem"}})),
        &[&format!("relays[0].tls.cert_file: without key_file; {both}")],
    );
    refused(
        &with_relay(json!({"tls": {"key_file": "/k.pem", "server_name": "a b"}})),
        &[
            "relays[0].tls.server_name: \"a b\" is neither; a DNS name or an IP address",
            &format!("relays[0].tls.key_file: without cert_file; {both}"),
        ],
    );
    let path = "the path of a file, beginning with / (Envoy's working directory is not yours)";
    refused(
        &with_relay(json!({"tls": {"ca_file": "-----BEGIN CERTIFICATE-----"}})),
        &[&format!(
            "relays[0].tls.ca_file: not an absolute path (not shown, it may be a secret); {path}"
        )],
    );
}

// PROTOCOL §2.5: one client process serves a key at a time
#[test]
fn relays_are_told_apart() {
    let second = |extra: Value| relay(extra);
    refused(
        &json!({"relays": [relay(json!({})), second(json!({"api_key": {"env": "OTHER"}}))]}),
        &[
            "relays[0].name: missing; with several relays, each needs a name of its own",
            "relays[1].name: missing; with several relays, each needs a name of its own",
        ],
    );
    refused(
        &json!({"relays": [relay(json!({"name": "a"})), second(json!({"name": "a", "url": "nonsense"}))]}),
        &[
            "relays[1].url: \"nonsense\" is not a URL; the relay's WebSocket URL, such as wss://relay.example.com/connect",
            "relays[1].name: \"a\" is also the name of relays[0]; a name of its own for each relay",
        ],
    );
    refused(
        &json!({"relays": [relay(json!({"name": "a"})), second(json!({"name": "b"}))]}),
        &["relays[1]: the same url and api_key as relays[0]; \
           one relay per key: two would take the connection from each other"],
    );
    let some = "an array of at least one relay, or another job: gateway or chat";
    refused(&json!({"relays": []}), &[&format!("relays: 0 relays; {some}")]);
    refused(&json!({"relays": {}}), &["relays: an object; an array of relays"]);
    refused(&json!({}), &[&format!("relays: missing; {some}")]);
    let keys = "name, url, api_key, protocol, insecure, tls, proxy, keepalive, max_frame_bytes, request_timeout, \
                shutdown_grace, max_in_flight, max_queued, max_held_bytes, paths, response_policy, \
                response_headers, forward, labels, budget, schedule";
    refused(
        &json!({"relays": [3]}),
        &[&format!("relays[0]: a number; an object with the keys {keys}")],
    );
}

#[test]
fn a_proxy_is_env_none_or_an_address() {
    assert_eq!(first_relay(json!({"proxy": "env"})).proxy, Proxy::FromEnv);
    assert_eq!(first_relay(json!({"proxy": "none"})).proxy, Proxy::None);
    let plain = HttpProxy {
        tls: false,
        host: "proxy".into(),
        port: 80,
        credentials: None,
    };
    assert_eq!(
        first_relay(json!({"proxy": {"url": "http://proxy"}})).proxy,
        Proxy::Http(plain)
    );
    let allowed = "env, none, or {url: http://proxy:3128} with username and password: {env | file} where needed";
    let url = "the proxy's URL, such as http://proxy:3128, with username and password in keys of their own";
    let both = "both username and password, or neither";
    for (value, line) in [
        (
            json!("http://u:hunter2@p:1"),
            format!("relays[0].proxy: a string other than env and none; {allowed}"),
        ),
        (json!(1), format!("relays[0].proxy: a number; {allowed}")),
        (json!({}), format!("relays[0].proxy.url: missing; {url}")),
        (
            json!({"url": "http://u:hunter2@p:1"}),
            format!("relays[0].proxy.url: a URL with credentials in it (not shown); {url}"),
        ),
        (
            json!({"url": "socks5://p:1"}),
            format!("relays[0].proxy.url: \"socks5://p:1\" is not http:// or https://; {url}"),
        ),
        (
            json!({"url": "http://p/x"}),
            format!("relays[0].proxy.url: a proxy's URL with a path or query; {url}"),
        ),
        (
            json!({"url": "http://p", "username": "u"}),
            format!("relays[0].proxy.username: without password; {both}"),
        ),
        (
            json!({"url": "http://p", "password": {"env": "P"}}),
            format!("relays[0].proxy.password: without username; {both}"),
        ),
        (
            json!({"url": "http://p", "username": "u:hunter2", "password": {"env": "P"}}),
            "relays[0].proxy.username: not a user name (not shown); \
             a user name of visible ASCII without a colon (RFC 7617)"
                .into(),
        ),
    ] {
        refused(&with_relay(json!({ "proxy": value })), &[&line]);
    }
}

// PROTOCOL §1, §2.1: over localhost; not a loopback address is a mistake
#[test]
fn mistakes_in_forward_and_status() {
    let to = "Envoy's own listener, as unix:///run/spectral-bridge/adapter.sock or http://127.0.0.1:PORT";
    let loopback = "a loopback address (localhost, 127.0.0.0/8, ::1), or insecure_forward: true";
    let long = format!("unix:///{}", "x".repeat(107));
    for (value, line) in [
        (
            json!("http://10.0.0.7:80"),
            format!("\"10.0.0.7\" is not on this host; {loopback}"),
        ),
        (
            json!("http://model.internal"),
            format!("\"model.internal\" is not on this host; {loopback}"),
        ),
        (
            json!("http://127.0.0.1.evil.example"),
            format!("\"127.0.0.1.evil.example\" is not on this host; {loopback}"),
        ),
        (
            json!("https://127.0.0.1:1"),
            format!("https:// is not spoken here; TLS to the model belongs to Envoy's cluster; {to}"),
        ),
        (
            json!("http://127.0.0.1:1/api"),
            format!("an address with a path or query; paths belong to Envoy's routes; {to}"),
        ),
        (
            json!("http://u:hunter2@127.0.0.1:1"),
            format!("a URL with credentials in it (not shown); {to}"),
        ),
        (
            json!("tcp://127.0.0.1:1"),
            format!("\"tcp://127.0.0.1:1\" is not http:// or unix://; {to}"),
        ),
        (
            json!("unix://run/x.sock"),
            format!("\"run/x.sock\" is not the absolute path of a socket; {to}"),
        ),
        (
            json!("unix:///run/"),
            format!("\"/run/\" is not the absolute path of a socket; {to}"),
        ),
        (json!(long), "a path of 108 bytes; at most 107 bytes".into()),
        (json!(8840), format!("8840; {to}")),
    ] {
        refused(
            &with_top("forward", json!({ "to": value })),
            &[&format!("forward.to: {line}")],
        );
    }
    let listen = "a loopback address and a port, such as 127.0.0.1:8841 (port 0 takes a free one and logs it)";
    for (value, problem) in [
        (
            json!("0.0.0.0:8841"),
            "\"0.0.0.0:8841\" is not a loopback address, and reading the status needs no token",
        ),
        (json!(":8841"), "\":8841\" is not an address and port"),
        (json!("localhost:x"), "\"localhost:x\" is not an address and port"),
        (json!(8841), "8841"),
    ] {
        refused(
            &with_top("status", json!({ "listen": value })),
            &[&format!("status.listen: {problem}; {listen}")],
        );
    }
    refused(
        &with_top("forward", json!({"authority": "a b", "headers": []})),
        &[
            "forward.authority: \"a b\" is not an authority; a host name with an optional port",
            "forward.headers: an array; an object of headers, each {env | file, prefix}",
        ],
    );
    let localhost = accepted(&with_top("status", json!({"listen": "localhost:0"})));
    assert_eq!(localhost.status.listen, "127.0.0.1:0".parse::<SocketAddr>().unwrap());
}

#[test]
fn the_inspector_is_on_without_content_unless_told_otherwise() {
    let inspector = |value: Value| {
        accepted(&with_top("status", json!({ "inspector": value })))
            .status
            .inspector
    };
    let on = |bodies| Some(Inspector { bodies });
    assert_eq!(accepted(&with_relay(json!({}))).status.inspector, on(None));
    for (value, expected) in [
        (json!(true), on(None)),
        (json!({}), on(None)),
        (json!(null), on(None)),
        (json!(false), None),
        (json!({"bodies": true}), on(Some(16_384))),
        (json!({"bodies": true, "max_body_bytes": "1000"}), on(Some(1000))),
        (json!({"bodies": false, "max_body_bytes": 1000}), on(None)),
    ] {
        assert_eq!(inspector(value.clone()), expected, "{value}");
    }
    let allowed = "true, false or an object with the keys bodies, max_body_bytes";
    for (value, line) in [
        (json!("yes"), format!("status.inspector: a string; {allowed}")),
        (
            json!({"bodies": true, "max_body_bytes": 1}),
            "status.inspector.max_body_bytes: 1; a whole number from 256 to 262144".to_owned(),
        ),
    ] {
        refused(&with_top("status", json!({ "inspector": value })), &[&line]);
    }
    let kept = accepted(&with_top("status", json!({"inspector": {"bodies": true}})));
    assert_eq!(
        kept.warnings(),
        [
            "status.inspector.bodies: prompts and answers can be read on 127.0.0.1:8841 by every process and user on this host (with status.token: whoever has it)"
        ]
    );
}

// PROTOCOL §2.1: an explicit opt-out allows a non-loopback adapter
#[test]
fn beyond_loopback_only_with_consent_and_a_warning() {
    let config = accepted(&with_top(
        "forward",
        json!({"to": "http://10.0.0.7:8000", "insecure_forward": true}),
    ));
    assert_eq!(config.forward.authority, "10.0.0.7:8000");
    assert_eq!(
        config.warnings(),
        ["forward.to: 10.0.0.7:8000 is not on this host, prompts and answers cross the network unencrypted"]
    );
    for to in [
        "http://localhost",
        "http://127.9.9.9:1",
        "http://[::1]:9000",
        "unix:/run/x.sock",
    ] {
        let config = accepted(&with_top("forward", json!({ "to": to })));
        assert_eq!(config.warnings(), Vec::<String>::new(), "{to}");
    }
}

#[test]
fn forward_headers_are_end_to_end_and_not_envoys() {
    let allowed = "the name of an end-to-end request header, such as authorization";
    for name in [
        "host",
        "Content-Length",
        "connection",
        "te",
        "x-envoy-retry-on",
        "x-spectral-bridge-relay",
    ] {
        let line = format!(
            "forward.headers.{name}: cannot be set: it belongs to Envoy, to the connection or to this module; {allowed}"
        );
        refused(&with_top("forward", json!({"headers": {name: {"env": "A"}}})), &[&line]);
    }
    refused(
        &with_top(
            "forward",
            json!({"headers": {"X-A": {"env": "A"}, "x-a": {"env": "B"}}}),
        ),
        &["forward.headers.x-a: written twice, in different case; write each header once"],
    );
}

/// Wherever a secret may be written by mistake, the report must not repeat it.
#[test]
fn secrets_are_never_echoed() {
    let inline = "a secret written into the configuration would show in /config_dump; use {env: NAME} or {file: PATH}";
    refused(
        &with_relay(json!({"api_key": "sk-hunter2"})),
        &[&format!("relays[0].api_key: {inline}")],
    );
    refused(
        &with_top("forward", json!({"headers": {"authorization": "Bearer hunter2"}})),
        &[&format!("forward.headers.authorization: {inline}")],
    );
    let secret = "hunter2-0123456789";
    let spaced = format!("Bearer {secret} and more than thirty-two characters");
    for config in [
        with_relay(json!({ "api_key": secret })),
        with_relay(json!({"api_key": {"env": secret}})),
        with_relay(json!({"api_key": {"file": secret}})),
        with_relay(json!({"api_key": {"value": secret}})),
        with_relay(json!({"api_key": {"env": "A", "file": secret}})),
        with_relay(json!({"api_key": [secret]})),
        with_relay(json!({"url": format!("wss://user:{secret}@relay.example.com/connect")})),
        with_relay(json!({"url": format!("https://relay.example.com/connect?key={secret}")})),
        with_relay(json!({"proxy": format!("http://user:{secret}@proxy:3128")})),
        with_relay(json!({"proxy": {"url": format!("http://user:{secret}@proxy:3128")}})),
        with_relay(json!({"proxy": {"url": "http://p", "username": "u", "password": secret}})),
        with_relay(json!({"proxy": {"url": "http://p", "username": format!("u:{secret}"), "password": {"env": "A"}}})),
        with_relay(json!({"tls": secret})),
        with_relay(json!({"tls": {"key_file": secret, "cert_file": "/c"}})),
        with_relay(json!({ "keepalive": secret, "paths": secret, "response_headers": secret })),
        with_relay(json!({"token": secret})),
        with_relay(json!({ format!("api_key: {secret}"): 1 })),
        with_top("forward", json!(secret)),
        with_top("forward", json!({"to": format!("http://u:{secret}@127.0.0.1")})),
        with_top("forward", json!({"authority": format!("u:{secret}@h")})),
        with_top(
            "forward",
            json!({"headers": {"authorization": {"env": "A", "prefix": spaced}}}),
        ),
        with_top(
            "forward",
            json!({"headers": {"authorization": format!("Bearer {secret}")}}),
        ),
        with_top(
            "forward",
            json!({"headers": { format!("authorization: {secret}"): {"env": "A"} }}),
        ),
        with_top("status", json!(secret)),
        json!({ "relays": secret }),
        json!(secret),
    ] {
        let errors = read(&config).err().unwrap_or_else(|| panic!("accepted: {config}"));
        for text in [errors.to_string(), format!("{errors:?}")] {
            assert!(!text.contains("hunter2"), "{config}\n{text}");
        }
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let config = json!({
        "relays": [
            {"name": "a", "url": "ws://a/connect", "api_key": "sk-1", "keepalive": {"interval": "10"}, "max_frame_bytes": 1},
            {"name": "a", "api_key": {"env": "K"}, "protocol": 9, "request_timeout": "never", "colour": "red"},
        ],
        "forward": {"to": "http://10.0.0.1", "headers": {"host": {"env": "1A"}}},
        "status": {"listen": "0.0.0.0:1"},
        "statsu": {},
    });
    let errors = read(&config).unwrap_err();
    let paths: Vec<&str> = errors.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "statsu",
            "relays[1].colour",
            "relays[0].url",
            "relays[0].api_key",
            "relays[1].url",
            "relays[1].name",
            "relays[0].keepalive.interval",
            "relays[0].max_frame_bytes",
            "relays[1].protocol",
            "relays[1].request_timeout",
            "forward.to",
            "forward.headers.host",
            "forward.headers.host.env",
            "status.listen",
        ]
    );
    assert_eq!(errors.to_string().lines().count(), paths.len());
}

#[test]
fn long_and_odd_strings_stay_on_one_line() {
    let lines = report(&with_relay(
        json!({"request_timeout": format!("1s\n{}", "x".repeat(500))}),
    ));
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("\\n") && lines[0].contains('…') && lines[0].len() < 250,
        "{}",
        lines[0]
    );
}

/// Damaged input is refused or read, and never a panic.
#[test]
fn any_damage_ends_in_a_value_or_a_report() {
    let good = json!({
        "relays": [relay(json!({
            "keepalive": {"interval": "1.5s"}, "tls": {"ca_file": "/c"}, "protocol": 2, "max_queued": 7.0,
            "proxy": {"url": "http://[::1]:1"}, "paths": ["/v1/responses"], "response_headers": ["x-é"],
        }))],
        "forward": {"to": "http://[::1]:80", "headers": {"x-a": {"env": "A", "prefix": "é"}}},
    })
    .to_string()
    .into_bytes();
    for at in 0..good.len() {
        let _ = Config::from_json(&good[..at]);
        for replacement in *b"\"{}[]:,.0-9eE/@?#x \\\x00\xff" {
            let mut damaged = good.clone();
            damaged[at] = replacement;
            let _ = Config::from_json(&damaged).map_err(|e| e.to_string());
        }
    }
}

#[test]
fn telemetry_bounds_its_labels() {
    let telemetry = |value| accepted(&with_top("telemetry", value)).telemetry;
    let default = telemetry(json!({}));
    assert_eq!(default, Telemetry::default());
    assert_eq!((default.provider.as_str(), default.max_models), ("openai", 100));
    let all = json!({"provider": "x", "models": ["a", "b/c:d"], "max_models": 0, "request_log": true});
    assert_eq!(
        telemetry(all),
        Telemetry {
            provider: "x".into(),
            models: vec!["a".into(), "b/c:d".into()],
            max_models: 0,
            request_log: true,
        }
    );
    refused(
        &with_top(
            "telemetry",
            json!({"provider": "", "models": ["a", 7], "max_models": 1001, "request_log": "yes"}),
        ),
        &[
            "telemetry.provider: \"\"; a value of gen_ai.provider.name, such as \"openai\", of 1 to 128 characters",
            "telemetry.models[1]: 7; a model's name of 1 to 128 characters",
            "telemetry.max_models: 1001; a whole number from 0 to 1000",
            "telemetry.request_log: \"yes\"; true or false, without quotes",
        ],
    );
}

#[test]
fn a_gateway_needs_no_relay() {
    for job in [json!({"gateway": {}}), json!({"gateway": {}, "relays": []})] {
        assert_eq!(accepted(&job).relays, [], "{job}");
    }
    let gateway = |value: Value| accepted(&json!({ "gateway": value })).gateway;
    let default = Gateway {
        stat_prefix: "gateway".to_owned(),
        shutdown_grace: Duration::from_secs(8),
    };
    assert_eq!(gateway(json!({})), Some(default));
    let other = Gateway {
        stat_prefix: "models_1".to_owned(),
        shutdown_grace: Duration::from_secs(120),
    };
    assert_eq!(
        gateway(json!({"stat_prefix": "models:1", "shutdown_grace": "2m"})),
        Some(other)
    );
    assert_eq!(accepted(&with_relay(json!({}))).gateway, None);
    refused(
        &json!({"gateway": {"stat_prefix": "a b", "shutdown_grace": 7, "prefix": ""}}),
        &[
            "gateway.prefix: unknown key; allowed here: stat_prefix, shutdown_grace",
            "gateway.stat_prefix: \"a b\" is not a stat_prefix; the stat_prefix of the listener's connection manager, such as gateway",
            "gateway.shutdown_grace: 7 has no unit; a duration from 0s to 1h, such as \"10s\"",
        ],
    );
}

#[test]
fn chat_is_off_unless_asked_for_and_has_defaults() {
    assert_eq!(accepted(&with_relay(json!({}))).chat, None);
    let alone = accepted(&json!({ "chat": {} }));
    assert_eq!(alone.relays, [], "a job of its own");
    assert_eq!(accepted(&json!({ "chat": {}, "relays": [] })), alone);
    let expected = Chat {
        listen: PathBuf::from("/run/spectral-bridge/chat.sock"),
        path: "/websockets/chat".into(),
        adapter_path: "/v1/chat/completions".into(),
        model: None,
        max_sessions: 256,
        max_message_bytes: 1_048_576,
        request_timeout: Duration::from_secs(600),
        idle_timeout: Duration::from_secs(600),
        send_timeout: Duration::from_secs(60),
        keepalive: Keepalive {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        },
        shutdown_grace: Duration::from_secs(8),
    };
    assert_eq!(alone.chat, Some(expected));
    let set = accepted(&with_top(
        "chat",
        json!({"listen": "unix:/tmp/c.sock", "path": "/c", "adapter_path": "/llm/v1/chat/completions", "model": "m",
            "max_sessions": "1", "max_message_bytes": 1024.0, "request_timeout": "1s", "idle_timeout": "2s",
            "send_timeout": "3s", "keepalive": {"interval": "4s"}, "shutdown_grace": "0s"}),
    ));
    let chat = set.chat.unwrap();
    assert_eq!((set.relays.len(), chat.listen), (1, PathBuf::from("/tmp/c.sock")));
    assert_eq!((chat.max_sessions, chat.model.as_deref()), (1, Some("m")));
    assert_eq!(chat.keepalive.interval, Duration::from_secs(4));
}

#[test]
fn mistakes_in_chat() {
    const LISTEN: &str = "the socket that Envoy's cluster connects to, as unix:///run/spectral-bridge/chat.sock";
    const PATH: &str = "an absolute path without a query, such as /v1/chat/completions";
    let long = format!("unix:///{}", "x".repeat(107));
    for (chat, line) in [
        (
            json!({"listen": "127.0.0.1:8000"}),
            format!("chat.listen: \"127.0.0.1:8000\" is not a Unix socket; {LISTEN}"),
        ),
        (
            json!({"listen": "unix:chat.sock"}),
            format!("chat.listen: \"chat.sock\" is not the absolute path of a socket; {LISTEN}"),
        ),
        (
            json!({"listen": long}),
            "chat.listen: a path of 108 bytes; at most 107 bytes".to_owned(),
        ),
        (json!({"listen": 5}), format!("chat.listen: 5; {LISTEN}")),
        (
            json!({"path": "chat"}),
            format!("chat.path: \"chat\" is not a path; {PATH}"),
        ),
        (
            json!({"adapter_path": "/v1?x"}),
            format!("chat.adapter_path: \"/v1?x\" is not a path; {PATH}"),
        ),
        (
            json!({"model": ""}),
            "chat.model: \"\" is not a model's name; the name of a model, 1 to 256 bytes".to_owned(),
        ),
        (
            json!({"max_sessions": 0}),
            "chat.max_sessions: 0; a whole number from 1 to 65536".to_owned(),
        ),
        (
            json!({"max_message_bytes": 1.5}),
            "chat.max_message_bytes: 1.5; a whole number from 1024 to 16777216".to_owned(),
        ),
        (
            json!({"idle_timeout": 5}),
            "chat.idle_timeout: 5 has no unit; a duration from 100ms to 24h, such as \"10s\"".to_owned(),
        ),
        (
            json!(true),
            format!("chat: true or false; an object with the keys {}", CHAT_KEYS),
        ),
    ] {
        refused(&json!({ "chat": chat }), &[line.as_str()]);
    }
}

const CHAT_KEYS: &str = "listen, path, adapter_path, model, max_sessions, max_message_bytes, request_timeout, idle_timeout, send_timeout, keepalive, shutdown_grace";
