//! What all requests together used is what the model's own books say, to the token.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use e2e::model::{Api, Model, Tokens};
use e2e::otlp::{Protocol, Sink};
use e2e::relay::{DEFAULT_RELAY, Relay};
use e2e::world::http::{get, post};
use e2e::world::site::{DEADLINE, Plan, Shipped, Site, exported_to};
use e2e::world::{Envoy, Gateway, eventually, workspace};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::{DURATION, MISSING, TOKENS};

/// Both vocabularies, so that cached and reasoning tokens are told, too.
const BOTH: (&str, &str) = ("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental/dup");

/// The filter `usage` on the relay's own listener: a relayed request then passes both who count.
const ROUTER: &str = "          - name: envoy.filters.http.router\n";
const USAGE_AND_ROUTER: &str = r#"          - name: usage
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config: { name: spectral_bridge, do_not_close: true, metrics_namespace: spectral_bridge }
              filter_name: usage
              filter_config: { "@type": type.googleapis.com/google.protobuf.Struct, value: {} }
          - name: envoy.filters.http.router
"#;

/// `count` words.
fn said(count: usize) -> String {
    vec!["word"; count].join(" ")
}

fn body(model: &str, words: usize, more: Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": said(words)}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_mixed_requests_sum_to_the_models_own_books_to_the_token() {
    let sink = Sink::start().await.unwrap();
    let plan = Plan::new(Shipped::Sidecar)
        .unwrap()
        .edit(ROUTER, USAGE_AND_ROUTER)
        .unwrap();
    let mut plan = plan.exporting(&sink.grpc(), Protocol::Grpc);
    plan.variables.push((BOTH.0.to_owned(), BOTH.1.to_owned()));
    let (relay, model) = (
        plan.start_relay(|_| {}).await.unwrap(),
        plan.start_model().await.unwrap(),
    );
    let mut variables = exported_to(&sink.http(), Protocol::Http);
    variables.push((BOTH.0.to_owned(), BOTH.1.to_owned()));
    let gateway = Gateway::start_with("usage-filter.yaml", model.address(), &[], &variables)
        .await
        .unwrap();
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();

    tokio::join!(relayed(&site, &relay, &model), passed(&gateway), talked(&gateway));

    let asked = model.ledger().count();
    assert!(asked >= 1000, "{asked}");
    settled(&sink, &model, asked as u64).await;
    sink.comes_to("spectral_bridge.relay.responses.held", &[], 0.0, DEADLINE)
        .await
        .unwrap();
    assert!(
        sink.total("spectral_bridge.relay.responses.resent", &[]) > 0.0,
        "nothing was sent again"
    );
    let Tokens { input, output, .. } = model.tokens();
    for (kind, tokens) in [("input", input), ("output", output)] {
        let envoys = async || {
            let passed = shown(&gateway.envoy, "envoy_spectral_bridge_gen_ai_tokens_total", kind).await;
            let relayed = shown(&site.envoy, "envoy_spectral_bridge_relay_tokens_total", kind).await;
            (passed + relayed == tokens as f64).then_some(())
        };
        eventually("Envoy's own statistics say the same", DEADLINE, envoys)
            .await
            .unwrap();
        let twice = shown(&site.envoy, "envoy_spectral_bridge_gen_ai_tokens_total", kind).await;
        assert_eq!(twice, 0.0, "relayed requests were counted by the filter, too");
    }
    let pages = [&gateway.envoy, &site.envoy].map(|envoy| envoy.admin("/stats/prometheus"));
    let [passed, relayed] = pages;
    let page = passed.await.unwrap().text() + &relayed.await.unwrap().text();
    for name in watched_in_envoy() {
        assert!(page.contains(&format!("\n{name}{{")), "Envoy shows no {name}");
    }
    println!(
        "{asked} requests, {input} tokens in, {output} out, {:?}",
        model.tokens()
    );
}

/// What the series `name` for a type of tokens come to on Envoy's admin page.
async fn shown(envoy: &Envoy, name: &str, kind: &str) -> f64 {
    let page = envoy.admin("/stats/prometheus").await.unwrap().text();
    let label = format!("token_type=\"{kind}\"");
    let series = page
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(&label));
    series
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

/// The metrics of Envoy's admin page that the dashboard and the alert rules ask for, but for those that count what did
/// not happen here.
fn watched_in_envoy() -> BTreeSet<String> {
    let read = |name: &str| std::fs::read_to_string(workspace().join("envoy/observability").join(name)).unwrap();
    let text = read("dashboard.json") + &read("alerts.yaml");
    let words = text.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
    let names = words.filter(|word| word.starts_with("envoy_spectral_bridge_") || word.starts_with("envoy_cluster_"));
    let not_here = [
        "envoy_cluster_name",
        "_relay_replaced_total",
        "_relay_expired_responses_total",
    ];
    let here = names.filter(|name| !not_here.iter().any(|end| name.ends_with(end)));
    let here: BTreeSet<_> = here.map(str::to_owned).collect();
    assert!(here.len() > 12, "{here:?}");
    here
}

/// Holds what the collector was told against the model's books.
async fn settled(sink: &Sink, model: &Model, asked: u64) {
    sink.wait("every request is counted once", DEADLINE, |sink| {
        (sink.count(DURATION, &[]) >= asked).then_some(())
    })
    .await
    .unwrap();
    let accounts = model.accounts();
    let all = model.tokens();
    let tokens = |tokens: u64| tokens as f64;
    for (name, with, value) in [
        (TOKENS, &[("gen_ai.token.type", "input")][..], all.input),
        (TOKENS, &[("gen_ai.token.type", "output")], all.output),
        ("gen_ai.client.inference.usage.input_tokens", &[], all.input),
        ("gen_ai.client.inference.usage.output_tokens", &[], all.output),
        ("gen_ai.client.inference.usage.cache_read.input_tokens", &[], all.cached),
        (
            "gen_ai.client.inference.usage.cache_write.input_tokens",
            &[],
            all.written,
        ),
        (
            "gen_ai.client.inference.usage.reasoning.output_tokens",
            &[],
            all.reasoning,
        ),
    ] {
        sink.comes_to(name, with, tokens(value), DEADLINE).await.unwrap();
    }
    let mut by_model: BTreeMap<&str, Tokens> = BTreeMap::new();
    for ((_, name), account) in &accounts {
        *by_model.entry(name).or_default() += account.tokens;
    }
    for (name, sum) in by_model {
        for (kind, value) in [("input", sum.input), ("output", sum.output)] {
            let with = [("gen_ai.request.model", name), ("gen_ai.token.type", kind)];
            assert_eq!(sink.total(TOKENS, &with), tokens(value), "{kind} tokens of {name}");
        }
    }
    assert_eq!(sink.count(DURATION, &[]), asked, "exchanges");
    let untold: u64 = accounts.values().map(|account| account.answers - account.told).sum();
    assert_eq!(
        sink.total(MISSING, &[]),
        tokens(untold),
        "answers whose tokens are not known"
    );
}

/// 500 requests over a relay whose socket is cut five times, with answers that were not acknowledged; some callers leave.
async fn relayed(site: &Site, relay: &Relay, model: &Model) {
    let slot = relay.slot(DEFAULT_RELAY).unwrap();
    for round in 0..5_u64 {
        let seen = model.ledger().count();
        let mut lanes = JoinSet::new();
        for number in 0..100_usize {
            let words = number % 23 + 1;
            let (path, behaviour) = match number % 10 {
                0 => ("/v1/chat/completions", "m-a"),
                1 => ("/v1/responses", "m-b"),
                2 => ("/v1/chat/completions", "no-usage"),
                3 => ("/v1/responses", "null-usage"),
                4 => ("/v1/chat/completions", "chunked"),
                5 => ("/v1/chat/completions", "status-500"),
                6 => ("/v1/responses", "delay-30ms"),
                9 => ("/v1/chat/completions", "delay-30ms"),
                _ => ("/v1/chat/completions", "m-c"),
            };
            let input = if path == "/v1/responses" {
                json!({"messages": [], "input": said(words)})
            } else {
                json!({})
            };
            let (url, body) = (relay.url(path), body(behaviour, words, input));
            let patience = Duration::from_millis(if number % 10 == 9 { 10 } else { 60_000 });
            lanes.spawn(async move { drop(timeout(patience, post(&url, body)).await) });
        }
        slot.withhold_acks(true);
        model.ledger().wait(seen + 20, DEADLINE).await.unwrap();
        slot.cut();
        slot.withhold_acks(false);
        post(&site.status_url("/relays/default/reconnect"), "").await.unwrap();
        slot.connected(round + 2, DEADLINE).await.unwrap();
        while lanes.join_next().await.is_some() {}
    }
    site.relay_status_becomes("/in_flight", 0.into()).await.unwrap();
}

/// 560 requests through the filter, in every form that answers come in.
async fn passed(gateway: &Gateway) {
    let mut lanes = JoinSet::new();
    let streamed = || json!({"stream": true, "stream_options": {"include_usage": true}});
    for number in 0..560_usize {
        while lanes.len() >= 16 {
            lanes.join_next().await;
        }
        let words = number % 31 + 1;
        let (api, behaviour, more) = match number % 16 {
            0 => (Api::Chat, "m-a", json!({})),
            1 => (Api::Chat, "m-a", streamed()),
            2 => (Api::Chat, "m-b", json!({"stream": true})),
            3 => (Api::Responses, "m-b", json!({"stream": true})),
            4 => (Api::Responses, "m-c", json!({})),
            5 => (Api::Completions, "m-c", streamed()),
            6 => (Api::Embeddings, "m-e", json!({"input": [said(words), said(2)]})),
            7 => (Api::Messages, "m-d", json!({})),
            8 => (Api::Messages, "m-d", json!({"stream": true})),
            9 => (Api::Ollama, "m-o", json!({})),
            10 => (Api::Chat, "gzip", streamed()),
            11 => (Api::Chat, "continuous-usage", streamed()),
            12 => (Api::Responses, "crlf", json!({"stream": true})),
            13 => (Api::Messages, "close-mid-answer", json!({"stream": true})),
            14 => (Api::Chat, "pace-30ms", streamed()),
            _ => {
                let stored = gateway.url("/v1/responses/resp-1");
                lanes.spawn(async move { drop(get(&stored).await) });
                continue;
            }
        };
        let (url, body) = (gateway.url(api.path()), body(behaviour, words, more));
        if behaviour == "pace-30ms" {
            lanes.spawn(leave(gateway.address, body));
        } else {
            lanes.spawn(async move { drop(post(&url, body).await) });
        }
    }
    while lanes.join_next().await.is_some() {}
}

/// Asks for a stream and leaves once it has begun.
async fn leave(address: std::net::SocketAddr, body: String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: model\r\ncontent-length: {length}\r\n\r\n");
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("data: ") {
        assert!(socket.read_buf(&mut seen).await.unwrap() > 0, "the stream ended");
    }
}

/// 20 WebSockets through the filter, three turns on each.
async fn talked(gateway: &Gateway) {
    let mut lanes = JoinSet::new();
    for number in 0..20_usize {
        let (address, realtime) = (gateway.address, number % 4 == 0);
        lanes.spawn(async move {
            let path = if realtime {
                "/v1/realtime?model=m-rt"
            } else {
                "/v1/responses"
            };
            let socket = TcpStream::connect(address).await.unwrap();
            let (mut socket, _) = client_async(format!("ws://{address}{path}"), socket).await.unwrap();
            for turn in 0..3_usize {
                let model = if turn == 1 { "fragmented" } else { "m-ws" };
                let said = said(number + turn + 1);
                let mut events = vec![json!({"type": "response.create", "model": model, "input": said})];
                if realtime {
                    let item = json!({"type": "message", "content": [{"type": "input_text", "text": said}]});
                    events = vec![
                        json!({"type": "conversation.item.create", "item": item}),
                        json!({"type": "response.create"}),
                    ];
                }
                for event in events {
                    socket.send(Message::text(event.to_string())).await.unwrap();
                }
                let last = if realtime {
                    "response.done"
                } else {
                    "response.completed"
                };
                loop {
                    let heard = timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap();
                    let event: Value = heard
                        .to_text()
                        .ok()
                        .and_then(|text| serde_json::from_str(text).ok())
                        .unwrap_or_default();
                    if event["type"] == last {
                        break;
                    }
                }
            }
            socket.close(None).await.unwrap();
        });
    }
    while let Some(talked) = lanes.join_next().await {
        talked.unwrap();
    }
}
