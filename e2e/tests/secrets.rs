//! The promise that no secret and no conversation shows anywhere: a session with every kind of trouble, after which
//! everything that it produced is searched.
//!
//! What the module writes is held to it at every log level. Envoy's own HTTP code prints the headers of requests from
//! its level `debug` on, those to the model included: there only the headers meant for the model may show.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use e2e::model::{Behaviour, Exact, Model};
use e2e::relay::{DEFAULT_RELAY, Relay, Slot};
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Plan, Shipped, Site};
use e2e::world::{Process, command, envoy_binary, eventually, library_dir};
use hyper::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Shown nowhere, ever.
const NOWHERE: [(&str, &str); 9] = [
    ("the key", "canary-key-accepted-71"),
    ("a refused key", "canary-key-refused-72"),
    ("a key for a relay without trust", "canary-key-untrusted-73"),
    ("a key for a relay that is down", "canary-key-down-74"),
    ("a key for a relay behind a proxy", "canary-key-proxied-75"),
    ("a key that its relay repeats", "canary-key-repeated-76"),
    ("the proxy's password", "canary-proxy-password-77"),
    ("a request's body", "canary-request-body-78"),
    ("an answer's body", "canary-answer-body-79"),
];

/// Headers for the model: Envoy prints them at `debug` and below, the module never.
const ENVOY_ONLY: [(&str, &str); 2] = [
    ("the model's key", "canary-model-key-81"),
    ("a caller's header", "canary-caller-header-82"),
];

fn canary(what: &str) -> &'static str {
    let all = NOWHERE.iter().chain(&ENVOY_ONLY);
    all.into_iter().find(|(name, _)| *name == what).unwrap().1
}

/// A server that answers every connection with what it heard, made into an answer.
async fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut heard = Vec::new();
                while !heard.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = tcp.read_u8().await else { return };
                    heard.push(byte);
                }
                let said = tcp.write_all(&answer(&String::from_utf8_lossy(&heard))).await;
                drop((said, tcp.shutdown().await, tcp.read_to_end(&mut heard).await));
            });
        }
    });
    (address, task)
}

/// A relay that repeats the key wherever it can: in the status line, a header and the body of its refusal.
fn repeated(heard: &str) -> Vec<u8> {
    let key = heard
        .lines()
        .find(|line| line.to_lowercase().starts_with("authorization:"))
        .unwrap_or_default();
    format!(
        "HTTP/1.1 500 {key}\r\nx-seen: {key}\r\ncontent-length: {}\r\n\r\n{key}",
        key.len()
    )
    .into_bytes()
}

/// The sidecar with a relay for every kind of trouble.
fn troubled(repeating: SocketAddr, proxy: SocketAddr) -> Plan {
    let mut plan = Plan::new(Shipped::Sidecar).unwrap();
    plan.key = canary("the key").to_owned();
    let relay = plan.relay.port();
    let others = format!(
        "        - {{ name: refused, url: 'wss://localhost:{relay}/connect', api_key: {{ env: REFUSED }}, tls: {{ ca_file: CA }} }}
        - {{ name: untrusted, url: 'wss://localhost:{relay}/connect', api_key: {{ env: UNTRUSTED }} }}
        - {{ name: down, url: 'wss://localhost:1/connect', api_key: {{ env: DOWN }} }}
        - {{ name: repeated, url: 'ws://{repeating}/connect', insecure: true, api_key: {{ env: REPEATED }} }}
        - {{ name: proxied, url: 'wss://relay.example.com/connect', api_key: {{ env: PROXIED }},
            proxy: {{ url: 'http://{proxy}', username: someone, password: {{ env: PROXY_PASSWORD }} }} }}
        forward:
          headers: {{ authorization: {{ env: MODEL_API_KEY, prefix: 'Bearer ' }} }}
          to:"
    );
    let ca = format!("{:?}", plan.scratch.path().join("ca.pem"));
    plan.edit(
        "        forward:\n          to:",
        &others.replace("CA }", &format!("{ca} }}")),
    )
    .unwrap()
}

const VARIABLES: [(&str, &str); 7] = [
    ("REFUSED", "a refused key"),
    ("UNTRUSTED", "a key for a relay without trust"),
    ("DOWN", "a key for a relay that is down"),
    ("REPEATED", "a key that its relay repeats"),
    ("PROXIED", "a key for a relay behind a proxy"),
    ("PROXY_PASSWORD", "the proxy's password"),
    ("MODEL_API_KEY", "the model's key"),
];

/// Everything that a request can meet.
async fn conversations(slot: &Slot, model: &Model) {
    let (said, answered) = (canary("a request's body"), canary("an answer's body"));
    let body = json!({"model": "demo", "messages": [{"role": "user", "content": said}]});
    let headers = json!({"x-caller-token": canary("a caller's header")});
    let json = |status: u16, text: String| Behaviour::Exact(Exact::json(StatusCode::from_u16(status).unwrap(), text));
    let html = Exact::new(StatusCode::OK, "text/html", format!("<p>{answered}</p>"));
    let mut gzip = Exact::json(StatusCode::OK, answered);
    gzip.headers.push(("content-encoding".into(), "gzip".into()));
    for (n, behaviour) in [
        json(
            200,
            format!(r#"{{"choices":[{{"message":{{"content":"{answered}"}}}}]}}"#),
        ),
        json(500, format!(r#"{{"error":{{"message":"{answered}"}}}}"#)),
        json(200, format!("{{{answered}: NaN}}")),
        Behaviour::Exact(html),
        Behaviour::Exact(gzip),
        Behaviour::CloseAfterRequest,
        Behaviour::CloseMidAnswer,
        Behaviour::EventStream,
    ]
    .into_iter()
    .enumerate()
    {
        model.next(behaviour);
        let payload = json!({"headers": headers, "body": body});
        let frame = json!({"type": "request", "request_id": format!("c-{n}"), "payload": payload});
        slot.forward(&format!("c-{n}"), frame.to_string().into()).await.unwrap();
    }
    model.stop().await;
    for (n, payload) in [
        json!({"headers": headers, "body": body}),
        json!({"headers": {"x-caller-token": format!("{}\r\n", canary("a caller's header"))}, "body": body}),
        json!({"headers": {format!("{} ", canary("a caller's header")): "x"}, "body": body}),
        json!({"headers": said, "body": body}),
        json!({"path": format!("/{said}"), "body": body}),
        json!({"method": said, "body": body}),
        json!(said),
    ]
    .into_iter()
    .enumerate()
    {
        let frame = json!({"type": "request", "request_id": format!("f-{n}"), "payload": payload});
        let answer = slot.forward(&format!("f-{n}"), frame.to_string().into()).await.unwrap();
        assert!(answer.status.as_u16() >= 400);
    }
    for rubbish in [
        said.to_owned(),
        format!(r#"["{said}"]"#),
        format!(r#"{{"type":"{said}","request_id":"x"}}"#),
        format!(r#"{{"type":"request","request_id":["{said}"],"payload":{body}}}"#),
        format!(r#"{{"type":"request","payload":{body}"#),
    ] {
        slot.send_text(rubbish);
    }
    slot.send_binary([said.as_bytes(), b"\xff"].concat());
    slot.send_broken_text([said.as_bytes(), b"\xff"].concat());
}

/// Every page that a person or a machine may look at.
async fn pages(site: &Site) -> String {
    let mut all = String::new();
    for path in ["/status", "/readyz", "/healthz", "/nothing"] {
        all += &format!("\n== {path}\n{}", site.status(path).await.unwrap().text());
    }
    for path in ["/relays/refused/reconnect", "/relays/none/reconnect"] {
        all += &format!(
            "\n== {path}\n{}",
            post(&site.status_url(path), "").await.unwrap().text()
        );
    }
    for path in [
        "/spectral_bridge",
        "/config_dump?include_eds",
        "/stats",
        "/stats/prometheus",
        "/clusters",
        "/listeners",
        "/server_info",
        "/help",
    ] {
        all += &format!("\n== {path}\n{}", site.envoy.admin(path).await.unwrap().text());
    }
    all
}

async fn in_state(site: &Site, relay: &str, code: &str) {
    let what = format!("{relay} says {code}");
    let status = || async { site.status("/status").await.ok().map(|reply| reply.json()) };
    let said = |status: &serde_json::Value| {
        let relays = status["relays"].as_array()?;
        let one = relays.iter().find(|one| one["name"] == relay)?;
        Some(one["last_error"]["code"].as_str()?.to_owned())
    };
    let reached = eventually(&what, DEADLINE, || async {
        let code_now = said(&status().await?)?;
        (code_now == code).then_some(())
    });
    if let Err(late) = reached.await {
        panic!("{late:?}: {:#}", status().await.unwrap_or_default());
    }
}

/// Runs the whole session at this log level; gives the log and the pages.
async fn session(level: &str) -> (String, String) {
    let (repeating, _one) = answering(repeated).await;
    let (proxy, _two) = answering(|_| b"HTTP/1.1 407 no\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let mut plan = troubled(repeating, proxy);
    let relay: Relay = plan.start_relay(|_| {}).await.unwrap();
    relay.set_key(DEFAULT_RELAY, canary("the key"));
    let model = plan.start_model().await.unwrap();
    plan.variables = VARIABLES
        .map(|(name, what)| (name.to_owned(), canary(what).to_owned()))
        .to_vec();
    let mut site = plan.start_with(&["-l", level]).await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    for (name, code) in [
        ("refused", "authentication_failed"),
        ("untrusted", "tls_unknown_issuer"),
        ("down", "connect"),
        ("repeated", "handshake_status"),
        ("proxied", "proxy_auth"),
    ] {
        in_state(&site, name, code).await;
    }
    let slot = relay.slot(DEFAULT_RELAY).unwrap();
    conversations(&slot, &model).await;
    relay.connected(2, DEADLINE).await.unwrap();
    // What a relay gives as its reason is shown; one that repeats the key there must not have it shown.
    slot.close(4000, KEY_AS_REASON);
    relay.connected(3, DEADLINE).await.unwrap();
    let pages = pages(&site).await;
    let process = site.envoy.process();
    process.terminate().unwrap();
    process.exited(DEADLINE).await.unwrap();
    (process.output_to_end(DEADLINE).await, pages)
}

const KEY_AS_REASON: &str = "no canary-key-accepted-71 today";

/// The lines that contain `needle`, each with the component that wrote it: a line without a head belongs to the one
/// before.
fn shown<'a>(log: &'a str, needle: &str) -> Vec<(&'a str, &'a str)> {
    let mut component = "";
    let mut found = Vec::new();
    for line in log.lines() {
        if line.starts_with('[')
            && let Some(name) = line.split(']').nth(3).and_then(|part| part.strip_prefix('['))
        {
            component = name;
        }
        if line.contains(needle) {
            found.push((component, line));
        }
    }
    found
}

#[tokio::test]
async fn no_secret_and_no_conversation_shows_in_a_log_or_on_a_page() {
    for level in ["info", "trace"] {
        let (log, pages) = session(level).await;
        assert!(
            log.contains("[dynamic_modules]") && pages.contains("\"relays\""),
            "nothing to search"
        );
        if level == "trace" {
            assert!(
                log.contains("ignored a frame from the relay"),
                "the module's own debug lines are not there"
            );
        }
        for (what, needle) in NOWHERE {
            let lines = shown(&log, needle);
            assert!(lines.is_empty(), "{what} is in the log at {level}: {lines:#?}");
        }
        for (what, needle) in ENVOY_ONLY {
            let lines = shown(&log, needle);
            let ours: Vec<_> = lines
                .iter()
                .filter(|(component, _)| !is_envoys_http(component))
                .collect();
            assert!(ours.is_empty(), "{what} is in the log at {level}: {ours:#?}");
            // Envoy printing it below `info` also shows that the search finds what is there.
            assert_eq!(
                lines.is_empty(),
                level == "info",
                "{what} in the log at {level}: {lines:#?}"
            );
            let mut components: Vec<_> = lines.iter().map(|(component, _)| *component).collect();
            components.sort_unstable();
            components.dedup();
            println!("{what} at {level}: {components:?}");
        }
        for (what, needle) in NOWHERE.iter().chain(&ENVOY_ONLY) {
            let line = pages.lines().find(|line| line.contains(needle));
            assert_eq!(line, None, "{what} is on a page");
        }
    }
}

/// Envoy's own HTTP code, which prints the headers it handles.
fn is_envoys_http(component: &str) -> bool {
    ["http", "http1", "router", "client"].contains(&component)
}

#[tokio::test]
async fn a_secret_written_into_the_configuration_is_refused_and_not_repeated() {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let secret = canary("the key");
    for (from, to) in [
        ("{ env: SPECTRAL_BRIDGE_API_KEY }", secret.to_owned()),
        ("{ env: SPECTRAL_BRIDGE_API_KEY }", format!("{{ value: {secret} }}")),
        ("wss://localhost", format!("wss://user:{secret}@localhost")),
        (
            "# proxy: env ",
            format!("proxy: {{ url: 'http://u:{secret}@127.0.0.1:1' }} # "),
        ),
        (
            "# headers: { authorization: { env: MODEL_API_KEY",
            format!("headers: {{ authorization: 'Bearer {secret}', x: {{ env: MODEL_API_KEY"),
        ),
    ] {
        let text = plan.text.replace(from, &to);
        assert_ne!(text, plan.text, "{from} does not occur");
        let config = plan.scratch.write("wrong.yaml", &text).unwrap();
        let mut envoy = command(envoy_binary().unwrap());
        envoy
            .args(["--mode", "validate", "--disable-hot-restart", "-c"])
            .arg(config);
        envoy.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", library_dir().unwrap());
        let mut process = Process::start("envoy --mode validate", &mut envoy).unwrap();
        assert!(!process.exited(DEADLINE).await.unwrap().success(), "{to} is accepted");
        let output = process.output_to_end(DEADLINE).await;
        assert!(output.contains("configuration of \"relay\""), "{output}");
        assert_eq!(output.lines().find(|line| line.contains(secret)), None);
    }
}
