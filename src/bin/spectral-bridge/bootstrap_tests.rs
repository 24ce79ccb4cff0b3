//! The rendered bootstrap, read again as YAML.

use clap::Parser;
use serde_json::{Value as Json, json};

use super::*;
use crate::cli::{Cli, Command};

fn render(url: &str, options: &str) -> String {
    let line = format!("spectral-bridge config --target {url} {options}");
    let options = match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Config(options) => options,
        other => panic!("{other:?}"),
    };
    let settings = Settings::build(&options, None, Path::new("/run/spectral-bridge/adapter.sock")).unwrap();
    let target = Target::parse(url).unwrap();
    let admin = options
        .envoy
        .admin_port
        .map_or(Admin::Socket("/run/spectral-bridge/admin.sock".into()), Admin::Port);
    let bootstrap = Bootstrap {
        settings: &settings,
        target: &target,
        target_roots: Some("/etc/roots.pem"),
        admin,
    };
    bootstrap.render().unwrap()
}

fn read(yaml: &str) -> Json {
    serde_yaml_ng::from_str(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"))
}

fn rendered(url: &str, options: &str) -> Json {
    read(&render(url, options))
}

fn listener(bootstrap: &Json) -> &Json {
    &bootstrap["static_resources"]["listeners"][0]
}

fn connection_manager(bootstrap: &Json) -> &Json {
    &listener(bootstrap)["filter_chains"][0]["filters"][0]["typed_config"]
}

fn route(bootstrap: &Json) -> &Json {
    &connection_manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"][0]
}

fn cluster<'a>(bootstrap: &'a Json, name: &str) -> Option<&'a Json> {
    bootstrap["static_resources"]["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == name)
}

fn address(host: &str, port: u16) -> Json {
    json!({"socket_address": {"address": host, "port_value": port}})
}

/// The shipped file is this program's output for its placeholders, with longer comments.
#[test]
fn the_shipped_sidecar_is_what_is_rendered() {
    let shipped = read(include_str!("../../../envoy/sidecar.yaml"));
    let options = "--relay-url wss://relay.example.com/connect --admin-port 9901";
    assert_eq!(shipped, rendered("http://127.0.0.1:8000", options));
}

/// The other shipped file hosts the same client in a filter, on the same listener, to the same clusters.
#[test]
fn the_shipped_mesh_filter_differs_only_in_its_host() {
    let mesh = read(include_str!("../../../envoy/mesh-filter.yaml"));
    let sidecar = read(include_str!("../../../envoy/sidecar.yaml"));
    let mut expected = sidecar.clone();
    let extension = expected
        .as_object_mut()
        .unwrap()
        .remove("bootstrap_extensions")
        .unwrap();
    let extension = &extension[0]["typed_config"];
    let filter = json!({
        "name": "envoy.extensions.filters.http.dynamic_modules",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": extension["dynamic_module_config"],
            "filter_name": "relay",
            "filter_config": extension["extension_config"],
        },
    });
    let manager = &mut expected["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    manager["http_filters"].as_array_mut().unwrap().insert(0, filter);
    assert_eq!(mesh, expected);
}

#[test]
fn the_module_gets_its_configuration_and_no_secret() {
    let bootstrap = rendered(
        "http://m",
        "--relay-url wss://r/connect --request-timeout 30 --target-key-env MODEL_KEY",
    );
    let extension = &bootstrap["bootstrap_extensions"][0]["typed_config"];
    assert_eq!(
        extension["dynamic_module_config"],
        json!({"name": "spectral_bridge", "do_not_close": true, "metrics_namespace": "spectral_bridge"})
    );
    assert_eq!(extension["extension_name"], "relay");
    let expected = json!({
        "relays": [{
            "name": "default",
            "url": "wss://r/connect",
            "api_key": {"env": "SPECTRAL_BRIDGE_API_KEY"},
            "request_timeout": "30s",
        }],
        "forward": {
            "to": "unix:///run/spectral-bridge/adapter.sock",
            "headers": {"authorization": {"env": "MODEL_KEY", "prefix": "Bearer "}},
        },
        "status": {"listen": "127.0.0.1:8841"},
    });
    assert_eq!(extension["extension_config"]["value"], expected);
}

#[test]
fn nothing_in_envoy_cuts_a_long_completion_or_asks_a_model_twice() {
    let bootstrap = rendered("http://m", "");
    let manager = connection_manager(&bootstrap);
    assert_eq!(
        (&manager["stream_idle_timeout"], &manager["request_timeout"]),
        (&json!("0s"), &json!("0s"))
    );
    let route = &route(&bootstrap)["route"];
    assert_eq!(
        (&route["timeout"], &route["idle_timeout"]),
        (&json!("0s"), &json!("0s"))
    );
    assert_eq!(
        route["retry_policy"],
        json!({"retry_on": "connect-failure,refused-stream", "num_retries": 2})
    );
    let router = &manager["http_filters"][0]["typed_config"];
    assert_eq!(router["suppress_envoy_headers"], json!(false));
}

#[test]
fn the_listener_is_where_the_module_dials() {
    let bootstrap = rendered("http://m", "");
    let pipe = json!({"pipe": {"path": "/run/spectral-bridge/adapter.sock", "mode": 0o600}});
    assert_eq!(listener(&bootstrap)["address"], pipe);
    assert_eq!(
        bootstrap["admin"]["address"]["pipe"]["path"],
        "/run/spectral-bridge/admin.sock"
    );
    assert_eq!(
        rendered("http://m", "--admin-port 0")["admin"]["address"],
        address("127.0.0.1", 0)
    );
}

#[test]
fn a_target_is_found_by_its_kind_of_host() {
    let endpoint = |url: &str| {
        let bootstrap = rendered(url, "");
        let cluster = cluster(&bootstrap, "adapter").unwrap();
        let endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"].clone();
        (cluster["type"].clone(), endpoint)
    };
    assert_eq!(
        endpoint("http://10.0.0.7:8000"),
        (json!("STATIC"), json!({"address": address("10.0.0.7", 8000)}))
    );
    assert_eq!(
        endpoint("http://[::1]"),
        (json!("STATIC"), json!({"address": address("::1", 80)}))
    );
    assert_eq!(
        endpoint("https://models.internal"),
        (json!("STRICT_DNS"), json!({"address": address("models.internal", 443)}))
    );
    let both = json!({"address": address("127.0.0.1", 1), "additional_addresses": [{"address": address("::1", 1)}]});
    assert_eq!(endpoint("http://localhost:1"), (json!("STATIC"), both));
    assert_eq!(
        endpoint("https://localhost:1"),
        (json!("STATIC"), json!({"address": address("127.0.0.1", 1)}))
    );
}

#[test]
fn a_base_path_and_the_host_are_rewritten() {
    let bootstrap = rendered("http://models.internal:8080/openai/eu", "");
    let route = &route(&bootstrap)["route"];
    assert_eq!(route["prefix_rewrite"], "/openai/eu/");
    assert_eq!(route["host_rewrite_literal"], "models.internal:8080");
    let bootstrap = rendered("https://models.internal", "");
    let route = &self::route(&bootstrap)["route"];
    assert_eq!(
        (&route["prefix_rewrite"], &route["host_rewrite_literal"]),
        (&Json::Null, &json!("models.internal"))
    );
}

#[test]
fn https_is_verified() {
    let context = |url: &str| {
        let bootstrap = rendered(url, "");
        cluster(&bootstrap, "adapter").unwrap()["transport_socket"]["typed_config"].clone()
    };
    assert_eq!(context("http://m"), Json::Null);
    let named = context("https://models.internal");
    assert_eq!(
        (&named["sni"], &named["auto_sni_san_validation"]),
        (&json!("models.internal"), &json!(true))
    );
    let validation = |context: &Json| context["common_tls_context"]["validation_context"].clone();
    assert_eq!(
        validation(&named),
        json!({"trusted_ca": {"filename": "/etc/roots.pem"}})
    );
    let address = context("https://10.0.0.7");
    assert_eq!(address["sni"], Json::Null);
    let san = json!([{"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.7"}}]);
    assert_eq!(validation(&address)["match_typed_subject_alt_names"], san);

    let settings = Settings::build(&options("https://m"), None, Path::new("/x")).unwrap();
    let target = Target::parse("https://m").unwrap();
    let bootstrap = Bootstrap {
        settings: &settings,
        target: &target,
        target_roots: None,
        admin: Admin::Port(0),
    };
    assert!(bootstrap.render().unwrap_err().contains("--target-ca-file"));
}

fn options(url: &str) -> crate::cli::StartArgs {
    match Cli::try_parse_from(["spectral-bridge", "config", "--target", url])
        .unwrap()
        .command
    {
        Command::Config(options) => options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_status_cluster_is_checked_unless_its_port_is_unknown() {
    let bootstrap = rendered("http://m", "--status-port 9000");
    let check = &cluster(&bootstrap, "spectral_bridge_status").unwrap()["health_checks"][0];
    assert_eq!(
        check["http_health_check"],
        json!({"path": "/healthz", "host": "127.0.0.1:9000"})
    );
    assert_eq!(
        check["no_traffic_interval"], "5s",
        "Envoy's own 60 s would leave it unhealthy for a minute"
    );
    assert_eq!(
        cluster(&rendered("http://m", "--status-port 0"), "spectral_bridge_status"),
        None
    );
}

#[test]
fn breakers_follow_max_in_flight() {
    let mut settings = Settings::build(&options("http://m"), None, Path::new("/x")).unwrap();
    settings.config.relays[0].max_in_flight = 3000;
    let target = Target::parse("http://m").unwrap();
    let bootstrap = Bootstrap {
        settings: &settings,
        target: &target,
        target_roots: None,
        admin: Admin::Port(0),
    };
    let bootstrap = read(&bootstrap.render().unwrap());
    let limits = &cluster(&bootstrap, "adapter").unwrap()["circuit_breakers"]["thresholds"][0];
    let expected =
        json!({"max_connections": 6000, "max_pending_requests": 6000, "max_requests": 6000, "max_retries": 6000});
    assert_eq!(*limits, expected);
}

#[test]
fn system_roots_prefer_the_users_choice() {
    assert_eq!(
        system_roots(Some(Path::new("/etc/passwd"))).as_deref(),
        Some("/etc/passwd")
    );
    assert_ne!(
        system_roots(Some(Path::new("/nonexistent"))).as_deref(),
        Some("/nonexistent")
    );
}
