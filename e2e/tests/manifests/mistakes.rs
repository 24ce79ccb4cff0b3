//! What is checked is found: one thing broken in each kind of manifest.

use e2e::world::Scratch;
use serde_json::{Value, json};

use crate::configurations::{Carried, pod_of, rewrite, validated};
use crate::pod::Container;
use crate::rendered::render;
use crate::schemas::mistakes;

/// Something wrong: in which overlay and kind, where (a JSON pointer; the last part may be new), what, and what is said of it.
type Broken = (&'static str, &'static str, &'static str, Value, &'static str);

#[tokio::test]
async fn a_broken_field_is_found_in_every_kind_of_manifest() {
    let (sidecar, istio) = ("kubernetes/overlays/sidecar", "istio/overlays/filter");
    let (bootstrap, filter) = ("envoy-gateway/bootstrap", "envoy-gateway/filter");
    let broken: [Broken; 21] = [
        (
            sidecar,
            "Deployment",
            "/spec/template/spec/initContainers/0/restartpolicy",
            json!("Always"),
            "restartpolicy",
        ),
        (
            sidecar,
            "Deployment",
            "/spec/template/spec/initContainers/0/livenessProbe/exec/command",
            json!("status"),
            "status",
        ),
        (sidecar, "Service", "/spec/ports/0/port", json!("web"), "ports"),
        (
            sidecar,
            "ConfigMap",
            "/data/envoy.yaml",
            json!({ "admin": {} }),
            "envoy.yaml",
        ),
        (sidecar, "NetworkPolicy", "/spec/egress/0/from", json!([]), "from"),
        (
            istio,
            "EnvoyFilter",
            "/spec/configPatches/0/applyTo",
            json!("LISTENERS"),
            "applyTo",
        ),
        (
            istio,
            "EnvoyFilter",
            "/spec/workloadselector",
            json!({}),
            "spec.workloadselector",
        ),
        (
            istio,
            "EnvoyFilter",
            "/apiVersion",
            json!("networking.istio.io/v1"),
            "apiVersion",
        ),
        (
            istio,
            "Deployment",
            "/spec/template/metadata/annotations/sidecar.istio.io~1userVolumemount",
            json!("{}"),
            "userVolumemount",
        ),
        (
            istio,
            "Deployment",
            "/spec/template/metadata/annotations/sidecar.istio.io~1userVolumeMount",
            json!(r#"{ "no-such-volume": { "mountPath": "/x" } }"#),
            "no volume no-such-volume",
        ),
        (
            istio,
            "Deployment",
            "/spec/template/metadata/annotations/sidecar.istio.io~1userVolumeMount",
            json!(r#"{ "spectral-bridge-run": { "mountpath": "/x" } }"#),
            "mountPath",
        ),
        (
            istio,
            "Deployment",
            "/spec/template/metadata/annotations/proxy.istio.io~1config",
            json!("proxyMetaData: {}"),
            "proxyMetaData",
        ),
        (
            bootstrap,
            "EnvoyProxy",
            "/spec/bootstrap/type",
            json!("Append"),
            "spec.bootstrap.type",
        ),
        (
            bootstrap,
            "EnvoyProxy",
            "/spec/provider/kubernetes/envoyDeployment/container/volumeMounts/0/path",
            json!("/x"),
            "path",
        ),
        (
            bootstrap,
            "Gateway",
            "/spec/listeners/0/port",
            json!("8080"),
            "spec.listeners[].port",
        ),
        (
            filter,
            "EnvoyProxy",
            "/spec/dynamicModules/0/source/local",
            json!({ "file": "/x" }),
            "spec.dynamicModules[].source.local.path: required",
        ),
        (
            filter,
            "EnvoyProxy",
            "/spec/provider/kubernetes/envoyDeployment/patch/value/spec/template/spec/containers/0/lifecycle/preStop/exec/cmd",
            json!(["x"]),
            "cmd",
        ),
        (
            filter,
            "EnvoyExtensionPolicy",
            "/spec/dynamicModule/0/filter_name",
            json!("relay"),
            "spec.dynamicModule[].filter_name",
        ),
        (
            filter,
            "ClientTrafficPolicy",
            "/spec/timeout/http/streamIdleTimeout",
            json!(0),
            "streamIdleTimeout",
        ),
        (
            filter,
            "BackendTrafficPolicy",
            "/spec/retry/retryOn/triggers",
            json!(["connect-failed"]),
            "triggers[]",
        ),
        (
            filter,
            "HTTPRoute",
            "/spec/rules/0/backendRefs/0",
            json!({ "port": 8000 }),
            "backendRefs[].name: required",
        ),
    ];
    let (mut all, mut expected) = (String::new(), Vec::new());
    for (number, (overlay, kind, at, wrong, said)) in broken.into_iter().enumerate() {
        let mut object = render(overlay).await.one(kind).clone();
        put(&mut object, at, wrong);
        let name = format!("broken-{number}");
        put(&mut object, "/metadata/name", name.as_str().into());
        all.push_str(&format!("{object}\n---\n"));
        expected.push((format!("{kind}/{name}: "), said, at));
    }
    let found = mistakes(all.trim_end_matches("---\n"), &["1.35"]).await;
    for (whose, said, at) in expected {
        let is_told = found
            .lines()
            .any(|line| line.starts_with(&whose) && line.contains(said));
        assert!(is_told, "{whose}{at}: {said} is not among\n{found}");
    }
}

#[tokio::test]
async fn a_broken_configuration_is_found_wherever_it_is_carried() {
    let extension = "/bootstrap_extensions/0/typed_config/extension_config/value";
    for (overlay, part, at, wrong, said) in [
        (
            "kubernetes/overlays/sidecar",
            0,
            format!("{extension}/relays/0/uri"),
            json!("wss://relay"),
            "uri",
        ),
        (
            "kubernetes/overlays/standalone",
            0,
            "/static_resources/clusters/0/typ".to_owned(),
            json!("STATIC"),
            "typ",
        ),
        (
            "istio/overlays/bootstrap",
            1,
            format!("{extension}/relays/0/api_key"),
            json!("in the open"),
            "api_key",
        ),
        (
            "istio/overlays/filter",
            1,
            "/filter_chain".to_owned(),
            json!([]),
            "filter_chain",
        ),
        (
            "envoy-gateway/bootstrap",
            1,
            format!("{extension}/forward/to"),
            json!("http://model:8000"),
            "forward.to",
        ),
        (
            "envoy-gateway/filter",
            1,
            "/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/filter_config/value".to_owned(),
            json!(r#"{ "relays": [] }"#),
            "relays",
        ),
    ] {
        let (rendered, scratch) = (render(overlay).await, Scratch::new().unwrap());
        let (pod, name) = pod_of(overlay, &rendered);
        let container = Container::make(&scratch, &pod, name, &rendered.objects);
        let mut carried = Carried::by(overlay, &rendered);
        let mut parts = carried.parts();
        put(parts[part], &at, wrong);
        for part in parts {
            rewrite(part, &|text| container.outside(text));
        }
        let (accepted, output) = validated(&carried.at_once().arguments(&scratch), container.variables()).await;
        assert!(!accepted && output.contains(said), "{overlay}: {output}");
    }
}

/// Puts `wrong` where `at` points to; its last part may be new.
fn put(object: &mut Value, at: &str, wrong: Value) {
    let (above, name) = at.rsplit_once('/').unwrap();
    let above = object
        .pointer_mut(above)
        .unwrap_or_else(|| panic!("nothing at {above}"));
    match above {
        Value::Array(array) => array[name.parse::<usize>().unwrap()] = wrong,
        _ => above[name.replace("~1", "/")] = wrong,
    }
}
