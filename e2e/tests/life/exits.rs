//! Ends: whenever and however Envoy is told to stop, it stops in bounded time with exit code 0.

use std::net::SocketAddr;
use std::sync::Arc;

use e2e::world::http::post;
use e2e::world::site::{DEADLINE, Plan, Shipped, Site};
use e2e::world::{eventually, free_address};
use hyper::StatusCode;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{ask, connections_of_one, exits_with_0, in_flight, plan};

/// Makes Envoy wait for ever, for listeners or clusters that a silent server does not deliver.
async fn never_initialised(plan: Plan, what: &str) -> (Plan, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let source = "resource_api_version: V3, initial_fetch_timeout: 0s, api_config_source: { api_type: GRPC, \
                  transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: silent } }] }";
    let dynamic = format!("dynamic_resources: {{ {what}: {{ {source} }} }}\n");
    let cluster = format!(
        r#"
  - name: silent
    type: STATIC
    connect_timeout: 600s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: silent
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: "127.0.0.1", port_value: {port} }} }} }} }}] }}]
"#
    );
    let mut plan = plan
        .edit("static_resources:\n", &format!("{dynamic}static_resources:\n"))
        .unwrap();
    plan.text.push_str(&cluster);
    (plan, silent)
}

#[tokio::test]
async fn sigterm_before_envoy_is_initialised_ends_it_at_once() {
    for (shipped, what) in [
        (Shipped::Sidecar, "lds_config"),
        (Shipped::Sidecar, "cds_config"),
        (Shipped::MeshFilter, "lds_config"),
    ] {
        let (plan, relay, _model) = plan(shipped).await;
        let (plan, _silent) = never_initialised(plan, what).await;
        let mut site = plan.launch(&[]).unwrap();
        eventually("envoy waits", DEADLINE, || async {
            let ready = site.envoy.admin("/ready").await.ok()?;
            (ready.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await
        .unwrap();
        if what == "lds_config" {
            // the module is there already, and waits with Envoy
            let waits = eventually("the module waits", DEADLINE, || async {
                let ready = site.status("/readyz").await.ok()?;
                ready.text().contains("waits for Envoy's local listener").then_some(())
            });
            waits.await.unwrap();
        }
        site.envoy.process().terminate().unwrap();
        exits_with_0(&mut site.envoy).await;
        assert!(
            relay.journal().entries().is_empty(),
            "{shipped:?}, {what}: the relay was dialled"
        );
    }
}

#[tokio::test]
async fn a_second_sigterm_neither_hurries_nor_breaks_the_first() {
    let (mut site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let request = in_flight(&relay, &model, "2s").await;
    site.envoy.process().terminate().unwrap();
    site.envoy.process().line("draining", DEADLINE).await.unwrap();
    site.envoy.process().terminate().unwrap();
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    exits_with_0(&mut site.envoy).await;
    assert_eq!(relay.journal().closes(), [Some(1001)]);
}

#[tokio::test]
async fn quitquitquit_drains_as_sigterm_does() {
    let (mut site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let request = in_flight(&relay, &model, "1s").await;
    let asked = post(&site.envoy.admin_url("/quitquitquit"), "").await.unwrap();
    assert_eq!(asked.status, StatusCode::OK);
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    exits_with_0(&mut site.envoy).await;
    assert_eq!(relay.journal().closes(), [Some(1001)]);
}

#[tokio::test]
async fn a_graceful_drain_of_the_listeners_drains_the_client_which_stays_down() {
    let (mut site, relay, model) = Site::connected(Shipped::Sidecar).await.unwrap();
    let request = in_flight(&relay, &model, "1s").await;
    let asked = post(&site.envoy.admin_url("/drain_listeners?graceful"), "")
        .await
        .unwrap();
    assert_eq!(asked.status, StatusCode::OK);
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    site.relay_status_becomes("/state", "drained".into()).await.unwrap();
    let again = post(&site.status_url("/relays/default/reconnect"), "").await.unwrap();
    assert!(again.status.is_success(), "{}", again.text());
    assert_eq!(site.relay_status().await.unwrap()["state"], "drained");
    site.envoy.process().terminate().unwrap();
    exits_with_0(&mut site.envoy).await;
    assert_eq!(
        (connections_of_one(&relay), relay.journal().closes()),
        (1, vec![Some(1001)])
    );
}

#[tokio::test]
async fn an_envoy_that_never_reached_its_relay_stops_at_once() {
    for shipped in [Shipped::Sidecar, Shipped::MeshFilter] {
        let mut site = Plan::new(shipped).unwrap().start().await.unwrap();
        site.relay_status_becomes("/state", "backing_off".into()).await.unwrap();
        site.envoy.process().terminate().unwrap();
        exits_with_0(&mut site.envoy).await;
    }
}

#[tokio::test]
async fn a_relay_that_never_answers_the_close_frame_cannot_keep_envoy() {
    for shipped in [Shipped::Sidecar, Shipped::MeshFilter] {
        let (plan, relay, _model) = plan(shipped).await;
        let road = Road::to(relay.public()).await;
        let plan = plan
            .edit(
                &format!("localhost:{}", relay.public().port()),
                &format!("localhost:{}", road.address.port()),
            )
            .unwrap();
        let mut site = plan.start().await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        assert_eq!(ask(&relay, "quick").await.status, StatusCode::OK);
        road.blocked.notify_waiters();
        site.envoy.process().terminate().unwrap();
        exits_with_0(&mut site.envoy).await;
    }
}

/// A road to a relay that can be blocked: connections stay open and nothing passes any more.
struct Road {
    address: SocketAddr,
    blocked: Arc<Notify>,
}

impl Road {
    async fn to(relay: SocketAddr) -> Self {
        let address = free_address().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let blocked = Arc::new(Notify::new());
        let block = Arc::clone(&blocked);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let block = Arc::clone(&block);
                tokio::spawn(async move {
                    let mut relay = TcpStream::connect(relay).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut relay) => {}
                        // the two sockets are held, not closed
                        () = async { block.notified().await; std::future::pending().await } => {}
                    }
                });
            }
        });
        Self { address, blocked }
    }
}
