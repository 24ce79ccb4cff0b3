//! What `make otel-demo` shows: the demo with a collector (rotel) and, where it can be had, a store that answers PromQL
//! (VictoriaMetrics). Keeps running until Ctrl-C and prints each further request's span as the collector takes it.
#![forbid(unsafe_code)]

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use e2e::demo::{Demo, say};
use e2e::failed::Result;
use e2e::otlp::Protocol;
use e2e::world::{Rotel, VictoriaMetrics};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("otel-demo: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Where telemetry goes.
struct Backends {
    rotel: Rotel,
    store: Option<VictoriaMetrics>,
}

async fn run() -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let backends = Backends::start().await?;
    say("envoy             starts with the module, a relay and a model around it");
    let mut demo = Demo::start(&backends.variables(), Stdio::null()).await?;
    tokio::select! {
        shown = backends.show(&demo) => match shown {
            Ok(()) => {}
            Err(failed) => {
                demo.stop().await?;
                return Err(failed);
            }
        },
        _ = interrupt.recv() => return stop(demo).await,
        _ = terminate.recv() => return stop(demo).await,
    }
    tokio::select! {
        failed = demo.ended() => Err(failed),
        () = backends.follow() => stop(demo).await,
        _ = interrupt.recv() => stop(demo).await,
        _ = terminate.recv() => stop(demo).await,
    }
}

/// The collectors go last, with their values: what Envoy says when it stops still arrives.
async fn stop(demo: Demo) -> Result<ExitCode> {
    say("stopping");
    demo.stop().await
}

impl Backends {
    async fn start() -> Result<Self> {
        let rotel = Rotel::start().await?;
        let grpc = rotel.endpoint(Protocol::Grpc);
        say(&format!("rotel             a collector, takes OTLP at {grpc}"));
        let store = match VictoriaMetrics::program("victoria-metrics") {
            Ok(_) => Some(VictoriaMetrics::start().await?),
            Err(_) => None,
        };
        match &store {
            Some(store) => say(&format!(
                "VictoriaMetrics   a store, takes metrics at {}",
                store.endpoint()
            )),
            None => {
                say("VictoriaMetrics   is not there (make backends gets it from Debian): rotel takes the metrics, too")
            }
        }
        Ok(Self { rotel, store })
    }

    /// What a user would put into Envoy's environment.
    fn variables(&self) -> Vec<(String, String)> {
        let mut variables = vec![
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                self.rotel.endpoint(Protocol::Grpc).to_owned(),
            ),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000".to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "500".to_owned()),
            ("OTEL_BLRP_SCHEDULE_DELAY", "500".to_owned()),
        ];
        if let Some(store) = &self.store {
            variables.push(("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", store.endpoint()));
            variables.push(("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf".to_owned()));
        }
        variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    async fn show(&self, demo: &Demo) -> Result<()> {
        demo.ready().await?;
        for (name, value) in self.variables() {
            println!("  {name}={value}");
        }
        for number in 0..30 {
            let (path, model) = MIX[number % MIX.len()];
            let body = match path {
                RESPONSES => json!({"model": model, "input": QUESTION}),
                _ => json!({"model": model, "messages": [{"role": "user", "content": QUESTION}]}),
            };
            demo.ask(path, &body.to_string()).await?;
        }
        println!();
        say("30 requests crossed; one of their spans, as rotel took it:");
        let span = self
            .rotel
            .printed(&["Name : chat", "gen_ai.usage.output_tokens"], PATIENCE)
            .await?;
        println!("  {}", span.replace(" -> ", "\n    -> "));
        if let Some(store) = &self.store {
            self.ask_store(store, demo).await?;
        }
        self.tell(demo);
        Ok(())
    }

    async fn ask_store(&self, store: &VictoriaMetrics, demo: &Demo) -> Result<()> {
        let told = demo.model.tokens();
        let all = (told.input + told.output) as f64;
        store
            .answers("sum(gen_ai_client_token_usage_sum)", all, PATIENCE)
            .await?;
        println!();
        say("what PromQL answers");
        println!("  sum by (gen_ai_request_model, gen_ai_token_type) (gen_ai_client_token_usage_sum)");
        let by_model = "sum by (gen_ai_request_model, gen_ai_token_type) (gen_ai_client_token_usage_sum)";
        for series in store.query(by_model).await? {
            let label = |name: &str| {
                series
                    .labels
                    .get(name)
                    .and_then(|label| label.as_str())
                    .unwrap_or("-")
                    .to_owned()
            };
            let (model, kind) = (label("gen_ai_request_model"), label("gen_ai_token_type"));
            println!("    {model:<12} {kind:<7} {:>6}", series.value);
        }
        println!(
            "  together {all}; the model's own books say {} in and {} out",
            told.input, told.output
        );
        Ok(())
    }

    fn tell(&self, demo: &Demo) {
        let url = demo.relay.url("/v1/chat/completions");
        println!();
        say("where to look");
        println!(
            "  again       curl {url} -H 'content-type: application/json' -d '{{\"model\":\"mine\",\"messages\":[]}}'"
        );
        println!("              each span is printed below as the collector takes it");
        if let Some(store) = &self.store {
            let (query, _) = store
                .query_url("")
                .split_once('?')
                .map(|(at, rest)| (at.to_owned(), rest.to_owned()))
                .unwrap_or_default();
            println!("  PromQL      curl {query} --data-urlencode 'query=sum(gen_ai_client_token_usage_sum)'");
        }
        println!(
            "  status      curl http://{}/status     (telemetry.exports: batches, failures)",
            demo.status
        );
        println!(
            "  Envoy       curl http://{}/stats/prometheus | grep spectral_bridge",
            demo.admin
        );
        println!(
            "  the model   curl {}     (the tokens that it told)",
            demo.model.url("/ledger")
        );
        println!(
            "  dashboard   envoy/observability/dashboard.json, for Grafana; rules to page on: alerts.yaml beside it"
        );
        println!("  stop        Ctrl-C");
        println!();
    }

    /// Prints spans as they come.
    async fn follow(&self) {
        let mut told = self.rotel.spans().len();
        loop {
            sleep(Duration::from_millis(200)).await;
            let spans = self.rotel.spans();
            for span in spans.iter().skip(told) {
                println!("  {}", span.replace(" -> ", "\n    -> "));
            }
            told = spans.len();
        }
    }
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MIX: [(&str, &str); 6] = [
    (CHAT, "small"),
    (CHAT, "large"),
    (RESPONSES, "small"),
    (CHAT, "delay-30ms"),
    (CHAT, "no-usage"),
    (RESPONSES, "status-500"),
];
const QUESTION: &str = "How many tokens does this question have, and who counts them?";
const PATIENCE: Duration = Duration::from_secs(30);
