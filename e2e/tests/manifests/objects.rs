//! What the objects promise beyond their schemas.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use e2e::world::{Scratch, workspace};
use serde_json::{Value, json};

use crate::OVERLAYS;
use crate::rendered::{Rendered, items, kustomized, render};

/// Every container of every Pod that is the bridge's own.
fn own_containers(rendered: &Rendered) -> Vec<&Value> {
    let pods = rendered
        .all("Deployment")
        .into_iter()
        .map(|object| &object["spec"]["template"]["spec"]);
    let proxies = rendered
        .all("EnvoyProxy")
        .into_iter()
        .map(|object| &object["spec"]["provider"]["kubernetes"]["envoyDeployment"]);
    pods.chain(proxies)
        .flat_map(|pod| items(&pod["initContainers"]).iter().chain(items(&pod["containers"])))
        .filter(|container| {
            container["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("spectral-bridge"))
        })
        .collect()
}

#[tokio::test]
async fn no_container_of_the_bridge_may_do_more_than_it_needs() {
    for (overlay, _) in OVERLAYS {
        let rendered = render(overlay).await;
        let own = own_containers(&rendered);
        assert!(
            overlay.contains("istio") || overlay.contains("bootstrap") || !own.is_empty(),
            "{overlay}"
        );
        for container in own {
            let may = &container["securityContext"];
            // The Pod's own security context holds for a Pod of its own.
            let pod = &rendered.all("Deployment").first().map_or(Value::Null, |d| {
                d["spec"]["template"]["spec"]["securityContext"].clone()
            });
            let said = |name: &str| {
                if may[name].is_null() {
                    pod[name].clone()
                } else {
                    may[name].clone()
                }
            };
            assert_eq!(said("runAsNonRoot"), true, "{overlay}");
            assert_eq!(said("runAsUser"), 65532, "{overlay}");
            assert_eq!(said("seccompProfile"), json!({ "type": "RuntimeDefault" }), "{overlay}");
            assert_eq!(may["readOnlyRootFilesystem"], true, "{overlay}");
            assert_eq!(may["allowPrivilegeEscalation"], false, "{overlay}");
            assert_eq!(may["capabilities"], json!({ "drop": ["ALL"] }), "{overlay}");
            assert!(container["resources"]["requests"]["cpu"].is_string(), "{overlay}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{overlay}");
        }
    }
}

#[tokio::test]
async fn the_models_readiness_does_not_depend_on_the_relay() {
    for overlay in ["sidecar", "image-volume", "init-copy", "one-key-each"] {
        let rendered = render(&format!("kubernetes/overlays/{overlay}")).await;
        for deployment in rendered.all("Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            let sidecar = items(&pod["initContainers"])
                .iter()
                .find(|c| c["name"] == "spectral-bridge")
                .unwrap();
            assert_eq!(sidecar["restartPolicy"], "Always");
            // A sidecar's readiness is its Pod's, and the model would wait for its start.
            assert_eq!(
                (&sidecar["readinessProbe"], &sidecar["startupProbe"]),
                (&Value::Null, &Value::Null)
            );
            let live = items(&sidecar["livenessProbe"]["exec"]["command"]);
            assert_eq!(
                live.last(),
                Some(&json!("--live")),
                "{overlay}: alive means running, not connected"
            );
            assert!(pod["readinessGates"].is_null());
            // The hooks: the drain may take shutdown_grace, the model stays for that, and all of it fits.
            let stays = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
                .as_u64()
                .unwrap();
            let all = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
            let config = rendered.all("ConfigMap")[0]["data"]["envoy.yaml"].as_str().unwrap();
            let grace = config
                .split_once("shutdown_grace: ")
                .unwrap()
                .1
                .split_once('s')
                .unwrap()
                .0;
            let grace: u64 = grace.parse().unwrap();
            assert!(grace < stays && stays < all, "{grace} {stays} {all}");
        }
    }
}

#[tokio::test]
async fn a_network_policy_lets_out_dns_the_relay_and_the_collector_only() {
    let ports = |rule: &Value| -> Vec<(String, u64)> {
        let port = |port: &Value| {
            (
                port["protocol"].as_str().unwrap().to_owned(),
                port["port"].as_u64().unwrap(),
            )
        };
        items(&rule["ports"]).iter().map(port).collect()
    };
    let (tcp, udp) = (|port| ("TCP".to_owned(), port), |port| ("UDP".to_owned(), port));
    for (overlay, model) in [("sidecar", false), ("one-key-each", false), ("standalone", true)] {
        let rendered = render(&format!("kubernetes/overlays/{overlay}")).await;
        let policy = &rendered.one("NetworkPolicy")["spec"];
        let mut expected = vec![vec![udp(53), tcp(53)], vec![tcp(443)], vec![tcp(4317)]];
        expected.extend(model.then(|| vec![tcp(8000)]));
        let rules = items(&policy["egress"]);
        assert_eq!(rules.iter().map(ports).collect::<Vec<_>>(), expected, "{overlay}");
        assert!(
            rules.iter().all(|rule| items(&rule["to"]).len() == 1),
            "{overlay}: each rule has its peers"
        );
        assert!(policy["ingress"].is_null());
        // A sidecar says nothing about who may call the model; a Pod of its own is called by nobody.
        let types = if model {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Egress"])
        };
        assert_eq!(policy["policyTypes"], types);
        for deployment in rendered.all("Deployment") {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            for (name, value) in policy["podSelector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(&labels[name], value, "{overlay}: the policy is for other Pods");
            }
        }
    }
}

#[tokio::test]
async fn several_pods_have_a_key_each_and_do_not_take_each_others() {
    let rendered = render("kubernetes/overlays/one-key-each").await;
    let deployments = rendered.all("Deployment");
    let secret = |deployment: &&Value| {
        let volumes = items(&deployment["spec"]["template"]["spec"]["volumes"]);
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == "spectral-bridge-key")
            .unwrap();
        volume["secret"]["secretName"].as_str().unwrap().to_owned()
    };
    let secrets: BTreeSet<_> = deployments.iter().map(secret).collect();
    assert_eq!(secrets.len(), deployments.len());
    let selectors: BTreeSet<_> = deployments.iter().map(|d| d["spec"]["selector"].to_string()).collect();
    assert_eq!(selectors.len(), deployments.len());
    for deployment in &deployments {
        assert_eq!(
            (&deployment["spec"]["replicas"], &deployment["spec"]["strategy"]["type"]),
            (&json!(1), &json!("Recreate"))
        );
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert_eq!(
            labels["app"],
            rendered.one("Service")["spec"]["selector"]["app"],
            "one Service is for all"
        );
    }
}

#[tokio::test]
async fn nothing_of_the_bridge_listens_beyond_loopback_and_no_key_is_in_a_manifest() {
    for (overlay, _) in OVERLAYS {
        let rendered = render(overlay).await;
        for container in own_containers(&rendered) {
            assert!(container["ports"].is_null(), "{overlay}");
        }
        assert!(rendered.all("Secret").is_empty(), "{overlay}");
        assert!(!rendered.text.contains("0.0.0.0"), "{overlay}");
    }
}

#[tokio::test]
async fn where_the_images_are_is_said_in_one_place() {
    for (overlay, one_place) in [
        ("kubernetes/overlays/sidecar", "kubernetes/components/images"),
        ("kubernetes/overlays/image-volume", "kubernetes/components/images"),
        ("kubernetes/overlays/init-copy", "kubernetes/components/images"),
        ("kubernetes/overlays/standalone", "kubernetes/components/images"),
        ("kubernetes/overlays/one-key-each", "kubernetes/components/images"),
        ("istio/overlays/bootstrap", "kubernetes/components/images"),
        ("envoy-gateway/bootstrap", "envoy-gateway/images"),
    ] {
        let scratch = Scratch::new().unwrap();
        for directory in ["kubernetes", "istio", "envoy-gateway"] {
            copied(
                &workspace().join("envoy").join(directory),
                &scratch.path().join(directory),
            );
        }
        let place = scratch.path().join(one_place).join("kustomization.yaml");
        let text = fs::read_to_string(&place)
            .unwrap()
            .replace("newName: ", "newName: mirror.example.net/");
        fs::write(&place, text).unwrap();
        let text = kustomized(&scratch.path().join(overlay)).await;
        let ours = |line: &&str| line.contains("image: ") || line.contains("reference: ");
        for line in text
            .lines()
            .filter(ours)
            .filter(|line| !line.contains("/model:") && !line.contains("auto"))
        {
            assert!(line.contains("mirror.example.net/"), "{overlay}: {line}");
        }
    }
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, place) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match path.is_dir() {
            true => copied(&path, &place),
            false => drop(fs::copy(path, place).unwrap()),
        }
    }
}
