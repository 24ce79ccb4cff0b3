//! The manifests at work: Envoy as the manifest starts it, with the manifest's configuration, probes and hooks. Only ports, the
//! relay's URL and what a path is below are the test's.

use std::fs;
use std::net::SocketAddr;

use e2e::model::{Model, ModelOptions};
use e2e::otlp::Sink;
use e2e::relay::{Relay, RelayOptions, Version};
use e2e::world::http::post;
use e2e::world::site::{DEADLINE, KEY, chat};
use e2e::world::{Certificates, Envoy, Process, Scratch, command, envoy_binary, eventually, free_address};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::configurations::{Carried, pod_of, rewrite};
use crate::pod::Container;
use crate::rendered::{items, render};

/// Envoy in its container, between a relay and a model.
struct Running {
    envoy: Envoy,
    relay: Relay,
    model: Model,
    container: Container,
    status: SocketAddr,
    collector: Sink,
    _scratch: Scratch,
}

/// The same before its relay is there.
struct Alone {
    envoy: Envoy,
    model: Model,
    container: Container,
    status: SocketAddr,
    collector: Sink,
    relay: RelayOptions,
    scratch: Scratch,
}

impl Alone {
    async fn start(overlay: &str) -> Self {
        let rendered = render(overlay).await;
        let scratch = Scratch::new().unwrap();
        let (certificates, collector) = (Certificates::make(&scratch).unwrap(), Sink::start().await.unwrap());
        let model = Model::start_with(ModelOptions::default()).await.unwrap();
        let mut relay = RelayOptions::new(Version::V2, KEY);
        relay.public = free_address().unwrap();
        relay.tls = Some(certificates.server.clone());
        let (pod, name) = pod_of(overlay, &rendered);
        let mut container = Container::make(&scratch, &pod, name, &rendered.objects);
        container.collector = Some(collector.grpc());
        let mut carried = Carried::by(overlay, &rendered);
        let places = Places {
            relay: relay.public,
            model: model.address(),
            admin: free_address().unwrap(),
            status: free_address().unwrap(),
            listener: free_address().unwrap(),
            platform: free_address().unwrap(),
            authority: certificates.ca.display().to_string(),
        };
        for part in carried.parts() {
            rewrite(part, &|text| places.text(&container.outside(text)));
            places.edit(part);
        }
        let mut envoy = started(&container, &carried, &scratch);
        let process = Process::start("envoy", &mut envoy).unwrap();
        let mut envoy = Envoy::of(process, places.admin);
        envoy.ready(DEADLINE).await.unwrap();
        Self {
            envoy,
            model,
            container,
            status: places.status,
            collector,
            relay,
            scratch,
        }
    }

    /// What a probe of the manifest says: its exit code.
    async fn probed(&self, probe: &str) -> Option<i32> {
        run(
            &self.container,
            self.status,
            &self.container.spec[probe]["exec"]["command"],
        )
        .await
    }

    async fn connect(self) -> Running {
        let relay = Relay::start(self.relay).await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        Running {
            envoy: self.envoy,
            relay,
            model: self.model,
            container: self.container,
            status: self.status,
            collector: self.collector,
            _scratch: self.scratch,
        }
    }
}

impl Running {
    async fn start(overlay: &str) -> Self {
        Alone::start(overlay).await.connect().await
    }

    async fn probed(&self, probe: &str) -> Option<i32> {
        run(
            &self.container,
            self.status,
            &self.container.spec[probe]["exec"]["command"],
        )
        .await
    }

    async fn a_request_crosses(&self) {
        let reply = post(&self.relay.url("/v1/chat/completions"), chat("quick"))
            .await
            .unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        assert_eq!(self.model.ledger().count(), 1);
    }

    /// While a request is under way, `drain` begins: the request is answered, then the relay left, then Envoy ended.
    async fn drains_by(mut self, drain: impl AsyncFnOnce(&Self)) {
        let url = self.relay.url("/v1/chat/completions");
        let request = tokio::spawn(async move { post(&url, chat("delay-1s")).await.unwrap() });
        self.model.ledger().wait(2, DEADLINE).await.unwrap();
        drain(&self).await;
        let reply = request.await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        let left = eventually("the relay is left", DEADLINE, || async {
            let closes = self.relay.journal().closes();
            (!closes.is_empty()).then_some(closes)
        });
        assert_eq!(left.await.unwrap(), [Some(1001)]);
        self.envoy.process().terminate().unwrap();
        let ended = self.envoy.process().exited(DEADLINE).await.unwrap();
        assert_eq!(ended.code(), Some(0), "{}", self.envoy.process().output());
        assert!(!self.envoy.process().output().contains(KEY), "the key is in the log");
    }

    /// The hook of the manifest returns when the drain is over.
    async fn pre_stop(&self) {
        let hook = &self.container.spec["lifecycle"]["preStop"]["exec"]["command"];
        assert_eq!(run(&self.container, self.status, hook).await, Some(0));
        assert_eq!(
            self.relay.journal().closes(),
            [Some(1001)],
            "the hook returned before the end"
        );
    }

    /// What a platform's own hook asks of Envoy's admin page.
    async fn drain_listeners(&self, query: &str) {
        let url = self.envoy.admin_url(&format!("/drain_listeners?{query}"));
        assert_eq!(post(&url, "").await.unwrap().status, StatusCode::OK);
    }
}

/// Where this test has things.
struct Places {
    relay: SocketAddr,
    model: SocketAddr,
    admin: SocketAddr,
    status: SocketAddr,
    listener: SocketAddr,
    platform: SocketAddr,
    authority: String,
}

impl Places {
    fn text(&self, text: &str) -> String {
        match text {
            "wss://relay.example.com/connect" => format!("wss://localhost:{}/connect", self.relay.port()),
            "127.0.0.1:8841" => self.status.to_string(),
            "http://127.0.0.1:8080" => format!("http://{}", self.listener),
            "model" | "model.default.svc" => "127.0.0.1".to_owned(),
            other => other.to_owned(),
        }
    }

    /// Ports, and whom to trust.
    fn edit(&self, value: &mut Value) {
        match value {
            Value::Object(object) => {
                if object.contains_key("api_key") {
                    object.insert("tls".to_owned(), json!({ "ca_file": self.authority }));
                }
                if let Some(port) = object.get_mut("port_value") {
                    let own = match port.as_u64() {
                        Some(9901) => self.admin,
                        Some(8000) => self.model,
                        Some(8841) => self.status,
                        Some(8080) => self.listener,
                        Some(15090) => self.platform,
                        other => panic!("a port that the test does not know: {other:?}"),
                    };
                    *port = own.port().into();
                }
                object.values_mut().for_each(|member| self.edit(member));
            }
            Value::Array(array) => array.iter_mut().for_each(|item| self.edit(item)),
            // The configuration of a filter may be JSON in a string.
            Value::String(string) => {
                if let Ok(mut inner @ Value::Object(_)) = serde_json::from_str(string) {
                    self.edit(&mut inner);
                    *string = inner.to_string();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Envoy's command: the manifest's, where it has one.
fn started(container: &Container, carried: &Carried, scratch: &Scratch) -> tokio::process::Command {
    let words = [items(&container.spec["command"]), items(&container.spec["args"])].concat();
    let Carried::Whole(whole) = carried else {
        let mut envoy = command(envoy_binary().unwrap());
        envoy
            .args(carried.arguments(scratch))
            .args(["--concurrency", "2", "--disable-hot-restart"]);
        envoy.envs(container.variables());
        return envoy;
    };
    let config = words
        .iter()
        .find(|word| word.as_str().unwrap().ends_with(".yaml"))
        .unwrap();
    fs::write(container.outside(config.as_str().unwrap()), whole.to_string()).unwrap();
    container.command(&words)
}

/// Runs a command of the manifest in the container, against the test's port.
async fn run(container: &Container, status: SocketAddr, words: &Value) -> Option<i32> {
    let mut command = container.command(items(words));
    command.args(["--address", &status.to_string()]);
    let mut process = Process::start("a command of the manifest", &mut command).unwrap();
    process.exited(DEADLINE).await.unwrap().code()
}

/// The probe needs no relay, and the hook drains.
async fn lives_as_a_sidecar(overlay: &str) {
    let alone = Alone::start(overlay).await;
    assert_eq!(alone.probed("livenessProbe").await, Some(0), "alive without a relay");
    let running = alone.connect().await;
    running.a_request_crosses().await;
    let exported = |sink: &Sink| (!sink.spans().is_empty()).then_some(());
    running
        .collector
        .wait("a span arrives", DEADLINE, exported)
        .await
        .unwrap();
    let drain = async |running: &Running| {
        running.pre_stop().await;
        assert_eq!(
            running.probed("livenessProbe").await,
            Some(0),
            "a drained sidecar is not restarted"
        );
    };
    running.drains_by(drain).await;
}

#[tokio::test]
async fn a_sidecars_probe_needs_no_relay_and_its_hook_drains() {
    lives_as_a_sidecar("kubernetes/overlays/sidecar").await;
}

#[tokio::test]
async fn the_same_with_the_stock_envoy_and_image_volumes() {
    lives_as_a_sidecar("kubernetes/overlays/image-volume").await;
}

#[tokio::test]
async fn the_same_with_the_stock_envoy_and_a_copy() {
    lives_as_a_sidecar("kubernetes/overlays/init-copy").await;
}

#[tokio::test]
async fn a_pod_of_its_own_is_ready_when_it_is_connected() {
    let alone = Alone::start("kubernetes/overlays/standalone").await;
    assert_eq!(alone.probed("livenessProbe").await, Some(0));
    assert_eq!(alone.probed("readinessProbe").await, Some(1));
    let running = alone.connect().await;
    eventually("the Pod is ready", DEADLINE, || async {
        (running.probed("readinessProbe").await == Some(0)).then_some(())
    })
    .await
    .unwrap();
    running.a_request_crosses().await;
    running.drains_by(Running::pre_stop).await;
}

#[tokio::test]
async fn istios_own_hook_drains_the_bootstraps_client() {
    let running = Running::start("istio/overlays/bootstrap").await;
    running.a_request_crosses().await;
    // istio/istio, pkg/envoy/admin.go: what `pilot-agent request POST drain` comes to
    running
        .drains_by(async |running| running.drain_listeners("inboundonly&graceful&skip_exit").await)
        .await;
}

#[tokio::test]
async fn an_envoy_filter_delivers_the_client_and_the_hook_drains_it() {
    let running = Running::start("istio/overlays/filter").await;
    running.a_request_crosses().await;
    running.drains_by(Running::pre_stop).await;
}

#[tokio::test]
async fn envoy_gateways_own_hook_drains_the_bootstraps_client() {
    let running = Running::start("envoy-gateway/bootstrap").await;
    running.a_request_crosses().await;
    // envoyproxy/gateway, internal/cmd/envoy/shutdown_manager.go
    running
        .drains_by(async |running| running.drain_listeners("graceful&skip_exit").await)
        .await;
}

#[tokio::test]
async fn a_policy_brings_the_client_to_a_route_and_the_hook_drains_it() {
    let running = Running::start("envoy-gateway/filter").await;
    running.a_request_crosses().await;
    running.drains_by(Running::pre_stop).await;
}
