//! The Envoy configurations in the manifests, put together as the platforms do it.

use std::time::Duration;

use e2e::world::{Process, Scratch, command, envoy_binary, workspace};
use serde_json::{Value, json};

use crate::OVERLAYS;
use crate::pod::Container;
use crate::rendered::{Rendered, document, items, render};

/// What an overlay gives to Envoy.
pub enum Carried {
    /// A bootstrap.
    Whole(Value),
    /// What is merged into a platform's bootstrap. Both platforms append lists, as Envoy's `--config-yaml` does.
    Added { platform: Value, fragment: Value },
    /// What a control plane delivers to an Envoy with a platform's bootstrap.
    Delivered {
        platform: Value,
        listeners: Vec<Value>,
        clusters: Vec<Value>,
    },
}

impl Carried {
    /// Takes it out of what was rendered.
    pub fn by(overlay: &str, rendered: &Rendered) -> Self {
        let platform = platform();
        match overlay {
            "istio/overlays/bootstrap" => Self::Added {
                platform,
                // pilot-agent reads this file and passes it as --config-yaml (istio/istio, pkg/envoy/proxy.go)
                fragment: document(
                    rendered.one("ConfigMap")["data"]["custom_bootstrap.json"]
                        .as_str()
                        .unwrap(),
                ),
            },
            "istio/overlays/filter" => Self::Delivered {
                platform,
                listeners: added(rendered, "LISTENER"),
                clusters: added(rendered, "CLUSTER"),
            },
            "envoy-gateway/bootstrap" => {
                let bootstrap = &rendered.one("EnvoyProxy")["spec"]["bootstrap"];
                assert_eq!(bootstrap["type"], "Merge");
                let fragment = document(bootstrap["value"].as_str().unwrap());
                Self::Added { platform, fragment }
            }
            "envoy-gateway/filter" => translated(rendered),
            _ => Self::Whole(document(
                rendered.all("ConfigMap")[0]["data"]["envoy.yaml"].as_str().unwrap(),
            )),
        }
    }

    /// Its parts, to be edited.
    pub fn parts(&mut self) -> Vec<&mut Value> {
        match self {
            Self::Whole(whole) => vec![whole],
            Self::Added { platform, fragment } => vec![platform, fragment],
            Self::Delivered {
                platform,
                listeners,
                clusters,
            } => std::iter::once(platform).chain(listeners).chain(clusters).collect(),
        }
    }

    /// Envoy's arguments, for files in `scratch`.
    pub fn arguments(&self, scratch: &Scratch) -> Vec<String> {
        let written = |name: &str, value: &Value| scratch.write(name, value.to_string()).unwrap().display().to_string();
        match self {
            Self::Whole(whole) => vec!["-c".into(), written("envoy.json", whole)],
            Self::Added { platform, fragment } => {
                vec![
                    "-c".into(),
                    written("envoy.json", platform),
                    "--config-yaml".into(),
                    fragment.to_string(),
                ]
            }
            Self::Delivered {
                platform,
                listeners,
                clusters,
            } => {
                let source = |name, kind, resources: &[Value]| {
                    let path = written(name, &delivery(kind, resources));
                    json!({ "path_config_source": { "path": path }, "resource_api_version": "V3" })
                };
                let mut platform = platform.clone();
                platform["dynamic_resources"] = json!({
                    "lds_config": source("lds.json", "envoy.config.listener.v3.Listener", listeners),
                    "cds_config": source("cds.json", "envoy.config.cluster.v3.Cluster", clusters),
                });
                vec!["-c".into(), written("envoy.json", &platform)]
            }
        }
    }

    /// As one bootstrap, in which nothing is delivered later: for `--mode validate`, which waits for nothing.
    pub fn at_once(self) -> Self {
        match self {
            Self::Delivered {
                mut platform,
                listeners,
                clusters,
            } => {
                let fixed = &mut platform["static_resources"];
                fixed["listeners"].as_array_mut().unwrap().extend(listeners);
                fixed["clusters"].as_array_mut().unwrap().extend(clusters);
                Self::Whole(platform)
            }
            other => other,
        }
    }
}

/// A bootstrap that is the platform's own: with a listener and a cluster, to see that these stay.
fn platform() -> Value {
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let endpoint = json!({ "endpoint": { "address": address(9901) } });
    json!({
        "node": { "id": "a-platform's", "cluster": "a-platform's" },
        "admin": { "address": address(9901) },
        "static_resources": {
            "listeners": [{
                "name": "platform",
                "address": address(15090),
                "filter_chains": [{ "filters": [{
                    "name": "tcp",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": "platform",
                        "cluster": "platform",
                    },
                }] }],
            }],
            "clusters": [{
                "name": "platform",
                "type": "STATIC",
                "load_assignment": { "cluster_name": "platform", "endpoints": [{ "lb_endpoints": [endpoint] }] },
            }],
        },
    })
}

/// What an EnvoyFilter adds. Istio appends the values as they are (istio/istio, pilot/pkg/networking/core/envoyfilter).
fn added(rendered: &Rendered, what: &str) -> Vec<Value> {
    let patches = items(&rendered.one("EnvoyFilter")["spec"]["configPatches"]).iter();
    let added: Vec<Value> = patches
        .filter(|patch| patch["applyTo"] == what)
        .map(|patch| {
            assert_eq!(patch["patch"]["operation"], "ADD");
            patch["patch"]["value"].clone()
        })
        .collect();
    assert!(!added.is_empty(), "{what}");
    added
}

/// What Envoy Gateway makes of the policies and the route (envoyproxy/gateway v1.9.0, internal/xds/translator: dynamicmodule.go,
/// listener.go, route.go), as far as they say something.
fn translated(rendered: &Rendered) -> Carried {
    let (gateway, route) = (&rendered.one("Gateway")["spec"], &rendered.one("HTTPRoute")["spec"]);
    let (client, backend) = (
        &rendered.one("ClientTrafficPolicy")["spec"],
        &rendered.one("BackendTrafficPolicy")["spec"],
    );
    let policy = &rendered.one("EnvoyExtensionPolicy")["spec"]["dynamicModule"][0];
    let modules = items(&rendered.one("EnvoyProxy")["spec"]["dynamicModules"]);
    let module = modules.iter().find(|module| module["name"] == policy["name"]).unwrap();
    let filter = json!({
        "name": "envoy.filters.http.dynamic_modules/0",
        "disabled": true,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {
                "do_not_close": module["doNotClose"],
                "module": { "local": { "filename": module["source"]["local"]["path"] } },
            },
            "filter_name": policy["filterName"],
            "filter_config": { "@type": "type.googleapis.com/google.protobuf.StringValue", "value": policy["config"].to_string() },
        },
    });
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": client["headers"]["enableEnvoyHeaders"] != true,
        },
    });
    let rule = &route["rules"][0];
    let triggers: Vec<&str> = items(&backend["retry"]["retryOn"]["triggers"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let virtual_host = json!({
        "name": "route",
        "domains": route["hostnames"],
        "routes": [{
            "match": { "prefix": rule["matches"][0]["path"]["value"] },
            "route": {
                "cluster": "route",
                "timeout": rule["timeouts"]["request"],
                "retry_policy": { "retry_on": triggers.join(","), "num_retries": backend["retry"]["numRetries"] },
            },
            "typed_per_filter_config": { "envoy.filters.http.dynamic_modules/0": {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "config": {},
            } },
        }],
    });
    let port = &gateway["listeners"][0]["port"];
    let listener = json!({
        "name": "default/spectral-bridge/bridge",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "http",
                "stream_idle_timeout": client["timeout"]["http"]["streamIdleTimeout"],
                "request_timeout": client["timeout"]["http"]["requestReceivedTimeout"],
                "route_config": { "name": "route", "virtual_hosts": [virtual_host] },
                "http_filters": [filter, router],
            },
        }] }],
    });
    let target = &rule["backendRefs"][0];
    let endpoint = json!({ "socket_address": { "address": target["name"], "port_value": target["port"] } });
    let cluster = json!({
        "name": "route",
        "type": "STRICT_DNS",
        "load_assignment": {
            "cluster_name": "route",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": endpoint } }] }],
        },
    });
    Carried::Delivered {
        platform: platform(),
        listeners: vec![listener],
        clusters: vec![cluster],
    }
}

fn delivery(kind: &str, resources: &[Value]) -> Value {
    let typed = |resource: &Value| {
        let mut resource = resource.clone();
        resource["@type"] = format!("type.googleapis.com/{kind}").into();
        resource
    };
    json!({ "version_info": "1", "resources": resources.iter().map(typed).collect::<Vec<_>>() })
}

/// The Pod in which Envoy runs, as the platform completes it, and the name of Envoy's container.
pub fn pod_of(overlay: &str, rendered: &Rendered) -> (Value, &'static str) {
    if overlay.starts_with("envoy-gateway") {
        return (gateways_pod(rendered), "envoy");
    }
    let deployment = rendered.all("Deployment")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    if overlay.starts_with("istio") {
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        return (injected(pod.clone(), annotations), "istio-proxy");
    }
    (pod.clone(), "spectral-bridge")
}

/// With the container that Istio's injector makes, as far as annotations and the Pod say something of it.
fn injected(mut pod: Value, annotations: &Value) -> Value {
    let mounts: Value =
        serde_json::from_str(annotations["sidecar.istio.io/userVolumeMount"].as_str().unwrap()).unwrap();
    let named = |(name, mount): (&String, &Value)| {
        let mut mount = mount.clone();
        mount["name"] = name.as_str().into();
        mount
    };
    let mounts: Vec<Value> = mounts.as_object().unwrap().iter().map(named).collect();
    let settings = document(annotations["proxy.istio.io/config"].as_str().unwrap());
    let variables = settings["proxyMetadata"].as_object().unwrap().iter();
    let variables: Vec<Value> = variables
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    if pod["initContainers"].is_null() {
        pod["initContainers"] = json!([]);
    }
    let containers = pod["initContainers"].as_array_mut().unwrap();
    if !containers.iter().any(|container| container["name"] == "istio-proxy") {
        containers.insert(
            0,
            json!({ "name": "istio-proxy", "image": "auto", "restartPolicy": "Always" }),
        );
    }
    let proxy = containers
        .iter_mut()
        .find(|container| container["name"] == "istio-proxy")
        .unwrap();
    (proxy["volumeMounts"], proxy["env"]) = (mounts.into(), variables.into());
    pod
}

/// The Pod that Envoy Gateway makes of an EnvoyProxy, as far as that says something.
fn gateways_pod(rendered: &Rendered) -> Value {
    let asked = &rendered.one("EnvoyProxy")["spec"]["provider"]["kubernetes"]["envoyDeployment"];
    let mut envoy = asked["container"].clone();
    (envoy["name"], envoy["image"]) = ("envoy".into(), "envoyproxy/envoy:distroless-v1.39.0".into());
    for patched in items(&asked["patch"]["value"]["spec"]["template"]["spec"]["containers"]) {
        assert_eq!(patched["name"], "envoy");
        envoy["lifecycle"] = patched["lifecycle"].clone();
    }
    json!({ "initContainers": asked["initContainers"], "containers": [envoy], "volumes": asked["pod"]["volumes"] })
}

/// Rewrites every text in `value`.
pub fn rewrite(value: &mut Value, text: &impl Fn(&str) -> String) {
    match value {
        Value::String(string) => {
            // The configuration of a filter may be JSON in a string.
            *string = match serde_json::from_str::<Value>(string) {
                Ok(mut inner) if inner.is_object() => {
                    rewrite(&mut inner, text);
                    inner.to_string()
                }
                _ => text(string),
            };
        }
        Value::Array(array) => array.iter_mut().for_each(|item| rewrite(item, text)),
        Value::Object(object) => object.values_mut().for_each(|member| rewrite(member, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What the real Envoy says of these arguments.
pub async fn validated(arguments: &[String], variables: Vec<(String, String)>) -> (bool, String) {
    let mut envoy = command(envoy_binary().unwrap());
    envoy
        .args(arguments)
        .args(["--disable-hot-restart", "--mode", "validate"])
        .envs(variables);
    let mut envoy = Process::start("envoy --mode validate", &mut envoy).unwrap();
    let accepted = envoy.exited(DEADLINE).await.unwrap().success();
    (accepted, envoy.output_to_end(DEADLINE).await)
}

#[tokio::test]
async fn envoy_accepts_every_configuration() {
    for (overlay, _) in OVERLAYS {
        let (rendered, scratch) = (render(overlay).await, Scratch::new().unwrap());
        let (pod, name) = pod_of(overlay, &rendered);
        let container = Container::make(&scratch, &pod, name, &rendered.objects);
        let mut carried = Carried::by(overlay, &rendered).at_once();
        for part in carried.parts() {
            rewrite(part, &|text| container.outside(text));
        }
        let (accepted, output) = validated(&carried.arguments(&scratch), container.variables()).await;
        assert!(accepted && output.contains("OK"), "{overlay}: {output}");
    }
}

/// Where two values differ.
fn differences(one: &Value, other: &Value) -> Vec<String> {
    let below = |name: &str, found: Vec<String>| {
        found
            .into_iter()
            .map(|path| format!("/{name}{path}"))
            .collect::<Vec<_>>()
    };
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort();
            names.dedup();
            let at =
                |object: &serde_json::Map<String, Value>, name: &str| object.get(name).cloned().unwrap_or_default();
            names
                .into_iter()
                .flat_map(|name| below(name, differences(&at(one, name), &at(other, name))))
                .collect()
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let pairs = one.iter().zip(other).enumerate();
            pairs
                .flat_map(|(at, (one, other))| below(&at.to_string(), differences(one, other)))
                .collect()
        }
        _ if one == other => vec![],
        _ => vec![String::new()],
    }
}

#[tokio::test]
async fn the_configurations_are_the_shipped_files_but_for_what_the_platform_needs() {
    let relay = "extension_config/value/relays/0";
    let own = ["api_key/env", "api_key/file", "shutdown_grace"]
        .map(|name| format!("/bootstrap_extensions/0/typed_config/{relay}/{name}"));
    let platforms = ["/admin", "/node", "/overload_manager"].map(str::to_owned);
    let cluster = "/static_resources/clusters/0";
    let service = [
        format!("{cluster}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address"),
        format!("{cluster}/type"),
        "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0/route/host_rewrite_literal".to_owned(),
    ];
    let filter = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config";
    let own_of_filter = ["api_key/env", "api_key/file", "shutdown_grace"]
        .map(|name| format!("{filter}/filter_config/value/relays/0/{name}"));
    for (overlay, shipped, expected) in [
        ("kubernetes/overlays/sidecar", "sidecar.yaml", vec![&own[..]]),
        (
            "kubernetes/overlays/standalone",
            "sidecar.yaml",
            vec![&own[..], &service],
        ),
        ("istio/overlays/bootstrap", "sidecar.yaml", vec![&own[..], &platforms]),
        (
            "envoy-gateway/bootstrap",
            "sidecar.yaml",
            vec![&own[..], &platforms, &service],
        ),
        (
            "istio/overlays/filter",
            "mesh-filter.yaml",
            vec![&own_of_filter[..], &platforms],
        ),
    ] {
        let text = std::fs::read_to_string(workspace().join("envoy").join(shipped)).unwrap();
        let carried = match Carried::by(overlay, &render(overlay).await) {
            Carried::Whole(whole) | Carried::Added { fragment: whole, .. } => whole,
            Carried::Delivered {
                listeners, clusters, ..
            } => {
                json!({ "static_resources": { "listeners": listeners, "clusters": clusters } })
            }
        };
        let mut expected = expected.concat();
        expected.sort();
        let mut found = differences(&document(&text), &carried);
        found.sort();
        assert_eq!(found, expected, "{overlay}");
    }
}

const DEADLINE: Duration = Duration::from_secs(30);
